//! Attention over latent vectors.

use super::NormSpec;
use super::attention::{AttentionGate, AttentionSpec, IndexerSpec, RopeUse, TemperatureSpec, Window};
use crate::limits;
use crate::model::spec::faults::{first_constant_fault, first_count_fault};
use crate::model::spec::rope::RopeSpec;

/// Attention over latent vectors (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1): one vector a position,
/// that all heads share, with a rotated part behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MlaSpec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Query heads.
    pub n_head: usize,
    /// Width that queries are made from, if not from the stream itself.
    pub q_lora_rank: Option<usize>,
    /// Elements of a latent vector.
    pub kv_lora_rank: usize,
    /// Elements of a query and of a key before they are rotated; those of the latent part.
    pub head_dim_nope: usize,
    /// Elements of the rotated part.
    pub n_rot: usize,
    /// Elements of a value head.
    pub head_dim_v: usize,
    /// The rotation, if there is one.
    pub rope: Option<RopeUse>,
    /// Multiplies the scores.
    pub scale: f32,
    /// What else does, by position.
    pub temperature: Option<TemperatureSpec>,
    /// Of what queries are made from and of latent vectors.
    pub norm: NormSpec,
    /// Of the rotated part of keys, before it is rotated.
    pub key_norm: Option<NormSpec>,
    /// The positions that a query sees, of those up to its own.
    pub window: Option<Window>,
    /// Whether each head has a score that takes part in the softmax and has no value.
    pub has_sinks: bool,
    /// What the values of heads are multiplied with.
    pub gate: Option<AttentionGate>,
    /// What would choose the positions that queries see: files have its tensors, and texts are short enough for all.
    pub indexer: Option<IndexerSpec>,
}

impl MlaSpec {
    /// Elements of a query head and of a key head.
    pub fn head_dim_k(&self) -> usize {
        self.head_dim_nope + self.n_rot
    }

    /// Elements that are cached of a position: the latent vector and the rotated part.
    pub fn n_cached(&self) -> usize {
        self.kv_lora_rank + self.n_rot
    }

    /// Elements of the values of all heads of a token.
    pub fn n_embd_out(&self) -> usize {
        self.n_head * self.head_dim_v
    }

    /// Gates of a token.
    pub fn n_gate(&self) -> usize {
        match self.gate {
            None => 0,
            Some(AttentionGate::Head) => self.n_head,
            Some(AttentionGate::Element | AttentionGate::WithQuery) => self.n_embd_out(),
        }
    }

    /// The attention that is left when the products with a head's keys and values are moved to its queries and
    /// outputs: all queries share one head of latent vectors.
    pub fn core(&self) -> AttentionSpec {
        AttentionSpec {
            head_dim_k: self.n_cached(),
            head_dim_v: self.kv_lora_rank,
            scale: self.scale,
            temperature: self.temperature,
            rope: self.rope,
            window: self.window,
            has_sinks: self.has_sinks,
            ..AttentionSpec::plain(self.n_embd, self.n_head, 1, self.n_cached())
        }
    }

    pub(super) fn fault(&self, ropes: &[RopeSpec]) -> Option<String> {
        let counts = [
            ("the number of attention heads", self.n_head, limits::MAX_HEAD_DIM),
            ("the rank of queries", self.q_lora_rank.unwrap_or(1), limits::MAX_HEAD_DIM),
            ("the rank of keys and values", self.kv_lora_rank, limits::MAX_HEAD_DIM / 2),
            (
                "the length of a key head without its rotated part",
                self.head_dim_nope,
                limits::MAX_HEAD_DIM / 2,
            ),
            // There may be none.
            ("the rotated part of a key head", self.n_rot.max(1), limits::MAX_HEAD_DIM / 2),
            ("the length of a value head", self.head_dim_v, limits::MAX_HEAD_DIM),
        ];
        let widest = self.n_head.saturating_mul(self.n_cached().max(self.head_dim_k()).max(self.head_dim_v));
        first_count_fault(&counts)
            .or_else(|| first_count_fault(&[("the width of all heads", widest, limits::MAX_DIMENSION)]))
            .or_else(|| first_constant_fault(&[("the attention scale", self.scale)]))
            .or_else(|| self.temperature.and_then(|temperature| temperature.fault()))
            .or_else(|| self.indexer.and_then(|indexer| indexer.fault()))
            .or_else(|| self.norm.fault())
            .or_else(|| self.key_norm.and_then(|norm| norm.fault()))
            .or_else(|| self.core().window_fault())
            .or_else(|| self.rope.and_then(|rope| rope.fault(ropes, self.n_rot)))
    }
}
