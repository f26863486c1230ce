//! Metadata values, and the types the format stores them as.

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
    U8s(Vec<u8>),
    U32s(Vec<u32>),
    U64s(Vec<u64>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Bools(Vec<bool>),
    /// A string or an array as another file has it, byte for byte.
    Copied(CopiedValue),
}

/// A string or an array in the form of the file it was read from: of any element type, and UTF-8 or not.
#[derive(Clone, Debug, PartialEq)]
pub struct CopiedValue {
    pub(super) ty: ValueType,
    /// What follows the type.
    pub(super) bytes: Vec<u8>,
}

impl CopiedValue {
    /// Whether it is a string.
    pub fn is_text(&self) -> bool {
        self.ty == ValueType::String
    }
}

/// How a value, or each element of an array, is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// Every type, at the index that is its number in a file.
    const BY_ID: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with this number.
    pub(super) fn from_id(id: u32) -> Option<Self> {
        Self::BY_ID.get(usize::try_from(id).ok()?).copied()
    }

    /// The number of the type in a file.
    pub(super) fn id(self) -> u32 {
        self as u32
    }

    /// The name used in messages and by `inspect`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Bytes of a value; `None` for strings and arrays, which say their own length.
    pub(super) fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }

    /// The fewest bytes a value can take: an empty string is its length, an empty array its element
    /// type and its length.
    pub(super) fn least_bytes(self) -> usize {
        self.fixed_bytes().unwrap_or(if self == Self::String { 8 } else { 12 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_types_stand_at_their_numbers() {
        for (i, ty) in ValueType::BY_ID.into_iter().enumerate() {
            let id = u32::try_from(i).unwrap();
            assert_eq!(ty.id(), id);
            assert_eq!(ValueType::from_id(id), Some(ty));
        }
        assert_eq!(ValueType::from_id(13), None);
    }
}
