//! Q2_0: 64 weights in 18 bytes, `w = d * (q - 1)`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..18 | `qs` | byte j: `q` of weights `4 j ..`, two bits each, the first in the lowest |
//!
//! The two times 32 weights of a block meet a scale of the activations each, so that it counts as two of the
//! blocks of [`crate::block`]. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
mod search;
pub(crate) mod unpack;

/// Weights in a block.
const LEN: usize = 64;

/// Bytes in a block.
pub(crate) const BYTES: usize = 18;

/// The codes of a block.
#[inline(always)]
fn qs(block: &[u8; BYTES]) -> &[u8; 16] {
    block.last_chunk().expect("a block ends with its codes")
}
