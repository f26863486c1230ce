//! The sampling options that a model file asks for.

use super::SamplerOptions;
use crate::error::{Error, Result};
use crate::gguf::Metadata;

impl SamplerOptions {
    /// The default options, overridden by the `general.sampling.*` keys of a GGUF file. A window
    /// over the whole context (-1) becomes `n_ctx`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a key has the wrong type or a value out of its range.
    pub fn from_metadata(metadata: &Metadata, n_ctx: usize) -> Result<Self> {
        let default = Self::default();
        let float = |name: &str, default: f32| -> Result<f32> {
            Ok(metadata.f32(&format!("general.sampling.{name}"))?.unwrap_or(default))
        };
        let options = Self {
            temperature: float("temp", default.temperature)?.max(0.0),
            // Files written for llama.cpp turn it off by 0 or anything below.
            top_k: match signed(metadata, "general.sampling.top_k")? {
                None => default.top_k,
                Some(k) => usize::try_from(k).unwrap_or(0),
            },
            top_p: float("top_p", default.top_p)?,
            min_p: float("min_p", default.min_p)?,
            repeat_penalty: float("penalty_repeat", default.repeat_penalty)?,
            repeat_last_n: match signed(metadata, "general.sampling.penalty_last_n")? {
                None => default.repeat_last_n,
                Some(n) => usize::try_from(n).map_or(n_ctx, |n| n.min(n_ctx)),
            },
            ..default
        };
        match super::check(&options) {
            Err(Error::Usage { what }) => {
                Err(Error::malformed(metadata.path(), format!("its general.sampling keys: {what}")))
            }
            checked => checked.map(|()| options),
        }
    }
}

/// An integer of either sign.
fn signed(metadata: &Metadata, key: &str) -> Result<Option<i64>> {
    if !metadata.contains(key) {
        return Ok(None);
    }
    let value = metadata.to_json(key).as_i64();
    value.map(Some).ok_or_else(|| {
        Error::malformed(
            metadata.path(),
            format!("{key} is {}; an integer was expected", metadata.display(key)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{DEFAULT_ALIGNMENT, GgufFile, GgufWriter, Layout, Value};

    fn options(pairs: &[(&str, Value)]) -> Result<SamplerOptions> {
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
        assert_eq!(options(&[]).expect("no keys"), SamplerOptions::default());
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
        assert_eq!(found.expect("all in range"), expected);
    }

    #[test]
    fn negative_top_k_is_off() {
        assert_eq!(options(&[("top_k", Value::I32(-5))]).expect("off").top_k, 0);
    }

    #[test]
    fn values_that_make_no_sense_name_the_file() {
        for (key, value) in [("top_p", Value::F32(2.0)), ("top_k", Value::String("many".into()))] {
            let error = options(&[(key, value)]).expect_err("out of range");
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
        }
    }
}
