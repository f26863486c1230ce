//! TQ1_0: 256 ternary weights in 54 bytes, 1.6875 bits each; `w = d * (q - 1)`.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..48 | `qs` | five codes a byte: trit `n` of byte `m < 32` is `q` of weight `32 n + m`, of byte `32 + m` that of weight `160 + 16 n + m` |
//! | 48..52 | `qh` | four codes a byte: trit `n` of byte `m` is `q` of weight `240 + 4 n + m` |
//! | 52..54 | `d` | f16 scale |
//!
//! A byte is a fraction of 256 in ternary notation: trit `n` is what multiplying by three carries out of
//! eight bits after `n` such multiplications, `((byte * 3^n mod 256) * 3) >> 8`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod unpack;

/// Bytes in a super-block.
pub(crate) const BLOCK_BYTES: usize = 54;

/// The byte that holds the code of weight `i`, and which of its trits that is.
#[inline(always)]
const fn place(i: usize) -> (usize, usize) {
    match i {
        0..160 => (i % 32, i / 32),
        160..240 => (32 + i % 16, (i - 160) / 16),
        _ => (48 + i % 4, (i - 240) / 4),
    }
}
