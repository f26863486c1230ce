//! What every token goes through beside its experts.

use gguf_simd::ops::Gate;

use super::dense::Dense;
use super::gated::{Gated, GatedScratch};
use crate::model::compute::Compute;
use crate::model::inputs::Inputs;
use crate::model::layer::stream::Sum;
use crate::model::weights::Matrix;

/// The part that every token goes through.
#[derive(Debug)]
pub(in crate::model) enum SharedPart {
    Dense(Dense),
    Gated(Gated),
}

/// An expert that every token goes through.
#[derive(Debug)]
pub(in crate::model) struct Shared {
    pub(in crate::model) part: SharedPart,
    /// `[n_embd]`: the sigmoid of its product with a token's input multiplies the output.
    pub(in crate::model) gate: Option<Vec<f32>>,
    /// Multiplies the output.
    pub(in crate::model) scale: f32,
}

impl SharedPart {
    pub(super) fn matrices(&self) -> Vec<&Matrix> {
        match self {
            Self::Dense(part) => vec![&part.up.matrix, &part.down.matrix],
            Self::Gated(part) => part.matrices().to_vec(),
        }
    }

    /// The last matrix.
    pub(super) fn down(&self) -> &Matrix {
        match self {
            Self::Dense(part) => &part.down.matrix,
            Self::Gated(part) => &part.down.matrix,
        }
    }
}

impl Shared {
    /// Adds the part's output for the first `n` rows of `input` to `sum`.
    pub(super) fn add(
        &self,
        compute: Compute<'_>,
        input: &Inputs,
        n: usize,
        scratch: &mut GatedScratch,
        sum: &mut Sum<'_>,
    ) {
        let down = match &self.part {
            SharedPart::Dense(part) => {
                part.hide(compute, input, n, scratch);
                &part.down
            }
            SharedPart::Gated(part) => {
                part.hide(compute, input, n, scratch);
                &part.down
            }
        };
        let x = scratch.hidden.for_consumer(&down.matrix, 0..n);
        let Some(gate) = &self.gate else {
            if self.scale == 1.0 {
                return sum.add(compute, down, x);
            }
            return sum.add_weighted(compute, down, x, |_| self.scale);
        };
        let ops = compute.kernels.ops();
        sum.add_weighted(compute, down, x, |row| {
            let mut weight = [0.0];
            ops.dots_f32(input.floats(row..row + 1), gate, &mut weight);
            let mut sigmoid = [0.0];
            ops.activate(Gate::Sigmoid, &weight, &mut sigmoid);
            self.scale * sigmoid[0]
        });
    }
}
