//! Adapters of parameters with all experts of a layer that do not fit their base.

use std::fs;

use crate::adapters::{adapter, base, convert};

#[test]
fn adapters_of_experts_say_what_does_not_fit() {
    let changed = |from: &str, to: &str, base_name: &str| {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(adapter("experts").join(name), dir.path().join(name)).expect("copied");
        }
        let config = dir.path().join("adapter_config.json");
        let text = fs::read_to_string(&config).expect("a text");
        assert!(text.contains(from), "{from}");
        fs::write(config, text.replace(from, to)).expect("written");
        convert(base(base_name).path(), &[(dir.path(), 1.0)]).expect_err("what does not fit").to_string()
    };
    for (from, to, reason) in [
        ("mlp.experts.down_proj", "mlp.experts.gate_up_proj", "2 parameters of module"),
        ("\"mlp.experts.down_proj\"", "7", "a list of names"),
        (
            "\"rank_pattern\": {}",
            "\"rank_pattern\": {\"mlp.experts.down_proj\": 4}",
            "do not fit each other or rank 4",
        ),
        ("\"rank_pattern\": {}", "\"rank_pattern\": {\"experts.down_proj\": 1}", "6 experts"),
    ] {
        let complaint = changed(from, to, "gpt-oss");
        assert!(complaint.contains(reason), "{complaint}");
    }
    let complaint = changed("r", "r", "qwen3moe");
    assert!(complaint.contains("another model"), "{complaint}");
}
