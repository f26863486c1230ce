//! The layers of RWKV-7.

use gguf_simd::ops::padded_columns;

use super::NormSpec;
use crate::limits;
use crate::model::spec::faults::first_count_fault;

/// The time mix of RWKV-7 (Peng et al. 2025): everything is made of the input of a position and that of the one before;
/// each head has a matrix, `[head_dim, head_dim]`, whose rows decay each at a pace of its own and which is corrected
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

/// A feed-forward part whose input is mixed with that of the position before: `value(relu(key(x))^2)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelMixSpec {
    /// In front of it.
    pub norm: NormSpec,
    /// Its width.
    pub n_ff: usize,
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
