//! The files that a plan writes.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::gguf::{Layout, PlacedTensor, PlannedTensor, Value, model_writer, parts};

/// The files of a model, one unless it is to be split.
#[derive(Debug)]
pub(in crate::convert) struct Files {
    /// `[n_files]`.
    layouts: Vec<Layout>,
    /// `[n_tensors]`: the file of each tensor, and its place there.
    places: Vec<(usize, usize)>,
}

impl Files {
    /// Places all tensors, in files of at most `max_bytes`, if that is given.
    ///
    /// # Errors
    /// As [`Layout::new`] and [`parts::divide`].
    pub(super) fn new(
        pairs: Vec<(String, Value)>,
        tensors: Vec<PlannedTensor>,
        alignment: usize,
        max_bytes: Option<u64>,
    ) -> Result<Self> {
        let layouts = match max_bytes {
            None => vec![Layout::new(pairs, tensors, alignment)?],
            Some(max_bytes) => parts::divide(pairs, tensors, alignment, max_bytes)?,
        };
        let of_file =
            |(i, layout): (usize, &Layout)| (0..layout.tensors().len()).map(move |place| (i, place));
        let places = layouts.iter().enumerate().flat_map(of_file).collect();
        Ok(Self { layouts, places })
    }

    pub(in crate::convert) fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// Every tensor, in order.
    pub(in crate::convert) fn tensors(&self) -> impl ExactSizeIterator<Item = &PlacedTensor> {
        self.places.iter().map(|&(file, place)| &self.layouts[file].tensors()[place])
    }

    /// Tensor `i` of all.
    pub(in crate::convert) fn tensor(&self, i: usize) -> &PlacedTensor {
        let (file, place) = self.places[i];
        &self.layouts[file].tensors()[place]
    }

    /// Where the files are, if the model is to be at `path`.
    pub(in crate::convert) fn paths(&self, path: &Path) -> Vec<PathBuf> {
        model_writer::paths_of(path, self.layouts.len())
    }

    /// Each file, with its place if the model is to be at `path`.
    pub(in crate::convert) fn at(&self, path: &Path) -> impl Iterator<Item = (PathBuf, Layout)> {
        self.paths(path).into_iter().zip(self.layouts.iter().cloned())
    }

    /// Bytes of all files.
    pub(super) fn n_bytes(&self) -> u64 {
        self.layouts.iter().map(Layout::file_bytes).sum()
    }
}
