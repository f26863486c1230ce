//! Any bytes behind the magic of a saved sequence, with a digest that is right, are refused or become a
//! sequence within its context.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{Engine, EngineOptions, Sequence, SessionOptions};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const N_CTX: usize = 300;

fn options() -> SessionOptions {
    SessionOptions { n_ctx: N_CTX, n_batch: 64, kv_types: KvTypes::default() }
}

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
        let empty = Sequence::new(&engine, options());
        empty.and_then(|empty| empty.save(&path, &[])).expect("memory and a writable folder");
        let n_header = 8 + 4 + 32 + 8 + 4 + 16 * engine.kv_spec().layers.len();
        let header = std::fs::read(&path).expect("written above")[..n_header].to_vec();
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
    if let Ok(sequence) = Sequence::load(engine, options(), path) {
        assert!(sequence.n_past() <= N_CTX && sequence.ids().len() == sequence.n_past());
        assert!(sequence.ids().iter().all(|&id| (id as usize) < engine.n_vocab()));
    }
});
