//! `qwen`: Qwen 1: q, k and v in one matrix with biases, and a feed-forward part of half the width that files say.

use super::prelude::*;

/// The `qwen` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen",
    checkpoint_classes: &["QWenLMHeadModel"],
    model_types: &["qwen"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.h.",
        other: &[
            (Role::TokenEmbd, "transformer.wte"),
            (Role::OutputNorm, "transformer.ln_f"),
            (Role::AttnNorm, "ln_1"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attn.c_attn"),
            (Role::AttnOutput, "attn.c_proj"),
            (Role::FfnNorm, "ln_2"),
            (Role::FfnGate, "mlp.w2"),
            (Role::FfnUp, "mlp.w1"),
            (Role::FfnDown, "mlp.c_proj"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: |config| Ok(Promises { qkv_bias: Promise::There, ..promises(config)? }),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("no_bias", true, false)?;
    made.base(&Defaults {
        eps_name: "layer_norm_epsilon",
        n_ctx_name: made.first_of(&["max_position_embeddings", "seq_length"]),
        partial: Partial::Allowed(1.0),
        ..Defaults::RMS
    })?;
    // Beyond the length of training they stretch positions and sharpen scores.
    let is = |name: &str| Ok::<_, crate::Error>(made.config.bool(name)?.unwrap_or(false));
    if is("use_dynamic_ntk")? || is("use_logn_attn")? {
        let n_ctx = made.config.count("seq_length")?.unwrap_or(2048);
        made.note(format!(
            "use_dynamic_ntk and use_logn_attn are left out, for GGUF has no keys for them: they change nothing \
             up to {n_ctx} positions, and beyond them answers may differ"
        ));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let layer = |i: usize| base.layer_of(base.attention(i), FfnSpec::Gated(base.ffn_of(base.n_ff[i] / 2)));
    base.model((0..base.n_layer).map(layer).collect())
}
