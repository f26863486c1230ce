//! What makes the inputs of matrices, in a form that can be applied to a part of a row at a time.

use super::{Ops, Xielu};

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

/// The activation of a feed-forward part, or of a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// `x sigmoid(x)`.
    Silu,
    /// GELU in the form with a hyperbolic tangent.
    GeluTanh,
    /// GELU, exact.
    GeluErf,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    ReluSquared,
    /// `x sigmoid(alpha x)` of `x = min(gate, limit)`, times `1 + up` with `up` within `limit` on either side.
    ClampedSilu {
        /// The slope of the sigmoid.
        alpha: f32,
        /// The bound.
        limit: f32,
    },
    /// SiLU within `limit` above, times what is within `limit` on either side.
    BoundedSilu {
        /// The bound.
        limit: f32,
        /// Whether it bounds what SiLU gets instead of what it gives.
        is_before: bool,
    },
    /// See [`Xielu`].
    Xielu(Xielu),
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

    /// `out[i] = gate(gates[i]) * up[i]`, all `[n]`; [`Gate::ClampedSilu`] and [`Gate::BoundedSilu`] multiply otherwise.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn gated(&self, gate: Gate, gates: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gates.len() == up.len() && gates.len() == out.len(), "a gate needs equal lengths");
        match gate {
            Gate::Silu => self.0.swiglu(gates, up, out),
            Gate::GeluTanh => self.0.geglu_tanh(gates, up, out),
            Gate::GeluErf => self.0.geglu_erf(gates, up, out),
            Gate::Sigmoid => self.0.sigmoid_gated(gates, up, out),
            Gate::Relu => self.0.relu_gated(gates, up, out),
            Gate::ReluSquared => self.0.relu_squared_gated(gates, up, out),
            Gate::ClampedSilu { alpha, limit } => self.0.swiglu_clamped(gates, up, (alpha, limit), out),
            Gate::BoundedSilu { limit, is_before } => {
                self.0.swiglu_bounded(gates, up, (limit, is_before), out);
            }
            Gate::Xielu(of) => self.0.xielu_gated(gates, up, of, out),
        }
    }

    /// `out[i] = gate(x[i])`, both `[n]`; of [`Gate::ClampedSilu`] what it multiplies with `1 + up`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn activate(&self, gate: Gate, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "an activation needs equal lengths");
        match gate {
            Gate::Silu => self.0.silu(x, out),
            Gate::GeluTanh => self.0.gelu_tanh(x, out),
            Gate::GeluErf => self.0.gelu_erf(x, out),
            Gate::Sigmoid => self.0.sigmoid(x, out),
            Gate::Relu => self.0.relu(x, out),
            Gate::ReluSquared => self.0.relu_squared(x, out),
            Gate::ClampedSilu { alpha, limit } => self.0.silu_clamped(x, (alpha, limit), out),
            Gate::BoundedSilu { limit, is_before } => self.0.silu_bounded(x, (limit, is_before), out),
            Gate::Xielu(of) => self.0.xielu(x, of, out),
        }
    }
}
