//! IQ4_NL: 32 weights in 18 bytes, `w = d * T[q]` with the table [`crate::block::tables::IQ4`].
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..18 | `qs` | byte j: low nibble is `q` of weight j, high nibble of weight j + 16 |

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a block.
pub(crate) const BYTES: usize = 18;

/// The nibbles of a block.
#[inline(always)]
fn qs(block: &[u8; BYTES]) -> &[u8; 16] {
    block.last_chunk().expect("the nibbles are inside the block")
}
