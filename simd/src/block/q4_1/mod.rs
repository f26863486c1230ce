//! Q4_1: 32 weights in 20 bytes, `w = d * q + m`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..4 | `m` | f16 minimum |
//! | 4..20 | `qs` | byte j: low nibble is `q` of weight j, high nibble of weight j + 16 |

pub(crate) mod scalar;
