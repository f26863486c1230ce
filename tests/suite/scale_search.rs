//! `--scale-search`: what it changes, what the file says of it, and what it is refused for.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::checkpoint::Spec;
use crate::program::stderr;
use gguf_kit::gguf::GgufFile;

/// Runs `gguf-convert` on the tiny model in `dir`.
fn run(dir: &Path, flags: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).arg("tiny").args(flags.split(' ')).output().expect("the program starts")
}

fn tiny(dir: &Path) {
    let tiny = dir.join("tiny");
    fs::create_dir(&tiny).expect("writable");
    Spec { n_embd: 256, n_ff: 256, n_layer: 1, ..Spec::default() }.write(&tiny);
}

#[test]
fn a_search_changes_scales_and_stands_in_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    tiny(dir.path());
    let path = |name: &str| dir.path().join(name);
    let made = |name: &str, search: &str| {
        let tables = "--token-embedding-type F16 --output-tensor-type F16";
        let output = run(dir.path(), &format!("--type Q4_K_M {tables} --verify -q -o {name}{search}"));
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(path(name)).expect("a file")
    };
    let (plain, mse) = (made("plain.gguf", ""), made("mse.gguf", " --scale-search mse"));
    assert!(plain == mse, "mse is what encoders do");
    for search in ["min-max", "percentile:99", "kl"] {
        let name = format!("{}.gguf", search.replace(':', "-"));
        assert!(made(&name, &format!(" --scale-search {search}")) != plain, "{search}");
        let file = GgufFile::open(&path(&name)).expect("a file");
        assert_eq!(file.metadata().string("quantize.scale_search").expect("text"), Some(search));
    }
}

#[test]
fn what_has_no_ranges_is_refused_before_a_byte_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    tiny(dir.path());
    for (flags, told) in [
        ("--type TQ2_0 --scale-search min-max", "would be TQ2_0, whose codes have no range"),
        ("--type Q4_0 --scale-search kl --calibrate", "cannot be used with"),
        ("--bpw 4.5 --scale-search kl", "cannot be used with"),
        ("--type Q4_0 --scale-search max", "the searches are mse, min-max, percentile"),
        ("--type Q4_0 --scale-search percentile:20", "from 50 to 100"),
    ] {
        let output = run(dir.path(), &format!("{flags} -o m.gguf"));
        assert_eq!(output.status.code(), Some(2), "{flags}");
        assert!(stderr(&output).contains(told), "{flags}: {}", stderr(&output));
        assert!(!dir.path().join("m.gguf").exists());
    }
}
