//! Damaged configurations, indexes and model cards: either the checkpoint converts to a file that runs,
//! or there is an error that names a file of it. Never a panic or an unbounded allocation.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::checkpoint::Spec;
use crate::random::Random;
use gguf_kit::Error;
use gguf_kit::checkpoint::{Checkpoint, Config, ModelCard};
use gguf_kit::convert::{self, FileType, Plan, PlanOptions, RunOptions, Silent};
use gguf_kit::gguf::GgufFile;
use gguf_kit::runtime::{Engine, EngineOptions, Sampler, SamplerOptions};
use gguf_simd::kernels::Kernels;
use serde_json::{Value, json};

/// Values that no key expects, as JSON texts; some are no JSON.
const ODD_VALUES: [&str; 18] = [
    "null",
    "true",
    "-1",
    "0",
    "1",
    "3",
    "1.5",
    "1e300",
    "1e999",
    "18446744073709551615",
    "134217728",
    "\"x\"",
    "\"\"",
    "[]",
    "{}",
    "[-1, \"x\", 1e99]",
    "{\"type\": 1, \"factor\": -1}",
    "NaN",
];

fn tiny() -> Spec {
    Spec { n_layer: 1, n_embd: 32, n_head: 2, n_head_kv: 1, n_ff: 32, ..Spec::default() }
}

fn workplace() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    tiny().write(dir.path());
    let out = dir.path().join("m.gguf");
    (dir, out)
}

/// Converts and opens for running what can be converted; what cannot is an error that names a file.
#[track_caller]
fn runs_or_is_refused(dir: &Path, out: &Path) -> bool {
    match convert_and_open(dir, out) {
        Ok(()) => true,
        Err(Error::Io { path, .. } | Error::Malformed { path, .. } | Error::Unsupported { path, .. }) => {
            assert!(path.starts_with(dir) && path != out, "{} is blamed", path.display());
            false
        }
        Err(error) => {
            assert!(error.to_string().contains(dir.to_str().expect("UTF-8")), "{error}");
            false
        }
    }
}

fn convert_and_open(dir: &Path, out: &Path) -> Result<(), Error> {
    let checkpoint = Checkpoint::open(dir)?;
    let plan = Plan::new(&checkpoint, &PlanOptions::new(FileType::F16))?;
    convert::run(
        &plan,
        out,
        &RunOptions { overwrite: true, n_threads: 1, kernels: Kernels::best() },
        &Silent,
    )?;
    let file = GgufFile::open(out).expect("a converted file opens");
    let (options, notes) = SamplerOptions::from_metadata(file.metadata(), 16);
    assert!(notes.is_empty(), "{notes:?}");
    Sampler::new(options).expect("what is written can be run");
    Engine::open(out, EngineOptions { n_threads: Some(1), ..EngineOptions::default() })
        .expect("a converted file runs");
    Ok(())
}

/// `object` with `key` set to a text that may not be JSON.
fn with_text(object: &Value, key: &str, text: &str) -> String {
    let mut object = object.clone();
    object[key] = json!("\u{1}");
    object.to_string().replace("\"\\u0001\"", text)
}

#[test]
fn odd_values_in_config_run_or_are_refused() {
    let (dir, out) = workplace();
    let config = tiny().config();
    let mut keys: Vec<String> = config.as_object().expect("an object").keys().cloned().collect();
    keys.extend(
        ["head_dim", "num_local_experts", "num_experts_per_tok", "rope_parameters", "quantization_config"]
            .map(str::to_owned),
    );
    keys.extend(["sliding_window", "model_type", "_name_or_path", "pad_token_id"].map(str::to_owned));
    let mut n_run = 0;
    for key in &keys {
        for text in ODD_VALUES {
            fs::write(dir.path().join("config.json"), with_text(&config, key, text)).expect("writable");
            n_run += usize::from(runs_or_is_refused(dir.path(), &out));
        }
    }
    assert!(n_run > keys.len(), "some values are harmless, {n_run} ran");
}

#[test]
fn odd_values_in_generation_config_never_stop_a_conversion() {
    let (dir, out) = workplace();
    let keys = ["eos_token_id", "bos_token_id", "pad_token_id", "top_k", "top_p", "min_p", "temperature"];
    for text in ODD_VALUES {
        let entries: Vec<String> = keys.iter().map(|key| format!("\"{key}\": {text}")).collect();
        let config = format!("{{{}}}", entries.join(", "));
        fs::write(dir.path().join("generation_config.json"), config).expect("writable");
        assert!(runs_or_is_refused(dir.path(), &out), "{text}");
    }
    for text in ["", "null", "[]", "{", "\u{feff}{}", "{\"top_p\": 2, \"top_p\": 3}", &"[".repeat(100_000)] {
        fs::write(dir.path().join("generation_config.json"), text).expect("writable");
        assert!(runs_or_is_refused(dir.path(), &out), "{text}");
    }
}

/// One of many ways to damage a text.
fn damaged(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let n = (1 + random.below(12)).min(bytes.len() - at);
        match random.below(4) {
            0 => drop(bytes.drain(at..at + n)),
            1 => {
                let repeated = bytes[at..at + n].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, repeated);
            }
            2 => bytes[at] = b"{}[]:,\"'&*!|>-#%@\n\t 0"[random.below(21)],
            _ => bytes[at] = random.below(256) as u8,
        }
        if bytes.is_empty() {
            bytes.push(b'x');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn damaged_indexes_open_or_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    tiny().write_sharded(dir.path(), 2);
    let path = dir.path().join("model.safetensors.index.json");
    let sound = fs::read_to_string(&path).expect("written above");
    let mut random = Random::new(0x1d_3c);
    let mut n_opened = 0;
    for _ in 0..300 {
        fs::write(&path, damaged(&sound, &mut random)).expect("writable");
        match Checkpoint::open(dir.path()) {
            Ok(checkpoint) => {
                n_opened += 1;
                assert!(checkpoint.tensor_names().all(|name| checkpoint.tensor(name).is_ok()));
            }
            Err(error) => assert!(error.to_string().contains("model"), "{error}"),
        }
    }
    assert!(n_opened > 0);
}

#[test]
fn damaged_cards_and_generation_configs_give_what_they_have() {
    let card = "---\nlicense: &l apache-2.0\nlicense_name: *l\nlanguage:\n- en\n- \"no\"\ntags: [a, 'it''s', \"b, c\"]\n\
                base_model:\n  - owner/base # one\nmodel-index:\n- name: Tale\n  results: {a: [1, 2]}\ntext: |\n  x\n---\n# T\n";
    let generation =
        r#"{"eos_token_id": [4092, 4095], "temperature": 0.8, "top_p": NaN, "x": {"y": [null, "z\n"]}}"#;
    assert!(matches!(ModelCard::parse(card), Ok(Some(_))));
    let mut random = Random::new(0xca_4d);
    let (mut n_read, mut n_told) = (0, 0);
    for _ in 0..20_000 {
        match ModelCard::parse(&damaged(card, &mut random)) {
            Ok(_) => n_read += 1,
            Err(reason) => {
                assert!(reason.contains("front matter"), "{reason}");
                n_told += 1;
            }
        }
        let mut notes = Vec::new();
        let text = damaged(generation, &mut random);
        if let Some(config) = Config::parse_tolerantly(Path::new("g.json"), &text, &mut notes) {
            let (ids, wrong) = config.token_ids_or_notes("eos_token_id");
            assert!(ids.len() + wrong.len() <= text.len());
        } else {
            assert!(!notes.is_empty(), "{text}");
        }
    }
    assert!(n_read > 100 && n_told > 100, "{n_read} were read, {n_told} refused");
}
