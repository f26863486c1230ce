//! Importance matrices: what is collected, and what conversions make of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::common::checkpoint::Spec;
use crate::common::{convert, fairytale};
use crate::program::{assert_fails, json_of, stdout_of};
use gguf_kit::convert::{self, FileType, GgufInput, ImportanceFile, Plan, PlanOptions, RunOptions, Silent};
use gguf_kit::error::Error;
use gguf_kit::eval::Chunks;
use gguf_kit::eval::imatrix::{CollectOptions, collect};
use gguf_kit::gguf::GgufFile;
use gguf_kit::model::KvTypes;
use gguf_kit::quantize::{Entry, ImportanceMatrix};
use gguf_kit::runtime::{Engine, EngineOptions};
use gguf_kit::tokenizer::Tokenizer;
use gguf_simd::attention::CacheType;
use gguf_simd::{BlockType, Kernels};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// What the model at `path` sees of a text.
fn collected(path: &Path, text: &str, n_ctx: usize, n_chunks: usize, threads: usize) -> ImportanceMatrix {
    let options = EngineOptions { n_threads: Some(threads), ..EngineOptions::default() };
    let engine = Engine::load(path, options).expect("a model");
    let tokenizer = Tokenizer::from_metadata(engine.metadata()).expect("a tokenizer");
    let ids = tokenizer.encode(text, true, false).expect("tokens");
    let chunks = Chunks::new(ids, n_ctx, Some(n_chunks), tokenizer.bos()).expect("long enough");
    let options = CollectOptions { kv_types: KvTypes::both(CacheType::F32), with_output: false };
    collect(&engine, &[chunks], options, &AtomicBool::new(false), &mut |_| ()).expect("numbers")
}

fn tale() -> String {
    let text = fs::read_to_string(fixture("text/the-clockmakers-lantern.txt")).expect("a tale");
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

#[test]
fn sums_are_those_of_the_inputs_that_transformers_computes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.gguf");
    convert(&fairytale(), &path, FileType::F32);
    let expected = fs::read(fixture("importance/fairytale.json")).expect("recorded");
    let expected: Value = serde_json::from_slice(&expected).expect("JSON");
    let number = |value: &Value| value.as_f64().expect("a number");
    let found = collected(&path, &tale(), 128, 2, 2);
    let close = |a: f64, b: f64, of: f64| (a - b).abs() <= 1e-4 * of.abs().max(1e-3);
    for (name, entry) in expected["entries"].as_object().expect("entries") {
        let own = &found.entries[name];
        assert_eq!(own.counts, [256], "{name}");
        let total: f64 = own.squares.iter().sum();
        assert!(close(total, number(&entry["total"]), total), "{name}: {total} and {}", entry["total"]);
        let sums = own.sums.as_ref().expect("sums");
        for i in 0..8 {
            let (square, sum) = (number(&entry["squares"][i]), number(&entry["sums"][i]));
            assert!(close(own.squares[i], square, square), "{name} {i}: {} and {square}", own.squares[i]);
            // A sum may cancel; its terms do not.
            assert!(close(sums[i], sum, (square * 256.0).sqrt()), "{name} {i}: {} and {sum}", sums[i]);
        }
    }
    assert_eq!((found.n_chunks(), found.chunk_len), (2, 128));
}

#[test]
fn what_is_collected_does_not_depend_on_threads() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.gguf");
    convert(&fairytale(), &path, FileType::Q8_0);
    let (one, three) = (collected(&path, &tale(), 64, 3, 1), collected(&path, &tale(), 64, 3, 3));
    assert!(one == three);
    // Every matrix of a layer has an entry, and nothing else.
    let file = GgufFile::open(&path).expect("a model");
    let matrices = file.tensors().iter().filter(|t| t.shape.len() > 1 && t.name.starts_with("blk."));
    let names: Vec<&str> = matrices.map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(one.entries.len(), names.len());
    assert!(names.iter().all(|name| one.entries.contains_key(*name)));
}

#[test]
fn every_expert_counts_the_tokens_that_chose_it() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::mixtral().write(dir.path());
    let path = dir.path().join("m.gguf");
    convert(dir.path(), &path, FileType::F16);
    let found = collected(&path, &tale(), 32, 2, 2);
    for layer in 0..2 {
        let counts = |role: &str| &found.entries[&format!("blk.{layer}.{role}.weight")].counts;
        // Two of eight for each token.
        assert_eq!(counts("ffn_gate_exps").iter().sum::<u64>(), 2 * 64);
        assert_eq!(counts("ffn_gate_exps").len(), 8);
        assert_eq!(counts("ffn_gate_exps"), counts("ffn_down_exps"));
        assert_eq!(*counts("attn_q"), [64]);
    }
}

/// Converts a GGUF file with an importance matrix.
fn convert_with(
    input: &Path,
    output: &Path,
    file_type: FileType,
    matrix: &ImportanceMatrix,
) -> Result<(), Error> {
    let importance = ImportanceFile { path: "imatrix.gguf".into(), matrix: Arc::new(matrix.clone()) };
    let options = PlanOptions { importance: Some(importance), ..PlanOptions::new(file_type) };
    let input = GgufInput::open(input)?;
    let run_options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
    convert::run(&Plan::of_gguf(&input, &options)?, output, &run_options, &Silent).map(drop)
}

#[test]
fn each_expert_is_encoded_with_its_own_importance() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::mixtral().write(dir.path());
    let (path, small) = (dir.path().join("m.gguf"), dir.path().join("small.gguf"));
    convert(dir.path(), &path, FileType::F32);
    let name = "blk.1.ffn_up_exps.weight";
    let mut entry = Entry::new(8, 64);
    for expert in 0..8 {
        let row: Vec<f32> = (0..64).map(|i| if (i * 7 + expert) % 8 == 0 { 9.0 } else { 0.1 }).collect();
        entry.see(expert, &row, 64);
    }
    let weights = entry.weights();
    let matrix =
        ImportanceMatrix { entries: [(name.to_owned(), entry)].into(), ..ImportanceMatrix::default() };
    convert_with(&path, &small, FileType::Q5_0, &matrix).expect("converted");
    let (before, after) = (GgufFile::open(&path).expect("a model"), GgufFile::open(&small).expect("a model"));
    let (from, to) = (before.tensor(name).expect("there"), after.tensor(name).expect("there"));
    assert_eq!(to.ty.block_type(), Some(BlockType::Q5_0));
    let mut values = vec![0.0; from.n_elements()];
    Kernels::best().decode(BlockType::F32, before.bytes(from), &mut values);
    let mut expected = Vec::new();
    for (expert, rows) in values.chunks(96 * 64).enumerate() {
        for row in rows.chunks(64) {
            let mut blocks = vec![0; BlockType::Q5_0.row_bytes(64).expect("blocks")];
            Kernels::best().encode(BlockType::Q5_0, row, Some(&weights[expert * 64..][..64]), &mut blocks);
            expected.extend(blocks);
        }
    }
    assert!(after.bytes(to) == expected);
    let metadata = after.metadata();
    assert_eq!(metadata.string("quantize.imatrix.file").expect("a text"), Some("imatrix.gguf"));
    assert_eq!(metadata.u32("quantize.imatrix.entries_count").expect("a number"), Some(1));
}

#[test]
fn the_smallest_types_are_made_with_an_importance_matrix_and_only_then() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec { n_embd: 256, n_ff: 256, n_layer: 1, ..Spec::default() }.write(dir.path());
    let (path, small) = (dir.path().join("m.gguf"), dir.path().join("small.gguf"));
    convert(dir.path(), &path, FileType::F16);
    let names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let entries = names.map(|name| {
        let mut entry = Entry::new(1, 256);
        entry.see(0, &[1.0; 256], 256);
        (format!("blk.0.{name}.weight"), entry)
    });
    let matrix = ImportanceMatrix { entries: entries.into(), ..ImportanceMatrix::default() };
    // The smaller the file, the larger the error of a matrix in its base type.
    let mut last = (u64::MAX, 0.0);
    for file_type in [
        FileType::IQ3_S,
        FileType::IQ3_XXS,
        FileType::IQ2_M,
        FileType::IQ2_XS,
        FileType::IQ2_XXS,
        FileType::IQ1_M,
        FileType::IQ1_S,
    ] {
        let importance = ImportanceFile { path: "imatrix.gguf".into(), matrix: Arc::new(matrix.clone()) };
        let options = PlanOptions { importance: Some(importance), ..PlanOptions::new(file_type) };
        let input = GgufInput::open(&path).expect("a model");
        if file_type != FileType::IQ3_S {
            let message = Plan::of_gguf(&input, &PlanOptions::new(file_type)).expect_err("none").to_string();
            assert!(message.contains("gguf-run imatrix"), "{message}");
        }
        let run_options = RunOptions { overwrite: true, n_threads: 2, kernels: Kernels::best() };
        let plan = Plan::of_gguf(&input, &options).expect("a plan");
        let summary = convert::run(&plan, &small, &run_options, &Silent).expect("converted");
        let up = summary.tensors.iter().find(|tensor| tensor.name == "blk.0.ffn_up.weight").expect("there");
        assert_eq!(up.ty.block_type(), Some(file_type.base()));
        let (n_bytes, error) = (up.n_bytes, up.error.relative_rmse());
        assert!(
            n_bytes < last.0 && error > last.1 && error < 0.55,
            "{file_type}: {n_bytes} bytes, error {error}"
        );
        last = (n_bytes, error);
        Engine::load(&small, EngineOptions::default()).expect("a model");
    }
}

#[test]
fn a_matrix_of_another_model_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::default().write(dir.path());
    let (path, small) = (dir.path().join("m.gguf"), dir.path().join("small.gguf"));
    convert(dir.path(), &path, FileType::F16);
    let refusal = |name: &str, n_in: usize| {
        let matrix = ImportanceMatrix {
            entries: [(name.to_owned(), Entry::new(1, n_in))].into(),
            ..ImportanceMatrix::default()
        };
        convert_with(&path, &small, FileType::Q4_0, &matrix).expect_err("another model").to_string()
    };
    let message = refusal("blk.0.attn_q.weight", 128);
    assert!(message.contains("128 columns there and 64 here"), "{message}");
    let message = refusal("blk.7.attn_q.weight", 64);
    assert!(message.contains("knows none of the tensors"), "{message}");
    assert!(!small.exists());
}

#[test]
fn a_tensor_of_which_a_matrix_has_zeros_is_encoded_as_without_one_with_a_note() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec { n_embd: 256, n_ff: 256, n_layer: 1, ..Spec::default() }.write(dir.path());
    let path = dir.path().join("m.gguf");
    convert(dir.path(), &path, FileType::F16);
    let names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let entries = names.map(|name| {
        let row: Vec<f32> = (0..256).map(|i| if i % 8 == 0 { 9.0 } else { 0.1 }).collect();
        let mut entry = Entry::new(1, 256);
        entry.see(0, if name == "ffn_up" { &[0.0; 256] } else { &row }, 256);
        (format!("blk.0.{name}.weight"), entry)
    });
    let matrix = ImportanceMatrix { entries: entries.into(), ..ImportanceMatrix::default() };
    let importance = ImportanceFile { path: "imatrix.gguf".into(), matrix: Arc::new(matrix) };
    let options =
        |file_type| PlanOptions { importance: Some(importance.clone()), ..PlanOptions::new(file_type) };
    let input = GgufInput::open(&path).expect("a model");
    let plan = Plan::of_gguf(&input, &options(FileType::Q4_0)).expect("a plan");
    let note = "imatrix.gguf has nothing but zeros for blk.0.ffn_up.weight: ";
    assert!(plan.warnings().iter().any(|other| other.starts_with(note)), "{:?}", plan.warnings());
    let [with, without] = ["with.gguf", "without.gguf"].map(|name| dir.path().join(name));
    let run_options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
    convert::run(&plan, &with, &run_options, &Silent).expect("converted");
    let plain = Plan::of_gguf(&input, &PlanOptions::new(FileType::Q4_0)).expect("a plan");
    convert::run(&plain, &without, &run_options, &Silent).expect("converted");
    let bytes = |path: &Path, name: &str| {
        let file = GgufFile::open(path).expect("a model");
        file.bytes(file.tensor(&format!("blk.0.{name}.weight")).expect("there")).to_vec()
    };
    for (name, is_alike) in [("ffn_up", true), ("ffn_gate", false)] {
        assert_eq!(bytes(&with, name) == bytes(&without, name), is_alike, "{name}");
    }
    let message = Plan::of_gguf(&input, &options(FileType::IQ2_XXS)).expect_err("of no use").to_string();
    assert!(message.contains("has nothing but zeros for blk.0.ffn_up.weight"), "{message}");
}

#[test]
fn the_commands_collect_merge_show_and_refuse() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (model, tale) = (fairytale(), fixture("text/the-clockmakers-lantern.txt"));
    let (model, tale) = (model.to_str().expect("UTF-8"), tale.to_str().expect("UTF-8"));
    let (a, b, both) = (path("a.gguf"), path("b.dat"), path("both.gguf"));
    let collect = ["imatrix", model, "--type", "Q8_0", "-f", tale, "--ctx", "64", "--chunks", "2"];
    let run = |more: &[&str]| stdout_of(collect.iter().chain(more));
    assert!(run(&["-o", &a]).contains("2 chunks of 64 tokens"));
    run(&["-o", &b, "--quiet"]);
    stdout_of(["imatrix", "merge", &a, &b, "-o", &both]);
    let rows = |file: &str| json_of(["imatrix", "show", file, "--json"])["entries"][0]["rows"].as_u64();
    // The old format counts in chunks of 512.
    assert_eq!((rows(&a), rows(&b), rows(&both)), (Some(128), Some(2 * 512), Some(128 + 2 * 512)));
    assert!(stdout_of(["imatrix", "show", &a]).contains("blk.0.attn_q.weight"));
    let line = r#"{"messages": [{"role": "user", "content": "A tale, please."}, {"role": "assistant", "content": "Once."}]}"#;
    fs::write(path("chat.jsonl"), format!("{line}\n")).expect("written");
    let chat = path("chat.jsonl");
    let short = ["imatrix", model, "--type", "Q8_0", "-f", &chat, "-o", &path("c.gguf")];
    assert_fails(short, 2, &["chat.jsonl: the text has"]);
    fs::write(&chat, "{\"messages\": 5}\n").expect("written");
    assert_fails(short, 1, &["line 1: its messages are not a list"]);
    assert_fails(["imatrix", model, "--type", "Q8_0", "-f", tale, "-o", &a], 2, &["--force"]);
    assert_fails(["imatrix", "show", tale], 1, &["not an importance matrix"]);
}
