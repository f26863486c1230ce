//! Walks a product panel by panel.
//!
//! A chunk of the weights, [`PANELS`] panels of rows by [`WINDOWS`] windows, is unpacked into scratch
//! that fits the L2 cache; then every group of columns is laid out once per window in the L1 cache and
//! multiplied with each panel of the chunk. The sums rest in the output between chunks.

use crate::columns::ColumnsMut;
use crate::gemm::{Column, Format, ROWS, Rows, Sums, Tier};

/// Panels of rows in a chunk.
const PANELS: usize = 8;

/// Windows in a chunk.
const WINDOWS: usize = 4;

/// Columns laid out together: the widest tile of any tier.
const GROUP: usize = 14;

/// Multiplies all rows of `weights` with all columns of `x`; there is at least one of each, and of
/// windows, and `x` holds whole columns.
#[inline(always)]
pub(crate) fn run<const N: usize, F: Format<N>, T: Tier>(
    tier: T,
    weights: &[u8],
    x: &[F::Window],
    out: &mut ColumnsMut<'_>,
) {
    let row_bytes = weights.len() / out.n_rows();
    let n_windows = x.len() / out.n_cols();
    let mut chunk = [[F::BLANK; WINDOWS]; PANELS];
    for (i, weights) in weights.chunks(PANELS * ROWS * row_bytes).enumerate() {
        let first_row = i * PANELS * ROWS;
        let n_rows = weights.len() / row_bytes;
        for first_window in (0..n_windows).step_by(WINDOWS) {
            let n = WINDOWS.min(n_windows - first_window);
            for (panel, weights) in chunk.iter_mut().zip(weights.chunks(ROWS * row_bytes)) {
                for (w, panel) in panel[..n].iter_mut().enumerate() {
                    unpack::<N, F, T>(tier, weights, row_bytes, first_window + w, panel);
                }
            }
            let part = Part { first_row, n_rows, first_window, n_windows: n };
            multiply::<N, F, T>(tier, &chunk, &part, x, out);
        }
    }
}

/// What of the product a chunk covers.
struct Part {
    first_row: usize,
    n_rows: usize,
    first_window: usize,
    n_windows: usize,
}

/// Unpacks window `w` of at most sixteen rows. Where there are fewer, the last one stands in for the
/// others; where the window is not full, zero blocks fill it, and their terms are +0.
#[inline(always)]
fn unpack<const N: usize, F: Format<N>, T: Tier>(
    tier: T,
    weights: &[u8],
    row_bytes: usize,
    w: usize,
    panel: &mut F::Panel,
) {
    let last = weights.len() - row_bytes;
    let in_row = w * N;
    if in_row + N <= row_bytes {
        let mut rows: Rows<'_, N> = [&[0; N]; ROWS];
        for (r, row) in rows.iter_mut().enumerate() {
            let at = (r * row_bytes).min(last) + in_row;
            *row = weights[at..].first_chunk().expect("a whole window");
        }
        F::unpack(tier, &rows, panel);
    } else {
        let mut padded = [[0; N]; ROWS];
        for (r, padded) in padded.iter_mut().enumerate() {
            let at = (r * row_bytes).min(last);
            padded[..row_bytes - in_row].copy_from_slice(&weights[at + in_row..at + row_bytes]);
        }
        F::unpack(tier, &padded.each_ref(), panel);
    }
}

/// Multiplies a chunk with every column.
#[inline(always)]
fn multiply<const N: usize, F: Format<N>, T: Tier>(
    tier: T,
    chunk: &[[F::Panel; WINDOWS]; PANELS],
    part: &Part,
    x: &[F::Window],
    out: &mut ColumnsMut<'_>,
) {
    let n_cols = out.n_cols();
    let x_row = x.len() / n_cols;
    let n_panels = part.n_rows.div_ceil(ROWS);
    let mut columns = [Column::BLANK; GROUP];
    let mut sums = [[[0.0; ROWS]; GROUP]; PANELS];
    let at = |c: usize, w: usize| c * x_row + part.first_window + w;
    // Groups and tiles of nearly equal width: a narrow rest would waste the multipliers.
    let n_groups = n_cols.div_ceil(GROUP / T::MAX_COLUMNS * T::MAX_COLUMNS);
    let mut first = 0;
    for i in 0..n_groups {
        let width = (n_cols - first).div_ceil(n_groups - i);
        for (p, sums) in sums[..n_panels].iter_mut().enumerate() {
            for (c, sums) in sums[..width].iter_mut().enumerate() {
                if part.first_window == 0 {
                    *sums = [0.0; ROWS];
                } else {
                    copy(&out.column(first + c)[rows_of_panel(part, p)], sums);
                }
            }
        }
        for w in 0..part.n_windows {
            for (c, column) in columns[..width].iter_mut().enumerate() {
                F::copy::<T>(&x[at(first + c, w)], column);
            }
            for (p, (panel, sums)) in chunk[..n_panels].iter().zip(&mut sums).enumerate() {
                // What comes next reaches the L1 cache while the tiles are busy, a share at a time.
                if w + 1 < part.n_windows {
                    for c in p * width / n_panels..(p + 1) * width / n_panels {
                        tier.prefetch(&x[at(first + c, w + 1)]);
                    }
                } else if first + width < n_cols {
                    let next = first + width..(first + 2 * width).min(n_cols);
                    let n = next.len();
                    for c in p * n / n_panels..(p + 1) * n / n_panels {
                        tier.prefetch(&x[at(next.start + c, 0)]);
                    }
                    for c in next {
                        tier.prefetch(&out.column(c)[part.first_row + p * ROWS]);
                    }
                }
                multiply_panel::<N, F, T>(tier, &panel[w], &columns[..width], &mut sums[..width]);
            }
        }
        for (p, sums) in sums[..n_panels].iter().enumerate() {
            for (c, sums) in sums[..width].iter().enumerate() {
                copy(sums, &mut out.column(first + c)[rows_of_panel(part, p)]);
            }
        }
        first += width;
    }
}

/// Multiplies a panel with a group of columns.
#[inline(always)]
fn multiply_panel<const N: usize, F: Format<N>, T: Tier>(
    _proof: T,
    panel: &F::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let n_tiles = columns.len().div_ceil(T::MAX_COLUMNS);
    let mut first = 0;
    for i in 0..n_tiles {
        let width = (columns.len() - first).div_ceil(n_tiles - i);
        let tile = F::tile::<T>(width);
        // SAFETY: `T` is the proof of its tier's CPU features; the tile is the one for `width`
        // columns and gets as many.
        unsafe { tile(panel, &columns[first..first + width], &mut sums[first..first + width]) };
        first += width;
    }
}

/// The rows of the product that panel `p` of a chunk covers.
#[inline(always)]
fn rows_of_panel(part: &Part, p: usize) -> core::ops::Range<usize> {
    let first = part.first_row + p * ROWS;
    first..(first + ROWS).min(part.first_row + part.n_rows)
}

/// Copies the sums of a panel, whole or not, without a call for the whole ones.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    match (from.first_chunk::<ROWS>(), to.first_chunk_mut::<ROWS>()) {
        (Some(from), Some(to)) => *to = *from,
        _ => {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
    }
}
