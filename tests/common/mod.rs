//! What several integration tests need: folders that clean up after themselves, and tiny checkpoints.

#![allow(dead_code, reason = "every test binary includes this and uses its part")]

pub(crate) mod checkpoint;
pub(crate) mod model;

use std::path::PathBuf;

/// The bundled model.
pub(crate) fn fairytale() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/fairytale")
}
