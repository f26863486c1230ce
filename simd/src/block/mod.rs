//! The block formats: one folder per type, and the table that names them (`types`).
//!
//! `block/<type>/scalar.rs` is the definition of a type: decode, encode and dot. The float order of
//! a dot product is fixed there, once, and every other kernel reproduces it:
//!
//! - integer sums inside a block are exact, so their order is free;
//! - a *window* is 256 weights; its blocks' terms are added in order, starting from +0;
//! - the window sums are added in order, starting from +0.
//!
//! With `isum` the integer sum of a block's products, `d` the weight scale and `dy` the activation
//! scale, the term of a block without minima is added as `s = fma(isum, d * dy, s)`. A block with minima
//! has a `term` and `s = s + term`: for the K types, with `msum` the integer sum of minima times activation
//! sums, `term = fma(-msum, dmin * dy, isum * (d * dy))`; for the 32-weight types, with `m` the minimum and
//! `ysum` the activation sum, `term = fma(isum, d * dy, m * (ysum * dy))`. The float types sum in 16 lanes:
//! lane `l` takes `fma(w[i], x[i], lane)` for every `i % 16 == l` in order (a short row is padded with zeros),
//! and the lanes are added as a tree: l and l+8, l and l+4, l and l+2, l and l+1.
//!
//! A dot product reads its weights as one sequential stream and asks for nothing ahead: the hardware's
//! prefetchers follow such a stream, and requests of the program's own only take their place.

#[cfg(target_arch = "x86_64")]
pub(crate) mod arranged;
#[cfg(target_arch = "x86_64")]
pub(crate) mod beforehand;
pub(crate) mod bf16;
pub(crate) mod codebook;
pub(crate) mod f16;
pub(crate) mod f32;
pub(crate) mod float;
pub mod grid;
pub(crate) mod iq1_m;
pub(crate) mod iq1_s;
pub(crate) mod iq2_s;
pub(crate) mod iq2_xs;
pub(crate) mod iq2_xxs;
pub(crate) mod iq3_s;
pub(crate) mod iq3_xxs;
pub(crate) mod iq4_nl;
pub(crate) mod iq4_xs;
pub(crate) mod k;
pub(crate) mod mxfp4;
pub(crate) mod nvfp4;
pub(crate) mod q1_0;
pub(crate) mod q2_0;
pub(crate) mod q2_k;
pub(crate) mod q3_k;
pub(crate) mod q4_0;
pub(crate) mod q4_1;
pub(crate) mod q4_k;
pub(crate) mod q5_0;
pub(crate) mod q5_1;
pub(crate) mod q5_k;
pub(crate) mod q6_k;
pub(crate) mod q8_0;
#[cfg(target_arch = "x86_64")]
pub(crate) mod row_sums;
pub(crate) mod search;
pub(crate) mod table_search;
pub(crate) mod tables;
pub(crate) mod ternary;
pub(crate) mod tq1_0;
pub(crate) mod tq2_0;
pub(crate) mod transposed;
pub(crate) mod types;
pub(crate) mod windows;

use crate::activation::ActivationFormat;
pub(crate) use types::block_types;

/// What a block type looks like from outside.
#[derive(Clone, Copy, Debug)]
pub struct BlockInfo {
    /// The type.
    pub block_type: BlockType,
    /// The name the field uses, as in `--type`.
    pub name: &'static str,
    /// The number of the type in a GGUF tensor description.
    pub ggml_id: u32,
    /// Elements in a block.
    pub block_len: usize,
    /// Bytes in a block.
    pub block_bytes: usize,
    /// The activations its dot product takes.
    pub activation: ActivationFormat,
}

/// The activations that types of a kind take.
macro_rules! activation {
    (Float) => {
        ActivationFormat::F32
    };
    (Block32) => {
        ActivationFormat::Q8_0
    };
    (K) => {
        ActivationFormat::Q8K
    };
    (Codebook) => {
        ActivationFormat::Q8K
    };
}

/// Makes the enumeration and its table from the rows of [`block_types`].
macro_rules! declare {
    ($($ty:ident: $ggml_id:literal, $len:literal, $bytes:literal, $kind:ident, $folder:ident;)*) => {
        /// A block type this crate can encode, decode and multiply with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[allow(non_camel_case_types, missing_docs, reason = "the field's own names")]
        pub enum BlockType {
            $($ty,)*
        }

        /// Every type, at its discriminant.
        const TABLE: &[BlockInfo] = &[$(BlockInfo {
            block_type: BlockType::$ty,
            name: stringify!($ty),
            ggml_id: $ggml_id,
            block_len: $len,
            block_bytes: $bytes,
            activation: activation!($kind),
        },)*];
    };
}
block_types!(declare);

impl BlockType {
    /// How many types there are; a type's discriminant is below it.
    pub const COUNT: usize = TABLE.len();

    /// Every type, in the order of the discriminants.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.block_type)
    }

    /// The table row of this type.
    pub fn info(self) -> &'static BlockInfo {
        &TABLE[self as usize]
    }

    /// The name the field uses.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The number of the type in a GGUF tensor description.
    pub fn ggml_id(self) -> u32 {
        self.info().ggml_id
    }

    /// Elements in a block.
    pub fn block_len(self) -> usize {
        self.info().block_len
    }

    /// Bytes in a block.
    pub fn block_bytes(self) -> usize {
        self.info().block_bytes
    }

    /// The activations its dot product takes.
    pub fn activation(self) -> ActivationFormat {
        self.info().activation
    }

    /// Bytes of a row of `n_in` elements; `None` if it does not divide into blocks or overflows.
    pub fn row_bytes(self, n_in: usize) -> Option<usize> {
        if !n_in.is_multiple_of(self.block_len()) {
            return None;
        }
        (n_in / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether the elements are floats rather than codes with a scale.
    pub fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// The type with this GGUF number, if this crate has it.
    pub fn from_ggml_id(ggml_id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.ggml_id == ggml_id).map(|row| row.block_type)
    }

    /// The type of this name, in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.block_type)
    }
}

impl core::fmt::Display for BlockType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_rows_stand_at_their_discriminants() {
        for (i, ty) in BlockType::all().enumerate() {
            assert_eq!(ty as usize, i);
            assert_eq!(BlockType::from_ggml_id(ty.ggml_id()), Some(ty));
            assert_eq!(BlockType::from_name(&ty.name().to_lowercase()), Some(ty));
        }
    }

    #[test]
    fn row_bytes_needs_whole_blocks() {
        assert_eq!(BlockType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(BlockType::Q4_K.row_bytes(896), None);
        assert_eq!(BlockType::F32.row_bytes(usize::MAX), None);
    }
}
