//! Rows of any source type to blocks, with the error they cost.
//!
//! The arithmetic of each block type lives in `gguf_simd`; here a source row becomes floats, the
//! floats become blocks, and the blocks are decoded again to learn what was lost. Neighbours: the
//! conversion pipeline, which calls this for groups of rows.

mod error_stats;
mod found_grid;
mod grid;
mod importance;
mod ranges;
mod sensitivity;
mod source;

pub use error_stats::ErrorStats;
pub use found_grid::find_grids;
pub use grid::{STEP, Step, encode_rows_on_grids};
pub use importance::{Entry, Format, ImportanceMatrix};
pub use ranges::ScaleSearch;
use ranges::encode_rows_in_ranges;
pub use sensitivity::{Probe, Sensitivity};
pub use source::{E2M1, decode_source};

use gguf_simd::BlockType;
use gguf_simd::kernels::Kernels;

/// Elements encoded in one call, unless a single row has more: they stay in the first cache.
const ELEMENTS_AT_A_TIME: usize = 4096;

/// Encodes rows of `n_in` floats into `blocks` and measures what that lost. `importance` holds one
/// weight per column. `scratch` is resized to `n_in` and holds nothing of use afterwards.
///
/// # Panics
/// If `rows` is not a multiple of `n_in`, `n_in` not a multiple of the type's block length, or `blocks`
/// not exactly the size of the encoded rows.
pub fn encode_rows(
    kernels: &Kernels,
    ty: BlockType,
    rows: &[f32],
    n_in: usize,
    importance: Option<&[f32]>,
    blocks: &mut [u8],
    scratch: &mut Vec<f32>,
) -> ErrorStats {
    let row_bytes = ty.row_bytes(n_in).expect("rows divide into blocks");
    assert!(
        rows.len().is_multiple_of(n_in) && blocks.len() == rows.len() / n_in * row_bytes,
        "buffers must agree"
    );
    // Blocks know nothing of rows unless columns differ in importance, and short rows leave room in the vectors.
    let most = if importance.is_none() { (ELEMENTS_AT_A_TIME / n_in).max(1) } else { 1 };
    scratch.resize(n_in, 0.0);
    let mut stats = ErrorStats::default();
    for (rows, blocks) in rows.chunks(most * n_in).zip(blocks.chunks_mut(most * row_bytes)) {
        kernels.encode(ty, rows, importance, blocks);
        for (row, blocks) in rows.chunks_exact(n_in).zip(blocks.chunks_exact(row_bytes)) {
            kernels.decode(ty, blocks, scratch);
            stats.add_row(row, scratch);
        }
    }
    stats
}

/// What scales and codes follow from beside the weights.
#[derive(Clone, Copy, Debug)]
pub struct Guidance<'a> {
    /// How scales are found.
    pub search: ScaleSearch,
    /// The grids that the rows lie on already, if they do: one for every [`STEP`] columns.
    pub steps: &'a [Step],
    /// A weight for each column.
    pub importance: Option<&'a [f32]>,
}

/// As [`encode_rows`], [`encode_rows_on_grids`] or with scales from ranges, whichever the guidance asks for; a search
/// other than the encoders' own comes before grids that are there already.
///
/// # Panics
/// As there.
pub fn encode_rows_guided(
    kernels: &Kernels,
    ty: BlockType,
    rows: &[f32],
    n_in: usize,
    Guidance { search, steps, importance }: Guidance<'_>,
    blocks: &mut [u8],
    scratch: &mut Vec<f32>,
) -> ErrorStats {
    if search != ScaleSearch::Mse && ScaleSearch::has_range(ty) {
        encode_rows_in_ranges(kernels, (ty, search), rows, n_in, blocks)
    } else if steps.is_empty() {
        encode_rows(kernels, ty, rows, n_in, importance, blocks, scratch)
    } else {
        encode_rows_on_grids(kernels, ty, rows, n_in, (steps, importance), blocks, scratch)
    }
}

/// The largest magnitude of some values, not finite if one of them is not.
pub fn largest_magnitude(values: &[f32]) -> f32 {
    // Without the sign the bits of floats order as integers, those of infinities and NaNs last, and
    // integers have a greatest one whatever the order, so that the loop vectorises.
    let bits = |value: f32| (value.to_bits() & 0x7fff_ffff).cast_signed();
    f32::from_bits(values.iter().fold(0, |greatest, &value| greatest.max(bits(value))).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_magnitude_is_that_of_the_worst_value() {
        assert_eq!(largest_magnitude(&[]), 0.0);
        assert_eq!(largest_magnitude(&[0.5, -3.0, 2.0]), 3.0);
        assert_eq!(largest_magnitude(&[f32::MAX, f32::NEG_INFINITY]), f32::INFINITY);
        assert!(largest_magnitude(&[1.0, -f32::NAN, f32::INFINITY]).is_nan());
    }

    #[test]
    fn values_that_a_scale_of_16_bits_cannot_reach_are_out_of_range() {
        let kernels = Kernels::best();
        for (ty, reach) in [
            (BlockType::F16, 1.0),
            (BlockType::Q8_0, 127.0),
            (BlockType::Q5_0, 16.0),
            (BlockType::Q4_0, 8.0),
            // What is added to every value is an F16 by itself.
            (BlockType::Q4_1, 1.0),
            (BlockType::IQ4_NL, 127.0),
            (BlockType::Q4_K, 63.0),
            (BlockType::Q6_K, 127.0 * 31.0),
        ] {
            for (times, expected) in [(0.5, false), (1.6, true), (100.0, true)] {
                let largest = 65504.0 * reach * times;
                let rows: Vec<f32> =
                    (0..256).map(|i| largest * ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
                let mut blocks = vec![0; ty.row_bytes(256).unwrap()];
                let error = encode_rows(kernels, ty, &rows, 256, None, &mut blocks, &mut Vec::new());
                assert_eq!(error.is_out_of_range(largest, ty), expected, "{ty} {times}");
            }
        }
    }

    #[test]
    fn error_of_an_exact_type_is_zero_and_of_a_coarse_one_is_not() {
        let rows: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0).collect();
        let kernels = Kernels::best();
        let mut scratch = Vec::new();
        let mut blocks = vec![0; 2 * 256 * 4];
        let exact = encode_rows(kernels, BlockType::F32, &rows, 256, None, &mut blocks, &mut scratch);
        assert_eq!(exact.relative_rmse(), 0.0);
        let mut blocks = vec![0; 2 * 144];
        let coarse = encode_rows(kernels, BlockType::Q4_K, &rows, 256, None, &mut blocks, &mut scratch);
        assert!((0.01..0.12).contains(&coarse.relative_rmse()), "{}", coarse.relative_rmse());
    }
}
