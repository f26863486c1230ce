//! Batch products of the float types: a tile of rows and columns, each sum in the sixteen lanes of
//! [`crate::block`].
//!
//! Nothing is unpacked: weights are widened as they are loaded, once for all columns of a tile, and
//! each activation is loaded once for all its rows.

use crate::block::float;
use crate::columns::ColumnsMut;
use crate::gemm::Tier;

/// A float type of `N` bytes.
pub(crate) trait Float<const N: usize> {
    /// Sixteen weights as floats.
    fn widen<T: Tier>(tier: T, weights: &[[u8; N]; 16]) -> T::Lanes;
}

/// Bytes of weights that are multiplied with every column before the next follow.
const CHUNK_BYTES: usize = 128 << 10;

/// Columns of the widest tile of any tier.
const WIDEST: usize = 6;

/// Multiplies all rows of `weights` with all columns of `x`, in tiles of `R` rows and at most `C`
/// columns; there is at least one of each, and of elements, and `x` holds whole columns.
#[inline(always)]
pub(crate) fn run<const N: usize, F: Float<N>, T: Tier, const R: usize, const C: usize>(
    tier: T,
    weights: &[u8],
    x: &[f32],
    out: &mut ColumnsMut<'_>,
) {
    let n_in = x.len() / out.n_cols();
    let weights = weights.as_chunks::<N>().0;
    let chunk_rows = (CHUNK_BYTES / (N * n_in)).next_multiple_of(R).max(R);
    let n_tiles = out.n_cols().div_ceil(C);
    for (i, weights) in weights.chunks(chunk_rows * n_in).enumerate() {
        let mut first = 0;
        for t in 0..n_tiles {
            let width = (out.n_cols() - first).div_ceil(n_tiles - t);
            let part = Part { n_in, first_row: i * chunk_rows, first_column: first };
            match width {
                1 => columns::<N, F, T, R, 1>(tier, weights, x, &part, out),
                2 => columns::<N, F, T, R, 2>(tier, weights, x, &part, out),
                3 => columns::<N, F, T, R, 3>(tier, weights, x, &part, out),
                4 => columns::<N, F, T, R, 4>(tier, weights, x, &part, out),
                5 => columns::<N, F, T, R, 5>(tier, weights, x, &part, out),
                _ => columns::<N, F, T, R, WIDEST>(tier, weights, x, &part, out),
            }
            first += width;
        }
    }
}

/// Where a chunk of rows and a tile of columns lie in the product.
struct Part {
    n_in: usize,
    first_row: usize,
    first_column: usize,
}

/// Multiplies a chunk of rows with `C` columns, `R` rows at a time. Where there are fewer, the last one
/// stands in for the others.
#[inline(always)]
fn columns<const N: usize, F: Float<N>, T: Tier, const R: usize, const C: usize>(
    tier: T,
    weights: &[[u8; N]],
    x: &[f32],
    part: &Part,
    out: &mut ColumnsMut<'_>,
) {
    let n_in = part.n_in;
    let mut columns = [x; C];
    for (c, column) in columns.iter_mut().enumerate() {
        *column = &x[(part.first_column + c) * n_in..][..n_in];
    }
    let n_rows = weights.len() / n_in;
    for first in (0..n_rows).step_by(R) {
        let mut rows = [weights; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &weights[(first + r).min(n_rows - 1) * n_in..][..n_in];
        }
        let sums = tile::<N, F, T, R, C>(tier, &rows, &columns);
        for (c, sums) in sums.iter().enumerate() {
            let out = &mut out.column(part.first_column + c)[part.first_row + first..];
            for (out, sum) in out.iter_mut().zip(sums).take(n_rows - first) {
                *out = *sum;
            }
        }
    }
}

/// The products of `R` rows with `C` columns: `[column][row]`.
#[inline(always)]
fn tile<const N: usize, F: Float<N>, T: Tier, const R: usize, const C: usize>(
    tier: T,
    rows: &[&[[u8; N]]; R],
    columns: &[&[f32]; C],
) -> [[f32; R]; C] {
    let n_chunks = columns[0].len() / 16;
    let mut acc = [[tier.zero_lanes(); R]; C];
    for k in 0..n_chunks {
        let mut w = [tier.zero_lanes(); R];
        for r in 0..R {
            w[r] = F::widen(tier, &rows[r].as_chunks().0[k]);
        }
        for c in 0..C {
            let x = tier.f32_lanes(&columns[c].as_chunks().0[k]);
            for r in 0..R {
                acc[c][r] = tier.fma(w[r], x, acc[c][r]);
            }
        }
    }
    if !columns[0].len().is_multiple_of(16) {
        let mut w = [tier.zero_lanes(); R];
        for r in 0..R {
            w[r] = F::widen(tier, &float::padded(rows[r].as_chunks::<16>().1, [0; N]));
        }
        for c in 0..C {
            let x = tier.f32_lanes(&float::padded(columns[c].as_chunks::<16>().1, 0.0));
            for r in 0..R {
                acc[c][r] = tier.fma(w[r], x, acc[c][r]);
            }
        }
    }
    let mut sums = [[0.0; R]; C];
    for c in 0..C {
        for r in 0..R {
            let mut stored = [0.0; 16];
            tier.store_lanes(acc[c][r], &mut stored);
            sums[c][r] = float::sum(stored);
        }
    }
    sums
}
