//! One safetensors file: opened, its header checked, its tensors found by name and read at their offsets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorInfo};
use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result};
use crate::file_kind;
use crate::limits;
use crate::read_file::ReadFile;

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
    /// Bytes of its elements, which are little-endian, row by row: as many as the shape says.
    pub n_bytes: u64,
    /// Where they begin in the file.
    offset: u64,
    file: &'a ReadFile,
}

impl<'a> TensorView<'a> {
    /// The file it lies in.
    pub fn path(&self) -> &'a Path {
        self.file.path()
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
        self.file.read_at(self.offset + offset, out)
    }
}

/// A tensor of bytes, whose meaning its family knows.
#[derive(Clone, Copy, Debug)]
pub struct ByteTensor<'a> {
    /// Its dimensions, outermost first.
    pub shape: &'a [usize],
    offset: u64,
    n_bytes: u64,
    file: &'a ReadFile,
}

impl<'a> ByteTensor<'a> {
    /// The file it lies in.
    pub fn path(&self) -> &'a Path {
        self.file.path()
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
        self.file.read_at(self.offset + offset, out)
    }
}

/// An opened safetensors file.
#[derive(Debug)]
pub struct Shard {
    file: ReadFile,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Where its data begin in the file.
    offset: u64,
    n_bytes: u64,
}

/// Bytes of the header's length, which come first.
const LENGTH_BYTES: usize = 8;

impl Shard {
    /// Opens the file at `path` and checks its header.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, and as [`Self::from_file`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_file(ReadFile::open(path)?)
    }

    /// Checks the header of a file already opened: lengths, names, shapes against offsets, offsets
    /// without gaps or overlaps and inside the file.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it breaks the format's rules, [`Error::Limit`] if it is too large,
    /// [`Error::Unsupported`] for a file of another kind, [`Error::Io`] if it cannot be read.
    pub fn from_file(file: ReadFile) -> Result<Self> {
        let header = read_header(&file)?;
        let data_start = (LENGTH_BYTES + header.len()) as u64;
        let n_data = file.n_bytes() - data_start;
        check_names_and_ends(file.path(), &header, n_data)?;
        let metadata = parse(&header, n_data).map_err(|e| explain(file.path(), &e))?;
        let entries = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                let (offset, n_bytes) = (data_start + start as u64, (end - start) as u64);
                (name, Entry { dtype: info.dtype, shape: info.shape.clone(), offset, n_bytes })
            })
            .collect();
        Ok(Self { file, entries })
    }

    /// The file.
    pub fn file(&self) -> &ReadFile {
        &self.file
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
        let Entry { shape, offset, n_bytes, .. } = entry;
        Ok(Some(TensorView { dtype, shape, n_bytes: *n_bytes, offset: *offset, file: &self.file }))
    }

    /// The tensor of bytes of this name; `None` if it is of another type as well.
    pub fn bytes(&self, name: &str) -> Option<ByteTensor<'_>> {
        let Entry { shape, offset, n_bytes, .. } =
            self.entries.get(name).filter(|entry| entry.dtype == Dtype::U8)?;
        Some(ByteTensor { shape, offset: *offset, n_bytes: *n_bytes, file: &self.file })
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.file.n_bytes()
    }
}

/// Reads the JSON header, whose length is checked against the file and the limit.
fn read_header(file: &ReadFile) -> Result<Vec<u8>> {
    let path = file.path();
    // As much as tells one kind of file from another.
    let mut head = [0; 512];
    let head = &mut head[..file.n_bytes().min(512) as usize];
    file.read_at(0, head)?;
    let Some((length, rest)) = head.split_first_chunk::<LENGTH_BYTES>() else {
        let what = format!("the file has {} bytes, and safetensors begin with {LENGTH_BYTES}", head.len());
        return Err(Error::malformed(path, what));
    };
    if rest.first() != Some(&b'{') {
        let kind = match file_kind::recognise(head) {
            Some(kind) => format!("it is {kind}"),
            None => "byte 9 is not `{`".into(),
        };
        return Err(Error::unsupported(path, format!("not a safetensors file: {kind}")));
    }
    let (stated, n_rest) = (u64::from_le_bytes(*length), file.n_bytes() - LENGTH_BYTES as u64);
    if stated > n_rest {
        return Err(Error::malformed(
            path,
            format!(
                "the header should have {stated} bytes, but only {n_rest} follow its length: the file was cut short, or \
                 is not a safetensors file; download it again"
            ),
        ));
    }
    if stated > limits::MAX_SAFETENSORS_HEADER_BYTES as u64 {
        return Err(Error::limit(format!(
            "{}: the header has {stated} bytes; at most {} are read",
            path.display(),
            limits::MAX_SAFETENSORS_HEADER_BYTES
        )));
    }
    let mut header = vec![0; stated as usize];
    file.read_at(LENGTH_BYTES as u64, &mut header)?;
    Ok(header)
}

/// The tensors of a header, checked as the format's own reader does it, which would need the whole file in
/// memory: shapes against offsets, offsets without gaps or overlaps, all of the `n_data` bytes used.
fn parse(header: &[u8], n_data: u64) -> Result<Metadata, SafeTensorError> {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        _metadata: Option<HashMap<String, String>>,
        #[serde(flatten)]
        tensors: HashMap<String, TensorInfo>,
    }
    let header: Header =
        serde_json::from_slice(header).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    let mut tensors: Vec<_> = header.tensors.into_iter().collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let end = tensors.last().map_or(0, |(_, info)| info.data_offsets.1 as u64);
    let metadata = Metadata::new(None, tensors)?;
    if end == n_data { Ok(metadata) } else { Err(SafeTensorError::MetadataIncompleteBuffer) }
}

/// Checks what the format's own reader takes on trust: that no name comes twice (the last would
/// win), that names and their number keep within the limits, and that no offset reaches past the
/// file (sums of offsets that are near the end of the address space could wrap there).
fn check_names_and_ends(path: &Path, header: &[u8], n_data: u64) -> Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(header);
    let checked = deserializer.deserialize_map(HeaderCheck { n_data }).and_then(|()| deserializer.end());
    checked.map_err(|e| Error::malformed(path, format!("its header is not as it should be: {e}")))
}

struct HeaderCheck {
    n_data: u64,
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
                if end > self.n_data {
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
