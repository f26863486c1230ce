//! Products of weight matrices with a batch, several of them in one parallel region.

use gguf_simd::{ColumnsMut, Kernels};

use super::compute::{Compute, Divide, MAX_PARTS, MIN_PART_WORK, pieces};
use super::inputs::Rows;
use super::profile::Phase;
use super::weights::{Added, Linear, Matrix, MatrixRows, Stack};

/// Parts are cut at multiples of this many rows, which GEMM takes at a time.
const ROW_GROUP: usize = 16;

/// Pieces that a part of a product with one token is cut into again, at most: such a part has no
/// unpacking to share, and a late thread then delays the others by less.
const PIECES_OF_DOTS: usize = 4;

/// `out = scale weights x + added + bias`, and then `add_to += out`, for every token of a batch.
pub(super) struct Product<'a> {
    weights: MatrixRows<'a>,
    scale: Option<f32>,
    added: Option<Added<'a>>,
    /// `[n_out]`.
    bias: Option<&'a [f32]>,
    /// One row of `n_in` activations for each token.
    x: Rows<'a>,
    /// `[n_tokens, n_out]`.
    out: ColumnsMut<'a>,
    /// `[n_tokens, n_out]`.
    add_to: Option<ColumnsMut<'a>>,
}

impl<'a> Product<'a> {
    /// The product of a whole matrix without a bias; `out` is `[n_tokens, n_out]`.
    pub(super) fn of_matrix(matrix: &'a Matrix, x: Rows<'a>, out: &'a mut [f32]) -> Self {
        Self::of_rows(matrix.all(), matrix.n_out(), x, out)
    }

    /// The product of an expert's matrix, with its bias and scale; `out` is `[n_tokens, n_out]`.
    pub(super) fn of_expert(stack: &'a Stack, expert: usize, x: Rows<'a>, out: &'a mut [f32]) -> Self {
        let (scale, bias) = (stack.expert_scale(expert), stack.expert_bias(expert));
        let added = stack.expert_added(expert);
        Self { scale, added, bias, ..Self::of_rows(stack.expert(expert), stack.n_out, x, out) }
    }

    fn of_rows(weights: MatrixRows<'a>, n_out: usize, x: Rows<'a>, out: &'a mut [f32]) -> Self {
        let n_tokens = out.len() / n_out;
        let out = ColumnsMut::new(out, n_out, n_tokens);
        Self { weights, scale: None, added: None, bias: None, x, out, add_to: None }
    }

    /// The product of a matrix, with its bias and scale; `out` is `[n_tokens, n_out]`.
    pub(super) fn of(linear: &'a Linear, x: Rows<'a>, out: &'a mut [f32]) -> Self {
        let bias = linear.bias.as_deref();
        let (scale, added) = (linear.scale, linear.added());
        Self { bias, scale, added, ..Self::of_matrix(&linear.matrix, x, out) }
    }

    /// Adds the result to `sum: [n_tokens, n_out]` as well.
    pub(super) fn add_to(self, sum: &'a mut [f32]) -> Self {
        let sum = ColumnsMut::new(sum, self.out.n_rows(), self.out.n_cols());
        Self { add_to: Some(sum), ..self }
    }

    /// Multiply-adds.
    fn work(&self) -> usize {
        self.out.n_rows() * self.weights.n_in * self.out.n_cols()
    }

    fn run(mut self, kernels: &Kernels) {
        let MatrixRows { bytes, block_type, n_in, .. } = self.weights;
        match self.out.n_cols() {
            0 => return,
            1 => kernels.gemv(block_type, bytes, n_in, self.x.activation, self.out.column(0)),
            _ => kernels.gemm(block_type, bytes, n_in, self.x.activation, self.out.reborrow()),
        }
        for c in 0..self.out.n_cols() {
            if let Some(scale) = self.scale {
                self.out.column(c).iter_mut().for_each(|x| *x *= scale);
            }
            if let Some(added) = self.added {
                added.add(kernels, &self.x.floats[c * n_in..][..n_in], self.out.column(c));
            }
            if let Some(bias) = self.bias {
                kernels.ops().add(self.out.column(c), bias);
            }
            if let Some(sum) = &mut self.add_to {
                kernels.ops().add(sum.column(c), self.out.column(c));
            }
        }
    }
}

impl Divide for Product<'_> {
    fn n_rows(&self) -> usize {
        self.out.n_rows()
    }

    fn divide(self, row: usize) -> (Self, Self) {
        let (weights, weights_after) = self.weights.split_at(row);
        let (bias, bias_after) = self.bias.map(|bias| bias.split_at(row)).unzip();
        let (out, out_after) = self.out.split_at_row(row);
        let (add_to, add_to_after) = self.add_to.map(|sum| sum.split_at_row(row)).unzip();
        let after = Self {
            weights: weights_after,
            bias: bias_after,
            scale: self.scale,
            added: self.added.map(|added| added.starting_at(row)),
            x: self.x,
            out: out_after,
            add_to: add_to_after,
        };
        (Self { weights, bias, scale: self.scale, added: self.added, x: self.x, out, add_to }, after)
    }
}

impl Compute<'_> {
    /// Computes some products in one parallel region.
    pub(super) fn multiply<'p, const N: usize>(&self, products: [Product<'p>; N]) {
        let work = products.iter().map(Product::work).sum();
        self.multiply_all(work, products.into_iter());
    }

    /// Computes those products that there are in one parallel region.
    pub(super) fn multiply_some<'p, const N: usize>(&self, products: [Option<Product<'p>>; N]) {
        let work = products.iter().flatten().map(Product::work).sum();
        self.multiply_all(work, products.into_iter().flatten());
    }

    /// Computes products that have `work` multiply-adds together in one parallel region.
    pub(super) fn multiply_all<'p>(&self, work: usize, products: impl Iterator<Item = Product<'p>>) {
        self.enter(Phase::Matmul);
        match self.inputs {
            None => self.compute_all(work, products),
            Some(observer) => {
                // What is observed may allocate.
                let products: Vec<Product<'p>> = products.collect();
                for product in &products {
                    if let Some(span) = product.weights.file_span() {
                        observer.see(span, product.x.floats, product.weights.n_in);
                    }
                }
                if !observer.is_done() {
                    self.compute_all(work, products.into_iter());
                }
            }
        }
        self.enter(Phase::Rest);
    }

    fn compute_all<'p>(&self, work: usize, products: impl Iterator<Item = Product<'p>>) {
        let n_parts = self.n_parts(work);
        let part_work = work.div_ceil(n_parts).max(1);
        let n_pieces = (part_work / MIN_PART_WORK).min(MAX_PARTS / n_parts).clamp(1, PIECES_OF_DOTS);
        let parts = products.flat_map(move |product| {
            let n_pieces = if product.out.n_cols() == 1 { n_pieces } else { 1 };
            let n_parts = (product.work() * n_pieces).div_ceil(part_work).max(1);
            let piece_len = product.n_rows().div_ceil(n_parts).next_multiple_of(ROW_GROUP);
            pieces(product, piece_len)
        });
        self.for_each(work, parts, |part: Product<'_>| part.run(self.kernels));
    }
}
