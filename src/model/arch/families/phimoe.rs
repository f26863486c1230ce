//! `phimoe`: Phi 3.5 MoE: layer norms, biases, factors of rotary frequencies that depend on the length of the
//! context, and experts chosen one after the other, each weighed among those nearly as good.

use super::prelude::*;

/// The `phimoe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "phimoe",
    checkpoint_classes: &["PhiMoEForCausalLM", "PhimoeForCausalLM"],
    model_types: &["phimoe"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGateInp, "block_sparse_moe.gate"),
            (Role::FfnGateExps, "block_sparse_moe.experts.{e}.w1"),
            (Role::FfnUpExps, "block_sparse_moe.experts.{e}.w3"),
            (Role::FfnDownExps, "block_sparse_moe.experts.{e}.w2"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let noise = made.config.f32("router_jitter_noise")?.unwrap_or(0.01);
    if noise != 0.01 {
        return Err(
            made.unsupported(format!("router_jitter_noise {noise}; the phimoe architecture has 0.01"))
        );
    }
    let defaults = Defaults { eps: 1e-5, freq_base: 1e6, ..Defaults::RMS };
    made.longrope_or_none(&defaults)?;
    made.base(&defaults)?;
    made.experts(&["num_local_experts"])?;
    made.optional_count("attention.sliding_window", "sliding_window")?;
    let Some(rope) = made.rope_parameters()? else { return Ok(()) };
    // It names the magnitude instead of the formula that other models have.
    match (rope.f32("short_mscale")?, rope.f32("long_mscale")?) {
        (Some(short), Some(long)) if short != long => Err(made.unsupported(format!(
            "short_mscale {short} and long_mscale {long}; the phimoe architecture has one for all lengths"
        ))),
        (Some(magnitude), _) => {
            made.replace("rope.scaling.attn_factor", Value::F32(magnitude));
            Ok(())
        }
        (None, _) => Ok(()),
    }
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    // Its layer norms have the epsilon of RMS norms in files.
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    base.norm.kind = NormKind::Layer;
    super::phi3::by_context(&mut base)?;
    let window = base.window()?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.scoring = Scoring::SparseMixer;
    experts.router.is_normalised = false;
    let layer = |i| {
        let attention = AttentionSpec { window, ..base.attention(i) };
        base.layer_of(attention, FfnSpec::Experts(experts.clone()))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
