//! Several files from one reading, and models split into parts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::checkpoint::Spec;
use crate::common::fairytale;
use gguf_kit::gguf::GgufFile;
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session};
use serde_json::Value;

use crate::common::{options, texts};

fn convert(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).args(args).output().expect("the program starts")
}

fn converted(dir: &Path, args: &[&str]) -> Output {
    let output = convert(dir, args);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn refusal(dir: &Path, args: &[&str]) -> String {
    let output = convert(dir, args);
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path).expect("a file")
}

/// A folder with a checkpoint in `tiny`, and an empty folder `out`.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for folder in ["tiny", "out"] {
        fs::create_dir(dir.path().join(folder)).expect("a writable folder");
    }
    Spec { n_embd: 256, n_ff: 512, ..Spec::default() }.write(&dir.path().join("tiny"));
    dir
}

/// The GGUF files in a folder, in the order of their names.
fn gguf_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "gguf")).collect();
    files.sort();
    files
}

#[test]
fn several_types_from_one_reading_have_the_bytes_that_each_has_alone() {
    let dir = workplace();
    let output = converted(dir.path(), &["tiny", "--type", "q4_k_m,Q6_K,F16", "-o", "out"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for file_type in ["Q4_K_M", "Q6_K", "F16"] {
        let name = format!("tiny-{file_type}.gguf");
        assert!(text.contains(&format!("{name}: {file_type}, ")), "{text}");
        converted(dir.path(), &["tiny", "--type", file_type, "-q"]);
        assert!(bytes(dir.path().join(&name)) == bytes(dir.path().join("out").join(&name)), "{file_type}");
    }
    assert_eq!(gguf_files(&dir.path().join("out")).len(), 3);
    converted(dir.path(), &["tiny", "--type", "Q4_K_M,Q6_K", "-q", "-o", "{type}-of-tiny.gguf"]);
    assert!(bytes(dir.path().join("Q6_K-of-tiny.gguf")) == bytes(dir.path().join("tiny-Q6_K.gguf")));
}

#[test]
fn several_types_under_one_name_and_a_type_twice_are_refused() {
    let dir = workplace();
    let message = refusal(dir.path(), &["tiny", "--type", "Q4_0,Q8_0", "-o", "model.gguf"]);
    assert!(message.contains("model-{type}.gguf"), "{message}");
    let message = refusal(dir.path(), &["tiny", "--type", "Q4_0,q4_0"]);
    assert!(message.contains("Q4_0 twice"), "{message}");
    // One of the files is there: none is written.
    fs::write(dir.path().join("tiny-Q8_0.gguf"), b"mine").expect("writable");
    let message = refusal(dir.path(), &["tiny", "--type", "Q4_0,Q8_0"]);
    assert!(message.contains("tiny-Q8_0.gguf exists"), "{message}");
    assert_eq!(gguf_files(dir.path()).len(), 1);
}

#[test]
fn plans_and_summaries_of_several_types_are_a_list() {
    let dir = workplace();
    for more in [["--json", "--dry-run"], ["--json", "--quiet"]] {
        let output = converted(dir.path(), &[&["tiny", "--type", "Q4_0,Q8_0"], &more[..]].concat());
        let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let types: Vec<&str> =
            list.as_array().expect("a list").iter().filter_map(|v| v["type"].as_str()).collect();
        assert_eq!(types, ["Q4_0", "Q8_0"], "{more:?}");
    }
}

#[test]
fn a_split_model_has_parts_of_the_size_asked_for_that_run_as_one_and_join_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fairytale = fairytale();
    let model = fairytale.to_str().expect("UTF-8");
    let output =
        converted(dir.path(), &[model, "--type", "Q8_0", "-o", "m.gguf", "--split-max-size", "1200K"]);
    let parts = gguf_files(dir.path());
    let n = parts.len();
    assert!(n > 2, "{n}");
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .starts_with(&format!("m-00001-of-{n:05}.gguf and the rest of {n} parts: Q8_0, "))
    );
    for (i, part) in parts.iter().enumerate() {
        assert_eq!(
            part.file_name().expect("a name").to_string_lossy(),
            format!("m-{:05}-of-{n:05}.gguf", i + 1)
        );
        assert!(fs::metadata(part).expect("a file").len() <= 1_200_000);
        let metadata = GgufFile::open(part).expect("a part");
        assert_eq!(metadata.metadata().count("split.no").expect("a number"), Some(i));
    }
    converted(dir.path(), &[model, "--type", "Q8_0", "-o", "whole.gguf", "-q"]);
    let part = parts[1].to_str().expect("UTF-8");
    converted(dir.path(), &[part, "--type", "Q8_0", "-o", "joined.gguf", "-q"]);
    assert!(bytes(dir.path().join("whole.gguf")) == bytes(dir.path().join("joined.gguf")));
    let logits = |path: &Path| {
        let engine = Engine::load(path, EngineOptions::default()).expect("a model");
        let mut session = Session::new(&engine, options(32, 16)).expect("a session");
        texts::bits(session.step(&texts::ids(&engine, 0, 20), Logits::All).expect("logits"))
    };
    assert!(logits(&parts[0]) == logits(&dir.path().join("whole.gguf")));
    // Large enough for everything: a plain file.
    converted(dir.path(), &[model, "--type", "Q8_0", "-o", "one.gguf", "-q", "--split-max-size", "1G"]);
    assert!(bytes(dir.path().join("one.gguf")) == bytes(dir.path().join("whole.gguf")));
    let message = refusal(dir.path(), &[model, "--type", "Q8_0", "-o", "x.gguf", "--split-max-size", "100K"]);
    assert!(message.contains("--split-max-size"), "{message}");
}
