//! Layers with a window keep no more than the window, and the logits are those of a full cache.

use std::fs;
use std::path::Path;

use crate::common::model::{new_path, write_gguf};
use crate::common::options;
use crate::common::texts::{bits, go_on_together, ids};
use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{Engine, EngineOptions, Evaluator, Logits, Part, Sequence, Session, SessionOptions};
use gguf_simd::BlockType;
use gguf_simd::attention::CacheType;

/// Positions of several chunks: far more than the window of the model.
const N_CTX: usize = 1500;

/// A model whose layers have a window of 8, but for one that sees everything.
fn engine(dir: &Path) -> Engine {
    let path = new_path(dir, "windows");
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families/gemma3");
    write_gguf(&checkpoint, &path, |_| BlockType::F16);
    let engine =
        Engine::load(&path, EngineOptions { n_threads: Some(2), ..EngineOptions::default() }).unwrap();
    let windows: Vec<_> = engine.kv_spec().layers.iter().flatten().map(|layer| layer.window).collect();
    assert_eq!(windows, [Some(8), Some(8), None, Some(8)]);
    engine
}

/// The logits after each id, from a cache that holds all positions because a batch has room for them.
fn expected(engine: &Engine, ids: &[u32], kv_types: KvTypes) -> Vec<u32> {
    let whole = SessionOptions { kv_types, ..options(N_CTX, N_CTX) };
    bits(Session::new(engine, whole).unwrap().step(ids, Logits::All).unwrap())
}

/// The last of them.
fn last(engine: &Engine, ids: &[u32]) -> Vec<u32> {
    let logits = expected(engine, ids, KvTypes::default());
    logits[logits.len() - engine.n_vocab()..].to_vec()
}

#[test]
fn a_cache_that_keeps_only_windows_gives_the_bits_of_one_that_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let text = ids(&engine, 0, N_CTX);
    for kv_types in [KvTypes::default(), KvTypes::both(CacheType::F32)] {
        let expected = expected(&engine, &text, kv_types);
        let demand =
            |n_batch| engine.demand(SessionOptions { kv_types, ..options(N_CTX, n_batch) }).unwrap().cache;
        for n_batch in [1, 16, 100, 300] {
            let mut session =
                Session::new(&engine, SessionOptions { kv_types, ..options(N_CTX, n_batch) }).unwrap();
            assert_eq!(session.cache_bytes(), demand(n_batch));
            assert!(session.cache_bytes() < demand(N_CTX), "{n_batch}: all positions are kept");
            // Half of the text in one step of many batches, the rest in steps of a few tokens.
            let (first, rest) = text.split_at(N_CTX / 2);
            let mut found = bits(session.step(first, Logits::All).unwrap());
            for piece in rest.chunks(7) {
                found.extend(bits(session.step(piece, Logits::All).unwrap()));
            }
            assert!(found == expected, "{kv_types}, batches of {n_batch}");
        }
    }
}

#[test]
fn what_is_evaluated_after_going_back_has_the_bits_of_a_text_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let mut session = Session::new(&engine, options(N_CTX, 16)).unwrap();
    let mut text = ids(&engine, 0, 700);
    session.step(&text[..600], Logits::None).unwrap();
    session.checkpoint();
    session.step(&text[600..], Logits::None).unwrap();
    // Each with the position gone back to, what is kept of it, and how long the text is then.
    let steps = [(695, 695, 1100), (610, 600, 1400), (599, 599, 900), (100, 0, 800), (0, 0, 20)];
    for (i, (n, kept, end)) in steps.into_iter().enumerate() {
        assert_eq!(session.rewind(n), kept, "{n}");
        assert_eq!(session.sequence().ids(), &text[..kept]);
        text.truncate(kept);
        text.extend(&ids(&engine, i + 1, end)[kept..]);
        let found = bits(session.step(&text[kept..], Logits::Last).unwrap());
        assert!(found == last(&engine, &text), "step {i}");
    }
}

#[test]
fn a_sequence_is_saved_with_its_windows_and_goes_on_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let file = dir.path().join("text.session");
    let text = ids(&engine, 0, 1300);
    let mut session = Session::new(&engine, options(N_CTX, 300)).unwrap();
    session.step(&text[..1200], Logits::None).unwrap();
    session.sequence().save(&file, b"attached").unwrap();
    let n_bytes = fs::metadata(&file).unwrap().len();
    let whole = engine.demand(options(1200, 1200)).unwrap().cache;
    assert!(n_bytes < whole, "{n_bytes} bytes, and all rows are {whole}");
    for n_batch in [16, 300, N_CTX] {
        let mut loaded = Session::load(&engine, options(1400, n_batch), &file).unwrap();
        assert_eq!(
            (loaded.sequence().ids(), loaded.sequence().attached()),
            (&text[..1200], &b"attached"[..])
        );
        // A few positions back, which is what a prompt differs in.
        assert_eq!(loaded.rewind(1190), 1190);
        let found = bits(loaded.step(&text[1190..], Logits::Last).unwrap());
        assert!(found == last(&engine, &text), "batches of {n_batch}");
    }
    assert_eq!(Session::load(&engine, options(1400, 16), &file).unwrap().rewind(400), 0);
}

#[test]
fn sequences_that_share_windows_get_the_bits_they_get_alone() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let options = options(N_CTX, 32);
    let mut evaluator = Evaluator::new(&engine, options).unwrap();
    let mut parent = Sequence::new(&engine, options).unwrap();
    let text = ids(&engine, 0, 900);
    evaluator.step(&mut [Part::new(&mut parent, &text[..300], Logits::None)]).unwrap();
    parent.checkpoint();
    evaluator.step(&mut [Part::new(&mut parent, &text[300..], Logits::None)]).unwrap();
    let mut sequences: Vec<_> = [900, 890, 500, 300, 0].map(|n| parent.fork(n).unwrap()).into();
    let kept: Vec<_> = sequences.iter().map(Sequence::n_past).collect();
    assert_eq!(kept, [900, 890, 300, 300, 0]);
    sequences.push(parent);
    let texts: Vec<Vec<u32>> = sequences
        .iter()
        .zip(1..)
        .map(|(sequence, i)| [sequence.ids(), &ids(&engine, i, 550)].concat())
        .collect();
    let found = go_on_together(&mut evaluator, &mut sequences, &texts);
    for (i, text) in texts.iter().enumerate() {
        assert!(found[i] == last(&engine, text), "sequence {i}");
    }
}
