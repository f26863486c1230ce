//! Changes of metadata that a user asks for: keys to set and keys to remove.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::gguf::{Value, edit};
use crate::limits;
use crate::regular_file;

/// What is to change.
#[derive(Clone, Debug, Default)]
pub struct KeyChanges {
    /// Keys to set, in order.
    pub set: Vec<Setting>,
    /// Keys to remove, before others are set.
    pub removed: Vec<String>,
    /// Of a GGUF file: whether the keys that say how it was made are kept as they are.
    pub keeps_all: bool,
}

/// A key with a new value: `KEY=TYPE:VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    key: String,
    value: Given,
}

#[derive(Clone, Debug, PartialEq)]
enum Given {
    /// Of the type that was given.
    Exactly(Value),
    /// An integer of the type that the key has now, or else of 32 bits if it fits.
    Integer(i128),
    /// The text of a file.
    File(PathBuf),
}

/// The types of a setting.
const TYPES: &str = "str, file (the text of the file that VALUE names), int, float, bool, u8, i8, u16, i16, u32, i32, \
                     u64, i64, f32, f64";

impl FromStr for Setting {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let usage = |what: String| {
            Error::usage(format!("{what}; KEY=TYPE:VALUE is needed, as in general.name=str:My model"))
        };
        let (key, rest) = text.split_once('=').ok_or_else(|| usage(format!("\"{text}\" has no =")))?;
        let (ty, value) = rest.split_once(':').ok_or_else(|| usage(format!("\"{text}\" has no type")))?;
        if key.is_empty() {
            return Err(usage(format!("\"{text}\" has no key")));
        }
        fn number<T: FromStr>(ty: &str, text: &str, make: impl Fn(T) -> Value) -> Result<Given> {
            let parsed =
                text.trim().parse().map_err(|_| Error::usage(format!("\"{text}\" is not of type {ty}")));
            parsed.map(|x| Given::Exactly(make(x)))
        }
        let value = match ty {
            "str" | "string" => Given::Exactly(Value::String(value.to_owned())),
            "file" => Given::File(value.into()),
            "int" => {
                let n = value
                    .trim()
                    .parse()
                    .map_err(|_| Error::usage(format!("\"{value}\" is not an integer")))?;
                Given::Integer(n)
            }
            "float" | "f32" => number(ty, value, Value::F32)?,
            "f64" => number(ty, value, Value::F64)?,
            "bool" => number(ty, value, Value::Bool)?,
            "u8" => number(ty, value, Value::U8)?,
            "i8" => number(ty, value, Value::I8)?,
            "u16" => number(ty, value, Value::U16)?,
            "i16" => number(ty, value, Value::I16)?,
            "u32" => number(ty, value, Value::U32)?,
            "i32" => number(ty, value, Value::I32)?,
            "u64" => number(ty, value, Value::U64)?,
            "i64" => number(ty, value, Value::I64)?,
            _ => return Err(usage(format!("\"{ty}\" is not a type of {text}; there are {TYPES}"))),
        };
        Ok(Self { key: key.to_owned(), value })
    }
}

impl Setting {
    /// The settings in a JSON file, an object of keys and values: texts, lists of texts, numbers, true and false.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] for another form.
    pub fn read_all(path: &Path) -> Result<Vec<Self>> {
        let bytes = regular_file::read(path, limits::MAX_CONFIG_BYTES)?;
        let object: serde_json::Map<String, Json> =
            serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)).map_err(|e| {
                let example = "{\"general.name\": \"My model\"}";
                Error::malformed(path, format!("not a JSON object, as {example}: {e}"))
            })?;
        let setting = |(key, value): (String, Json)| match given(&value) {
            Some(value) if !key.is_empty() => Ok(Self { key, value }),
            _ => {
                let name = key.escape_debug();
                let what = format!(
                    "\"{name}\" has the value {value}; a key has a name, and a text, a number, true, false or a list of \
                     texts for a value"
                );
                Err(Error::malformed(path, what))
            }
        };
        object.into_iter().map(setting).collect()
    }

    /// A key with a text.
    pub fn text(key: &str, text: &str) -> Self {
        Self { key: key.to_owned(), value: Given::Exactly(Value::String(text.to_owned())) }
    }

    /// The value in place of `old`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Unsupported`] for a file that cannot be read as text, [`Error::Usage`] for an
    /// integer that does not fit.
    fn value(&self, old: Option<&Value>) -> Result<Value> {
        match &self.value {
            Given::Exactly(value) => Ok(value.clone()),
            Given::File(path) => read_text(path).map(Value::String),
            &Given::Integer(n) => integer(n, old)
                .ok_or_else(|| Error::usage(format!("{}: {n} does not fit the type of this key", self.key))),
        }
    }
}

/// What a JSON value is as that of a key, if it can be one.
fn given(value: &Json) -> Option<Given> {
    Some(match value {
        Json::String(text) => Given::Exactly(Value::String(text.clone())),
        Json::Bool(flag) => Given::Exactly(Value::Bool(*flag)),
        Json::Number(number) => match number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)) {
            Some(n) => Given::Integer(n),
            None => Given::Exactly(Value::F32(number.as_f64()? as f32)),
        },
        Json::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            Given::Exactly(Value::Strings(texts.collect::<Option<_>>()?))
        }
        Json::Null | Json::Object(_) => return None,
    })
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = regular_file::read(path, limits::MAX_STRING_BYTES as u64)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::unsupported(path, "it is not UTF-8 text; convert it to UTF-8 first"))
}

fn integer(n: i128, old: Option<&Value>) -> Option<Value> {
    match old {
        Some(Value::U8(_)) => n.try_into().ok().map(Value::U8),
        Some(Value::I8(_)) => n.try_into().ok().map(Value::I8),
        Some(Value::U16(_)) => n.try_into().ok().map(Value::U16),
        Some(Value::I16(_)) => n.try_into().ok().map(Value::I16),
        Some(Value::U32(_)) => n.try_into().ok().map(Value::U32),
        Some(Value::I32(_)) => n.try_into().ok().map(Value::I32),
        Some(Value::U64(_)) => n.try_into().ok().map(Value::U64),
        Some(Value::I64(_)) => n.try_into().ok().map(Value::I64),
        _ => {
            let small = u32::try_from(n).map(Value::U32).or_else(|_| n.try_into().map(Value::I32));
            small.or_else(|_| n.try_into().map(Value::U64)).or_else(|_| n.try_into().map(Value::I64)).ok()
        }
    }
}

impl KeyChanges {
    /// Whether a key is set.
    pub fn sets(&self, key: &str) -> bool {
        self.set.iter().any(|setting| setting.key == key)
    }

    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }

    /// Changes `pairs`. `notes` gets what the user should know.
    ///
    /// # Errors
    /// [`Error::Usage`] for a key that belongs to the layout of the file or an integer that does not fit;
    /// [`Error::Io`] or [`Error::Unsupported`] for a text that cannot be read.
    pub fn apply(&self, pairs: &mut Vec<(String, Value)>, notes: &mut Vec<String>) -> Result<()> {
        let keys = self.removed.iter().chain(self.set.iter().map(|setting| &setting.key));
        if let Some(key) = keys.into_iter().find(|key| edit::is_of_layout(key)) {
            return Err(Error::usage(format!(
                "{key} says where the tensors are; it cannot be changed by itself; leave it out"
            )));
        }
        for key in &self.removed {
            let before = pairs.len();
            pairs.retain(|(other, _)| other != key);
            if pairs.len() == before {
                notes.push(format!("--remove-kv {key}: there is no such key"));
            }
        }
        for setting in &self.set {
            let old = pairs.iter_mut().find(|(key, _)| *key == setting.key);
            let value = setting.value(old.as_ref().map(|(_, value)| value))?;
            match old {
                None => pairs.push((setting.key.clone(), value)),
                Some((key, old)) => {
                    let (was, is) = (kind(old), kind(&value));
                    if was != is {
                        notes.push(format!("{key} was {was} and is {is} now; readers may refuse the file"));
                    }
                    *old = value;
                }
            }
        }
        Ok(())
    }
}

/// What readers tell apart.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::U8(_) | Value::I8(_) | Value::U16(_) | Value::I16(_) | Value::U32(_) => "an integer",
        Value::I32(_) | Value::U64(_) | Value::I64(_) => "an integer",
        Value::F32(_) | Value::F64(_) => "a float",
        Value::Bool(_) => "a truth value",
        Value::String(_) => "a text",
        Value::Strings(_)
        | Value::U8s(_)
        | Value::U32s(_)
        | Value::U64s(_)
        | Value::I32s(_)
        | Value::F32s(_)
        | Value::Bools(_) => "an array",
        Value::Copied(copied) if copied.is_text() => "a text",
        Value::Copied(_) => "an array",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_holds_texts_lists_and_numbers() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let read = |text: &str| {
            std::fs::write(file.path(), text).expect("written");
            Setting::read_all(file.path())
        };
        let found =
            read(r#"{"general.name": "M", "general.tags": ["a", "b"], "x.n": 5, "x.f": 0.5, "x.b": true}"#);
        let values: Vec<Value> =
            found.expect("sound").iter().map(|setting| setting.value(None).expect("fits")).collect();
        let tags = Value::Strings(vec!["a".into(), "b".into()]);
        assert_eq!(
            values,
            [Value::String("M".into()), tags, Value::U32(5), Value::F32(0.5), Value::Bool(true)]
        );
        for (text, reason) in [
            ("[]", "not a JSON object"),
            (r#"{"a": null}"#, "the value null; a key has"),
            (r#"{"a": {"b": 1}}"#, "a list of texts for a value"),
            (r#"{"a": [1]}"#, "a list of texts for a value"),
            (r#"{"": "x"}"#, "a key has a name"),
        ] {
            let message = read(text).expect_err(text).to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    fn changed(
        pairs: &[(&str, Value)],
        set: &[&str],
        removed: &[&str],
    ) -> (Vec<(String, Value)>, Vec<String>) {
        let mut pairs: Vec<_> = pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut notes = Vec::new();
        let changes = KeyChanges {
            set: set.iter().map(|text| text.parse().expect("a setting")).collect(),
            removed: removed.iter().map(|&key| key.to_owned()).collect(),
            keeps_all: false,
        };
        changes.apply(&mut pairs, &mut notes).expect("applied");
        (pairs, notes)
    }

    #[test]
    fn keys_are_replaced_in_their_place_and_added_at_the_end() {
        let before = [("a", Value::I16(1)), ("b", Value::Bool(true))];
        let (after, notes) = changed(&before, &["a=int:-7", "c=str:x=1:2", "d=int:5"], &["b"]);
        let expected = [("a", Value::I16(-7)), ("c", Value::String("x=1:2".into())), ("d", Value::U32(5))];
        assert_eq!(after, expected.map(|(key, value)| (key.to_owned(), value)));
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn a_change_of_kind_and_a_key_that_is_not_there_are_told() {
        let (_, notes) = changed(&[("a", Value::U32(1))], &["a=str:x"], &["z"]);
        assert_eq!(notes.len(), 2);
        assert!(notes[0].contains("z") && notes[1].contains("was an integer and is a text"), "{notes:?}");
    }

    #[test]
    fn slips_are_answered_with_the_form_that_is_needed() {
        for (text, expected) in [
            ("a", "has no ="),
            ("a=5", "has no type"),
            ("=int:5", "has no key"),
            ("a=int32:5", "u32, i32"),
            ("a=int:x", "not an integer"),
            ("a=u8:256", "not of type u8"),
            ("a=bool:yes", "not of type bool"),
        ] {
            let message = text.parse::<Setting>().expect_err(text).to_string();
            assert!(message.contains(expected), "{message}");
        }
        let changes =
            KeyChanges { set: vec!["a=int:70000".parse().expect("a setting")], ..KeyChanges::default() };
        let error =
            changes.apply(&mut vec![("a".into(), Value::U16(1))], &mut Vec::new()).expect_err("too large");
        assert!(error.to_string().contains("70000 does not fit"), "{error}");
        let changes = KeyChanges { removed: vec!["general.alignment".into()], ..KeyChanges::default() };
        assert!(changes.apply(&mut Vec::new(), &mut Vec::new()).is_err());
    }
}
