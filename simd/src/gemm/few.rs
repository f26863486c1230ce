//! Products with few columns: the weights pass once, as one stream.
//!
//! A batch of two to [`COLUMNS`] columns (guesses to check, sequences that generate at once) costs hardly more
//! than reading the weights, if nothing else touches memory. So a panel of sixteen rows is unpacked, a window
//! at a time, into scratch that stays in the first cache, and multiplied with all columns at once:
//!
//! ```text
//! every window of every column --copy--> columns [window][column], once per call
//! for each 16 rows:   for each window:   unpack -> one panel -> tiles -> sums of 16 rows x the columns
//!                                        and ask for the next lines of the 16 rows that follow
//! ```
//!
//! Sixteen rows are contiguous bytes: what is asked for ahead is one sequential stream, although the panel
//! takes it in sixteen places. [`super::driver`], for more columns, instead unpacks many panels before it
//! multiplies, so as to lay out its many columns less often.

use core::slice::Chunks;

use super::driver::{LINE, Tiles, copy, unpack};
pub(crate) use super::scratch::COLUMNS;
use super::scratch::Columns;
use crate::columns::ColumnsMut;
use crate::gemm::{Format, ROWS, Tier};

/// Multiplies all rows of `weights` with all columns of `x`, at most [`COLUMNS`]; there is at least one of
/// each, and of windows, and `x` holds whole columns.
#[inline(always)]
pub(super) fn run<const N: usize, F: Format<N>, T: Tier>(
    tier: T,
    weights: &[u8],
    x: &[F::Window],
    out: &mut ColumnsMut<'_>,
) {
    let n_cols = out.n_cols();
    let row_bytes = weights.len() / out.n_rows();
    let n_windows = x.len() / n_cols;
    let mut columns = Columns::new(n_cols);
    columns.fill(n_windows, |w, c, column| F::copy::<T>(&x[c * n_windows + w], column));
    let tiles = Tiles::new::<N, F, T>(n_cols);
    let mut panel = F::BLANK;
    // Lines of sixteen rows that fall to a window, so that they are all asked for when the last is done.
    let n_lines = (ROWS * row_bytes).div_ceil(LINE).div_ceil(n_windows);
    ask(tier, &mut weights[..weights.len().min(ROWS * row_bytes)].chunks(LINE), usize::MAX);
    for first_row in (0..out.n_rows()).step_by(ROWS) {
        let n_rows = (out.n_rows() - first_row).min(ROWS);
        let weights = &weights[first_row * row_bytes..];
        let later = &weights[n_rows * row_bytes..];
        let mut ahead = later[..later.len().min(ROWS * row_bytes)].chunks(LINE);
        let mut sums = [[0.0; ROWS]; COLUMNS];
        for w in 0..n_windows {
            ask(tier, &mut ahead, n_lines);
            unpack::<N, F, T>(tier, weights, n_rows, row_bytes, w, &mut panel);
            let columns = columns.window(w, |c, column| F::copy::<T>(&x[c * n_windows + w], column));
            tiles.multiply(tier, &panel, columns, &mut sums[..n_cols]);
        }
        for c in 0..n_cols {
            copy(&sums[c], &mut out.column(c)[first_row..][..n_rows]);
        }
    }
}

/// Asks for the next `n` lines.
#[inline(always)]
fn ask<T: Tier>(tier: T, lines: &mut Chunks<'_, u8>, n: usize) {
    for line in lines.take(n) {
        tier.prefetch_later(&line[0]);
    }
}
