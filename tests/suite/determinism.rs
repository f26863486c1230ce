//! Logits depend on the model and the ids, and on nothing else: not on the number of threads, the
//! CPU features, or how the ids are cut into batches and steps.

use std::path::{Path, PathBuf};

use crate::common::checkpoint::Spec;
use crate::common::model::{mixed_formats, mixed_k, new_path, write_gguf};
use crate::common::options;
use crate::common::texts::bits;
use gguf_kit::model::KvTypes;
use gguf_kit::model::spec::Slot;
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session, SessionOptions};
use gguf_simd::attention::CacheType;
use gguf_simd::{BlockType, Isa};

/// Ids that visit every layer's corners: more than a batch, repeated and not.
fn some_ids(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| i * i * 37 % 4000 + i % 3).collect()
}

fn engine(path: &Path, n_threads: usize, isa: Isa) -> Engine {
    Engine::load(
        path,
        EngineOptions { n_threads: Some(n_threads), isa: Some(isa), ..EngineOptions::default() },
    )
    .unwrap()
}

fn logits_of(engine: &Engine, ids: &[u32], n_batch: usize) -> Vec<f32> {
    let mut session = Session::new(engine, options(ids.len(), n_batch)).unwrap();
    session.step(ids, Logits::All).unwrap().to_vec()
}

/// Compares every tier, thread count and batch with one thread, one token at a time, on the scalar tier.
fn assert_same_bits(path: &Path, name: &str) {
    let ids = some_ids(10);
    let expected = logits_of(&engine(path, 1, Isa::Scalar), &ids, 1);
    assert!(expected.iter().all(|x| x.is_finite()), "{name}");
    for isa in Isa::all() {
        if !isa.is_available() {
            println!("skipped: this CPU lacks {isa}");
            continue;
        }
        // Plain Rust takes a hundred times as long: one run more is enough there.
        let runs: &[_] = if isa == Isa::Scalar { &[(3, 7)] } else { &[(1, 10), (2, 7), (3, 10), (2, 1)] };
        for &(n_threads, n_batch) in runs {
            let found = logits_of(&engine(path, n_threads, isa), &ids, n_batch);
            assert!(
                bits(&found) == bits(&expected),
                "{name}: {isa}, {n_threads} threads, batches of {n_batch}"
            );
        }
    }
}

fn gguf_of(checkpoint: &Path, dir: &Path, name: &str, type_of: impl Fn(&Slot) -> BlockType) -> PathBuf {
    let path = new_path(dir, name);
    write_gguf(checkpoint, &path, type_of);
    path
}

#[test]
fn logits_have_the_same_bits_whatever_computes_them_for_every_type() {
    let dir = tempfile::tempdir().unwrap();
    // Rows of every matrix are whole blocks of every type.
    let spec = Spec { n_embd: 256, n_ff: 512, head_dim: Some(64), ..Spec::default() };
    spec.write(dir.path());
    for ty in BlockType::all() {
        let path = gguf_of(dir.path(), dir.path(), ty.name(), |_| ty);
        assert_same_bits(&path, ty.name());
    }
}

#[test]
fn logits_have_the_same_bits_whatever_computes_them_for_mixed_types() {
    let dir = tempfile::tempdir().unwrap();
    assert_same_bits(&gguf_of(&crate::common::fairytale(), dir.path(), "mixed-k", mixed_k), "K types");
    assert_same_bits(
        &gguf_of(&crate::common::fairytale(), dir.path(), "formats", mixed_formats),
        "all formats",
    );
}

#[test]
fn logits_have_the_same_bits_whatever_computes_them_for_every_shape() {
    let shapes = [
        ("experts", Spec { n_ff: 256, n_embd: 256, ..Spec::mixtral() }),
        ("biases", Spec { has_biases: true, ..Spec::default() }),
        ("llama3 rope", Spec::llama3_rope()),
        ("wide heads", Spec { head_dim: Some(40), is_tied: false, ..Spec::default() }),
        ("one head", Spec { n_head: 1, n_head_kv: 1, n_layer: 1, ..Spec::default() }),
    ];
    for (name, spec) in shapes {
        let dir = tempfile::tempdir().unwrap();
        spec.write(dir.path());
        for (kind, type_of) in [("F32", None), ("mixed", Some(mixed_k))] {
            let path =
                gguf_of(dir.path(), dir.path(), kind, |spec| type_of.map_or(BlockType::F32, |f| f(spec)));
            assert_same_bits(&path, &format!("{name}, {kind}"));
        }
    }
}

/// Ids whose keys fill several chunks, the last one in part.
const N_LONG: usize = 600;

/// The logits of the last tokens of a long text.
fn last_logits(session: &mut Session<'_>) -> Vec<u32> {
    let ids = some_ids(N_LONG);
    session.step(&ids[session.n_past()..N_LONG - 30], Logits::None).unwrap();
    bits(session.step(&ids[N_LONG - 30..], Logits::All).unwrap())
}

#[test]
fn logits_have_the_same_bits_whatever_computes_them_for_every_type_of_keys_and_values() {
    let dir = tempfile::tempdir().unwrap();
    Spec { n_head: 3, n_head_kv: 1, head_dim: Some(64), ..Spec::default() }.write(dir.path());
    let path = gguf_of(dir.path(), dir.path(), "m", |_| BlockType::F16);
    let mixed = KvTypes { keys: CacheType::Q8_0, values: CacheType::F16 };
    for kv_types in CacheType::ALL.map(KvTypes::both).into_iter().chain([mixed]) {
        let options = |n_batch| SessionOptions { kv_types, ..options(N_LONG, n_batch) };
        let definition = engine(&path, 1, Isa::Scalar);
        let expected = last_logits(&mut Session::new(&definition, options(1)).unwrap());
        for isa in Isa::available() {
            // Chunks are divided between three threads for one token and for four, not for more.
            let runs: &[_] =
                if isa == Isa::Scalar { &[(3, 4)] } else { &[(1, 600), (2, 96), (3, 1), (3, 4)] };
            for &(n_threads, n_batch) in runs {
                let engine = engine(&path, n_threads, isa);
                let mut session = Session::new(&engine, options(n_batch)).unwrap();
                assert!(
                    last_logits(&mut session) == expected,
                    "{kv_types}: {isa}, {n_threads} threads, batches of {n_batch}"
                );
                assert_eq!(session.rewind(333), 333);
                assert!(last_logits(&mut session) == expected, "{kv_types}: {isa}, continued");
            }
        }
    }
}

#[test]
fn a_truncated_cache_continues_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = gguf_of(&crate::common::fairytale(), dir.path(), "m", mixed_k);
    let engine = engine(&path, 2, Isa::best());
    let ids = some_ids(40);
    let expected = logits_of(&engine, &ids, 40);
    let n_vocab = engine.n_vocab();
    let last = &expected[39 * n_vocab..];

    let mut session = Session::new(&engine, options(64, 16)).unwrap();
    session.step(&some_ids(60)[20..], Logits::None).unwrap();
    session.clear();
    session.step(&ids[..30], Logits::None).unwrap();
    session.step(&[1, 2, 3], Logits::Last).unwrap();
    assert_eq!(session.rewind(25), 25);
    assert_eq!(session.n_past(), 25);
    assert_eq!(bits(session.step(&ids[25..], Logits::Last).unwrap()), bits(last));
    assert_eq!(session.rewind(39), 39);
    assert_eq!(bits(session.step(&ids[39..], Logits::All).unwrap()), bits(last));
}

#[test]
fn a_model_larger_than_the_memory_it_may_use_gives_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    Spec { n_layer: 8, n_embd: 512, n_ff: 64, ..Spec::mixtral() }.write(dir.path());
    for (name, checkpoint) in [("dense", crate::common::fairytale()), ("experts", dir.path().to_owned())] {
        let path = gguf_of(&checkpoint, dir.path(), name, |_| BlockType::F32);
        let ids = some_ids(24);
        let expected = logits_of(&engine(&path, 2, Isa::best()), &ids, 24);
        for n_threads in [1, 3] {
            let options = EngineOptions { n_threads: Some(n_threads), ..EngineOptions::default() };
            let engine = crate::common::engine_in_little_memory(&path, options);
            let streamed = crate::common::streamed_bytes(&engine);
            assert!(streamed > 0 || cfg!(not(target_os = "linux")), "{name}: nothing is streamed");
            for n_batch in [24, 7, 1] {
                let found = logits_of(&engine, &ids, n_batch);
                assert!(bits(&found) == bits(&expected), "{name}: {n_threads} threads, batches of {n_batch}");
            }
        }
    }
}

#[test]
fn sessions_on_one_engine_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = gguf_of(&crate::common::fairytale(), dir.path(), "m", |_| BlockType::Q8_0);
    let options = EngineOptions { n_threads: Some(2), ..EngineOptions::default() };
    for engine in [engine(&path, 2, Isa::best()), crate::common::engine_in_little_memory(&path, options)] {
        sessions_do_not_disturb_each_other(&engine);
    }
}

fn sessions_do_not_disturb_each_other(engine: &Engine) {
    let texts: Vec<Vec<u32>> = (0..3).map(|i| some_ids(30)[i * 5..].to_vec()).collect();
    let expected: Vec<_> = texts.iter().map(|ids| logits_of(engine, ids, 8)).collect();
    std::thread::scope(|scope| {
        for (ids, expected) in texts.iter().zip(&expected) {
            scope.spawn(|| assert_eq!(bits(&logits_of(engine, ids, 4)), bits(expected)));
        }
    });
}

#[test]
fn a_model_file_that_is_replaced_by_renaming_goes_on_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = gguf_of(&crate::common::fairytale(), dir.path(), "m", |_| BlockType::Q8_0);
    let other = gguf_of(&crate::common::fairytale(), dir.path(), "other", |_| BlockType::Q4_0);
    let ids = some_ids(20);
    let expected = logits_of(&engine(&path, 1, Isa::best()), &ids, 20);
    let engine_of_old = engine(&path, 2, Isa::best());
    let mut session = Session::new(&engine_of_old, options(20, 8)).unwrap();
    session.step(&ids[..10], Logits::None).unwrap();
    std::fs::rename(&other, &path).unwrap();
    let found = bits(session.step(&ids[10..], Logits::All).unwrap());
    assert!(bits(&expected).ends_with(&found), "the mapping keeps the old file");
    let replaced = logits_of(&engine(&path, 2, Isa::best()), &ids, 20);
    assert!(bits(&replaced) != bits(&expected), "the new file is another model");
}
