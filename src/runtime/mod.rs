//! The engine: sessions, batches, sampling.

pub mod sampler;

pub use sampler::{Sampler, SamplerOptions};
