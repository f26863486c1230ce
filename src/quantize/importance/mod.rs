//! Importance matrices: how much each input of a product matters, from what a model computed on some text.
//!
//! For every tensor and every column, the sum of the squares of the inputs that met it, and how many there were.
//! What encoders weigh the errors of a column with is their mean. A stack of experts has a sum and a count for
//! each expert, since tokens see few of them.
//!
//! Two file formats, both llama.cpp's: GGUF (`gguf`), and the older one without counts of experts (`legacy`).

mod gguf;
mod legacy;

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::gguf::MAGIC;
use crate::limits;
use crate::regular_file;

/// The inputs of products, by the names of their tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportanceMatrix {
    /// What was seen by each tensor.
    pub entries: BTreeMap<String, Entry>,
    /// What texts that was, for people.
    pub datasets: Vec<String>,
    /// Tokens in a chunk of text.
    pub chunk_len: u32,
}

/// What the matrices of a tensor saw: one, or one for each expert or head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// `[n_matrices, n_in]`: the sums of the inputs, where they are known.
    pub sums: Option<Vec<f64>>,
    /// `[n_matrices, n_in]`: the sums of their squares.
    pub squares: Vec<f64>,
    /// `[n_matrices]`, or one for all: how many there were.
    pub counts: Vec<u64>,
}

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A GGUF file.
    Gguf,
    /// The format before it, which usually ends in .dat.
    Legacy,
}

impl Format {
    /// The format that a file of this name has, unless told.
    pub fn of_name(path: &Path) -> Self {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("dat")) {
            Self::Legacy
        } else {
            Self::Gguf
        }
    }
}

impl ImportanceMatrix {
    /// Reads the file at `path`, of either format.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if it is not an importance matrix, if its sums cannot be those of any
    /// inputs, or if it has nothing but zeros.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = regular_file::read(path, limits::MAX_IMPORTANCE_BYTES)?;
        let matrix =
            if bytes.starts_with(&MAGIC) { gguf::read(path, bytes) } else { legacy::read(path, &bytes) }?;
        matrix.check(path)?;
        Ok(matrix)
    }

    /// Writes it to `path` in `format`, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is a file and `overwrite` is false; [`Error::Io`].
    pub fn write(&self, path: &Path, format: Format, overwrite: bool) -> Result<()> {
        match format {
            Format::Gguf => gguf::write(self, path, overwrite),
            Format::Legacy => legacy::write(self, path, overwrite),
        }
    }

    /// Chunks of text that the tensor which saw most of it saw; none where their length is not known.
    pub fn n_chunks(&self) -> u64 {
        let most = self.entries.values().flat_map(|entry| &entry.counts).max().copied().unwrap_or(0);
        most.checked_div(u64::from(self.chunk_len)).unwrap_or(0)
    }

    /// Adds what another one saw.
    ///
    /// # Errors
    /// [`Error::Usage`] for a tensor that has another shape there; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        for (name, entry) in &other.entries {
            if self.entries.get(name).is_some_and(|own| !own.is_like(entry)) {
                let shown = name.escape_debug();
                return Err(Error::usage(format!(
                    "{shown} has another shape in one of the importance matrices: they are of different models; merge those of one model only"
                )));
            }
        }
        for (name, entry) in &other.entries {
            match self.entries.get_mut(name) {
                Some(own) => own.add(entry),
                None => {
                    self.entries.insert(name.clone(), entry.clone());
                }
            }
        }
        self.datasets.extend(
            other.datasets.iter().filter(|name| !self.datasets.contains(name)).cloned().collect::<Vec<_>>(),
        );
        self.chunk_len = self.chunk_len.max(other.chunk_len);
        Ok(())
    }

    /// Refuses sums that cannot be those of any inputs.
    fn check(&self, path: &Path) -> Result<()> {
        if self.entries.is_empty() {
            return Err(Error::malformed(
                path,
                "an importance matrix without an entry; collect it again with gguf-run imatrix",
            ));
        }
        for (name, entry) in &self.entries {
            let shown = name.escape_debug();
            if entry.counts.is_empty()
                || entry.squares.is_empty()
                || entry.squares.len() % entry.counts.len() != 0
            {
                let (n, m) = (entry.squares.len(), entry.counts.len());
                return Err(Error::malformed(
                    path,
                    format!("{shown} has {n} sums for {m} counts; collect it again with gguf-run imatrix"),
                ));
            }
            if let Some(bad) = entry.squares.iter().find(|sum| !(sum.is_finite() && **sum >= 0.0)) {
                let what = format!(
                    "{shown} has a sum of squares of {bad}; collect it again with gguf-run imatrix, from a sound model"
                );
                return Err(Error::malformed(path, what));
            }
        }
        if self.entries.values().all(Entry::is_empty) {
            return Err(Error::malformed(
                path,
                "its sums or counts are all 0, so that it tells nothing; collect it again with gguf-run imatrix",
            ));
        }
        Ok(())
    }
}

impl Entry {
    /// Nothing seen yet by `n_matrices` matrices of `n_in` columns.
    pub fn new(n_matrices: usize, n_in: usize) -> Self {
        let zeros = vec![0.0; n_matrices * n_in];
        Self { sums: Some(zeros.clone()), squares: zeros, counts: vec![0; n_matrices] }
    }

    /// Adds the rows `inputs: [.., n_in]` that matrix `index` saw.
    pub fn see(&mut self, index: usize, inputs: &[f32], n_in: usize) {
        let at = index * n_in..(index + 1) * n_in;
        let squares = &mut self.squares[at.clone()];
        let sums = self.sums.as_mut().map_or(&mut [][..], |sums| &mut sums[at]);
        for row in inputs.chunks_exact(n_in) {
            for (sum, &x) in squares.iter_mut().zip(row) {
                *sum += f64::from(x) * f64::from(x);
            }
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x);
            }
            self.counts[index] += 1;
        }
    }

    /// Matrices that saw nothing, of all.
    pub fn n_unseen(&self) -> (usize, usize) {
        (self.counts.iter().filter(|&&n| n == 0).count(), self.counts.len())
    }

    /// Whether it tells nothing of any matrix: nothing was counted, or all sums are 0.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|&n| n == 0) || self.squares.iter().all(|&sum| sum == 0.0)
    }

    /// `[n_matrices, n_in]`: the mean of the squares of each column; ones for a matrix that saw nothing, or nothing but
    /// zeros, whose columns then count alike.
    pub fn weights(&self) -> Vec<f32> {
        let n_in = self.squares.len() / self.counts.len();
        let mut weights = Vec::with_capacity(self.squares.len());
        for (row, &n) in self.squares.chunks_exact(n_in).zip(&self.counts) {
            match n == 0 || row.iter().all(|&sum| sum == 0.0) {
                true => weights.extend(std::iter::repeat_n(1.0, n_in)),
                false => weights.extend(row.iter().map(|&sum| (sum / n as f64) as f32)),
            }
        }
        weights
    }

    /// Whether both are of tensors of one shape, as far as they tell.
    fn is_like(&self, other: &Self) -> bool {
        let (a, b) = (self.counts.len(), other.counts.len());
        self.squares.len() == other.squares.len() && (a == b || a == 1 || b == 1)
    }

    /// Adds what another one of a tensor of this shape saw.
    fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            // One count for all matrices: each saw as many.
            self.counts = vec![self.counts[0]; other.counts.len()];
        }
        for (i, n) in self.counts.iter_mut().enumerate() {
            *n = n.saturating_add(if other.counts.len() == 1 { other.counts[0] } else { other.counts[i] });
        }
        self.squares.iter_mut().zip(&other.squares).for_each(|(sum, x)| *sum += x);
        self.sums = match (self.sums.take(), &other.sums) {
            (Some(mut sums), Some(others)) => {
                sums.iter_mut().zip(others).for_each(|(sum, x)| *sum += x);
                Some(sums)
            }
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests;
