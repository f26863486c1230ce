//! Codes that name the numbers of a table that each output has, and a few weights beside them that are added: SqueezeLLM.

use std::path::Path;

use super::numbers::Numbers;
use super::{Levels, Packed, Scratch, Step, read_floats};
use crate::checkpoint::TensorView;
use crate::error::{Error, Result};

/// A matrix `w = table[q] + sparse + whole`.
#[derive(Debug)]
pub(super) struct Tabled<'a> {
    /// `[n_out, n_in]`
    pub(super) shape: [usize; 2],
    pub(super) codes: Numbers<'a>,
    /// `[n_out, n_levels]`
    pub(super) tables: TensorView<'a>,
    pub(super) n_levels: usize,
    pub(super) sparse: Option<Sparse<'a>>,
    /// Outputs whose weights are all added to, and `[n_in, n]`, what is added.
    pub(super) whole: Option<(Vec<usize>, Vec<f32>)>,
}

/// Single weights, as compressed sparse rows.
#[derive(Debug)]
pub(super) struct Sparse<'a> {
    /// `[n_out + 1]`: where those of each output begin. They do not fall.
    pub(super) starts: Vec<usize>,
    pub(super) columns: TensorView<'a>,
    pub(super) values: TensorView<'a>,
}

impl Packed for Tabled<'_> {
    fn scheme(&self) -> &'static str {
        "SqueezeLLM"
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn path(&self) -> &Path {
        self.tables.path()
    }

    fn n_bytes(&self) -> u64 {
        let sparse = self.sparse.as_ref().map_or(0, |sparse| sparse.columns.n_bytes + sparse.values.n_bytes);
        self.codes.view().n_bytes + self.tables.n_bytes + sparse
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        _steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let n_in = self.shape[1];
        let n = out.len() / n_in;
        let Scratch { bytes, scales: table, zeros: columns, .. } = scratch;
        self.codes.read(first, out, bytes)?;
        table.resize(n * self.n_levels, 0.0);
        read_floats(&self.tables, first * self.n_levels, table, bytes)?;
        for (out, table) in out.chunks_exact_mut(n_in).zip(table.chunks_exact(self.n_levels)) {
            out.iter_mut().for_each(|q| *q = table[*q as usize]);
        }
        if let Some(Sparse { starts, columns: of_columns, values }) = &self.sparse {
            let (start, end) = (starts[first], starts[first + n]);
            columns.resize(end - start, 0.0);
            read_floats(of_columns, start, columns, bytes)?;
            table.resize(end - start, 0.0);
            read_floats(values, start, table, bytes)?;
            for (i, out) in out.chunks_exact_mut(n_in).enumerate() {
                let own = starts[first + i] - start..starts[first + i + 1] - start;
                for (column, value) in columns[own.clone()].iter().zip(&table[own]) {
                    let Some(out) = out.get_mut(*column as usize).filter(|_| *column >= 0.0) else {
                        let what =
                            format!("a weight beside the codes is of input {column}, and there are {n_in}");
                        return Err(Error::malformed(of_columns.path(), what));
                    };
                    *out += value;
                }
            }
        }
        if let Some((rows, added)) = &self.whole {
            for (j, row) in rows.iter().enumerate().filter(|(_, row)| (first..first + n).contains(row)) {
                let out = &mut out[(row - first) * n_in..][..n_in];
                out.iter_mut().enumerate().for_each(|(k, out)| *out += added[k * rows.len() + j]);
            }
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        Ok(None)
    }
}
