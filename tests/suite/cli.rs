//! `gguf-run` on bad input: the exit status says whose fault it is, the message names the file and
//! the remedy, and standard output stays empty.

use std::path::{Path, PathBuf};

use crate::common::fairytale;
use crate::program::{assert_failed, assert_fails, command, run, stderr, stdout};

fn hostile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hostile").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

#[test]
fn missing_model_is_named_with_what_was_probably_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("story-Q4_K_M.gguf"), b"GGUF").expect("written");
    let missing = folder.path().join("story-Q4_K_S.gguf");
    for command in [
        vec!["complete", text(&missing), "-p", "x"],
        vec!["inspect", text(&missing)],
        vec!["tokenize", text(&missing), "x"],
        vec!["bench", text(&missing)],
    ] {
        assert_fails(command, 1, &["story-Q4_K_S.gguf", "did you mean", "story-Q4_K_M.gguf"]);
    }
}

#[test]
fn folder_without_a_checkpoint_is_wrong_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = text(folder.path());
    assert_fails(["complete", path, "-p", "x"], 2, &[path, "config.json"]);
}

#[test]
fn file_of_another_kind_is_wrong_usage() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert_fails(["complete", text(&manifest), "-p", "x"], 2, &["Cargo.toml", "GGUF"]);
}

#[test]
fn hostile_files_end_every_command_with_a_message_that_names_them() {
    let mut seen = 0;
    for entry in std::fs::read_dir(hostile("")).expect("the hostile fixtures") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "gguf") {
            continue;
        }
        seen += 1;
        let (path, name) = (text(&path), path.file_name().expect("a name").to_string_lossy());
        assert_fails(["inspect", path], 1, &[&name]);
        assert_fails(["complete", path, "-p", "x"], 1, &[&name]);
        assert_fails(["tokenize", path, "x"], 1, &[&name]);
    }
    assert!(seen >= 5, "only {seen} hostile files");
}

#[test]
fn type_is_for_checkpoints_only_and_must_exist() {
    let gguf = hostile("nested-arrays.gguf");
    assert_fails(["complete", text(&gguf), "--type", "Q8_0", "-p", "x"], 2, &["--type Q8_0", "checkpoint"]);
    let checkpoint = fairytale();
    assert_fails(
        ["complete", text(&checkpoint), "--type", "Q4_Z", "-p", "x"],
        2,
        &["Q4_Z", "Q4_K_M", "Q8_0"],
    );
}

#[test]
fn unknown_cpu_tier_is_refused_from_flag_and_environment() {
    let checkpoint = fairytale();
    let args = ["complete", text(&checkpoint), "-p", "x"];
    assert_fails(args.iter().copied().chain(["--isa", "sse9"]), 2, &["--isa sse9", "scalar"]);
    let output = command(args).env("GGUF_ISA", "sse9").output().expect("gguf-run starts");
    assert_failed(&output, 2, &["GGUF_ISA sse9", "scalar"]);
}

#[test]
fn numbers_that_leave_nothing_to_do_are_wrong_usage() {
    let checkpoint = fairytale();
    let path = text(&checkpoint);
    assert_fails(["complete", path, "-p", "x", "--threads", "0"], 2, &["--threads must be at least 1"]);
    assert_fails(["complete", path, "-p", "x", "--batch", "0"], 2, &["--batch 0"]);
    assert_fails(["complete", path, "-p", "x", "--stop", ""], 2, &["--stop"]);
    assert_fails(["bench", path, "-p", "0", "-n", "0"], 2, &["-p, -n, --pg or --columns"]);
    assert_fails(["bench", path, "-r", "0"], 2, &["-r"]);
}

#[test]
fn threads_beyond_the_machine_are_warned_of_and_beyond_reason_refused() {
    let checkpoint = fairytale();
    let path = text(&checkpoint);
    let too_many = (gguf_kit::threads::processor_count() + 1).to_string();
    let args = ["complete", path, "-p", "x", "-n", "1", "--threads", &too_many];
    let output = run(args);
    assert!(output.status.success() && stderr(&output).contains("warning: "), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("{too_many} threads take turns")), "{}", stderr(&output));
    assert_fails(["complete", path, "-p", "x", "--threads", "1025"], 2, &["1025", "--threads 1024"]);
}

#[test]
fn arguments_that_are_missing_or_exclude_each_other_are_wrong_usage() {
    assert_fails(["complete", "model.gguf"], 2, &["--prompt", "--file"]);
    assert_fails(["complete", "model.gguf", "-p", "x", "-f", "y"], 2, &["--prompt", "--file"]);
    assert_fails(["perplexity", "model.gguf"], 2, &["--file"]);
    assert_fails(["divergence", "model.gguf"], 2, &["MODEL"]);
    assert_fails(["speak", "model.gguf"], 2, &["speak"]);
}

#[test]
fn text_file_that_is_missing_or_no_text_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = fairytale();
    let (model, missing, bytes) =
        (text(&checkpoint), folder.path().join("no.txt"), folder.path().join("b.bin"));
    std::fs::write(&bytes, b"abc\xff").expect("written");
    for subcommand in ["complete", "perplexity", "tokenize"] {
        assert_fails([subcommand, model, "-f", text(&missing)], 1, &["no.txt"]);
        assert_fails([subcommand, model, "-f", text(&bytes)], 1, &["b.bin", "UTF-8", "byte 3"]);
    }
}

#[test]
fn unknown_architecture_is_refused_with_those_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), br#"{"architectures": ["RwkvForCausalLM"]}"#)
        .expect("written");
    std::fs::copy(fairytale().join("model.safetensors"), folder.path().join("model.safetensors"))
        .expect("copied");
    let args = ["complete", text(folder.path()), "-p", "x"];
    assert_fails(args, 1, &["RwkvForCausalLM", "the nearest supported: Rwkv6ForCausalLM, Rwkv7ForCausalLM"]);
}

#[test]
fn help_is_no_error_and_shows_examples() {
    for subcommand in
        ["complete", "chat", "perplexity", "divergence", "logits", "bench", "inspect", "tokenize"]
    {
        let output = run([subcommand, "--help"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains(&format!("gguf-run {subcommand} ")), "{subcommand} has no example");
        assert_eq!(stderr(&output), "");
    }
}
