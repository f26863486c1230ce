//! Tensor types as GGUF numbers them.
//!
//! The types this program computes with come from [`BlockType`]; the tables here add what else files
//! hold, so that they can be inspected and their bounds be checked.

use std::borrow::Cow;
use std::fmt;

use gguf_simd::BlockType;

/// The type of a tensor in a GGUF file: any number, whether we know its block or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GgmlType(u32);

/// How many elements a block holds, and in how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Elements in a block.
    pub len: usize,
    /// Bytes in a block.
    pub bytes: usize,
}

/// A type we can measure but not compute with.
struct Foreign {
    ggml_id: u32,
    name: &'static str,
    block_len: usize,
    block_bytes: usize,
}

#[rustfmt::skip]
const FOREIGN: [Foreign; 7] = {
    const fn row(ggml_id: u32, name: &'static str, block_len: usize, block_bytes: usize) -> Foreign {
        Foreign { ggml_id, name, block_len, block_bytes }
    }
    [
        row( 9, "Q8_1",     32,  36),
        row(15, "Q8_K",    256, 292),
        row(24, "I8",        1,   1),
        row(25, "I16",       1,   2),
        row(26, "I32",       1,   4),
        row(27, "I64",       1,   8),
        row(28, "F64",       1,   8),
    ]
};

/// Types that ggml has removed. Old files hold them; no current program reads those.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

impl GgmlType {
    /// Floats of 64 bits, which programs write that know no better and none computes with.
    pub const F64: Self = Self(28);

    /// The type with this number.
    pub fn from_id(ggml_id: u32) -> Self {
        Self(ggml_id)
    }

    /// The number of the type in a tensor description.
    pub fn id(self) -> u32 {
        self.0
    }

    /// The type if we compute with it.
    pub fn block_type(self) -> Option<BlockType> {
        BlockType::from_ggml_id(self.0)
    }

    /// The type of the weights that its elements are: that type, and F32 for [`GgmlType::F64`]. `None` if they are no
    /// weights.
    pub fn weights(self) -> Option<BlockType> {
        self.block_type().or((self == Self::F64).then_some(BlockType::F32))
    }

    /// The name the field uses; the number where there is none ("type 139"), and beside the name of a
    /// type that was removed ("type 31 (Q4_0_4_4)").
    pub fn name(self) -> Cow<'static, str> {
        if let Some(name) = self.known_name() {
            return name.into();
        }
        match REMOVED.iter().find(|&&(id, _)| id == self.0) {
            Some((id, name)) => format!("type {id} ({name})").into(),
            None => format!("type {}", self.0).into(),
        }
    }

    /// The name of a type whose block this program knows.
    pub fn known_name(self) -> Option<&'static str> {
        self.block_type().map(BlockType::name).or_else(|| foreign(self.0).map(|row| row.name))
    }

    /// Its block; `None` if this program does not know it.
    pub fn block(self) -> Option<Block> {
        match self.block_type() {
            Some(ours) => Some(Block { len: ours.block_len(), bytes: ours.block_bytes() }),
            None => foreign(self.0).map(|row| Block { len: row.block_len, bytes: row.block_bytes }),
        }
    }
}

impl From<BlockType> for GgmlType {
    fn from(block_type: BlockType) -> Self {
        Self(block_type.ggml_id())
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl fmt::Debug for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The elements of a tensor of [`GgmlType::F64`], each rounded to the nearest float of 32 bits.
///
/// # Panics
/// If `bytes` does not hold exactly `out.len()` elements.
pub fn floats_of_f64s(bytes: &[u8], out: &mut [f32]) {
    let (elements, rest) = bytes.as_chunks();
    assert!(rest.is_empty() && elements.len() == out.len(), "as many elements as floats");
    for (out, &element) in out.iter_mut().zip(elements) {
        *out = f64::from_le_bytes(element) as f32;
    }
}

fn foreign(ggml_id: u32) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|row| row.ggml_id == ggml_id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn foreign_rows_repeat_no_block_type_and_no_other_row() {
        let mut ids: HashSet<u32> = BlockType::all().map(BlockType::ggml_id).collect();
        let mut names: HashSet<&str> = BlockType::all().map(BlockType::name).collect();
        for (id, name) in FOREIGN.iter().map(|row| (row.ggml_id, row.name)).chain(REMOVED) {
            assert!(ids.insert(id), "number {id} twice");
            assert!(names.insert(name), "name {name} twice");
        }
    }

    #[test]
    fn our_types_answer_from_their_block_type() {
        for block_type in BlockType::all() {
            let ty = GgmlType::from_id(block_type.ggml_id());
            assert_eq!(ty, GgmlType::from(block_type));
            assert_eq!((ty.name(), ty.block_type()), (block_type.name().into(), Some(block_type)));
            let block = Block { len: block_type.block_len(), bytes: block_type.block_bytes() };
            assert_eq!(ty.block(), Some(block));
        }
    }

    #[test]
    fn removed_and_unknown_types_are_called_by_their_number() {
        for (id, name) in [(4, "type 4 (Q4_2)"), (36, "type 36 (IQ4_NL_4_4)"), (u32::MAX, "type 4294967295")]
        {
            let ty = GgmlType::from_id(id);
            assert_eq!((ty.name().as_ref(), ty.block(), ty.block_type()), (name, None, None));
        }
    }
}
