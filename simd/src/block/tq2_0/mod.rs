//! TQ2_0: 256 ternary weights in 66 bytes, 2.0625 bits each; `w = d * (q - 1)`.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..64 | `qs` | bits `2 j..2 j + 2` of byte `32 g + l` are `q` of weight `128 g + 32 j + l` |
//! | 64..66 | `d` | f16 scale |
//!
//! Any bytes are a valid block; see [`crate::block::ternary`] for a `q` of 3.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a super-block.
pub(crate) const BLOCK_BYTES: usize = 66;

/// The codes of a block.
#[inline(always)]
fn qs(block: &[u8; BLOCK_BYTES]) -> &[u8; 64] {
    block.first_chunk().expect("a block begins with its codes")
}
