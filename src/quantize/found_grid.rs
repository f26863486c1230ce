//! Finds the grids on which floats lie already: masters of quantisation-aware training, and weights that were quantised
//! and saved as floats.
//!
//! The values of a block are `k d` for whole numbers `k`, each rounded to the source's type. The largest of them is
//! `k d` for one of few `k`: each is tried, from the fewest levels on, until all values are near multiples. The nearest
//! `d` in the sense of least squares is then exact but for the rounding of the values, which a scale in F16 keeps.

use gguf_simd::half_float::{f16_to_f32, f32_to_f16};

use super::grid::{STEP, Step};
use crate::checkpoint::SourceType;

/// The levels to each side that blocks of a type have: of three values, four bits, five bits and eight.
const LEVELS: [u32; 4] = [1, 8, 16, 128];

/// How many steps a value may be off its level at most: a value is told from its neighbours by half a step.
const MOST_OFF: f32 = 1.0 / 8.0;

/// The grid of each [`STEP`] values of a row, added to `steps`, and the levels to each side that they need; `None` if
/// some are on no grid of at most `most` levels. Values were rounded to `source`.
pub fn find_grids(row: &[f32], source: SourceType, most: u32, steps: &mut Vec<Step>) -> Option<u32> {
    // Half a unit in the last place; of F32 some, since scales were multiplied with.
    let rounding = match source {
        SourceType::BF16 => 1.0 / 256.0,
        SourceType::F16 => 1.0 / 2048.0,
        SourceType::F32 | SourceType::F64 => 1.0 / 16_777_216.0 * 4.0,
        _ => return None,
    };
    let (values, rest) = row.as_chunks::<STEP>();
    if !rest.is_empty() {
        return None;
    }
    let mut n_levels = 1;
    for values in values {
        let (scale, levels) = grid_of(values, rounding, most)?;
        n_levels = n_levels.max(levels);
        steps.push(Step { scale, least: 0.0 });
    }
    LEVELS.into_iter().find(|&levels| n_levels <= levels)
}

/// The scale of some values, and the greatest level.
fn grid_of(values: &[f32; STEP], rounding: f32, most: u32) -> Option<(f32, u32)> {
    let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return Some((0.0, 1));
    }
    if !largest.is_finite() {
        return None;
    }
    // Two's complements have one level more on one side only.
    let is_even = values.contains(&largest) && values.contains(&-largest);
    (1..=most).find_map(|k| {
        let scale = scale_of(values, largest / k as f32, rounding)?;
        Some((scale, if is_even && k > 1 { k + 1 } else { k }))
    })
}

/// The scale near `scale` of which all values are multiples but for their rounding.
fn scale_of(values: &[f32; STEP], scale: f32, rounding: f32) -> Option<f32> {
    let (mut products, mut squares) = (0.0_f64, 0.0_f64);
    for &x in values {
        let exact = x / scale;
        let level = exact.round_ties_even();
        // The first guess is off by the rounding of the largest value as well.
        if (exact - level).abs() > (2.0 * rounding * exact.abs() + f32::EPSILON).min(MOST_OFF) {
            return None;
        }
        products += f64::from(x) * f64::from(level);
        squares += f64::from(level) * f64::from(level);
    }
    let scale = f16_to_f32(f32_to_f16((products / squares) as f32));
    let is_near = |&x: &f32| {
        let level = (x / scale).round_ties_even();
        // Scales are stored as F16: those that it rounds cost as much again.
        (x - level * scale).abs() <= (rounding + 1.0 / 2048.0) * x.abs()
    };
    (scale > 0.0 && values.iter().all(is_near)).then_some(scale)
}

#[cfg(test)]
mod tests {
    use gguf_simd::half_float::{bf16_to_f32, f32_to_bf16};

    use super::*;

    /// Codes of a linear congruential generator, so that all of `least..=greatest` come.
    fn codes(least: i32, greatest: i32) -> impl Iterator<Item = i32> {
        let mut state = 7_u32;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            least + (state >> 8) as i32 % (greatest - least + 1)
        })
    }

    #[test]
    fn rounded_multiples_are_found_with_the_scale_that_made_them() {
        let scales = [f16_to_f32(0x1e3a), f16_to_f32(0x2377)];
        for (least, greatest, levels) in [(-1, 1, 1), (-8, 7, 8), (-16, 15, 16)] {
            let codes: Vec<i32> = codes(least, greatest).take(2 * STEP).collect();
            let at = |i: usize| codes[i] as f32 * scales[i / STEP];
            let row: Vec<f32> = (0..2 * STEP).map(|i| bf16_to_f32(f32_to_bf16(at(i)))).collect();
            let mut steps = Vec::new();
            assert_eq!(find_grids(&row, SourceType::BF16, 128, &mut steps), Some(levels));
            for (step, scale) in steps.iter().zip(scales) {
                // As near as BF16 is.
                assert!((step.scale - scale).abs() <= scale / 256.0, "{} for {scale}", step.scale);
            }
        }
    }

    #[test]
    fn floats_of_no_grid_have_none() {
        let row: Vec<f32> = codes(-30_000, 30_000).take(STEP).map(|x| x as f32 / 77_777.0).collect();
        let rounded: Vec<f32> = row.iter().map(|&x| bf16_to_f32(f32_to_bf16(x))).collect();
        assert_eq!(find_grids(&rounded, SourceType::BF16, 16, &mut Vec::new()), None);
        assert_eq!(find_grids(&row, SourceType::F32, 128, &mut Vec::new()), None);
        assert_eq!(find_grids(&row, SourceType::I8, 128, &mut Vec::new()), None, "not floats");
        assert_eq!(find_grids(&row[1..], SourceType::F32, 128, &mut Vec::new()), None, "no whole blocks");
    }
}
