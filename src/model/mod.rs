//! What converter and runtime both know of a model: its numbers, its tensors, its parts.

pub mod adapter;
pub mod arch;
mod batch;
mod compute;
mod decoder;
mod inputs;
mod layer;
mod load;
mod memory;
mod product;
mod profile;
mod reads;
mod rope;
pub mod sampling;
mod single_layers;
pub mod spec;
mod state;
mod steps;
mod text_rules;
mod weights;
mod workspace;

pub use arch::Family;
pub use batch::{BatchPart, Dimensions};
pub use compute::{Compute, InputObserver, Observer};
pub use decoder::Decoder;
pub(crate) use load::is_of_other_part;
pub use profile::{Phase, PhaseTimes, Profile};
pub use reads::Reads;
pub use single_layers::{SingleLayers, Until};
pub use spec::kv::{KvLayer, KvSpec};
pub use spec::{ModelSpec, Role};
pub use state::kv::{KvCache, KvOptions, KvTypes};
pub use state::promises::{Promise, Promises};
pub use text_rules::TextRules;
pub use weights::NewBlocks;
pub use workspace::Workspace;
