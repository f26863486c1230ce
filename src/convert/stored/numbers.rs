//! Matrices of small numbers, as the many formats pack them: one in an element, or several in a run of bits, along
//! either dimension of a tensor that is turned or not.
//!
//! Whatever the format, number `i` of a run is the bits from `i * bits` on, the lowest first. Little-endian words of
//! any width are one such run, and so are the 32 numbers of three bits in three words that GPTQ has.

use super::read_floats;
use super::tiles::Tiles;
use crate::checkpoint::{SourceType, TensorView};
use crate::error::{Error, Result};
use crate::quantize::decode_source;

/// How the numbers of a matrix lie in its tensor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    /// Whether a row of the matrix is a column of the tensor.
    pub(super) is_turned: bool,
    /// Bits of a number, and the dimension of the tensor along which they are packed.
    pub(super) packed: Option<(usize, Along)>,
    /// Where number `i` of eight in a word is, if they are not in order.
    pub(super) order: Option<[usize; 8]>,
    /// Whether packed numbers are two's complements, and counted from the least.
    pub(super) is_signed: bool,
    /// Whether four rows share words of 16 bits, 64 columns of each in its turn, as AWQ's fast kernels have them.
    pub(super) is_of_four_rows: bool,
    /// Whether one number stands for all.
    pub(super) is_one: bool,
    /// Whether packed numbers fill words only as far as whole ones fit: ten of three bits, and two bits are left over.
    pub(super) is_padded: bool,
    /// Whether every 32 packed numbers lie as planes of some of their bits each ([`planes`]).
    pub(super) is_planar: bool,
    /// The order of a kernel, in place of all this.
    pub(super) tiles: Option<Tiles>,
}

impl Layout {
    /// The shape of the tensor `view`, called `name`, with a matrix of `n_rows` and `n_cols` numbers.
    ///
    /// # Errors
    /// [`Error::Malformed`] if numbers cannot lie so in elements of its type, or so many cannot.
    fn shape_of(
        &self,
        name: &str,
        view: &TensorView<'_>,
        [n_rows, n_cols]: [usize; 2],
    ) -> Result<[usize; 2]> {
        let wrong = |what: String| Err(Error::malformed(view.path(), format!("tensor {name} {what}")));
        let mut expected = if self.is_turned { [n_cols, n_rows] } else { [n_rows, n_cols] };
        if let Some((bits, along)) = self.packed {
            if along == Along::Outer || view.dtype != SourceType::U8 {
                check_words(name, view)?;
            }
            let n = &mut expected[usize::from(along == Along::Inner)];
            let element_bits = view.dtype.element_bits();
            if self.is_planar && !n.is_multiple_of(32) {
                return wrong(format!("is packed in planes of 32 numbers, and {n} is not a multiple"));
            }
            let n_padded = n.div_ceil(element_bits / bits);
            *n = if self.is_padded { n_padded } else { (*n * bits).div_ceil(element_bits) };
        }
        if self.is_of_four_rows {
            expected[0] = n_rows.div_ceil(4);
            if !n_rows.is_multiple_of(4) || !n_cols.is_multiple_of(64) || view.dtype.element_bits() != 16 {
                return wrong("is not of words of 16 bits for four rows of 64 columns".to_owned());
            }
        }
        Ok(expected)
    }
}

/// Checks that packed numbers are in words.
fn check_words(name: &str, view: &TensorView<'_>) -> Result<()> {
    if matches!(view.dtype, SourceType::I32 | SourceType::U32) {
        return Ok(());
    }
    let what = format!("tensor {name} holds {} elements, and packed numbers come in words", view.dtype);
    Err(Error::malformed(view.path(), what))
}

/// A dimension of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    /// From row to row.
    Outer,
    /// Inside a row.
    Inner,
}

/// A matrix in a tensor.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    view: TensorView<'a>,
    layout: Layout,
    /// Rows and columns of the matrix.
    n_rows: usize,
    n_cols: usize,
    /// Elements of a row of the tensor.
    row_elements: usize,
}

impl<'a> Numbers<'a> {
    /// The matrix of `n_rows` and `n_cols` numbers in `view`, the tensor called `name`. A tensor of one dimension
    /// counts as a row if the matrix is turned and as a column if not.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the tensor is of another shape.
    pub(super) fn new(
        name: &str,
        view: TensorView<'a>,
        layout: Layout,
        [n_rows, n_cols]: [usize; 2],
    ) -> Result<Self> {
        if let Some(tiles) = layout.tiles {
            if tiles.n_elements([n_rows, n_cols]) != Some(view.n_elements()) {
                let what = format!(
                    "tensor {name} has shape {:?}, in which {n_rows} rows of {n_cols} numbers cannot lie as tiles",
                    view.shape
                );
                return Err(Error::malformed(view.path(), what));
            }
            if tiles.is_of_words() {
                check_words(name, &view)?;
            }
            return Ok(Self { view, layout, n_rows, n_cols, row_elements: 0 });
        }
        let found = match *view.shape {
            [outer, inner] => [outer, inner],
            [n] if layout.is_turned => [1, n],
            [n] => [n, 1],
            [] => [1, 1],
            // Stacks of matrices are matrices of more rows.
            [ref outer @ .., inner] => [outer.iter().product(), inner],
        };
        if layout.is_one {
            if view.n_elements() != 1 {
                let what = format!("tensor {name} has shape {:?}, and one number is needed", view.shape);
                return Err(Error::malformed(view.path(), what));
            }
            return Ok(Self { view, layout, n_rows, n_cols, row_elements: 1 });
        }
        let expected = layout.shape_of(name, &view, [n_rows, n_cols])?;
        // Formats pad the columns of a matrix that is not turned.
        let is_sound = if layout.is_turned {
            found == expected
        } else {
            found[0] == expected[0] && found[1] >= expected[1]
        };
        if !is_sound {
            let what = format!(
                "tensor {name} has shape {:?}, and {expected:?} is needed for {n_rows} rows of {n_cols} numbers",
                view.shape
            );
            return Err(Error::malformed(view.path(), what));
        }
        Ok(Self { view, layout, n_rows, n_cols, row_elements: found[1] })
    }

    pub(super) fn n_cols(&self) -> usize {
        self.n_cols
    }

    pub(super) fn view(&self) -> &TensorView<'a> {
        &self.view
    }

    /// Reads rows `first..` into `out`, `[rows, n_cols]`.
    ///
    /// # Errors
    /// As [`TensorView::read_at`].
    pub(super) fn read(&self, first: usize, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        let n = out.len() / self.n_cols;
        debug_assert!(first + n <= self.n_rows, "rows of the matrix");
        if let Some(tiles) = self.layout.tiles {
            return tiles.read(&self.view, (self.n_rows, self.n_cols), first, out, bytes);
        }
        self.read_unsigned((first, n), out, bytes)?;
        if let (Some((bits, _)), true) = (self.layout.packed, self.layout.is_signed) {
            let half = (1 << (bits - 1)) as f32;
            out.iter_mut().for_each(|x| *x = (*x + half) % (2.0 * half));
        }
        Ok(())
    }

    fn read_unsigned(&self, (first, n): (usize, usize), out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        if self.layout.is_one {
            read_floats(&self.view, 0, &mut out[..1], bytes)?;
            out.fill(out[0]);
            return Ok(());
        }
        if let (true, Some((bits, along))) = (self.layout.is_padded, self.layout.packed) {
            return self.read_padded(first, (bits, along), out, bytes);
        }
        match (self.layout.is_turned, self.layout.packed) {
            (false, None) if self.layout.is_of_four_rows => self.read_of_four_rows(first, out, bytes),
            (false, None) => self.read_plain(first, out, bytes),
            (false, Some((bits, Along::Inner))) => {
                let row_bytes = self.view.dtype.bytes_of(self.row_elements);
                bytes.resize(n * row_bytes, 0);
                self.view.read_at((first * row_bytes) as u64, bytes)?;
                let rows = out.chunks_exact_mut(self.n_cols).zip(bytes.chunks_exact(row_bytes));
                rows.for_each(|(out, row)| unpack(row, bits, out));
                Ok(())
            }
            (false, Some((bits, Along::Outer))) => {
                let words = first * bits / 32..((first + n) * bits).div_ceil(32);
                let row_bytes = 4 * self.row_elements;
                bytes.resize(words.len() * row_bytes, 0);
                self.view.read_at((words.start * row_bytes) as u64, bytes)?;
                for (i, out) in out.chunks_exact_mut(self.n_cols).enumerate() {
                    let bit = (first + i) * bits - words.start * 32;
                    for (j, out) in out.iter_mut().enumerate() {
                        *out = across(bytes, bit, bits, |word| word * row_bytes + 4 * j);
                    }
                }
                Ok(())
            }
            (true, packed) => self.read_turned(first, n, packed, out, bytes),
        }
    }

    /// Reads rows of numbers that fill words only as far as whole ones fit, in a tensor that is not turned.
    fn read_padded(
        &self,
        first: usize,
        (bits, along): (usize, Along),
        out: &mut [f32],
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let (row_bytes, per_word) = (4 * self.row_elements, 32 / bits);
        bytes.resize(row_bytes, 0);
        for (i, out) in out.chunks_exact_mut(self.n_cols).enumerate() {
            let row = first + i;
            let of_tensor = if along == Along::Outer { row / per_word } else { row };
            self.view.read_at((of_tensor * row_bytes) as u64, bytes)?;
            for (j, out) in out.iter_mut().enumerate() {
                let (word, place) = match along {
                    Along::Outer => (j, row % per_word),
                    Along::Inner => (j / per_word, j % per_word),
                };
                *out = across(bytes, place * bits, bits, |next| 4 * (word + next));
            }
        }
        Ok(())
    }

    /// Reads rows of which 64 columns are 16 words that follow one another, behind those of the rows before in four.
    fn read_of_four_rows(&self, first: usize, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        let row_bytes = 2 * self.row_elements;
        for (i, out) in out.chunks_exact_mut(self.n_cols).enumerate() {
            let row = first + i;
            bytes.resize(row_bytes, 0);
            self.view.read_at((row / 4 * row_bytes) as u64, bytes)?;
            for (out, words) in out.as_chunks_mut::<64>().0.iter_mut().zip(bytes.chunks_exact(128)) {
                let codes = &words[row % 4 * 32..][..32];
                for (half, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    for at in 0..32 {
                        let byte = codes[16 * half + at / 2];
                        out[fast_column(at)] = f32::from(if at % 2 == 0 { byte & 15 } else { byte >> 4 });
                    }
                }
            }
        }
        Ok(())
    }

    fn read_plain(&self, first: usize, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        if self.row_elements == self.n_cols {
            return read_floats(&self.view, first * self.n_cols, out, bytes);
        }
        for (i, out) in out.chunks_exact_mut(self.n_cols).enumerate() {
            read_floats(&self.view, (first + i) * self.row_elements, out, bytes)?;
        }
        Ok(())
    }

    /// Reads columns of the tensor: from each of its rows the elements that hold rows `first..first + n`.
    fn read_turned(
        &self,
        first: usize,
        n: usize,
        packed: Option<(usize, Along)>,
        out: &mut [f32],
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let dtype = self.view.dtype;
        let (elements, tensor_rows) = match packed {
            None => (first..first + n, self.n_cols),
            Some((bits, Along::Outer)) => (first..first + n, (self.n_cols * bits).div_ceil(32)),
            Some((bits, Along::Inner)) if self.layout.is_planar => {
                (first / 32 * bits..(first + n).div_ceil(32) * bits, self.n_cols)
            }
            Some((bits, Along::Inner)) => (first * bits / 32..((first + n) * bits).div_ceil(32), self.n_cols),
        };
        let strip_bytes = dtype.bytes_of(elements.len());
        bytes.resize(tensor_rows * strip_bytes, 0);
        for (row, strip) in bytes.chunks_exact_mut(strip_bytes).enumerate() {
            let at = row * self.row_elements + elements.start;
            self.view.read_at(dtype.bytes_of(at) as u64, strip)?;
        }
        let n_cols = self.n_cols;
        match packed {
            None => {
                let mut column = vec![0.0; n];
                for (j, strip) in bytes.chunks_exact(strip_bytes).enumerate() {
                    decode_source(dtype, strip, &mut column);
                    column.iter().enumerate().for_each(|(i, x)| out[i * n_cols + j] = *x);
                }
            }
            Some((bits, Along::Outer)) => {
                for (i, out) in out.chunks_exact_mut(n_cols).enumerate() {
                    for (j, out) in out.iter_mut().enumerate() {
                        let at = |word| word * strip_bytes + 4 * i;
                        *out = match self.layout.is_planar {
                            true => planes(bytes, j, bits, at),
                            false => across(bytes, j * bits, bits, at),
                        };
                    }
                }
            }
            Some((bits, Along::Inner)) => {
                for i in 0..n {
                    let row = first + i;
                    let row = self.layout.order.map_or(row, |order| row / 8 * 8 + order[row % 8]);
                    let bit = row * bits - elements.start * 32;
                    for j in 0..n_cols {
                        let at = |word| j * strip_bytes + 4 * word;
                        out[i * n_cols + j] = match self.layout.is_planar {
                            true => planes(bytes, row - first / 32 * 32, bits, at),
                            false => across(bytes, bit, bits, at),
                        };
                    }
                }
            }
        }
        Ok(())
    }
}

/// The column of 32 whose number AWQ's fast kernels have at place `at`: pairs of columns are taken from each eight in
/// turn, and then the even places of eight come before the odd ones.
fn fast_column(at: usize) -> usize {
    let (eight, half, pair) = (at / 8, at % 8 / 4, at % 4);
    let in_turn = eight * 8 + pair * 2 + half;
    in_turn % 8 / 2 * 8 + in_turn / 8 * 2 + in_turn % 2
}

/// The number of `bits` bits from bit `bit` on, in words of which number `w` is at byte `at(w)`.
#[inline(always)]
fn across(bytes: &[u8], bit: usize, bits: usize, at: impl Fn(usize) -> usize) -> f32 {
    let word = |w: usize| {
        let at = at(w);
        u64::from(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
    };
    let (first, shift) = (bit / 32, bit % 32);
    let mut run = word(first);
    if shift + bits > 32 {
        run |= word(first + 1) << 32;
    }
    (run >> shift & ((1 << bits) - 1)) as f32
}

/// Number `i` of those whose every 32 are `bits` words: first the lowest bits of all, of as many as divide 32, then
/// the higher ones in the same way. Word `w` is at byte `at(w)`.
fn planes(bytes: &[u8], i: usize, bits: usize, at: impl Fn(usize) -> usize) -> f32 {
    let (mut word, mut done, mut number) = (i / 32 * bits, 0, 0_u32);
    while done < bits {
        let width = 1 << (bits - done).ilog2();
        let place = (i % 32) * width;
        let at = at(word + place / 32);
        let found = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        number |= (found >> (place % 32) & ((1 << width) - 1)) << done;
        (word, done) = (word + width, done + width);
    }
    number as f32
}

/// Numbers of `bits` bits that follow each other in `bytes`, the lowest bits first.
fn unpack(bytes: &[u8], bits: usize, out: &mut [f32]) {
    match bits {
        4 => {
            for (pair, byte) in out.chunks_mut(2).zip(bytes) {
                pair[0] = f32::from(byte & 15);
                if let Some(second) = pair.get_mut(1) {
                    *second = f32::from(byte >> 4);
                }
            }
        }
        8 => out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = f32::from(*byte)),
        _ => {
            let mask = (1_u32 << bits) - 1;
            for (i, out) in out.iter_mut().enumerate() {
                let (byte, shift) = (i * bits / 8, i * bits % 8);
                let next = bytes.get(byte + 1).copied().unwrap_or(0);
                let run = u32::from(u16::from_le_bytes([bytes[byte], next]));
                *out = (run >> shift & mask) as f32;
            }
        }
    }
}
