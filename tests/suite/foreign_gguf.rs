//! GGUF files as other programs write them: `inspect` shows what is in them, and says of each whether it
//! runs as running it does.

use std::path::Path;

use gguf_kit::gguf::{GgufFile, TensorInfo};
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session};
use gguf_simd::BlockType;
use serde_json::{Value, json};

use crate::common::checkpoint::{N_VOCAB, Spec};
use crate::common::model::{new_path, write_gguf};
use crate::common::options;
use crate::common::parts::write_part;
use crate::hostile::{GgufBytes, STRING, U32};
use crate::program::{assert_fails, json_of, stdout_of};

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// Two tensors, the first of type `ty`.
fn file_with_type(ty: u32) -> GgufBytes {
    let header = GgufBytes::new(2, 1).key("general.architecture", STRING).string("llama");
    header.tensor("odd", &[1024], ty, 0).tensor("plain", &[8], 0, 4096).data(32, 4096 + 32)
}

#[test]
fn inspect_shows_files_with_types_it_does_not_know() {
    let folder = tempfile::tempdir().expect("a folder");
    for (ty, name) in [(31, "type 31 (Q4_0_4_4)"), (36, "type 36 (IQ4_NL_4_4)"), (139, "type 139")] {
        let path = file_with_type(ty).write(folder.path(), "types.gguf");
        let shown = stdout_of(["inspect", text(&path)]);
        for words in [name, "up to 4,096", "plain", "gguf-run cannot run it", "llama"] {
            assert!(shown.contains(words), "{words:?} is not in {shown}");
        }
        let json = json_of(["inspect", text(&path), "--json"]);
        let tensor = &json["tensors"][0];
        assert_eq!(
            (&tensor["type_id"], &tensor["bytes"], &tensor["room"]),
            (&json!(ty), &Value::Null, &json!(4096))
        );
        assert_eq!(json["tensors"][1]["bytes"], 32);
        assert_eq!(json["runs"], false);
    }
}

#[test]
fn inspect_shows_scalars_and_tensors_without_elements() {
    let folder = tempfile::tempdir().expect("a folder");
    let header = GgufBytes::new(3, 0).tensor("scalar", &[], 0, 0).tensor("none", &[0], 0, 32);
    let path = header.tensor("rows", &[4, 0], 0, 32).data(32, 32).write(folder.path(), "shapes.gguf");
    let json = json_of(["inspect", text(&path), "--json"]);
    let of = |i: usize| (json["tensors"][i]["shape"].clone(), json["tensors"][i]["bytes"].clone());
    assert_eq!(of(0), (json!([]), json!(4)));
    assert_eq!(of(1), (json!([0]), json!(0)));
    assert_eq!(of(2), (json!([0, 4]), json!(0)));
}

#[test]
fn a_part_of_a_split_model_is_shown_and_running_it_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    // Only the first part has the model's own metadata.
    let header = GgufBytes::new(1, 2).key("split.no", U32).u32(1).key("split.count", U32).u32(3);
    let path = header.tensor("plain", &[8], 0, 0).data(32, 32).write(folder.path(), "m-00002-of-00003.gguf");
    let shown = stdout_of(["inspect", text(&path)]);
    assert!(shown.contains("cannot run it") && shown.contains("3 parts of a split model"), "{shown}");
    let named = ["3 parts of a split model", "m-00001-of-00003.gguf, m-00003-of-00003.gguf"];
    assert_fails(["complete", text(&path), "-p", "x"], 1, &named);
}

#[test]
fn a_bias_of_a_head_that_is_the_embedding_counts_and_a_scale_of_the_embedding_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::default().write(dir.path());
    let path = new_path(dir.path(), "m");
    write_gguf(dir.path(), &path, |_| BlockType::F32);
    let file = GgufFile::open(&path).expect("a model");
    let embedding = file.tensor("token_embd.weight").expect("it has one").clone();
    // The first numbers of the embedding, once more under another name.
    let with = |name: &str, n: usize| {
        let more = TensorInfo { name: name.into(), shape: vec![n], n_bytes: 4 * n, ..embedding.clone() };
        let with_more = dir.path().join(format!("{name}.gguf"));
        let tensors = [file.tensors(), &[more]].concat();
        write_part(&file, &tensors, file.metadata().to_pairs(), &with_more);
        with_more
    };
    let logits = |path: &Path| {
        let engine = Engine::load(path, EngineOptions::default()).expect("a model");
        let mut session = Session::new(&engine, options(8, 8)).expect("a session");
        session.step(&[1, 2, 3], Logits::Last).expect("logits").to_vec()
    };
    let bias =
        file.bytes(&embedding).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four")));
    let expected: Vec<f32> = logits(&path).into_iter().zip(bias).map(|(logit, bias)| logit + bias).collect();
    assert_eq!(logits(&with("output.bias", N_VOCAB)), expected);
    let scaled = Engine::load(&with("token_embd.scale", 1), EngineOptions::default());
    let message = scaled.expect_err("nothing scales rows").to_string();
    assert!(message.contains("token_embd.scale"), "{message}");
}

#[test]
fn texts_that_are_not_utf8_are_shown_with_replacements() {
    let folder = tempfile::tempdir().expect("a folder");
    let header = GgufBytes::new(0, 2).key("general.name", STRING).string(b"caf\xe9");
    let path = header.array("list", STRING, 1).string(b"\xff").write(folder.path(), "latin.gguf");
    let shown = stdout_of(["inspect", text(&path)]);
    assert!(shown.contains("\"caf\u{fffd}\"") && shown.contains("\"\u{fffd}\""), "{shown}");
    assert_eq!(json_of(["inspect", text(&path), "--json"])["metadata"]["general.name"], "caf\u{fffd}");
}
