//! Q5_1: 32 weights in 24 bytes, `w = d * q + m`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..4 | `m` | f16 minimum |
//! | 4..8 | `qh` | u32: bit j is the fifth bit of weight j's `q` |
//! | 8..24 | `qs` | byte j: low nibble belongs to weight j, high nibble to weight j + 16 |

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a block.
pub(crate) const BYTES: usize = 24;

/// The nibbles of a block.
#[inline(always)]
fn qs(block: &[u8; BYTES]) -> &[u8; 16] {
    block.last_chunk().expect("the nibbles are inside the block")
}

/// The fifth bits of a block.
#[inline(always)]
fn qh(block: &[u8; BYTES]) -> &[u8; 4] {
    block[4..].first_chunk().expect("the fifth bits are inside the block")
}
