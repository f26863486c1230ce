//! Q5_0: 32 weights in 22 bytes, `w = d * (q - 16)`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..6 | `qh` | u32: bit j is the fifth bit of weight j's `q` |
//! | 6..22 | `qs` | byte j: low nibble belongs to weight j, high nibble to weight j + 16 |

pub(crate) mod scalar;
