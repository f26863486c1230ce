//! `gguf-convert` as it is used: exit status, what goes to which stream, what is left on disk.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::checkpoint::{self, Spec};
use serde_json::Value;

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).args(args);
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("the program starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// A folder with a checkpoint in `tiny`.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(dir.path().join("tiny")).expect("a writable folder");
    Spec::default().write(&dir.path().join("tiny"));
    dir
}

#[test]
fn a_conversion_is_named_after_folder_and_type_and_summed_up() {
    let dir = workplace();
    let output = run(dir.path(), &["tiny", "--type", "q8_0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("tiny-Q8_0.gguf: Q8_0, "), "{}", stdout(&output));
    assert!(stdout(&output).contains("bits per weight") && stdout(&output).contains("largest in "));
    assert!(dir.path().join("tiny-Q8_0.gguf").exists());

    let again = run(dir.path(), &["tiny", "--type", "Q8_0"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    let forced = run(dir.path(), &["tiny", "--type", "Q8_0", "--force", "--quiet"]);
    assert_eq!(forced.status.code(), Some(0));
    assert!(forced.stdout.is_empty() && forced.stderr.is_empty());
}

#[test]
fn a_dry_run_shows_every_tensor_and_writes_nothing() {
    let dir = workplace();
    let output = run(dir.path(), &["tiny", "--type", "Q4_K_M", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = stdout(&output);
    // Rows of 64 do not divide into blocks of 256.
    assert!(table.contains("Q5_0 (rows do not fit Q4_K)"), "{table}");
    assert!(table.contains("[4096, 64]") && table.contains("bits per weight"), "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with("blk.")).count(), 18);
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
}

#[test]
fn json_agrees_with_the_file() {
    let dir = workplace();
    let json = |args: &[&str]| -> Value {
        let output = run(dir.path(), args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    };
    let plan = json(&["tiny", "--type", "Q5_1", "--dry-run", "--json", "-o", "m.gguf"]);
    let summary = json(&["tiny", "--type", "Q5_1", "--json", "-o", "m.gguf"]);
    let n_bytes = fs::metadata(dir.path().join("m.gguf")).expect("written").len();
    assert_eq!(plan["bytes"], n_bytes);
    assert_eq!(summary["bytes"], n_bytes);
    assert_eq!(plan["bits_per_weight"], summary["bits_per_weight"]);
    let (planned, made) =
        (plan["tensors"].as_array().expect("a list"), summary["tensors"].as_array().expect("a list"));
    assert_eq!(planned.len(), made.len());
    for (planned, made) in planned.iter().zip(made) {
        for key in ["name", "type", "bytes"] {
            assert_eq!(planned[key], made[key]);
        }
    }
    assert!(summary["relative_rmse"].as_f64().expect("a number") > 0.001);
}

#[test]
fn wrong_usage_ends_with_2_and_other_failures_with_1() {
    let dir = workplace();
    for (args, status, reason) in [
        (&["tiny"][..], 2, "--type"),
        (&["tiny", "--type", "Q4KM"], 2, "did you mean Q4_K_M?"),
        (&["tiny", "--type", "Q8_0", "--tensor-type", "(=Q8_0"], 2, "regex"),
        (&["tiny", "--type", "Q8_0", "--output-tensor-type", "Q6_K"], 2, "use --output-tensor-type Q8_0"),
        (&["tiny", "--type", "Q8_0", "-o", "no/such/folder/m.gguf"], 2, "does not exist"),
        (&["tiny", "--type", "Q8_0,Q4_0", "-o", "m.gguf"], 2, "model-{type}.gguf"),
        (&["tiny", "--type", "Q8_0", "--threads", "0"], 2, "--threads must be at least 1"),
        (&["tiny", "--type", "Q8_0", "--isa", "mmx"], 2, "mmx"),
        (&["absent", "--type", "Q8_0"], 1, "absent"),
    ] {
        let output = run(dir.path(), args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(reason), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing was written");
}

#[test]
fn an_unknown_architecture_is_told_before_a_weight_is_looked_at() {
    let dir = workplace();
    // None of the tensors that it would need is there.
    let name = dir.path().join("tiny/model.safetensors");
    checkpoint::write_safetensors(&name, &[("x".to_owned(), (vec![1], vec![0; 2]))].into());
    let config = dir.path().join("tiny/config.json");
    let text = fs::read_to_string(&config).expect("written above");
    fs::write(&config, text.replace("LlamaForCausalLM", "GPT9ForCausalLM")).expect("writable");
    for more in [&[][..], &["--dry-run"]] {
        let output = run(dir.path(), &[&["tiny", "--type", "Q8_0"], more].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("GPT9ForCausalLM")
                && stderr(&output).contains("nearest supported: GPTJForCausalLM")
        );
    }
}

#[test]
fn a_pattern_that_matches_nothing_is_a_warning() {
    let dir = workplace();
    let args = ["tiny", "--type", "Q8_0", "--tensor-type", "ffn_dwon=F16", "--tensor-type", "ffn_up=F16"];
    let more = ["--ignore-tensor", "vision", "--tensor-type", "attn_norm=Q8_0"];
    let output = run(dir.path(), &[&args[..], &more].concat());
    assert_eq!(output.status.code(), Some(0));
    let warnings: Vec<&str> = stderr(&output).lines().collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].starts_with("warning: --ignore-tensor vision matches no tensor"));
    assert!(warnings[1].starts_with("warning: --tensor-type ffn_dwon=F16 matches no tensor"));
    assert!(
        warnings[2].starts_with("warning: --tensor-type attn_norm=Q8_0 matches only tensors that are never")
    );
}
