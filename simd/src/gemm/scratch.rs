//! What a batch product keeps beside its operands: unpacked panels and unfinished sums.

use core::mem::MaybeUninit;
use core::ops::Range;

use crate::gemm::{Column, ROWS, Sums};

/// The most columns that are few: `few` takes them.
pub(crate) const COLUMNS: usize = 8;

/// Panels of rows in a chunk.
pub(super) const PANELS: usize = 8;

/// Windows in a chunk.
pub(super) const WINDOWS: usize = 4;

/// Columns whose sums are kept at a time: a product with more takes the weights another time.
pub(super) const BLOCK: usize = 256;

/// Windows of few columns that are laid out once per call; those beyond are laid out for every panel.
const LAID_OUT: usize = 512;

/// Stack that a batch product takes for its scratch at most: what [`crate::Kernels::gemm`] promises.
pub(crate) const STACK_BYTES: usize = 320 << 10;
const _: () = assert!(size_of::<Scratch<super::k::Panel>>() <= STACK_BYTES);
const _: () = assert!(size_of::<Scratch<super::block32::Panel>>() <= STACK_BYTES);
const _: () = assert!(size_of::<Columns>() + 2 * size_of::<super::k::Panel>() <= STACK_BYTES);

/// The panels of a chunk and the sums of its rows, by column.
///
/// Small products use little of it, and setting all of it would take as long as they do. So only as much
/// is initialised as the four counts say, and no more is lent.
pub(super) struct Scratch<Panel> {
    panels: [[MaybeUninit<Panel>; WINDOWS]; PANELS],
    /// Panels of rows, and windows of each, that are initialised.
    n_panels: usize,
    n_windows: usize,
    sums: [[MaybeUninit<Sums>; BLOCK]; PANELS],
    /// Panels of rows, and columns of each, whose sums are initialised.
    n_sums: usize,
    n_columns: usize,
}

impl<Panel: Copy> Scratch<Panel> {
    /// Scratch of which nothing is initialised. (It is not returned with anything in it: that would be a
    /// copy of all of it.)
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            panels: [[MaybeUninit::uninit(); WINDOWS]; PANELS],
            n_panels: 0,
            n_windows: 0,
            sums: [[MaybeUninit::uninit(); BLOCK]; PANELS],
            n_sums: 0,
            n_columns: 0,
        }
    }

    /// Makes the panels of chunks of at most so many panels and windows `blank`.
    #[inline(always)]
    pub(super) fn blank_panels(&mut self, blank: &Panel, n_panels: usize, n_windows: usize) {
        (self.n_panels, self.n_windows) = (n_panels.min(PANELS), n_windows.min(WINDOWS));
        for panels in &mut self.panels[..self.n_panels] {
            for panel in &mut panels[..self.n_windows] {
                panel.write(*blank);
            }
        }
    }

    /// Sets the sums of so many panels and columns to zero; the rest become inaccessible.
    #[inline(always)]
    pub(super) fn zero_sums(&mut self, n_panels: usize, n_columns: usize) {
        for sums in &mut self.sums[..n_panels] {
            for sum in &mut sums[..n_columns] {
                sum.write([0.0; ROWS]);
            }
        }
        (self.n_sums, self.n_columns) = (n_panels, n_columns);
    }

    /// Window `w` of panel `p`, to overwrite.
    #[inline(always)]
    pub(super) fn panel(&mut self, p: usize, w: usize) -> &mut Panel {
        assert!(p < self.n_panels && w < self.n_windows, "window {w} of panel {p}");
        // SAFETY: `blank_panels` has written it.
        unsafe { self.panels[p][w].assume_init_mut() }
    }

    /// The sums of panel `p` with column `c`.
    #[inline(always)]
    pub(super) fn sums(&self, p: usize, c: usize) -> &Sums {
        assert!(p < self.n_sums && c < self.n_columns, "column {c} of panel {p}");
        // SAFETY: `zero_sums` has written them.
        unsafe { self.sums[p][c].assume_init_ref() }
    }

    /// Window `w` of panel `p`, and the panel's sums with some columns.
    #[inline(always)]
    pub(super) fn panel_and_sums(
        &mut self,
        p: usize,
        w: usize,
        columns: Range<usize>,
    ) -> (&Panel, &mut [Sums]) {
        assert!(p < self.n_panels && w < self.n_windows, "window {w} of panel {p}");
        assert!(p < self.n_sums && columns.end <= self.n_columns, "columns {columns:?} of panel {p}");
        // SAFETY: `blank_panels` has written the panel, `zero_sums` the sums.
        unsafe { (self.panels[p][w].assume_init_ref(), self.sums[p][columns].assume_init_mut()) }
    }
}

/// The windows of few columns as the tiles want them: all columns of a window side by side.
pub(super) struct Columns {
    laid_out: [MaybeUninit<Column>; LAID_OUT],
    n_columns: usize,
    /// How many windows are initialised.
    n_windows: usize,
    /// For a window beyond those laid out.
    spare: [Column; COLUMNS],
}

impl Columns {
    /// So many columns, of which nothing is laid out. (As with [`Scratch::new`], nothing is copied.)
    #[inline(always)]
    pub(super) fn new(n_columns: usize) -> Self {
        assert!(0 < n_columns && n_columns <= COLUMNS, "{n_columns} columns are not few");
        Self {
            laid_out: [MaybeUninit::uninit(); LAID_OUT],
            n_columns,
            n_windows: 0,
            spare: [Column::BLANK; COLUMNS],
        }
    }

    /// Lays out the first of `n` windows, as many as there is room for; `copy(w, c, column)` one of one column.
    #[inline(always)]
    pub(super) fn fill(&mut self, n: usize, copy: impl Fn(usize, usize, &mut Column)) {
        self.n_windows = n.min(LAID_OUT / self.n_columns);
        for (w, window) in self.laid_out.chunks_exact_mut(self.n_columns).take(self.n_windows).enumerate() {
            for (c, column) in window.iter_mut().enumerate() {
                copy(w, c, column.write(Column::BLANK));
            }
        }
    }

    /// Window `w`; `copy(c, column)` lays out that of one column, if it is not yet.
    #[inline(always)]
    pub(super) fn window(&mut self, w: usize, copy: impl Fn(usize, &mut Column)) -> &[Column] {
        if w < self.n_windows {
            // SAFETY: `fill` has written the columns of this window.
            return unsafe { self.laid_out[w * self.n_columns..][..self.n_columns].assume_init_ref() };
        }
        let columns = &mut self.spare[..self.n_columns];
        for (c, column) in columns.iter_mut().enumerate() {
            copy(c, column);
        }
        columns
    }
}
