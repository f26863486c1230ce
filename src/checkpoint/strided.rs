//! Reads tensors that do not lie row after row: transposed or sliced views, as PyTorch saves them.

use std::ops::Range;

use crate::error::Result;
use crate::read_file::ReadFile;

/// Elements further apart than so many bytes are read one by one, others with what is between them.
const NEAR_BYTES: u64 = 4096;

/// Bytes that are read at a time with what is between the elements.
const SPAN_BYTES: u64 = 1 << 20;

/// Where the elements of a tensor lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strided<'a> {
    /// Where the first begins in the file.
    pub(super) offset: u64,
    pub(super) element_bytes: u64,
    /// Dimensions, outermost first.
    pub(super) shape: &'a [usize],
    /// Elements from one to the next in each dimension.
    pub(super) strides: &'a [u64],
}

impl Strided<'_> {
    /// The last element's place, counted from the first; `None` if it cannot be counted.
    pub(super) fn last(shape: &[usize], strides: &[u64]) -> Option<u64> {
        shape.iter().zip(strides).try_fold(0_u64, |sum, (&length, stride)| {
            sum.checked_add((length as u64).saturating_sub(1).checked_mul(*stride)?)
        })
    }

    /// Fills `out` with the tensor's bytes from byte `first` on, as if it lay row after row.
    ///
    /// # Errors
    /// As [`ReadFile::read_at`].
    pub(super) fn read(&self, file: &ReadFile, first: u64, out: &mut [u8]) -> Result<()> {
        let size = self.element_bytes;
        let end = first + out.len() as u64;
        let elements = first / size..end.div_ceil(size);
        if first.is_multiple_of(size) && end.is_multiple_of(size) {
            return self.elements(file, elements, out);
        }
        let mut whole = vec![0; ((elements.end - elements.start) * size) as usize];
        let skipped = (first % size) as usize;
        self.elements(file, elements, &mut whole)?;
        out.copy_from_slice(&whole[skipped..skipped + out.len()]);
        Ok(())
    }

    fn elements(&self, file: &ReadFile, elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        let n_in = self.shape.last().map_or(1, |&n| n as u64);
        let (mut at, mut out) = (elements.start, out);
        while at < elements.end {
            let (row, column) = (at / n_in, at % n_in);
            let n_rows = self.rows_together(row, (elements.end - at) / n_in);
            let n = if column == 0 && n_rows > 1 {
                n_rows * n_in
            } else {
                (n_in - column).min(elements.end - at)
            };
            let (part, rest) = out.split_at_mut((n * self.element_bytes) as usize);
            if column == 0 && n_rows > 1 {
                self.columns(file, row, n_rows, part)?;
            } else {
                self.row(file, row, column, part)?;
            }
            (at, out) = (at + n, rest);
        }
        Ok(())
    }

    /// How many rows from `row` on, of `n_rows`, lie beside each other element by element.
    fn rows_together(&self, row: u64, n_rows: u64) -> u64 {
        let (&[.., height, _], &[.., down, across]) = (self.shape, self.strides) else { return 1 };
        let height = height as u64;
        if down == 1 && across != 1 { n_rows.min(height - row % height) } else { 1 }
    }

    /// The place of the first element of a row.
    fn place(&self, row: u64) -> u64 {
        let outer = self.shape.len().saturating_sub(1);
        let dims = self.shape[..outer].iter().zip(&self.strides[..outer]).rev();
        let (_, place) = dims.fold((row, 0), |(rest, place), (&length, stride)| {
            (rest / length as u64, place + rest % length as u64 * stride)
        });
        place
    }

    fn read_at(&self, file: &ReadFile, place: u64, out: &mut [u8]) -> Result<()> {
        file.read_at(self.offset + place * self.element_bytes, out)
    }

    /// Whole rows that lie beside each other: column by column.
    fn columns(&self, file: &ReadFile, row: u64, n_rows: u64, out: &mut [u8]) -> Result<()> {
        let (size, place, across) = (self.element_bytes as usize, self.place(row), self.across());
        let row_bytes = out.len() / n_rows as usize;
        let mut column = vec![0; n_rows as usize * size];
        for c in 0..row_bytes / size {
            self.read_at(file, place + c as u64 * across, &mut column)?;
            for (from, row) in column.chunks_exact(size).zip(out.chunks_exact_mut(row_bytes)) {
                row[c * size..(c + 1) * size].copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// A part of one row.
    fn row(&self, file: &ReadFile, row: u64, column: u64, out: &mut [u8]) -> Result<()> {
        let (size, across) = (self.element_bytes, self.across());
        let place = self.place(row) + column * across;
        if across == 1 {
            return self.read_at(file, place, out);
        }
        let apart = across * size;
        let together = if apart > NEAR_BYTES { 1 } else { (SPAN_BYTES / apart.max(1)).max(1) };
        let mut span = Vec::new();
        for (i, part) in out.chunks_mut((together * size) as usize).enumerate() {
            let n = part.len() as u64 / size;
            span.resize((((n - 1) * across + 1) * size) as usize, 0);
            self.read_at(file, place + i as u64 * together * across, &mut span)?;
            for (k, out) in part.chunks_exact_mut(size as usize).enumerate() {
                out.copy_from_slice(&span[k * apart as usize..][..size as usize]);
            }
        }
        Ok(())
    }

    fn across(&self) -> u64 {
        self.strides.last().copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_any_view_is_what_its_places_say() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        let numbers: Vec<u8> = (0..4000_u16).flat_map(u16::to_le_bytes).collect();
        std::fs::write(&path, &numbers).unwrap();
        let file = ReadFile::open(&path).unwrap();
        for (shape, strides) in [
            (&[7, 5][..], &[1, 7][..]),
            (&[7, 5], &[9, 1]),
            (&[7, 5], &[20, 2]),
            (&[3, 4, 5], &[20, 1, 4]),
            (&[3, 4, 5], &[1, 15, 3]),
            (&[6], &[500]),
            (&[], &[]),
            (&[2, 3], &[0, 1]),
        ] {
            let view = Strided { offset: 6, element_bytes: 2, shape, strides };
            let n: usize = shape.iter().product();
            let mut whole = Vec::new();
            for element in 0..n as u64 {
                let mut rest = element;
                let place: u64 = shape.iter().zip(strides).rev().fold(3, |place, (&length, stride)| {
                    let at = rest % length as u64;
                    rest /= length as u64;
                    place + at * stride
                });
                whole.extend_from_slice(&(place as u16).to_le_bytes());
            }
            for start in 0..whole.len() {
                for end in start..=whole.len() {
                    let mut out = vec![0; end - start];
                    view.read(&file, start as u64, &mut out).unwrap();
                    assert!(out == whole[start..end], "{shape:?} {strides:?} {start}..{end}");
                }
            }
        }
    }
}
