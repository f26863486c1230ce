//! Q1_0: 128 weights in 18 bytes, each `d` or `-d`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..18 | `qs` | bit `i` is set where weight `i` is `d` |
//!
//! The four times 32 weights of a block meet a scale of the activations each, so that it counts as four of the
//! blocks of [`crate::block`]. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Weights in a block.
const LEN: usize = 128;

/// Bytes in a block.
pub(crate) const BYTES: usize = 18;

/// The signs of weights `32 part ..` of a block.
#[inline(always)]
fn signs(block: &[u8; BYTES], part: usize) -> u32 {
    let (_, qs) = block.split_at(2);
    u32::from_le_bytes(qs.as_chunks().0[part])
}
