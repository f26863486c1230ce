//! A checkpoint means what transformers takes it to mean: names, tied matrices, biases, left-over files
//! and entries; and what would be another model is an error that names it.

use std::fs;
use std::path::Path;

use crate::common::checkpoint::{Spec, Tensors, write_json, write_safetensors};
use gguf_kit::Error;
use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{self, FileType, Plan, PlanOptions, RunOptions, Silent};
use gguf_kit::gguf::GgufFile;
use gguf_simd::kernels::Kernels;
use regex::Regex;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A checkpoint of `spec` whose config.json and tensors were changed.
fn changed(
    spec: &Spec,
    change_config: impl FnOnce(&mut Value),
    change_tensors: impl FnOnce(&mut Tensors),
) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    spec.write(dir.path());
    let mut config = spec.config();
    change_config(&mut config);
    write_json(&dir.path().join("config.json"), &config);
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).expect("written above");
    let stored = SafeTensors::deserialize(&bytes).expect("written above");
    let tensors =
        stored.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec())));
    let mut tensors: Tensors = tensors.collect();
    change_tensors(&mut tensors);
    write_safetensors(&path, &tensors);
    dir
}

fn nothing<T>(_: &mut T) {}

fn rename(tensors: &mut Tensors, name: impl Fn(&str) -> String) {
    *tensors = std::mem::take(tensors).into_iter().map(|(old, tensor)| (name(&old), tensor)).collect();
}

/// The GGUF file that a checkpoint makes, and the warnings.
fn converted(dir: &Path, ignored: &[&str]) -> Result<(Vec<u8>, Vec<String>), Error> {
    let checkpoint = Checkpoint::open(dir)?;
    let ignored = ignored.iter().map(|pattern| Regex::new(pattern).expect("a pattern")).collect();
    let options = PlanOptions { name: Some("x".into()), ignored, ..PlanOptions::new(FileType::F16) };
    let plan = Plan::new(&checkpoint, &options)?;
    let out = tempfile::tempdir().expect("a temporary folder");
    let path = out.path().join("m.gguf");
    let run_options = RunOptions { overwrite: false, n_threads: 1, kernels: Kernels::best() };
    convert::run(&plan, &path, &run_options, &Silent)?;
    Ok((fs::read(&path).expect("written"), plan.warnings().to_vec()))
}

#[track_caller]
fn message(dir: &TempDir) -> String {
    match converted(dir.path(), &[]) {
        Ok((_, warnings)) => panic!("converted, with {warnings:?}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{message}\" should say \"{part}\"");
    }
}

fn n_tensors(gguf: &[u8]) -> usize {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("m.gguf"), gguf).expect("a writable folder");
    GgufFile::open(&dir.path().join("m.gguf")).expect("a sound file").tensors().len()
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

#[test]
fn a_tied_head_is_dropped_if_equal_and_kept_if_not() {
    let spec = Spec::default();
    let plain = converted(changed(&spec, nothing, nothing).path(), &[]).expect("sound");
    assert_eq!(plain.1, [""; 0]);
    let with_head = |change: fn(&mut Vec<u8>)| {
        changed(&spec, nothing, |tensors| {
            let (shape, mut bytes) = tensors[EMBEDDING].clone();
            change(&mut bytes);
            tensors.insert(HEAD.into(), (shape, bytes));
        })
    };
    assert_eq!(converted(with_head(|_| {}).path(), &[]).expect("equal"), plain);

    // The last weight differs.
    let other = with_head(|bytes| *bytes.last_mut().expect("weights") ^= 0x80);
    let (gguf, warnings) = converted(other.path(), &[]).expect("kept");
    assert_eq!(n_tensors(&gguf), n_tensors(&plain.0) + 1);
    assert_says(&warnings.join("\n"), &["lm_head.weight differs from the embedding", "it is kept"]);
    assert_eq!(converted(other.path(), &["^lm_head"]).expect("left out").0, plain.0);
}

#[test]
fn a_tied_model_may_be_saved_as_its_head_alone() {
    let spec = Spec::default();
    let plain = converted(changed(&spec, nothing, nothing).path(), &[]).expect("sound");
    let alone = changed(&spec, nothing, |tensors| {
        let matrix = tensors.remove(EMBEDDING).expect("written");
        tensors.insert(HEAD.into(), matrix);
    });
    let (gguf, warnings) = converted(alone.path(), &[]).expect("tied");
    assert!(gguf == plain.0, "the same file");
    assert_says(&warnings.join("\n"), &["taken from lm_head.weight"]);
    // Not so where config.json does not tie them.
    let untied = changed(
        &spec,
        |config| config["tie_word_embeddings"] = json!(false),
        |tensors| {
            let matrix = tensors.remove(EMBEDDING).expect("written");
            tensors.insert(HEAD.into(), matrix);
        },
    );
    assert_says(&message(&untied), &["model.embed_tokens.weight is missing"]);
}

#[test]
fn names_without_the_base_prefix_and_with_wrappers_mean_the_same() {
    let spec = Spec::default();
    let plain = converted(changed(&spec, nothing, nothing).path(), &[]).expect("sound");
    let renamed = |name: fn(&str) -> String| changed(&spec, nothing, |tensors| rename(tensors, name));
    let alone = renamed(|name| name.strip_prefix("model.").expect("of the base").into());
    assert!(converted(alone.path(), &[]).expect("a base model") == plain);
    for wrapped in [
        renamed(|name| format!("module.{name}")),
        renamed(|name| format!("_orig_mod.{name}")),
        renamed(|name| name.replace(".mlp.", "._checkpoint_wrapped_module.mlp.")),
    ] {
        let (gguf, warnings) = converted(wrapped.path(), &[]).expect("wrapped");
        assert!(gguf == plain.0, "the same file");
        assert_says(&warnings.join("\n"), &["training wrappers"]);
    }
    let twice = changed(&spec, nothing, |tensors| {
        let norm = tensors["model.norm.weight"].clone();
        tensors.insert("module.model.norm.weight".into(), norm);
    });
    assert_says(&message(&twice), &["model.norm.weight and module.model.norm.weight are the same"]);
    let multimodal = renamed(|name| format!("language_model.{name}"));
    assert!(
        converted(multimodal.path(), &[]).expect("a part of a larger model").0 == plain.0,
        "the same file"
    );
    let part = renamed(|name| format!("actor.{name}"));
    assert_says(
        &message(&part),
        &["model.embed_tokens.weight is missing", "actor.model.embed_tokens.weight, as in a larger model"],
    );
}

#[test]
fn adapters_for_what_a_model_sees_and_hears_leave_its_text_as_it_is() {
    let spec = Spec::default();
    let plain = converted(changed(&spec, nothing, nothing).path(), &[]).expect("sound");
    let adapted = |kind: &str| {
        changed(&spec, nothing, |tensors| {
            rename(tensors, |name| name.replace("up_proj.weight", "up_proj.base_layer.weight"));
            for part in ["lora_A", "lora_B"] {
                let name = format!("model.layers.0.mlp.up_proj.{part}.{kind}.weight");
                tensors.insert(name, (vec![1], vec![0; 2]));
            }
        })
    };
    let (gguf, warnings) = converted(adapted("vision").path(), &[]).expect("text meets the base");
    assert!(gguf == plain.0, "the same file");
    assert_says(&warnings.join("\n"), &["2 tensors are left out", "lora_A.vision"]);
    assert_says(&message(&adapted("default")), &["merge_and_unload()"]);
}

#[test]
fn a_base_class_or_a_model_type_alone_says_what_a_model_is() {
    let spec = Spec::default();
    let plain = converted(changed(&spec, nothing, nothing).path(), &[]).expect("sound");
    let with = |architectures: Value, model_type: Value| {
        let dir = changed(
            &spec,
            |config| {
                config["architectures"] = architectures;
                config["model_type"] = model_type;
            },
            nothing,
        );
        converted(dir.path(), &[]).map(|(gguf, warnings)| (gguf == plain.0, warnings.join("\n")))
    };
    assert_eq!(with(json!(["LlamaModel"]), json!("llama")).expect("a base model"), (true, String::new()));
    for none in [Value::Null, json!([])] {
        let (same, warnings) = with(none, json!("mistral")).expect("known by its type");
        assert!(same);
        assert_says(&warnings, &["names no \"architectures\""]);
    }
    let (same, warnings) = with(json!(["LlamaForCausalLM"]), json!("yayi")).expect("known by its class");
    assert!(same);
    assert_says(&warnings, &["model_type \"yayi\" beside the class LlamaForCausalLM"]);
    let (_, warnings) = with(json!(["X", "LlamaForCausalLM"]), json!("llama")).expect("one is known");
    assert_says(&warnings, &["several", "LlamaForCausalLM is taken"]);
    for (architectures, model_type, said) in [
        (json!(["LlamaForTokenClassification"]), json!("llama"), "LlamaForTokenClassification"),
        (Value::Null, json!("rwkv"), "model_type \"rwkv\""),
        (Value::Null, Value::Null, "names neither"),
        (json!("LlamaForCausalLM"), json!("llama"), "should be a list of strings"),
    ] {
        let error = with(architectures, model_type).expect_err(said).to_string();
        assert_says(&error, &["config.json", said]);
    }
}

#[test]
fn a_left_over_quantization_entry_is_a_note_and_quantised_weights_are_refused() {
    let quantised = |config: &mut Value| {
        config["quantization_config"] = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    };
    let spec = Spec::default();
    let plain = converted(changed(&spec, nothing, nothing).path(), &[]).expect("sound");
    let left = changed(&spec, quantised, nothing);
    let (gguf, warnings) = converted(left.path(), &[]).expect("plain weights");
    assert!(gguf == plain.0, "the same file");
    assert_says(&warnings.join("\n"), &["bitsandbytes quantised", "they are plain"]);

    // Scales beside the weights, and weights of bytes.
    let scales = changed(&spec, quantised, |tensors| {
        tensors.insert("model.layers.0.mlp.up_proj.weight.absmax".into(), (vec![1], vec![0; 2]));
    });
    assert_says(&message(&scales), &["already quantised (bitsandbytes)", "up_proj.weight.absmax"]);
    let packed = changed(&spec, quantised, nothing);
    let path = packed.path().join("model.safetensors");
    let bytes = fs::read(&path).expect("written");
    let n = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().expect("8"))).expect("short");
    let header = String::from_utf8(bytes[8..n].to_vec()).expect("JSON");
    fs::write(
        &path,
        [&bytes[..8], header.replace("BF16", "I16 ").replace("\"I16 \"", "\"I16\" ").as_bytes(), &bytes[n..]]
            .concat(),
    )
    .expect("writable");
    assert_says(&message(&packed), &["already quantised (bitsandbytes)", "as tensor model.embed_tokens"]);
}

#[test]
fn tensors_without_a_place_are_an_error_that_names_them_and_the_way_out() {
    let spec = Spec::default();
    let plain = converted(changed(&spec, nothing, nothing).path(), &[]).expect("sound");
    let with = |names: &[&str]| {
        changed(&spec, nothing, |tensors| {
            tensors.extend(names.iter().map(|&name| (name.to_owned(), (vec![1], vec![0; 2]))));
        })
    };
    // Buffers of older versions, which transformers itself passes over.
    let buffers = with(&["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"]);
    assert!(converted(buffers.path(), &[]).expect("harmless") == plain);

    // So it does over masks, which have the names of biases.
    let mask = |shape: Vec<usize>| {
        let name = "model.layers.0.attn.bias".to_owned();
        changed(&spec, nothing, |tensors| _ = tensors.insert(name, (shape, vec![0; 32])))
    };
    assert!(converted(mask(vec![1, 1, 4, 4]).path(), &[]).expect("a mask") == plain);
    assert_says(&message(&mask(vec![16])), &["1 tensor has no place", "attn.bias"]);

    let names = ["model.layers.1.self_attn.q_norm.weight", "model.bridge.conv.weight", "score.weight"];
    let extra = with(&names);
    let error = message(&extra);
    assert_says(&error, &["3 tensors have no place in the llama architecture", "--ignore-tensor REGEX"]);
    assert_says(&error, &names);
    let (gguf, _) = converted(extra.path(), &["q_norm", "^(model\\.bridge|score)"]).expect("left out");
    assert!(gguf == plain.0, "the same file");
    assert!(converted(extra.path(), &["q_norm"]).is_err());

    let more_layers =
        changed(&Spec { n_layer: 3, ..spec }, |config| config["num_hidden_layers"] = json!(2), nothing);
    assert_says(
        &message(&more_layers),
        &["9 tensors", "model.layers.2.input_layernorm.weight", "and 1 more"],
    );
}

#[test]
fn biases_must_be_where_config_says_and_nowhere_else() {
    let spec = Spec { has_biases: true, ..Spec::default() };
    converted(changed(&spec, nothing, nothing).path(), &[]).expect("promised and there");
    let denied = changed(&spec, |config| config["attention_bias"] = json!(false), nothing);
    assert_says(&message(&denied), &["8 tensors", "q_proj.bias", "\"attention_bias\": true"]);
    converted(denied.path(), &[r"self_attn\..*\.bias$"]).expect("left out");
    let without = |ending: &'static str| {
        changed(&spec, nothing, move |tensors| tensors.retain(|name, _| !name.ends_with(ending)))
    };
    assert_says(&message(&without("k_proj.bias")), &["k_proj.bias is missing", "config.json must not say"]);
    assert_says(&message(&without("up_proj.bias")), &["up_proj.bias is missing"]);
    // Models made from others whose attention has no bias at its output.
    converted(without("o_proj.bias").path(), &[]).expect("zeros to transformers");
}

#[test]
fn numbers_are_held_against_the_weights_first() {
    let spec = Spec::mixtral();
    let with = |key: &'static str, value: Value| changed(&spec, |config| config[key] = value, nothing);
    for rows in [4095, 4097, 1 << 20] {
        assert_says(
            &message(&with("vocab_size", json!(rows))),
            &["config.json", &format!("vocab_size is {rows}"), "has 4096 rows"],
        );
    }
    for (key, value, said) in [
        ("vocab_size", json!(u64::MAX), "for vocab_size"),
        ("vocab_size", json!(1 << 24), "vocabulary size is 16777216"),
        ("head_dim", json!(1 << 27), "key head"),
        ("num_hidden_layers", json!(256), "model.layers.2.input_layernorm.weight is missing"),
        ("num_local_experts", json!(4096), "has shape [8, 64]"),
        ("hidden_size", json!(128), "has shape [4096, 64]"),
        ("num_attention_heads", json!(3), "does not divide"),
        ("num_attention_heads", json!(0), "does not divide"),
        ("intermediate_size", json!(-1), "should be a whole number"),
        ("intermediate_size", json!(96.5), "should be a whole number"),
        ("intermediate_size", json!("96"), "should be a whole number"),
        ("max_position_embeddings", json!(true), "should be a whole number"),
        ("rope_theta", json!(-1.0), "rotary base is -1"),
        ("rope_theta", json!(0), "rotary base is 0"),
        ("rms_norm_eps", json!([]), "should be a number"),
        ("vocab_size", Value::Null, "vocab_size is missing"),
    ] {
        assert_says(&message(&with(key, value)), &[said]);
    }
}
