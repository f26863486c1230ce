//! Attention over keys and values. That over latent vectors is in `mla`.

use super::{LayerSpec, NormSpec, RelativeSpec};
use crate::limits;
use crate::model::spec::faults::{first_constant_fault, first_count_fault};
use crate::model::spec::rope::RopeSpec;

/// Attention with grouped queries.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; divides `n_head`.
    pub n_head_kv: usize,
    /// Elements of a query and of a key head.
    pub head_dim_k: usize,
    /// Elements of a value head.
    pub head_dim_v: usize,
    /// Whether q, k and v may have biases.
    pub has_qkv_bias: bool,
    /// Whether the output may have a bias.
    pub has_output_bias: bool,
    /// Bounds the elements of q, k and v.
    pub clamp: Option<f32>,
    /// Norms of queries and keys.
    pub qk_norm: Option<QkNormSpec>,
    /// Of each value head; it has no weights.
    pub v_norm: Option<NormSpec>,
    /// How positions are told apart; without, they are not.
    pub rope: Option<RopeUse>,
    /// The greatest number of what scores fall by with each position of distance, in powers of one half (Press et al.
    /// 2021, "ALiBi"): see [`AttentionSpec::slopes`].
    pub alibi: Option<f32>,
    /// What is added to the scores by how far a key lies from the query.
    pub relative: Option<RelativeSpec>,
    /// Multiplies the scores.
    pub scale: f32,
    /// What else does, by position.
    pub temperature: Option<TemperatureSpec>,
    /// Bounds the scores `x` to `softcap tanh(x / softcap)`.
    pub softcap: Option<f32>,
    /// Multiplies the bounded scores of queries at positions `p` behind this one, `n`, by `ln p / ln n`.
    pub log_temperature: Option<usize>,
    /// Whether a query sees no position behind its own. Else it sees the whole text, and all of that is in one batch.
    pub is_causal: bool,
    /// The positions that a query sees, of those that it may.
    pub window: Option<Window>,
    /// Whether each head has a score that takes part in the softmax and has no value.
    pub has_sinks: bool,
    /// What the heads' outputs are multiplied with.
    pub gate: Option<AttentionGate>,
    /// Whether the gates are softplus of that product instead of its sigmoid.
    pub has_softplus_gates: bool,
    /// Of the heads' outputs together, before the output matrix.
    pub output_norm: Option<NormSpec>,
    /// The layer whose keys and values are used instead of its own.
    pub shares_kv_with: Option<usize>,
    /// What would choose the positions that queries see: files have its tensors, and texts are short enough for all.
    pub indexer: Option<IndexerSpec>,
}

/// The use of a rotary embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RopeUse {
    /// Its index in the model's list.
    pub index: usize,
    /// Which elements of a head rotate together.
    pub order: RopeOrder,
}

/// Which elements of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeOrder {
    /// Elements `2 i` and `2 i + 1`.
    Pairs,
    /// Elements `i` and `i + n_dims / 2`.
    Halves,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QkNormSpec {
    /// The norm.
    pub norm: NormSpec,
    /// What is normed at a time.
    pub extent: QkNormExtent,
    /// Whether positions are rotated in first.
    pub is_after_rope: bool,
    /// Whether a file may lack them.
    pub is_optional: bool,
}

/// What a norm of queries and keys takes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNormExtent {
    /// Each head, all with the same weights: `[head_dim]`.
    Head,
    /// Each head, with weights of its own: `[n_head * head_dim]`.
    HeadOfItsOwn,
    /// All heads of a token: `[n_head * head_dim]`.
    Token,
    /// Each head; one number multiplies each of the queries, none the keys: `[n_head]`.
    QueryGain,
}

/// Scores are multiplied with `1 + beta ln(1 + floor((position + offset) / original_context))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TemperatureSpec {
    /// How fast it rises.
    pub beta: f32,
    /// The positions up to which it is 1.
    pub original_context: usize,
    /// What is added to positions.
    pub offset: usize,
}

/// The positions that a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last so many, its own among them.
    Sliding(usize),
    /// Those of its own chunk, chunks of so many positions being counted from the first.
    Chunked(usize),
    /// So many before its own, and so many behind it.
    Around(usize),
}

/// What multiplies the outputs of attention before the output matrix: the sigmoid of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionGate {
    /// One number for each head.
    Head,
    /// One for each element.
    Element,
    /// One for each element, whose rows lie behind those of the query of each head: values are as long as keys.
    WithQuery,
}

/// What chooses the positions that queries see (DeepSeek-AI 2025, "DeepSeek-V3.2").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexerSpec {
    /// Heads.
    pub n_head: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Positions whose keys are weighted sums of a pool's, with weights of their own.
    pub n_pool: Option<usize>,
}

impl AttentionSpec {
    /// Attention without anything special, and without positions.
    pub fn plain(n_embd: usize, n_head: usize, n_head_kv: usize, head_dim: usize) -> Self {
        Self {
            n_embd,
            n_head,
            n_head_kv,
            head_dim_k: head_dim,
            head_dim_v: head_dim,
            has_qkv_bias: true,
            has_output_bias: true,
            clamp: None,
            qk_norm: None,
            v_norm: None,
            rope: None,
            alibi: None,
            relative: None,
            scale: 1.0 / (head_dim as f32).sqrt(),
            temperature: None,
            softcap: None,
            log_temperature: None,
            is_causal: true,
            window: None,
            has_sinks: false,
            gate: None,
            has_softplus_gates: false,
            output_norm: None,
            shares_kv_with: None,
            indexer: None,
        }
    }

    /// `[n_head]`: what the scores of each head fall by with each position of distance. With `n` the greatest power of
    /// two up to `n_head`, the first `n` heads have the powers `h + 1` of `2^(-alibi / n)`, and those behind, if
    /// there are some, the odd powers of its root.
    pub fn slopes(&self) -> Option<Vec<f32>> {
        let alibi = f64::from(self.alibi?);
        let n = 1 << self.n_head.ilog2();
        let exponent = |h: usize| if h < n { (h + 1) as f64 } else { (2 * (h - n) + 1) as f64 / 2.0 };
        Some((0..self.n_head).map(|h| libm::exp2(-alibi / n as f64 * exponent(h)) as f32).collect())
    }

    /// Whether the values may be what keys are before they are normed and rotated.
    pub fn may_lack_values(&self) -> bool {
        self.v_norm.is_some() && self.n_embd_k() == self.n_embd_v()
    }

    /// Query heads that share a key-value head.
    pub fn group(&self) -> usize {
        self.n_head / self.n_head_kv
    }

    /// Elements of all query heads of a token.
    pub fn n_embd_q(&self) -> usize {
        self.n_head * self.head_dim_k
    }

    /// Rows of the matrix of queries: those that gate the outputs may be among them.
    pub fn n_query_rows(&self) -> usize {
        self.n_embd_q() * if self.gate == Some(AttentionGate::WithQuery) { 2 } else { 1 }
    }

    /// Elements of all key heads of a token.
    pub fn n_embd_k(&self) -> usize {
        self.n_head_kv * self.head_dim_k
    }

    /// Elements of all value heads of a token.
    pub fn n_embd_v(&self) -> usize {
        self.n_head_kv * self.head_dim_v
    }

    /// Elements of the outputs of all query heads of a token.
    pub fn n_embd_out(&self) -> usize {
        self.n_head * self.head_dim_v
    }

    pub(super) fn fault(&self, layer: usize, layers: &[LayerSpec], ropes: &[RopeSpec]) -> Option<String> {
        let Self { n_head, n_head_kv, .. } = *self;
        let counts = [
            ("the number of attention heads", n_head, limits::MAX_DIMENSION),
            ("the number of key-value heads", n_head_kv, limits::MAX_DIMENSION),
            ("the length of a key head", self.head_dim_k, limits::MAX_HEAD_DIM),
            ("the length of a value head", self.head_dim_v, limits::MAX_HEAD_DIM),
        ];
        if let Some(what) = first_count_fault(&counts) {
            return Some(what);
        }
        if !n_head.is_multiple_of(n_head_kv) {
            return Some(format!("{n_head} attention heads do not divide among {n_head_kv} key-value heads"));
        }
        for (name, head_dim) in [("key", self.head_dim_k), ("value", self.head_dim_v)] {
            if n_head.checked_mul(head_dim).is_none_or(|n| n > limits::MAX_DIMENSION) {
                let max = limits::MAX_DIMENSION;
                return Some(format!("{n_head} heads with {name}s of {head_dim} exceed {max} elements"));
            }
        }
        if self.gate == Some(AttentionGate::WithQuery) && self.head_dim_k != self.head_dim_v {
            let (k, v) = (self.head_dim_k, self.head_dim_v);
            return Some(format!("gates of {k} elements with the queries, for values of {v}"));
        }
        if let Some(what) = self.sharing_fault(layer, layers) {
            return Some(what);
        }
        if let Some(what) = self.window_fault() {
            return Some(what);
        }
        first_constant_fault(&[("the attention scale", self.scale)])
            .or_else(|| first_constant_fault(&[("the soft cap of scores", self.softcap.unwrap_or(1.0))]))
            .or_else(|| {
                let n = self.log_temperature.filter(|&n| n < 2)?;
                Some(format!(
                    "an attention temperature that rises from position {n} on; it must be 2 or more"
                ))
            })
            .or_else(|| first_constant_fault(&[("the bias of ALiBi", self.alibi.unwrap_or(1.0))]))
            .or_else(|| self.relative.and_then(|of| of.fault(layer, (self, layers))))
            .or_else(|| first_constant_fault(&[("the bound of q, k and v", self.clamp.unwrap_or(1.0))]))
            .or_else(|| self.qk_norm.and_then(|qk_norm| qk_norm.norm.fault()))
            .or_else(|| self.output_norm.and_then(|norm| norm.fault()))
            .or_else(|| self.temperature.and_then(|temperature| temperature.fault()))
            .or_else(|| self.indexer.and_then(|indexer| indexer.fault()))
            .or_else(|| self.rope.and_then(|rope| rope.fault(ropes, self.head_dim_k)))
    }
}

impl AttentionSpec {
    /// What is wrong with its window.
    pub(super) fn window_fault(&self) -> Option<String> {
        let Some(Window::Sliding(n) | Window::Chunked(n) | Window::Around(n)) = self.window else {
            return None;
        };
        if self.is_causal == matches!(self.window, Some(Window::Around(_))) {
            return Some(format!(
                "the window {:?} with attention that is causal: {}",
                self.window, self.is_causal
            ));
        }
        first_count_fault(&[("the attention window", n, limits::MAX_DIMENSION)])
    }

    /// What is wrong with the use of another layer's keys and values.
    fn sharing_fault(&self, layer: usize, layers: &[LayerSpec]) -> Option<String> {
        let other = self.shares_kv_with?;
        let of_same_shape = layers.get(other).and_then(|layer| layer.mixer.attention()).is_some_and(|of| {
            (of.n_head_kv, of.head_dim_k, of.head_dim_v) == (self.n_head_kv, self.head_dim_k, self.head_dim_v)
                && of.shares_kv_with.is_none()
        });
        (other >= layer || !of_same_shape)
            .then(|| format!("layer {layer} cannot use the keys and values of layer {other}"))
    }
}

impl IndexerSpec {
    pub(super) fn fault(&self) -> Option<String> {
        first_count_fault(&[
            ("the number of an indexer's heads", self.n_head, limits::MAX_HEAD_DIM),
            ("the length of an indexer's head", self.head_dim, limits::MAX_HEAD_DIM),
        ])
    }
}

impl TemperatureSpec {
    pub(super) fn fault(&self) -> Option<String> {
        first_count_fault(&[(
            "the context of the attention temperature",
            self.original_context,
            limits::MAX_DIMENSION,
        )])
        .or_else(|| first_constant_fault(&[("the slope of the attention temperature", self.beta)]))
    }
}

impl RopeUse {
    pub(super) fn fault(self, ropes: &[RopeSpec], head_dim: usize) -> Option<String> {
        let n_dims = ropes.get(self.index).map_or(0, |rope| rope.n_dims);
        (n_dims == 0 || n_dims % 2 == 1 || n_dims > head_dim).then(|| {
            format!("{n_dims} rotated elements per head; it must be an even number within 2..={head_dim}")
        })
    }
}
