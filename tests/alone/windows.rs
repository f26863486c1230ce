//! Steps of a model whose layers have windows allocate nothing, and its session takes what was counted.

use std::path::Path;

use crate::common::counting::allocations_of;
use crate::common::model::{new_path, write_gguf};
use crate::common::options;
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session};
use gguf_simd::BlockType;

/// Positions of a turn: of its prompt, and those generated after it.
const TURN: (usize, usize) = (250, 70);

/// The steps of a turn. Returns how often they allocated.
fn turn(session: &mut Session<'_>) -> u64 {
    let prompt: Vec<u32> = (0..TURN.0 as u32).collect();
    let of_prompt = allocations_of(|| _ = session.step(&prompt, Logits::Last).unwrap());
    session.checkpoint();
    let of_answer = allocations_of(|| {
        for id in 0..TURN.1 as u32 {
            session.step(&[id], Logits::Last).unwrap();
        }
    });
    of_prompt + of_answer
}

pub(crate) fn steps_allocate_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = new_path(dir.path(), "windows");
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families/gemma3");
    write_gguf(&checkpoint, &path, |_| BlockType::F16);
    let engine =
        Engine::load(&path, EngineOptions { n_threads: Some(2), ..EngineOptions::default() }).unwrap();
    let taken = || engine.promised_bytes() + engine.held_bytes();
    let mut session = Session::new(&engine, options(5000, 64)).unwrap();
    assert_eq!(taken(), engine.demand(options(5000, 64)).unwrap().cache);
    let ids: Vec<u32> = (0..200).collect();
    let before_checkpoints = allocations_of(|| {
        for _ in 0..5 {
            session.step(&ids, Logits::Last).unwrap();
            session.step(&ids[..1], Logits::Last).unwrap();
        }
    });
    assert_eq!(before_checkpoints, 0);
    assert_eq!(taken(), engine.demand(options(5000, 64)).unwrap().cache, "chunks are used again");
    // Until there are as many checkpoints as are kept, each takes memory.
    assert!((0..5).map(|_| turn(&mut session)).sum::<u64>() > 0);
    let with_checkpoints = taken();
    assert_eq!((0..5).map(|_| turn(&mut session)).sum::<u64>(), 0, "later ones take that of earlier ones");
    assert_eq!(taken(), with_checkpoints);
    // To go back to one and on from there takes nothing either.
    let n_past = session.n_past();
    let kept = session.rewind(n_past - TURN.1 - 1);
    assert_eq!(kept, n_past - TURN.1 - 1);
    assert_eq!(turn(&mut session), 0);
}
