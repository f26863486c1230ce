//! Files that prove what they are: measured when written, checked later.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::checkpoint::Spec;
use gguf_kit::gguf::GgufFile;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn run(program: &str, dir: &Path, args: &[&str]) -> Output {
    Command::new(program).current_dir(dir).args(args).output().expect("the program starts")
}

fn convert(dir: &Path, args: &[&str]) -> String {
    let output = run(env!("CARGO_BIN_EXE_gguf-convert"), dir, args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn check(dir: &Path, file: &str) -> (Option<i32>, String) {
    let output = run(env!("CARGO_BIN_EXE_gguf-run"), dir, &["inspect", "--verify", file]);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

#[test]
fn a_file_tells_later_whether_it_is_what_was_written() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("tiny")).expect("created");
    Spec::default().write(&dir.path().join("tiny"));
    let shown = convert(dir.path(), &["tiny", "--type", "Q4_0", "--verify", "-o", "m.gguf"]);
    assert!(shown.contains("read back from the disk, every tensor is what was encoded"), "{shown}");
    let path = dir.path().join("m.gguf");
    let file = GgufFile::open(&path).expect("sound");
    let hashes: Vec<String> = file
        .metadata()
        .strings("gguf-kit.proof.sha256")
        .expect("strings")
        .expect("there")
        .map(str::to_owned)
        .collect();
    for (tensor, hash) in file.tensors().iter().zip(&hashes) {
        let found: String = Sha256::digest(file.bytes(tensor)).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(&found, hash, "{}", tensor.name);
    }
    let errors = file.metadata().f32s("gguf-kit.proof.relative_rmse").expect("floats").expect("there");
    let at = file.tensors().iter().position(|tensor| tensor.name == "blk.0.ffn_up.weight").expect("there");
    // Q4_0 of normal numbers loses about a tenth.
    assert!((0.05..0.15).contains(&errors[at]), "{}", errors[at]);
    let (status, text) = check(dir.path(), "m.gguf");
    assert!(status == Some(0) && text.contains("all 20 tensors is what gguf-kit"), "{text}");

    // One bit of one tensor.
    let (name, offset) = (file.tensors()[at].name.clone(), file.tensors()[at].offset as usize);
    drop(file);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[offset + 5] ^= 1;
    fs::write(dir.path().join("damaged.gguf"), &bytes).expect("written");
    let (status, text) = check(dir.path(), "damaged.gguf");
    assert!(status == Some(1) && text.contains(&name) && text.contains("damaged since"), "{text}");
}

#[test]
fn a_proof_costs_keys_and_no_other_byte_and_is_of_this_file_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("tiny")).expect("created");
    Spec::default().write(&dir.path().join("tiny"));
    let split = ["tiny", "--type", "F16", "--verify", "--split-max-size", "550K", "-o", "s.gguf", "--json"];
    let summary: Value = serde_json::from_str(&convert(dir.path(), &split)).expect("JSON");
    let files = summary["files"].as_array().expect("a list");
    assert!(files.len() > 1);
    let first = files[0].as_str().expect("a path");
    assert_eq!(check(dir.path(), first).0, Some(0));
    convert(dir.path(), &["tiny", "--type", "F16", "-q", "-o", "plain.gguf"]);
    let (status, text) = check(dir.path(), "plain.gguf");
    assert!(status == Some(2) && text.contains("gguf-convert --verify"), "{text}");
    // Quantised again, without a proof of its own it has none.
    convert(dir.path(), &[first, "--type", "Q8_0", "-q", "--keep-metadata", "-o", "again.gguf"]);
    assert_eq!(check(dir.path(), "again.gguf").0, Some(2));
    let plain = GgufFile::open(&dir.path().join("plain.gguf")).expect("sound");
    let proved: Vec<&Value> = summary["tensors"].as_array().expect("a list").iter().collect();
    for (tensor, proved) in plain.tensors().iter().zip(proved) {
        let found: String = Sha256::digest(plain.bytes(tensor)).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(proved["sha256"], found.as_str(), "{}", tensor.name);
    }
}
