//! How the 32-weight types find their scales when they encode.
//!
//! Plain rounding takes the scale from the largest weight. A slightly different scale often has a
//! smaller (importance-weighted) squared error: it clips one weight a little and puts the others
//! nearer to the grid. Sixteen candidate scales are tried at once, one per vector lane, each by
//! one pass over the block; the best is fitted by least squares, and then scales beside it are
//! tried as the `f16` values that would be stored, so the error compared is the error that remains.
//! The plain scale is always among the candidates, so the result is never worse than plain rounding.
//!
//! A weight that is not finite is encoded as zero, an importance that is not finite and positive
//! counts as zero, and a block without any importance counts as evenly important.

use crate::half_float::{f16_to_f32, f32_to_f16};

/// Candidates tried together.
const LANES: usize = 16;

/// One block to encode: weights, and how much the error of each matters.
pub(crate) struct Block {
    x: [f32; 32],
    importance: [f32; 32],
}

/// Calls `encode` with each block of a row and its place in `out`.
#[inline(always)]
pub(crate) fn for_each_block<const B: usize>(
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    encode: impl Fn(&Block) -> [u8; B],
) {
    let weights = row.as_chunks::<32>().0;
    let importance = importance.map(|importance| importance.as_chunks::<32>().0);
    for (i, (x, out)) in weights.iter().zip(out.as_chunks_mut::<B>().0).enumerate() {
        *out = encode(&Block::new(x, importance.map(|importance| &importance[i])));
    }
}

impl Block {
    #[inline(always)]
    fn new(x: &[f32; 32], importance: Option<&[f32; 32]>) -> Self {
        let x = x.map(|x| if x.abs() < f32::INFINITY { x } else { 0.0 });
        let mut sum = 0.0;
        let mut weights = [0.0; 32];
        if let Some(importance) = importance {
            weights = importance.map(|w| if w > 0.0 && w < f32::INFINITY { w } else { 0.0 });
            sum = weights.iter().sum();
        }
        // Scaled to an average of one, so that no sum below overflows or vanishes.
        let scale = if sum < f32::INFINITY { 32.0 / sum } else { f32::INFINITY };
        let importance = if scale < f32::INFINITY { weights.map(|w| w * scale) } else { [1.0; 32] };
        Self { x, importance }
    }

    /// The weight of largest magnitude, the first of several; zero if all are zero.
    #[inline(always)]
    fn extreme(&self) -> f32 {
        let (mut low, mut high) = (0.0f32, 0.0f32);
        for &x in &self.x {
            low = if x < low { x } else { low };
            high = if x > high { x } else { high };
        }
        if high >= -low { high } else { low }
    }

    /// The codes of the symmetric grid `d * (low..=high)`.
    #[inline(always)]
    fn symmetric_codes(&self, d: f32, low: f32, high: f32) -> [i8; 32] {
        let inverse = invert(d);
        self.x.map(|x| round_within(x * inverse, low, high) as i8)
    }

    /// The least-squares scale of the best of the candidates `inverses`: with `q` the rounded codes
    /// it is `sum(xq) / sum(qq)`, and the error falls as `sum(xq)^2 / sum(qq)` grows.
    #[inline(always)]
    fn fit_symmetric(&self, inverses: &[f32; LANES], low: f32, high: f32) -> f32 {
        let mut xq = [0.0; LANES];
        let mut qq = [0.0; LANES];
        for i in 0..32 {
            let (x, w) = (self.x[i], self.importance[i]);
            for c in 0..LANES {
                let q = round_within(x * inverses[c], low, high);
                let wq = w * q;
                xq[c] += wq * x;
                qq[c] += wq * q;
            }
        }
        let (mut best, mut scale) = (0.0, 0.0);
        for c in 0..LANES {
            let fitted = if qq[c] > 0.0 { xq[c] / qq[c] } else { 0.0 };
            if fitted * xq[c] > best {
                (best, scale) = (fitted * xq[c], fitted);
            }
        }
        scale
    }

    /// The candidate with the least error; the first of several.
    #[inline(always)]
    fn best_symmetric(&self, candidates: &[u16; LANES], low: f32, high: f32) -> u16 {
        let scales = candidates.map(f16_to_f32);
        let inverses = scales.map(invert);
        let mut errors = [0.0; LANES];
        for i in 0..32 {
            let (x, w) = (self.x[i], self.importance[i]);
            for c in 0..LANES {
                let error = x - scales[c] * round_within(x * inverses[c], low, high);
                errors[c] += w * error * error;
            }
        }
        candidates[least(&errors)]
    }
}

/// `1 / d`, and zero for a zero scale.
#[inline(always)]
fn invert(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The nearest integer, ties to even, within `low..=high` (which lie within ±2^22).
#[inline(always)]
fn round_within(value: f32, low: f32, high: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    let value = if value > low { value } else { low };
    let value = if value < high { value } else { high };
    (value + SHIFT) - SHIFT
}

/// The index of the smallest error, the first of several; NaN is never the smallest.
#[inline(always)]
fn least(errors: &[f32; LANES]) -> usize {
    let mut best = 0;
    for c in 1..LANES {
        if errors[c] < errors[best] || errors[best].is_nan() {
            best = c;
        }
    }
    best
}

/// The f16 nearest to `value`, at most the largest finite one in magnitude.
#[inline(always)]
fn finite_f16(value: f32) -> u16 {
    f32_to_f16(value.clamp(-65504.0, 65504.0))
}

/// Sixteen f16 scales around `fitted` in steps of `step` units in the last place, `plain` in place
/// of the last.
#[inline(always)]
fn neighbours(fitted: f32, plain: f32, step: u16) -> [u16; LANES] {
    let middle = finite_f16(fitted);
    let magnitude = i32::from(middle & 0x7fff);
    let mut around: [u16; LANES] = core::array::from_fn(|c| {
        let moved = magnitude + (c as i32 - 7) * i32::from(step);
        middle & 0x8000 | moved.clamp(0, 0x7bff) as u16
    });
    around[LANES - 1] = finite_f16(plain);
    around
}

/// Scale and codes of a block on the grid `d * (-levels..levels)`, where the extreme weight of a
/// plain encoding takes the code `-levels`.
#[inline(always)]
pub(crate) fn signed_grid<const LEVELS: i32>(block: &Block) -> (u16, [i8; 32]) {
    let (low, high) = (-LEVELS as f32, (LEVELS - 1) as f32);
    let extreme = block.extreme();
    let unit = invert(extreme);
    let stretch = LEVELS as f32 / 8.0;
    let inverses = core::array::from_fn(|c| {
        // Twelve with the extreme weight at the long end of the grid, four at the short end.
        if c < 12 {
            unit * (low + 0.5 - 0.25 * stretch * c as f32)
        } else {
            unit * (high + 0.5 * (c - 12) as f32)
        }
    });
    let fitted = block.fit_symmetric(&inverses, low, high);
    let d = block.best_symmetric(&neighbours(fitted, extreme / low, 6), low, high);
    (d, block.symmetric_codes(f16_to_f32(d), low, high))
}

/// Scale and codes of a block on the grid `d * (-127..=127)`.
#[inline(always)]
pub(crate) fn byte_grid(block: &Block) -> (u16, [i8; 32]) {
    let plain = block.extreme().abs() / 127.0;
    let d = block.best_symmetric(&neighbours(plain, plain, 1), -127.0, 127.0);
    (d, block.symmetric_codes(f16_to_f32(d), -127.0, 127.0))
}

/// Scale, minimum and codes of a block on the grid `d * (0..=top) + m`.
#[inline(always)]
pub(crate) fn offset_grid<const TOP: u32>(block: &Block) -> (u16, u16, [u8; 32]) {
    let top = TOP as f32;
    let (mut min, mut max) = (block.x[0], block.x[0]);
    for &x in &block.x {
        min = if x < min { x } else { min };
        max = if x > max { x } else { max };
    }
    let range = max - min;
    let step = range / top;
    // Both ends of the grid move inwards by up to 0.9 steps, each in four positions.
    let starts: [f32; LANES] = core::array::from_fn(|c| min + 0.3 * step * (c % 4) as f32);
    let inverses: [f32; LANES] = core::array::from_fn(|c| {
        let moved = 0.3 * ((c % 4) + c / 4) as f32;
        invert(step) * (top / (top - moved))
    });
    let fitted = fit_offset(block, &starts, &inverses, top);
    let (d, m) = best_offset(block, fitted, (step, min), top);
    let (scale, minimum) = (f16_to_f32(d), f16_to_f32(m));
    let inverse = invert(scale);
    (d, m, block.x.map(|x| round_within((x - minimum) * inverse, 0.0, top) as u8))
}

/// The least-squares scale and minimum of the best of sixteen grids that begin at `starts` with
/// steps of `1 / inverses`.
#[inline(always)]
fn fit_offset(block: &Block, starts: &[f32; LANES], inverses: &[f32; LANES], top: f32) -> (f32, f32) {
    // Moments about the first start (the smallest weight), so that an offset costs no precision.
    let (mut sum_w, mut sum_x) = (0.0, 0.0);
    let (mut q1, mut q2, mut xq) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for i in 0..32 {
        let (x, w) = (block.x[i], block.importance[i]);
        let wx = w * (x - starts[0]);
        sum_w += w;
        sum_x += wx;
        for c in 0..LANES {
            let q = round_within((x - starts[c]) * inverses[c], 0.0, top);
            q1[c] += w * q;
            q2[c] += w * q * q;
            xq[c] += wx * q;
        }
    }
    let mean = sum_x / sum_w;
    let (mut best, mut scale, mut minimum) = (f32::NEG_INFINITY, 0.0, starts[0] + mean);
    for c in 0..LANES {
        let determinant = sum_w * q2[c] - q1[c] * q1[c];
        if determinant > 0.0 {
            let d = (sum_w * xq[c] - sum_x * q1[c]) / determinant;
            let m = (sum_x - d * q1[c]) / sum_w;
            let explained = d * xq[c] + m * sum_x;
            if explained > best && d > 0.0 {
                (best, scale, minimum) = (explained, d, starts[0] + m);
            }
        }
    }
    (scale, minimum)
}

/// The f16 scale and minimum of least error among fifteen around `fitted`, and `plain`.
#[inline(always)]
fn best_offset(block: &Block, fitted: (f32, f32), plain: (f32, f32), top: f32) -> (u16, u16) {
    let (d, m) = fitted;
    let candidate = |c: usize| {
        if c == LANES - 1 {
            return (finite_f16(plain.0), finite_f16(plain.1));
        }
        let (along, across) = ((c % 5) as f32 - 2.0, (c / 5) as f32 - 1.0);
        (finite_f16(d + d * (0.12 / top) * along), finite_f16(m - d * (0.06 * along + 0.08 * across)))
    };
    let scales: [f32; LANES] = core::array::from_fn(|c| f16_to_f32(candidate(c).0));
    let minima: [f32; LANES] = core::array::from_fn(|c| f16_to_f32(candidate(c).1));
    let inverses = scales.map(invert);
    let mut errors = [0.0; LANES];
    for i in 0..32 {
        let (x, w) = (block.x[i], block.importance[i]);
        for c in 0..LANES {
            let q = round_within((x - minima[c]) * inverses[c], 0.0, top);
            let error = x - (scales[c] * q + minima[c]);
            errors[c] += w * error * error;
        }
    }
    candidate(least(&errors))
}
