//! Q5_K: 256 weights in 176 bytes, 5.5 bits each.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale of the sub-block scales |
//! | 2..4 | `dmin` | f16 scale of the sub-block minima |
//! | 4..16 | `scales` | eight 6-bit scales and eight 6-bit minima, see `k/scales.rs` |
//! | 16..48 | `qh` | fifth bits of the codes |
//! | 48..176 | `qs` | low four bits of the codes |
//!
//! As Q4_K, with a fifth bit: bit `j` of `qh[l]` is the high bit of the code of weight `32 j + l`, so
//! a byte holds the same place of all eight sub-blocks. A weight is `(d * sc) * q - dmin * m`. Any
//! bytes are a valid block.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a super-block.
pub(crate) const BLOCK_BYTES: usize = 176;

/// The fields of a super-block, where they lie.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a>(pub(crate) &'a [u8; BLOCK_BYTES]);

impl<'a> Block<'a> {
    /// `d`, as f16 bits.
    #[inline(always)]
    pub(crate) fn d(self) -> [u8; 2] {
        [self.0[0], self.0[1]]
    }

    /// `dmin`, as f16 bits.
    #[inline(always)]
    pub(crate) fn dmin(self) -> [u8; 2] {
        [self.0[2], self.0[3]]
    }

    /// The packed scales and minima.
    #[inline(always)]
    pub(crate) fn scales(self) -> &'a [u8; 12] {
        self.0[4..16].as_array().expect("twelve bytes")
    }

    /// The fifth bits.
    #[inline(always)]
    pub(crate) fn qh(self) -> &'a [u8; 32] {
        self.0[16..48].as_array().expect("32 bytes")
    }

    /// The low four bits.
    #[inline(always)]
    pub(crate) fn qs(self) -> &'a [u8; 128] {
        self.0[48..].as_array().expect("128 bytes")
    }
}
