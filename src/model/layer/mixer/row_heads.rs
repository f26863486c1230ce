//! Heads with a matrix each, whose rows decay at paces of their own, walk the positions of each sequence: a head on one
//! thread.

use gguf_simd::ColumnsMut;
use gguf_simd::ops::{RowDecayInputs, padded_columns};

use crate::model::batch::BatchPart;
use crate::model::compute::{ByToken, Compute, pieces, pieces_of};
use crate::model::inputs::Inputs;
use crate::model::layer::rows::{Rows, span_lens};
use crate::model::state::trail::LayerState;

/// The heads of a mixer. What they walk by is rows of vectors as long as all heads together; the vectors are named by
/// their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowHeads {
    /// Elements of all heads.
    pub(super) n_inner: usize,
    /// Elements of a head.
    pub(super) head_dim: usize,
    /// Floats of the state before the matrices.
    pub(super) n_before: usize,
    /// Vectors of a row.
    pub(super) n_vector: usize,
    pub(super) query: usize,
    pub(super) decay: usize,
    pub(super) key: usize,
    pub(super) look: usize,
    pub(super) correction: usize,
    pub(super) value: usize,
    /// Whether outputs are what was looked for, before the update.
    pub(super) reads_before: bool,
}

impl RowHeads {
    /// Lets every head walk the positions of each sequence by `walked: [n, n_vector, n_inner]`, from what it remembers
    /// on, into `outputs: [n, n_inner]`.
    pub(super) fn walk<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        walked: &[f32],
        outputs: &mut Inputs,
    ) {
        let Self { n_inner, head_dim, n_before, n_vector, .. } = *self;
        let (batch, n_row) = (rows.batch, n_vector * n_inner);
        let n = batch.n();
        outputs.set_n_in(n_inner);
        let outputs = ByToken(ColumnsMut::new(outputs.floats_mut(0..n), n_inner, n));
        let matrix_len = head_dim * padded_columns(head_dim);
        let parts = rows.spans().zip(pieces_of(outputs, span_lens(batch))).flat_map(|(span, outputs)| {
            let matrices = pieces(span.state.split_at(n_before).1, matrix_len);
            let heads = matrices.zip(pieces(outputs.0, head_dim)).enumerate();
            heads.map(move |(head, (matrix, outputs))| (span.first, head, matrix, outputs))
        });
        type Part<'a> = (usize, usize, LayerState<'a>, ColumnsMut<'a>);
        compute.for_each(
            8 * n * n_inner * head_dim,
            parts,
            |(first, head, matrix, mut outputs): Part<'_>| {
                let at = |vector: usize| vector * n_inner + head * head_dim;
                matrix.walk(outputs.n_cols(), |rows, matrix| {
                    let inputs = RowDecayInputs {
                        rows: &walked[(first + rows.start) * n_row..(first + rows.end) * n_row],
                        n_row,
                        n_key: head_dim,
                        query: at(self.query),
                        decay: at(self.decay),
                        key: at(self.key),
                        look: at(self.look),
                        correction: at(self.correction),
                        value: at(self.value),
                        reads_before: self.reads_before,
                    };
                    compute.kernels.ops().row_decay_rule(matrix, inputs, outputs.columns(rows));
                });
            },
        );
    }
}
