//! About the least memory that a model runs in is named.

use crate::common::checkpoint::Spec;
use crate::common::model::{new_path, write_gguf};
use gguf_kit::Error;
use gguf_kit::runtime::{Engine, EngineOptions};
use gguf_simd::BlockType;

pub(crate) fn too_little_memory_is_refused_with_about_the_least_that_suffices() {
    let dir = tempfile::tempdir().unwrap();
    Spec { n_embd: 512, n_ff: 2048, n_layer: 5, ..Spec::default() }.write(dir.path());
    let path = new_path(dir.path(), "m");
    write_gguf(dir.path(), &path, |_| BlockType::F32);
    let load = |ram| Engine::load(&path, EngineOptions { ram: Some(ram), ..EngineOptions::default() });
    let error = load(1).expect_err("one byte");
    let message = error.to_string();
    assert!(matches!(error, Error::Limit { .. }) && message.contains("use --ram "), "{message}");
    let least: u64 = message.rsplit("--ram ").next().unwrap().split('M').next().unwrap().parse().unwrap();
    // What engines and tests before left behind counts as the process's own, or not: this holds the order of
    // magnitude. The arithmetic has its own tests.
    let slack = 8;
    load((least + slack) << 20).expect("what the message says");
    assert!(load((least - slack) << 20).is_err(), "{slack} MiB less than the least of {least}");
}
