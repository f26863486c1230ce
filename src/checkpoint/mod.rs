//! Hugging Face checkpoints: safetensors shards and the JSON files beside them.
//!
//! `locate` finds out what the user pointed at, [`shard`] maps and checks one safetensors file,
//! `index` is the map from tensors to shards, [`folder`] hands out the files beside them, [`config`] the
//! JSON objects with typed getters, [`model_card`] the front matter of README.md; [`open`] puts them
//! together.

pub mod config;
pub mod folder;
mod index;
mod json;
mod locate;
pub mod model_card;
pub mod open;
pub mod shard;

pub use config::Config;
pub(crate) use config::excerpt;
pub use folder::Folder;
pub use model_card::ModelCard;
pub use open::Checkpoint;
pub use shard::{ByteTensor, Shard, SourceType, TensorView};
