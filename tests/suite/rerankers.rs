//! Decoders that score pairs by the words that they would answer with: which checkpoints become such files, and that
//! scores are the probabilities of transformers' logits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::npy::read_npy;
use crate::families::{self, Fixture};
use crate::program;
use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{FileType, Plan, PlanOptions, RunOptions, Silent, run};
use gguf_kit::error::Error;
use gguf_kit::gguf::GgufFile;
use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{EmbedOptions, EmbedText, Embedder, Engine, EngineOptions};
use gguf_simd::Kernels;
use gguf_simd::attention::CacheType;

/// Ids of the words, in place of the last that the vocabulary of fixtures has merges for.
const YES: u32 = 260;
const NO: u32 = 261;

fn fixture() -> Fixture {
    families::registered().into_iter().find(|fixture| fixture.name == "qwen3").expect("the fixture")
}

/// The checkpoint of Qwen 3 in the folder `name`, with two words in its vocabulary.
fn checkpoint(dir: &Path, name: &str) -> PathBuf {
    let fixture = fixture();
    fixture.convert(dir);
    let checkpoint = dir.join(name);
    fs::rename(dir.join(&fixture.name), &checkpoint).expect("renamed");
    let path = checkpoint.join("tokenizer.json");
    let mut tokenizer: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("a tokenizer")).expect("JSON");
    let merges = tokenizer["model"]["merges"].as_array_mut().expect("merges");
    merges.truncate(merges.len() - 2);
    let vocab = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
    vocab.retain(|_, id| id.as_u64().is_some_and(|id| id < u64::from(YES)));
    vocab.insert("yes".into(), YES.into());
    vocab.insert("no".into(), NO.into());
    fs::write(path, tokenizer.to_string()).expect("written");
    checkpoint
}

fn converted(checkpoint: &Path, answers: Option<&str>) -> Result<PathBuf, Error> {
    let gguf = checkpoint.with_extension("gguf");
    let opened = Checkpoint::open(checkpoint)?;
    let answers = answers.map(|words| words.parse().expect("words"));
    let plan = Plan::new(&opened, &PlanOptions { answers, ..PlanOptions::new(FileType::F32) })?;
    run(&plan, &gguf, &RunOptions { overwrite: true, n_threads: 1, kernels: Kernels::best() }, &Silent)?;
    Ok(gguf)
}

/// Runs `gguf-convert`.
fn convert(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gguf-convert")).args(args).output().expect("gguf-convert starts")
}

fn scores(gguf: &Path, ids: &[u32]) -> Vec<f32> {
    let engine = Engine::load(gguf, EngineOptions::default()).expect("a sound file");
    let mut options = EmbedOptions::new(ids.len());
    options.kv_types = KvTypes::both(CacheType::F32);
    let text = EmbedText::new(ids.to_vec());
    Embedder::new(&engine, options).expect("little memory").scores(&[text]).expect("scores").remove(0)
}

/// The probabilities of the words behind the fixture's text, by the logits of transformers.
fn expected(fixture: &Fixture) -> [f32; 2] {
    let (shape, logits) = read_npy(&fixture.path.join("logits.npy"));
    let last = &logits[logits.len() - shape[1]..];
    let yes = 1.0 / (1.0 + (last[NO as usize] - last[YES as usize]).exp());
    [yes, 1.0 - yes]
}

#[test]
fn scores_are_the_probabilities_of_the_answers_however_the_folder_says_so() {
    let fixture = fixture();
    let expected = expected(&fixture);
    let check = |gguf: &Path, what: &str| {
        let scores = scores(gguf, &fixture.ids());
        assert_eq!(scores.len(), 2, "{what}");
        for (ours, theirs) in scores.iter().zip(expected) {
            assert!((ours - theirs).abs() < 1e-4, "{what}: {ours} and {theirs}");
        }
        let file = GgufFile::open(gguf).expect("a sound file");
        assert_eq!(file.metadata().count("qwen3.pooling_type").unwrap(), Some(4), "{what}");
        assert_eq!(file.metadata().array_len("qwen3.classifier.output_labels").unwrap(), Some(2), "{what}");
        let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        assert!(names.contains(&"cls.output.weight") && !names.contains(&"output.weight"), "{what}");
        file.metadata().string("tokenizer.chat_template.rerank").unwrap().map(str::to_owned)
    };
    let dir = tempfile::tempdir().expect("a folder");
    let named = checkpoint(dir.path(), "Qwen3-Reranker-tiny");
    let prompt = check(&converted(&named, None).expect("by its name"), "by the folder's name");
    assert!(prompt.expect("a prompt").contains("<Query>: {query}\n<Document>: {document}"));
    let plain = dir.path().join("plain");
    fs::rename(&named, &plain).expect("renamed");
    // A plain language model.
    let gguf = converted(&plain, None).expect("sound");
    let has_classes = |file: &GgufFile| file.tensors().iter().any(|tensor| tensor.name.starts_with("cls"));
    assert!(!has_classes(&GgufFile::open(&gguf).expect("a sound file")));
    fs::write(plain.join("README.md"), "---\nlicense: mit\n---\n\n# Qwen3-Reranker-0.6B\n").expect("written");
    check(&converted(&plain, None).expect("by its card"), "by the card's heading");
    fs::write(plain.join("README.md"), "# Not one\n\nSee Qwen3-Reranker-0.6B.\n").expect("written");
    let prompt = check(&converted(&plain, Some("yes,no")).expect("asked for"), "by the option");
    assert!(prompt.is_some());
    let module =
        |path: &str, ty: &str| format!(r#"{{"path": "{path}", "type": "sentence_transformers.{ty}"}}"#);
    let modules = [module("", "Transformer"), module("1_LogitScore", "LogitScore")].join(",");
    fs::write(plain.join("modules.json"), format!("[{modules}]")).expect("written");
    fs::create_dir(plain.join("1_LogitScore")).expect("a folder");
    let ids = format!(r#"{{"true_token_id": {YES}, "false_token_id": {NO}}}"#);
    fs::write(plain.join("1_LogitScore/config.json"), ids).expect("written");
    assert_eq!(check(&converted(&plain, None).expect("by its modules"), "by the modules"), None);
}

#[test]
fn answers_that_cannot_be_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let plain = checkpoint(dir.path(), "plain");
    let complaint = |answers| converted(&plain, Some(answers)).expect_err(answers).to_string();
    assert!(complaint("yes,maybe").contains("no token \"maybe\""));
    assert!(complaint("yes").contains("takes two"));
    let path = plain.to_str().expect("UTF-8");
    for (words, expected) in [("a,b,c", "one word"), ("a,a", "one word")] {
        let output = convert(&[path, "--dry-run", &format!("--reranker={words}")]);
        program::assert_failed(&output, 2, &[expected]);
    }
    let gguf = converted(&plain, None).expect("sound");
    let output = convert(&[gguf.to_str().expect("UTF-8"), "--reranker", "--type", "Q8_0"]);
    program::assert_failed(&output, 2, &["--reranker", "GGUF file"]);
}
