//! What adapters change in tensors of their base.

use super::tensor::TensorView;

/// What becomes of one tensor of the base.
#[derive(Debug)]
pub enum Change<'a> {
    /// A product of two matrices is added to it.
    Added(LowRank<'a>),
    /// It is another one.
    Replaced(TensorView<'a>),
    /// Some of its rows are others: tokens that were trained by themselves.
    Rows(NewRows<'a>),
}

/// Rows that take the place of a matrix's own.
#[derive(Clone, Debug)]
pub struct NewRows<'a> {
    /// `[n]`: which they are.
    pub indices: Vec<usize>,
    /// `[n, n_in]`
    pub values: TensorView<'a>,
}

/// A matrix of low rank: `scale b a`.
#[derive(Clone, Copy, Debug)]
pub struct LowRank<'a> {
    /// `[r, n_in]`
    pub a: TensorView<'a>,
    /// `[n_out, r]`
    pub b: TensorView<'a>,
    /// What the product is multiplied with.
    pub scale: f32,
    /// Whether the base's matrix is `[n_in, n_out]`, as embeddings are.
    pub is_turned: bool,
    /// `[n_out]`: the lengths of the rows of the sum, for DoRA.
    pub magnitude: Option<TensorView<'a>>,
}

impl LowRank<'_> {
    /// The shape of the base's matrix.
    pub fn shape(&self) -> [usize; 2] {
        let (n_in, n_out) = (self.a.shape[1], self.b.shape[0]);
        if self.is_turned { [n_in, n_out] } else { [n_out, n_in] }
    }
}
