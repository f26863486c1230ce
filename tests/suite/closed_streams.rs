//! `gguf-run` and `gguf-convert` whose output is not read: the exit status tells how the work went.

use std::process::{Command, Stdio};

use crate::common::fairytale;
use crate::program::command;

/// The write end of a pipe that has no reader.
fn without_reader() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// The exit status of `command` with `stderr`.
fn status(mut command: Command, stderr: Stdio) -> Option<i32> {
    command.stdout(Stdio::null()).stderr(stderr).status().expect("it starts").code()
}

/// Runs whose notes, warnings, statistics or errors go to standard error, with their exit status.
fn talkative() -> Vec<(Vec<String>, i32)> {
    let model = fairytale().to_str().expect("paths of tests are UTF-8").to_owned();
    let run = |args: &str, status| {
        (args.split(' ').map(|word| word.replace("MODEL", &model)).collect::<Vec<_>>(), status)
    };
    vec![
        run("complete MODEL --type Q4_K_M -p Once -n 2 --ctx 600 --threads 64", 0),
        run("chat MODEL --type Q4_K_M --ctx 600", 0),
        run("complete MODEL --type Q4_K_M -p Once --ctx 1", 1),
        run("inspect no-such-model.gguf", 1),
        run("complete MODEL -p Once --batch 0", 2),
        run("complete MODEL", 2),
        run("speak MODEL", 2),
    ]
}

#[test]
fn exit_status_is_kept_where_standard_error_is_not_read() {
    for (args, expected) in talkative() {
        assert_eq!(status(command(&args), without_reader()), Some(expected), "{args:?}");
    }
    let mut convert = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    convert.arg(fairytale()).args(["--type", "Q4_K", "--dry-run", "--threads", "64"]);
    assert_eq!(status(convert, without_reader()), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn exit_status_is_kept_where_standard_error_is_full() {
    for (args, expected) in talkative() {
        let full = std::fs::File::create("/dev/full").expect("Linux has it");
        assert_eq!(status(command(&args), full.into()), Some(expected), "{args:?}");
    }
}
