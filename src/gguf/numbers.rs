//! Numbers of metadata whatever their type: hyperparameters that a file has once, or once a layer.

use super::metadata::{Stored, decode_scalar, integer};
use super::value::{CopiedValue, Value, ValueType};

/// Bytes in front of the elements of an array: their type and their number.
const ARRAY_HEAD: usize = 4 + 8;

impl CopiedValue {
    /// The type of the elements of an array, and their bytes, if all have the same.
    fn elements(&self) -> Option<(ValueType, usize, &[u8])> {
        let head = self.bytes.get(..ARRAY_HEAD).filter(|_| self.ty == ValueType::Array)?;
        let element = ValueType::from_id(u32::from_le_bytes(head[..4].try_into().ok()?))?;
        Some((element, element.fixed_bytes()?, &self.bytes[ARRAY_HEAD..]))
    }
}

impl Value {
    /// The elements of an array of numbers or truth values; `None` for any other value.
    pub fn n_numbers(&self) -> Option<usize> {
        match self {
            Self::U8s(xs) => Some(xs.len()),
            Self::U32s(xs) => Some(xs.len()),
            Self::U64s(xs) => Some(xs.len()),
            Self::I32s(xs) => Some(xs.len()),
            Self::F32s(xs) => Some(xs.len()),
            Self::Bools(xs) => Some(xs.len()),
            Self::Copied(copied) => copied.elements().map(|(_, width, bytes)| bytes.len() / width),
            _ => None,
        }
    }

    /// Removes the elements of an array of numbers whose index `is_kept` does not keep.
    pub fn retain_numbers(&mut self, is_kept: impl Fn(usize) -> bool) {
        fn retain<T>(xs: &mut Vec<T>, is_kept: impl Fn(usize) -> bool) {
            let mut indices = 0..;
            xs.retain(|_| indices.next().is_some_and(&is_kept));
        }
        match self {
            Self::U8s(xs) => retain(xs, is_kept),
            Self::U32s(xs) => retain(xs, is_kept),
            Self::U64s(xs) => retain(xs, is_kept),
            Self::I32s(xs) => retain(xs, is_kept),
            Self::F32s(xs) => retain(xs, is_kept),
            Self::Bools(xs) => retain(xs, is_kept),
            Self::Copied(copied) => {
                let Some((element, width, bytes)) = copied.elements() else { return };
                let elements = bytes.chunks_exact(width).enumerate().filter(|(i, _)| is_kept(*i));
                let kept: Vec<u8> = elements.flat_map(|(_, element)| element).copied().collect();
                let n = (kept.len() / width) as u64;
                copied.bytes = [&element.id().to_le_bytes()[..], &n.to_le_bytes(), &kept].concat();
            }
            _ => {}
        }
    }

    /// The same value in the type that a conversion gives such values: counts are `u32`, numbers `f32`, and arrays and
    /// texts of other files are read.
    pub fn as_made(&self) -> Self {
        match self {
            Self::Copied(copied) if copied.is_text() => {
                let text = copied.bytes.get(8..).unwrap_or_default();
                Self::String(String::from_utf8_lossy(text).into_owned())
            }
            Self::Copied(copied) => copied.numbers().unwrap_or_else(|| self.clone()),
            Self::F64(x) => Self::F32(*x as f32),
            _ => match self.integer().and_then(|n| u32::try_from(n).ok()) {
                Some(n) => Self::U32(n),
                None => self.clone(),
            },
        }
    }

    /// A whole number of any integer type.
    pub fn integer(&self) -> Option<i128> {
        integer(&Stored::Scalar(self.clone()))
    }

    /// A whole number of any type. A float is one as far as its type has every whole number.
    pub fn whole(&self) -> Option<i128> {
        let of_float =
            |x: f64, bits: i32| (x.fract() == 0.0 && x.abs() <= f64::powi(2.0, bits)).then_some(x as i128);
        match *self {
            Self::F32(x) => of_float(x.into(), 24),
            Self::F64(x) => of_float(x, 53),
            _ => self.integer(),
        }
    }

    /// A number of any type, rounded.
    pub fn float(&self) -> Option<f32> {
        match *self {
            Self::F32(x) => Some(x),
            Self::F64(x) => Some(x as f32),
            _ => self.integer().map(|n| n as f32),
        }
    }

    /// A truth value, which some write as the integer 0 or 1.
    pub fn truth(&self) -> Option<bool> {
        match *self {
            Self::Bool(is) => Some(is),
            _ => match self.integer()? {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
        }
    }
}

impl CopiedValue {
    /// The array, of numbers that are read.
    fn numbers(&self) -> Option<Value> {
        let (element, width, bytes) = self.elements()?;
        let values = || bytes.chunks_exact(width).map(|bytes| decode_scalar(element, bytes));
        Some(match element {
            ValueType::F32 | ValueType::F64 => Value::F32s(
                values()
                    .map(|value| match value.as_made() {
                        Value::F32(x) => x,
                        _ => f32::NAN,
                    })
                    .collect(),
            ),
            ValueType::Bool => Value::Bools(values().map(|value| value == Value::Bool(true)).collect()),
            _ => match values().map(|value| i32::try_from(value.integer()?).ok()).collect() {
                Some(numbers) => Value::I32s(numbers),
                None => Value::U64s(
                    values().map(|value| u64::try_from(value.integer()?).ok()).collect::<Option<_>>()?,
                ),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(element: ValueType, n: u64, bytes: &[u8]) -> Value {
        let bytes = [&element.id().to_le_bytes()[..], &n.to_le_bytes(), bytes].concat();
        Value::Copied(CopiedValue { ty: ValueType::Array, bytes })
    }

    #[test]
    fn values_of_another_type_are_read_where_they_are_clear() {
        for value in [Value::U8(1), Value::I64(1), Value::F32(1.0), Value::F64(1.0)] {
            assert_eq!((value.whole(), value.float()), (Some(1), Some(1.0)));
        }
        assert_eq!(Value::F32(-1.0).whole(), Some(-1));
        assert_eq!(Value::U32(1_000_000).float(), Some(1e6));
        for value in
            [Value::F32(1.5), Value::F32(f32::NAN), Value::F32(1e9), Value::F64(1e300), Value::Bool(true)]
        {
            assert_eq!(value.whole(), None, "{value:?}");
        }
        assert_eq!(Value::Bool(true).float(), None);
        let truths = [Value::Bool(true), Value::U8(0), Value::I32(1), Value::U8(2), Value::F32(1.0)];
        assert_eq!(truths.map(|value| value.truth()), [Some(true), Some(false), Some(true), None, None]);
    }

    #[test]
    fn elements_are_taken_out_of_arrays_of_any_form() {
        for mut array in [copied(ValueType::U16, 3, &[1, 0, 2, 0, 3, 0]), Value::I32s(vec![1, 2, 3])] {
            assert_eq!(array.n_numbers(), Some(3));
            array.retain_numbers(|i| i != 1);
            assert_eq!(array.as_made(), Value::I32s(vec![1, 3]));
        }
        assert_eq!(Value::String("abc".into()).n_numbers(), None);
        assert_eq!(copied(ValueType::Bool, 2, &[0, 1]).as_made(), Value::Bools(vec![false, true]));
        assert_eq!(Value::U64(7).as_made(), Value::U32(7));
        assert_eq!(Value::I32(-7).as_made(), Value::I32(-7));
    }
}
