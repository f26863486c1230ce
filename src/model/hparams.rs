//! The numbers that shape a decoder, from a GGUF header or a checkpoint's config.json.

/// Shape and constants of a dense or mixture-of-experts decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Hparams {
    /// Transformer layers.
    pub n_layer: usize,
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
    /// Width of the feed-forward part (of one expert, where there are experts).
    pub n_ff: usize,
    /// Rows of the embedding and of the output matrix.
    pub n_vocab: usize,
    /// Positions the model was trained for.
    pub n_ctx_train: usize,
    /// Added to the mean square in RMS norms.
    pub rms_eps: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Experts per layer; 0 for a dense model.
    pub n_expert: usize,
    /// Experts each token goes through; 0 for a dense model.
    pub n_expert_used: usize,
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Leading elements of each head that are rotated; even.
    pub n_dims: usize,
    /// Base of the geometric series of wavelengths.
    pub freq_base: f32,
    /// How positions or frequencies are stretched.
    pub scaling: RopeScaling,
}

/// How rotary positions are stretched for longer contexts. The per-frequency divisors of Llama 3
/// are no scaling of this kind: they are the tensor `rope_freqs.weight`.
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
        /// Multiplies the attention temperature; 1 as in the paper.
        attn_factor: f32,
        /// Rotations above which a dimension is kept.
        beta_fast: f32,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f32,
    },
}

impl Hparams {
    /// Elements of all key heads of a token.
    pub fn n_embd_k(&self) -> usize {
        self.n_head_kv * self.head_dim_k
    }

    /// Elements of all value heads of a token.
    pub fn n_embd_v(&self) -> usize {
        self.n_head_kv * self.head_dim_v
    }
}
