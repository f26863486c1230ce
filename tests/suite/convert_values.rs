//! A converted file holds the checkpoint's values, each where GGUF's `llama` wants it.

use std::path::Path;

use crate::common::checkpoint::Spec;
use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{FileType, Plan, PlanOptions};
use gguf_kit::gguf::GgufFile;
use gguf_kit::quantize::decode_source;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A tensor of an F32 conversion.
fn converted(file: &GgufFile, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap_or_else(|| panic!("{name} is missing"));
    assert_eq!(tensor.ty.name(), "F32", "{name}");
    file.bytes(tensor).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// A tensor of a checkpoint.
fn original(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let view = checkpoint.tensor(name).expect("a known type").unwrap_or_else(|| panic!("{name} is missing"));
    let mut values = vec![0.0; view.shape.iter().product()];
    let mut bytes = vec![0; view.n_bytes as usize];
    view.read_at(0, &mut bytes).expect("a sound checkpoint");
    decode_source(view.dtype, &bytes, &mut values);
    values
}

fn in_f32(dir: &Path) -> (Checkpoint, GgufFile) {
    let path = dir.join("m.gguf");
    crate::common::convert(dir, &path, FileType::F32);
    (Checkpoint::open(dir).expect("sound"), GgufFile::open(&path).expect("our own file"))
}

/// Rows of `n_in` from half-split to paired rotary order, written out from the definition.
fn paired(rows: &[f32], n_head: usize, n_in: usize) -> Vec<f32> {
    let head_dim = rows.len() / n_head / n_in;
    let mut out = Vec::with_capacity(rows.len());
    for head in 0..n_head {
        for i in 0..head_dim / 2 {
            for half in 0..2 {
                let row = head * head_dim + half * head_dim / 2 + i;
                out.extend_from_slice(&rows[row * n_in..][..n_in]);
            }
        }
    }
    out
}

#[test]
fn dense_tensors_are_copied_and_queries_and_keys_paired() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec { has_biases: true, head_dim: Some(24), is_tied: false, ..Spec::default() }.write(dir.path());
    let (checkpoint, file) = in_f32(dir.path());
    for (ours, theirs) in [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output.weight", "lm_head.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("blk.1.attn_norm.weight", "model.layers.1.input_layernorm.weight"),
        ("blk.1.ffn_norm.weight", "model.layers.1.post_attention_layernorm.weight"),
        ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"),
        ("blk.0.attn_v.bias", "model.layers.0.self_attn.v_proj.bias"),
        ("blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight"),
        ("blk.0.attn_output.bias", "model.layers.0.self_attn.o_proj.bias"),
        ("blk.1.ffn_gate.weight", "model.layers.1.mlp.gate_proj.weight"),
        ("blk.1.ffn_up.bias", "model.layers.1.mlp.up_proj.bias"),
        ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
    ] {
        assert!(converted(&file, ours) == original(&checkpoint, theirs), "{ours}");
    }
    for (part, n_head) in [("q", 4), ("k", 2)] {
        let weight = original(&checkpoint, &format!("model.layers.1.self_attn.{part}_proj.weight"));
        let bias = original(&checkpoint, &format!("model.layers.1.self_attn.{part}_proj.bias"));
        assert!(
            converted(&file, &format!("blk.1.attn_{part}.weight")) == paired(&weight, n_head, 64),
            "{part}"
        );
        assert!(converted(&file, &format!("blk.1.attn_{part}.bias")) == paired(&bias, n_head, 1), "{part}");
    }
    let key = |name: &str| file.metadata().required_count(name).expect("written");
    assert_eq!(key("llama.attention.key_length"), 24);
    assert_eq!(key("llama.rope.dimension_count"), 24);
}

#[test]
fn experts_are_stacked_in_order() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec::mixtral().write(dir.path());
    let (checkpoint, file) = in_f32(dir.path());
    for (ours, theirs) in [("gate", "w1"), ("up", "w3"), ("down", "w2")] {
        let name = format!("blk.1.ffn_{ours}_exps.weight");
        let expected: Vec<f32> = (0..8)
            .flat_map(|e| {
                original(&checkpoint, &format!("model.layers.1.block_sparse_moe.experts.{e}.{theirs}.weight"))
            })
            .collect();
        assert!(converted(&file, &name) == expected, "{name}");
        assert_eq!(file.tensor(&name).expect("present").shape.len(), 3);
    }
    assert!(
        converted(&file, "blk.0.ffn_gate_inp.weight")
            == original(&checkpoint, "model.layers.0.block_sparse_moe.gate.weight")
    );
    assert_eq!(file.metadata().required_count("llama.expert_count").expect("written"), 8);
    assert_eq!(file.metadata().required_count("llama.expert_used_count").expect("written"), 2);
}

#[test]
fn llama_3_scaling_becomes_a_tensor_of_divisors() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec::llama3_rope().write(dir.path());
    let (_, file) = in_f32(dir.path());
    let divisors = converted(&file, "rope_freqs.weight");
    // Heads of 16 rotate with wavelengths 2 pi 10000^(i / 8): 6.3, 19.9, 62.8, 198.7 and longer. Of
    // 64 positions they fit 10.2, 3.2, 1.02 and 0.32 times; from 4 on kept, below 1 stretched by 8.
    assert_eq!(divisors.len(), 8);
    assert_eq!(divisors[0], 1.0);
    assert!(1.0 < divisors[1] && divisors[1] < 1.5, "{divisors:?}");
    assert!(6.0 < divisors[2] && divisors[2] < 8.0, "{divisors:?}");
    assert!(divisors[3..].iter().all(|&divisor| divisor == 8.0), "{divisors:?}");
    assert!(!file.metadata().contains("llama.rope.scaling.type"));
}

#[test]
fn sharded_and_single_checkpoints_convert_to_the_same_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let single = dir.path().join("single");
    let sharded = dir.path().join("sharded");
    for dir in [&single, &sharded] {
        std::fs::create_dir(dir).expect("a writable folder");
    }
    let spec = Spec { is_tied: false, ..Spec::default() };
    spec.write(&single);
    spec.write_sharded(&sharded, 3);
    let options = |input: &Path, name: &str| {
        let path = dir.path().join(name);
        crate::common::convert_named(input, &path, FileType::Q8_0, "the same");
        std::fs::read(path).expect("our own file")
    };
    let reference = options(&single, "a.gguf");
    assert!(options(&single.join("model.safetensors"), "b.gguf") == reference, "by file");
    assert!(options(&sharded, "c.gguf") == reference, "by folder of shards");
    assert!(options(&sharded.join("model.safetensors.index.json"), "d.gguf") == reference, "by index");
}

#[test]
fn general_keys_come_from_config_card_and_folder() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let dir = dir.path().join("Tiny-Tale-1M-Instruct-v0.2");
    std::fs::create_dir(&dir).expect("a writable folder");
    Spec::default().write(&dir);
    let card = "---\nlicense: apache-2.0\nlanguage:\n- en\n- de\ntags: [tale]\nbase_model: someone/Base-2B\n---\n# Tale\n";
    std::fs::write(dir.join("README.md"), card).expect("a writable folder");
    let sampling = r#"{"temperature": 0.8, "repetition_penalty": 1.5}"#;
    std::fs::write(dir.join("generation_config.json"), sampling).expect("a writable folder");
    let (_, file) = in_f32(&dir);
    let text = |key: &str| file.metadata().required_string(key).expect("written").to_owned();
    assert_eq!(text("general.name"), "Tiny Tale 1M Instruct v0.2");
    assert_eq!(text("general.basename"), "Tiny-Tale");
    assert_eq!(text("general.size_label"), "1M");
    assert_eq!(text("general.finetune"), "Instruct");
    assert_eq!(text("general.version"), "v0.2");
    assert_eq!(text("general.license"), "apache-2.0");
    assert_eq!(text("general.base_model.0.name"), "Base 2B");
    assert_eq!(text("general.base_model.0.organization"), "Someone");
    assert_eq!(text("general.base_model.0.repo_url"), "https://huggingface.co/someone/Base-2B");
    let list = |key: &str| -> Vec<String> {
        let strings = file.metadata().strings(key).expect("strings").expect("written");
        strings.map(str::to_owned).collect()
    };
    assert_eq!(list("general.languages"), ["en", "de"]);
    assert_eq!(list("general.tags"), ["tale"]);
    let sampling = |key: &str| file.metadata().f32(&format!("general.sampling.{key}")).expect("a float");
    assert_eq!((sampling("temp"), sampling("penalty_repeat")), (Some(0.8), Some(1.5)));
}

#[test]
fn what_is_said_to_be_greedy_is_whatever_temperature_stands_beside_it() {
    for (config, temperature) in [
        (r#"{"do_sample": false, "temperature": 0.6}"#, Some(0.0)),
        (r#"{"do_sample": false}"#, Some(0.0)),
        (r#"{"do_sample": true, "temperature": 0.6}"#, Some(0.6)),
        ("{}", None),
    ] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Spec::default().write(dir.path());
        std::fs::write(dir.path().join("generation_config.json"), config).expect("a writable folder");
        let (_, file) = in_f32(dir.path());
        assert_eq!(file.metadata().f32("general.sampling.temp").expect("a float"), temperature, "{config}");
    }
}

#[test]
fn floats_of_8_bits_without_scales_are_taken_as_they_are_with_a_note() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::default().write(dir.path());
    let weights = dir.path().join("model.safetensors");
    let before = std::fs::read(&weights).expect("written");
    let tensors = SafeTensors::deserialize(&before).expect("sound");
    // Half of the bytes: as many numbers, of other values; 0x7F and 0xFF are none.
    let number = |byte: &u8| if byte & 0x7F == 0x7F { 0x38 } else { *byte };
    let halves: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = tensors
        .iter()
        .map(|(name, view)| {
            let (shape, bytes) = (view.shape().to_vec(), view.data());
            let (dtype, bytes) = match shape.len() {
                1 => (view.dtype(), bytes.to_vec()),
                _ => (Dtype::F8_E4M3, bytes[..bytes.len() / 2].iter().map(number).collect()),
            };
            (name.to_owned(), shape, dtype, bytes)
        })
        .collect();
    let views = halves.iter().map(|(name, shape, dtype, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("shape and bytes agree"))
    });
    safetensors::serialize_to_file(views, None, &weights).expect("a writable folder");
    let (checkpoint, file) = in_f32(dir.path());
    assert_eq!(
        converted(&file, "blk.0.ffn_down.weight"),
        original(&checkpoint, "model.layers.0.mlp.down_proj.weight")
    );
    let plan = Plan::new(&checkpoint, &PlanOptions::new(FileType::F16)).expect("a plan");
    let note = plan.warnings().iter().find(|note| note.contains("plain F8 values without scales"));
    assert!(note.is_some_and(|note| note.contains("15 of the tensors")), "{:?}", plan.warnings());
}

#[test]
fn the_mark_of_utf_8_in_front_of_json_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::default().write_sharded(dir.path(), 2);
    let convert = |name: &str| {
        let path = dir.path().join(name);
        crate::common::convert(dir.path(), &path, FileType::Q8_0);
        std::fs::read(path).expect("written")
    };
    let expected = convert("a.gguf");
    let mut n_marked = 0;
    for entry in std::fs::read_dir(dir.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            std::fs::write(&path, format!("\u{feff}{text}")).expect("writable");
            n_marked += 1;
        }
    }
    assert_eq!(n_marked, 6, "config, index and four of the tokenizer");
    assert!(convert("b.gguf") == expected);
}
