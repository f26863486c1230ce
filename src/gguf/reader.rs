//! Opened GGUF files: the header parsed and checked once, the data left where they are.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::ggml_type::GgmlType;
use super::header::{self, Header};
use super::metadata::Metadata;
use crate::error::{Error, Result};
use crate::mapped_file::MappedFile;

/// An opened GGUF file, version 2 or 3, little-endian; or the parts of a split one as if they were one file.
#[derive(Debug)]
pub struct GgufFile {
    file: Arc<MappedFile>,
    /// Bytes of each file that it is made of.
    part_bytes: Vec<u64>,
    version: u32,
    alignment: usize,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    /// The bytes that describe the tensors.
    pub(super) descriptions: Range<usize>,
}

/// Where a tensor lies in its file, and how to read it. Its bytes are inside the file and belong to
/// no other tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name; bytes that are not UTF-8 are replaced by U+FFFD.
    pub name: String,
    /// Up to 4 dimensions, outermost first; a matrix is `[n_out, n_in]`, a scalar has none.
    pub shape: Vec<usize>,
    /// The type of its blocks; the last dimension is a multiple of the block length.
    pub ty: GgmlType,
    /// Offset of its data from the start of the file, or of the parts mapped as one.
    pub offset: u64,
    /// Bytes of its data. Where the type's block is not known, those up to the next tensor or the end
    /// of the file.
    pub n_bytes: usize,
}

impl TensorInfo {
    /// Elements of the tensor; the reader has checked that the product does not overflow.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl GgufFile {
    /// Maps the file at `path` and checks its header.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if it cannot be mapped; [`crate::Error::Malformed`],
    /// [`crate::Error::Unsupported`] or [`crate::Error::Limit`] for what it holds.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_mapped(Arc::new(MappedFile::open(path)?))
    }

    /// Checks the header of a file already mapped.
    ///
    /// # Errors
    /// As [`Self::open`], but for I/O.
    pub fn from_mapped(file: Arc<MappedFile>) -> Result<Self> {
        let Header { version, alignment, metadata, tensors, descriptions } = header::read(&file)?;
        let part_bytes = vec![file.bytes().len() as u64];
        let index = tensors.iter().enumerate().map(|(i, tensor)| (tensor.name.clone(), i)).collect();
        Ok(Self { file, part_bytes, version, alignment, metadata, tensors, index, descriptions })
    }

    /// The parts of a split model as one file: the metadata are the first part's, and the tensors those of all.
    ///
    /// # Errors
    /// As [`MappedFile::open_joined`]; [`Error::Malformed`] for a tensor that two parts have.
    ///
    /// # Panics
    /// Without any part.
    pub(super) fn joined(mut parts: Vec<Self>) -> Result<Self> {
        let part_bytes: Vec<u64> = parts.iter().map(GgufFile::file_len).collect();
        let paths = parts.iter().map(|part| part.path().to_owned());
        let file = MappedFile::open_joined(&paths.zip(part_bytes.iter().copied()).collect::<Vec<_>>())?;
        let starts = MappedFile::joined_starts(part_bytes.iter().copied()).expect("they are mapped");
        let mut tensors: Vec<TensorInfo> = Vec::new();
        let mut index = HashMap::new();
        for (part, start) in parts.iter().zip(starts) {
            for tensor in &part.tensors {
                if index.insert(tensor.name.clone(), tensors.len()).is_some() {
                    let what = format!("tensor {} is in another part as well", tensor.name.escape_debug());
                    return Err(Error::malformed(part.path(), what));
                }
                tensors.push(TensorInfo { offset: tensor.offset + start as u64, ..tensor.clone() });
            }
        }
        let first = parts.remove(0);
        Ok(Self { file: Arc::new(file), part_bytes, tensors, index, ..first })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What the offsets of tensors are multiples of, in bytes.
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, in the header's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&i| &self.tensors[i])
    }

    /// The data of a tensor of this file.
    ///
    /// # Panics
    /// If the tensor is another file's and lies outside this one.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        if tensor.n_bytes == 0 {
            return &[];
        }
        let start = usize::try_from(tensor.offset).expect("a tensor lies inside its mapped file");
        &self.file.bytes()[start..][..tensor.n_bytes]
    }

    /// Files that it is made of.
    pub fn n_parts(&self) -> usize {
        self.part_bytes.len()
    }

    /// Bytes of the whole file, or of all parts.
    pub fn file_len(&self) -> u64 {
        self.part_bytes.iter().sum()
    }

    /// The mapping, for those who keep parts of it.
    pub fn mapped_file(&self) -> &Arc<MappedFile> {
        &self.file
    }
}
