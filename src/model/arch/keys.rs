//! The hyperparameters of a model by their GGUF keys, without the prefix of the architecture: those of a
//! file, or those that a conversion has made and will write. A family reads both alike, so that what is
//! converted is what will be run.

use std::fmt;
use std::path::Path;

use super::MetadataPairs;
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value};

/// Where the longest arrays of hyperparameters have one element a layer.
const VOCABULARY: &str = "tokenizer.ggml.tokens";

/// How many kinds of texts an encoder tells apart.
pub(super) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type_count";

/// The hyperparameters of a model.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    arch: &'a str,
    origin: Origin<'a>,
    tensors: Tensors<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Origin<'a> {
    File(&'a Metadata, Option<usize>),
    Made { path: &'a Path, pairs: &'a MetadataPairs },
}

/// Which tensors a model has, as far as that says what it is.
#[derive(Clone, Copy)]
struct Tensors<'a>(&'a dyn Fn(&str) -> bool);

impl fmt::Debug for Tensors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tensors")
    }
}

impl<'a> Keys<'a> {
    /// Those of a file with the architecture `arch`, whose embedding has `n_rows`; `has_tensor` says by name whether a
    /// tensor is there.
    pub fn of_file(
        arch: &'a str,
        (metadata, n_rows): (&'a Metadata, Option<usize>),
        has_tensor: &'a dyn Fn(&str) -> bool,
    ) -> Self {
        Self { arch, origin: Origin::File(metadata, n_rows), tensors: Tensors(has_tensor) }
    }

    /// Those that were made of the configuration at `path`, with the prefix `arch`; `has_tensor` says which of the
    /// tensors whose presence tells what a model is there will be.
    pub fn made(
        arch: &'a str,
        path: &'a Path,
        pairs: &'a MetadataPairs,
        has_tensor: &'a dyn Fn(&str) -> bool,
    ) -> Self {
        Self { arch, origin: Origin::Made { path, pairs }, tensors: Tensors(has_tensor) }
    }

    /// Whether the model has a tensor, by its GGUF name: families that ask must say so of checkpoints
    /// ([`super::FromConfig::will_have`]).
    pub fn has_tensor(&self, name: &str) -> bool {
        (self.tensors.0)(name)
    }

    /// A number for each of `n_layer` layers, which may be stated once for all, under a key that has no prefix.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are not there, or are too few.
    pub fn numbers_without_prefix(&self, key: &str, n_layer: usize) -> Result<Vec<f32>> {
        let wrong = || {
            let what = format!("{key} should be a number for each of the {n_layer} layers");
            Error::malformed(self.path(), what)
        };
        let numbers = match self.origin {
            Origin::File(metadata, _) => match metadata.array_len(key) {
                Ok(Some(_)) => metadata.f32s(key)?,
                _ => metadata.f32(key)?.map(|number| vec![number; n_layer]),
            },
            Origin::Made { pairs, .. } => match pairs.iter().find(|(name, _)| name == key) {
                Some((_, Value::F32s(numbers))) => Some(numbers.clone()),
                _ => None,
            },
        };
        numbers.filter(|numbers| numbers.len() >= n_layer).ok_or_else(wrong)
    }

    /// The architecture: their prefix.
    pub fn arch(&self) -> &'a str {
        self.arch
    }

    /// The file at fault where a number is wrong.
    pub fn path(&self) -> &'a Path {
        match self.origin {
            Origin::File(metadata, _) => metadata.path(),
            Origin::Made { path, .. } => path,
        }
    }

    pub(super) fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn made_value(&self, key: &str) -> Option<&'a Value> {
        let Origin::Made { pairs, .. } = self.origin else { return None };
        let full = self.full(key);
        pairs.iter().find(|(name, _)| *name == full).map(|(_, value)| value)
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        match self.origin {
            Origin::File(metadata, _) => metadata.contains(&self.full(key)),
            Origin::Made { .. } => self.made_value(key).is_some(),
        }
    }

    /// A count that is stated once.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        match self.origin {
            Origin::File(metadata, _) => metadata.count(&self.full(key)),
            Origin::Made { .. } => match self.made_value(key) {
                None => Ok(None),
                Some(value) => {
                    let count = value.whole().and_then(|n| usize::try_from(n).ok());
                    count.map(Some).ok_or_else(|| self.wrong(key, "a count"))
                }
            },
        }
    }

    /// A number.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        match self.origin {
            Origin::File(metadata, _) => metadata.f32(&self.full(key)),
            Origin::Made { .. } => match self.made_value(key) {
                None => Ok(None),
                Some(value) => value.float().map(Some).ok_or_else(|| self.wrong(key, "a number")),
            },
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        match self.origin {
            Origin::File(metadata, _) => metadata.bool(&self.full(key)),
            Origin::Made { .. } => match self.made_value(key) {
                None => Ok(None),
                Some(value) => value.truth().map(Some).ok_or_else(|| self.wrong(key, "true or false")),
            },
        }
    }

    /// The length of an array of texts.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type.
    pub fn len(&self, key: &str) -> Result<Option<usize>> {
        match self.origin {
            Origin::File(metadata, _) => metadata.array_len(&self.full(key)),
            Origin::Made { .. } => match self.made_value(key) {
                None => Ok(None),
                Some(Value::Strings(texts)) => Ok(Some(texts.len())),
                Some(value) => value.n_numbers().map(Some).ok_or_else(|| self.wrong(key, "a list")),
            },
        }
    }

    /// The texts of an array.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        match self.origin {
            Origin::File(metadata, _) => {
                metadata.strings(&self.full(key)).map(|texts| texts.map(Iterator::collect))
            }
            Origin::Made { .. } => match self.made_value(key) {
                None => Ok(None),
                Some(Value::Strings(texts)) => Ok(Some(texts.iter().map(String::as_str).collect())),
                Some(_) => Err(self.wrong(key, "a list of texts")),
            },
        }
    }

    /// A string.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type.
    pub fn string(&self, key: &str) -> Result<Option<&'a str>> {
        match self.origin {
            Origin::File(metadata, _) => metadata.string(&self.full(key)),
            Origin::Made { .. } => match self.made_value(key) {
                None => Ok(None),
                Some(Value::String(text)) => Ok(Some(text)),
                Some(_) => Err(self.wrong(key, "a string")),
            },
        }
    }

    /// A count for each of `n_layer` layers, which may be stated once for all.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type, or another number of layers.
    pub fn counts(&self, key: &str, n_layer: usize) -> Result<Option<Vec<usize>>> {
        let numbers = match self.origin {
            Origin::File(metadata, _) => {
                let full = self.full(key);
                match metadata.array_len(&full) {
                    Ok(Some(_)) => metadata.i32s(&full)?,
                    _ => return Ok(metadata.count(&full)?.map(|count| vec![count; n_layer])),
                }
            }
            Origin::Made { .. } => match self.made_value(key) {
                Some(Value::I32s(numbers)) => Some(numbers.clone()),
                _ => return Ok(self.count(key)?.map(|count| vec![count; n_layer])),
            },
        };
        let Some(numbers) = numbers else { return Ok(None) };
        if numbers.len() < n_layer {
            return Err(self.wrong(key, &format!("a count for each of the {n_layer} layers")));
        }
        let counts: std::result::Result<Vec<usize>, _> =
            numbers.iter().take(n_layer).map(|&n| usize::try_from(n)).collect();
        counts.map(Some).map_err(|_| self.wrong(key, "counts, 0 or more"))
    }

    /// Whole numbers from 0, as many as there are.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type.
    pub fn u64s(&self, key: &str) -> Result<Option<Vec<u64>>> {
        match self.origin {
            Origin::File(metadata, _) => metadata.u64s(&self.full(key)),
            Origin::Made { .. } => match self.made_value(key) {
                None => Ok(None),
                Some(Value::U64s(values)) => Ok(Some(values.clone())),
                Some(Value::I32s(values)) => {
                    let values = values.iter().map(|&n| u64::try_from(n));
                    values
                        .collect::<std::result::Result<_, _>>()
                        .map(Some)
                        .map_err(|_| self.wrong(key, "counts"))
                }
                Some(_) => Err(self.wrong(key, "whole numbers")),
            },
        }
    }

    /// A number for each of `n_layer` layers.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type, or fewer layers.
    pub fn f32s(&self, key: &str, n_layer: usize) -> Result<Option<Vec<f32>>> {
        let values = match self.origin {
            Origin::File(metadata, _) => metadata.f32s(&self.full(key))?,
            Origin::Made { .. } => match self.made_value(key) {
                None => None,
                Some(Value::F32s(values)) => Some(values.clone()),
                Some(_) => return Err(self.wrong(key, "numbers")),
            },
        };
        match values {
            Some(values) if values.len() < n_layer => {
                Err(self.wrong(key, &format!("a number for each of the {n_layer} layers")))
            }
            values => Ok(values),
        }
    }

    /// A truth value for each of `n_layer` layers.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type, or fewer layers.
    pub fn bools(&self, key: &str, n_layer: usize) -> Result<Option<Vec<bool>>> {
        let values = match self.origin {
            Origin::File(metadata, _) => metadata.bools(&self.full(key))?,
            Origin::Made { .. } => match self.made_value(key) {
                None => None,
                Some(Value::Bools(values)) => Some(values.clone()),
                Some(_) => return Err(self.wrong(key, "truth values")),
            },
        };
        match values {
            Some(values) if values.len() < n_layer => {
                Err(self.wrong(key, &format!("a truth value for each of the {n_layer} layers")))
            }
            values => Ok(values),
        }
    }

    /// A count that must be there.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not, or has another type.
    pub fn required_count(&self, key: &str) -> Result<usize> {
        self.count(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number that must be there.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not, or has another type.
    pub fn required_f32(&self, key: &str) -> Result<f32> {
        self.f32(key)?.ok_or_else(|| self.missing(key))
    }

    /// Rows of the table of kinds of texts.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type.
    pub fn n_types(&self) -> Result<usize> {
        match self.origin {
            Origin::File(metadata, _) => Ok(metadata.count(TOKEN_TYPES)?.unwrap_or(0)),
            Origin::Made { pairs, .. } => match pairs.iter().find(|(name, _)| name == TOKEN_TYPES) {
                Some((_, Value::U32(n))) => Ok(*n as usize),
                _ => Ok(0),
            },
        }
    }

    /// Tokens of the vocabulary. Where a file has none, a key or the embedding tells them.
    ///
    /// # Errors
    /// [`Error::Malformed`] if nothing tells them.
    pub fn n_vocab(&self) -> Result<usize> {
        let Origin::File(metadata, n_rows) = self.origin else { return self.required_count("vocab_size") };
        if let Some(n_vocab) = metadata.array_len(VOCABULARY)?.filter(|&n| n > 0) {
            return Ok(n_vocab);
        }
        let n_vocab = self.count("vocab_size")?.or(n_rows);
        n_vocab.ok_or_else(|| self.missing("vocab_size"))
    }

    /// The error for a key that is not there.
    pub fn missing(&self, key: &str) -> Error {
        Error::malformed(self.path(), format!("the key {} is missing", self.full(key)))
    }

    /// The error for a key whose value is not `expected`.
    pub fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::malformed(self.path(), format!("{} should be {expected}", self.full(key)))
    }

    /// The error for what this program does not compute.
    pub fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::unsupported(self.path(), what.into())
    }
}
