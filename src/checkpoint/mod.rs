//! Hugging Face checkpoints: weight files and the JSON files beside them.
//!
//! `locate` finds out what the user pointed at, `other_weights` what a folder holds that has no weights to read, [`shard`] opens one weight file, of
//! `safetensors` or `torch`, in which each [`tensor`] lies somewhere,
//! `index` is the map from tensors to shards, `parted` knows sets of files that hold parts of tensors, `makers` makes Meta's and Mistral's own files such checkpoints, [`folder`] hands out the files beside them, [`config`] the
//! JSON objects with typed getters, [`adapter`] what PEFT trains beside a model, [`model_card`] the front matter of README.md; [`open`] puts them
//! together.

mod adapted_experts;
pub mod adapter;
mod adapter_settings;
mod among;
mod change;
pub mod config;
pub mod folder;
mod index;
mod json;
mod locate;
mod makers;
pub mod model_card;
mod modules;
pub mod open;
mod other_weights;
mod parted;
mod safetensors;
pub mod shard;
mod shards;
mod strided;
pub mod tensor;
mod torch;
mod weight_names;

pub use adapter::Adapter;
pub use among::{WeightsAmong, is_beside_weights, shards_of};
pub use change::{Change, ExpertsLowRank, LowRank, NewRows};
pub use config::Config;
pub(crate) use config::excerpt;
pub use folder::Folder;
pub use makers::{PAIRED_ROWS, axis_of};
pub use model_card::ModelCard;
pub use modules::{Modules, PoolingMode, TextRules};
pub use open::Checkpoint;
pub use shard::Shard;
pub use shards::Opener;
pub use tensor::{SourceType, TensorView};
