//! Walks a product panel by panel.
//!
//! A chunk of the weights, [`PANELS`] panels of rows by [`WINDOWS`] windows, is unpacked into scratch
//! that fits the L2 cache; then every group of columns is laid out once per window in the L1 cache and
//! multiplied with each panel of the chunk. The sums rest in scratch, too, until all windows are done: in
//! the output, whose columns often lie a power of two apart, they would evict one another. The weights of
//! the next chunk, pieces of many rows that no hardware prefetcher follows, are asked for meanwhile.

use core::ops::Range;
use core::slice::ChunksExact;

use super::lines::LINE;
use super::scratch::{BLOCK, PANELS, Scratch, WINDOWS};
use crate::columns::ColumnsMut;
use crate::gemm::{Column, Format, Lines, ROWS, Rows, Sums, Tier, Tile};

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
    let (n_rows, n_cols) = (out.n_rows(), out.n_cols());
    let row_bytes = weights.len() / n_rows;
    let n_windows = x.len() / n_cols;
    let mut scratch = Scratch::new();
    scratch.blank_panels(&F::BLANK, n_rows.div_ceil(ROWS), n_windows);
    let n_blocks = n_cols.div_ceil(BLOCK);
    let mut first = 0;
    for i in 0..n_blocks {
        let n_columns = (n_cols - first).div_ceil(n_blocks - i);
        let x = &x[first * n_windows..][..n_columns * n_windows];
        Ahead::<N>::new(weights, row_bytes, 0).ask_share(tier, 1);
        for first_row in (0..n_rows).step_by(PANELS * ROWS) {
            let rows = first_row..(first_row + PANELS * ROWS).min(n_rows);
            let product = RowsProduct {
                weights: &weights[rows.start * row_bytes..],
                row_bytes,
                n_rows: rows.len(),
                x,
                n_windows,
            };
            product.run::<N, F, T>(tier, &mut scratch);
            for c in 0..n_columns {
                let column = &mut out.column(first + c)[rows.clone()];
                for (p, out) in column.chunks_mut(ROWS).enumerate() {
                    copy(scratch.sums(p, c), out);
                }
            }
        }
        first += n_columns;
    }
}

/// The product of a chunk's rows with a block of columns.
struct RowsProduct<'a, Window> {
    /// The rows and those that come after them.
    weights: &'a [u8],
    row_bytes: usize,
    /// Rows of the product, at most [`PANELS`] panels of them.
    n_rows: usize,
    /// `[n_columns, n_windows]`.
    x: &'a [Window],
    n_windows: usize,
}

impl<'a, Window: Copy> RowsProduct<'a, Window> {
    /// Leaves the product in the sums of `scratch`.
    #[inline(always)]
    fn run<const N: usize, F: Format<N, Window = Window>, T: Tier>(
        &self,
        tier: T,
        scratch: &mut Scratch<F::Panel>,
    ) {
        let (weights, later) = self.weights.split_at(self.n_rows * self.row_bytes);
        let n_panels = self.n_rows.div_ceil(ROWS);
        scratch.zero_sums(n_panels, self.x.len() / self.n_windows);
        for first in (0..self.n_windows).step_by(WINDOWS) {
            let windows = first..(first + WINDOWS).min(self.n_windows);
            for p in 0..n_panels {
                let (weights, n_rows) = (&self.weights[p * ROWS * self.row_bytes..], self.n_rows - p * ROWS);
                for w in windows.clone() {
                    let panel = scratch.panel(p, w - first);
                    unpack::<N, F, T>(tier, weights, n_rows, self.row_bytes, w, Lines::NONE, panel);
                }
            }
            let ahead = if windows.end < self.n_windows {
                Ahead::new(weights, self.row_bytes, windows.end)
            } else {
                Ahead::new(later, self.row_bytes, 0)
            };
            self.multiply::<N, F, T>(tier, windows, ahead, scratch);
        }
    }

    /// Multiplies the panels of some windows with every column.
    #[inline(always)]
    fn multiply<const N: usize, F: Format<N, Window = Window>, T: Tier>(
        &self,
        tier: T,
        windows: Range<usize>,
        mut ahead: Ahead<'_, N>,
        scratch: &mut Scratch<F::Panel>,
    ) {
        let (n_panels, n_columns) = (self.n_rows.div_ceil(ROWS), self.x.len() / self.n_windows);
        let mut columns = [Column::BLANK; GROUP];
        let at = |c: usize, w: usize| c * self.n_windows + w;
        // Groups and tiles of nearly equal width: a narrow rest would waste the multipliers.
        let n_groups = n_columns.div_ceil(GROUP / T::MAX_COLUMNS * T::MAX_COLUMNS);
        let n_shares = n_groups * windows.len() * n_panels;
        let mut first = 0;
        for i in 0..n_groups {
            let width = (n_columns - first).div_ceil(n_groups - i);
            let tiles = Tiles::new::<N, F, T>(width);
            for w in windows.clone() {
                for (c, column) in columns[..width].iter_mut().enumerate() {
                    F::copy::<T>(&self.x[at(first + c, w)], column);
                }
                // What comes next reaches the caches while the tiles are busy, a share at a time.
                let (mut next, next_window) =
                    if w + 1 < windows.end { (first, w + 1) } else { (first + width, windows.start) };
                let (n_next, mut due) = (width.min(n_columns - next), 0);
                for p in 0..n_panels {
                    due += n_next;
                    while due >= n_panels {
                        due -= n_panels;
                        tier.prefetch(&self.x[at(next, next_window)]);
                        next += 1;
                    }
                    ahead.ask_share(tier, n_shares);
                    let (panel, sums) = scratch.panel_and_sums(p, w - windows.start, first..first + width);
                    tiles.multiply(tier, panel, &columns[..width], sums);
                }
            }
            first += width;
        }
    }
}

/// The rows of a chunk of weights, `N` bytes a window, that are still to be asked for.
struct Ahead<'a, const N: usize> {
    rows: ChunksExact<'a, u8>,
    /// Rows of the whole chunk.
    n_rows: usize,
    /// Where the chunk's windows lie in a row.
    in_row: Range<usize>,
    /// Shares of a row that are due.
    due: usize,
}

impl<'a, const N: usize> Ahead<'a, N> {
    /// The chunk at the first of the rows and at `first_window`.
    #[inline(always)]
    fn new(weights: &'a [u8], row_bytes: usize, first_window: usize) -> Self {
        let end = weights.len().min(PANELS * ROWS * row_bytes);
        let rows = weights[..end].chunks_exact(row_bytes);
        let start = first_window * N;
        Self { n_rows: rows.len(), rows, in_row: start..row_bytes.min(start + WINDOWS * N), due: 0 }
    }

    /// Asks for one of `n` equal shares of the chunk, in whole rows.
    #[inline(always)]
    fn ask_share<T: Tier>(&mut self, tier: T, n: usize) {
        self.due += self.n_rows;
        while self.due >= n {
            self.due -= n;
            let Some(row) = self.rows.next() else { return };
            for line in row[self.in_row.clone()].chunks(LINE) {
                tier.prefetch_later(&line[0]);
            }
        }
    }
}

/// Unpacks window `w` of the first `n_rows`, at most sixteen. What follows a window that is not full is in sight as
/// well, and not looked at. Where there are fewer rows, or where nothing follows, zero blocks fill the panel. Meanwhile, and while the panel is multiplied, some lines are asked for.
#[inline(always)]
pub(crate) fn unpack<const N: usize, F: Format<N>, T: Tier>(
    tier: T,
    weights: &[u8],
    n_rows: usize,
    row_bytes: usize,
    w: usize,
    ahead: Lines,
    panel: &mut F::Panel,
) {
    let in_row = w * N;
    let n_bytes = N.min(row_bytes - in_row);
    F::limit(panel, n_bytes);
    if n_rows >= ROWS
        && let Some(rows) = Rows::new(weights, in_row, row_bytes)
    {
        return F::unpack(tier, &rows.with_ahead(ahead), panel);
    }
    let mut padded = [[0; N]; ROWS];
    for (padded, row) in padded.iter_mut().zip(weights.chunks_exact(row_bytes)) {
        padded[..n_bytes].copy_from_slice(&row[in_row..][..n_bytes]);
    }
    F::unpack(tier, &Rows::of(&padded).with_ahead(ahead), panel);
}

/// How the columns of a group fall into tiles: first the wider ones, if any, by one column.
pub(super) struct Tiles<Panel> {
    n_wide: usize,
    wide: Tile<Panel>,
    n_columns: usize,
    narrow: Tile<Panel>,
}

impl<Panel> Tiles<Panel> {
    /// The tiles of `n` columns, of nearly equal width.
    #[inline(always)]
    pub(super) fn new<const N: usize, F: Format<N, Panel = Panel>, T: Tier>(n: usize) -> Self {
        let n_tiles = n.div_ceil(T::MAX_COLUMNS);
        let (n_columns, n_wide) = (n / n_tiles, n % n_tiles);
        let width = if n_wide > 0 { n_columns + 1 } else { n_columns };
        Self { n_wide, wide: F::tile::<T>(width), n_columns, narrow: F::tile::<T>(n_columns) }
    }

    /// Multiplies a panel with the group.
    #[inline(always)]
    pub(super) fn multiply<T: Tier>(&self, _proof: T, panel: &Panel, columns: &[Column], sums: &mut [Sums]) {
        let (mut first, mut n_wide) = (0, self.n_wide);
        while first < columns.len() {
            let (tile, width) =
                if n_wide > 0 { (self.wide, self.n_columns + 1) } else { (self.narrow, self.n_columns) };
            n_wide = n_wide.saturating_sub(1);
            // SAFETY: `T` is the proof of its tier's CPU features; the tile is the one for `width`
            // columns and gets as many.
            unsafe { tile(panel, &columns[first..first + width], &mut sums[first..first + width]) };
            first += width;
        }
    }
}

/// Copies the sums of a panel's rows, as many as there are, without a call where the panel is full.
#[inline(always)]
pub(super) fn copy(sums: &Sums, out: &mut [f32]) {
    match out.first_chunk_mut() {
        Some(out) => *out = *sums,
        None => out.copy_from_slice(&sums[..out.len()]),
    }
}
