//! The metadata of an opened file. Strings and arrays stay in the mapped bytes until they are asked
//! for: a vocabulary of a hundred thousand strings costs nothing to open.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};

use super::cursor::Cursor;
use super::value::{CopiedValue, Value, ValueType};
use crate::error::{Error, Result};
use crate::limits;
use crate::mapped_file::MappedFile;

/// The metadata of an opened file.
///
/// The getters return `None` for a key that is absent and an error for one of the wrong type.
#[derive(Debug)]
pub struct Metadata {
    file: Arc<MappedFile>,
    pairs: Vec<(String, Stored)>,
    index: HashMap<String, usize>,
}

/// A value as the header holds it; ranges are of the file's bytes and were checked.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// A number or a truth value.
    Scalar(Value),
    /// The bytes of a string, UTF-8 or not.
    String(Range<usize>),
    /// An array, walked once when the file was opened.
    Array(StoredArray),
}

/// An array as the header holds it.
#[derive(Clone, Debug)]
pub(super) struct StoredArray {
    pub(super) element: ValueType,
    pub(super) len: usize,
    pub(super) bytes: Range<usize>,
}

impl Stored {
    /// The number or the truth value.
    fn scalar(&self) -> Option<&Value> {
        match self {
            Self::Scalar(value) => Some(value),
            Self::String(_) | Self::Array(_) => None,
        }
    }
}

impl Metadata {
    /// Takes over what the header held.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a key comes twice.
    pub(super) fn new(file: Arc<MappedFile>, pairs: Vec<(String, Stored)>) -> Result<Self> {
        let mut index = HashMap::with_capacity(pairs.len());
        for (i, (key, _)) in pairs.iter().enumerate() {
            if index.insert(key.clone(), i).is_some() {
                return Err(Error::malformed(
                    file.path(),
                    format!("metadata key {} comes twice", key.escape_debug()),
                ));
            }
        }
        Ok(Self { file, pairs, index })
    }

    /// Every pair, to be written to another file as it is.
    pub fn to_pairs(&self) -> Vec<(String, Value)> {
        self.pairs.iter().map(|(key, stored)| (key.clone(), self.copied(stored))).collect()
    }

    fn copied(&self, stored: &Stored) -> Value {
        // A string has its length in front of it, an array the type of its elements as well.
        let (ty, before, range) = match stored {
            Stored::Scalar(value) => return value.clone(),
            Stored::String(range) => (ValueType::String, 8, range),
            Stored::Array(array) => (ValueType::Array, 12, &array.bytes),
        };
        Value::Copied(CopiedValue { ty, bytes: self.slice(&(range.start - before..range.end)).to_vec() })
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Every key, in the file's order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pairs.iter().map(|(key, _)| key.as_str())
    }

    /// Whether the file has this key.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// A string.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not a string or not UTF-8.
    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        let Some(bytes) = self.string_bytes(key)? else { return Ok(None) };
        let text = std::str::from_utf8(bytes);
        text.map(Some).map_err(|e| self.fault(key, &format!("is not UTF-8 (byte {} of it)", e.valid_up_to())))
    }

    /// The bytes of a string. The format calls strings UTF-8, but writers have put other bytes there.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not a string.
    pub fn string_bytes(&self, key: &str) -> Result<Option<&[u8]>> {
        match self.stored(key) {
            None => Ok(None),
            Some(Stored::String(range)) => Ok(Some(self.slice(range))),
            Some(other) => Err(self.wrong_type(key, "a string", other)),
        }
    }

    /// A whole number of any type, if it fits a `u64`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not a whole number, or is negative.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        let Some(stored) = self.stored(key) else { return Ok(None) };
        match stored.scalar().and_then(Value::whole).map(u64::try_from) {
            Some(Ok(n)) => Ok(Some(n)),
            _ => Err(self.wrong_type(key, "an integer not below 0", stored)),
        }
    }

    /// An integer of any type, if it fits a `u32`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not an integer, negative, or above `u32::MAX`.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.narrowed(key, "an integer from 0 to 4294967295")
    }

    /// Whether the value is a whole number below 0.
    pub fn is_negative(&self, key: &str) -> bool {
        self.stored(key).and_then(Stored::scalar).and_then(Value::whole).is_some_and(|n| n < 0)
    }

    /// An integer of any type that counts something: fits a `usize`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not an integer, negative, or too large for this machine.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        self.narrowed(key, "a count")
    }

    /// A number of any type, rounded.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not a number, or not finite as an `f32`.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        let Some(stored) = self.stored(key) else { return Ok(None) };
        match stored.scalar().and_then(Value::float) {
            Some(x) if x.is_finite() => Ok(Some(x)),
            Some(_) => Err(self.wrong_type(key, "a finite float", stored)),
            None => Err(self.wrong_type(key, "a float", stored)),
        }
    }

    /// A truth value, or an integer that is 0 or 1.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is neither.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        let Some(stored) = self.stored(key) else { return Ok(None) };
        let truth = stored.scalar().and_then(Value::truth);
        truth.map(Some).ok_or_else(|| self.wrong_type(key, "true or false", stored))
    }

    /// [`Self::string`] of a key that must be there.
    ///
    /// # Errors
    /// As that, and [`Error::Malformed`] if the key is absent.
    pub fn required_string(&self, key: &str) -> Result<&str> {
        self.string(key)?.ok_or_else(|| self.absent(key, "a string"))
    }

    /// [`Self::count`] of a key that must be there.
    ///
    /// # Errors
    /// As that, and [`Error::Malformed`] if the key is absent.
    pub fn required_count(&self, key: &str) -> Result<usize> {
        self.count(key)?.ok_or_else(|| self.absent(key, "a count"))
    }

    /// [`Self::f32`] of a key that must be there.
    ///
    /// # Errors
    /// As that, and [`Error::Malformed`] if the key is absent.
    pub fn required_f32(&self, key: &str) -> Result<f32> {
        self.f32(key)?.ok_or_else(|| self.absent(key, "a float"))
    }

    /// How many elements an array has.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not an array.
    pub fn array_len(&self, key: &str) -> Result<Option<usize>> {
        Ok(self.array(key, "an array")?.map(|array| array.len))
    }

    /// The strings of an array, in order.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not an array of strings, or one of them is not UTF-8.
    pub fn strings(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = &str> + use<'_>>> {
        let Some(strings) = self.byte_strings(key)? else { return Ok(None) };
        let text = |(i, bytes)| {
            std::str::from_utf8(bytes)
                .map_err(|_| self.fault(key, &format!("has an element {i} that is not UTF-8")))
        };
        Ok(Some(strings.enumerate().map(text).collect::<Result<Vec<&str>>>()?.into_iter()))
    }

    /// The bytes of each string of an array, in order: vocabularies of others hold tokens that are not
    /// UTF-8.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not an array of strings.
    pub fn byte_strings(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = &[u8]> + use<'_>>> {
        const EXPECTED: &str = "an array of strings";
        let Some(array) = self.array(key, EXPECTED)? else { return Ok(None) };
        if array.element != ValueType::String {
            return Err(self.wrong_type(key, EXPECTED, &Stored::Array(array.clone())));
        }
        let mut cursor = Cursor::new(self.path(), &self.file.bytes()[..array.bytes.end], array.bytes.start);
        let shown = key.escape_debug();
        let strings = (0..array.len)
            .map(|i| {
                let what = format_args!("element {i} of {shown}");
                cursor.string(limits::MAX_STRING_BYTES, what).map(|range| self.slice(&range))
            })
            .collect::<Result<Vec<&[u8]>>>()?;
        Ok(Some(strings.into_iter()))
    }

    /// The numbers of an array of any type of numbers, rounded.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not such an array.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.elements(key, "an array of f32", |value| value.float())
    }

    /// The whole numbers of an array of any type of numbers, as far as each fits an `i32`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not an array of whole numbers, or one does not fit.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        let expected = "an array of integers that fit 32 bits";
        self.elements(key, expected, |value| i32::try_from(value.whole()?).ok())
    }

    /// As [`Metadata::i32s`], of numbers from 0 that fit 64 bits.
    ///
    /// # Errors
    /// As there.
    pub fn u64s(&self, key: &str) -> Result<Option<Vec<u64>>> {
        let expected = "an array of integers, 0 or more";
        self.elements(key, expected, |value| u64::try_from(value.whole()?).ok())
    }

    /// What `read` makes of each element of an array of scalars.
    fn elements<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(array) = self.array(key, expected)? else { return Ok(None) };
        let wrong = || self.wrong_type(key, expected, &Stored::Array(array.clone()));
        let width = array.element.fixed_bytes().ok_or_else(wrong)?;
        let elements = self.slice(&array.bytes).chunks_exact(width);
        let values = elements.map(|bytes| read(&decode_scalar(array.element, bytes)).ok_or_else(wrong));
        values.collect::<Result<Vec<T>>>().map(Some)
    }

    /// The truth values of an array; integers count, of which 0 alone is false.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is not such an array.
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>> {
        const EXPECTED: &str = "an array of truth values";
        let Some(array) = self.array(key, EXPECTED)? else { return Ok(None) };
        if array.element == ValueType::Bool {
            return Ok(Some(self.slice(&array.bytes).iter().map(|&byte| byte != 0).collect()));
        }
        Ok(self.i32s(key)?.map(|values| values.into_iter().map(|value| value != 0).collect()))
    }

    /// The bytes of a range that the header's walk has checked.
    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        &self.file.bytes()[range.clone()]
    }

    /// The value of a key as the header holds it.
    pub(super) fn stored(&self, key: &str) -> Option<&Stored> {
        self.index.get(key).map(|&i| &self.pairs[i].1)
    }

    fn array(&self, key: &str, expected: &str) -> Result<Option<&StoredArray>> {
        match self.stored(key) {
            None => Ok(None),
            Some(Stored::Array(array)) => Ok(Some(array)),
            Some(other) => Err(self.wrong_type(key, expected, other)),
        }
    }

    fn narrowed<T: TryFrom<u64>>(&self, key: &str, expected: &str) -> Result<Option<T>> {
        let Some(n) = self.u64(key)? else { return Ok(None) };
        T::try_from(n).map(Some).map_err(|_| self.fault(key, &format!("should be {expected}, and is {n}")))
    }

    fn fault(&self, key: &str, what: &str) -> Error {
        Error::malformed(self.path(), format!("metadata key {} {what}", key.escape_debug()))
    }

    fn absent(&self, key: &str, expected: &str) -> Error {
        self.fault(key, &format!("is missing; {expected} is needed there"))
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &Stored) -> Error {
        self.fault(key, &format!("should be {expected}, and is {}", describe(found)))
    }
}

/// The value of `bytes`, which are as long as the type says.
///
/// # Panics
/// For strings and arrays, which are not scalars.
pub(super) fn decode_scalar(ty: ValueType, bytes: &[u8]) -> Value {
    match ty {
        ValueType::U8 => Value::U8(bytes[0]),
        ValueType::I8 => Value::I8(i8::from_le_bytes([bytes[0]])),
        ValueType::Bool => Value::Bool(bytes[0] != 0),
        ValueType::U16 => Value::U16(LittleEndian::read_u16(bytes)),
        ValueType::I16 => Value::I16(LittleEndian::read_i16(bytes)),
        ValueType::U32 => Value::U32(LittleEndian::read_u32(bytes)),
        ValueType::I32 => Value::I32(LittleEndian::read_i32(bytes)),
        ValueType::F32 => Value::F32(LittleEndian::read_f32(bytes)),
        ValueType::U64 => Value::U64(LittleEndian::read_u64(bytes)),
        ValueType::I64 => Value::I64(LittleEndian::read_i64(bytes)),
        ValueType::F64 => Value::F64(LittleEndian::read_f64(bytes)),
        ValueType::String | ValueType::Array => unreachable!("{} is not a scalar", ty.name()),
    }
}

/// The integer of a stored value of any integer type.
pub(super) fn integer(stored: &Stored) -> Option<i128> {
    let Stored::Scalar(value) = stored else { return None };
    match *value {
        Value::U8(n) => Some(n.into()),
        Value::I8(n) => Some(n.into()),
        Value::U16(n) => Some(n.into()),
        Value::I16(n) => Some(n.into()),
        Value::U32(n) => Some(n.into()),
        Value::I32(n) => Some(n.into()),
        Value::U64(n) => Some(n.into()),
        Value::I64(n) => Some(n.into()),
        _ => None,
    }
}

/// What a message says was found.
fn describe(stored: &Stored) -> String {
    match stored {
        Stored::Scalar(Value::F32(x)) => format!("the float {x}"),
        Stored::Scalar(Value::F64(x)) => format!("the float {x}"),
        Stored::Scalar(Value::Bool(b)) => format!("{b}"),
        Stored::Scalar(_) => match integer(stored) {
            Some(n) => format!("the integer {n}"),
            None => "another scalar".into(),
        },
        Stored::String(_) => "a string".into(),
        Stored::Array(array) => format!("an array of {} {}", array.len, array.element.name()),
    }
}
