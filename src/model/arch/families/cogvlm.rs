//! `cogvlm`: the text part of CogVLM: Llama with q, k and v in one matrix. The matrices of their own that positions of
//! images have are left out, as texts go without them.

use super::prelude::*;

/// The `cogvlm` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "cogvlm",
    checkpoint_classes: &["CogVLMForCausalLM"],
    model_types: &["cogvlm"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "self_attn.language_expert_query_key_value"),
            (Role::AttnOutput, "self_attn.language_expert_dense"),
            (Role::FfnGate, "mlp.language_mlp.gate_proj"),
            (Role::FfnUp, "mlp.language_mlp.up_proj"),
            (Role::FfnDown, "mlp.language_mlp.down_proj"),
        ],
        left_out: &["vision."],
        ..Names::PLAIN
    },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    // The second model is of Llama 3: its code has groups of queries, and the base of their positions with them.
    let n_head_kv_name = made.first_of(&["num_multi_query_heads", "num_key_value_heads"]);
    let is_grouped = made.config.count("num_multi_query_heads")?.is_some();
    let freq_base = if is_grouped { 5e5 } else { 1e4 };
    made.base(&Defaults { n_head_kv_name, freq_base, ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}
