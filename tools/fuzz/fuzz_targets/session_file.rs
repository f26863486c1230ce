//! Any bytes behind the magic of a saved sequence, with a digest that is right, are refused or become a
//! sequence within its context.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{Engine, EngineOptions, Sequence};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const N_CTX: usize = 300;

struct Bench {
    engine: Engine,
    /// The header of a saved sequence of the model, without its counts.
    header: Vec<u8>,
    path: PathBuf,
}

/// A model, named by GGUF_FUZZ_MODEL (`gguf-convert fixtures/models/fairytale -o m.gguf`), and a file to
/// write to.
fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let model = std::env::var_os("GGUF_FUZZ_MODEL").expect("GGUF_FUZZ_MODEL names a GGUF file");
        let engine = Engine::open(model.as_ref(), EngineOptions::default()).expect("a sound model");
        let path = std::env::temp_dir().join(format!("fuzz-{}.session", std::process::id()));
        let empty = Sequence::new(&engine, N_CTX, KvTypes::default());
        empty.and_then(|empty| empty.save(&path, &[])).expect("memory and a writable folder");
        let header = std::fs::read(&path).expect("written above")[..68].to_vec();
        Bench { engine, header, path }
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Bench { engine, header, path } = bench();
    // Half of the inputs get as far as the counts, ids and rows.
    let mut content = match bytes.split_first() {
        Some((first, rest)) if first % 2 == 0 => [header.as_slice(), rest].concat(),
        _ => [b"gguf-seq".as_slice(), bytes].concat(),
    };
    let digest = Sha256::digest(&content);
    content.extend(digest);
    std::fs::write(path, content).expect("a writable folder");
    if let Ok(sequence) = Sequence::load(engine, N_CTX, KvTypes::default(), path) {
        assert!(sequence.n_past() <= N_CTX && sequence.ids().len() == sequence.n_past());
        assert!(sequence.ids().iter().all(|&id| (id as usize) < engine.n_vocab()));
    }
});
