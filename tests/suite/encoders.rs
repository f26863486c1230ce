//! Every encoder computes what its authors' code computes: tiny random checkpoints with the last hidden states or the
//! scores that transformers gives them (tools/encoder_fixtures.py), by way of the converter.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, npy::read_npy};
use crate::families::{Fixture, registered_in};
use gguf_kit::convert::FileType;
use gguf_kit::gguf::GgufFile;
use gguf_kit::model::KvTypes;
use gguf_kit::model::spec::Pooling;
use gguf_kit::runtime::{
    EmbedOptions, EmbedText, Embedder, Engine, EngineOptions, Evaluator, Logits, Part, Sequence,
    SessionOptions,
};
use gguf_simd::Isa;
use gguf_simd::attention::CacheType;

/// The greatest error of a number, relative to the greatest.
const TOLERANCE: f32 = 1e-4;

/// The fixtures of encoders.
pub(crate) fn registered() -> Vec<Fixture> {
    registered_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/encoders"))
}

/// The texts of a fixture.
fn texts(fixture: &Fixture) -> Vec<EmbedText> {
    let lines = fs::read_to_string(fixture.path.join("ids.txt")).expect("ids.txt");
    let text = |line: &str| {
        let border = line.split_whitespace().position(|word| word == "|");
        let ids = line.split_whitespace().filter(|&word| word != "|");
        EmbedText { border, ..EmbedText::new(ids.map(|id| id.parse().expect("a number")).collect()) }
    };
    lines.lines().map(text).collect()
}

/// What a fixture's model makes of its texts, in one row: last streams, or scores.
fn outputs(engine: &Engine, fixture: &Fixture, n_batch: usize) -> Vec<f32> {
    let texts = texts(fixture);
    let mut options = EmbedOptions::new(texts.iter().map(|text| text.ids.len()).max().expect("texts"));
    options.kv_types = KvTypes::both(CacheType::F32);
    options.n_batch = n_batch;
    options.is_normalized = false;
    options.pooling = Some(Pooling::None);
    let mut embedder = Embedder::new(engine, options).expect("little memory");
    let scores = fixture.path.join("scores.npy").exists();
    let rows = if scores { embedder.scores(&texts) } else { embedder.embed(&texts) };
    rows.expect("sound texts").concat()
}

#[test]
fn every_encoder_computes_the_streams_and_scores_of_transformers() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for fixture in registered() {
        let engine =
            Engine::load(&fixture.convert(dir.path()), EngineOptions::default()).expect("a sound file");
        let files = ["hidden.npy", "scores.npy"].map(|name| fixture.path.join(name));
        let file: &PathBuf = files.iter().find(|path| path.exists()).expect("an expectation");
        let (shape, theirs) = read_npy(file);
        let ours = outputs(&engine, &fixture, 512);
        assert_eq!(ours.len(), shape.iter().product::<usize>(), "{}", fixture.name);
        let greatest = theirs.iter().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
        let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{}: {:.1e}", fixture.name, difference / greatest);
        if !(ours.iter().all(|x| x.is_finite()) && difference <= TOLERANCE * greatest) {
            wrong.push(format!("{}: {:.1e}", fixture.name, difference / greatest));
        }
    }
    assert!(wrong.is_empty(), "relative errors: {wrong:?}");
}

#[test]
fn every_encoder_computes_the_same_bits_on_every_tier_in_any_company() {
    let dir = tempfile::tempdir().expect("a folder");
    for fixture in registered() {
        let gguf = fixture.convert(dir.path());
        let mut expected: Option<Vec<u32>> = None;
        for isa in Isa::available() {
            for n_threads in [1, 3] {
                let options =
                    EngineOptions { n_threads: Some(n_threads), isa: Some(isa), ..EngineOptions::default() };
                let engine = Engine::load(&gguf, options).expect("a sound file");
                for n_batch in [1, 80, 512] {
                    let bits: Vec<_> =
                        outputs(&engine, &fixture, n_batch).into_iter().map(f32::to_bits).collect();
                    let what =
                        format!("{} on {isa}, {n_threads} threads, batches of {n_batch}", fixture.name);
                    assert!(*expected.get_or_insert_with(|| bits.clone()) == bits, "{what}");
                }
            }
        }
    }
}

#[test]
fn an_encoder_gives_no_logits_and_reads_a_text_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let fixture = registered().into_iter().find(|fixture| fixture.name == "bert").expect("the fixture");
    let engine = Engine::load(&fixture.convert(dir.path()), EngineOptions::default()).expect("a sound file");
    let options = SessionOptions { n_ctx: 8, n_batch: 4, kv_types: KvTypes::default() };
    let mut sequence = Sequence::new(&engine, options).expect("little memory");
    let mut evaluator = Evaluator::new(&engine, options).expect("little memory");
    let message = evaluator
        .step(&mut [Part::new(&mut sequence, &[5], Logits::Last)])
        .expect_err("no logits")
        .to_string();
    assert!(message.contains("encoder"), "{message}");
    let ids = [5; 5];
    let mut parts = [Part::new(&mut sequence, &ids, Logits::All)];
    let message = evaluator.streams(&mut parts, |_, _| {}).expect_err("too long").to_string();
    assert!(message.contains("5 tokens") && message.contains("room for 4"), "{message}");
    let mut n = 0;
    evaluator
        .streams(&mut [Part::new(&mut sequence, &ids[..3], Logits::All)], |_, _| n += 1)
        .expect("it fits");
    assert_eq!(n, 3);
    let mut parts = [Part::new(&mut sequence, &ids[..1], Logits::All)];
    let message = evaluator.streams(&mut parts, |_, _| {}).expect_err("a second text").to_string();
    assert!(message.contains("after 3"), "{message}");
}

#[test]
fn files_of_encoders_say_what_other_programs_ask_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let fixture = registered().into_iter().find(|fixture| fixture.name == "bert-rank").expect("the fixture");
    let file = GgufFile::open(&fixture.convert(dir.path())).expect("a sound file");
    let metadata = file.metadata();
    assert_eq!(metadata.bool("bert.attention.causal").unwrap(), Some(false));
    assert_eq!(metadata.count("bert.pooling_type").unwrap(), Some(4));
    assert_eq!(metadata.count("tokenizer.ggml.token_type_count").unwrap(), Some(2));
    assert_eq!(metadata.array_len("bert.classifier.output_labels").unwrap(), Some(1));
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    for name in [
        "token_types.weight",
        "blk.1.attn_output_norm.bias",
        "blk.1.layer_output_norm.weight",
        "cls.output.bias",
    ] {
        assert!(names.contains(&name), "{name}");
    }
}

#[test]
fn tables_of_relative_positions_are_where_layers_have_their_own_and_stay_floats() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, n_head, expected) in [
        ("mpnet", 4, &["blk.0.attn_rel_b.weight"][..]),
        ("t5encoder", 3, &["enc.blk.0.attn_rel_b.weight"]),
        ("t5encoder-umt5", 3, &["enc.blk.0.attn_rel_b.weight", "enc.blk.1.attn_rel_b.weight"]),
    ] {
        let fixture = registered().into_iter().find(|fixture| fixture.name == name).expect("the fixture");
        fixture.convert(dir.path());
        let gguf = dir.path().join("q8.gguf");
        common::convert(&dir.path().join(&fixture.name), &gguf, FileType::Q8_0);
        let file = GgufFile::open(&gguf).expect("a sound file");
        let arch = file.metadata().string("general.architecture").unwrap().expect("a name");
        let buckets = format!("{arch}.attention.relative_buckets_count");
        assert_eq!(file.metadata().count(&buckets).unwrap(), Some(32), "{name}");
        let tables: Vec<_> =
            file.tensors().iter().filter(|tensor| tensor.name.contains("attn_rel_b")).collect();
        let names: Vec<&str> = tables.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, expected, "{name}");
        assert!(tables.iter().all(|of| of.shape == [32, n_head] && of.ty.name() == "F32"), "{name}");
        fs::remove_file(&gguf).expect("removed");
    }
}
