//! Files that end early, pipes and devices where files are wanted: a message at once, never a signal or
//! an endless wait.
#![cfg(unix)]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gguf_kit::convert::FileType;

use crate::common::{convert, fairytale};
use crate::program::{assert_failed, assert_fails, command, run, stderr};

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// The fairytale model as a file that a test may spoil.
fn model_in(folder: &Path) -> PathBuf {
    let path = folder.join("model.gguf");
    convert(&fairytale(), &path, FileType::F32);
    path
}

#[test]
fn a_model_cut_short_while_in_use_ends_with_a_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = model_in(folder.path());
    let mut child = command(["chat", text(&path), "-n", "2", "-q", "--threads", "2"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("gguf-run starts");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    input.write_all(b"hi\n").expect("written");
    let mut answer = String::new();
    output.read_line(&mut answer).expect("an answer");
    // The header stays, the weights go.
    OpenOptions::new().write(true).open(&path).expect("opened").set_len(1 << 16).expect("cut short");
    input.write_all(b"more\n").expect("written");
    drop(input);
    let ended = child.wait_with_output().expect("it ends");
    assert_failed(&ended, 1, &["error: cannot read", "model.gguf at byte", "the file was shortened"]);
}

#[test]
fn a_signal_from_outside_still_ends_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = model_in(folder.path());
    let mut child =
        command(["chat", text(&path), "-n", "1", "-q"]).stdin(Stdio::piped()).spawn().expect("starts");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    input.write_all(b"hi\n").expect("written");
    output.read_line(&mut String::new()).expect("an answer");
    for _ in 0..2 {
        // The first may go to the handler of Rust's runtime, which then lets the default act.
        let _ = Command::new("kill").args(["-BUS", &child.id().to_string()]).status().expect("kill");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(7), "{ended:?}");
}

/// A pipe without a writer, which opening would wait for.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

#[test]
fn a_pipe_as_model_is_refused_at_once_whatever_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.json"), "{}").expect("written");
    for name in ["m", "m.gguf", "m.safetensors", "model.safetensors.index.json"] {
        let path = folder.path().join(name);
        pipe(&path);
        for args in [
            vec!["inspect", text(&path)],
            vec!["complete", text(&path), "-p", "x"],
            vec!["tokenize", text(&path), "x"],
        ] {
            let output = run(&args);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?}: {output:?}");
        }
        assert_fails(["inspect", text(&path)], 2, &[name, "is a pipe"]);
    }
    assert_fails(["inspect", "/dev/zero"], 2, &["/dev/zero is a device"]);
}

#[test]
fn a_pipe_among_the_files_of_a_checkpoint_is_refused_at_once() {
    for name in [
        "config.json",
        // Left aside with a warning, as everything that is wrong with it.
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        for entry in
            fs::read_dir(fairytale()).expect("the fixture").map(|entry| entry.expect("readable").path())
        {
            fs::copy(&entry, folder.path().join(entry.file_name().expect("a name"))).expect("copied");
        }
        let _ = fs::remove_file(folder.path().join(name));
        pipe(&folder.path().join(name));
        let output = Command::new(env!("CARGO_BIN_EXE_gguf-convert"))
            .args([
                text(folder.path()),
                "--type",
                "Q8_0",
                "--dry-run",
                "-o",
                text(&folder.path().join("o.gguf")),
            ])
            .output()
            .expect("gguf-convert starts");
        if name == "generation_config.json" {
            let message = stderr(&output);
            assert!(
                output.status.success() && message.contains(name) && message.contains("is a pipe"),
                "{message}"
            );
        } else {
            assert_failed(&output, 2, &[name, "is a pipe"]);
        }
    }
}

#[test]
fn a_pipe_as_template_or_session_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    pipe(&path);
    let model = fairytale();
    let chat = ["chat", text(&model), "--type", "Q8_0", "-q"];
    assert_fails(chat.into_iter().chain(["--template", text(&path)]), 2, &["pipe is a pipe"]);
    let output = run(chat.into_iter().chain(["--session", text(&path)]));
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
}

#[test]
fn texts_may_come_from_pipes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    pipe(&path);
    let model = fairytale();
    let reader = command(["tokenize", text(&model), "-f", text(&path), "--ids"]).spawn().expect("starts");
    File::create(&path).expect("opened for writing").write_all(b"hi").expect("written");
    let output = reader.wait_with_output().expect("it ends");
    assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
}
