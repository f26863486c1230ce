//! The engine: sessions, batches, sampling.

mod engine;
mod evaluator;
pub mod generate;
mod memory;
pub mod sampler;
mod sequence;
mod session;

pub use engine::{Engine, EngineOptions};
pub use evaluator::{Evaluator, Logits, Part, StepLogits};
pub use sampler::{Random, Sampler, SamplerOptions};
pub use sequence::Sequence;
pub use session::{Session, SessionOptions};
