//! The sampling options that a model file asks for.

use serde_json::Value;

use super::SamplerOptions;
use crate::gguf::Metadata;
use crate::model::sampling::{MIN_P, REPEAT_PENALTY, SamplingNumber, TEMPERATURE, TOP_K, TOP_P};

impl SamplerOptions {
    /// The default options, overridden by the `general.sampling.*` keys of a GGUF file. A window
    /// over the whole context (-1) becomes `n_ctx`.
    ///
    /// They are recommendations: one of the wrong type or out of range is left out, and told in a
    /// sentence.
    pub fn from_metadata(metadata: &Metadata, n_ctx: usize) -> (Self, Vec<String>) {
        let mut keys = Keys { metadata, notes: Vec::new() };
        let default = Self::default();
        let options = Self {
            temperature: keys.number(TEMPERATURE).unwrap_or(default.temperature),
            // Files written for llama.cpp turn it off by 0 or anything below.
            top_k: keys.integer(TOP_K).map_or(default.top_k, |k| usize::try_from(k).unwrap_or(0)),
            top_p: keys.number(TOP_P).unwrap_or(default.top_p),
            min_p: keys.number(MIN_P).unwrap_or(default.min_p),
            repeat_penalty: keys.number(REPEAT_PENALTY).unwrap_or(default.repeat_penalty),
            repeat_last_n: match keys.integer("penalty_last_n") {
                None => default.repeat_last_n,
                Some(n) => usize::try_from(n).map_or(n_ctx, |n| n.min(n_ctx)),
            },
            ..default
        };
        (options, keys.notes)
    }
}

/// The `general.sampling.*` keys, and what is wrong with those asked for.
struct Keys<'a> {
    metadata: &'a Metadata,
    notes: Vec<String>,
}

impl Keys<'_> {
    /// A number within its range. Files have temperatures below 0 for "the likeliest token".
    fn number(&mut self, number: SamplingNumber) -> Option<f32> {
        let read = |value: Value| {
            let value = value.as_f64()? as f32;
            let value = if number == TEMPERATURE { value.max(0.0) } else { value };
            number.allows(value).then_some(value)
        };
        self.read(number.gguf_name, read, &format!("a number {number}"))
    }

    /// An integer of either sign.
    fn integer(&mut self, name: &str) -> Option<i64> {
        self.read(name, |value| value.as_i64(), "an integer")
    }

    fn read<T>(&mut self, name: &str, read: impl Fn(Value) -> Option<T>, expected: &str) -> Option<T> {
        let key = format!("general.sampling.{name}");
        if !self.metadata.contains(&key) {
            return None;
        }
        let value = read(self.metadata.to_json(&key));
        if value.is_none() {
            let (path, found) = (self.metadata.path().display(), self.metadata.display(&key));
            self.notes.push(format!("{path}: {key} is {found} and is left out: it should be {expected}"));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{DEFAULT_ALIGNMENT, GgufFile, GgufWriter, Layout, Value};

    fn options(pairs: &[(&str, Value)]) -> (SamplerOptions, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.gguf");
        let pairs = pairs.iter().map(|(key, value)| (format!("general.sampling.{key}"), value.clone()));
        let layout = Layout::new(pairs.collect(), Vec::new(), DEFAULT_ALIGNMENT).expect("a layout");
        GgufWriter::create(&path, layout, false).and_then(GgufWriter::finish).expect("written");
        let file = GgufFile::open(&path).expect("opened");
        SamplerOptions::from_metadata(file.metadata(), 100)
    }

    #[test]
    fn file_overrides_the_defaults_key_by_key() {
        assert_eq!(options(&[]), (SamplerOptions::default(), Vec::new()));
        let found = options(&[
            ("temp", Value::F32(0.25)),
            ("top_k", Value::I32(7)),
            ("top_p", Value::F32(0.5)),
            ("min_p", Value::F32(0.125)),
            ("penalty_repeat", Value::F32(1.5)),
            ("penalty_last_n", Value::I32(-1)),
        ]);
        let expected = SamplerOptions {
            temperature: 0.25,
            top_k: 7,
            top_p: 0.5,
            min_p: 0.125,
            repeat_penalty: 1.5,
            repeat_last_n: 100,
            ..SamplerOptions::default()
        };
        assert_eq!(found, (expected, Vec::new()));
    }

    #[test]
    fn negative_top_k_is_off() {
        assert_eq!(options(&[("top_k", Value::I32(-5))]).0.top_k, 0);
    }

    #[test]
    fn values_that_make_no_sense_are_left_out_with_a_note() {
        for (key, value) in [
            ("top_p", Value::F32(2.0)),
            ("top_p", Value::F32(f32::NAN)),
            ("temp", Value::F32(f32::INFINITY)),
            ("temp", Value::String("warm".into())),
            ("min_p", Value::F32(-0.5)),
            ("penalty_repeat", Value::F32(0.0)),
            ("top_k", Value::String("many".into())),
            ("top_k", Value::F32(40.5)),
            ("penalty_last_n", Value::Bool(true)),
        ] {
            let (found, notes) = options(&[(key, value)]);
            assert_eq!(found, SamplerOptions::default(), "{key}");
            let [note] = &notes[..] else { panic!("{key}: {notes:?}") };
            assert!(note.contains("m.gguf: general.sampling.") && note.contains(key), "{note}");
            assert!(note.contains("left out: it should be a"), "{note}");
        }
    }

    #[test]
    fn numbers_of_another_numeric_type_are_taken() {
        let (found, notes) = options(&[("temp", Value::U32(1)), ("top_p", Value::F64(0.5))]);
        assert_eq!((found.temperature, found.top_p, notes.len()), (1.0, 0.5, 0));
    }
}
