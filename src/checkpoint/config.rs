//! The JSON objects beside a checkpoint, with getters that say which key is wrong and how.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::json;
use crate::error::{Error, Result};
use crate::limits;

/// A JSON object from config.json or a file like it, with the place it came from.
///
/// The getters return `None` for a key that is absent or null, and an error for one of the wrong
/// type.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    /// The keys of the objects around this one, each with a dot behind it.
    prefix: String,
    object: Map<String, Value>,
}

/// The largest integer up to which every integer is an `f64`.
const MAX_EXACT_F64: f64 = 9_007_199_254_740_992.0;

impl Config {
    /// Reads the JSON object in the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Limit`] for a file too long, [`Error::Malformed`] if it is no JSON
    /// object.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(path, &json::read_text(path, limits::MAX_CONFIG_BYTES)?)
    }

    /// Parses the JSON object in `text`; `path` names it in messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no JSON object.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let object = json::parse_object(path, text)?;
        Ok(Self { path: path.to_owned(), prefix: String::new(), object })
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every key, in the file's order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.object.keys().map(String::as_str)
    }

    /// The value as it stands in the file; `None` if absent or null.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// A string.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is of another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        self.get(key, "a string", Value::as_str)
    }

    /// An integer not below zero; written as a float (4096.0) it counts if it is whole.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is of another type, negative, or not whole.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        self.get(key, "a whole number not below 0", as_count)
    }

    /// A number.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is of another type, or too large for an `f32`.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.get(key, "a number", as_f32)
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is of another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", Value::as_bool)
    }

    /// A list of strings.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is of another type.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>> {
        self.get(key, "a list of strings", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    /// A list of numbers.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is of another type, or a number is too large for an `f32`.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.get(key, "a list of numbers", |value| value.as_array()?.iter().map(as_f32).collect())
    }

    /// One token id or a list of them, as `eos_token_id` comes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is of another type.
    pub fn token_ids(&self, key: &str) -> Result<Option<Vec<u32>>> {
        let id = |value: &Value| u32::try_from(as_count(value)?).ok();
        self.get(key, "a token id or a list of them", |value| match value {
            Value::Array(ids) => ids.iter().map(id).collect(),
            one => Some(vec![id(one)?]),
        })
    }

    /// An object inside this one.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is of another type.
    pub fn object(&self, key: &str) -> Result<Option<Self>> {
        let object = self.get(key, "an object", Value::as_object)?;
        Ok(object.map(|object| Self {
            path: self.path.clone(),
            prefix: format!("{}{key}.", self.prefix),
            object: object.clone(),
        }))
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
        self.count(key)?.ok_or_else(|| self.absent(key, "a whole number"))
    }

    /// [`Self::f32`] of a key that must be there.
    ///
    /// # Errors
    /// As that, and [`Error::Malformed`] if the key is absent.
    pub fn required_f32(&self, key: &str) -> Result<f32> {
        self.f32(key)?.ok_or_else(|| self.absent(key, "a number"))
    }

    fn get<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| {
            let what = format!("{}{key} should be {expected}, and is {}", self.prefix, excerpt(value));
            Error::malformed(&self.path, what)
        })
    }

    fn absent(&self, key: &str, expected: &str) -> Error {
        Error::malformed(&self.path, format!("{}{key} is missing; {expected} is needed there", self.prefix))
    }
}

fn as_count(value: &Value) -> Option<usize> {
    let whole = |x: f64| (x.fract() == 0.0 && (0.0..=MAX_EXACT_F64).contains(&x)).then_some(x as u64);
    let n = value.as_u64().or_else(|| value.as_f64().and_then(whole))?;
    usize::try_from(n).ok()
}

fn as_f32(value: &Value) -> Option<f32> {
    value.as_f64().map(|x| x as f32).filter(|x| x.is_finite())
}

/// The beginning of a value, for a message.
fn excerpt(value: &Value) -> String {
    const SHOWN_CHARS: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("config.json"), text).unwrap()
    }

    #[test]
    fn counts_may_be_written_as_floats_when_whole() {
        let config = config(r#"{"a": 4096, "b": 4096.0, "c": 4096.5, "d": -1, "e": 1e300, "f": null}"#);
        assert_eq!(config.count("a").unwrap(), Some(4096));
        assert_eq!(config.count("b").unwrap(), Some(4096));
        for wrong in ["c", "d", "e"] {
            assert!(config.count(wrong).is_err(), "{wrong}");
        }
        assert_eq!(config.count("f").unwrap(), None);
        assert_eq!(config.count("g").unwrap(), None);
    }

    #[test]
    fn floats_may_be_written_as_integers_or_exponents() {
        let config = config(r#"{"eps": 1e-05, "theta": 500000, "huge": 1e39}"#);
        assert_eq!(config.f32("eps").unwrap(), Some(1e-5));
        assert_eq!(config.f32("theta").unwrap(), Some(500_000.0));
        assert!(config.f32("huge").is_err());
    }

    #[test]
    fn a_wrong_type_names_file_key_expected_and_found() {
        let config = config(r#"{"rope_scaling": {"factor": "eight"}}"#);
        let scaling = config.object("rope_scaling").unwrap().unwrap();
        let message = scaling.required_f32("factor").unwrap_err().to_string();
        assert_eq!(message, "config.json: rope_scaling.factor should be a number, and is \"eight\"");
        let message = scaling.required_count("low").unwrap_err().to_string();
        assert!(message.contains("rope_scaling.low is missing"), "{message}");
    }

    #[test]
    fn token_ids_come_alone_or_as_a_list() {
        let config = config(r#"{"one": 2, "two": [2, 3], "bad": [2, -3], "wide": 4294967296}"#);
        assert_eq!(config.token_ids("one").unwrap(), Some(vec![2]));
        assert_eq!(config.token_ids("two").unwrap(), Some(vec![2, 3]));
        assert!(config.token_ids("bad").is_err());
        assert!(config.token_ids("wide").is_err());
    }
}
