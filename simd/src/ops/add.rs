//! Element by element: `x[i] + y[i]`, and `fma(scale, y[i], x[i])`. One rounding each.

/// Adds `y: [n]` to `x: [n]`.
#[inline(always)]
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    let y = &y[..x.len()];
    for i in 0..x.len() {
        x[i] += y[i];
    }
}

/// Adds `scale * y` to `x: [n]`, with one rounding.
#[inline(always)]
pub(super) fn add_scaled(x: &mut [f32], scale: f32, y: &[f32]) {
    let y = &y[..x.len()];
    for i in 0..x.len() {
        x[i] = scale.mul_add(y[i], x[i]);
    }
}
