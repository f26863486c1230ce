//! Q2_K: 256 weights in 84 bytes, 2.625 bits each.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..16 | `scales` | sixteen 4-bit scales (low nibbles) and sixteen 4-bit minima (high nibbles) |
//! | 16..80 | `qs` | 2-bit codes |
//! | 80..82 | `d` | f16 scale of the sub-block scales |
//! | 82..84 | `dmin` | f16 scale of the sub-block minima |
//!
//! A sub-block is 16 weights. In each half `n` of 128 weights, byte `32 n + l` of `qs` holds the codes of
//! weights `+l`, `+32 + l`, `+64 + l` and `+96 + l`, from its low bits upwards. With scale `sc` and
//! minimum `m` of the weight's sub-block, the weight is `(d * sc) * q - dmin * m`. Any bytes are a valid
//! block.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a super-block.
pub(crate) const BLOCK_BYTES: usize = 84;

/// Where `d` and `dmin` stand.
pub(crate) const HALVES: usize = 80;

/// The fields of a super-block, where they lie.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a>(pub(crate) &'a [u8; BLOCK_BYTES]);

impl<'a> Block<'a> {
    /// The scales and minima.
    #[inline(always)]
    pub(crate) fn scales(self) -> &'a [u8; 16] {
        self.0[..16].as_array().expect("sixteen bytes")
    }

    /// The codes.
    #[inline(always)]
    pub(crate) fn qs(self) -> &'a [u8; 64] {
        self.0[16..HALVES].as_array().expect("64 bytes")
    }

    /// `d`, as f16 bits.
    #[inline(always)]
    pub(crate) fn d(self) -> [u8; 2] {
        [self.0[HALVES], self.0[HALVES + 1]]
    }

    /// `dmin`, as f16 bits.
    #[inline(always)]
    pub(crate) fn dmin(self) -> [u8; 2] {
        [self.0[HALVES + 2], self.0[HALVES + 3]]
    }
}
