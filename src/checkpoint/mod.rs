//! Hugging Face checkpoints: safetensors shards and the JSON files beside them.

/// The parsed config.json.
#[derive(Debug)]
pub struct Config {}
