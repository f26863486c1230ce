//! What the tests against hostile files share: builders that write any bytes, right or wrong, and
//! the walk that touches everything an opened file offers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::counting::allocated_here;
use crate::random::Random;
use gguf_kit::Result;
use gguf_kit::checkpoint::Shard;
use gguf_kit::gguf::GgufFile;
use gguf_kit::mapped_file::MappedFile;
use gguf_kit::read_file::ReadFile;

/// Bytes that one small file may make a reader allocate, all allocations added up: what it does with them
/// takes time in proportion.
const MAX_ALLOCATED: u64 = 1 << 20;

/// Numbers of value types in a GGUF header.
pub(crate) const U32: u32 = 4;
pub(crate) const F32: u32 = 6;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;
pub(crate) const U64: u32 = 10;

/// Writes GGUF headers field by field, checking nothing.
#[derive(Clone, Default)]
pub(crate) struct GgufBytes(pub(crate) Vec<u8>);

impl GgufBytes {
    /// Magic, version 3 and the two counts.
    pub(crate) fn new(n_tensors: u64, n_pairs: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(n_tensors).u64(n_pairs)
    }

    pub(crate) fn u32(mut self, x: u32) -> Self {
        self.0.extend(x.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, x: u64) -> Self {
        self.0.extend(x.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// A length and the bytes.
    pub(crate) fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.u64(bytes.len() as u64).bytes(bytes)
    }

    /// The beginning of a pair; the value is to follow.
    pub(crate) fn key(self, key: &str, value_type: u32) -> Self {
        self.string(key).u32(value_type)
    }

    /// The beginning of a pair with an array; the elements are to follow.
    pub(crate) fn array(self, key: &str, element_type: u32, len: u64) -> Self {
        self.key(key, ARRAY).u32(element_type).u64(len)
    }

    /// A tensor description; dimensions in the file's order, innermost first.
    pub(crate) fn tensor(self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Self {
        let described = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(described, |bytes, &dim| bytes.u64(dim)).u32(ty).u64(offset)
    }

    /// Zeros up to a multiple of `alignment`, then `n` bytes of data.
    pub(crate) fn data(mut self, alignment: usize, n: usize) -> Self {
        let start = self.0.len().next_multiple_of(alignment);
        self.0.resize(start, 0);
        self.0.resize(start + n, 0xa5);
        self
    }

    /// Writes it to the file `name` in `folder`.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, &self.0).expect("written");
        path
    }

    pub(crate) fn open(self) -> Result<GgufFile> {
        open_gguf(self.0)
    }

    /// The message of the error that opening it must end in.
    pub(crate) fn refusal(self) -> String {
        match self.open() {
            Ok(file) => panic!("opened: {:?}", file.tensors()),
            Err(e) => e.to_string(),
        }
    }
}

pub(crate) fn open_gguf(bytes: Vec<u8>) -> Result<GgufFile> {
    GgufFile::from_mapped(Arc::new(MappedFile::from_bytes(Path::new("test.gguf"), bytes)))
}

pub(crate) fn open_shard(bytes: Vec<u8>) -> Result<Shard> {
    Shard::from_file(ReadFile::from_bytes(Path::new("test.safetensors"), bytes))
}

/// The bytes of a safetensors file with this header and `n_data` bytes of data.
pub(crate) fn safetensors(header: &str, n_data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + n_data, 0xa5);
    bytes
}

/// Asks an opened GGUF file for everything in it, in every way: nothing may panic.
pub(crate) fn touch_gguf(file: &GgufFile) {
    let metadata = file.metadata();
    for key in metadata.keys() {
        let _ = (metadata.string(key), metadata.u32(key), metadata.u64(key), metadata.count(key));
        let _ = (metadata.f32(key), metadata.bool(key), metadata.array_len(key));
        let _ = metadata.strings(key).map(|strings| strings.map(Iterator::count));
        let _ = (
            metadata.string_bytes(key),
            metadata.byte_strings(key).map(|strings| strings.map(Iterator::count)),
        );
        let _ = (metadata.f32s(key), metadata.i32s(key));
        let _ = (metadata.display(key), metadata.to_json(key));
    }
    for tensor in file.tensors() {
        assert_eq!(file.bytes(tensor).len(), tensor.n_bytes);
        if let Some(block) = tensor.ty.block() {
            assert_eq!(tensor.n_elements() / block.len * block.bytes, tensor.n_bytes);
        }
    }
}

/// Asks an opened shard for every tensor.
pub(crate) fn touch_shard(shard: &Shard) {
    for name in shard.tensor_names() {
        if let Ok(tensor) = shard.tensor(name) {
            let tensor = tensor.expect("a listed tensor is there");
            let n_elements: usize = tensor.shape.iter().product();
            let mut bytes = vec![0; tensor.dtype.bytes_of(n_elements)];
            assert_eq!(tensor.n_bytes, bytes.len() as u64);
            tensor.read_at(0, &mut bytes).expect("its bytes are in the file");
        }
    }
}

/// Calls `try_one` with the files that differ from `sound` in one byte of its first `n_header`, with every
/// file that has an extreme number written over 8 bytes of them, and with some that were damaged in several
/// places. Fails if one makes its reader work too much.
pub(crate) fn for_each_mutation(sound: &[u8], n_header: usize, effort: Effort, try_one: impl Fn(Vec<u8>)) {
    let bounded = |bytes: Vec<u8>| {
        let before = allocated_here();
        try_one(bytes);
        let n_bytes = allocated_here() - before;
        assert!(n_bytes < MAX_ALLOCATED, "a mutated file made its reader allocate {n_bytes} bytes");
    };
    for at in 0..n_header {
        for &change in effort.changes {
            let mut bytes = sound.to_vec();
            bytes[at] ^= change;
            bounded(bytes);
        }
    }
    let extremes = [0, 1, 1 << 31, 1 << 32, 1 << 61, 1 << 62, 1 << 63, u64::MAX - 31, u64::MAX];
    for at in 0..n_header.saturating_sub(8) {
        for extreme in extremes {
            let mut bytes = sound.to_vec();
            bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(extreme));
            bounded(bytes);
        }
    }
    let mut random = Random::new(0xbad_f11e);
    for _ in 0..effort.n_damaged {
        let mut bytes = sound.to_vec();
        for _ in 0..=random.below(4) {
            damage(&mut bytes, n_header, &mut random);
        }
        bounded(bytes);
    }
}

/// How many mutations are tried.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// What single bytes are changed by (exclusive or).
    changes: &'static [u8],
    /// Files damaged in several places.
    n_damaged: usize,
}

impl Effort {
    /// Every change of a byte, for what is read in no time.
    pub(crate) const FULL: Self = Self { changes: &ALL_CHANGES, n_damaged: 50_000 };

    /// Every change of a bit.
    pub(crate) const SMALL: Self = Self { changes: &[1, 2, 4, 8, 16, 32, 64, 128], n_damaged: 500 };
}

const ALL_CHANGES: [u8; 255] = {
    let mut changes = [0; 255];
    let mut i = 0;
    while i < 255 {
        changes[i] = i as u8 + 1;
        i += 1;
    }
    changes
};

/// Changes, removes, repeats or moves a few bytes of the header.
pub(crate) fn damage(bytes: &mut Vec<u8>, n_header: usize, random: &mut Random) {
    let at = random.below(n_header.min(bytes.len()));
    let n = (1 + random.below(16)).min(bytes.len() - at);
    match random.below(4) {
        0 => bytes[at..at + n].fill_with(|| random.below(256) as u8),
        1 if bytes.len() > n => drop(bytes.drain(at..at + n)),
        2 => {
            let repeated = bytes[at..at + n].to_vec();
            bytes.splice(at..at, repeated);
        }
        _ => bytes[at] = random.below(4) as u8,
    }
}

/// Asserts that `message` contains all of `parts`.
#[track_caller]
pub(crate) fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
}
