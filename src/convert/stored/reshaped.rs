//! Weights whose tensors do not say the dimensions of their matrix: config.json does.

use std::path::Path;
use std::sync::Arc;

use super::{Levels, Packed, STEP, Scratch, Step};
use crate::error::Result;

/// What a packed tensor says of the dimensions of its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::convert) enum Shaping {
    /// All.
    Exact,
    /// How many elements there are.
    Flat,
    /// What they are at most: kernels want them filled up.
    Padded,
}

/// A packed tensor as a matrix of these dimensions.
#[derive(Debug)]
pub(super) struct Reshaped<'a> {
    inner: Arc<dyn Packed + 'a>,
    shape: Vec<usize>,
}

impl<'a> Reshaped<'a> {
    /// `inner` as a matrix of `shape`; `None` if it is not one.
    pub(super) fn new(inner: &Arc<dyn Packed + 'a>, shape: &[usize]) -> Option<Self> {
        let (found, n_in) = (inner.shape(), *shape.last()?);
        let is_one = match inner.shaping() {
            Shaping::Exact => false,
            Shaping::Flat => {
                let n = found.iter().product::<usize>();
                shape.iter().product::<usize>() == n && n_in.is_multiple_of(found[found.len() - 1])
            }
            Shaping::Padded => {
                shape.len() == found.len() && shape.iter().zip(found).all(|(wanted, found)| wanted <= found)
            }
        };
        is_one.then(|| Self { inner: Arc::clone(inner), shape: shape.to_owned() })
    }

    fn n_in(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }
}

impl Packed for Reshaped<'_> {
    fn scheme(&self) -> &'static str {
        self.inner.scheme()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn n_bytes(&self) -> u64 {
        self.inner.n_bytes()
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (n_in, stored) = (self.n_in(), self.inner.shape());
        let n_stored = stored[stored.len() - 1];
        if self.inner.shaping() == Shaping::Flat {
            return self.inner.read_rows(first * (n_in / n_stored), out, steps, scratch);
        }
        let mut whole = vec![0.0; out.len() / n_in * n_stored];
        self.inner.read_rows(first, &mut whole, steps, scratch)?;
        for (out, row) in out.chunks_exact_mut(n_in).zip(whole.chunks_exact(n_stored)) {
            out.copy_from_slice(&row[..n_in]);
        }
        let mut i = 0..;
        let of_row = n_stored / STEP;
        steps.retain(|_| i.next().is_some_and(|i: usize| i % of_row.max(1) < n_in / STEP));
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        self.inner.levels()
    }
}
