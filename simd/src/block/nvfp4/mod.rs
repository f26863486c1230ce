//! NVFP4: 64 weights in 36 bytes, `w = d * T[q]` with the table [`crate::block::tables::FP4`].
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | `e` | `d` of weights `16 i ..`: half of an unsigned E4M3 float, because the table's values are doubled |
//! | 4..36 | `qs` | eight bytes for each sixteen weights: low nibble of byte j is `q` of weight j, high nibble of weight j + 8 |
//!
//! The scale of a whole tensor, which such files hold beside it, is its user's business.
//!
//! The highest bit of a scale is ignored, and the byte 0x7f, a NaN in E4M3, is zero, though 0xff is not: that is
//! how llama.cpp and the `gguf` package read them. Any bytes are a valid block.
//!
//! The two times 32 weights of a block meet a scale of the activations each, and each half of those has a scale of
//! its own: it is a block of [`crate::block`], so that a window has sixteen.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
mod search;
pub(crate) mod unpack;

use crate::half_float::f16_to_f32;

/// Weights in a block.
const LEN: usize = 64;

/// Bytes in a block.
pub(crate) const BYTES: usize = 36;

/// What is a NaN elsewhere, and here zero.
pub(crate) const NAN: u8 = 0x7f;

/// What an f16 of the same bits as an E4M3 float is to be multiplied with to be half of it: their exponents have
/// biases of 15 and 7, so it is 2^8 less one. (Subnormals follow the same rule.)
pub(crate) const FROM_F16: f32 = 128.0;

/// `d`, from its byte. Vector kernels compute the same.
#[inline(always)]
fn scale(e: u8) -> f32 {
    if e == NAN { 0.0 } else { f16_to_f32(u16::from(e & 0x7f) << 7) * FROM_F16 }
}

/// The nibbles of weights `32 part ..`.
#[inline(always)]
fn qs(block: &[u8; BYTES], part: usize) -> &[u8; 16] {
    block[4 + 16 * part..].first_chunk().expect("a block has two times sixteen bytes of codes")
}

#[cfg(test)]
mod tests {
    #[test]
    fn scales_are_halves_of_their_floats() {
        for e in 0..=255u8 {
            let (exponent, mantissa) = (i32::from(e >> 3 & 15), f64::from(e & 7) / 8.0);
            let value = match exponent {
                0 => mantissa * 2f64.powi(-6),
                _ => (1.0 + mantissa) * 2f64.powi(exponent - 7),
            };
            let expected = if e == 0x7f { 0.0 } else { value / 2.0 };
            assert_eq!(f64::from(super::scale(e)), expected, "{e:#x}");
        }
    }
}
