//! Q8_0: 32 weights in 34 bytes, `w = d * q`.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale |
//! | 2..34 | `qs` | i8 codes, in order; our encoder writes -127..=127, a file may hold -128 |

pub(crate) mod scalar;
