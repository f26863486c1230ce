//! A matrix with a bias.

use super::Matrix;

/// A matrix and the bias it may have.
#[derive(Debug)]
pub(in crate::model) struct Linear {
    pub(in crate::model) matrix: Matrix,
    /// `[n_out]`.
    pub(in crate::model) bias: Option<Vec<f32>>,
}
