//! What several integration tests need: folders that clean up after themselves, and tiny checkpoints.

#![allow(dead_code, reason = "every test binary includes this and uses its part")]

pub(crate) mod checkpoint;
pub(crate) mod counting;
pub(crate) mod model;
pub(crate) mod npy;
pub(crate) mod parts;
pub(crate) mod texts;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{self, FileType, PlanOptions, RunOptions, Silent, Summary};
use gguf_kit::model::KvTypes;
use gguf_kit::runtime::residency::Plan;
use gguf_kit::runtime::{Engine, EngineOptions, SessionOptions};
use gguf_simd::kernels::Kernels;

/// A session of these dimensions, with keys and values in F16.
pub(crate) fn options(n_ctx: usize, n_batch: usize) -> SessionOptions {
    SessionOptions { n_ctx, n_batch, kv_types: KvTypes::default() }
}

/// The model at `path` with as little of its weights in memory as suffices.
pub(crate) fn engine_in_little_memory(path: &Path, engine_options: EngineOptions) -> Engine {
    let engine = Engine::open(path, engine_options).expect("a sound model");
    let least = engine.demand(options(1, 1)).expect("a type for any head").least_weights;
    engine.settle(engine.plan_within(least).expect("the least")).expect("a thread to stream with");
    engine
}

/// Bytes that an engine reads from its file for every token.
pub(crate) fn streamed_bytes(engine: &Engine) -> u64 {
    match engine.residency().expect("it was loaded").plan() {
        Plan::Divided(division) => division.streamed_bytes(),
        Plan::Whole { .. } | Plan::Unplanned => 0,
    }
}

/// What the environment variable `name` says, which a test needs and not every machine has; `None`
/// skips the test.
///
/// # Panics
/// If it is unset while `GGUF_REQUIRE=1` promises that every such test can run.
pub(crate) fn required_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name);
    if value.is_none() {
        let required = std::env::var_os("GGUF_REQUIRE").is_some_and(|require| require == "1");
        assert!(!required, "GGUF_REQUIRE=1 is set, and {name}, which this test needs, is not");
        eprintln!("skipped: {name} is not set");
    }
    value
}

/// The bundled model.
pub(crate) fn fairytale() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/fairytale")
}

/// Converts with this CPU's best arithmetic on two threads.
pub(crate) fn convert(checkpoint: &Path, path: &Path, file_type: FileType) -> Summary {
    let options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
    convert_with(checkpoint, path, file_type, &options)
}

/// Converts with `name` as `general.name`.
pub(crate) fn convert_named(checkpoint: &Path, path: &Path, file_type: FileType, name: &str) {
    let checkpoint = Checkpoint::open(checkpoint).expect("a sound checkpoint");
    let options = PlanOptions { name: Some(name.to_owned()), ..PlanOptions::new(file_type) };
    let plan = convert::Plan::new(&checkpoint, &options).expect("a sound checkpoint");
    let options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
    convert::run(&plan, path, &options, &Silent).expect("a conversion");
}

/// Converts as `options` say.
pub(crate) fn convert_with(
    checkpoint: &Path,
    path: &Path,
    file_type: FileType,
    options: &RunOptions,
) -> Summary {
    let checkpoint = Checkpoint::open(checkpoint).expect("a sound checkpoint");
    let plan = convert::Plan::new(&checkpoint, &PlanOptions::new(file_type)).expect("a sound checkpoint");
    convert::run(&plan, path, options, &Silent).expect("a conversion")
}
