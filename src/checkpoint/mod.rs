//! Hugging Face checkpoints: weight files and the JSON files beside them.
//!
//! [`open`] puts a checkpoint together. What it finds:
//!
//! - `locate`: the files that the user pointed at;
//! - `among`: which files of a list (a repository's) hold a checkpoint;
//! - `weight_names`: what weight files are called;
//! - `other_weights`: what a folder holds that has no weights to read;
//! - [`folder`]: hands out the files beside the weights, and records every request.
//!
//! Weights:
//!
//! - [`shard`]: one weight file, of format `safetensors` or `torch`;
//! - `shards`, `index`: opening several, and the map from tensors to them;
//! - [`tensor`]: element types, and where a tensor lies in its file;
//! - `strided`: views that do not lie row after row;
//! - `parted`: sets of files that hold parts of tensors;
//! - `makers`: Meta's and Mistral's own checkpoints, turned into such ones.
//!
//! Files beside the weights:
//!
//! - [`config`]: JSON objects with typed getters, read by `json`;
//! - [`model_card`]: the front matter of README.md;
//! - `modules`: what sentence-transformers puts behind a model.
//!
//! Adapters:
//!
//! - [`adapter`]: what PEFT trains beside a model;
//! - `adapter_settings`: adapter_config.json;
//! - `adapted_experts`: adapters of parameters that hold all experts of a layer;
//! - `change`: what adapters change in tensors of their base.

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
mod name_pattern;
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
pub use name_pattern::NamePattern;
pub use open::Checkpoint;
pub use shard::Shard;
pub use shards::Opener;
pub use tensor::{SourceType, TensorView};
