//! Steps of models with recurrent mixers allocate nothing but for the states of checkpoints, of which there is a bound.

use std::fs;
use std::path::Path;

use crate::common::counting::{allocations_of, until_its_threads_end};
use crate::common::{convert, options};
use gguf_kit::convert::FileType;
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session};

/// A mixer of each kind.
const FIXTURES: [&str; 3] = ["lfm2", "qwen35", "granitehybrid"];

pub(crate) fn steps_allocate_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families");
    for name in FIXTURES {
        let checkpoint = dir.path().join(name);
        fs::create_dir(&checkpoint).unwrap();
        for file in [families.join(name), families.join("tokenizer")].map(|from| fs::read_dir(from).unwrap())
        {
            file.flatten()
                .for_each(|file| _ = fs::copy(file.path(), checkpoint.join(file.file_name())).unwrap());
        }
        let path = dir.path().join(format!("{name}.gguf"));
        until_its_threads_end(|| convert(&checkpoint, &path, FileType::F32));
        let options_of_engine = EngineOptions { n_threads: Some(2), ..EngineOptions::default() };
        let engine = Engine::load(&path, options_of_engine).unwrap();
        let mut session = Session::new(&engine, options(2_000, 64)).unwrap();
        let taken = || engine.promised_bytes() + engine.held_bytes();
        assert_eq!(taken(), engine.demand(options(2_000, 64)).unwrap().cache, "{name}");
        let ids: Vec<u32> = (0..200).collect();
        let steps = |session: &mut Session<'_>, n: usize| {
            allocations_of(|| {
                for _ in 0..n {
                    session.step(&ids[..150], Logits::Last).unwrap();
                    ids[..5].iter().for_each(|id| _ = session.step(&[*id], Logits::Last).unwrap());
                }
            })
        };
        assert_eq!(steps(&mut session, 1), 0, "{name}: before a checkpoint is due");
        // Until there are as many checkpoints as are kept, each takes memory.
        let asked_for = allocations_of(|| {
            for _ in 0..40 {
                session.step(&ids[..12], Logits::None).unwrap();
                session.checkpoint();
            }
        });
        assert!(asked_for > 0, "{name}");
        let with_checkpoints = taken();
        assert_eq!(steps(&mut session, 5), 0, "{name}: later checkpoints take the memory of earlier ones");
        assert_eq!(taken(), with_checkpoints, "{name}");
    }
}
