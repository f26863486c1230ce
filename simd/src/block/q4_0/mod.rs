//! Q4_0: 32 weights in 18 bytes, `w = d * (q - 8)`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..18 | `qs` | byte j: low nibble is `q` of weight j, high nibble of weight j + 16 |

pub(crate) mod scalar;
