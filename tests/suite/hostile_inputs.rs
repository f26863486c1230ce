//! Broken checkpoints as a newcomer would meet them, of every kind of input: what is said names the file and what to do, and
//! nothing is written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::checkpoint::Spec;
use crate::convert_inputs::quantised;

/// Formats whose fixtures fit the tiny model.
const FORMATS: [&str; 6] = ["gptq-4", "awq-gemv", "fp8-block", "bnb-nf4", "hqq-4", "aqlm-2x8"];

/// The packed checkpoint of a format, and an empty folder beside it.
fn packed(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let [packed, _] = quantised(name, dir.path());
    fs::create_dir(dir.path().join("out")).expect("a new folder");
    (dir, packed)
}

/// What converting says of a broken checkpoint. That nothing is written is checked.
#[track_caller]
fn refusal(dir: &Path, input: &Path, about: &str) -> String {
    let out = dir.join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    let done = command.arg(input).args(["--type", "Q8_0", "-o"]).arg(&out).output().expect("it starts");
    let said = String::from_utf8(done.stderr).expect("UTF-8");
    assert!(matches!(done.status.code(), Some(1 | 2)), "{about}: {said}");
    assert!(said.starts_with("error: ") || said.contains("\nerror: "), "{about}: {said}");
    assert_eq!(fs::read_dir(out).expect("a folder").count(), 0, "{about}: something is written");
    said
}

/// Replaces the first `from` in the header of the weights by `to`, of one length.
fn change_header(checkpoint: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let path = checkpoint.join("model.safetensors");
    let mut bytes = fs::read(&path).expect("written");
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("in the header");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).expect("writable");
}

#[test]
fn integers_without_scales_are_no_weights() {
    for (ty, element) in [("I16", "\"I16\" "), ("U16", "\"U16\" ")] {
        let dir = tempfile::tempdir().expect("a folder");
        let checkpoint = dir.path().join("model");
        fs::create_dir(&checkpoint).expect("writable");
        fs::create_dir(dir.path().join("out")).expect("writable");
        Spec::default().write(&checkpoint);
        change_header(&checkpoint, "\"BF16\"", element);
        let said = refusal(dir.path(), &checkpoint, ty);
        assert!(said.contains(&format!("has elements of {ty}")) && said.contains("no scales"), "{said}");
    }
}

#[test]
fn a_file_that_was_cut_names_the_tensor_and_nothing_of_its_header() {
    let dir = tempfile::tempdir().expect("a folder");
    let checkpoint = dir.path().join("model");
    fs::create_dir(&checkpoint).expect("writable");
    fs::create_dir(dir.path().join("out")).expect("writable");
    Spec::default().write(&checkpoint);
    let path = checkpoint.join("model.safetensors");
    let bytes = fs::read(&path).expect("written");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("writable");
    let said = refusal(dir.path(), &checkpoint, "cut");
    assert!(said.contains("cut short") && said.trim_end().ends_with("Download it again"), "{said}");
}

#[test]
fn weights_that_end_early_are_named_for_every_format() {
    for name in FORMATS {
        let (dir, packed) = packed(name);
        let path = packed.join("model.safetensors");
        let bytes = fs::read(&path).expect("written");
        for n in [bytes.len() - 1, 100, 0] {
            fs::write(&path, &bytes[..n]).expect("writable");
            let said = refusal(dir.path(), &packed, name);
            assert!(said.contains("model.safetensors"), "{name}, {n} bytes: {said}");
        }
    }
}

#[test]
fn scales_that_are_no_floats_are_refused() {
    for (name, part, dtype) in [
        ("gptq-4", "up_proj.scales", "F16"),
        ("awq-gemm", "up_proj.scales", "F16"),
        ("hqq-4", "up_proj.scale", "F32"),
        ("torchao-int8", "up_proj._weight_scale", "F32"),
        ("quanto-int8", "weight._scale", "F32"),
        ("aqlm-2x8", "up_proj.scales", "F16"),
    ] {
        let (dir, packed) = packed(name);
        let header = String::from_utf8_lossy(&fs::read(packed.join("model.safetensors")).expect("written"))
            .into_owned();
        let entry = header.find(&format!("{part}\":{{\"dtype\":\"{dtype}\"")).map(|at| &header[at..]);
        let entry = entry.unwrap_or_else(|| panic!("{name}: no {part} of {dtype}"));
        let from = &entry[..part.len() + 12 + dtype.len()];
        let integer = dtype.replace('F', "I");
        change_header(&packed, from, &from.replace(dtype, &integer));
        let said = refusal(dir.path(), &packed, name);
        assert!(said.contains("scales are floats") && said.contains(part), "{name}: {said}");
    }
}

#[test]
fn what_config_json_lacks_is_named() {
    let (dir, packed) = packed("gptq-4");
    let path = packed.join("config.json");
    let config: Value = serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
    for key in [
        "architectures",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
    ] {
        let mut without = config.clone();
        without.as_object_mut().expect("an object").remove(key);
        fs::write(&path, without.to_string()).expect("writable");
        let said = refusal(dir.path(), &packed, key);
        assert!(said.contains("config.json") && said.contains(key), "{key}: {said}");
    }
    fs::write(&path, "{").expect("writable");
    assert!(refusal(dir.path(), &packed, "half").contains("config.json"));
    fs::remove_file(&path).expect("there");
    assert!(refusal(dir.path(), &packed, "none").contains("has no config.json"));
}

#[test]
fn an_index_that_leads_nowhere_names_what_is_missing() {
    let (dir, packed) = packed("gptq-4");
    fs::rename(packed.join("model.safetensors"), packed.join("a.safetensors")).expect("renamed");
    let index = packed.join("model.safetensors.index.json");
    for (map, said) in [
        (r#"{"weight_map": {"x": "b.safetensors"}}"#, "b.safetensors"),
        (r#"{"weight_map": {"x": "../a.safetensors"}}"#, "without folders"),
        (r#"{"weight_map": {}}"#, "weight_map is empty"),
        (r#"{"weights": {}}"#, "no weight_map"),
        ("[]", "not an object"),
    ] {
        fs::write(&index, map).expect("writable");
        let found = refusal(dir.path(), &packed, map);
        assert!(found.contains(said) && found.contains("index.json"), "{map}: {found}");
    }
}

#[test]
fn groups_that_do_not_divide_are_refused() {
    let (dir, packed) = packed("awq-gemv");
    let path = packed.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
    for group in [48, 0, 100_000] {
        config["quantization_config"]["group_size"] = group.into();
        fs::write(&path, config.to_string()).expect("writable");
        let said = refusal(dir.path(), &packed, "groups");
        assert!(
            said.contains("up_proj.qweight")
                && said.contains(&format!("groups of {group} do not divide its 128 inputs")),
            "{said}"
        );
    }
}
