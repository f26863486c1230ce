//! Weights, in place in the mapped file.

mod linear;
mod matrix;

pub(super) use linear::{Linear, Stack};
pub(super) use matrix::{Matrix, MatrixRows};
