//! Weights: in place in the mapped file, or in memory of their own.

mod linear;
mod matrix;
mod source;

pub(super) use linear::{Linear, Stack};
pub(super) use matrix::{Matrix, MatrixRows};
pub use source::NewBlocks;
pub(super) use source::TensorSource;
