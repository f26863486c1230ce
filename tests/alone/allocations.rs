//! A step allocates nothing once its session exists.

use std::path::{Path, PathBuf};

use crate::common::checkpoint::Spec;
use crate::common::counting::allocations_of;
use crate::common::model::{mixed_formats, mixed_k, new_path, write_gguf};
use crate::common::{self, options};
use gguf_kit::model::KvTypes;
use gguf_kit::model::spec::Slot;
use gguf_kit::runtime::{Engine, EngineOptions, Evaluator, Logits, Part, Sequence, Session, SessionOptions};
use gguf_simd::BlockType;
use gguf_simd::attention::CacheType;

/// Writes the model of the checkpoint in `dir`.
fn model(dir: &Path, type_of: fn(&Slot) -> BlockType) -> PathBuf {
    let path = new_path(dir, "m");
    write_gguf(dir, &path, type_of);
    path
}

fn threads(n: usize) -> EngineOptions {
    EngineOptions { n_threads: Some(n), ..EngineOptions::default() }
}

fn assert_steps_allocate_nothing(engine: &Engine, kv_types: KvTypes) {
    let n_threads = engine.thread_counts().many;
    let mut session = Session::new(engine, SessionOptions { kv_types, ..options(400, 16) }).unwrap();
    let ids: Vec<u32> = (0..40).collect();
    let many: Vec<u32> = (0..240).collect();
    let count = allocations_of(|| {
        // The tokens after these see more than one chunk of keys.
        session.step(&many, Logits::None).unwrap();
        session.step(&ids, Logits::Last).unwrap();
        assert_eq!(session.rewind(250), 250);
        for id in 0..40 {
            session.step(&[id], Logits::Last).unwrap();
        }
    });
    assert_eq!(count, 0, "{n_threads} threads");
    session.clear();
    session.step(&ids, Logits::All).unwrap();
    session.clear();
    assert_eq!(allocations_of(|| _ = session.step(&ids, Logits::All).unwrap()), 0);
    assert_joint_steps_allocate_nothing(engine, kv_types);
}

/// A prompt in pieces beside the tokens of another sequence, across the borders of batches and chunks.
fn assert_joint_steps_allocate_nothing(engine: &Engine, kv_types: KvTypes) {
    let options = SessionOptions { kv_types, ..options(400, 16) };
    let mut evaluator = Evaluator::new(engine, options).unwrap();
    let mut sequences = [(); 2].map(|()| Sequence::new(engine, options).unwrap());
    let ids: Vec<u32> = (0..45).collect();
    let mut step = |wanted| {
        let [a, b] = &mut sequences;
        let mut parts = [Part::new(a, &ids[..1], Logits::Last), Part::new(b, &ids, wanted)];
        evaluator.step(&mut parts).unwrap();
    };
    step(Logits::Last);
    let count = allocations_of(|| {
        (0..3).for_each(|_| step(Logits::None));
        (0..3).for_each(|_| step(Logits::Last));
    });
    assert_eq!(count, 0, "{} threads", engine.thread_counts().many);
    // A fork has all it needs as well, but for what it gives up and fills again.
    let [_, parent] = &mut sequences;
    let mut fork = parent.fork(280).unwrap();
    let mut step = |n| _ = evaluator.step(&mut [Part::new(&mut fork, &ids[..n], Logits::Last)]).unwrap();
    assert_eq!(allocations_of(|| (0..9).for_each(|_| step(1))), 0, "{} threads", engine.thread_counts().many);
}

pub(crate) fn steps_allocate_nothing() {
    assert!(allocations_of(|| drop(std::hint::black_box(Box::new(1)))) > 0, "the allocator counts");
    let experts = Spec { n_ff: 256, head_dim: Some(32), ..Spec::mixtral() };
    let larger = Spec { n_embd: 512, n_ff: 1024, n_layer: 4, ..Spec::default() };
    let dir = tempfile::tempdir().unwrap();
    for (spec, type_of, kv_types) in [
        (Spec::default(), mixed_formats as fn(&Slot) -> BlockType, KvTypes::default()),
        (experts, mixed_k, KvTypes::both(CacheType::Q8_0)),
    ] {
        spec.write(dir.path());
        let path = model(dir.path(), type_of);
        for n_threads in [1, 3] {
            assert_steps_allocate_nothing(&Engine::load(&path, threads(n_threads)).unwrap(), kv_types);
        }
    }
    larger.write(dir.path());
    let engine = common::engine_in_little_memory(&model(dir.path(), |_| BlockType::F32), threads(2));
    assert!(common::streamed_bytes(&engine) > 0 || cfg!(not(target_os = "linux")), "nothing is streamed");
    assert_steps_allocate_nothing(&engine, KvTypes::default());
}
