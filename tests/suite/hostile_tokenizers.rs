//! Tokenizer files of every kind, damaged in their structure and in their bytes: each is read or refused,
//! and what is read encodes, without a panic, an endless loop or unbounded memory.

use std::fs;
use std::path::PathBuf;

use crate::hostile::damage;
use crate::random::Random;
use gguf_kit::checkpoint::{Config, Folder};
use gguf_kit::tokenizer::{Tokenizer, Vocabulary};
use serde_json::{Value, json};

/// Rows of the model's embedding.
const N_VOCAB: usize = 512;

/// Files damaged in their bytes, for each file.
const N_DAMAGED: usize = 1500;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizer").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A folder of tokenizer files, of which one is replaced again and again.
struct Victim {
    dir: tempfile::TempDir,
    name: &'static str,
}

impl Victim {
    fn new(files: &[(&str, Vec<u8>)], name: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        Self { dir, name }
    }

    /// Reads the folder with `bytes` in place of the file, and encodes a text if that goes well.
    /// Returns whether it did.
    fn survives(&self, bytes: &[u8]) -> bool {
        fs::write(self.dir.path().join(self.name), bytes).unwrap();
        let config = Config::parse("config.json".as_ref(), "{}").unwrap();
        let vocabulary = Vocabulary::from_checkpoint(&Folder::new(self.dir.path()), &config, N_VOCAB);
        let tokenizer = vocabulary.and_then(Tokenizer::new);
        let is_read = tokenizer.is_ok();
        if let Ok(tokenizer) = tokenizer {
            for text in ["", "a  b\n<s>day</s> <left> é🦙", "<tool>x<|eot_id|>"] {
                for parse_special in [false, true] {
                    if let Ok(ids) = tokenizer.encode(text, true, parse_special) {
                        tokenizer.decode(&ids, true);
                    }
                }
            }
        }
        is_read
    }

    /// Reads many versions with damaged bytes; some must be refused.
    fn survives_damage(&self, sound: &[u8]) {
        assert!(self.survives(sound), "{} is sound", self.name);
        let mut random = Random::new(0xdead_70c5);
        let mut refused = 0;
        for _ in 0..N_DAMAGED {
            let mut bytes = sound.to_vec();
            for _ in 0..=random.below(3) {
                if !bytes.is_empty() {
                    let n = bytes.len();
                    damage(&mut bytes, n, &mut random);
                }
            }
            refused += usize::from(!self.survives(&bytes));
        }
        assert!(refused > N_DAMAGED / 100, "{}: {refused} refused", self.name);
    }

    /// Reads every version in which one value is another, or missing.
    fn survives_changes(&self, sound: &Value) {
        let mut paths = Vec::new();
        collect_paths(sound, String::new(), &mut paths);
        let deep = (0..100).fold(json!(0), |inner, _| json!([inner]));
        let others = [
            Value::Null,
            json!(-1),
            json!(0),
            json!(1e300),
            json!(u64::MAX),
            json!(true),
            json!(""),
            json!("a"),
            json!([]),
            json!([[]]),
            json!({}),
            json!({"type": "Sequence"}),
            deep,
        ];
        for path in &paths {
            for other in &others {
                let mut changed = sound.clone();
                *changed.pointer_mut(path).expect("a path of the value") = other.clone();
                self.survives(changed.to_string().as_bytes());
            }
        }
    }
}

/// The paths of the first values at each place; long lists and objects have enough with a few.
fn collect_paths(value: &Value, path: String, paths: &mut Vec<String>) {
    const MAX_CHILDREN: usize = 8;
    let below = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(object) => {
            let children = object.iter().take(MAX_CHILDREN);
            children.for_each(|(key, child)| collect_paths(child, below(key), paths));
        }
        Value::Array(list) => {
            let children = list.iter().take(MAX_CHILDREN).enumerate();
            children.for_each(|(i, child)| collect_paths(child, below(&i.to_string()), paths));
        }
        _ => {}
    }
    paths.push(path);
}

/// A byte-level tokenizer.json small enough to be changed everywhere.
fn byte_level() -> Value {
    json!({
        "added_tokens": [
            {"id": 5, "content": "<s>", "special": true, "lstrip": true},
            {"id": 6, "content": "<tool>", "special": false, "normalized": true},
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]},
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE", "unk_token": "<tool>", "dropout": 0.0, "ignore_merges": false, "end_of_word_suffix": "",
            "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4}, "merges": [["a", "b"], ["Ġ", "ab"]],
        },
    })
}

fn settings() -> Value {
    json!({
        "added_tokens_decoder": {"5": {"content": "<s>", "special": true, "rstrip": true}},
        "additional_special_tokens": ["<x>", {"content": "<y>", "lstrip": true}],
        "add_bos_token": true, "add_prefix_space": false, "bos_token": "<s>", "eos_token": {"content": "<z>"},
        "chat_template": [{"name": "default", "template": "x"}, {"name": "tool_use", "template": "y"}],
    })
}

fn bytes_of(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[test]
fn a_damaged_tokenizer_json_is_read_or_refused() {
    let sound = fixture("spm_json/tokenizer.json");
    let victim = Victim::new(&[("tokenizer.model", fixture("spm/tokenizer.model"))], "tokenizer.json");
    victim.survives_damage(&sound);
    victim.survives_changes(&serde_json::from_slice(&sound).unwrap());
}

#[test]
fn a_damaged_byte_level_tokenizer_json_is_read_or_refused() {
    let victim = Victim::new(&[("tokenizer_config.json", bytes_of(&settings()))], "tokenizer.json");
    victim.survives_changes(&byte_level());
    victim.survives(&[b"[".repeat(1_000_000), b"{\"model\":".repeat(1_000_000)].concat());
}

#[test]
fn a_damaged_tokenizer_model_is_read_or_refused() {
    let victim = Victim::new(&[("tokenizer_config.json", b"{}".to_vec())], "tokenizer.model");
    victim.survives_damage(&fixture("spm/tokenizer.model"));
}

#[test]
fn damaged_files_beside_a_tokenizer_are_read_or_refused() {
    let tokenizer = ("tokenizer.json", bytes_of(&byte_level()));
    for (name, sound) in [
        ("tokenizer_config.json", settings()),
        (
            "special_tokens_map.json",
            json!({"bos_token": "<s>", "additional_special_tokens": ["<x>", {"content": "<y>"}]}),
        ),
        ("added_tokens.json", json!({"<x>": 7, "<y>": 8})),
    ] {
        let victim = Victim::new(std::slice::from_ref(&tokenizer), name);
        victim.survives_damage(&bytes_of(&sound));
        victim.survives_changes(&sound);
    }
}
