//! What transformers' configuration classes assume where config.json is silent.

/// What transformers' configuration classes assume where config.json is silent, and their names for what
/// differs.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Of norms.
    pub eps: f32,
    /// Its name.
    pub eps_name: &'static str,
    /// Its key.
    pub eps_key: &'static str,
    /// The base of rotary positions.
    pub freq_base: f32,
    /// Whether rotary positions may differ between layers with and without windows.
    pub has_kinds: bool,
    /// Whether positions may have several dimensions, which are one for text (M-RoPE).
    pub has_sections: bool,
    /// Whether the scaling called `ntk` is one that the family writes itself.
    pub has_ntk: bool,
    /// Whether heads may be rotated in part, and which part of them is.
    pub partial: Partial,
    /// The length of a head that the configuration does not say; `None`: what divides the width among heads.
    pub head_dim: Option<usize>,
    /// Its name for the number of tokens.
    pub n_vocab_name: &'static str,
    /// Its name for the positions the model was trained for.
    pub n_ctx_name: &'static str,
    /// Those positions where it is silent; 0: it must say.
    pub n_ctx: usize,
    /// Its name for the width of the feed-forward part; empty if there is none but experts.
    pub n_ff_name: &'static str,
    /// How many times the width of the stream that is, where it is silent; 0: it must say.
    pub n_ff_times: usize,
    /// Its name for the number of layers.
    pub n_layer_name: &'static str,
    /// Its name for the width of the stream.
    pub n_embd_name: &'static str,
    /// Its name for the number of query heads.
    pub n_head_name: &'static str,
    /// Its name for the number of key-value heads.
    pub n_head_kv_name: &'static str,
}

/// Whether heads may be rotated in part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Partial {
    /// No: the family rotates whole heads.
    Refused,
    /// Yes; this part where the configuration is silent.
    Allowed(f32),
}

impl Defaults {
    /// Of most families with RMS norms.
    pub const RMS: Self = Self {
        eps: 1e-6,
        eps_name: "rms_norm_eps",
        eps_key: "attention.layer_norm_rms_epsilon",
        freq_base: 1e4,
        has_kinds: false,
        has_sections: false,
        has_ntk: false,
        partial: Partial::Refused,
        head_dim: None,
        n_vocab_name: "vocab_size",
        n_ctx_name: "max_position_embeddings",
        n_ctx: 0,
        n_ff_name: "intermediate_size",
        n_ff_times: 0,
        n_layer_name: "num_hidden_layers",
        n_embd_name: "hidden_size",
        n_head_name: "num_attention_heads",
        n_head_kv_name: "num_key_value_heads",
    };
    /// Of most families with layer norms.
    pub const LAYER: Self =
        Self { eps: 1e-5, eps_name: "layer_norm_eps", eps_key: "attention.layer_norm_epsilon", ..Self::RMS };
}
