//! Tensors of a weight file: the types that elements have, and where they lie.

use std::fmt;
use std::path::Path;

use super::strided::Strided;
use crate::error::{Error, Result};
use crate::read_file::ReadFile;

/// Types of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs, reason = "the formats' own names")]
pub enum SourceType {
    F64,
    F32,
    F16,
    BF16,
    F8_E4M3,
    F8_E5M2,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    F8_E8M0,
    /// E2M1, two in a byte, the first in the low half.
    F4,
    I64,
    U64,
    I32,
    U32,
    I16,
    U16,
    I8,
    U8,
    Bool,
}

impl SourceType {
    /// Every type.
    pub const ALL: [Self; 19] = [
        Self::F64,
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::F8_E4M3,
        Self::F8_E5M2,
        Self::F8_E4M3FNUZ,
        Self::F8_E5M2FNUZ,
        Self::F8_E8M0,
        Self::F4,
        Self::I64,
        Self::U64,
        Self::I32,
        Self::U32,
        Self::I16,
        Self::U16,
        Self::I8,
        Self::U8,
        Self::Bool,
    ];

    /// The name that safetensors has for it, and the bits of an element.
    fn row(self) -> (&'static str, usize) {
        match self {
            Self::F64 => ("F64", 64),
            Self::F32 => ("F32", 32),
            Self::F16 => ("F16", 16),
            Self::BF16 => ("BF16", 16),
            Self::F8_E4M3 => ("F8_E4M3", 8),
            Self::F8_E5M2 => ("F8_E5M2", 8),
            Self::F8_E4M3FNUZ => ("F8_E4M3FNUZ", 8),
            Self::F8_E5M2FNUZ => ("F8_E5M2FNUZ", 8),
            Self::F8_E8M0 => ("F8_E8M0", 8),
            Self::F4 => ("F4", 4),
            Self::I64 => ("I64", 64),
            Self::U64 => ("U64", 64),
            Self::I32 => ("I32", 32),
            Self::U32 => ("U32", 32),
            Self::I16 => ("I16", 16),
            Self::U16 => ("U16", 16),
            Self::I8 => ("I8", 8),
            Self::U8 => ("U8", 8),
            Self::Bool => ("BOOL", 8),
        }
    }

    /// The formats' name of it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Bits of an element.
    pub fn element_bits(self) -> usize {
        self.row().1
    }

    /// Bytes of `n` elements, which fill whole bytes.
    pub fn bytes_of(self, n: usize) -> usize {
        n * self.element_bits() / 8
    }

    /// Whether an element can be a weight by itself, as integers, exponents and halves of bytes cannot.
    pub fn is_float(self) -> bool {
        self.is_plain_float()
            || matches!(self, Self::F8_E4M3 | Self::F8_E5M2 | Self::F8_E4M3FNUZ | Self::F8_E5M2FNUZ)
    }

    /// Whether these are the numbers of weights that are not quantised.
    pub fn is_plain_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }
}

impl fmt::Display for SourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a weight file says of a tensor.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The type of its elements, or why they cannot be read: a phrase that follows the tensor's name.
    pub(super) dtype: Result<SourceType, String>,
    pub(super) shape: Vec<usize>,
    /// Where its data begin in the file.
    pub(super) offset: u64,
    pub(super) n_bytes: u64,
    /// Elements from one to the next in each dimension, where they do not lie row after row.
    pub(super) strides: Option<Vec<u64>>,
}

impl Entry {
    /// The tensor called `name` of which this is the entry in `file`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its elements are of a type that cannot be read.
    pub(super) fn view<'a>(&'a self, name: &str, file: &'a ReadFile) -> Result<TensorView<'a>> {
        let Self { dtype, shape, offset, n_bytes, strides } = self;
        let dtype = dtype.as_ref().map_err(|why| {
            Error::unsupported(file.path(), format!("tensor {} {why}", name.escape_debug()))
        })?;
        let strides = strides.as_deref();
        Ok(TensorView { dtype: *dtype, shape, n_bytes: *n_bytes, offset: *offset, strides, file })
    }
}

/// A tensor of a checkpoint, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// The type of its elements.
    pub dtype: SourceType,
    /// Its dimensions, outermost first; none for a scalar.
    pub shape: &'a [usize],
    /// Bytes of its elements, which are little-endian, row by row: as many as the shape says.
    pub n_bytes: u64,
    /// Where they begin in the file.
    offset: u64,
    strides: Option<&'a [u64]>,
    file: &'a ReadFile,
}

impl<'a> TensorView<'a> {
    /// The file it lies in.
    pub fn path(&self) -> &'a Path {
        self.file.path()
    }

    /// Whether a server has its file, and reading much of it is not worth the time.
    pub fn is_glimpsed(&self) -> bool {
        self.file.is_glimpsed()
    }

    /// Its elements.
    pub fn n_elements(&self) -> usize {
        // Others may be anything where one is 0.
        self.shape.iter().fold(1, |n: usize, len| n.saturating_mul(*len))
    }

    /// The same bytes as elements of another type.
    ///
    /// # Panics
    /// If those are of another length.
    pub fn with_type(self, dtype: SourceType) -> Self {
        assert_eq!(dtype.element_bits(), self.dtype.element_bits(), "elements of one length");
        Self { dtype, ..self }
    }

    /// Fills `out` with its bytes from byte `offset` of the tensor on.
    ///
    /// # Errors
    /// As [`ReadFile::read_at`].
    ///
    /// # Panics
    /// If the tensor ends before.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(out.len() as u64);
        assert!(end.is_some_and(|end| end <= self.n_bytes), "reading past the end of a tensor");
        let Some(strides) = self.strides else { return self.file.read_at(self.offset + offset, out) };
        let element_bytes = self.dtype.element_bits() as u64 / 8;
        Strided { offset: self.offset, element_bytes, shape: self.shape, strides }
            .read(self.file, offset, out)
    }
}
