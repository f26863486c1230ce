//! One safetensors file: mapped, its header checked, its tensors found by name.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, SafeTensorError};
use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result};
use crate::file_kind;
use crate::limits;
use crate::mapped_file::MappedFile;

/// Element types that tensors can be converted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the format's own names")]
pub enum SourceType {
    F64,
    F32,
    F16,
    BF16,
}

impl SourceType {
    /// The format's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// Bytes of an element.
    pub fn element_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    fn from_dtype(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F64 => Some(Self::F64),
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            _ => None,
        }
    }
}

impl fmt::Display for SourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A tensor of a checkpoint, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// The type of its elements.
    pub dtype: SourceType,
    /// Its dimensions, outermost first; none for a scalar.
    pub shape: &'a [usize],
    /// Its elements, little-endian, row by row: as many as the shape says.
    pub bytes: &'a [u8],
    /// The file it lies in, for messages.
    pub path: &'a Path,
}

/// A mapped safetensors file.
#[derive(Debug)]
pub struct Shard {
    file: MappedFile,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// Bytes of the header's length, which come first.
const LENGTH_BYTES: usize = 8;

impl Shard {
    /// Maps the file at `path` and checks its header.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be mapped, and as [`Self::from_mapped`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_mapped(MappedFile::open(path)?)
    }

    /// Checks the header of a file already mapped: lengths, names, shapes against offsets, offsets
    /// without gaps or overlaps and inside the file.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it breaks the format's rules, [`Error::Limit`] if it is too large,
    /// [`Error::Unsupported`] for a file of another kind.
    pub fn from_mapped(file: MappedFile) -> Result<Self> {
        let path = file.path();
        let header = header_bytes(path, file.bytes())?;
        let data_start = LENGTH_BYTES + header.len();
        check_names_and_ends(path, header, file.bytes().len() - data_start)?;
        let (_, metadata) = SafeTensors::read_metadata(file.bytes()).map_err(|e| explain(path, &e))?;
        let entries = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                let bytes = data_start + start..data_start + end;
                (name, Entry { dtype: info.dtype, shape: info.shape.clone(), bytes })
            })
            .collect();
        Ok(Self { file, entries })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The names of its tensors, sorted.
    pub fn tensor_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether it has a tensor of this name, of whatever type.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its elements are of a type that cannot be converted.
    pub fn tensor(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let Some(dtype) = SourceType::from_dtype(entry.dtype) else {
            return Err(Error::unsupported(
                self.path(),
                format!(
                    "tensor {} holds {:?} elements, and F32, F16, BF16 and F64 can be converted: take the model's \
                     original checkpoint, not a quantised one",
                    name.escape_debug(),
                    entry.dtype
                ),
            ));
        };
        let bytes = &self.file.bytes()[entry.bytes.clone()];
        Ok(Some(TensorView { dtype, shape: &entry.shape, bytes, path: self.path() }))
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.file.bytes().len() as u64
    }
}

/// The JSON header, whose length was checked against the file and the limit.
fn header_bytes<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        let what = format!("the file has {} bytes, and safetensors begin with {LENGTH_BYTES}", bytes.len());
        return Err(Error::malformed(path, what));
    };
    if rest.first() != Some(&b'{') {
        let kind = match file_kind::recognise(bytes) {
            Some(kind) => format!("but {kind}"),
            None => "for no { stands at its ninth byte".into(),
        };
        return Err(Error::unsupported(path, format!("it is no safetensors file, {kind}")));
    }
    let stated = u64::from_le_bytes(*length);
    match usize::try_from(stated) {
        Ok(n) if n > limits::MAX_SAFETENSORS_HEADER_BYTES && n <= rest.len() => Err(Error::limit(format!(
            "{}: the header has {n} bytes; at most {} are read",
            path.display(),
            limits::MAX_SAFETENSORS_HEADER_BYTES
        ))),
        Ok(n) if n <= rest.len() => Ok(&rest[..n]),
        _ => Err(Error::malformed(
            path,
            format!(
                "its header should have {stated} bytes, and the file has {} after the length: it was cut short, or \
                 is no safetensors file. Download it again",
                rest.len()
            ),
        )),
    }
}

/// Checks what the format's own reader takes on trust: that no name comes twice (the last would
/// win), that names and their number keep within the limits, and that no offset reaches past the
/// file (sums of offsets that are near the end of the address space could wrap there).
fn check_names_and_ends(path: &Path, header: &[u8], n_data: usize) -> Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(header);
    let checked = deserializer.deserialize_map(HeaderCheck { n_data }).and_then(|()| deserializer.end());
    checked.map_err(|e| Error::malformed(path, format!("its header is not as it should be: {e}")))
}

struct HeaderCheck {
    n_data: usize,
}

/// A tensor's entry, as far as it is checked here.
#[derive(serde::Deserialize)]
struct Offsets {
    data_offsets: (u64, u64),
}

impl<'de> Visitor<'de> for HeaderCheck {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                let (start, end) = map.next_value::<Offsets>()?.data_offsets;
                if end > self.n_data as u64 {
                    return Err(A::Error::custom(format_args!(
                        "tensor {} lies at bytes {start} to {end} of the data, and the file has {} of them; it was \
                         cut short, or is hostile. Download it again",
                        name.escape_debug(),
                        self.n_data
                    )));
                }
            }
            if name.len() > limits::MAX_TENSOR_NAME_BYTES || names.len() == limits::MAX_TENSORS {
                return Err(A::Error::custom(format_args!(
                    "more than {} tensors, or a name of more than {} bytes",
                    limits::MAX_TENSORS,
                    limits::MAX_TENSOR_NAME_BYTES
                )));
            }
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format_args!("{} comes twice", twice.escape_debug())));
            }
        }
        Ok(())
    }
}

/// Puts the format reader's errors into sentences.
fn explain(path: &Path, e: &SafeTensorError) -> Error {
    let what = match e {
        SafeTensorError::InvalidOffset(name) => {
            format!("the data of tensor {} overlap another's or leave a gap before it", name.escape_debug())
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's shape does not fit the bytes it is given".into(),
        SafeTensorError::ValidationOverflow => "a tensor's shape is more than any machine can address".into(),
        SafeTensorError::MetadataIncompleteBuffer => {
            "the tensors do not fill the file: it was cut short or added to. Download it again".into()
        }
        other => other.to_string(),
    };
    Error::malformed(path, what)
}
