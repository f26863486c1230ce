//! MXFP4: 32 weights in 17 bytes, `w = d * T[q]` with the table [`crate::block::tables::FP4`].
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0 | `e` | `d` is 2^(e - 128), half of the E8M0 scale, because the table's values are doubled |
//! | 1..17 | `qs` | byte j: low nibble is `q` of weight j, high nibble of weight j + 16 |
//!
//! Every byte is a power of two: 0 and 1 are the subnormals 2^-128 and 2^-127, and 255 is 2^127, although
//! the OCP specification calls it a NaN. That is how llama.cpp and the `gguf` package read it.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod search;
pub(crate) mod unpack;

/// Bytes in a block.
pub(crate) const BYTES: usize = 17;

/// The nibbles of a block.
#[inline(always)]
fn qs(block: &[u8; BYTES]) -> &[u8; 16] {
    block.last_chunk().expect("the nibbles are inside the block")
}

/// `d`, from its byte.
///
/// The exponent field is `e - 1`, below which the subnormal ones are lines of the same bits: for `e` of
/// 0 and 1 the second term is the larger, above it never is. Vector kernels compute the same.
#[inline(always)]
fn scale(e: u8) -> f32 {
    let e = i32::from(e);
    f32::from_bits(((e - 1) << 23).max((e + 1) << 21).cast_unsigned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_is_a_power_of_two() {
        for e in 0..=255 {
            assert_eq!(f64::from(super::scale(e)), f64::from(i32::from(e) - 128).exp2());
        }
    }
}
