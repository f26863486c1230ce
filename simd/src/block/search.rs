//! How the 32-weight types find their scales when they encode.
//!
//! Plain rounding takes the scale from the largest weight. A slightly different scale often has a
//! smaller (importance-weighted) squared error: it clips one weight a little and puts the others
//! nearer to the grid. Sixteen candidate scales are tried at once, one per vector lane, each by
//! one pass over the block; the best is fitted by least squares, and then scales beside it are
//! tried as the `f16` values that would be stored, so the error compared is the error that remains.
//! The plain scale is always among the candidates, so the result is never worse than plain rounding
//! (by more than the rounding of the compared sums, about 2^-19).
//!
//! A weight that is not finite is encoded as zero, an importance that is not finite and positive
//! counts as zero, and a block without any importance counts as evenly important.
//!
//! Sums run over lanes in a fixed order and nothing is contracted, so that every tier finds the same
//! scales; loops over lanes and elements have no branches, so that they vectorise.

use crate::array;
use crate::half_float::{f16_to_f32, f32_to_f16};

/// Candidates tried together.
const LANES: usize = 16;

/// One value per candidate.
type Lanes = [f32; LANES];

/// One block to encode: weights, and how much the error of each matters.
pub(crate) struct Block {
    x: [f32; 32],
    importance: [f32; 32],
}

/// Calls `encode` with each block of a row and writes what it returns to its place in `out`.
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

/// Scale and codes of a block on the grid `d * (-LEVELS..LEVELS)`, where the extreme weight of a
/// plain encoding takes the code `-LEVELS`.
#[inline(always)]
pub(crate) fn signed_grid<const LEVELS: i32>(block: &Block) -> (u16, [i8; 32]) {
    let (low, high) = (-LEVELS as f32, (LEVELS - 1) as f32);
    let (min, max) = block.range();
    let extreme = if max >= -min { max } else { min };
    let unit = invert(extreme);
    let mut inverses = [0.0; LANES];
    for (c, inverse) in inverses.iter_mut().enumerate() {
        // Twelve with the extreme weight at the long end of the grid, four at the short end.
        let (long, short) =
            (low + 0.5 - (0.25 / 8.0) * (LEVELS as f32) * c as f32, high + 0.5 * (c as f32 - 12.0));
        *inverse = unit * if c < 12 { long } else { short };
    }
    let fitted = block.fit_signed(&inverses, low, high);
    let d = block.best_signed(neighbours(fitted, extreme / low, 6), low, high);
    (d, block.signed_codes(f16_to_f32(d), low, high))
}

/// Scale and codes of a block on the grid `d * (-127..=127)`.
#[inline(always)]
pub(crate) fn byte_grid(block: &Block) -> (u16, [i8; 32]) {
    let (min, max) = block.range();
    let plain = (if max >= -min { max } else { -min }) / 127.0;
    let d = block.best_signed(neighbours(plain, plain, 1), -127.0, 127.0);
    (d, block.signed_codes(f16_to_f32(d), -127.0, 127.0))
}

/// Scale, minimum and codes of a block on the grid `d * (0..=TOP) + m`.
#[inline(always)]
pub(crate) fn offset_grid<const TOP: u32>(block: &Block) -> (u16, u16, [u8; 32]) {
    let top = TOP as f32;
    let (min, max) = block.range();
    let step = (max - min) / top;
    let unit = invert(step);
    let (mut starts, mut inverses) = ([0.0; LANES], [0.0; LANES]);
    for c in 0..LANES {
        // Each end of the grid takes four positions, from outside the range to inside it.
        let (from, to) = (0.35 * (c % 4) as f32 - 0.35, 0.35 * (c / 4) as f32 - 0.35);
        starts[c] = min + step * from;
        inverses[c] = unit * (top / (top - from - to));
    }
    let fitted = block.fit_offset(&starts, &inverses, top);
    let (d, m) = block.best_offset(&around(fitted, (min, max), top), top);
    let (scale, minimum) = (f16_to_f32(d), f16_to_f32(m));
    let inverse = invert(scale);
    (d, m, array::map(&block.x, |x| rounded_code((x - minimum) * inverse, 0.0, top) as u8))
}

impl Block {
    #[inline(always)]
    fn new(x: &[f32; 32], importance: Option<&[f32; 32]>) -> Self {
        let x = array::map(x, |x| if x.abs() < f32::INFINITY { x } else { 0.0 });
        let Some(importance) = importance else {
            return Self { x, importance: [1.0; 32] };
        };
        let importance = array::map(importance, |w| if w > 0.0 && w < f32::INFINITY { w } else { 0.0 });
        let mut sums = [0.0; 8];
        for i in 0..32 {
            sums[i % 8] += importance[i];
        }
        let sum: f32 = sums.iter().sum();
        // Scaled to an average of one, so that no sum below overflows or vanishes.
        let scale = 32.0 / sum;
        let is_usable = scale > 0.0 && scale < f32::INFINITY;
        Self { x, importance: if is_usable { array::map(&importance, |w| w * scale) } else { [1.0; 32] } }
    }

    /// The smallest and the largest weight.
    #[inline(always)]
    fn range(&self) -> (f32, f32) {
        // The bits of a negative float fall as it rises; with all but the sign flipped they order as
        // integers, whose extremes need no order of evaluation.
        let key = |bits: i32| bits ^ (bits >> 31 & i32::MAX);
        let (mut min, mut max) = (i32::MAX, i32::MIN);
        for x in &self.x {
            let key = key(x.to_bits() as i32);
            min = min.min(key);
            max = max.max(key);
        }
        (f32::from_bits(key(min) as u32), f32::from_bits(key(max) as u32))
    }

    /// The codes on the grid `d * (low..=high)`.
    #[inline(always)]
    fn signed_codes(&self, d: f32, low: f32, high: f32) -> [i8; 32] {
        let inverse = invert(d);
        array::map(&self.x, |x| rounded_code(x * inverse, low, high) as i8)
    }

    /// The least-squares scale of the best of the candidates `inverses`: with `q` the rounded codes
    /// it is `sum(xq) / sum(qq)`, and the error falls as `sum(xq)^2 / sum(qq)` grows.
    #[inline(always)]
    fn fit_signed(&self, inverses: &Lanes, low: f32, high: f32) -> f32 {
        let (mut xq, mut qq) = ([0.0; LANES], [0.0; LANES]);
        for i in 0..32 {
            let (x, w) = (self.x[i], self.importance[i]);
            for c in 0..LANES {
                let q = rounded(x * inverses[c], low, high);
                let wq = w * q;
                xq[c] += wq * x;
                qq[c] += wq * q;
            }
        }
        let mut fitted = [0.0; LANES];
        let mut gains = [0.0; LANES];
        for c in 0..LANES {
            fitted[c] = xq[c] * if qq[c] > 0.0 { 1.0 / qq[c] } else { 0.0 };
            gains[c] = fitted[c] * xq[c];
        }
        fitted[greatest(&gains)]
    }

    /// The f16 candidate of least error.
    #[inline(always)]
    fn best_signed(&self, candidates: [u16; LANES], low: f32, high: f32) -> u16 {
        let scales = array::map(&candidates, f16_to_f32);
        let inverses = array::map(&scales, invert);
        let mut errors = [0.0; LANES];
        for i in 0..32 {
            let (x, w) = (self.x[i], self.importance[i]);
            for c in 0..LANES {
                let error = x - scales[c] * rounded(x * inverses[c], low, high);
                errors[c] += w * error * error;
            }
        }
        candidates[least(&errors)]
    }

    /// The least-squares scale and minimum of the best of the grids that begin at `starts` with
    /// steps of `1 / inverses`. The error falls as `d * sum(xq) + m * sum(x)` grows.
    #[inline(always)]
    fn fit_offset(&self, starts: &Lanes, inverses: &Lanes, top: f32) -> (f32, f32) {
        // Moments about a weight, so that an offset of the block costs no precision.
        let origin = self.x[0];
        let (mut sum_w, mut sum_x) = (0.0, 0.0);
        let (mut q1, mut q2, mut xq) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for i in 0..32 {
            let (x, w) = (self.x[i], self.importance[i]);
            let wx = w * (x - origin);
            sum_w += w;
            sum_x += wx;
            for c in 0..LANES {
                let q = rounded((x - starts[c]) * inverses[c], 0.0, top);
                let wq = w * q;
                q1[c] += wq;
                q2[c] += wq * q;
                xq[c] += wx * q;
            }
        }
        let inverse_w = 1.0 / sum_w;
        let (mut scales, mut minima, mut gains) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for c in 0..LANES {
            let determinant = sum_w * q2[c] - q1[c] * q1[c];
            let inverse = if determinant > 0.0 { 1.0 / determinant } else { 0.0 };
            scales[c] = (sum_w * xq[c] - sum_x * q1[c]) * inverse;
            minima[c] = (sum_x - scales[c] * q1[c]) * inverse_w;
            gains[c] = scales[c] * xq[c] + minima[c] * sum_x;
        }
        let best = greatest(&gains);
        (scales[best], origin + minima[best])
    }

    /// The f16 scale and minimum of least error.
    #[inline(always)]
    fn best_offset(&self, candidates: &[(f32, f32); LANES], top: f32) -> (u16, u16) {
        let d = array::map(candidates, |(d, _)| finite_f16(d));
        let m = array::map(candidates, |(_, m)| finite_f16(m));
        let (scales, minima) = (array::map(&d, f16_to_f32), array::map(&m, f16_to_f32));
        let inverses = array::map(&scales, invert);
        let mut errors = [0.0; LANES];
        for i in 0..32 {
            let (x, w) = (self.x[i], self.importance[i]);
            for c in 0..LANES {
                let q = rounded((x - minima[c]) * inverses[c], 0.0, top);
                let error = x - (scales[c] * q + minima[c]);
                errors[c] += w * error * error;
            }
        }
        let best = least(&errors);
        (d[best], m[best])
    }
}

/// Sixteen f16 scales: fifteen around `fitted`, `step` units in the last place apart, and `plain`.
#[inline(always)]
fn neighbours(fitted: f32, plain: f32, step: i32) -> [u16; LANES] {
    let middle = finite_f16(fitted);
    let magnitude = i32::from(middle & 0x7fff);
    let mut around = [finite_f16(plain); LANES];
    for (c, scale) in around[..LANES - 1].iter_mut().enumerate() {
        let moved = magnitude + (c as i32 - 7) * step;
        *scale = middle & 0x8000 | moved.clamp(0, 0x7bff) as u16;
    }
    around
}

/// Sixteen pairs of scale and minimum: fourteen around `fitted`, and two grids over the whole range,
/// from its minimum and from the f16 at or below it (which reaches weights between two f16s).
#[inline(always)]
fn around(fitted: (f32, f32), (min, max): (f32, f32), top: f32) -> [(f32, f32); LANES] {
    let (d, m) = fitted;
    let below = f16_at_or_below(min);
    let mut candidates = [(0.0, 0.0); LANES];
    for (c, candidate) in candidates.iter_mut().enumerate() {
        // Wider or narrower about the middle of the grid, and shifted.
        let (wider, shifted) = ((c % 5) as f32 - 2.0, (c / 5) as f32 - 1.0);
        *candidate = (d + d * (0.12 / top) * wider, m - d * (0.06 * wider + 0.08 * shifted));
    }
    candidates[LANES - 2] = ((max - below) / top, below);
    candidates[LANES - 1] = ((max - min) / top, min);
    candidates
}

/// `1 / d`, and zero for a zero scale.
#[inline(always)]
fn invert(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Adding it to a number within ±2^22 leaves the nearest integer, ties to even, in the last bits.
const SHIFT: f32 = 12_582_912.0;

/// The nearest integer, ties to even, within `low..=high`; `low` if the value is NaN.
#[inline(always)]
fn rounded(value: f32, low: f32, high: f32) -> f32 {
    let value = if value > low { value } else { low };
    let value = if value < high { value } else { high };
    (value + SHIFT) - SHIFT
}

/// The same as an integer.
#[inline(always)]
fn rounded_code(value: f32, low: f32, high: f32) -> i32 {
    let value = if value > low { value } else { low };
    let value = if value < high { value } else { high };
    (value + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32
}

/// The lane of the smallest error, the first of several. (The lane's number takes the place of the
/// last four bits, so that the search is one minimum; a NaN is greater than every number.)
#[inline(always)]
fn least(errors: &Lanes) -> usize {
    let mut least = i32::MAX;
    for (c, error) in errors.iter().enumerate() {
        least = least.min((error.to_bits() as i32 & i32::MAX & !15) | c as i32);
    }
    (least & 15) as usize
}

/// The lane of the greatest gain, the last of several; gains that are negative or NaN come last.
#[inline(always)]
fn greatest(gains: &Lanes) -> usize {
    let mut greatest = 0;
    for (c, &gain) in gains.iter().enumerate() {
        let gain = if gain > 0.0 { gain } else { 0.0 };
        greatest = greatest.max((gain.to_bits() as i32 & !15) | c as i32);
    }
    (greatest & 15) as usize
}

/// The f16 nearest to `value`, at most the largest finite one in magnitude.
#[inline(always)]
fn finite_f16(value: f32) -> u16 {
    let value = if value > -65504.0 { value } else { -65504.0 };
    f32_to_f16(if value < 65504.0 { value } else { 65504.0 })
}

/// The greatest f16 that is not above `value`, as a float; not below the least finite one.
#[inline(always)]
fn f16_at_or_below(value: f32) -> f32 {
    let half = finite_f16(value);
    let is_above = f16_to_f32(half) > value;
    let is_negative = half & 0x8000 != 0;
    // The next f16 downwards: away from zero below it, towards zero above it.
    let next = if is_negative { half.saturating_add(1).min(0xfbff) } else { half.wrapping_sub(1) };
    let next = if half == 0 { 0x8001 } else { next };
    f16_to_f32(if is_above { next } else { half })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_at_or_below_is_the_next_one_down() {
        for bits in (0..0x7c00).chain(0x8000..0xfc00u16) {
            let value = f16_to_f32(bits);
            assert_eq!(f16_at_or_below(value), value);
            let above = value + value.abs().max(1e-7) * 1e-5;
            assert_eq!(f16_at_or_below(above), value, "{above:e}");
        }
        assert_eq!(f16_at_or_below(-1e9), -65504.0);
    }

    #[test]
    fn the_range_of_a_block_is_its_extremes() {
        let mut x = [0.5; 32];
        (x[3], x[17]) = (-2.0, 7.0);
        assert_eq!(Block::new(&x, None).range(), (-2.0, 7.0));
        assert_eq!(Block::new(&x.map(|x| -x), None).range(), (-7.0, 2.0));
        assert_eq!(Block::new(&x.map(|x| x.abs() + 1.0), None).range(), (1.5, 8.0));
    }

    #[test]
    fn lanes_of_extremes_prefer_numbers_to_nan() {
        let mut lanes = [f32::NAN; LANES];
        (lanes[5], lanes[9]) = (3.0, 2.0);
        assert_eq!((least(&lanes), greatest(&lanes)), (9, 5));
    }
}
