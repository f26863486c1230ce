//! ReLU: `max(x, 0)`, and its square (So et al. 2021, "Primer"). Exact but for the square's and the product's
//! rounding; NaN stays NaN.
//!
//! Loops over single elements: so short ones the compiler turns into vectors by itself. (Sixteen at a time, as in
//! [`super::elementwise`], it gathers every sixteenth element for them with AVX-512.)

/// `out[i] = max(x[i], 0)`; both `[n]`.
#[inline(always)]
pub(super) fn relu(x: &[f32], out: &mut [f32]) {
    let out = &mut out[..x.len()];
    for i in 0..x.len() {
        out[i] = positive(x[i]);
    }
}

/// `out[i] = max(x[i], 0)^2`; both `[n]`.
#[inline(always)]
pub(super) fn relu_squared(x: &[f32], out: &mut [f32]) {
    let out = &mut out[..x.len()];
    for i in 0..x.len() {
        out[i] = positive(x[i]) * positive(x[i]);
    }
}

/// `out[i] = max(gate[i], 0) * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn relu_gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (up, out) = (&up[..gate.len()], &mut out[..gate.len()]);
    for i in 0..gate.len() {
        out[i] = positive(gate[i]) * up[i];
    }
}

/// `out[i] = max(gate[i], 0)^2 * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn relu_squared_gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (up, out) = (&up[..gate.len()], &mut out[..gate.len()]);
    for i in 0..gate.len() {
        out[i] = positive(gate[i]) * positive(gate[i]) * up[i];
    }
}

#[inline(always)]
fn positive(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}
