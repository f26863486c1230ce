//! Scales that follow from ranges, for those who study them: min-max, percentiles, divergence of histograms.
//!
//! The encoders' own search looks for the scale of least squared error. Here the range of the weights that share a
//! scale decides it alone: the range's end becomes the outermost level, or both ends do where a type has an offset.
//!
//! ```text
//! for each row:    a limit of magnitudes (percentile, divergence), or none
//! for each group:  range = its weights' extremes, within that
//! scales = what the encoder makes of a row of grid points under the scales wanted: these it finds again, as
//!          exactly as the type stores them (an f16; for K types six bits of one)
//! codes  = for each weight the nearest level
//! ```
//!
//! Nothing here knows how a type packs its scales: [`Grid`] reads them and writes codes.

use std::fmt;
use std::str::FromStr;

use gguf_simd::kernels::Kernels;
use gguf_simd::{BlockType, Grid, Values};

use super::ErrorStats;

/// The percentile of magnitudes if none is given.
const PERCENTILE: f32 = 99.9;

/// Bins of a histogram of magnitudes for each level that they can have.
const BINS_PER_LEVEL: usize = 16;

/// Limits that are tried by divergence: the greatest magnitude times 64/64, 63/64 and on to 16/64.
const LIMITS: core::ops::RangeInclusive<usize> = 16..=64;

/// How the scales of blocks are found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ScaleSearch {
    /// The scale of least squared error, weighted by importance where it is known: the encoders' own search.
    #[default]
    Mse,
    /// From the extremes of the weights that share it.
    MinMax,
    /// The same, of magnitudes up to this percentile of a row; what is beyond is clipped.
    Percentile(f32),
    /// The same, up to the limit for which the histogram of a row's magnitudes diverges least from that with as many
    /// levels as the type has: entropy calibration, as of activations (Migacz, "8-bit Inference with TensorRT", 2017).
    Kl,
}

impl ScaleSearch {
    /// Whether types of this kind have ranges: floats have none to search and are as they are; codes that stand for
    /// several weights, and those of two or three levels, have none that could be set.
    pub fn has_range(ty: BlockType) -> bool {
        Group::of(ty).is_some()
    }
}

impl FromStr for ScaleSearch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        match (name, number) {
            ("mse", None) => Ok(Self::Mse),
            ("min-max", None) => Ok(Self::MinMax),
            ("kl", None) => Ok(Self::Kl),
            ("percentile", None) => Ok(Self::Percentile(PERCENTILE)),
            ("percentile", Some(number)) => match number.parse() {
                Ok(percentile) if (50.0..=100.0).contains(&percentile) => Ok(Self::Percentile(percentile)),
                _ => Err(format!("{number} is not a percentile from 50 to 100, as in percentile:99.9")),
            },
            _ => Err("the searches are mse, min-max, percentile (or percentile:P) and kl".into()),
        }
    }
}

impl fmt::Display for ScaleSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mse => f.write_str("mse"),
            Self::MinMax => f.write_str("min-max"),
            Self::Percentile(percentile) => write!(f, "percentile:{percentile}"),
            Self::Kl => f.write_str("kl"),
        }
    }
}

/// The weights that share a scale, and the values that they can have.
#[derive(Clone, Copy, Debug)]
struct Group {
    n: usize,
    values: Values,
}

impl Group {
    fn of(ty: BlockType) -> Option<Self> {
        Grid::of(ty).map(|grid| Self { n: grid.group(), values: grid.values() })
    }

    /// Levels that magnitudes can have.
    fn n_magnitudes(self) -> usize {
        match self.values {
            Values::Centred { least, greatest } => {
                usize::from(least.unsigned_abs().max(greatest.unsigned_abs()))
            }
            Values::Table { .. } => 8,
            Values::Offset { greatest, .. } => usize::from(greatest).div_ceil(2),
        }
    }

    /// The lowest value that is wanted and the step from level to level, for weights whose magnitudes are cut at
    /// `limit`. Of a table the lowest value is zero times the step.
    fn scale(self, weights: &[f32], limit: f32) -> (f32, f32) {
        let cut = |x: f32| x.clamp(-limit, limit);
        let least = cut(weights.iter().copied().fold(f32::INFINITY, f32::min));
        let greatest = cut(weights.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let extreme = if -least > greatest { least } else { greatest };
        match self.values {
            Values::Centred { least, greatest } => {
                let outermost = if -least >= greatest { least } else { greatest };
                let step = extreme / f32::from(outermost);
                (f32::from(least) * step, step)
            }
            Values::Table { outermost } => (0.0, extreme / outermost),
            Values::Offset { greatest: levels, is_subtracted } => {
                // Nothing but zero can be the lowest of positive weights there.
                let low = if is_subtracted { least.min(0.0) } else { least };
                (low, (greatest - low).max(0.0) / f32::from(levels))
            }
        }
    }

    /// The level of point `i` of a group: the outermost first, then inwards, so that the scale can be told from few.
    fn level_of_point(self, grid: &Grid, i: usize) -> f32 {
        let n_levels = match self.values {
            Values::Centred { least, greatest } => usize::from(greatest.abs_diff(least)) + 1,
            Values::Offset { greatest, .. } => usize::from(greatest) + 1,
            Values::Table { .. } => {
                let level = [-1e9, 1e9, -0.9, 0.9, -0.7, 0.7, -0.5, 0.5, -0.3, 0.3, 0.1, -0.1][i % 12];
                return grid.nearest(level * 127.0).1;
            }
        };
        let i = i % n_levels;
        (if i.is_multiple_of(2) { i / 2 } else { n_levels - 1 - i / 2 }) as f32
    }
}

/// What encoding in ranges keeps from row to row.
#[derive(Default)]
struct Scratch {
    low: Vec<f32>,
    step: Vec<f32>,
    points: Vec<f32>,
    magnitudes: Vec<f32>,
    codes: Vec<u8>,
    ones: Vec<f32>,
}

/// Encodes rows of `n_in` floats into `blocks` with scales from ranges, and measures what that lost.
///
/// # Panics
/// If `ty` has no ranges, or buffers do not agree, as [`super::encode_rows`]; for [`ScaleSearch::Mse`], which that is.
pub(super) fn encode_rows_in_ranges(
    kernels: &Kernels,
    (ty, search): (BlockType, ScaleSearch),
    rows: &[f32],
    n_in: usize,
    blocks: &mut [u8],
) -> ErrorStats {
    let (group, grid) = Group::of(ty).zip(Grid::of(ty)).expect("a type with ranges");
    let row_bytes = ty.row_bytes(n_in).expect("rows divide into blocks");
    let mut scratch = Scratch { ones: vec![1.0; n_in], ..Scratch::default() };
    for buffer in [&mut scratch.low, &mut scratch.step, &mut scratch.points] {
        buffer.resize(n_in, 0.0);
    }
    scratch.codes.resize(n_in, 0);
    let mut stats = ErrorStats::default();
    for (row, blocks) in rows.chunks_exact(n_in).zip(blocks.chunks_exact_mut(row_bytes)) {
        let limit = match search {
            ScaleSearch::Mse => unreachable!("the encoders' own search"),
            ScaleSearch::MinMax => f32::INFINITY,
            ScaleSearch::Percentile(percentile) => scratch.percentile(row, percentile),
            ScaleSearch::Kl => least_diverging_limit(group.n_magnitudes(), row),
        };
        scratch.set_scales(group, row, limit);
        for (i, point) in scratch.points.iter_mut().enumerate() {
            *point = scratch.low[i] + scratch.step[i] * group.level_of_point(grid, i % group.n);
        }
        kernels.encode(ty, &scratch.points, Some(&scratch.ones), blocks);
        grid.read(kernels, ty, blocks, &mut scratch.low, &mut scratch.step);
        for (i, code) in scratch.codes.iter_mut().enumerate() {
            *code = grid.nearest((row[i] - scratch.low[i]) / scratch.step[i]).0;
        }
        grid.write(ty, &scratch.codes, blocks);
        kernels.decode(ty, blocks, &mut scratch.points);
        stats.add_row(row, &scratch.points);
    }
    stats
}

impl Scratch {
    /// The magnitude that `percentile` of a hundred of the row's are not above, between the two next to it.
    fn percentile(&mut self, row: &[f32], percentile: f32) -> f32 {
        self.magnitudes.clear();
        self.magnitudes.extend(row.iter().map(|x| x.abs()));
        self.magnitudes.sort_unstable_by(f32::total_cmp);
        let at = f64::from(percentile) / 100.0 * (row.len() - 1) as f64;
        let (below, above) = (self.magnitudes[at.floor() as usize], self.magnitudes[at.ceil() as usize]);
        below + (above - below) * at.fract() as f32
    }

    /// Sets what the grid of each weight is to be.
    fn set_scales(&mut self, group: Group, row: &[f32], limit: f32) {
        let grids = self.low.chunks_exact_mut(group.n).zip(self.step.chunks_exact_mut(group.n));
        for (weights, (low, step)) in row.chunks_exact(group.n).zip(grids) {
            let (of_low, of_step) = group.scale(weights, limit);
            low.fill(of_low);
            step.fill(of_step);
        }
    }
}

/// The limit of magnitudes of a row for which their histogram, what is above counted in the last bin, diverges least
/// from that of `n_levels` even levels within the limit; of equals the greatest.
fn least_diverging_limit(n_levels: usize, row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let n_bins = n_levels * BINS_PER_LEVEL;
    let mut counts = vec![0u32; n_bins];
    for x in row {
        counts[((x.abs() / largest * n_bins as f32) as usize).min(n_bins - 1)] += 1;
    }
    let mut best = (f64::INFINITY, 1.0);
    for limit in LIMITS.rev() {
        let divergence = divergence_within(&counts, n_bins * limit / LIMITS.end(), n_levels);
        if divergence < best.0 {
            best = (divergence, limit as f32 / *LIMITS.end() as f32);
        }
    }
    best.1 * largest
}

/// The Kullback-Leibler divergence of magnitudes cut at the end of `n_bins` bins and spread over `n_levels` levels from
/// the cut ones. A level's magnitudes are spread over those of its bins that have any; every bin counts one more, so
/// that none is empty.
fn divergence_within(counts: &[u32], n_bins: usize, n_levels: usize) -> f64 {
    let (within, above) = counts.split_at(n_bins);
    let n_cut: u32 = above.iter().sum();
    let n_within: u32 = within.iter().sum();
    let total = |n: u32| f64::from(n) + n_bins as f64;
    let mut divergence = 0.0;
    for level in 0..n_levels {
        let (first, end) = (n_bins * level / n_levels, n_bins * (level + 1) / n_levels);
        let bins = &within[first..end];
        let n_filled = bins.iter().filter(|n| **n > 0).count().max(1);
        let each = f64::from(bins.iter().sum::<u32>()) / n_filled as f64;
        for (i, &n) in bins.iter().enumerate() {
            let cut = if first + i + 1 == n_bins { n_cut } else { 0 };
            let original = (f64::from(n + cut) + 1.0) / total(n_within + n_cut);
            let spread = (if n > 0 { each } else { 0.0 } + 1.0) / total(n_within);
            divergence += original * libm::log(original / spread);
        }
    }
    divergence
}

#[cfg(test)]
mod tests;
