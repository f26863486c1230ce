//! IQ4_XS: 256 weights in 136 bytes, 4.25 bits each; the table is [`crate::block::tables::IQ4`].
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale of the scales |
//! | 2..4 | `scales_h` | u16: bits `2 j..2 j + 2` are the high two bits of scale `j` |
//! | 4..8 | `scales_l` | nibble `j`, low ones first, is the low four bits of scale `j` |
//! | 8..136 | `qs` | sixteen bytes a sub-block: low nibble of byte l is `q` of weight l, high nibble of weight l + 16 |
//!
//! A sub-block is 32 weights. With its scale in `0..64`, a weight is `(d * (scale - 32)) * T[q]`. Any
//! bytes are a valid block.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
mod scales;
mod search;
pub(crate) mod unpack;

/// Bytes in a super-block.
pub(crate) const BLOCK_BYTES: usize = 136;

/// The fields of a super-block, where they lie.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a>(pub(crate) &'a [u8; BLOCK_BYTES]);

impl<'a> Block<'a> {
    /// `d`, as f16 bits.
    #[inline(always)]
    pub(crate) fn d(self) -> [u8; 2] {
        [self.0[0], self.0[1]]
    }

    /// The packed scales.
    #[inline(always)]
    pub(crate) fn scales(self) -> &'a [u8; 6] {
        self.0[2..8].as_array().expect("six bytes")
    }

    /// The codes.
    #[inline(always)]
    pub(crate) fn qs(self) -> &'a [u8; 128] {
        self.0.last_chunk().expect("a block ends with its codes")
    }
}
