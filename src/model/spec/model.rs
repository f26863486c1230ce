//! A model as a whole.

use std::path::Path;

use super::kv::{KvLayer, KvSpec};
use super::layer::{FfnSpec, LayerSpec, MixerSpec, NormSpec, Window};
use crate::error::{Error, Result};
use crate::limits;

/// Shape and constants of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Rows of the embedding and of the output matrix.
    pub n_vocab: usize,
    /// Positions the model was trained for.
    pub n_ctx_train: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// What becomes of ids.
    pub embed: EmbedSpec,
    /// The rotary position embeddings that layers name by index.
    pub ropes: Vec<RopeSpec>,
    /// At least one.
    pub layers: Vec<LayerSpec>,
    /// What becomes of the last stream.
    pub head: HeadSpec,
    /// Layers behind the last, of predictions beyond the next token: they are in files and are left out.
    pub n_left_out: usize,
}

/// How the residual stream begins.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedSpec {
    /// Multiplies the rows of the embedding.
    pub scale: f32,
    /// Applied to each row.
    pub norm: Option<NormSpec>,
    /// Rows of a table of positions, which are added: learned absolute positions.
    pub n_positions: Option<usize>,
    /// A second embedding, of which every layer gets a part.
    pub per_layer: Option<PerLayerSpec>,
}

/// A second embedding of the ids, a part for each layer (Gemma 3n and 4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayerSpec {
    /// Elements for each layer.
    pub n_embd: usize,
    /// Of the projection of the stream that is added to them.
    pub norm: NormSpec,
}

/// How the residual stream ends.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadSpec {
    /// In front of the output matrix.
    pub norm: NormSpec,
    /// Multiplies the logits.
    pub scale: f32,
    /// Bounds the logits `x` to `softcap tanh(x / softcap)`.
    pub softcap: Option<f32>,
}

/// A rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Leading elements of each head that are rotated; even.
    pub n_dims: usize,
    /// Base of the geometric series of wavelengths.
    pub freq_base: f32,
    /// How positions or frequencies are stretched.
    pub scaling: RopeScaling,
    /// Which tensors, if the file has them, divide the frequencies.
    pub factors: RopeFactors,
}

/// The tensors that divide rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeFactors {
    /// None.
    Never,
    /// `rope_freqs`, at every length (Llama 3).
    Fixed,
    /// `rope_factors_long` for contexts beyond the original one, else `rope_factors_short` (Ding et al.
    /// 2024, "LongRoPE", as Phi 3 has it).
    ByContext {
        /// The greatest context of the short ones.
        original_context: usize,
    },
}

/// How rotary positions are stretched for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Positions are divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// YaRN (Peng et al. 2023, section 3): low frequencies interpolated, high ones kept.
    Yarn {
        /// The context extension factor.
        factor: f32,
        /// The context before extension.
        original_context: usize,
        /// Multiplies the paper's own attention factor, `1 + 0.1 ln(factor)`.
        attn_factor: f32,
        /// Rotations above which a dimension is kept.
        beta_fast: f32,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f32,
        /// Whether the bounds between the two are rounded to whole dimensions.
        truncated: bool,
    },
    /// Cosines and sines are multiplied, beside what [`RopeFactors`] do.
    Magnified {
        /// By this.
        magnitude: f32,
    },
}

impl ModelSpec {
    /// Transformer layers.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// The greatest number of experts that a layer has, and how many of them a token goes through; zeros
    /// for a dense model.
    pub fn experts(&self) -> (usize, usize) {
        let of = |layer: &LayerSpec| match &layer.ffn {
            FfnSpec::Experts(spec) => (spec.n_expert, spec.n_used),
            FfnSpec::GatedAndExperts(_, spec, _) => (spec.n_expert, spec.n_used),
            FfnSpec::Dense(_) | FfnSpec::Gated(_) => (0, 0),
        };
        self.layers.iter().map(of).max().unwrap_or((0, 0))
    }

    /// This spec, if a model can have it: counts within the limits, heads that divide, rotary parts that
    /// fit their heads, positive constants.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the number, with `path` as the file at fault.
    pub fn checked(self, path: &Path) -> Result<Self> {
        match self.fault() {
            None => Ok(self),
            Some(what) => Err(Error::malformed(path, what)),
        }
    }

    fn fault(&self) -> Option<String> {
        let counts = [
            ("the number of layers", self.n_layer(), limits::MAX_LAYERS),
            ("the embedding length", self.n_embd, limits::MAX_DIMENSION),
            ("the vocabulary size", self.n_vocab, limits::MAX_VOCAB),
            ("the context length", self.n_ctx_train, limits::MAX_DIMENSION),
            ("the number of learned positions", self.embed.n_positions.unwrap_or(1), limits::MAX_DIMENSION),
        ];
        let scales = [
            ("the embedding scale", self.embed.scale),
            ("the logit scale", self.head.scale),
            ("the soft cap of the logits", self.head.softcap.unwrap_or(1.0)),
        ];
        first_count_fault(&counts)
            .or_else(|| first_constant_fault(&scales))
            .or_else(|| self.head.norm.fault())
            .or_else(|| self.ropes.iter().find_map(RopeSpec::fault))
            .or_else(|| self.layers.iter().enumerate().find_map(|(i, layer)| layer.fault(i, self)))
            .or_else(|| self.expert_fault())
    }

    fn expert_fault(&self) -> Option<String> {
        let (n_layer, (n_expert, _)) = (self.n_layer(), self.experts());
        (n_layer * n_expert > limits::MAX_TENSORS)
            .then(|| format!("{n_layer} layers of {n_expert} experts; no known model has as many"))
    }

    /// What its layers keep of every position.
    pub fn kv_spec(&self) -> KvSpec {
        let layer = |layer: &LayerSpec| match &layer.mixer {
            MixerSpec::Attention(spec) => spec.shares_kv_with.is_none().then_some(KvLayer {
                n_head_kv: spec.n_head_kv,
                head_dim_k: spec.head_dim_k,
                head_dim_v: spec.head_dim_v,
                window: spec.window.map(|(Window::Sliding(n) | Window::Chunked(n))| n),
            }),
            MixerSpec::Mla(spec) => Some(KvLayer {
                n_head_kv: 1,
                head_dim_k: spec.n_cached(),
                head_dim_v: spec.kv_lora_rank,
                window: None,
            }),
        };
        KvSpec { layers: self.layers.iter().map(layer).collect() }
    }
}

impl RopeSpec {
    fn fault(&self) -> Option<String> {
        let mut constants = vec![("the rotary base", self.freq_base)];
        match self.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => constants.push(("the rotary scaling factor", factor)),
            RopeScaling::Magnified { magnitude } => {
                constants.push(("the rotary attention factor", magnitude));
            }
            RopeScaling::Yarn { factor, original_context, attn_factor, beta_fast, beta_slow, .. } => {
                let counts = [("the context that YaRN extends", original_context, limits::MAX_DIMENSION)];
                if let Some(what) = first_count_fault(&counts) {
                    return Some(what);
                }
                if self.freq_base <= 1.0 {
                    let base = self.freq_base;
                    return Some(format!("YaRN with a rotary base of {base}; it must be more than 1"));
                }
                if beta_fast <= beta_slow {
                    return Some(format!(
                        "YaRN's beta_fast {beta_fast} must exceed its beta_slow {beta_slow}"
                    ));
                }
                constants.push(("YaRN's scaling factor", factor));
                constants.push(("YaRN's attention factor", attn_factor));
                constants.push(("YaRN's beta_slow", beta_slow));
                constants.push(("YaRN's beta_fast", beta_fast));
            }
        }
        first_constant_fault(&constants)
    }
}

/// The first of these counts that is not within 1 and its limit, as a message.
pub(super) fn first_count_fault(counts: &[(&str, usize, usize)]) -> Option<String> {
    let (name, value, max) = counts.iter().find(|(_, value, max)| *value == 0 || value > max)?;
    Some(format!("{name} is {value}; it must be within 1..={max}"))
}

/// The first of these constants that is not a positive number, as a message.
pub(super) fn first_constant_fault(constants: &[(&str, f32)]) -> Option<String> {
    let (name, value) = constants.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0))?;
    Some(format!("{name} is {value}; it must be a positive number"))
}
