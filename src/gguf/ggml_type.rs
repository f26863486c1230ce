//! Tensor types as GGUF numbers them.
//!
//! The types this program computes with come from [`BlockType`]; the table here adds the rest, so
//! that a file that holds them can be inspected and its bounds be checked.

use std::fmt;

use gguf_simd::BlockType;

/// The type of a tensor in a GGUF file; one whose block is known, whether we compute with it or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GgmlType(u32);

/// A type we can measure but not compute with.
struct Foreign {
    ggml_id: u32,
    name: &'static str,
    block_len: usize,
    block_bytes: usize,
}

#[rustfmt::skip]
const FOREIGN: [Foreign; 17] = {
    const fn row(ggml_id: u32, name: &'static str, block_len: usize, block_bytes: usize) -> Foreign {
        Foreign { ggml_id, name, block_len, block_bytes }
    }
    [
        row( 9, "Q8_1",     32,  36),
        row(15, "Q8_K",    256, 292),
        row(16, "IQ2_XXS", 256,  66),
        row(17, "IQ2_XS",  256,  74),
        row(18, "IQ3_XXS", 256,  98),
        row(19, "IQ1_S",   256,  50),
        row(21, "IQ3_S",   256, 110),
        row(22, "IQ2_S",   256,  82),
        row(24, "I8",        1,   1),
        row(25, "I16",       1,   2),
        row(26, "I32",       1,   4),
        row(27, "I64",       1,   8),
        row(28, "F64",       1,   8),
        row(29, "IQ1_M",   256,  56),
        row(40, "NVFP4",    64,  36),
        row(41, "Q1_0",    128,  18),
        row(42, "Q2_0",     64,  18),
    ]
};

impl GgmlType {
    /// The type with this number; `None` if its block is not known.
    pub fn from_id(ggml_id: u32) -> Option<Self> {
        let known = BlockType::from_ggml_id(ggml_id).is_some() || foreign(ggml_id).is_some();
        known.then_some(Self(ggml_id))
    }

    /// The number of the type in a tensor description.
    pub fn id(self) -> u32 {
        self.0
    }

    /// The type if we compute with it.
    pub fn block_type(self) -> Option<BlockType> {
        BlockType::from_ggml_id(self.0)
    }

    /// The name the field uses.
    pub fn name(self) -> &'static str {
        self.look_up(BlockType::name, |row| row.name)
    }

    /// Elements in a block.
    pub fn block_len(self) -> usize {
        self.look_up(BlockType::block_len, |row| row.block_len)
    }

    /// Bytes in a block.
    pub fn block_bytes(self) -> usize {
        self.look_up(BlockType::block_bytes, |row| row.block_bytes)
    }

    fn look_up<T>(self, ours: impl Fn(BlockType) -> T, other: impl Fn(&Foreign) -> T) -> T {
        match self.block_type() {
            Some(block_type) => ours(block_type),
            None => other(foreign(self.0).expect("only known numbers become a GgmlType")),
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
        f.pad(self.name())
    }
}

impl fmt::Debug for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
        for row in &FOREIGN {
            assert!(ids.insert(row.ggml_id), "number {} twice", row.ggml_id);
            assert!(names.insert(row.name), "name {} twice", row.name);
        }
    }

    #[test]
    fn our_types_answer_from_their_block_type() {
        for block_type in BlockType::all() {
            let ty = GgmlType::from_id(block_type.ggml_id()).unwrap();
            assert_eq!(ty, GgmlType::from(block_type));
            assert_eq!((ty.name(), ty.block_len()), (block_type.name(), block_type.block_len()));
            assert_eq!(ty.block_bytes(), block_type.block_bytes());
        }
    }

    #[test]
    fn removed_and_unheard_of_numbers_are_unknown() {
        for id in [4, 5, 31, 32, 33, 36, 37, 38, 1000, u32::MAX] {
            assert_eq!(GgmlType::from_id(id), None, "{id}");
        }
    }
}
