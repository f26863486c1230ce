//! What a model family says of each tensor: the contract between converter and runtime.
//!
//! The converter walks the specs to find, transform and place every tensor; the runtime walks the
//! same specs to find them again, with the same shapes. `layer` says what the decoder makes of them.

pub mod kv;
pub mod layer;

/// The part a tensor plays. Recipes choose block types by it, the decoder looks tensors up by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the field's own names")]
pub enum Role {
    TokenEmbd,
    OutputNorm,
    Output,
    RopeFreqs,
    AttnNorm,
    AttnQ,
    AttnK,
    AttnV,
    AttnOutput,
    AttnQBias,
    AttnKBias,
    AttnVBias,
    AttnOutputBias,
    FfnNorm,
    FfnGate,
    FfnUp,
    FfnDown,
    FfnGateBias,
    FfnUpBias,
    FfnDownBias,
    FfnGateInp,
    FfnGateExps,
    FfnUpExps,
    FfnDownExps,
}

impl Role {
    /// The GGUF name of the tensor in this role, in layer `layer` if the role belongs to a layer.
    ///
    /// # Panics
    /// If a layer's role comes without a layer (a bug in a family's file).
    pub fn gguf_name(self, layer: Option<usize>) -> String {
        let stem = match self {
            Self::TokenEmbd => return "token_embd.weight".into(),
            Self::OutputNorm => return "output_norm.weight".into(),
            Self::Output => return "output.weight".into(),
            Self::RopeFreqs => return "rope_freqs.weight".into(),
            Self::AttnNorm => "attn_norm.weight",
            Self::AttnQ => "attn_q.weight",
            Self::AttnK => "attn_k.weight",
            Self::AttnV => "attn_v.weight",
            Self::AttnOutput => "attn_output.weight",
            Self::AttnQBias => "attn_q.bias",
            Self::AttnKBias => "attn_k.bias",
            Self::AttnVBias => "attn_v.bias",
            Self::AttnOutputBias => "attn_output.bias",
            Self::FfnNorm => "ffn_norm.weight",
            Self::FfnGate => "ffn_gate.weight",
            Self::FfnUp => "ffn_up.weight",
            Self::FfnDown => "ffn_down.weight",
            Self::FfnGateBias => "ffn_gate.bias",
            Self::FfnUpBias => "ffn_up.bias",
            Self::FfnDownBias => "ffn_down.bias",
            Self::FfnGateInp => "ffn_gate_inp.weight",
            Self::FfnGateExps => "ffn_gate_exps.weight",
            Self::FfnUpExps => "ffn_up_exps.weight",
            Self::FfnDownExps => "ffn_down_exps.weight",
        };
        let layer = layer.expect("a layer's tensor has a layer number");
        format!("blk.{layer}.{stem}")
    }
}

/// Where a tensor's values come from when a checkpoint is converted.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The checkpoint tensor of this name.
    Checkpoint(String),
    /// The first of these checkpoint tensors that is there: a tied matrix is saved under either name.
    FirstOf(Vec<String>),
    /// These checkpoint tensors of equal shape, stacked along a new outermost dimension (experts).
    Stacked(Vec<String>),
    /// Values computed from the configuration.
    Computed(Vec<f32>),
}

/// What happens to the rows between checkpoint and GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// Nothing.
    None,
    /// Rows of each head are interleaved, from the half-split rotary order of Hugging Face to the
    /// paired order of GGUF's `llama`: row `2 i + s` of a head is its row `s * head_dim / 2 + i`.
    RotaryPairs {
        /// Heads in the tensor.
        n_head: usize,
    },
}

/// Whether a model can do without a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must be there.
    Required,
    /// It may be missing: a bias, a tied output matrix.
    Optional,
}

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// The part it plays.
    pub role: Role,
    /// Its layer, if it belongs to one.
    pub layer: Option<usize>,
    /// Outermost dimension first: `[n_out, n_in]`, `[n]`, or `[n_expert, n_out, n_in]`.
    pub shape: Vec<usize>,
    /// Where the converter takes it from.
    pub source: Source,
    /// What the converter does to its rows.
    pub transform: Transform,
    /// Whether it may be missing.
    pub presence: Presence,
}

impl TensorSpec {
    /// Its name in a GGUF file.
    pub fn gguf_name(&self) -> String {
        self.role.gguf_name(self.layer)
    }
}
