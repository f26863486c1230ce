//! Q5_0: 32 weights in 22 bytes, `w = d * (q - 16)`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..6 | `qh` | u32: bit j is the fifth bit of weight j's `q` |
//! | 6..22 | `qs` | byte j: low nibble belongs to weight j, high nibble to weight j + 16 |

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a block.
pub(crate) const BYTES: usize = 22;

/// The nibbles of a block.
#[inline(always)]
fn qs(block: &[u8; BYTES]) -> &[u8; 16] {
    block.last_chunk().expect("the nibbles are inside the block")
}

/// The fifth bits of a block.
#[inline(always)]
fn qh(block: &[u8; BYTES]) -> &[u8; 4] {
    block[2..].first_chunk().expect("the fifth bits are inside the block")
}
