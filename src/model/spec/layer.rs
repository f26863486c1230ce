//! What a layer is made of: shapes and constants, no weights.

use gguf_simd::ops::Gate;

use crate::model::hparams::Hparams;

/// A transformer layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// The norms in front of the parts.
    pub norm: NormSpec,
    /// The part that looks at other positions.
    pub attention: AttentionSpec,
    /// The part that looks at one position alone.
    pub ffn: FfnSpec,
}

/// The root mean square norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    /// Added to the mean square.
    pub eps: f32,
}

/// Causal attention with grouped queries.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Which elements of a head rotate together.
    pub rope_order: RopeOrder,
    /// Leading elements of each head that are rotated; even.
    pub rope_dims: usize,
    /// Multiplies the scores.
    pub scale: f32,
}

/// Which elements of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeOrder {
    /// Elements `2 i` and `2 i + 1`.
    Pairs,
    /// Elements `i` and `i + n_dims / 2`.
    Halves,
}

/// The feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FfnSpec {
    /// `down(activation(gate(x)) * up(x))`.
    Gated(GatedSpec),
    /// Several gated parts, of which each token goes through a few.
    Experts {
        /// Experts.
        n_expert: usize,
        /// Experts each token goes through.
        n_used: usize,
        /// One expert.
        expert: GatedSpec,
    },
}

/// A gated feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatedSpec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Width of the part.
    pub n_ff: usize,
    /// The gate's activation.
    pub activation: Gate,
}

impl AttentionSpec {
    /// Query heads that share a key-value head.
    pub fn group(&self) -> usize {
        self.n_head / self.n_head_kv
    }

    /// Elements of all query heads of a token.
    pub fn n_embd_q(&self) -> usize {
        self.n_head * self.head_dim_k
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
}

impl LayerSpec {
    /// Every layer of a model with these hyperparameters.
    pub fn new(hparams: &Hparams, rope_order: RopeOrder, activation: Gate) -> Self {
        let gated = GatedSpec { n_embd: hparams.n_embd, n_ff: hparams.n_ff, activation };
        Self {
            norm: NormSpec { eps: hparams.rms_eps },
            attention: AttentionSpec {
                n_embd: hparams.n_embd,
                n_head: hparams.n_head,
                n_head_kv: hparams.n_head_kv,
                head_dim_k: hparams.head_dim_k,
                head_dim_v: hparams.head_dim_v,
                rope_order,
                rope_dims: hparams.rope.n_dims,
                scale: 1.0 / (hparams.head_dim_k as f32).sqrt(),
            },
            ffn: match hparams.n_expert {
                0 => FfnSpec::Gated(gated),
                n_expert => FfnSpec::Experts { n_expert, n_used: hparams.n_expert_used, expert: gated },
            },
        }
    }
}
