//! Metadata values.

/// A metadata value, owned.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the format's own types")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// The metadata of a file.
#[derive(Debug, Default)]
pub struct Metadata {}
