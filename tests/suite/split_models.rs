//! Models in several files run as those in one.

use std::fs;
use std::path::Path;

use crate::common::checkpoint::Spec;
use crate::common::model::{mixed_k, new_path, write_gguf};
use crate::common::parts::{split, write_part};
use crate::common::texts::{bits, ids};
use crate::common::{convert, engine_in_little_memory, fairytale, options};
use crate::program::{assert_fails, json_of, stdout_of};
use gguf_kit::convert::FileType;
use gguf_kit::gguf::{GgufFile, Value, parts};
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session};

fn logits(engine: &Engine) -> Vec<u32> {
    let ids = ids(engine, 1, 40);
    let mut session = Session::new(engine, options(64, 16)).expect("a session");
    bits(session.step(&ids, Logits::All).expect("logits"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

#[test]
fn any_part_of_a_split_model_opens_all_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec { n_embd: 256, n_ff: 512, ..Spec::default() }.write(dir.path());
    let path = new_path(dir.path(), "m");
    write_gguf(dir.path(), &path, mixed_k);
    let whole = Engine::load(&path, EngineOptions::default()).expect("a model");
    let expected = logits(&whole);
    for part in split(&path, &[1, 2, 9]) {
        let engine = Engine::load(&part, EngineOptions::default()).expect("a model");
        assert_eq!(
            (engine.file().n_parts(), engine.file().tensors().len()),
            (4, whole.file().tensors().len())
        );
        assert!(logits(&engine) == expected, "{}", part.display());
    }
}

#[test]
fn a_split_model_streams_from_its_parts() {
    let dir = tempfile::tempdir().expect("a folder");
    // Layers of some pages of 64 KiB, so that there is something to stream.
    Spec { n_embd: 512, n_ff: 1024, n_layer: 3, ..Spec::default() }.write(dir.path());
    let path = new_path(dir.path(), "m");
    write_gguf(dir.path(), &path, |_| gguf_simd::BlockType::F32);
    let expected = logits(&Engine::load(&path, EngineOptions::default()).expect("a model"));
    let parts = split(&path, &[7, 16]);
    let engine = engine_in_little_memory(&parts[0], EngineOptions::default());
    if cfg!(target_os = "linux") {
        assert!(crate::common::streamed_bytes(&engine) > 0, "nothing is streamed");
    }
    assert!(logits(&engine) == expected);
}

#[test]
fn inspect_shows_a_split_model_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("whole.gguf");
    convert(&fairytale(), &path, FileType::Q8_0);
    let parts = split(&path, &[10]);
    let (whole, shown) =
        (json_of(["inspect", text(&path), "--json"]), json_of(["inspect", text(&parts[1]), "--json"]));
    assert_eq!((&shown["parts"], &shown["runs"]), (&serde_json::json!(2), &serde_json::json!(true)));
    assert_eq!(shown["totals"], whole["totals"]);
    let n_bytes: u64 = parts.iter().map(|part| fs::metadata(part).expect("a file").len()).sum();
    assert_eq!(shown["file_bytes"], n_bytes);
    assert!(stdout_of(["inspect", text(&parts[0])]).contains("and the other parts, 2 in all"));
}

#[test]
fn parts_that_are_missing_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("whole.gguf");
    convert(&fairytale(), &path, FileType::Q8_0);
    let parts = split(&path, &[3, 7, 10]);
    fs::remove_file(&parts[1]).expect("there");
    fs::remove_file(&parts[3]).expect("there");
    let named = ["part-00002-of-00004.gguf, part-00004-of-00004.gguf", "4 parts", "download"];
    assert_fails(["complete", text(&parts[0]), "-p", "x"], 1, &named);
    let shown = stdout_of(["inspect", text(&parts[2])]);
    assert!(shown.contains("cannot run it") && shown.contains("part-00002-of-00004.gguf"), "{shown}");
}

#[test]
fn a_tensor_in_two_parts_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("whole.gguf");
    convert(&fairytale(), &path, FileType::Q8_0);
    let parts = split(&path, &[10]);
    let file = GgufFile::open(&path).expect("a model");
    fs::remove_file(&parts[1]).expect("there");
    let n = file.tensors().len();
    let keys = [("split.no", Value::U16(1)), ("split.count", Value::U16(2))];
    let keys = keys.map(|(key, value)| (key.to_owned(), value)).to_vec();
    // As many tensors as are promised, one of them the first part's.
    write_part(&file, &[&file.tensors()[9..10], &file.tensors()[11..n]].concat(), keys, &parts[1]);
    let message = parts::open_whole(&parts[0]).expect_err("twice").to_string();
    assert!(message.contains(&file.tensors()[9].name) && message.contains("another part"), "{message}");
}
