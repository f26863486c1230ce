//! Hostile, broken and foreign checkpoints end in an error that says what is wrong: never in a
//! panic, an unbounded allocation, or a read outside the files or the folder.

use std::fs;
use std::path::Path;

use crate::hostile::{Effort, assert_says, for_each_mutation, open_shard, safetensors, touch_shard};
use gguf_kit::Error;
use gguf_kit::checkpoint::{Checkpoint, Config};
use tempfile::TempDir;

const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// A header with an F32 tensor `name` of `n` elements at the start of the data.
fn one_f32(name: &str, n: usize) -> String {
    format!(r#"{{"{name}":{{"dtype":"F32","shape":[{n}],"data_offsets":[0,{}]}}}}"#, 4 * n)
}

fn sound() -> (String, usize) {
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[],"data_offsets":[16,20]},"c":{"dtype":"C64","shape":[1],"data_offsets":[20,28]}}"#;
    (header.to_owned(), 28)
}

/// A folder with config.json and these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), r#"{"architectures": ["LlamaForCausalLM"]}"#).unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn index(map: &str) -> Vec<u8> {
    format!(r#"{{"metadata":{{"total_size":1}},"weight_map":{{{map}}}}}"#).into_bytes()
}

fn refusal(dir: &TempDir) -> String {
    Checkpoint::open(dir.path()).expect_err("a broken checkpoint opened").to_string()
}

fn shard_refusal(header: &str, n_data: usize) -> String {
    open_shard(safetensors(header, n_data)).expect_err("a broken shard opened").to_string()
}

#[test]
fn the_sound_file_is_read_whole() {
    let (header, n_data) = sound();
    let shard = open_shard(safetensors(&header, n_data)).unwrap();
    touch_shard(&shard);
    assert!(shard.tensor_names().eq(["a", "b", "c"]));
    assert_eq!(shard.tensor("a").unwrap().unwrap().shape, [2, 4]);
    assert_eq!(shard.tensor("b").unwrap().unwrap().n_bytes, 4);
    assert!(shard.tensor("d").unwrap().is_none());
}

#[test]
fn reader_rejects_every_truncation() {
    let (header, n_data) = sound();
    let bytes = safetensors(&header, n_data);
    for n in 0..bytes.len() {
        assert!(open_shard(bytes[..n].to_vec()).is_err(), "a file cut to {n} bytes opened");
    }
}

#[test]
fn reader_survives_every_changed_byte() {
    let (header, n_data) = sound();
    for_each_mutation(&safetensors(&header, n_data), 8 + header.len(), Effort::FULL, |bytes| {
        if let Ok(shard) = open_shard(bytes) {
            touch_shard(&shard);
        }
    });
}

#[test]
fn reader_rejects_headers_longer_than_the_file() {
    for length in [10, 1 << 32, 1 << 63, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        let message = open_shard(bytes).unwrap_err().to_string();
        assert_says(&message, &[&format!("should have {length} bytes"), "only 2 follow"]);
    }
}

#[test]
fn reader_limits_headers_the_file_could_hold() {
    let n = 100_000_001;
    let mut bytes = u64::try_from(n).unwrap().to_le_bytes().to_vec();
    bytes.push(b'{');
    bytes.resize(8 + n, 0);
    let refused = open_shard(bytes).unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }), "{refused:?}");
}

#[test]
fn reader_rejects_offsets_past_the_end() {
    assert_says(&shard_refusal(&one_f32("w", 8), 16), &["tensor w lies at bytes 0 to 32", "the file has 16"]);
}

#[test]
fn reader_rejects_offsets_whose_sum_overflows() {
    let n: u64 = 1 << 61;
    let entries: Vec<String> = (0..8)
        .map(|i: u64| {
            let end = if i == 7 { u64::MAX } else { (i + 1) * n };
            format!(r#""t{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{end}]}}"#, end - i * n, i * n)
        })
        .collect();
    assert_says(&shard_refusal(&format!("{{{}}}", entries.join(",")), 16), &["tensor t0 lies at"]);
}

#[test]
fn reader_rejects_shapes_whose_products_overflow() {
    let header = r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}"#;
    assert_says(&shard_refusal(header, 16), &["more than any machine can address"]);
    let header = r#"{"w":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16]}}"#;
    assert_says(&shard_refusal(header, 16), &["floating point `1e+20`"]);
}

#[test]
fn reader_rejects_shapes_that_do_not_fit_their_bytes() {
    let header = r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}"#;
    assert_says(&shard_refusal(header, 16), &["shape does not fit"]);
}

#[test]
fn reader_rejects_overlaps_gaps_and_leftovers() {
    let two = |start: usize| {
        let end = start + 8;
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":[2],"data_offsets":[{start},{end}]}}}}"#
        )
    };
    assert!(open_shard(safetensors(&two(8), 16)).is_ok());
    assert_says(&shard_refusal(&two(4), 16), &["tensor b overlap"]);
    assert_says(&shard_refusal(&two(12), 20), &["tensor b", "gap"]);
    assert_says(&shard_refusal(&two(8), 20), &["do not fill the file"]);
}

#[test]
fn reader_rejects_names_that_come_twice_or_are_too_long() {
    let twice = format!("{{{0},{0}}}", one_f32("w", 4).trim_matches(['{', '}']).to_owned() + "}");
    assert_says(&shard_refusal(&twice, 16), &["w comes twice"]);
    assert_says(&shard_refusal(&one_f32(&"n".repeat(600), 4), 16), &["more than 512 bytes"]);
}

#[test]
fn reader_rejects_headers_nested_a_million_deep() {
    let deep = |key: &str| format!(r#"{{"{key}":{}"#, "[".repeat(1_000_000));
    assert_says(&shard_refusal(&deep("__metadata__"), 0), &["header is not as it should be"]);
    assert_says(&shard_refusal(&deep("w"), 0), &["header is not as it should be"]);
}

#[test]
fn foreign_files_are_called_by_their_name() {
    let says =
        |bytes: &[u8], part| assert_says(&open_shard(bytes.to_vec()).unwrap_err().to_string(), &[part]);
    says(b"GGUF\x03\0\0\0\0\0\0\0", "not a safetensors file: it is a GGUF file");
    says(b"PK\x03\x04\0\0\0\0\0\0", "zip archive");
    says(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull");
    says(b"<!DOCTYPE html><html>", "web page");
    says(b"", "the file has 0 bytes");
}

#[test]
fn an_unsupported_type_is_an_error_only_when_asked_for() {
    let (header, n_data) = sound();
    let dir = folder(&[("model.safetensors", &safetensors(&header, n_data))]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert!(checkpoint.tensor("a").unwrap().is_some());
    let refused = checkpoint.tensor("c").unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
    assert_says(&refused.to_string(), &["tensor c holds C64 elements", "save the model in one of these"]);
}

#[test]
fn shards_are_put_together() {
    let map = format!(r#""a":"{}","b":"{}""#, SHARDS[0], SHARDS[1]);
    let dir = folder(&[
        (INDEX, &index(&map)),
        (SHARDS[0], &safetensors(&one_f32("a", 4), 16)),
        (SHARDS[1], &safetensors(&one_f32("b", 2), 8)),
    ]);
    for input in [dir.path().to_owned(), dir.path().join(INDEX), dir.path().join(SHARDS[1])] {
        let checkpoint = Checkpoint::open(&input).unwrap();
        assert!(checkpoint.tensor_names().eq(["a", "b"]));
        let b = checkpoint.tensor("b").unwrap().unwrap();
        assert_eq!((b.shape, b.path().file_name().unwrap()), ([2].as_slice(), SHARDS[1].as_ref()));
        let names: Vec<_> =
            checkpoint.shards().iter().map(|shard| shard.path().file_name().unwrap()).collect();
        assert_eq!(names, SHARDS.map(std::ffi::OsStr::new));
        assert_eq!(checkpoint.index_path(), Some(&*dir.path().join(INDEX)));
    }
}

#[test]
fn an_index_decides_and_its_slips_are_notes() {
    let a = safetensors(&one_f32("a", 4), 16);
    let b = safetensors(&one_f32("b", 2), 8);
    let two = safetensors(
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}}"#,
        24,
    );
    let map = |pairs: &[(&str, usize)]| {
        let entries: Vec<String> =
            pairs.iter().map(|(name, shard)| format!(r#""{name}":"{}""#, SHARDS[*shard])).collect();
        index(&entries.join(","))
    };
    let open = |index: &[u8], shards: [&[u8]; 2]| {
        let dir = folder(&[(INDEX, index), (SHARDS[0], shards[0]), (SHARDS[1], shards[1])]);
        Checkpoint::open(dir.path()).map(|checkpoint| {
            let place = |name: &str| {
                let tensor = checkpoint.tensor(name).unwrap()?;
                Some(tensor.path().file_name().unwrap().to_str().unwrap().to_owned())
            };
            (place("a"), place("b"), checkpoint.notes().join("\n"))
        })
    };
    let in_shard = |shard: usize| Some(SHARDS[shard].to_owned());

    for shard in [0, 1] {
        let (of_a, of_b, notes) = open(&map(&[("a", shard), ("b", 1 - shard)]), [&two, &two]).unwrap();
        assert_eq!((of_a, of_b), (in_shard(shard), in_shard(1 - shard)));
        assert_says(&notes, &["tensors in two shards, and taken from the one that it names (2): a, b"]);
    }
    let (of_a, of_b, notes) = open(&map(&[("a", 1), ("b", 0)]), [&a, &b]).unwrap();
    assert_eq!((of_a, of_b), (in_shard(0), in_shard(1)));
    assert_says(&notes, &["tensors in another shard than it names", "(2): a, b"]);
    let (of_a, of_b, notes) = open(&map(&[("a", 0), ("b", 0), ("c", 1)]), [&a, &b]).unwrap();
    assert_eq!((of_a, of_b), (in_shard(0), in_shard(1)));
    assert_says(&notes, &["tensors in no shard, though it names one (1): c"]);
    // One that the index does not name counts, unless it is there twice.
    let (of_a, of_b, notes) = open(&map(&[("a", 0), ("c", 1)]), [&a, &b]).unwrap();
    assert_eq!((of_a, of_b), (in_shard(0), in_shard(1)));
    assert_says(&notes, &["in no shard, though it names one (1): c"]);
    let twice = open(&map(&[("c", 0), ("d", 1)]), [&two, &two]).unwrap_err().to_string();
    assert_says(&twice, &["tensor a is also in", SHARDS[0]]);
    let missing = folder(&[(INDEX, &map(&[("a", 0), ("b", 1)])), (SHARDS[0], &a)]);
    assert_says(&refusal(&missing), &["1 shard missing in the folder, of 2", SHARDS[1]]);
}

#[test]
fn shards_without_an_index_are_joined_or_named() {
    let (a, b) = (safetensors(&one_f32("a", 4), 16), safetensors(&one_f32("b", 2), 8));
    let dir = folder(&[(SHARDS[0], &a), (SHARDS[1], &b)]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert!(checkpoint.tensor_names().eq(["a", "b"]));
    assert_says(&checkpoint.notes().join("\n"), &["all 2 shards of model are taken"]);
    assert_says(&refusal(&folder(&[(SHARDS[0], &a), (SHARDS[1], &a)])), &["tensor a is also in"]);
    assert_says(&refusal(&folder(&[(SHARDS[1], &a)])), &["1 of the 2 shards", SHARDS[0]]);
}

#[test]
fn an_index_cannot_lead_out_of_its_folder() {
    let outside = folder(&[("model.safetensors", &safetensors(&one_f32("a", 4), 16))]);
    let absolute = outside.path().join("model.safetensors");
    let relative = format!("../{}/model.safetensors", outside.path().file_name().unwrap().to_str().unwrap());
    for file in [absolute.to_str().unwrap(), &relative, "sub/model.safetensors", "..", ""] {
        let dir = folder(&[(INDEX, &index(&format!(r#""a":"{file}""#)))]);
        assert_says(&refusal(&dir), &["sends tensor a to", "a file name without folders is needed"]);
    }
}

#[test]
fn an_index_that_is_none_is_refused() {
    assert_says(&refusal(&folder(&[(INDEX, b"{}")])), &["no weight_map"]);
    assert_says(&refusal(&folder(&[(INDEX, &index(""))])), &["weight_map is empty"]);
    assert_says(&refusal(&folder(&[(INDEX, &index(r#""a":1"#))])), &["sends tensor a to"]);
    assert_says(&refusal(&folder(&[(INDEX, b"{\"weight_map\": ")])), &["not valid JSON"]);
    let dir = folder(&[]);
    let message = Checkpoint::open(&dir.path().join("config.json")).unwrap_err().to_string();
    assert_says(&message, &["no weight_map", "give the checkpoint's folder"]);
}

#[test]
fn a_checkpoint_without_config_is_refused() {
    let dir = folder(&[("model.safetensors", &safetensors(&one_f32("a", 4), 16))]);
    fs::remove_file(dir.path().join("config.json")).unwrap();
    assert_says(&refusal(&dir), &["has no config.json", "download it"]);
}

#[test]
fn broken_configs_are_refused_with_the_place() {
    let shard = safetensors(&one_f32("a", 4), 16);
    let with_config = |text: &str| folder(&[("model.safetensors", &shard), ("config.json", text.as_bytes())]);
    assert_says(&refusal(&with_config("[]")), &["not an object"]);
    assert_says(&refusal(&with_config(&"[".repeat(1_000_000))), &["recursion limit"]);
    assert_says(&refusal(&with_config(&" ".repeat((16 << 20) + 1))), &["longer than the 16777216 bytes"]);
    let not_text = folder(&[("model.safetensors", &shard), ("config.json", b"{\"a\": \"\xff\"}")]);
    assert_says(&refusal(&not_text), &["config.json", "byte 7 is not UTF-8"]);
}

#[test]
fn a_quantised_checkpoint_says_how() {
    let dir = folder(&[("model.safetensors", &safetensors(&one_f32("a", 4), 16))]);
    let method = |text: &str| {
        fs::write(dir.path().join("config.json"), text).unwrap();
        Checkpoint::open(dir.path()).unwrap().quantization_method()
    };
    assert_eq!(method(r#"{"quantization_config": {"quant_method": "GPTQ"}}"#).as_deref(), Some("gptq"));
    for unnamed in ["{}", "4", "[]", r#"{"quant_method": 4}"#] {
        let method = method(&format!(r#"{{"quantization_config": {unnamed}}}"#));
        assert_eq!(method.as_deref(), Some("an unnamed method"), "{unnamed}");
    }
    assert_eq!(method(r#"{"quantization_config": null}"#), None);
}

#[test]
fn a_broken_model_card_is_a_note_and_no_error() {
    let shard = safetensors(&one_f32("a", 4), 16);
    for card in [b"---\nlicense: mit\n".as_slice(), b"---\n\xff\n---\n", &vec![b'x'; (1 << 20) + 1]] {
        let checkpoint =
            Checkpoint::open(folder(&[("model.safetensors", &shard), ("README.md", card)]).path()).unwrap();
        assert!(checkpoint.model_card().is_none());
        assert_says(&checkpoint.notes().join("\n"), &["README.md is left aside"]);
    }
}

#[test]
fn config_values_out_of_range_are_errors() {
    let config =
        Config::parse(Path::new("config.json"), r#"{"n": 1e30, "m": -5, "x": 1e300, "s": "4"}"#).unwrap();
    for key in ["n", "m", "s"] {
        assert_says(&config.count(key).unwrap_err().to_string(), &["config.json", key, "whole number"]);
    }
    assert_says(&config.f32("x").unwrap_err().to_string(), &["x should be a number"]);
}
