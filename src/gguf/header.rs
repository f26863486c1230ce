//! Walks a header once: everything in it is checked here, and nothing of it is trusted before.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::cursor::Cursor;
use super::ggml_type::{Block, GgmlType};
use super::metadata::{Metadata, Stored, StoredArray, decode_scalar};
use super::reader::TensorInfo;
use super::value::ValueType;
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC};
use crate::error::{Error, Result};
use crate::file_kind;
use crate::limits;
use crate::mapped_file::MappedFile;

/// A header whose every field was checked.
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) alignment: usize,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<TensorInfo>,
    /// The bytes that describe the tensors.
    pub(super) descriptions: Range<usize>,
}

/// A tensor description: where its data start is only known once the header's end is.
struct Description {
    name: String,
    shape: Vec<usize>,
    ty: GgmlType,
    /// From the start of the data section.
    offset: u64,
    /// `None` for a type whose blocks are not known.
    n_bytes: Option<usize>,
}

/// The fewest bytes of a metadata pair: a key of one byte, a type, a value of one byte.
const LEAST_PAIR_BYTES: usize = 8 + 1 + 4 + 1;

/// The fewest bytes of a tensor description: a name of one byte, no dimension, type and offset.
const LEAST_TENSOR_BYTES: usize = 8 + 1 + 4 + 4 + 8;

/// Reads and checks the whole header of `file`.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Unsupported`] or [`Error::Limit`], as the file deserves.
pub(super) fn read(file: &Arc<MappedFile>) -> Result<Header> {
    let path = file.path();
    let bytes = file.bytes();
    if !bytes.starts_with(&MAGIC) {
        return Err(not_gguf(path, bytes));
    }
    let mut cursor = Cursor::new(path, bytes, MAGIC.len());
    let version = read_version(&mut cursor)?;
    let n_tensors =
        cursor.count(limits::MAX_TENSORS, LEAST_TENSOR_BYTES, format_args!("the number of tensors"))?;
    let n_pairs = cursor.count(
        limits::MAX_METADATA_PAIRS,
        LEAST_PAIR_BYTES,
        format_args!("the number of metadata pairs"),
    )?;
    let pairs = (0..n_pairs).map(|i| read_pair(&mut cursor, i)).collect::<Result<Vec<_>>>()?;
    let metadata = Metadata::new(Arc::clone(file), pairs)?;
    let alignment = read_alignment(&metadata)?;
    let start = cursor.position();
    let found = read_descriptions(&mut cursor, n_tensors, alignment)?;
    let descriptions = start..cursor.position();
    let tensors = place(path, bytes.len(), descriptions.end.next_multiple_of(alignment), found)?;
    Ok(Header { version, alignment, metadata, tensors, descriptions })
}

/// The error for a file that does not start like a GGUF file.
fn not_gguf(path: &Path, bytes: &[u8]) -> Error {
    let head = &bytes[..bytes.len().min(MAGIC.len())];
    if !head.is_empty() && MAGIC.starts_with(head) {
        return Error::malformed(path, "it ends within its first four bytes. Download or convert it again");
    }
    Error::malformed(
        path,
        match file_kind::recognise(bytes) {
            Some(kind) => format!("not a GGUF file but {kind}"),
            None => format!("not a GGUF file: it starts with the bytes {head:02x?}"),
        },
    )
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let version = cursor.u32(format_args!("the version"))?;
    let unsupported = |what: String| Err(Error::unsupported(cursor.path(), what));
    match version {
        2 | 3 => Ok(version),
        1 => unsupported(
            "GGUF version 1, which was in use for a few weeks in 2023: convert the model again".into(),
        ),
        _ if (1..=0xffff).contains(&version.swap_bytes()) => unsupported(format!(
            "a big-endian GGUF file (version {}): convert the model again for little-endian machines",
            version.swap_bytes()
        )),
        _ => unsupported(format!("GGUF version {version}: this program reads versions 2 and 3")),
    }
}

fn read_pair(cursor: &mut Cursor<'_>, i: usize) -> Result<(String, Stored)> {
    let key = cursor.name(limits::MAX_KEY_BYTES, format_args!("metadata key {i}"))?;
    if key.is_empty() {
        return Err(Error::malformed(cursor.path(), format!("metadata key {i} is empty")));
    }
    let key = String::from_utf8_lossy(key).into_owned();
    let ty = read_value_type(cursor, &key)?;
    let value = read_value(cursor, &key, ty)?;
    Ok((key, value))
}

fn read_value_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType> {
    let at = cursor.position();
    let id = cursor.u32(format_args!("the type of metadata key {}", key.escape_debug()))?;
    ValueType::from_id(id).ok_or_else(|| {
        let what =
            format!("metadata key {} has type {id} at offset {at}; types are 0 to 12", key.escape_debug());
        Error::malformed(cursor.path(), what)
    })
}

fn read_value(cursor: &mut Cursor<'_>, key: &str, ty: ValueType) -> Result<Stored> {
    match ty {
        ValueType::String => {
            let what = format_args!("the value of metadata key {}", key.escape_debug());
            cursor.string(limits::MAX_STRING_BYTES, what).map(Stored::String)
        }
        ValueType::Array => read_array(cursor, key, 1).map(Stored::Array),
        _ => {
            let n = ty.fixed_bytes().expect("all types but strings and arrays have a fixed width");
            let bytes = cursor.take(n, format_args!("the value of metadata key {}", key.escape_debug()))?;
            check_bools(cursor.path(), key, ty, bytes)?;
            Ok(Stored::Scalar(decode_scalar(ty, bytes)))
        }
    }
}

/// Walks an array, and those inside it: `depth` counts this one.
fn read_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<StoredArray> {
    let shown = key.escape_debug();
    if depth > limits::MAX_ARRAY_DEPTH {
        return Err(Error::limit(format!(
            "{}: metadata key {shown} nests arrays more than {} deep",
            cursor.path().display(),
            limits::MAX_ARRAY_DEPTH
        )));
    }
    let element = read_value_type(cursor, key)?;
    let what = format_args!("the length of the array of metadata key {shown}");
    let len = cursor.count(limits::MAX_ARRAY_LEN, element.least_bytes(), what)?;
    let start = cursor.position();
    match element {
        ValueType::String => {
            for i in 0..len {
                let what = format_args!("element {i} of metadata key {shown}");
                cursor.string(limits::MAX_STRING_BYTES, what)?;
            }
        }
        ValueType::Array => {
            for _ in 0..len {
                read_array(cursor, key, depth + 1)?;
            }
        }
        _ => {
            // `count` saw that this many elements fit in the file.
            let n = len * element.least_bytes();
            let bytes = cursor.take(n, format_args!("the array of metadata key {shown}"))?;
            check_bools(cursor.path(), key, element, bytes)?;
        }
    }
    Ok(StoredArray { element, len, bytes: start..cursor.position() })
}

fn check_bools(path: &Path, key: &str, ty: ValueType, bytes: &[u8]) -> Result<()> {
    match bytes.iter().find(|&&byte| ty == ValueType::Bool && byte > 1) {
        None => Ok(()),
        Some(byte) => Err(Error::malformed(
            path,
            format!("metadata key {} holds the truth value {byte}; 0 or 1 is needed", key.escape_debug()),
        )),
    }
}

fn read_alignment(metadata: &Metadata) -> Result<usize> {
    let Some(stated) = metadata.u64(ALIGNMENT_KEY)? else { return Ok(DEFAULT_ALIGNMENT) };
    // The format asks for multiples of 8, some writers use 1, and others read powers of two only:
    // nothing here depends on it.
    let fits = usize::try_from(stated).ok().filter(|n| (1..=limits::MAX_ALIGNMENT).contains(n));
    fits.ok_or_else(|| {
        let most = limits::MAX_ALIGNMENT;
        let what = format!("metadata key {ALIGNMENT_KEY} is {stated}; it must be from 1 to {most}");
        Error::malformed(metadata.path(), what)
    })
}

fn read_descriptions(
    cursor: &mut Cursor<'_>,
    n_tensors: usize,
    alignment: usize,
) -> Result<Vec<Description>> {
    let mut names = HashSet::with_capacity(n_tensors);
    let mut descriptions = Vec::with_capacity(n_tensors);
    for i in 0..n_tensors {
        let bytes = cursor.name(limits::MAX_TENSOR_NAME_BYTES, format_args!("the name of tensor {i}"))?;
        let name = String::from_utf8_lossy(bytes);
        if bytes.is_empty() || !names.insert(bytes) {
            let fault = if bytes.is_empty() { "has no name" } else { "has the name of another" };
            let what = format!("tensor {i} ({}) {fault}", name.escape_debug());
            return Err(Error::malformed(cursor.path(), what));
        }
        descriptions.push(read_description(cursor, &name, alignment)?);
    }
    Ok(descriptions)
}

fn read_description(cursor: &mut Cursor<'_>, name: &str, alignment: usize) -> Result<Description> {
    let path = cursor.path();
    let shown = name.escape_debug();
    let malformed = |what: String| Error::malformed(path, format!("tensor {shown}: {what}"));
    let n_dims = cursor.u32(format_args!("the number of dimensions of tensor {shown}"))?;
    let n_dims = usize::try_from(n_dims)
        .ok()
        .filter(|&n| n <= limits::MAX_DIMS)
        .ok_or_else(|| malformed(format!("{n_dims} dimensions; 0 to {} are allowed", limits::MAX_DIMS)))?;
    let mut dims = Vec::with_capacity(n_dims);
    for d in 0..n_dims {
        dims.push(cursor.u64(format_args!("dimension {d} of tensor {shown}"))?);
    }
    let id = cursor.u32(format_args!("the type of tensor {shown}"))?;
    let offset = cursor.u64(format_args!("the offset of tensor {shown}"))?;
    let ty = GgmlType::from_id(id);
    let too_large = || malformed(format!("its dimensions {dims:?} are more than any machine can address"));
    let shape: Vec<usize> =
        dims.iter().rev().map(|&n| usize::try_from(n).map_err(|_| too_large())).collect::<Result<_>>()?;
    // A scalar is a row of one element.
    let n_in = shape.last().copied().unwrap_or(1);
    if let Some(block) = ty.block().filter(|block| !n_in.is_multiple_of(block.len)) {
        let what = format!("its rows hold {n_in} elements and {ty} needs a multiple of {}", block.len);
        return Err(malformed(what));
    }
    if !offset.is_multiple_of(alignment as u64) {
        return Err(malformed(format!("its offset {offset} is not a multiple of the alignment {alignment}")));
    }
    let n_elements = count_elements(&shape).ok_or_else(too_large)?;
    let n_bytes = match ty.block() {
        Some(block) => Some(tensor_bytes(n_elements, block).ok_or_else(too_large)?),
        None => None,
    };
    Ok(Description { name: name.to_owned(), shape, ty, offset, n_bytes })
}

/// Elements of a tensor; `None` on overflow, also where a zero among the dimensions would hide one.
fn count_elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim.max(1)))?;
    Some(shape.iter().product())
}

/// Bytes of a tensor whose rows are whole blocks; `None` on overflow.
fn tensor_bytes(n_elements: usize, block: Block) -> Option<usize> {
    (n_elements / block.len).checked_mul(block.bytes)
}

/// Finds the tensors' places in the file, all inside it and none over another.
fn place(path: &Path, n_file: usize, data_start: usize, found: Vec<Description>) -> Result<Vec<TensorInfo>> {
    let start_of = |offset: u64| (data_start as u64).checked_add(offset);
    let mut starts: Vec<u64> = found.iter().filter_map(|tensor| start_of(tensor.offset)).collect();
    starts.sort_unstable();
    // What lies between a tensor and the next one, or the end of the file.
    let room_at = |start: u64| {
        let next = starts.get(starts.partition_point(|&other| other <= start));
        let end = next.map_or(n_file as u64, |&next| next.min(n_file as u64));
        usize::try_from(end.saturating_sub(start)).expect("no more than the file, which is mapped")
    };
    let mut tensors = Vec::with_capacity(found.len());
    for Description { name, shape, ty, offset, n_bytes: stated } in found {
        let start = start_of(offset);
        let n_bytes = stated.or(start.map(room_at)).unwrap_or(0);
        let end = start.and_then(|start| start.checked_add(n_bytes as u64));
        let (Some(offset), Some(end)) = (start, end) else {
            return Err(Error::malformed(
                path,
                format!("tensor {}: its offset overflows", name.escape_debug()),
            ));
        };
        if end > n_file as u64 && (n_bytes > 0 || stated.is_none()) {
            let why = file_kind::joining(path);
            let why =
                why.as_deref().unwrap_or("it was cut short, or is hostile. Download or convert it again");
            return Err(Error::malformed(
                path,
                format!(
                    "tensor {} lies at bytes {offset} to {end}, and the file has {n_file}: {why}",
                    name.escape_debug()
                ),
            ));
        }
        tensors.push(TensorInfo { name, shape, ty, offset, n_bytes });
    }
    check_overlaps(path, &tensors)?;
    Ok(tensors)
}

fn check_overlaps(path: &Path, tensors: &[TensorInfo]) -> Result<()> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().filter(|tensor| tensor.n_bytes > 0).collect();
    by_offset.sort_by_key(|tensor| tensor.offset);
    for pair in by_offset.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if first.offset + first.n_bytes as u64 > second.offset {
            return Err(Error::malformed(
                path,
                format!(
                    "tensors {} and {} overlap: {} bytes at {}, and {} bytes at {}",
                    first.name.escape_debug(),
                    second.name.escape_debug(),
                    first.n_bytes,
                    first.offset,
                    second.n_bytes,
                    second.offset
                ),
            ));
        }
    }
    Ok(())
}
