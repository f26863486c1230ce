//! Products with few columns: the weights pass once, as one stream.
//!
//! A batch of two to [`COLUMNS`] columns (guesses to check, sequences that generate at once) costs hardly more
//! than reading the weights, if nothing else touches memory. So a panel of sixteen rows is unpacked, a window
//! at a time, into scratch that stays in the first cache, and multiplied with all columns at once:
//!
//! ```text
//! every window of every column --copy--> columns [window][column], once per call
//! for each 16 rows:   for each window:   unpack -> one panel -> tiles -> sums of 16 rows x the columns
//!                                 and all the way ask for the next lines of the 16 rows that follow
//! ```
//!
//! Sixteen rows are contiguous bytes: what is asked for ahead is one sequential stream, although the panel
//! takes it in sixteen places. It is asked for evenly, a few lines for each sixteen bytes that are unpacked and for
//! each block that is multiplied: all lines of a window at once are more than a core can wait for at a time, and
//! memory is idle after them (four columns of Q8_0 then cost 2.1 times what one does, and 1.5 so:
//! `gguf-run bench --columns 1,4`, two threads of a Zen 3, 2026-11-28). [`super::driver`], for more columns, instead unpacks many panels before it
//! multiplies, so as to lay out its many columns less often.

use super::driver::{Tiles, copy, unpack};
pub(crate) use super::scratch::COLUMNS;
use super::scratch::Columns;
use crate::columns::ColumnsMut;
use crate::gemm::{Format, Lines, ROWS, Tier};

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
    Lines::of(&weights[..weights.len().min(ROWS * row_bytes)])
        .ask_share(0, 1, |line| tier.prefetch_later(line));
    for first_row in (0..out.n_rows()).step_by(ROWS) {
        let n_rows = (out.n_rows() - first_row).min(ROWS);
        let weights = &weights[first_row * row_bytes..];
        let later = &weights[n_rows * row_bytes..];
        let mut later = later[..later.len().min(ROWS * row_bytes)].chunks(ROWS * N);
        let mut sums = [[0.0; ROWS]; COLUMNS];
        for w in 0..n_windows {
            let ahead = later.next().map_or(Lines::NONE, Lines::of);
            unpack::<N, F, T>(tier, weights, n_rows, row_bytes, w, ahead, &mut panel);
            let columns = columns.window(w, |c, column| F::copy::<T>(&x[c * n_windows + w], column));
            tiles.multiply(tier, &panel, columns, &mut sums[..n_cols]);
        }
        for c in 0..n_cols {
            copy(&sums[c], &mut out.column(c)[first_row..][..n_rows]);
        }
    }
}
