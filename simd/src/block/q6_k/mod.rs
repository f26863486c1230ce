//! Q6_K: 256 weights in 210 bytes, 6.5625 bits each.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..128 | `ql` | low four bits of the codes |
//! | 128..192 | `qh` | high two bits of the codes |
//! | 192..208 | `scales` | sixteen signed 8-bit scales |
//! | 208..210 | `d` | f16 scale of the scales |
//!
//! A sub-block is 16 weights. In each half `n` of 128 weights, the low bits of weights `+0..64` are the
//! low nibbles of `ql[64 n..64 n + 64]`, those of `+64..128` its high nibbles; `qh[32 n + l]` holds
//! the high bits of weights `+l`, `+32 + l`, `+64 + l` and `+96 + l`, from its low bits upwards. With
//! code `q` in `0..64`, the weight is `(d * scale) * (q - 32)`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a super-block.
pub(crate) const BLOCK_BYTES: usize = 210;

/// The fields of a super-block, where they lie.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a>(pub(crate) &'a [u8; BLOCK_BYTES]);

impl<'a> Block<'a> {
    /// The low four bits.
    #[inline(always)]
    pub(crate) fn ql(self) -> &'a [u8; 128] {
        self.0[..128].as_array().expect("128 bytes")
    }

    /// The high two bits.
    #[inline(always)]
    pub(crate) fn qh(self) -> &'a [u8; 64] {
        self.0[128..192].as_array().expect("64 bytes")
    }

    /// The scales, as bytes of `i8`.
    #[inline(always)]
    pub(crate) fn scales(self) -> &'a [u8; 16] {
        self.0[192..208].as_array().expect("sixteen bytes")
    }

    /// `d`, as f16 bits.
    #[inline(always)]
    pub(crate) fn d(self) -> [u8; 2] {
        [self.0[208], self.0[209]]
    }
}
