//! The engine: sessions, batches, sampling.

mod engine;
pub mod generate;
mod memory;
pub mod sampler;
mod session;

pub use engine::{Engine, EngineOptions};
pub use sampler::{Random, Sampler, SamplerOptions};
pub use session::{Logits, Session, SessionOptions};
