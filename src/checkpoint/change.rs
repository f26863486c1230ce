//! What adapters change in tensors of their base.

use std::path::Path;

use super::tensor::TensorView;
use crate::error::{Error, Result};

/// What becomes of one tensor of the base.
#[derive(Debug)]
pub enum Change<'a> {
    /// A product of two matrices is added to it.
    Added(LowRank<'a>),
    /// Products of two matrices are added to those of its experts.
    Experts(ExpertsLowRank<'a>),
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

/// Matrices of low rank of all experts of a layer: `scale b a` for each.
#[derive(Clone, Copy, Debug)]
pub struct ExpertsLowRank<'a> {
    /// `[n_experts r, n_in]`: the rows of an expert follow each other.
    pub a: TensorView<'a>,
    /// `[n_out, r n_experts]`: every `n_experts`-th column is of an expert.
    pub b: TensorView<'a>,
    /// Experts.
    pub n_experts: usize,
    /// What the products are multiplied with.
    pub scale: f32,
}

/// The tensors of a module that make one change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) a: Option<TensorView<'a>>,
    pub(super) b: Option<TensorView<'a>>,
    pub(super) magnitude: Option<TensorView<'a>>,
    pub(super) is_embedding: bool,
}

impl Parts<'_> {
    /// Refuses tensors that are not floats.
    ///
    /// # Errors
    /// [`Error::Malformed`] for such ones.
    pub(super) fn check_floats(&self, path: &Path, module: &str) -> Result<()> {
        let mut views = [self.a, self.b, self.magnitude].into_iter().flatten();
        match views.find(|view| !view.dtype.is_plain_float()) {
            None => Ok(()),
            Some(view) => {
                let what = format!(
                    "module {} has elements of {}; floats are needed",
                    module.escape_debug(),
                    view.dtype
                );
                Err(Error::malformed(path, what))
            }
        }
    }
}
