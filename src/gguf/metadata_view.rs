//! Metadata as `inspect` shows it: a short line for people, JSON for programs.

use std::fmt::Write as _;

use byteorder::{ByteOrder, LittleEndian};
use serde_json::{Number, Value as Json};

use super::metadata::{Metadata, Stored, StoredArray, decode_scalar, integer};
use super::value::{Value, ValueType};

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
    /// finite) or U+FFFD (bytes that are not UTF-8); so does the value of a key that is absent.
    pub fn to_json(&self, key: &str) -> Json {
        match self.stored(key) {
            None => Json::Null,
            Some(Stored::Scalar(value)) => json_scalar(value),
            Some(Stored::String(range)) => {
                Json::String(String::from_utf8_lossy(self.slice(range)).into_owned())
            }
            Some(Stored::Array(array)) => {
                let mut bytes = self.slice(&array.bytes);
                Json::Array(json_elements(&mut bytes, array.element, array.len))
            }
        }
    }

    fn display_array(&self, array: &StoredArray) -> String {
        let shown = array.len.min(SHOWN_ELEMENTS);
        let mut bytes = self.slice(&array.bytes);
        let mut line = format!("[{}; {}]", array.element.name(), array.len);
        for i in 0..shown {
            line.push_str(if i == 0 { ": " } else { ", " });
            match array.element {
                ValueType::String => line.push_str(&display_string(take_string(&mut bytes))),
                ValueType::Array => line.push('…'),
                scalar => line.push_str(&display_scalar(&take_scalar(&mut bytes, scalar))),
            }
        }
        if shown < array.len {
            line.push_str(", …");
        }
        line
    }
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

/// The elements at the front of `bytes`, which move on behind them. The depth is limited: the walk
/// at opening has seen to it.
fn json_elements(bytes: &mut &[u8], element: ValueType, len: usize) -> Vec<Json> {
    (0..len)
        .map(|_| match element {
            ValueType::String => Json::String(String::from_utf8_lossy(take_string(bytes)).into_owned()),
            ValueType::Array => {
                let (head, rest) = bytes.split_at(12);
                *bytes = rest;
                match ValueType::from_id(LittleEndian::read_u32(&head[..4])) {
                    Some(inner) => Json::Array(json_elements(bytes, inner, to_len(&head[4..]))),
                    None => Json::Null,
                }
            }
            scalar => json_scalar(&take_scalar(bytes, scalar)),
        })
        .collect()
}

fn take_string<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = bytes.split_at(8);
    let (string, rest) = rest.split_at(to_len(length));
    *bytes = rest;
    string
}

fn take_scalar(bytes: &mut &[u8], ty: ValueType) -> Value {
    let (head, rest) = bytes.split_at(ty.least_bytes());
    *bytes = rest;
    decode_scalar(ty, head)
}

/// A length that the walk at opening found to fit in the file.
fn to_len(bytes: &[u8]) -> usize {
    usize::try_from(LittleEndian::read_u64(bytes)).unwrap_or(usize::MAX)
}
