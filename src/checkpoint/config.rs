//! The JSON objects beside a checkpoint, with getters that say which key is wrong and how.

use std::collections::HashMap;
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
    /// What counts where a key is absent.
    defaults: Map<String, Value>,
}

/// Characters of a value, and of a whole object, that messages show.
const MAX_EXCERPT_CHARS: usize = 40;
const MAX_DESCRIBED_CHARS: usize = 200;

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

    /// As [`Self::parse`] for a file that is not worth an error: where it has no object, there is none, and
    /// `notes` gets the reason. The words that Python writes for numbers that are none (`NaN`,
    /// `Infinity`) count as null, each with a note.
    pub fn parse_tolerantly(path: &Path, text: &str, notes: &mut Vec<String>) -> Option<Self> {
        if matches!(text.trim(), "" | "null") {
            notes.push(format!("{} is left aside: it is empty", path.display()));
            return None;
        }
        let (text, words) = json::without_number_words(text, json::NULLS);
        let words = words.iter().map(|(line, word)| {
            format!("{}: line {line}: {word} is left out: it is not a number", path.display())
        });
        notes.extend(words);
        Self::parse(path, &text).map_err(|e| notes.push(format!("left aside: {e}"))).ok()
    }

    /// Parses the JSON object in `text`; `path` names it in messages. The words that Python writes for numbers that
    /// are none count as strings: harmless where nothing is read, refused where a number is.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no JSON object.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let object = json::parse_object(path, &json::without_number_words(text, json::STRINGS).0)?;
        Ok(Self::made(path, object))
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every key, in the file's order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.object.keys().map(String::as_str)
    }

    /// Values that were made of the file at `path`.
    pub(super) fn made(path: &Path, object: Map<String, Value>) -> Self {
        Self { path: path.to_owned(), prefix: String::new(), object, defaults: Map::new() }
    }

    /// Sets `key`, in `text_config` as well if that is there.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        if let Some(inner) = self.object.get_mut("text_config").and_then(Value::as_object_mut) {
            inner.insert(key.to_owned(), value.clone());
        }
        self.object.insert(key.to_owned(), value);
    }

    /// What counts where a key is absent; one that is null, or has another of its `names` in the file, stays so.
    pub(crate) fn with_defaults(
        mut self,
        mut defaults: Map<String, Value>,
        names: &HashMap<String, String>,
    ) -> Self {
        for (_, name) in names.iter().filter(|(other, _)| self.object.contains_key(*other)) {
            defaults.remove(name);
        }
        self.defaults = defaults;
        self
    }

    /// Sets `key` to a number: in `text_config`, which larger models have, if it is there.
    pub(super) fn set_count(&mut self, key: &str, n: usize) {
        let inner = self.object.get_mut("text_config").and_then(Value::as_object_mut);
        let object = match inner {
            Some(inner) if inner.contains_key(key) => inner,
            _ => &mut self.object,
        };
        object.insert(key.to_owned(), Value::from(n));
    }

    /// The value in the file, or what counts where it is absent; `None` if that is not known, or null.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.object.get(key).or_else(|| self.defaults.get(key)).filter(|value| !value.is_null())
    }

    /// Whether the file itself has a value.
    pub fn says(&self, key: &str) -> bool {
        self.object.get(key).is_some_and(|value| !value.is_null())
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

    /// Token ids: one or a list of them, as `eos_token_id` comes; none where the key is absent. A null
    /// or negative one is left out: some files write "none" so.
    ///
    /// # Errors
    /// [`Error::Malformed`] if one is of another type or needs more than 32 bits.
    pub fn token_ids(&self, key: &str) -> Result<Vec<u32>> {
        let (ids, wrong) = self.sorted_token_ids(key);
        match wrong.first() {
            None => Ok(ids),
            Some(wrong) => Err(self.wrong(key, "a token id or a list of them", wrong)),
        }
    }

    /// As [`Self::token_ids`], for files that are not worth an error: what is not an id is left out, and
    /// told in a sentence each.
    pub fn token_ids_or_notes(&self, key: &str) -> (Vec<u32>, Vec<String>) {
        let (ids, wrong) = self.sorted_token_ids(key);
        let note = |value: &&Value| {
            let (path, prefix) = (self.path.display(), &self.prefix);
            format!("{path}: {prefix}{key} is left out: {} is not a token id", excerpt(value))
        };
        (ids, wrong.iter().map(note).collect())
    }

    /// The ids under `key`, and what is none.
    fn sorted_token_ids(&self, key: &str) -> (Vec<u32>, Vec<&Value>) {
        let values = match self.value(key) {
            None => return (Vec::new(), Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let (mut ids, mut wrong) = (Vec::new(), Vec::new());
        for value in values.iter().filter(|value| !is_no_id(value)) {
            match as_count(value).and_then(|id| u32::try_from(id).ok()) {
                Some(id) => ids.push(id),
                None => wrong.push(value),
            }
        }
        (ids, wrong)
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
            defaults: Map::new(),
        }))
    }

    /// What it is and holds, for messages: `rope_scaling {"type":"linear","factor":2.0}`.
    pub fn described(&self) -> String {
        let name = self.prefix.trim_end_matches('.');
        let json = excerpt_of(&Value::Object(self.object.clone()), MAX_DESCRIBED_CHARS);
        if name.is_empty() { json } else { format!("{name} {json}") }
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
        read(value).map(Some).ok_or_else(|| self.wrong(key, expected, value))
    }

    fn wrong(&self, key: &str, expected: &str, value: &Value) -> Error {
        let what = format!("{}{key} should be {expected}, and is {}", self.prefix, excerpt(value));
        Error::malformed(&self.path, what)
    }

    fn absent(&self, key: &str, expected: &str) -> Error {
        Error::malformed(&self.path, format!("{}{key} is missing; {expected} is needed there", self.prefix))
    }
}

/// Whether a value says that there is no token.
fn is_no_id(value: &Value) -> bool {
    value.is_null() || value.as_f64().is_some_and(|id| id < 0.0)
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
pub(crate) fn excerpt(value: &Value) -> String {
    excerpt_of(value, MAX_EXCERPT_CHARS)
}

fn excerpt_of(value: &Value, max_chars: usize) -> String {
    let text = value.to_string();
    match text.char_indices().nth(max_chars) {
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
    fn number_words_of_python_matter_only_where_they_are_read() {
        let config = config(r#"{"time_step_limit": [0.0, Infinity], "eps": NaN, "name": "-Infinity"}"#);
        assert_eq!(config.value("time_step_limit").unwrap(), &serde_json::json!([0.0, "Infinity"]));
        assert_eq!(config.string("name").unwrap(), Some("-Infinity"));
        let message = config.f32("eps").unwrap_err().to_string();
        assert!(message.contains("eps") && message.contains("NaN"), "{message}");
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
        let config = config(r#"{"one": 2, "two": [2, 3], "none": [-1, null, 2.0], "less": -1}"#);
        assert_eq!(config.token_ids("one").unwrap(), [2]);
        assert_eq!(config.token_ids("two").unwrap(), [2, 3]);
        assert_eq!(config.token_ids("none").unwrap(), [2]);
        assert!(config.token_ids("less").unwrap().is_empty());
        assert!(config.token_ids("absent").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_token_id_is_an_error_or_a_note() {
        for wrong in ["\"2\"", "4294967296", "true", "{}", "[2, [3]]", "1.5"] {
            let config = config(&format!(r#"{{"id": {wrong}}}"#));
            assert!(config.token_ids("id").is_err(), "{wrong}");
            assert_eq!(config.token_ids_or_notes("id").1.len(), 1, "{wrong}");
        }
        let config = config(r#"{"id": [2, "x", 3]}"#);
        let (ids, notes) = config.token_ids_or_notes("id");
        assert_eq!(ids, [2, 3]);
        assert_eq!(notes, ["config.json: id is left out: \"x\" is not a token id"]);
    }

    #[test]
    fn a_file_that_is_not_worth_an_error_gives_what_it_has_and_notes() {
        let parse = |text: &str| {
            let mut notes = Vec::new();
            (Config::parse_tolerantly(Path::new("generation_config.json"), text, &mut notes), notes)
        };
        for text in ["", " \n", "null", "[]", "{", "\"x\"", "{\"a\": 1} x"] {
            let (config, notes) = parse(text);
            assert!(config.is_none() && notes.len() == 1, "{text}: {notes:?}");
        }
        let (config, notes) =
            parse("{\"a\": NaN, \"b\": \"-Infinity \\\" NaN\",\n\"c\": [-Infinity, 2], \"d\": 3}");
        let config = config.unwrap();
        assert!(config.value("a").is_none());
        assert_eq!(config.string("b").unwrap(), Some("-Infinity \" NaN"));
        assert_eq!(config.token_ids("c").unwrap(), [2]);
        assert_eq!(config.count("d").unwrap(), Some(3));
        assert!(notes[0].contains("line 1: NaN") && notes[1].contains("line 2: -Infinity"), "{notes:?}");
        assert_eq!(notes.len(), 2);
    }
}
