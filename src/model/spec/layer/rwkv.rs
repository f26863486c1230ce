//! The layers of RWKV.

use gguf_simd::ops::padded_columns;

use super::NormSpec;
use crate::limits;
use crate::model::spec::faults::first_count_fault;

/// The time mix of RWKV-7 (Peng et al. 2025): everything is made of the input of a position and that of the one before;
/// each head has a matrix, `[head_dim, head_dim]`, whose rows decay each at its own rate and which is corrected
/// towards the value at each key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rwkv7Spec {
    /// Width of the residual stream, and of all heads.
    pub n_embd: usize,
    /// Elements of a head; divides `n_embd`.
    pub head_dim: usize,
    /// Widths that the decays, the rates of correction, the shares of the first layer's values and the gates are made
    /// from; gates may be missing.
    pub ranks: RwkvRanks,
    /// Whether its values are the first of the model, which the other layers take a share of.
    pub is_first: bool,
    /// Of each head's output, with weights of its own.
    pub head_norm: Option<NormSpec>,
    /// The part behind it, which also looks at the position before.
    pub channel: Option<ChannelMixSpec>,
}

/// Widths that vectors as long as the stream are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RwkvRanks {
    /// Of decays.
    pub decay: usize,
    /// Of rates of correction.
    pub rate: usize,
    /// Of shares of the first layer's values.
    pub value: usize,
    /// Of gates; 0 for none.
    pub gate: usize,
}

/// The time mix of RWKV-6 (Peng et al. 2024): as that of RWKV-7, but inputs say how far they are mixed with those before,
/// and nothing is corrected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rwkv6Spec {
    /// Width of the residual stream, and of all heads.
    pub n_embd: usize,
    /// Elements of a head; divides `n_embd`.
    pub head_dim: usize,
    /// Heads of keys and values; divides the others.
    pub n_head_kv: usize,
    /// Width that the rates of mixtures are made from.
    pub mix_rank: usize,
    /// Width that decays are made from.
    pub decay_rank: usize,
    /// Of each head's output, with weights of its own: then a position's own value counts by a bonus, and gates are SiLU.
    /// Without, keys are what decays leave room for, queries see the position's own value, and gates are sigmoids.
    pub head_norm: Option<NormSpec>,
    /// The part behind it, which also looks at the position before.
    pub channel: Option<ChannelMixSpec>,
}

/// A feed-forward part whose input is mixed with that of the position before: `value(relu(key(x))^2)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelMixSpec {
    /// In front of it.
    pub norm: NormSpec,
    /// Its width.
    pub n_ff: usize,
    /// Whether the sigmoid of a product multiplies its output.
    pub has_receptance: bool,
}

impl Rwkv7Spec {
    /// Heads.
    pub fn n_head(&self) -> usize {
        self.n_embd / self.head_dim
    }

    /// Mixtures of an input with the one before: for queries, decays, keys, values, rates, and gates if there are some.
    pub fn n_mix(&self) -> usize {
        if self.ranks.gate > 0 { 6 } else { 5 }
    }

    /// Floats of the inputs that it remembers: its own, and that of the part behind it.
    pub fn shift_len(&self) -> usize {
        self.n_embd * (1 + usize::from(self.channel.is_some()))
    }

    /// Floats of the matrix of a head, whose columns are filled up to whole vectors.
    pub fn matrix_len(&self) -> usize {
        self.head_dim * padded_columns(self.head_dim)
    }

    /// Floats that it remembers: inputs, then the matrices.
    pub fn state_len(&self) -> usize {
        self.shift_len() + self.n_head() * self.matrix_len()
    }

    pub(super) fn fault(&self) -> Option<String> {
        let Self { n_embd, head_dim, ranks, .. } = *self;
        let counts = [
            ("the embedding length", n_embd, limits::MAX_DIMENSION),
            ("the length of an RWKV head", head_dim, limits::MAX_HEAD_DIM),
            ("the rank of decays", ranks.decay, limits::MAX_DIMENSION),
            ("the rank of rates", ranks.rate, limits::MAX_DIMENSION),
            ("the rank of the values' mixture", ranks.value, limits::MAX_DIMENSION),
            ("the rank of gates", ranks.gate.max(1), limits::MAX_DIMENSION),
            ("the feed-forward length", self.channel.map_or(1, |of| of.n_ff), limits::MAX_DIMENSION),
        ];
        first_count_fault(&counts)
            .or_else(|| {
                (!n_embd.is_multiple_of(head_dim))
                    .then(|| format!("{n_embd} elements do not divide among RWKV heads of {head_dim}"))
            })
            .or_else(|| self.head_norm.and_then(|norm| norm.fault()))
            .or_else(|| self.channel.and_then(|channel| channel.norm.fault()))
    }
}

impl Rwkv6Spec {
    /// Heads.
    pub fn n_head(&self) -> usize {
        self.n_embd / self.head_dim
    }

    /// Elements of all heads of keys.
    pub fn n_kv(&self) -> usize {
        self.n_head_kv * self.head_dim
    }

    /// Floats of the inputs that it remembers: its own, and that of the part behind it.
    pub fn shift_len(&self) -> usize {
        self.n_embd * (1 + usize::from(self.channel.is_some()))
    }

    /// Floats that it remembers: inputs, then the matrices, whose columns are filled up to whole vectors.
    pub fn state_len(&self) -> usize {
        self.shift_len() + self.n_head() * self.head_dim * padded_columns(self.head_dim)
    }

    pub(super) fn fault(&self) -> Option<String> {
        let Self { n_embd, head_dim, n_head_kv, .. } = *self;
        let counts = [
            ("the embedding length", n_embd, limits::MAX_DIMENSION),
            ("the length of an RWKV head", head_dim, limits::MAX_HEAD_DIM),
            ("the number of key-value heads", n_head_kv, limits::MAX_DIMENSION),
            ("the rank of mixtures", self.mix_rank, limits::MAX_DIMENSION),
            ("the rank of decays", self.decay_rank, limits::MAX_DIMENSION),
            ("the feed-forward length", self.channel.map_or(1, |of| of.n_ff), limits::MAX_DIMENSION),
        ];
        first_count_fault(&counts)
            .or_else(|| {
                let divides = n_embd.is_multiple_of(head_dim) && self.n_head().is_multiple_of(n_head_kv);
                (!divides).then(|| {
                    format!("{n_embd} elements in RWKV heads of {head_dim}, for {n_head_kv} key-value heads")
                })
            })
            .or_else(|| self.head_norm.and_then(|norm| norm.fault()))
            .or_else(|| self.channel.and_then(|channel| channel.norm.fault()))
    }
}
