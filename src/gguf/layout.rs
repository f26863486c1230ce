//! Plans a file: every offset is fixed before a byte is written.

use std::collections::HashSet;

use byteorder::{LittleEndian, WriteBytesExt};
use gguf_simd::BlockType;

use super::ggml_type::GgmlType;
use super::value::{CopiedValue, Value, ValueType};
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC};
use crate::error::{Error, Result};
use crate::limits;

/// The version of the format that is written.
const VERSION: u32 = 3;

/// Bytes of a tensor's name that other readers of GGUF have room for.
const MAX_WRITTEN_NAME_BYTES: usize = 63;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Its name, at most 63 bytes.
    pub name: String,
    /// 1 to 4 dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Its type, whose blocks are known; the last dimension must divide into them.
    pub ty: GgmlType,
}

/// A tensor with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedTensor {
    /// Its name.
    pub name: String,
    /// 1 to 4 dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Its type.
    pub ty: GgmlType,
    /// Offset of its data from the start of the file.
    pub offset: u64,
    /// Bytes of its data.
    pub n_bytes: u64,
}

/// A whole file but for its tensors' data.
#[derive(Clone, Debug)]
pub struct Layout {
    header: Vec<u8>,
    keys: Vec<String>,
    /// `[n_keys + 1]`: where each pair begins, and where the last ends.
    pair_offsets: Vec<usize>,
    tensors: Vec<PlacedTensor>,
    file_bytes: u64,
}

impl PlacedTensor {
    /// The type, if this program computes with it.
    pub fn block_type(&self) -> Option<BlockType> {
        self.ty.block_type()
    }
}

impl Layout {
    /// Places the tensors one behind the other, each at a multiple of `alignment`.
    ///
    /// An alignment other than the format's default of 32 is noted in `general.alignment`.
    ///
    /// # Errors
    /// [`Error::Usage`] for what no reader would take (names that are empty, too long or come twice,
    /// rows that do not divide into blocks, a bad alignment), [`Error::Limit`] for what ours would
    /// refuse as too large.
    pub fn new(
        mut metadata: Vec<(String, Value)>,
        tensors: Vec<PlannedTensor>,
        alignment: usize,
    ) -> Result<Self> {
        check_alignment(&mut metadata, alignment)?;
        check_metadata(&metadata)?;
        check_tensors(&tensors)?;
        let mut relative = 0_u64;
        let mut tensors = tensors
            .into_iter()
            .map(|tensor| {
                let placed = place(tensor, relative)?;
                relative = placed
                    .offset
                    .checked_add(placed.n_bytes)
                    .and_then(|end| end.checked_next_multiple_of(alignment as u64))
                    .ok_or_else(|| too_large(&placed.name))?;
                Ok(placed)
            })
            .collect::<Result<Vec<PlacedTensor>>>()?;
        let (header, pair_offsets) = write_header(&metadata, &tensors, alignment);
        let data_start = header.len() as u64;
        let file_bytes = data_start.checked_add(relative).ok_or_else(|| too_large("the last"))?;
        for tensor in &mut tensors {
            tensor.offset += data_start;
        }
        let keys = metadata.into_iter().map(|(key, _)| key).collect();
        Ok(Self { header, keys, pair_offsets, tensors, file_bytes })
    }

    /// Bytes of the whole file, the padding behind the last tensor included.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Everything before the first tensor's data.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The keys of the metadata, in order.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Where the pair of this key begins in the header, and its bytes with this value instead of its own.
    ///
    /// # Panics
    /// If there is no such key, or the value takes other bytes than the one that was planned.
    pub(super) fn replaced(&self, key: &str, value: Value) -> (u64, Vec<u8>) {
        let i = self.keys.iter().position(|known| known == key).expect("a planned key");
        let (start, pair) = (self.pair_offsets[i], encode_pairs(&[(key.to_owned(), value)]));
        let planned = self.pair_offsets[i + 1] - start;
        assert_eq!(planned, pair.len(), "the value of {key} takes other bytes than planned");
        (start as u64, pair)
    }

    /// The tensors, in the order they were given.
    pub fn tensors(&self) -> &[PlacedTensor] {
        &self.tensors
    }
}

fn too_large(name: &str) -> Error {
    Error::limit(format!(
        "tensor {}: the file would be larger than any machine can address",
        name.escape_debug()
    ))
}

fn check_alignment(metadata: &mut Vec<(String, Value)>, alignment: usize) -> Result<()> {
    let stated = u32::try_from(alignment)
        .ok()
        .filter(|_| alignment.is_power_of_two() && (8..=limits::MAX_ALIGNMENT).contains(&alignment));
    let Some(stated) = stated else {
        let what =
            format!("alignment {alignment}: a power of two from 8 to {} is needed", limits::MAX_ALIGNMENT);
        return Err(Error::usage(what));
    };
    match metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) {
        Some((_, Value::U32(noted))) if *noted == stated => {}
        Some((_, other)) => {
            let what =
                format!("{ALIGNMENT_KEY} is {other:?} and the tensors are aligned to {alignment} bytes");
            return Err(Error::usage(what));
        }
        None if alignment == DEFAULT_ALIGNMENT => {}
        None => metadata.push((ALIGNMENT_KEY.to_owned(), Value::U32(stated))),
    }
    Ok(())
}

/// Checks that our reader, and those of others, would take these pairs.
///
/// # Errors
/// [`Error::Usage`] for keys that are empty or come twice, [`Error::Limit`] for what is too large.
pub(super) fn check_metadata(metadata: &[(String, Value)]) -> Result<()> {
    if metadata.len() > limits::MAX_METADATA_PAIRS {
        let what = format!("{} metadata pairs; the limit is {}", metadata.len(), limits::MAX_METADATA_PAIRS);
        return Err(Error::limit(what));
    }
    let mut keys = HashSet::with_capacity(metadata.len());
    for (key, value) in metadata {
        let shown = key.escape_debug();
        if key.is_empty() || !keys.insert(key) {
            return Err(Error::usage(format!("metadata key \"{shown}\" is empty or comes twice")));
        }
        if key.len() > limits::MAX_KEY_BYTES {
            let what = format!("metadata key {shown} is longer than {} bytes", limits::MAX_KEY_BYTES);
            return Err(Error::limit(what));
        }
        let (n_elements, longest) = match value {
            Value::String(text) => (1, text.len()),
            Value::Strings(texts) => (texts.len(), texts.iter().map(String::len).max().unwrap_or(0)),
            Value::U8s(xs) => (xs.len(), 0),
            Value::U32s(xs) => (xs.len(), 0),
            Value::U64s(xs) => (xs.len(), 0),
            Value::I32s(xs) => (xs.len(), 0),
            Value::F32s(xs) => (xs.len(), 0),
            Value::Bools(xs) => (xs.len(), 0),
            _ => (1, 0),
        };
        if n_elements > limits::MAX_ARRAY_LEN || longest > limits::MAX_STRING_BYTES {
            let what = format!(
                "metadata key {shown} has {n_elements} elements of up to {longest} bytes; the limits are {} and {}",
                limits::MAX_ARRAY_LEN,
                limits::MAX_STRING_BYTES
            );
            return Err(Error::limit(what));
        }
    }
    Ok(())
}

fn check_tensors(tensors: &[PlannedTensor]) -> Result<()> {
    if tensors.len() > limits::MAX_TENSORS {
        return Err(Error::limit(format!("{} tensors; the limit is {}", tensors.len(), limits::MAX_TENSORS)));
    }
    let mut names = HashSet::with_capacity(tensors.len());
    for tensor in tensors {
        let shown = tensor.name.escape_debug();
        if tensor.name.is_empty() || !names.insert(tensor.name.as_str()) {
            return Err(Error::usage(format!("tensor name \"{shown}\" is empty or comes twice")));
        }
        if tensor.name.len() > MAX_WRITTEN_NAME_BYTES {
            let what =
                format!("tensor {shown}: GGUF readers have room for names of {MAX_WRITTEN_NAME_BYTES} bytes");
            return Err(Error::usage(what));
        }
        if !(1..=limits::MAX_DIMS).contains(&tensor.shape.len()) {
            let n_dims = tensor.shape.len();
            let what = format!("tensor {shown}: {n_dims} dimensions; GGUF allows 1 to {}", limits::MAX_DIMS);
            return Err(Error::usage(what));
        }
    }
    Ok(())
}

/// Places a tensor at `offset` from the start of the data section.
pub(super) fn place(tensor: PlannedTensor, offset: u64) -> Result<PlacedTensor> {
    let PlannedTensor { name, shape, ty } = tensor;
    let n_in = shape[shape.len() - 1];
    let Some(block) = ty.block() else {
        let what = format!("tensor {}: the blocks of {ty} are not known", name.escape_debug());
        return Err(Error::usage(what));
    };
    if !n_in.is_multiple_of(block.len) {
        return Err(Error::usage(format!(
            "tensor {}: its rows hold {n_in} elements and {ty} needs a multiple of {}",
            name.escape_debug(),
            block.len
        )));
    }
    let n_bytes = (n_in / block.len)
        .checked_mul(block.bytes)
        .and_then(|n| shape[..shape.len() - 1].iter().try_fold(n, |n, &dim| n.checked_mul(dim)))
        .ok_or_else(|| too_large(&name))?;
    Ok(PlacedTensor { name, shape, ty, offset, n_bytes: n_bytes as u64 })
}

/// The bytes of metadata pairs in a header.
pub(super) fn encode_pairs(metadata: &[(String, Value)]) -> Vec<u8> {
    let mut header = HeaderWriter(Vec::new());
    header.pairs(metadata);
    header.0
}

/// The bytes that a tensor takes in a header.
pub(super) fn described_bytes(tensor: &PlannedTensor) -> usize {
    // The length of the name, the name, dimensions, type and offset.
    8 + tensor.name.len() + 4 + 8 * tensor.shape.len() + 4 + 8
}

/// The bytes of a header without pairs and tensors, before its padding.
pub(super) const FIXED_HEADER_BYTES: usize = 4 + 4 + 8 + 8;

/// The bytes before the first tensor's data. The tensors' offsets are relative here, as in the file.
/// Also where each pair begins, and where the last ends.
fn write_header(
    metadata: &[(String, Value)],
    tensors: &[PlacedTensor],
    alignment: usize,
) -> (Vec<u8>, Vec<usize>) {
    let mut header = HeaderWriter(Vec::new());
    header.0.extend_from_slice(&MAGIC);
    header.u32(VERSION);
    header.len(tensors.len());
    header.len(metadata.len());
    let pair_offsets = header.pairs(metadata);
    for tensor in tensors {
        header.string(&tensor.name);
        header.u32(u32::try_from(tensor.shape.len()).expect("check_tensors allows 4 dimensions"));
        for &dim in tensor.shape.iter().rev() {
            header.len(dim);
        }
        header.u32(tensor.ty.id());
        header.u64(tensor.offset);
    }
    let mut header = header.0;
    header.resize(header.len().next_multiple_of(alignment), 0);
    (header, pair_offsets)
}

/// Appends the format's fields to a header; writing to memory cannot fail.
struct HeaderWriter(Vec<u8>);

const IN_MEMORY: &str = "writing to a Vec cannot fail";

impl HeaderWriter {
    /// Where each pair begins, and where the last ends.
    fn pairs(&mut self, metadata: &[(String, Value)]) -> Vec<usize> {
        let mut pair = |(key, value): &(String, Value)| {
            let start = self.0.len();
            self.string(key);
            self.value(value);
            start
        };
        let mut offsets: Vec<usize> = metadata.iter().map(&mut pair).collect();
        offsets.push(self.0.len());
        offsets
    }

    fn u32(&mut self, x: u32) {
        self.0.write_u32::<LittleEndian>(x).expect(IN_MEMORY);
    }

    fn u64(&mut self, x: u64) {
        self.0.write_u64::<LittleEndian>(x).expect(IN_MEMORY);
    }

    fn len(&mut self, n: usize) {
        self.u64(n as u64);
    }

    fn string(&mut self, text: &str) {
        self.len(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn array<T>(&mut self, element: ValueType, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.u32(ValueType::Array.id());
        self.u32(element.id());
        self.len(items.len());
        for item in items {
            write(self, item);
        }
    }

    /// A value whose `bytes` follow its type.
    fn scalar(&mut self, ty: ValueType, bytes: &[u8]) {
        self.u32(ty.id());
        self.0.extend_from_slice(bytes);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::U8(x) => self.scalar(ValueType::U8, &x.to_le_bytes()),
            Value::I8(x) => self.scalar(ValueType::I8, &x.to_le_bytes()),
            Value::U16(x) => self.scalar(ValueType::U16, &x.to_le_bytes()),
            Value::I16(x) => self.scalar(ValueType::I16, &x.to_le_bytes()),
            Value::U32(x) => self.scalar(ValueType::U32, &x.to_le_bytes()),
            Value::I32(x) => self.scalar(ValueType::I32, &x.to_le_bytes()),
            Value::U64(x) => self.scalar(ValueType::U64, &x.to_le_bytes()),
            Value::I64(x) => self.scalar(ValueType::I64, &x.to_le_bytes()),
            Value::F32(x) => self.scalar(ValueType::F32, &x.to_le_bytes()),
            Value::F64(x) => self.scalar(ValueType::F64, &x.to_le_bytes()),
            Value::Bool(x) => self.scalar(ValueType::Bool, &[u8::from(*x)]),
            Value::String(text) => {
                self.u32(ValueType::String.id());
                self.string(text);
            }
            Value::Strings(items) => self.array(ValueType::String, items, |w, text| w.string(text)),
            Value::U8s(items) => self.array(ValueType::U8, items, |w, &x| w.0.push(x)),
            Value::U32s(items) => self.array(ValueType::U32, items, |w, &x| w.u32(x)),
            Value::U64s(items) => self.array(ValueType::U64, items, |w, x| w.0.extend(x.to_le_bytes())),
            Value::I32s(items) => self.array(ValueType::I32, items, |w, x| w.0.extend(x.to_le_bytes())),
            Value::F32s(items) => self.array(ValueType::F32, items, |w, x| w.0.extend(x.to_le_bytes())),
            Value::Bools(items) => self.array(ValueType::Bool, items, |w, x| w.0.push(u8::from(*x))),
            Value::Copied(CopiedValue { ty, bytes }) => self.scalar(*ty, bytes),
        }
    }
}
