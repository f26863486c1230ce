//! What cannot be converted is refused with a reason, and nothing is left behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::checkpoint::{Spec, write_json};
use crate::stopped::{StopsEarly, names};
use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{self, FileType, Overrides, Plan, PlanOptions, Progress, RunOptions, Silent};
use gguf_kit::error::{Error, Result};
use gguf_simd::BlockType;
use gguf_simd::kernels::Kernels;
use serde_json::json;

fn plan_error(dir: &Path, file_type: FileType) -> Error {
    let checkpoint = Checkpoint::open(dir).expect("a sound checkpoint");
    match Plan::new(&checkpoint, &PlanOptions::new(file_type)) {
        Ok(_) => panic!("a plan was made"),
        Err(error) => error,
    }
}

fn try_convert(
    dir: &Path,
    path: &Path,
    file_type: FileType,
    progress: &dyn Progress,
    overwrite: bool,
) -> Result<()> {
    let checkpoint = Checkpoint::open(dir)?;
    let plan = Plan::new(&checkpoint, &PlanOptions::new(file_type))?;
    let options = RunOptions { overwrite, n_threads: 2, kernels: Kernels::best() };
    convert::run(&plan, path, &options, progress).map(|_| ())
}

/// A checkpoint whose config.json was changed.
fn with_config(spec: &Spec, change: impl FnOnce(&mut serde_json::Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    spec.write(dir.path());
    let mut config = spec.config();
    change(&mut config);
    write_json(&dir.path().join("config.json"), &config);
    dir
}

#[test]
fn an_unknown_architecture_is_named_with_those_that_are_known() {
    let dir = with_config(&Spec::default(), |config| config["architectures"] = json!(["RwkvForCausalLM"]));
    let error = plan_error(dir.path(), FileType::Q8_0);
    assert!(matches!(error, Error::Unsupported { .. }));
    let message = error.to_string();
    assert!(
        message.contains("\"RwkvForCausalLM\"") && message.contains("supported: Rwkv6ForCausalLM"),
        "{message}"
    );
}

#[test]
fn a_missing_tensor_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec { n_layer: 1, ..Spec::default() }.write(dir.path());
    write_json(&dir.path().join("config.json"), &Spec { n_layer: 2, ..Spec::default() }.config());
    let message = plan_error(dir.path(), FileType::Q8_0).to_string();
    assert!(message.contains("model.layers.1.input_layernorm.weight is missing"), "{message}");
}

#[test]
fn files_that_tokenizers_are_made_from_are_named_with_what_makes_them() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec::default().write(dir.path());
    fs::remove_file(dir.path().join("tokenizer.json")).expect("it was there");
    for name in ["vocab.json", "merges.txt"] {
        fs::write(dir.path().join(name), "{}").expect("writable");
    }
    let message = plan_error(dir.path(), FileType::Q8_0).to_string();
    assert!(
        message.contains("vocab.json, merges.txt alone") && message.contains("save_pretrained"),
        "{message}"
    );
}

#[test]
fn an_untied_model_without_output_matrix_is_told_about_tying() {
    let dir = with_config(&Spec::default(), |config| config["tie_word_embeddings"] = json!(false));
    let message = plan_error(dir.path(), FileType::Q8_0).to_string();
    assert!(
        message.contains("lm_head.weight is missing") && message.contains("tie_word_embeddings"),
        "{message}"
    );
}

#[test]
fn a_wrong_shape_names_both_shapes() {
    let dir = with_config(&Spec::default(), |config| config["intermediate_size"] = json!(128));
    let message = plan_error(dir.path(), FileType::Q8_0).to_string();
    assert!(message.contains("[96, 64]") && message.contains("[128, 64]"), "{message}");
    assert!(
        message.contains("mlp.gate_proj.weight") && message.contains("blk.0.ffn_gate.weight"),
        "{message}"
    );
}

#[test]
fn a_value_that_is_no_number_is_named_and_nothing_is_left() {
    for (value, file_type) in [(f32::NAN, FileType::Q4_0), (f32::INFINITY, FileType::F32)] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Spec::default().write_with(dir.path(), |name, values| {
            if name == "model.layers.1.self_attn.q_proj.weight" {
                values[5 * 64 + 7] = value;
            }
        });
        let out = tempfile::tempdir().expect("a temporary folder");
        let error = try_convert(dir.path(), &out.path().join("m.gguf"), file_type, &Silent, false);
        let error = error.expect_err("not a number");
        assert!(matches!(error, Error::Malformed { .. }));
        let message = error.to_string();
        assert!(message.contains("model.layers.1.self_attn.q_proj.weight, element [5, 7]"), "{message}");
        assert!(names(out.path()).is_empty(), "{:?}", names(out.path()));
    }
}

#[test]
fn a_value_too_large_for_the_type_names_tensor_and_way_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec::default().write_with(dir.path(), |name, values| {
        if name == "model.layers.0.mlp.up_proj.weight" {
            values[3] = 1e8;
        }
    });
    let path = dir.path().join("m.gguf");
    for file_type in [FileType::F16, FileType::Q8_0, FileType::Q4_0] {
        let error = try_convert(dir.path(), &path, file_type, &Silent, false).expect_err(file_type.name());
        let message = error.to_string();
        assert!(message.contains("blk.0.ffn_up.weight") && message.contains("--tensor-type"), "{message}");
        assert!(!path.exists());
    }
    try_convert(dir.path(), &path, FileType::BF16, &Silent, false).expect("BF16 reaches as far as F32");
}

#[test]
fn a_given_type_that_misfits_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec::default().write(dir.path());
    let checkpoint = Checkpoint::open(dir.path()).expect("sound");
    let overrides = Overrides { output: Some(BlockType::Q6_K), ..Overrides::default() };
    let options = PlanOptions { overrides, ..PlanOptions::new(FileType::Q8_0) };
    let error = Plan::new(&checkpoint, &options).expect_err("rows of 64");
    assert!(matches!(error, Error::Usage { .. }));
    assert!(error.to_string().contains("token_embd.weight hold 64 elements"), "{error}");
}

#[test]
fn a_stopped_conversion_leaves_the_folder_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec::default().write(dir.path());
    let out = tempfile::tempdir().expect("a temporary folder");
    let path = out.path().join("m.gguf");
    let stopped = try_convert(dir.path(), &path, FileType::Q8_0, &StopsEarly::default(), false);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(names(out.path()).is_empty(), "{:?}", names(out.path()));

    fs::write(&path, "an older file").expect("a writable folder");
    let stopped = try_convert(dir.path(), &path, FileType::Q8_0, &StopsEarly::default(), true);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert_eq!(names(out.path()), ["m.gguf"]);
    assert_eq!(fs::read_to_string(&path).expect("still there"), "an older file");
}

/// `GGUF_SMALL_DISK` names a folder on a file system with less than 4 MB of room.
#[test]
fn a_full_disk_is_reported_and_leaves_nothing() {
    let Some(small) = crate::common::required_variable("GGUF_SMALL_DISK") else { return };
    let small = Path::new(&small);
    let before = names(small);
    let error =
        try_convert(&crate::common::fairytale(), &small.join("m.gguf"), FileType::Q8_0, &Silent, false);
    let message = error.expect_err("no room").to_string();
    assert!(message.contains("room") || message.contains("space"), "{message}");
    assert_eq!(names(small), before);
    let output = Command::new(env!("CARGO_BIN_EXE_gguf-convert"))
        .arg(crate::common::fairytale())
        .args(["--type", "Q8_0", "--resumable", "-o"])
        .arg(small.join("m.gguf"))
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was left behind"), "{output:?}");
    assert_eq!(names(small), before);
}
