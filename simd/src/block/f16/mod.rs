//! F16: IEEE binary16 floats, little-endian, without blocks.

pub(crate) mod scalar;
