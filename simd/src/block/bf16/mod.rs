//! BF16: bfloat16 floats: the upper half of an `f32`, little-endian, without blocks.

pub(crate) mod scalar;
