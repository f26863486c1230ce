//! Rotary position embedding (Su et al. 2021): pairs of elements of a head turn by an angle.
//!
//! `a' = a cos - b sin`, `b' = a sin + b cos`, three roundings each. The two orders differ in
//! which elements form a pair.

/// Rotates `head[2 i]` with `head[2 i + 1]`; `cos` and `sin` hold `head.len() / 2` values.
#[inline(always)]
pub(super) fn rope_pairs(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (pairs, _) = head.as_chunks_mut::<2>();
    for ((pair, cos), sin) in pairs.iter_mut().zip(cos).zip(sin) {
        let [a, b] = *pair;
        *pair = [a * cos - b * sin, a * sin + b * cos];
    }
}

/// Rotates `head[i]` with `head[i + head.len() / 2]`; `cos` and `sin` hold `head.len() / 2` values.
#[inline(always)]
pub(super) fn rope_halves(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (lower, upper) = head.split_at_mut(head.len() / 2);
    for (((a, b), cos), sin) in lower.iter_mut().zip(upper).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}
