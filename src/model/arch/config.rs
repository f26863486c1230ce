//! From config.json to GGUF keys: what the configurations of most families say alike.

use super::MetadataPairs;
use super::defaults::Defaults;
use super::rope_scaling::{self, RopeConfig};
use super::scalars::Scalars;
use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::limits;
use crate::model::spec::{Promise, Promises};

/// The keys that are made of a configuration.
#[derive(Debug)]
pub struct FromConfig<'c> {
    pub(super) arch: &'static str,
    /// The configuration, of a multimodal model that of its text part.
    pub config: &'c Config,
    /// The whole configuration.
    pub whole: &'c Config,
    pairs: MetadataPairs,
    notes: Vec<String>,
    tensors: Vec<String>,
    scalars: Scalars<'c>,
}

/// What was made of a configuration.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) pairs: MetadataPairs,
    pub(super) notes: Vec<String>,
    /// The tensors that there will be, as far as their presence tells what the model is.
    pub(super) tensors: Vec<String>,
}

impl<'c> FromConfig<'c> {
    /// No keys yet.
    pub(super) fn new(
        arch: &'static str,
        (config, whole): (&'c Config, &'c Config),
        scalars: Scalars<'c>,
    ) -> Self {
        let (pairs, notes, tensors) = (Vec::new(), Vec::new(), Vec::new());
        Self { arch, config, whole, pairs, notes, tensors, scalars }
    }

    pub(super) fn finish(self) -> Made {
        Made { pairs: self.pairs, notes: self.notes, tensors: self.tensors }
    }

    /// Says that the model will have a tensor by this GGUF name, whose presence tells what it is.
    pub fn will_have(&mut self, tensor: String) {
        self.tensors.push(tensor);
    }

    /// Writes a key without a prefix: the numbers that layers keep as tensors of one element called `name`.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming one that is not there.
    pub fn put_scalars(&mut self, key: &str, name: &str) -> Result<()> {
        let mut numbers = Vec::new();
        for layer in 0..self.n_layer()? {
            let name = format!("model.layers.{layer}.{name}");
            numbers.push(self.scalar(key, &name)?);
        }
        self.pairs.push((key.to_owned(), Value::F32s(numbers)));
        Ok(())
    }

    /// The number that the checkpoint keeps as a tensor of one element called `name`, for `key`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not there.
    pub fn scalar(&self, key: &str, name: &str) -> Result<f32> {
        (self.scalars.float)(name)?.ok_or_else(|| {
            Error::malformed(self.config.path(), format!("tensor {name} is missing ({key} in GGUF)"))
        })
    }

    /// The whole numbers that the checkpoint keeps as the row `name`, if it is there.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a tensor of another kind.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        (self.scalars.integers)(name)
    }

    /// Writes a key.
    pub fn put(&mut self, key: &str, value: Value) {
        self.pairs.push((format!("{}.{key}", self.arch), value));
    }

    /// Whether a key was written.
    pub fn contains(&self, key: &str) -> bool {
        let full = format!("{}.{key}", self.arch);
        self.pairs.iter().any(|(name, _)| *name == full)
    }

    /// Writes a key that has no prefix.
    pub fn put_bare(&mut self, key: &str, value: Value) {
        self.pairs.push((key.to_owned(), value));
    }

    /// Writes a key in the place of the one there.
    pub fn replace(&mut self, key: &str, value: Value) {
        let full = format!("{}.{key}", self.arch);
        match self.pairs.iter_mut().find(|(name, _)| *name == full) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((full, value)),
        }
    }

    /// As [`FromConfig::replace`], for a count.
    ///
    /// # Errors
    /// [`Error::Malformed`] for one that no model has.
    pub fn replace_count(&mut self, key: &str, n: usize) -> Result<()> {
        let n = self.checked_count(key, n)?;
        self.replace(key, Value::U32(n));
        Ok(())
    }

    /// As [`FromConfig::replace`], for a count of each layer.
    ///
    /// # Errors
    /// [`Error::Malformed`] if one is so large that a list of counts has no room for it.
    pub fn replace_counts(&mut self, key: &str, counts: impl IntoIterator<Item = usize>) -> Result<()> {
        let checked = counts.into_iter().map(|n| {
            i32::try_from(n).map_err(|_| {
                let what = format!("{n} for {key}; no known model has as many");
                Error::malformed(self.config.path(), what)
            })
        });
        let counts = checked.collect::<Result<_>>()?;
        self.replace(key, Value::I32s(counts));
        Ok(())
    }

    /// Writes YaRN's weight of all dimensions, from which readers make the attention factor, in place of what
    /// the factor would need beside the paper's.
    pub fn replace_attention_factor(&mut self, key: &str, weight: f32) {
        let full = format!("{}.rope.scaling.attn_factor", self.arch);
        self.pairs.retain(|(name, _)| *name != full);
        self.put(key, Value::F32(weight));
    }

    /// Takes back what the base keys told: the family says it otherwise.
    pub fn forget_notes(&mut self) {
        self.notes.clear();
    }

    /// Tells the user a sentence.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Writes a count.
    ///
    /// # Errors
    /// [`Error::Malformed`] for one that no model has.
    pub fn put_count(&mut self, key: &str, n: usize) -> Result<()> {
        let n = self.checked_count(key, n)?;
        self.put(key, Value::U32(n));
        Ok(())
    }

    fn checked_count(&self, key: &str, n: usize) -> Result<u32> {
        u32::try_from(n).map_err(|_| {
            let what = format!("{n} for {key}; no known model has as many");
            Error::malformed(self.config.path(), what)
        })
    }

    /// Writes the count that the configuration calls `name`, and returns it.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not there.
    pub fn count(&mut self, key: &str, name: &str) -> Result<usize> {
        let n = self.config.required_count(name)?;
        self.put_count(key, n)?;
        Ok(n)
    }

    /// Writes the count that the configuration calls `name`, if it is there.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not a count.
    pub fn optional_count(&mut self, key: &str, name: &str) -> Result<Option<usize>> {
        let n = self.config.count(name)?;
        n.map(|n| self.put_count(key, n)).transpose()?;
        Ok(n)
    }

    /// Writes the number that the configuration calls `name`, or `default`, and returns it.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not a number.
    pub fn f32_or(&mut self, key: &str, name: &str, default: f32) -> Result<f32> {
        let x = self.config.f32(name)?.unwrap_or(default);
        self.put(key, Value::F32(x));
        Ok(x)
    }

    /// Writes the number that the configuration calls `name`, if it is there.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not a number.
    pub fn optional_f32(&mut self, key: &str, name: &str) -> Result<Option<f32>> {
        let x = self.config.f32(name)?;
        if let Some(x) = x {
            self.put(key, Value::F32(x));
        }
        Ok(x)
    }

    /// The length of a head.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not said and the width does not divide among the heads.
    pub fn head_dim(&self, defaults: &Defaults) -> Result<usize> {
        if let Some(head_dim) = self.config.count("head_dim")?.or(defaults.head_dim) {
            return Ok(head_dim);
        }
        let n_embd = self.config.required_count(defaults.n_embd_name)?;
        let n_head = self.config.required_count(defaults.n_head_name)?;
        if n_head == 0 || !n_embd.is_multiple_of(n_head) {
            let what = format!(
                "hidden_size {n_embd} does not divide among {n_head} attention heads, and head_dim is not given"
            );
            return Err(Error::malformed(self.config.path(), what));
        }
        Ok(n_embd / n_head)
    }

    fn n_ctx_train(&self, defaults: &Defaults) -> Result<usize> {
        match (self.config.count(defaults.n_ctx_name)?, defaults.n_ctx) {
            (Some(n), _) => Ok(n),
            (None, 0) => self.config.required_count(defaults.n_ctx_name),
            (None, default) => Ok(default),
        }
    }

    /// What the configuration says of rotary positions.
    ///
    /// # Errors
    /// As [`RopeConfig::read`].
    pub(super) fn rope(&self, defaults: &Defaults) -> Result<RopeConfig> {
        let n_ctx_train = self.n_ctx_train(defaults)?;
        RopeConfig::read(self.config, n_ctx_train, defaults)
    }

    /// Layers, as most configurations call them: few enough to make a list of.
    ///
    /// # Errors
    /// [`Error::Malformed`] for more than any model has, or none.
    pub fn n_layer(&self) -> Result<usize> {
        let n = self.config.required_count("num_hidden_layers")?;
        if n > limits::MAX_LAYERS {
            let what = format!("num_hidden_layers is {n}; it must be at most {}", limits::MAX_LAYERS);
            return Err(Error::malformed(self.config.path(), what));
        }
        Ok(n)
    }

    /// The rotary positions of layers with windows, if the configuration has them apart. GGUF has keys for their base
    /// and the part of heads that is rotated, and none for a scaling.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a scaling; else as [`RopeConfig::read`].
    pub(super) fn rope_of_windows(&mut self, defaults: &Defaults) -> Result<Option<RopeConfig>> {
        let all = self.config.object("rope_parameters")?;
        let own = all.map(|all| all.object("sliding_attention")).transpose()?.flatten();
        let Some(own) = own else { return Ok(None) };
        let mut rope = RopeConfig::read_from(self.config, Some(&own), self.n_ctx_train(defaults)?, defaults)?;
        if rope.is_stretched() {
            return Err(self.unsupported(format!(
                "{}: scaled rotary positions in layers with windows, for which GGUF has no keys",
                own.described()
            )));
        }
        self.notes.append(&mut rope.notes);
        Ok(Some(rope))
    }

    /// Writes the keys that every family has, and those of plain rotary positions.
    ///
    /// # Errors
    /// [`Error::Malformed`] for numbers that are missing, [`Error::Unsupported`] for rotary positions that
    /// this program does not compute.
    pub fn base(&mut self, defaults: &Defaults) -> Result<()> {
        let rope = self.rope(defaults)?;
        let head_dim = self.head_dim(defaults)?;
        self.count("block_count", defaults.n_layer_name)?;
        self.put_count("context_length", self.n_ctx_train(defaults)?)?;
        let n_embd = self.count("embedding_length", defaults.n_embd_name)?;
        if defaults.n_ff_name.is_empty() {
            // There are no dense feed-forward parts.
        } else if defaults.n_ff_times > 0 && self.config.count(defaults.n_ff_name)?.is_none() {
            self.put_count("feed_forward_length", defaults.n_ff_times.saturating_mul(n_embd))?;
        } else {
            self.count("feed_forward_length", defaults.n_ff_name)?;
        }
        let n_head = self.count("attention.head_count", defaults.n_head_name)?;
        if self.optional_count("attention.head_count_kv", defaults.n_head_kv_name)?.is_none() {
            self.put_count("attention.head_count_kv", n_head)?;
        }
        self.put("rope.freq_base", Value::F32(rope.freq_base));
        self.f32_or(defaults.eps_key, defaults.eps_name, defaults.eps)?;
        if self.config.count("head_dim")?.or(defaults.head_dim).is_some() {
            self.put_count("attention.key_length", head_dim)?;
            self.put_count("attention.value_length", head_dim)?;
        }
        self.count("vocab_size", defaults.n_vocab_name)?;
        let n_rot = rope.n_dims(head_dim);
        self.put_count("rope.dimension_count", n_rot)?;
        for (key, value) in rope_scaling::to_keys(&rope) {
            self.put(key, value);
        }
        self.notes.extend(rope.notes);
        Ok(())
    }

    /// Writes how many layers predict tokens beyond the next, and counts them among all layers: conversions leave them
    /// out.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the configuration's number is none.
    pub fn further_predictions(&mut self) -> Result<()> {
        if let Some(n) = self.optional_count("nextn_predict_layers", "num_nextn_predict_layers")? {
            let n_layer = self.n_layer()?;
            self.replace_count("block_count", n_layer.saturating_add(n))?;
        }
        Ok(())
    }

    /// The object of rotary parameters, under either of its names.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not an object.
    pub fn rope_parameters(&self) -> Result<Option<Config>> {
        Ok(match self.config.object("rope_scaling")? {
            Some(scaling) => Some(scaling),
            None => self.config.object("rope_parameters")?,
        })
    }

    /// Writes the counts of experts, where the configuration calls them by the first of `names` that it has.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there are none.
    pub fn experts(&mut self, names: &[&'static str]) -> Result<()> {
        self.count("expert_count", self.first_of(names))?;
        self.count("expert_used_count", "num_experts_per_tok").map(drop)
    }

    /// The first of `names` that the file has a value for, else one that is assumed, else the first of all.
    pub fn first_of(&self, names: &[&'static str]) -> &'static str {
        let has = |n: &&&str| self.config.value(n).is_some();
        let said = names.iter().find(|n| self.config.says(n));
        said.or_else(|| names.iter().find(has)).copied().unwrap_or(names[0])
    }

    /// Writes whether the weights of experts are divided by their sum.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the configuration does not say true or false.
    pub fn normalised(&mut self, default: bool) -> Result<()> {
        let is = self.config.bool("norm_topk_prob")?.unwrap_or(default);
        self.put("expert_weights_norm", Value::Bool(is));
        Ok(())
    }

    /// The error for a configuration that this program does not compute.
    pub fn unsupported(&self, what: String) -> Error {
        Error::unsupported(self.config.path(), what)
    }
}

/// What most configurations say of tensors: biases only if they say so, an output matrix of its own unless
/// they say it is tied.
///
/// # Errors
/// [`Error::Malformed`] for values that are not true or false.
pub(crate) fn promises(config: &Config) -> Result<Promises> {
    let is = |name: &str| Ok::<_, Error>(config.bool(name)?.unwrap_or(false));
    Ok(Promises {
        is_tied: Some(is("tie_word_embeddings")?),
        qkv_bias: Promise::of(is("attention_bias")?),
        output_bias: Promise::of(is("attention_bias")?),
        mlp_bias: Promise::of(is("mlp_bias")?),
    })
}
