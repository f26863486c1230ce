//! The engine: sessions, batches, sampling.

mod engine;
mod memory;
pub mod sampler;
mod session;

pub use engine::{Engine, EngineOptions};
pub use sampler::{Sampler, SamplerOptions};
pub use session::{Logits, Session, SessionOptions};
