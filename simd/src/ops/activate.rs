//! What makes the inputs of matrices, in a form that can be applied to a part of a row at a time.

use super::Ops;

/// A norm, with its parameters for rows of `n` elements.
#[derive(Clone, Copy, Debug)]
pub enum Norm<'a> {
    /// See [`Ops::rms_norm`].
    Rms {
        /// `[n]`.
        weight: &'a [f32],
        /// Added to the mean square.
        eps: f32,
    },
    /// See [`Ops::layer_norm`].
    Layer {
        /// `[n]`.
        weight: &'a [f32],
        /// `[n]`, if there is one.
        bias: Option<&'a [f32]>,
        /// Added to the variance.
        eps: f32,
    },
}

/// The activation of a gated feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// See [`Ops::swiglu`].
    Silu,
    /// See [`Ops::geglu_tanh`].
    GeluTanh,
    /// See [`Ops::geglu_erf`].
    GeluErf,
}

impl Norm<'_> {
    /// Whether the parameters are those for rows of `n` elements.
    pub(crate) fn fits(&self, n: usize) -> bool {
        match self {
            Self::Rms { weight, .. } => weight.len() == n,
            Self::Layer { weight, bias, .. } => weight.len() == n && bias.is_none_or(|bias| bias.len() == n),
        }
    }
}

/// A norm of which what depends on the whole row is known.
pub(crate) enum Measured<'a> {
    Rms { weight: &'a [f32], scale: f32 },
    Layer { weight: &'a [f32], bias: Option<&'a [f32]>, mean_and_scale: (f32, f32) },
}

impl Ops {
    /// Looks at a row.
    pub(crate) fn measure<'a>(&self, norm: Norm<'a>, x: &[f32]) -> Measured<'a> {
        match norm {
            Norm::Rms { weight, eps } => Measured::Rms { weight, scale: self.0.rms_scale(x, eps) },
            Norm::Layer { weight, bias, eps } => {
                let mean_and_scale = self.0.layer_mean_and_scale(x, eps);
                Measured::Layer { weight, bias, mean_and_scale }
            }
        }
    }

    /// Normalises elements `first..first + out.len()` of the row `x` that was measured, which has the
    /// length that the norm fits.
    pub(crate) fn apply(&self, norm: &Measured<'_>, x: &[f32], first: usize, out: &mut [f32]) {
        let part = first..first + out.len();
        match *norm {
            Measured::Rms { weight, scale } => {
                self.0.rms_apply(&x[part.clone()], scale, &weight[part], out);
            }
            Measured::Layer { weight, bias, mean_and_scale } => {
                let bias = bias.map(|bias| &bias[part.clone()]);
                self.0.layer_apply(&x[part.clone()], mean_and_scale, &weight[part], bias, out);
            }
        }
    }

    /// `out[i] = gate(gates[i]) * up[i]`; all `[n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn gated(&self, gate: Gate, gates: &[f32], up: &[f32], out: &mut [f32]) {
        match gate {
            Gate::Silu => self.swiglu(gates, up, out),
            Gate::GeluTanh => self.geglu_tanh(gates, up, out),
            Gate::GeluErf => self.geglu_erf(gates, up, out),
        }
    }
}
