//! The header of a safetensors file: read, and checked where the format's own reader takes it on trust.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorInfo};
use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use super::tensor::{Entry, SourceType};
use crate::error::{Error, Result};
use crate::file_kind;
use crate::limits;
use crate::read_file::ReadFile;

/// Bytes of the header's length, which come first.
const LENGTH_BYTES: usize = 8;

/// The tensors of a file, after checks of lengths, names, shapes against offsets, offsets without gaps or
/// overlaps and inside the file.
///
/// # Errors
/// [`Error::Malformed`] if it breaks the format's rules, [`Error::Limit`] if it is too large,
/// [`Error::Unsupported`] for a file of another kind, [`Error::Io`] if it cannot be read.
pub(super) fn entries(file: &ReadFile) -> Result<BTreeMap<String, Entry>> {
    let header = read_header(file)?;
    let data_start = (LENGTH_BYTES + header.len()) as u64;
    let n_data = file.n_bytes() - data_start;
    check_names_and_ends(file.path(), &header, n_data)?;
    let metadata = parse(&header, n_data).map_err(|e| explain(file.path(), &e))?;
    let entry = |info: &TensorInfo| {
        let (start, end) = info.data_offsets;
        let (offset, n_bytes) = (data_start + start as u64, (end - start) as u64);
        Entry { dtype: source_type(info), shape: info.shape.clone(), offset, n_bytes, strides: None }
    };
    Ok(metadata.tensors().into_iter().map(|(name, info)| (name, entry(info))).collect())
}

/// The type of elements, or why they cannot be read.
fn source_type(info: &TensorInfo) -> Result<SourceType, String> {
    match info.dtype {
        Dtype::F64 => Ok(SourceType::F64),
        Dtype::F32 => Ok(SourceType::F32),
        Dtype::F16 => Ok(SourceType::F16),
        Dtype::BF16 => Ok(SourceType::BF16),
        Dtype::F8_E4M3 => Ok(SourceType::F8_E4M3),
        Dtype::F8_E5M2 => Ok(SourceType::F8_E5M2),
        Dtype::F8_E4M3FNUZ => Ok(SourceType::F8_E4M3FNUZ),
        Dtype::F8_E5M2FNUZ => Ok(SourceType::F8_E5M2FNUZ),
        Dtype::F8_E8M0 => Ok(SourceType::F8_E8M0),
        Dtype::I64 => Ok(SourceType::I64),
        Dtype::U64 => Ok(SourceType::U64),
        Dtype::I32 => Ok(SourceType::I32),
        Dtype::U32 => Ok(SourceType::U32),
        Dtype::I16 => Ok(SourceType::I16),
        Dtype::U16 => Ok(SourceType::U16),
        Dtype::I8 => Ok(SourceType::I8),
        Dtype::U8 => Ok(SourceType::U8),
        Dtype::BOOL => Ok(SourceType::Bool),
        Dtype::F4 if info.shape.last().is_some_and(|n| n % 2 == 1) => {
            Err("holds rows of an odd number of F4 elements, of which two fill a byte".into())
        }
        Dtype::F4 => Ok(SourceType::F4),
        // Six bits: the format does not say how they lie in bytes. Complex numbers: no model has any.
        other => Err(format!(
            "holds {other:?} elements, which cannot be read; floats of 64, 32, 16, 8 and 4 bits, integers and truth \
             values can: save the model in one of these, or get another version of it"
        )),
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
    checked.map_err(|e| {
        let text = e.to_string();
        // What is wrong with a tensor is told by its name; the place in the one line of JSON tells nothing.
        let place = format!(" at line {} column {}", e.line(), e.column());
        let what = if e.is_data() { text.strip_suffix(&place).unwrap_or(&text) } else { &text };
        Error::malformed(path, format!("its header is not as it should be: {what}"))
    })
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
