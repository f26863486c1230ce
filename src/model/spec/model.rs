//! A model as a whole.

use std::path::Path;

use super::faults::{first_constant_fault, first_count_fault};
use super::kv::{KvLayer, KvSpec};
use super::layer::{AltUpSpec, FfnSpec, HyperEndSpec, LayerSpec, MixerSpec, NormSpec, Window};
use super::pooled::PooledSpec;
use super::roles::Role;
use super::rope::{RopeFactors, RopeSpec};
use super::side::Side;
use crate::error::{Error, Result};
use crate::limits;

/// Shape and constants of a decoder or an encoder.
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
    /// What becomes of the last streams of a text as a whole.
    pub pooled: PooledSpec,
    /// Positions of the longest text that is computed as the model does: beyond them its layers would choose among
    /// positions, which this program does not. `None`: any.
    pub max_ctx: Option<usize>,
    /// Which layers these are in files.
    pub side: Side,
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
    /// Rows of a table of kinds of texts, of which one is added: 0 for the first text of a pair, 1 for the second.
    pub n_types: usize,
    /// A second embedding, of which every layer gets a part.
    pub per_layer: Option<PerLayerSpec>,
    /// Several streams of each token, which all layers have then.
    pub altup: Option<AltUpSpec>,
    /// Several streams of each token, which the parts of all layers mix.
    pub hyper: Option<HyperEndSpec>,
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
    pub norm: Option<NormSpec>,
    /// What files call it.
    pub norm_role: Role,
    /// Multiplies the logits.
    pub scale: f32,
    /// Bounds the logits `x` to `softcap tanh(x / softcap)`.
    pub softcap: Option<f32>,
    /// The first of the tokens that are never written, and the one behind the last: their logits are the least of all.
    pub never: Option<(usize, usize)>,
    /// Whether there is an output matrix: an encoder only gives streams.
    pub has_logits: bool,
}

impl ModelSpec {
    /// The greatest context whose positions have the angles of short ones, where longer ones have others.
    pub fn short_context(&self) -> Option<usize> {
        self.ropes.iter().find_map(|rope| match rope.factors {
            RopeFactors::ByContext { original_context } => Some(original_context),
            _ => None,
        })
    }

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
            FfnSpec::Dense(_) | FfnSpec::Gated(_) | FfnSpec::None => (0, 0),
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
            (
                "the number of positions that an indexer chooses",
                self.max_ctx.unwrap_or(1),
                limits::MAX_DIMENSION,
            ),
            ("the number of learned positions", self.embed.n_positions.unwrap_or(1), limits::MAX_DIMENSION),
            (
                "the length of a layer's part of the per-layer embedding",
                self.embed.per_layer.map_or(1, |per_layer| per_layer.n_embd),
                limits::MAX_HEAD_DIM,
            ),
        ];
        let scales = [
            ("the embedding scale", self.embed.scale),
            ("the logit scale", self.head.scale),
            ("the soft cap of the logits", self.head.softcap.unwrap_or(1.0)),
        ];
        first_count_fault(&counts)
            .or_else(|| first_constant_fault(&scales))
            .or_else(|| self.head.norm.and_then(|norm| norm.fault()))
            .or_else(|| self.pooled.fault())
            .or_else(|| {
                self.layers
                    .iter()
                    .enumerate()
                    .find_map(|(i, layer)| layer.fault(i, &self.layers, &self.ropes))
            })
            // Of those that layers use, what is wrong was told with the layer.
            .or_else(|| self.ropes.iter().find_map(RopeSpec::fault))
            .or_else(|| self.expert_fault())
            .or_else(|| self.stream_fault())
            .or_else(|| self.direction_fault())
    }

    /// Layers of a bidirectional model share the room for keys and values, so those with attention are alike.
    fn direction_fault(&self) -> Option<String> {
        let shape = |layer: &LayerSpec| match &layer.mixer {
            MixerSpec::Attention(spec) if !spec.is_causal && spec.shares_kv_with.is_none() => {
                Some((spec.n_head_kv, spec.head_dim_k, spec.head_dim_v))
            }
            _ => None,
        };
        let first = self.layers.iter().find_map(shape);
        let is_like = |layer: &LayerSpec| match &layer.mixer {
            MixerSpec::ShortConv(conv) => conv.is_centred,
            _ => shape(layer).is_some() && shape(layer) == first,
        };
        let differs = self.is_bidirectional() && !self.layers.iter().all(is_like);
        differs.then(|| "layers of a model that is not causal differ in their key-value heads".into())
    }

    /// Streams of all layers are those that begin and end.
    fn stream_fault(&self) -> Option<String> {
        let of_model = self.embed.hyper.map(|end| (end.hyper.n_embd, end.hyper.n_stream));
        let of_layer = |layer: &LayerSpec| layer.hyper.map(|hyper| (hyper.n_embd, hyper.n_stream));
        let differ = self.layers.iter().any(|layer| of_layer(layer) != of_model);
        (differ || of_model.is_some_and(|(n_embd, _)| n_embd != self.n_embd))
            .then(|| "layers differ in their streams".into())
    }

    fn expert_fault(&self) -> Option<String> {
        let (n_layer, (n_expert, _)) = (self.n_layer(), self.experts());
        (n_layer * n_expert > limits::MAX_TENSORS)
            .then(|| format!("{n_layer} layers of {n_expert} experts; no known model has as many"))
    }

    /// Whether every position sees the whole text, which then is evaluated in one batch and never continued.
    pub fn is_bidirectional(&self) -> bool {
        let is = |layer: &LayerSpec| matches!(&layer.mixer, MixerSpec::Attention(spec) if !spec.is_causal);
        self.layers.iter().any(is)
    }

    /// What its layers keep of a text. Those of a bidirectional model keep nothing once they are computed, and share
    /// the room for keys and values, which is the first layer's.
    pub fn kv_spec(&self) -> KvSpec {
        let is_bidirectional = self.is_bidirectional();
        let kept = |window| match window {
            Some(Window::Sliding(n) | Window::Chunked(n)) => Some(n),
            Some(Window::Around(_)) | None => None,
        };
        let layer = |layer: &LayerSpec| match &layer.mixer {
            MixerSpec::Attention(spec) | MixerSpec::AttentionAndMamba2(spec, _) => {
                spec.shares_kv_with.is_none().then_some(KvLayer {
                    n_head_kv: spec.n_head_kv,
                    head_dim_k: spec.head_dim_k,
                    head_dim_v: spec.head_dim_v,
                    window: kept(spec.window),
                })
            }
            MixerSpec::Mla(spec) => Some(KvLayer {
                n_head_kv: 1,
                head_dim_k: spec.n_cached(),
                head_dim_v: 0,
                window: kept(spec.window),
            }),
            _ => None,
        };
        let states = self.layers.iter().map(LayerSpec::state_len);
        let mut layers: Vec<_> = self.layers.iter().map(layer).collect();
        if is_bidirectional {
            let shared = layers.iter().copied().find(Option::is_some).flatten();
            layers.fill(None);
            layers[0] = shared;
        }
        KvSpec { layers, states: states.collect() }
    }
}
