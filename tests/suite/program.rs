//! Runs `gguf-run` as users do.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// `gguf-run`, not yet started. What it converts is kept where cargo keeps the files of tests, so that
/// tests and later runs share it; nothing is read from or written to the user's folders.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-run"));
    command
        .args(args)
        .env("GGUF_CACHE_DIR", kept.join("model-cache"))
        .env("XDG_DATA_HOME", kept.join("data"))
        .env_remove("GGUF_ISA")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Lets a hang-up end the programs that tests start, even if the tests themselves were started to outlive one, as by
/// `nohup`: a signal that a process ignores is ignored by what it starts, and one that it handles is not.
#[cfg(unix)]
pub(crate) fn let_hang_ups_end_children() {
    const SIGHUP: i32 = 1;
    static DONE: std::sync::Once = std::sync::Once::new();
    DONE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        if mask >> (SIGHUP - 1) & 1 == 1 {
            signal_hook::flag::register(SIGHUP, std::sync::Arc::default())
                .expect("a handler that does nothing");
        }
    });
}

/// Runs `gguf-run` to its end.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    command(args).output().expect("gguf-run starts")
}

/// Runs `gguf-run` to its end, which must be a success, with `input` on standard input.
pub(crate) fn run_with_input<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &str) -> Output {
    let output = output_with_input(args, input);
    assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
    output
}

/// Runs `gguf-run` to its end with `input` on standard input.
pub(crate) fn output_with_input<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    input: impl AsRef<[u8]>,
) -> Output {
    let mut child = command(args).stdin(Stdio::piped()).spawn().expect("gguf-run starts");
    child.stdin.take().expect("a pipe").write_all(input.as_ref()).expect("the input is read");
    child.wait_with_output().expect("it ends")
}

/// Standard output of a run that must succeed.
pub(crate) fn stdout_of<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = run(args);
    assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
    stdout(&output)
}

/// Standard output of a run that must succeed, as JSON.
pub(crate) fn json_of<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> serde_json::Value {
    serde_json::from_str(&stdout_of(args)).expect("one JSON document")
}

/// What a run wrote to standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("standard output is UTF-8")
}

/// What a run wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a run failed with `status`, said all of `words` on standard error and nothing on
/// standard output.
pub(crate) fn assert_fails<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, status: i32, words: &[&str]) {
    assert_failed(&run(args), status, words);
}

/// As [`assert_fails`], of a run that is over.
pub(crate) fn assert_failed(output: &Output, status: i32, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    assert_eq!(stdout(output), "", "nothing is written to standard output");
}
