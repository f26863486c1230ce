//! SwiGLU: `out[i] = gate[i] * sigmoid(gate[i]) * up[i]` (Shazeer 2020).
//!
//! `gate / (1 + e^-gate) * up`, with the exponential of [`super::exp`].
//! Accuracy: 3 ULP. A gate of `-inf` gives NaN (the quotient is inf / inf); the greatest negative
//! floats give -0.

use super::exp::exp;
use super::lanes::{self, LANES, Lanes};

/// Combines `gate: [n]` and `up: [n]` into `out: [n]`.
#[inline(always)]
pub(super) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (gates, gate_tail) = gate.as_chunks::<LANES>();
    let (ups, up_tail) = up.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let (ups, outs) = (&ups[..gates.len()], &mut outs[..gates.len()]);
    for i in 0..gates.len() {
        outs[i] = group(&gates[i], &ups[i]);
    }
    if !out_tail.is_empty() {
        let end = group(&lanes::padded(gate_tail, 0.0), &lanes::padded(up_tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}

#[inline(always)]
fn group(gate: &Lanes, up: &Lanes) -> Lanes {
    let mut negated = *gate;
    for l in 0..LANES {
        negated[l] = -gate[l];
    }
    let e = exp(&negated);
    let mut out = *gate;
    for l in 0..LANES {
        out[l] = gate[l] / (1.0 + e[l]) * up[l];
    }
    out
}
