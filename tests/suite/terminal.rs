//! What files say cannot steer the terminal of the one who looks at them.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::checkpoint::copy_tokenizer;
use crate::common::fairytale;
use crate::hostile::{ARRAY, GgufBytes, STRING, safetensors};
use crate::program::{command, run, stderr, stdout};

/// Clears the screen, sets the title, begins a C1 control sequence, turns the direction of writing, ends a line.
const EVIL: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{202e}\u{2066}\u{2028}\u{7f}\ny";

/// Asserts that nothing in the output steers a terminal, and that all of `words` are there.
#[track_caller]
fn assert_harmless(output: &Output, words: &[&str]) {
    let text = String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).expect("UTF-8");
    let steers = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2066}\u{2028}".contains(c);
    assert!(!text.contains(steers), "{text:?}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

/// A header whose every text is [`EVIL`].
fn evil_file(folder: &Path) -> String {
    let header = GgufBytes::new(1, 4).key("general.architecture", STRING).string(EVIL);
    let header = header.key(EVIL, STRING).string(EVIL);
    let header = header.array("list", STRING, 1).string(EVIL);
    let header = header.array("nested", ARRAY, 1).u32(STRING).u64(1).string(EVIL);
    let path = header.tensor(EVIL, &[8], 0, 0).data(32, 32).write(folder, "evil.gguf");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn names_and_values_of_a_model_file_are_harmless_in_every_form_of_inspect() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = evil_file(folder.path());
    let shown = "x\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{9b}31m\\u{202e}\\u{2066}\\u{2028}\\u{7f}\\ny";
    assert_harmless(
        &run(["inspect", &path]),
        &[&format!("architecture {shown}"), &format!("  {shown}  [8]")],
    );
    assert_harmless(&run(["inspect", &path, "--full"]), &["\\u001b[2J", "\\u009b31m\\u202e"]);
    let json = run(["inspect", &path, "--json"]);
    assert_harmless(&json, &["\\u009b31m\\u202e"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["metadata"][EVIL], EVIL);
    assert_eq!(json["tensors"][0]["name"], EVIL);
}

#[test]
fn errors_are_one_harmless_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(["complete", &evil_file(folder.path()), "-p", "x"]);
    assert_harmless(&output, &["supported", "\\u{1b}[2J"]);
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    let output = run(["inspect", &format!("{EVIL}.gguf")]);
    assert_harmless(&output, &["cannot open", "\\u{9b}31m"]);
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
}

#[test]
fn wrong_arguments_are_quoted_harmlessly() {
    let output = run(["inspect", "a", EVIL]);
    assert_eq!(output.status.code(), Some(2));
    assert_harmless(&output, &["unexpected argument", "\\u{9b}31m"]);
    let output = Command::new(env!("CARGO_BIN_EXE_gguf-convert")).args(["a", EVIL]).output().expect("starts");
    assert_eq!(output.status.code(), Some(2));
    assert_harmless(&output, &["unexpected argument", "\\u{9b}31m"]);
}

#[test]
fn what_a_template_says_is_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = folder.path().join("template.jinja");
    std::fs::write(&template, format!("{{{{ raise_exception('{}') }}}}", EVIL.replace('\n', "\\n")))
        .expect("written");
    let checkpoint = fairytale();
    let args = ["chat", checkpoint.to_str().expect("UTF-8"), "--type", "Q8_0", "-n", "1", "--template"];
    let mut child = command(args.into_iter().chain([template.to_str().expect("UTF-8")]));
    let mut child = child.stdin(std::process::Stdio::piped()).spawn().expect("starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"hi\n").expect("written");
    assert_harmless(&child.wait_with_output().expect("ends"), &["\\u{1b}[2J", "\\u{9b}31m"]);
}

#[test]
fn names_and_types_of_a_checkpoint_are_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    copy_tokenizer(folder.path());
    std::fs::copy(fairytale().join("config.json"), folder.path().join("config.json")).expect("copied");
    let quoted = serde_json::to_string(EVIL).expect("JSON");
    let header = format!("{{{quoted}:{{\"dtype\":{quoted},\"shape\":[1],\"data_offsets\":[0,4]}}}}");
    std::fs::write(folder.path().join("model.safetensors"), safetensors(&header, 4)).expect("written");
    let path = folder.path().to_str().expect("UTF-8");
    assert_harmless(&run(["inspect", path]), &["\\u{1b}"]);
    std::fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    let index = format!("{{\"weight_map\":{{\"a\":{quoted}}}}}");
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).expect("written");
    assert_harmless(&run(["inspect", path]), &["\\u001b"]);
}

/// In a pipe, what a model wrote stays byte for byte.
#[test]
fn generated_text_in_a_pipe_is_what_the_model_wrote() {
    let model = fairytale();
    let model = model.to_str().expect("UTF-8");
    let prompt = "\u{1b}[1mOnce\u{9b}";
    let output = run(["complete", model, "--type", "Q8_0", "-q", "-n", "1", "-p", prompt]);
    assert!(stdout(&output).starts_with(prompt), "{output:?}");
}
