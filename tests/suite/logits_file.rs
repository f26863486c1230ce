//! `gguf-run logits` on the bundled model: what it writes, and over what it does not.

use std::fs;
use std::path::Path;

use crate::common::fairytale;
use crate::common::npy::read_npy;
use crate::program::{assert_fails, json_of, run_with_input, stdout_of};

const TEXT: &str = "Once upon a time there was a king.";

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

#[test]
fn logits_have_a_row_for_each_token_and_the_same_bits_however_they_are_computed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (fairytale(), folder.path().join("logits.npy"));
    let write = |more: &[&str]| {
        let args = ["logits", text(&model), "--type", "Q4_K_M", "-q", "--force", "-o", text(&out)];
        stdout_of(args.iter().chain(more));
        read_npy(&out)
    };
    let tokens = json_of(["tokenize", text(&model), TEXT, "--json"]);
    let ids: Vec<_> =
        tokens.as_array().expect("a list").iter().map(|token| token["id"].to_string()).collect();
    let n_vocab = 4096;
    let (shape, logits) = write(&[TEXT]);
    assert_eq!(shape, [ids.len(), n_vocab]);
    assert_eq!(logits.len(), shape[0] * shape[1]);
    let list = folder.path().join("ids.txt");
    fs::write(&list, ids.join(",\n")).expect("written");
    for more in [&["--batch", "1"] as &[&str], &["--batch", "3", "-t", "1"], &["--isa", "scalar", "-c", "64"]]
    {
        let (shape, again) = write(&[&["--ids", text(&list)], more].concat());
        assert_eq!(shape, [ids.len(), n_vocab]);
        assert!(again.iter().zip(&logits).all(|(a, b)| a.to_bits() == b.to_bits()), "{more:?}");
    }
    let (shape, last) = write(&["--last", "--batch", "2", TEXT]);
    assert_eq!((shape, &last[..]), ([1, n_vocab], &logits[logits.len() - n_vocab..]));
}

#[test]
fn logits_replace_nothing_but_other_logits_and_only_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (fairytale(), folder.path().join("logits.npy"));
    let args = |out, more: &[&'static str]| {
        let args = ["logits", text(&model), "--type", "Q8_0", "-q", "--ids", "-", "-o", out];
        args.iter().chain(more).map(ToString::to_string).collect::<Vec<_>>()
    };
    run_with_input(args(text(&out), &[]), "1 2 3");
    let first = fs::read(&out).expect("written");
    assert_fails(args(text(&out), &[]), 2, &["logits.npy exists", "--force"]);
    assert_eq!(fs::read(&out).expect("still there"), first);
    run_with_input(args(text(&out), &["--force"]), "4");
    assert_eq!(read_npy(&out).0[0], 1);
    let config = model.join("config.json");
    let before = fs::read(&config).expect("readable");
    assert_fails(args(text(&config), &["--force"]), 2, &["config.json is not a .npy file"]);
    assert_eq!(fs::read(&config).expect("still there"), before);
}

#[test]
fn wrong_ids_are_named_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out, list) = (fairytale(), folder.path().join("logits.npy"), folder.path().join("ids.txt"));
    let fails = |ids: &str, more: &[&str], words: &[&str]| {
        fs::write(&list, ids).expect("written");
        let args = ["logits", text(&model), "--type", "Q8_0", "--ids", text(&list), "-o", text(&out)];
        assert_fails(args.iter().chain(more), 2, words);
        assert!(!out.exists());
    };
    fails("1 two", &[], &["ids.txt", "line 1", "\"two\""]);
    fails("", &[], &["no tokens"]);
    fails("99999999", &[], &["no token 99999999"]);
    fails("1", &["--batch", "0"], &["--batch 0"]);
    assert_fails(["logits", text(&model), "-o", text(&out)], 2, &["<TEXT|--file <FILE>|--ids <FILE>>"]);
}
