//! Weights: in place in the mapped file, or in memory of their own.

mod linear;
mod low_rank;
mod matrix;
mod source;

pub(super) use linear::{Linear, Stack};
pub(super) use low_rank::{Added, LowRank, MAX_RANK, takes_floats};
pub(super) use matrix::{Matrix, MatrixRows};
pub use source::NewBlocks;
pub(super) use source::TensorSource;
