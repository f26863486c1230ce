//! The inputs of matrices: rows of activations, quantised once for all their consumers.

use std::ops::Range;

use gguf_simd::{Activation, ActivationFormat, InputRow, Kernels, Q8KWindow, Q8Window, WINDOW_LEN};

use super::compute::{Divide, RowsMut};
use super::memory::Buffers;
use super::weights::Matrix;
use crate::error::Result;

/// The quantised formats that the consumers of an input want beside its floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Formats {
    q8_0: bool,
    q8_k: bool,
}

impl Formats {
    /// The formats that some matrices want.
    pub(super) fn of<'a>(consumers: impl IntoIterator<Item = &'a Matrix>) -> Self {
        consumers.into_iter().fold(Self::default(), |formats, matrix| {
            formats.union(Self::only(matrix.block_type().activation()))
        })
    }

    /// One format.
    pub(super) fn only(format: ActivationFormat) -> Self {
        Self { q8_0: format == ActivationFormat::Q8_0, q8_k: format == ActivationFormat::Q8K }
    }

    /// These and those.
    pub(super) fn union(self, other: Self) -> Self {
        Self { q8_0: self.q8_0 || other.q8_0, q8_k: self.q8_k || other.q8_k }
    }
}

/// A batch of rows, `[n_rows, n_in]`, in each of the formats wanted.
#[derive(Debug)]
pub(super) struct Inputs {
    n_in: usize,
    x: Vec<f32>,
    q8_0: Vec<Q8Window>,
    q8_k: Vec<Q8KWindow>,
}

/// Some rows of [`Inputs`] for a product.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Rows<'a> {
    /// In the format that its matrix takes.
    pub(in crate::model) activation: Activation<'a>,
    /// As they were before.
    pub(in crate::model) floats: &'a [f32],
}

/// Some rows of [`Inputs`], to be written by one thread.
pub(super) struct InputRows<'a> {
    x: RowsMut<'a, f32>,
    q8_0: RowsMut<'a, Q8Window>,
    q8_k: RowsMut<'a, Q8KWindow>,
}

impl Inputs {
    /// Room for `n_rows` rows.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if there is no memory for them.
    pub(super) fn new(buffers: &mut Buffers, n_rows: usize, n_in: usize, formats: Formats) -> Result<Self> {
        let n_windows = n_in.div_ceil(WINDOW_LEN);
        let rows_if = |wanted| if wanted { n_rows } else { 0 };
        Ok(Self {
            n_in,
            x: buffers.zeroed(0.0, n_rows, n_in)?,
            q8_0: buffers.zeroed(Q8Window::ZERO, rows_if(formats.q8_0), n_windows)?,
            q8_k: buffers.zeroed(Q8KWindow::ZERO, rows_if(formats.q8_k), n_windows)?,
        })
    }

    /// Elements of a row.
    pub(super) fn n_in(&self) -> usize {
        self.n_in
    }

    /// Takes rows of `n_in` elements from here on, at most as many as it was made for: layers may differ.
    pub(super) fn set_n_in(&mut self, n_in: usize) {
        self.n_in = n_in;
    }

    /// The floats of some rows.
    pub(super) fn floats(&self, rows: Range<usize>) -> &[f32] {
        &self.x[rows.start * self.n_in..rows.end * self.n_in]
    }

    /// The floats of some rows, to be written.
    pub(super) fn floats_mut(&mut self, rows: Range<usize>) -> &mut [f32] {
        &mut self.x[rows.start * self.n_in..rows.end * self.n_in]
    }

    /// Some rows in the format that `consumer` takes.
    pub(super) fn for_consumer(&self, consumer: &Matrix, rows: Range<usize>) -> Rows<'_> {
        let floats = self.floats(rows.clone());
        Rows { activation: self.in_format(consumer.block_type().activation(), rows), floats }
    }

    /// Some rows in a format that is among those wanted.
    pub(super) fn in_format(&self, format: ActivationFormat, rows: Range<usize>) -> Activation<'_> {
        let n_windows = self.n_in.div_ceil(WINDOW_LEN);
        let windows = rows.start * n_windows..rows.end * n_windows;
        match format {
            ActivationFormat::F32 => Activation::F32(self.floats(rows)),
            ActivationFormat::Q8_0 => Activation::Q8_0(&self.q8_0[windows]),
            ActivationFormat::Q8K => Activation::Q8K(&self.q8_k[windows]),
        }
    }

    /// Some rows, to be written in all formats.
    pub(super) fn rows_mut(&mut self, rows: Range<usize>) -> InputRows<'_> {
        let n_windows = self.n_in.div_ceil(WINDOW_LEN);
        InputRows {
            x: rows_of(&mut self.x, self.n_in, &rows),
            q8_0: rows_of(&mut self.q8_0, n_windows, &rows),
            q8_k: rows_of(&mut self.q8_k, n_windows, &rows),
        }
    }
}

/// Some rows of a buffer; none of one that is empty because its format is not wanted.
fn rows_of<'a, T>(values: &'a mut [T], width: usize, rows: &Range<usize>) -> RowsMut<'a, T> {
    let values = if values.is_empty() { values } else { &mut values[rows.start * width..rows.end * width] };
    RowsMut { values, width }
}

impl InputRows<'_> {
    /// The floats of all these rows.
    pub(super) fn floats(&mut self) -> &mut [f32] {
        self.x.values
    }

    /// Calls `write` for every row, with its number among these and its place in `formats`.
    pub(super) fn for_each(&mut self, formats: Formats, mut write: impl FnMut(usize, InputRow<'_>)) {
        let mut q8_0 = self.q8_0.values.chunks_exact_mut(self.q8_0.width);
        let mut q8_k = self.q8_k.values.chunks_exact_mut(self.q8_k.width);
        for (i, floats) in self.x.values.chunks_exact_mut(self.x.width).enumerate() {
            let (q8_0, q8_k) = (q8_0.next(), q8_k.next());
            let q8_0 = if formats.q8_0 { q8_0 } else { None };
            let q8_k = if formats.q8_k { q8_k } else { None };
            write(i, InputRow { floats, q8_0, q8_k });
        }
    }

    /// Quantises the floats of all these rows into `formats`.
    pub(super) fn quantize(&mut self, kernels: &Kernels, formats: Formats) {
        let rows = || self.x.values.chunks_exact(self.x.width);
        if formats.q8_0 {
            for (x, windows) in rows().zip(self.q8_0.values.chunks_exact_mut(self.q8_0.width)) {
                kernels.quantize_q8_0(x, windows);
            }
        }
        if formats.q8_k {
            for (x, windows) in rows().zip(self.q8_k.values.chunks_exact_mut(self.q8_k.width)) {
                kernels.quantize_q8_k(x, windows);
            }
        }
    }
}

impl Divide for InputRows<'_> {
    fn n_rows(&self) -> usize {
        self.x.n_rows()
    }

    fn divide(self, row: usize) -> (Self, Self) {
        let (x, x_after) = self.x.divide(row);
        let (q8_0, q8_0_after) = divide_if_any(self.q8_0, row);
        let (q8_k, q8_k_after) = divide_if_any(self.q8_k, row);
        (Self { x, q8_0, q8_k }, Self { x: x_after, q8_0: q8_0_after, q8_k: q8_k_after })
    }
}

/// Divides rows of a buffer, which is empty if its format is not wanted.
fn divide_if_any<T>(rows: RowsMut<'_, T>, row: usize) -> (RowsMut<'_, T>, RowsMut<'_, T>) {
    let row = if rows.values.is_empty() { 0 } else { row };
    rows.divide(row)
}
