//! The engine: sessions, batches, sampling, and what of a model stays in memory.

mod embed;
mod engine;
mod evaluator;
mod fingerprint;
pub mod generate;
mod journal;
mod memory;
mod part;
pub mod residency;
pub mod sampler;
mod sequence;
mod sequence_file;
mod session;
mod session_file;
mod session_options;
pub mod speculate;

pub use embed::{EmbedOptions, EmbedText, Embedder};
pub use engine::{Engine, EngineOptions};
pub use evaluator::{Evaluator, StepLogits};
pub use memory::Demand;
pub use part::{Logits, Part};
pub use sampler::{Random, Sampler, SamplerOptions};
pub use sequence::Sequence;
pub use session::Session;
pub use session_file::{Resumed, SessionFile};
pub use session_options::SessionOptions;
