//! Metadata as `inspect` shows it: a short line for people, JSON for programs.

use std::fmt::Write as _;

use serde_json::{Number, Value as Json};

use super::cursor::Cursor;
use super::metadata::{Metadata, Stored, StoredArray, decode_scalar, integer};
use super::value::{Value, ValueType};
use crate::error::Result;
use crate::limits;

/// Characters of a string that [`Metadata::display`] shows.
const SHOWN_CHARS: usize = 60;

/// Elements of an array that [`Metadata::display`] shows.
const SHOWN_ELEMENTS: usize = 4;

impl Metadata {
    /// One short line: numbers whole, long strings and arrays cut, control characters escaped.
    /// Empty for a key that is absent.
    pub fn display(&self, key: &str) -> String {
        match self.stored(key) {
            None => String::new(),
            Some(Stored::Scalar(value)) => display_scalar(value),
            Some(Stored::String(range)) => display_string(self.slice(range)),
            Some(Stored::Array(array)) => self.display_array(array),
        }
    }

    /// The whole value as JSON. What JSON has no word for becomes `null` (floats that are not
    /// finite) or U+FFFD (bytes that are not UTF-8); a key that is absent is `null` too.
    pub fn to_json(&self, key: &str) -> Json {
        match self.stored(key) {
            None => Json::Null,
            Some(Stored::Scalar(value)) => json_scalar(value),
            Some(Stored::String(range)) => {
                Json::String(String::from_utf8_lossy(self.slice(range)).into_owned())
            }
            Some(Stored::Array(array)) => {
                json_elements(&mut self.cursor_at(array), array.element, array.len, 1).unwrap_or_default()
            }
        }
    }

    fn display_array(&self, array: &StoredArray) -> String {
        let mut line = format!("[{}; {}]", array.element.name(), array.len);
        let mut cursor = self.cursor_at(array);
        for i in 0..array.len.min(SHOWN_ELEMENTS) {
            line.push_str(if i == 0 { ": " } else { ", " });
            line.push_str(&display_element(&mut cursor, array.element).unwrap_or_default());
        }
        if array.len > SHOWN_ELEMENTS {
            line.push_str(", …");
        }
        line
    }

    fn cursor_at(&self, array: &StoredArray) -> Cursor<'_> {
        Cursor::new(self.path(), self.slice(&(0..array.bytes.end)), array.bytes.start)
    }
}

fn display_element(cursor: &mut Cursor<'_>, element: ValueType) -> Result<String> {
    Ok(match element {
        ValueType::String => display_string(take_string(cursor)?),
        // Where the next one begins is known only by walking this one.
        ValueType::Array => "…".into(),
        scalar => display_scalar(&take_scalar(cursor, scalar)?),
    })
}

fn display_scalar(value: &Value) -> String {
    match value {
        Value::F32(x) => format!("{x:?}"),
        Value::F64(x) => format!("{x:?}"),
        Value::Bool(b) => b.to_string(),
        other => integer(&Stored::Scalar(other.clone())).map_or_else(String::new, |n| n.to_string()),
    }
}

fn display_string(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut line = String::from('"');
    for (i, c) in text.chars().enumerate() {
        if i == SHOWN_CHARS {
            let _ = write!(line, "…\" ({} bytes)", bytes.len());
            return line;
        }
        line.extend(c.escape_debug());
    }
    line.push('"');
    line
}

fn json_scalar(value: &Value) -> Json {
    match value {
        // Through its shortest decimal form, so that 0.1 stays 0.1 rather than 0.10000000149.
        Value::F32(x) => {
            x.to_string().parse().ok().and_then(Number::from_f64).map_or(Json::Null, Json::Number)
        }
        Value::F64(x) => Number::from_f64(*x).map_or(Json::Null, Json::Number),
        Value::Bool(b) => Json::Bool(*b),
        other => match integer(&Stored::Scalar(other.clone())) {
            Some(n) => Number::from_i128(n).map_or(Json::Null, Json::Number),
            None => Json::Null,
        },
    }
}

/// The next `len` elements as a JSON array.
///
/// The walk at opening has seen that they are sound, but the lengths inside are read again, and a
/// file changed meanwhile must do no harm: so the same checks hold here.
///
/// # Errors
/// As the walk's, for a file changed since.
fn json_elements(cursor: &mut Cursor<'_>, element: ValueType, len: usize, depth: usize) -> Result<Json> {
    let elements = (0..len).map(|_| match element {
        ValueType::String => Ok(Json::String(String::from_utf8_lossy(take_string(cursor)?).into_owned())),
        ValueType::Array => {
            let inner = ValueType::from_id(cursor.u32(format_args!("an element type"))?);
            match inner.filter(|_| depth < limits::MAX_ARRAY_DEPTH) {
                Some(inner) => {
                    let what = format_args!("an array's length");
                    let len = cursor.count(limits::MAX_ARRAY_LEN, inner.least_bytes(), what)?;
                    json_elements(cursor, inner, len, depth + 1)
                }
                None => Ok(Json::Null),
            }
        }
        scalar => take_scalar(cursor, scalar).map(|value| json_scalar(&value)),
    });
    elements.collect::<Result<Vec<Json>>>().map(Json::Array)
}

fn take_string<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8]> {
    let what = format_args!("a string");
    let n = cursor.count(limits::MAX_STRING_BYTES, 1, what)?;
    cursor.take(n, what)
}

fn take_scalar(cursor: &mut Cursor<'_>, ty: ValueType) -> Result<Value> {
    let bytes = cursor.take(ty.least_bytes(), format_args!("a {}", ty.name()))?;
    Ok(decode_scalar(ty, bytes))
}
