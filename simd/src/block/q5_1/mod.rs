//! Q5_1: 32 weights in 24 bytes, `w = d * q + m`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..4 | `m` | f16 minimum |
//! | 4..8 | `qh` | u32: bit j is the fifth bit of weight j's `q` |
//! | 8..24 | `qs` | byte j: low nibble belongs to weight j, high nibble to weight j + 16 |

pub(crate) mod scalar;
