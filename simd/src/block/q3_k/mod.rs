//! Q3_K: 256 weights in 110 bytes, 3.4375 bits each.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..32 | `hmask` | high bit of the codes |
//! | 32..96 | `qs` | low two bits of the codes |
//! | 96..108 | `scales` | sixteen 6-bit scales, see [`scales`] |
//! | 108..110 | `d` | f16 scale of the scales |
//!
//! A sub-block is 16 weights. In each half `n` of 128 weights, byte `32 n + l` of `qs` holds the low bits of
//! weights `+l`, `+32 + l`, `+64 + l` and `+96 + l`, from its low bits upwards; their high bits are the
//! bits `4 n..4 n + 4` of byte `l` of `hmask`. With code `q` in `0..8` and scale `sc` in `0..64`, the weight is
//! `(d * (sc - 32)) * (q - 4)`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod scales;
pub(crate) mod unpack;

/// Bytes in a super-block.
pub(crate) const BLOCK_BYTES: usize = 110;

/// The fields of a super-block, where they lie.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a>(pub(crate) &'a [u8; BLOCK_BYTES]);

impl<'a> Block<'a> {
    /// The high bits.
    #[inline(always)]
    pub(crate) fn hmask(self) -> &'a [u8; 32] {
        self.0[..32].as_array().expect("32 bytes")
    }

    /// The low two bits.
    #[inline(always)]
    pub(crate) fn qs(self) -> &'a [u8; 64] {
        self.0[32..96].as_array().expect("64 bytes")
    }

    /// The packed scales.
    #[inline(always)]
    pub(crate) fn scales(self) -> &'a [u8; 12] {
        self.0[96..108].as_array().expect("twelve bytes")
    }

    /// `d`, as f16 bits.
    #[inline(always)]
    pub(crate) fn d(self) -> [u8; 2] {
        [self.0[108], self.0[109]]
    }
}
