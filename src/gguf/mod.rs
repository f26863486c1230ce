//! The GGUF file format: values, reader, layout, writer. Knows nothing of models.
//!
//! Shapes are outermost first everywhere outside this folder; the format's reversed order stays
//! inside it.

pub mod value;

pub use value::{Metadata, Value};
