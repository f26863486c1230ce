//! `arctic`: Snowflake Arctic: a dense part as wide as the stream behind attention, and experts beside both, which get
//! the stream that attention has not changed.

use super::prelude::*;

/// The `arctic` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "arctic",
    checkpoint_classes: &["ArcticForCausalLM"],
    model_types: &["arctic"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnNorm, "residual_layernorm"),
            (Role::FfnGate, "residual_mlp.w1"),
            (Role::FfnUp, "residual_mlp.w3"),
            (Role::FfnDown, "residual_mlp.w2"),
            (Role::FfnNormExps, "post_attention_layernorm"),
            (Role::FfnGateInp, "block_sparse_moe.gate"),
            (Role::FfnGateExps, "block_sparse_moe.experts.{e}.w1"),
            (Role::FfnUpExps, "block_sparse_moe.experts.{e}.w3"),
            (Role::FfnDownExps, "block_sparse_moe.experts.{e}.w2"),
        ],
        is_permuted: true,
        ..Names::PLAIN
    },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("parallel_attn_mlp_res", true, false)?;
    if made.config.count("moe_layer_frequency")?.is_some_and(|n| n != 1) {
        return Err(made.unsupported("moe_layer_frequency; every layer must have experts".into()));
    }
    made.base(&Defaults { eps: 1e-5, freq_base: 1e6, ..Defaults::RMS })?;
    made.experts(&["num_local_experts"])
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.scale = base.expert_scale()?;
    experts.early_norm = Some(base.norm);
    experts.shared =
        base.shared(base.n_embd, false).map(|shared| SharedSpec { is_named_plainly: true, ..shared });
    let layer = |i| base.layer_of(base.attention(i), FfnSpec::Experts(experts.clone()));
    base.model((0..base.n_layer).map(layer).collect())
}
