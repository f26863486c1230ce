//! F32: 32-bit floats, little-endian, without blocks.

pub(crate) mod scalar;
