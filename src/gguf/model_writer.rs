//! Writes models of one file or several.

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::writer::GgufWriter;
use crate::error::Result;
use crate::paths::folder_of;

/// The files of a model being written. Dropping it unfinished removes what was written so far.
#[derive(Debug)]
pub struct ModelWriter {
    files: Vec<GgufWriter>,
    /// `[n_tensors]`: the file of each tensor, and its place there.
    places: Vec<(usize, usize)>,
}

impl ModelWriter {
    /// Reserves the space of all files and writes their headers: `files` are paths and layouts, in order.
    ///
    /// # Errors
    /// As [`GgufWriter::create`].
    pub fn create(files: impl IntoIterator<Item = (PathBuf, Layout)>, overwrite: bool) -> Result<Self> {
        let files = files.into_iter().map(|(path, layout)| GgufWriter::create(&path, layout, overwrite));
        Ok(Self::of(files.collect::<Result<_>>()?))
    }

    /// As [`ModelWriter::create`], with the data that an earlier run of the work called `key` left; `None` as
    /// [`GgufWriter::resume`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn resume(
        files: impl IntoIterator<Item = (PathBuf, Layout)>,
        overwrite: bool,
        key: &str,
    ) -> Result<Option<Self>> {
        let files = files.into_iter().map(|(path, layout)| GgufWriter::resume(&path, layout, overwrite, key));
        Ok(files.collect::<Result<Option<_>>>()?.map(Self::of))
    }

    fn of(files: Vec<GgufWriter>) -> Self {
        let of_file =
            |(i, file): (usize, &GgufWriter)| (0..file.layout().tensors().len()).map(move |place| (i, place));
        let places = files.iter().enumerate().flat_map(of_file).collect();
        Self { files, places }
    }

    /// The folder of the first file.
    pub fn folder(&self) -> &Path {
        folder_of(self.files[0].target())
    }

    /// The files, in order.
    pub fn files(&self) -> &[GgufWriter] {
        &self.files
    }

    /// The file that holds a tensor, by its number in the model, and its number there.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn place(&self, tensor_index: usize) -> (usize, usize) {
        self.places[tensor_index]
    }

    /// As [`GgufWriter::write_at`], for a tensor of the whole model.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn write_at(&self, tensor_index: usize, byte_offset_in_tensor: u64, bytes: &[u8]) -> Result<()> {
        let (file, index) = self.place(tensor_index);
        self.files[file].write_at(index, byte_offset_in_tensor, bytes)
    }

    /// As [`GgufWriter::read_at`], for a tensor of the whole model.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn read_at(&self, tensor_index: usize, byte_offset_in_tensor: u64, out: &mut [u8]) -> Result<()> {
        let (file, index) = self.place(tensor_index);
        self.files[file].read_at(index, byte_offset_in_tensor, out)
    }

    /// As [`GgufWriter::count_written`], for a tensor of the whole model.
    pub fn count_written(&self, tensor_index: usize, n_bytes: u64) {
        let (file, index) = self.place(tensor_index);
        self.files[file].count_written(index, n_bytes);
    }

    /// As [`GgufWriter::leave`], for all files.
    pub fn leave(self) {
        self.files.into_iter().for_each(GgufWriter::leave);
    }

    /// As [`GgufWriter::sync`], for all files.
    ///
    /// # Errors
    /// As there.
    pub fn sync(&self) -> Result<()> {
        self.files.iter().try_for_each(GgufWriter::sync)
    }

    /// Gives the files their names, the first one last: where it is, the others are. Their paths in order.
    ///
    /// # Errors
    /// As [`GgufWriter::finish`].
    pub fn finish(self) -> Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> =
            self.files.into_iter().rev().map(GgufWriter::finish).collect::<Result<_>>()?;
        paths.reverse();
        Ok(paths)
    }
}

/// The paths of `n_files` files of a model that is to be at `path`: `path` itself, or beside it, named as parts.
pub fn paths_of(path: &Path, n_files: usize) -> Vec<PathBuf> {
    if n_files == 1 {
        return vec![path.to_owned()];
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gguf").unwrap_or(&name);
    (0..n_files).map(|i| path.with_file_name(super::parts::file_name(stem, i, n_files))).collect()
}
