//! Options of configurations that published models of a family do not have: what a GGUF file of the family cannot say
//! is refused by its name, never left out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::checkpoint::{Tensors, write_safetensors};
use gguf_kit::Error;
use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{self, FileType, Plan, PlanOptions, RunOptions, Silent};
use gguf_kit::gguf::{GgufFile, Value as Key};
use gguf_kit::model::arch;
use gguf_kit::model::spec::RopeFactors;
use gguf_kit::model::spec::layer::LayerSpec;
use gguf_simd::kernels::Kernels;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// A copy of a fixture of families or encoders with their tokenizer and a changed config.json.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let of = ["families", "encoders"].map(|kind| fixtures().join(kind).join(name));
    let folder = of.into_iter().find(|folder| folder.exists()).expect("a fixture");
    for folder in [fixtures().join("families/tokenizer"), folder] {
        for entry in fs::read_dir(folder).expect("a fixture") {
            let path = entry.expect("a fixture").path();
            fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    let path = dir.path().join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).expect("a config")).expect("JSON");
    change(&mut config);
    fs::write(&path, config.to_string()).expect("a writable folder");
    dir
}

/// As [`changed`], with `value` at `pointer` of config.json.
fn with(name: &str, pointer: &str, value: &Value) -> TempDir {
    changed(name, |config| {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("{name} has no {parent}"));
        parent[key] = value.clone();
    })
}

/// The bytes of the F32 file that a checkpoint makes.
fn converted(dir: &TempDir) -> Result<Vec<u8>, Error> {
    let checkpoint = Checkpoint::open(dir.path())?;
    let options = PlanOptions { name: Some("x".into()), ..PlanOptions::new(FileType::F32) };
    let plan = Plan::new(&checkpoint, &options)?;
    let path = dir.path().join("m.gguf");
    let options = RunOptions { overwrite: true, n_threads: 1, kernels: Kernels::best() };
    convert::run(&plan, &path, &options, &Silent)?;
    Ok(fs::read(&path).expect("written"))
}

/// The value of a key of the file that a checkpoint makes.
fn key(dir: &TempDir, name: &str) -> Option<Key> {
    converted(dir).expect("a model that can be expressed");
    let file = GgufFile::open(&dir.path().join("m.gguf")).expect("a sound file");
    file.metadata().to_pairs().into_iter().find_map(|(key, value)| (key == name).then_some(value))
}

#[test]
fn options_that_files_of_the_family_cannot_say_are_refused_by_name() {
    let yarn = json!({"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16});
    let linear = json!({"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0});
    let llama3 = json!({"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 16});
    let longrope = json!({"rope_type": "longrope", "rope_theta": 100.0, "factor": 4.0, "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [1.5, 1.9, 2.3, 2.7], "original_max_position_embeddings": 16});
    let windows = "/rope_parameters/sliding_attention";
    let mut cases = Vec::new();
    for name in ["gemma3", "gemma3n", "gemma4", "laguna", "mellum", "mimo2", "step35"] {
        let windows =
            if name == "step35" { "/text_config/rope_parameters/sliding_attention" } else { windows };
        cases.extend(
            [&yarn, &linear, &llama3].map(|scaling| (name, windows, scaling.clone(), "layers with windows")),
        );
    }
    cases.extend([
        ("gemma3", windows, longrope, "layers with windows"),
        ("modern-bert", windows, linear.clone(), "layers with windows"),
        ("modern-bert", "/rope_parameters/full_attention", yarn.clone(), "layers with windows"),
        ("gemma-embedding", windows, linear.clone(), "layers with windows"),
        ("gemma4", "/rope_parameters/full_attention", llama3.clone(), "divisors"),
        ("mimo2", "/rope_parameters/full_attention/partial_rotary_factor", json!(0.5), "elements of a head"),
        ("minicpm3", "/rope_parameters", yarn.clone(), "longrope"),
        ("minicpm3", "/rope_parameters", llama3.clone(), "longrope"),
        ("phimoe", "/rope_parameters", linear.clone(), "longrope"),
        ("deepseek2-v3", "/rope_interleave", json!(false), "rope_interleave"),
        ("deepseek2-v3", "/rope_parameters/mscale", json!(0.7), "mscale_all_dim"),
        ("deepseek2-v3", "/rope_parameters/attention_factor", json!(1.3), "mscale_all_dim"),
        ("deepseek2-v3", "/rope_parameters/rope_type", json!("linear"), "mscale_all_dim"),
        ("deepseek2-lite", "/rope_parameters/mscale", json!(1.0), "mscale_all_dim"),
        ("mellum", "/norm_topk_prob", json!(false), "norm_topk_prob"),
        ("gpt2", "/scale_attn_weights", json!(false), "scale_attn_weights"),
        ("gpt-oss", "/swiglu_alpha", json!(2.5), "swiglu_alpha"),
        ("step35", "/text_config/query_pre_attn_scalar", json!(8), "query_pre_attn_scalar"),
        (
            "llama4",
            "/layer_types",
            json!(["full_attention", "chunked_attention", "chunked_attention", "chunked_attention"]),
            "layer_types",
        ),
    ]);
    for (name, pointer, value, expected) in cases {
        let error = converted(&with(name, pointer, &value))
            .map(|file| file.len())
            .expect_err(&format!("{name} with {pointer} {value}"));
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains(expected),
            "{name} with {pointer} {value}: {error}"
        );
    }
}

#[test]
fn divisors_of_frequencies_are_those_of_layers_without_windows_alone() {
    let llama3 = json!({"rope_type": "llama3", "rope_theta": 2000.0, "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 16});
    for name in ["gemma3", "gemma3n", "mellum"] {
        let dir = with(name, "/rope_parameters/full_attention", &llama3);
        let checkpoint = Checkpoint::open(dir.path()).expect("a checkpoint");
        let family = arch::by_gguf_name(name).expect("a family");
        let spec = family.configure(checkpoint.config()).expect("a model that can be expressed").spec;
        let factors: Vec<_> = spec.ropes.iter().map(|rope| rope.factors).collect();
        assert_eq!(factors, [RopeFactors::Fixed, RopeFactors::Never], "{name}");
        assert!(converted(&dir).expect("written").windows(10).any(|bytes| bytes == b"rope_freqs"), "{name}");
    }
}

/// Which layers have windows if a file says `pattern`, or nothing.
fn windows(name: &str, pattern: Option<u32>) -> Vec<bool> {
    let dir = changed(name, |_| {});
    let checkpoint = Checkpoint::open(dir.path()).expect("a checkpoint");
    let family = arch::by_gguf_name(name).expect("a family");
    let mut pairs = family.configure(checkpoint.config()).expect("a model").pairs;
    pairs.retain(|(key, _)| !key.ends_with(".attention.sliding_window_pattern"));
    if let Some(n) = pattern {
        pairs.push((format!("{name}.attention.sliding_window_pattern"), Key::U32(n)));
    }
    let spec = family.spec_of_pairs((dir.path(), &pairs), &|_| false).expect("a model");
    let attention =
        |layer: &LayerSpec| layer.mixer.attention().is_some_and(|attention| attention.window.is_some());
    spec.layers.iter().map(attention).collect()
}

#[test]
fn a_period_of_windows_in_a_file_means_what_llama_cpp_takes_it_to_mean() {
    // Periods that end with a layer without a window.
    assert_eq!(windows("gemma3", Some(2)), [true, false, true, false]);
    assert_eq!(windows("gemma3", Some(1)), [false; 4]);
    assert_eq!(windows("gemma3", Some(0)), [true; 4]);
    // Periods that begin with one.
    for name in ["cohere2moe", "laguna"] {
        let n = windows(name, Some(2)).len();
        let of = |period: usize| (0..n).map(|i| i % period > 0).collect::<Vec<_>>();
        assert_eq!(windows(name, None), of(4), "{name}");
        assert_eq!(windows(name, Some(2)), of(2), "{name}");
        assert_eq!(windows(name, Some(1)), vec![false; n], "{name}");
        assert_eq!(windows(name, Some(0)), vec![true; n], "{name}");
    }
}

#[test]
fn the_alpha_of_hunyuans_belongs_to_dynamic_scaling() {
    let base = "hunyuan-dense.rope.freq_base";
    let rope = |kind: &str| json!({"rope_type": kind, "rope_theta": 300.0, "alpha": 3.0, "factor": 1.0});
    let of = |kind: &str| key(&with("hunyuan-dense", "/rope_parameters", &rope(kind)), base);
    assert_eq!(of("linear"), Some(Key::F32(300.0)));
    let Some(Key::F32(stretched)) = of("dynamic") else { panic!("no base") };
    assert!(stretched > 900.0, "{stretched}");
}

#[test]
fn windows_of_olmo3_have_a_base_of_their_own_if_config_says() {
    let rope = json!({"full_attention": {"rope_type": "default", "rope_theta": 500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 7.0}});
    let dir = with("olmo2-windows", "/rope_parameters", &rope);
    assert_eq!(key(&dir, "olmo2.rope.freq_base"), Some(Key::F32(500.0)));
    assert_eq!(key(&dir, "olmo2.rope.freq_base_swa"), Some(Key::F32(7.0)));
}

#[test]
fn the_original_context_of_mistral_3_is_said_with_every_scaling() {
    let rope = json!({"rope_type": "linear", "rope_theta": 300.0, "factor": 4.0, "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 16});
    let dir = with("mistral3", "/rope_parameters", &rope);
    assert_eq!(key(&dir, "mistral3.rope.scaling.original_context_length"), Some(Key::U32(16)));
    // What YaRN has left over is not said of another scaling.
    let dir = with("mistral3", "/rope_parameters/rope_type", &json!("linear"));
    assert_eq!(key(&dir, "mistral3.rope.scaling.yarn_log_multiplier"), None);
}

#[test]
fn a_temperature_of_mistral_3_that_one_number_cannot_say_is_the_whole_factor() {
    let path = "mistral3.rope.scaling.yarn_log_multiplier";
    assert!(key(&changed("mistral3", |_| {}), path).is_some());
    let dir = with("mistral3", "/rope_parameters/mscale", &json!(0.7));
    assert_eq!(key(&dir, path), None);
    let Some(Key::F32(factor)) = key(&dir, "mistral3.rope.scaling.attn_factor") else {
        panic!("no attention factor")
    };
    // What the two make, beside the paper's own.
    let temperature = |mscale: f32| 0.1 * mscale * 4f32.ln() + 1.0;
    assert!((factor - temperature(0.7) / temperature(1.0) / temperature(1.0)).abs() < 1e-6, "{factor}");
}

/// Swaps the two inner dimensions of each matrix of experts.
fn turned(shape: &[usize], bytes: &[u8]) -> (Vec<usize>, Vec<u8>) {
    let [n, rows, columns] = shape[..] else { panic!("{shape:?}") };
    let size = bytes.len() / (n * rows * columns);
    let mut out = Vec::with_capacity(bytes.len());
    for expert in bytes.chunks_exact(rows * columns * size) {
        for column in 0..columns {
            for row in 0..rows {
                let at = (row * columns + column) * size;
                out.extend_from_slice(&expert[at..at + size]);
            }
        }
    }
    (vec![n, columns, rows], out)
}

#[test]
fn experts_of_qwen_3_vl_lie_either_way() {
    let (hub, saved) = (changed("qwen3vlmoe", |_| {}), changed("qwen3vlmoe", |_| {}));
    let path = saved.path().join("model.safetensors");
    let bytes = fs::read(&path).expect("a fixture");
    let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
        .expect("a fixture")
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec())))
        .collect();
    let mut n_turned = 0;
    for (name, tensor) in &mut tensors {
        if name.contains(".experts.") {
            *tensor = turned(&tensor.0, &tensor.1);
            n_turned += 1;
        }
    }
    assert!(n_turned > 0);
    write_safetensors(&path, &tensors);
    let (hub, saved) =
        (converted(&hub).expect("as on the hub"), converted(&saved).expect("as saved by transformers 5"));
    assert!(hub == saved, "the same model");
}
