//! `jamba`: Jamba: Mamba mixers in most layers and attention without positions in some; gated parts, or experts in every
//! second layer.

use super::mamba::mixer;
use super::prelude::*;

/// The `jamba` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "jamba",
    checkpoint_classes: &["JambaForCausalLM"],
    model_types: &["jamba"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::OutputNorm, "model.final_layernorm"),
            (Role::FfnNorm, "pre_ff_layernorm"),
            (Role::SsmIn, "mamba.in_proj"),
            (Role::SsmConv, "mamba.conv1d"),
            (Role::SsmX, "mamba.x_proj"),
            (Role::SsmDt, "mamba.dt_proj"),
            (Role::SsmA, "mamba.A_log"),
            (Role::SsmD, "mamba.D"),
            (Role::SsmDtNorm, "mamba.dt_layernorm"),
            (Role::SsmBNorm, "mamba.b_layernorm"),
            (Role::SsmCNorm, "mamba.c_layernorm"),
            (Role::SsmOut, "mamba.out_proj"),
            (Role::FfnGate, "feed_forward.gate_proj"),
            (Role::FfnUp, "feed_forward.up_proj"),
            (Role::FfnDown, "feed_forward.down_proj"),
            (Role::FfnGateInp, "feed_forward.router"),
            (Role::FfnGateExps, "feed_forward.experts.{e}.gate_proj"),
            (Role::FfnUpExps, "feed_forward.experts.{e}.up_proj"),
            (Role::FfnDownExps, "feed_forward.experts.{e}.down_proj"),
        ],
        ..Names::PLAIN
    },
    source: super::mamba::source,
    promises,
};

/// The tensor whose presence says that layer `i` has experts.
fn router(i: usize) -> String {
    format!("blk.{i}.ffn_gate_inp.weight")
}

/// Whether layer `i` is one of those that come at every `period` from `offset` on.
fn is_among(i: usize, (offset, period): (usize, usize)) -> bool {
    period > 0 && i >= offset && (i - offset).is_multiple_of(period)
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("mamba_proj_bias", false, true)?;
    let config = made.config;
    let n_layer = made.n_layer()?;
    made.base(&Defaults { n_ctx: 262_144, ..Defaults::RMS })?;
    let count = |name: &str, default: usize| Ok::<_, crate::Error>(config.count(name)?.unwrap_or(default));
    let attention = (count("attn_layer_offset", 4)?, count("attn_layer_period", 8)?);
    let n_head_kv = config.required_count("num_key_value_heads")?;
    let counts = (0..n_layer).map(|i| if is_among(i, attention) { n_head_kv } else { 0 });
    made.replace_counts("attention.head_count_kv", counts)?;
    let experts = (count("expert_layer_offset", 1)?, count("expert_layer_period", 2)?);
    let n_expert = count("num_experts", 16)?;
    made.put_count("expert_count", n_expert)?;
    made.put_count("expert_used_count", count("num_experts_per_tok", 2)?)?;
    (0..n_layer).filter(|&i| n_expert > 1 && is_among(i, experts)).for_each(|i| made.will_have(router(i)));
    let n_embd = config.required_count("hidden_size")?;
    made.put_count("ssm.conv_kernel", count("mamba_d_conv", 4)?)?;
    made.put_count("ssm.inner_size", count("mamba_expand", 2)?.saturating_mul(n_embd))?;
    made.put_count("ssm.state_size", count("mamba_d_state", 16)?)?;
    // It may say "auto".
    let n_rank = config.count("mamba_dt_rank").ok().flatten().unwrap_or(n_embd.div_ceil(16));
    made.put_count("ssm.time_step_rank", n_rank)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mixer = Mamba1Spec { norm: Some(base.norm), ..mixer(&base)? };
    let mut experts = base.experts()?;
    if let Some(experts) = &mut experts {
        experts.router.is_normalised = false;
    }
    let layer = |i: usize| {
        let ffn = match &experts {
            Some(experts) if keys.has_tensor(&router(i)) => FfnSpec::Experts(experts.clone()),
            _ => FfnSpec::Gated(base.ffn(i)),
        };
        let mut attention = base.attention(i);
        attention.rope = None;
        let mut layer = base.layer_of(attention, ffn);
        if base.n_head_kv[i] == 0 {
            layer.mixer = MixerSpec::Mamba1(mixer);
        }
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    Ok(model)
}
