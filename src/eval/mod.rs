//! Perplexity, divergence, importance matrices and benchmarks.
//!
//! The protocol and the formulas are those of llama.cpp's `llama-perplexity`, so that numbers
//! compare; sums are in f64 and logits are never rounded.

pub mod base_file;
pub mod bench;
pub mod ceiling;
pub mod chunks;
pub mod distribution;
pub mod divergence;
pub mod imatrix;
pub mod perplexity;
pub mod sensitivity;
pub mod statistics;
pub mod together;

pub use chunks::Chunks;
pub use statistics::Estimate;
