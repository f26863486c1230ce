//! Q8_0: 32 weights in 34 bytes, `w = d * q`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..34 | `qs` | i8 codes, in order; our encoder writes -127..=127, a file may hold -128 |

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a block.
pub(crate) const BYTES: usize = 34;
