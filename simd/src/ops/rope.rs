//! Rotary position embedding (Su et al. 2021): pairs of elements of a head turn by an angle.
//!
//! `a' = a cos - b sin`, `b' = a sin + b cos`, three roundings each. The two orders differ in
//! which elements form a pair.

/// Rotates `head[2 i]` with `head[2 i + 1]`; `cos` and `sin` hold `head.len() / 2` values.
#[inline(always)]
pub(super) fn rope_pairs(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (pairs, _) = head.as_chunks_mut::<2>();
    let (cos, sin) = (&cos[..pairs.len()], &sin[..pairs.len()]);
    for i in 0..pairs.len() {
        let [a, b] = pairs[i];
        pairs[i] = [a * cos[i] - b * sin[i], a * sin[i] + b * cos[i]];
    }
}

/// Rotates `head[i]` with `head[i + head.len() / 2]`; `cos` and `sin` hold `head.len() / 2` values.
#[inline(always)]
pub(super) fn rope_halves(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (lower, upper) = head.split_at_mut(head.len() / 2);
    let n = lower.len();
    let (upper, cos, sin) = (&mut upper[..n], &cos[..n], &sin[..n]);
    for i in 0..n {
        let (a, b) = (lower[i], upper[i]);
        lower[i] = a * cos[i] - b * sin[i];
        upper[i] = a * sin[i] + b * cos[i];
    }
}
