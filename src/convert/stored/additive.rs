//! Sums of vectors from codebooks, with a scale for each row: AQLM. Such weights lie on no grid that blocks have.

use std::path::Path;

use super::{Levels, Packed, Scratch, Step, read_floats};
use crate::checkpoint::TensorView;
use crate::error::Result;

/// A matrix of which each `vector_len` weights of a row are the sum of a vector of each codebook, times the row's scale.
#[derive(Debug)]
pub(super) struct Additive<'a> {
    /// `[n_out, n_in]`
    pub(super) shape: [usize; 2],
    /// `[n_out, n_in / vector_len, n_books]`: two's complements of as many bits as name the vectors of a book.
    pub(super) codes: TensorView<'a>,
    /// `[n_books, book_len, vector_len]`, where `book_len` is a power of two.
    pub(super) books: TensorView<'a>,
    pub(super) n_books: usize,
    pub(super) book_len: usize,
    pub(super) vector_len: usize,
    /// `[n_out]`
    pub(super) scales: TensorView<'a>,
}

impl Packed for Additive<'_> {
    fn scheme(&self) -> &'static str {
        "AQLM"
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn path(&self) -> &Path {
        self.codes.path()
    }

    fn n_bytes(&self) -> u64 {
        self.codes.n_bytes + self.books.n_bytes
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        _steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Scratch { bytes, scales, zeros: codes, rows: books } = scratch;
        let n_rows = out.len() / self.shape[1];
        let mut read = |view: &TensorView<'_>, first: usize, n: usize, out: &mut Vec<f32>| -> Result<()> {
            out.resize(n, 0.0);
            read_floats(view, first, out, bytes)
        };
        read(&self.books, 0, self.n_books * self.book_len * self.vector_len, books)?;
        read(&self.scales, first, n_rows, scales)?;
        let row_codes = self.shape[1] / self.vector_len * self.n_books;
        read(&self.codes, first * row_codes, n_rows * row_codes, codes)?;
        let vectors = out.chunks_exact_mut(self.vector_len).zip(codes.chunks_exact(self.n_books));
        for (i, (out, codes)) in vectors.enumerate() {
            out.fill(0.0);
            for (book, code) in codes.iter().enumerate() {
                let code = (*code as i32).rem_euclid(self.book_len as i32) as usize;
                let vector = &books[(book * self.book_len + code) * self.vector_len..][..self.vector_len];
                out.iter_mut().zip(vector).for_each(|(out, x)| *out += x);
            }
            let scale = scales[i * self.vector_len / self.shape[1]];
            out.iter_mut().for_each(|out| *out *= scale);
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        Ok(None)
    }
}
