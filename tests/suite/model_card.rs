//! The model card that a conversion writes beside its files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use gguf_kit::checkpoint::ModelCard;

use crate::common::fairytale;

fn convert(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).args(args).output().expect("the program starts")
}

/// What its own card says.
const CARD: &str = "---\nlicense: cc0-1.0\nlanguage: [en, \"no\"]\ntags: [tales]\n---\n# Fairytale\n";

/// A copy of the bundled model, in the cache of the hub's programs.
fn snapshot(dir: &Path) -> String {
    let snapshot = dir.join("models--tales--Fairytale-7M/snapshots/0fc0ffee");
    fs::create_dir_all(&snapshot).expect("a new folder");
    for entry in fs::read_dir(fairytale()).expect("a fixture") {
        let entry = entry.expect("readable");
        fs::copy(entry.path(), snapshot.join(entry.file_name())).expect("copied");
    }
    fs::write(snapshot.join("README.md"), CARD).expect("writable");
    snapshot.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_card_says_what_the_files_are_and_what_is_not_known_stays_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let [input, out] = [snapshot(dir.path()), dir.path().join("out").to_str().expect("UTF-8").to_owned()];
    fs::create_dir(&out).expect("a new folder");
    let args = [&*input, "--type", "Q4_0,Q8_0", "--tensor-type", "ffn_down=Q6_K", "--model-card", "-o", &out];
    let output = convert(dir.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("README.md: the model card"));
    let text = fs::read_to_string(Path::new(&out).join("README.md")).expect("a card");
    let card = ModelCard::parse(&text).expect("sound front matter").expect("front matter");
    assert_eq!(card.license.as_deref(), Some("cc0-1.0"));
    assert_eq!(card.languages, ["en", "no"]);
    assert_eq!(card.base_models, ["tales/Fairytale-7M"]);
    assert_eq!(card.tags, ["tales", "gguf"]);
    assert!(text.contains("base_model_relation: \"quantized\"") && text.contains("(commit `0fc0ffee`)"));
    for file_type in ["Q4_0", "Q8_0"] {
        let name = format!("Fairytale-7M-{file_type}.gguf");
        let n_bytes = fs::metadata(Path::new(&out).join(&name)).expect("written").len();
        let digits = text.replace(',', "");
        assert!(digits.contains(&format!("| `{name}` | {file_type} | {n_bytes} | ")), "{text}");
    }
    assert!(
        text.contains("\n| Q6_K | ") && text.contains("--tensor-type ffn_down=Q6_K --model-card -o "),
        "{text}"
    );
    assert!(
        text.contains("gguf-run complete Fairytale-7M-Q4_0.gguf") || text.contains("gguf-run chat "),
        "{text}"
    );
    for unknown in ["license_name", "importance matrix", "calibration", "null"] {
        assert!(!text.contains(unknown), "{unknown}: {text}");
    }
}

#[test]
fn a_card_takes_the_place_of_none_without_force_and_never_that_of_the_source() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = snapshot(dir.path());
    fs::write(dir.path().join("README.md"), "mine").expect("writable");
    let output = convert(dir.path(), &[&input, "--type", "Q8_0", "--model-card"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("README.md exists"));
    assert!(!dir.path().join("Fairytale-7M-Q8_0.gguf").exists());
    let output = convert(dir.path(), &[&input, "--type", "Q8_0", "--model-card", "--force", "-o", &input]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the folder that is converted"));
    assert_eq!(fs::read_to_string(Path::new(&input).join("README.md")).expect("a card"), CARD);
}

#[test]
fn a_card_may_stand_beside_the_file_that_is_converted_where_there_is_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = fairytale().to_str().expect("UTF-8").to_owned();
    assert!(convert(dir.path(), &[&input, "--type", "Q8_0", "-o", "m.gguf"]).status.success());
    let again =
        |to: &str| convert(dir.path(), &["m.gguf", "--type", "Q4_0", "--model-card", "--force", "-o", to]);
    assert!(again("a.gguf").status.success() && dir.path().join("README.md").exists());
    let output = again("b.gguf");
    assert_eq!(output.status.code(), Some(2), "it may be that of the file");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("beside m.gguf") && message.contains("another folder with -o"), "{message}");
}

#[test]
fn a_chat_template_that_does_not_work_is_told_when_it_is_converted() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = snapshot(dir.path());
    let told = || {
        let output = convert(dir.path(), &[&input, "--type", "Q8_0", "--force", "-o", "m.gguf"]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    assert!(!told().contains("chat template"));
    fs::write(Path::new(&input).join("chat_template.jinja"), "{% for m in messages %}{{ m.content }")
        .expect("writable");
    let message = told();
    assert!(
        message.contains("the chat template: line 1") && message.contains("gguf-convert edit"),
        "{message}"
    );
}
