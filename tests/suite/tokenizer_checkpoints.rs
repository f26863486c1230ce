//! Tokenizers of checkpoints through the commands: what a conversion refuses, and how prompts are read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::checkpoint::Spec;
use crate::program::{assert_failed, command, json_of, run, stderr, stdout_of};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A tiny checkpoint in `dir`, after `change` had its file `name` in hand.
fn checkpoint(dir: &Path, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let path = dir.join("model");
    fs::create_dir(&path).unwrap();
    Spec::default().write(&path);
    let file = path.join(name);
    let mut json: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut json);
    fs::write(file, json.to_string()).unwrap();
    path
}

fn convert(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).args(["model", "--type", "F16"]).args(args).output().expect("the program starts")
}

/// The bundled tokenizer without a token for the byte 0, which `tokenizers` leaves out of texts then.
fn without_a_byte(json: &mut Value) {
    json["model"]["vocab"].as_object_mut().unwrap().shift_remove("Ā").expect("the byte's token");
}

#[test]
fn a_tokenizer_that_differs_stops_a_conversion_unless_that_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let model = checkpoint(dir.path(), "tokenizer.json", without_a_byte);
    let refused = convert(dir.path(), &[]);
    let says = ["probe texts", "\"\\0\"", "by the checkpoint", "0x00", "--accept-tokenizer-differences"];
    assert_failed(&refused, 1, &says);
    assert_failed(&run(["complete", text(&model), "-p", "x", "-n", "1"]), 1, &says);
    let accepted = convert(dir.path(), &["--accept-tokenizer-differences", "--quiet", "-o", "m.gguf"]);
    assert!(accepted.status.success(), "{}", stderr(&accepted));
    assert!(stderr(&accepted).contains("warning: the tokenizer reads"), "{}", stderr(&accepted));
    assert_eq!(
        stdout_of(["tokenize", text(&dir.path().join("m.gguf")), "a", "--no-special", "--ids"]),
        "64\n"
    );
}

#[test]
fn flags_of_added_tokens_are_noted_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let eats_blanks = |json: &mut Value| json["added_tokens"][4]["rstrip"] = json!(true);
    checkpoint(dir.path(), "tokenizer.json", |json| {
        eats_blanks(json);
    });
    fs::remove_file(dir.path().join("model/tokenizer_config.json")).unwrap();
    let converted = convert(dir.path(), &["--quiet", "-o", "m.gguf"]);
    assert!(stderr(&converted).contains("rstrip") && stderr(&converted).contains("<|eot_id|>"));
    let model = dir.path().join("m.gguf");
    let ids =
        stdout_of(["tokenize", text(&model), "a<|eot_id|>\n a", "--no-special", "--parse-special", "--ids"]);
    assert_eq!(ids, "64 4095 64\n");
}

#[test]
fn two_conversions_of_an_odd_tokenizer_have_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path(), "tokenizer_config.json", |json| {
        json.as_object_mut().unwrap().shift_remove("added_tokens_decoder");
        json["additional_special_tokens"] = json!(["<|eot_id|>", "<extra>"]);
        json["pad_token"] = json!("<pad>");
    });
    for name in ["a.gguf", "b.gguf"] {
        let converted = convert(dir.path(), &["--quiet", "-o", name]);
        assert!(converted.status.success(), "{}", stderr(&converted));
        assert!(stderr(&converted).contains("\"<pad>\" is not in the vocabulary"), "{}", stderr(&converted));
    }
    let bytes = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert!(bytes("a.gguf") == bytes("b.gguf"));
}

#[test]
fn a_prompt_that_is_to_be_continued_has_no_end_and_its_special_tokens_are_read_unless_told() {
    let dir = tempfile::tempdir().unwrap();
    let model = checkpoint(dir.path(), "tokenizer_config.json", |json| json["add_eos_token"] = json!(true));
    let prompt_tokens = |more: &[&str]| {
        let args = ["complete", text(&model), "--type", "F16", "-n", "1", "--json"];
        json_of(args.iter().chain(more))["statistics"]["prompt_tokens"].clone()
    };
    assert_eq!(prompt_tokens(&["-p", "a"]), 2);
    assert_eq!(prompt_tokens(&["-p", "a<|eot_id|>"]), 3);
    let spelled = prompt_tokens(&["-p", "a<|eot_id|>", "--no-parse-special"]);
    assert!(spelled.as_u64().unwrap() > 5, "{spelled}");
    let tokenized = stdout_of(["tokenize", text(&model), "a", "--ids"]);
    assert_eq!(tokenized, "4091 64 4092\n", "tokenize shows what the file says of texts");
}

#[test]
fn a_beginning_that_is_there_twice_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let model = checkpoint(dir.path(), "tokenizer_config.json", |_| {});
    let noted = |args: &[&str]| {
        let all = ["complete", text(&model), "--type", "F16", "-n", "1", "-p"];
        let output = command(all.iter().chain(args)).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output).contains("twice")
    };
    assert!(noted(&["<|begin_of_text|>a"]));
    assert!(!noted(&["a"]));
    assert!(!noted(&["<|begin_of_text|>a", "--quiet"]));
    assert!(!noted(&["<|begin_of_text|>a", "--no-parse-special"]));
}
