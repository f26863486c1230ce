//! `qwen3next`: Qwen3-Next: three layers of a gated delta-net to one of attention, whose outputs are gated and whose
//! heads are normed and rotated in part; experts beside one that every token goes through with a gate.

use super::prelude::*;

/// Layers to one of attention, where files do not say it.
const PERIOD: usize = 4;

/// The `qwen3next` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen3next",
    checkpoint_classes: &["Qwen3NextForCausalLM"],
    model_types: &["qwen3_next"],
    keys,
    spec,
    names: NAMES,
    source,
    promises,
};

/// The names of all families with these delta-nets.
pub(super) const NAMES: Names = Names {
    other: &[
        (Role::AttnPostNorm, "post_attention_layernorm"),
        (Role::AttnGate, "linear_attn.in_proj_z"),
        (Role::SsmConv, "linear_attn.conv1d"),
        (Role::SsmA, "linear_attn.A_log"),
        (Role::SsmBeta, "linear_attn.in_proj_b"),
        (Role::SsmAlpha, "linear_attn.in_proj_a"),
        (Role::SsmBetaAlpha, "linear_attn.in_proj_ba"),
        (Role::SsmNorm, "linear_attn.norm"),
        (Role::SsmOut, "linear_attn.out_proj"),
        (Role::FfnGateInpShexp, "mlp.shared_expert_gate"),
        (Role::FfnGateShexp, "mlp.shared_expert.gate_proj"),
        (Role::FfnUpShexp, "mlp.shared_expert.up_proj"),
        (Role::FfnDownShexp, "mlp.shared_expert.down_proj"),
    ],
    ..Names::PLAIN
};

/// What transformers assumes of all these families.
pub(super) const DEFAULTS: Defaults =
    Defaults { head_dim: Some(256), partial: Partial::Allowed(0.25), ..Defaults::RMS };

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.base(&DEFAULTS)?;
    super::qwen2moe::every_layer_has_experts(made)?;
    expert_keys(made)?;
    delta_keys(made)
}

/// The keys of experts and of the one that every token goes through.
pub(super) fn expert_keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("norm_topk_prob", true, false)?;
    made.experts(&["num_experts", "num_local_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    made.count("expert_shared_feed_forward_length", "shared_expert_intermediate_size")?;
    Ok(())
}

/// The keys of delta-nets, and of which layers they are in.
pub(super) fn delta_keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("attention_bias", false, true)?;
    made.refuse("attn_output_gate", true, false)?;
    let config = made.config;
    let of = |name: &str, default: usize| Ok::<_, crate::Error>(config.count(name)?.unwrap_or(default));
    let (n_head_v, head_dim_v) = (of("linear_num_value_heads", 32)?, of("linear_value_head_dim", 128)?);
    let head_dim_k = of("linear_key_head_dim", 128)?;
    if head_dim_k != head_dim_v {
        let what = format!("linear_key_head_dim {head_dim_k} and linear_value_head_dim {head_dim_v}");
        return Err(made.unsupported(format!("{what}, which GGUF cannot tell apart")));
    }
    made.put_count("ssm.conv_kernel", of("linear_conv_kernel_dim", 4)?)?;
    made.put_count("ssm.state_size", head_dim_k)?;
    made.put_count("ssm.group_count", of("linear_num_key_heads", 16)?)?;
    made.put_count("ssm.time_step_rank", n_head_v)?;
    made.put_count("ssm.inner_size", n_head_v.saturating_mul(head_dim_v))?;
    let period = of("full_attention_interval", PERIOD)?;
    let n_layer = made.n_layer()?;
    let recurrent: Vec<bool> = match config.strings("layer_types")? {
        Some(types) => types.iter().map(|kind| *kind == "linear_attention").collect(),
        None => (0..n_layer).map(|i| period == 0 || (i + 1) % period != 0).collect(),
    };
    let first = recurrent.iter().position(|is_recurrent| !is_recurrent);
    made.put_count("full_attention_interval", first.map_or(period, |first| first + 1))?;
    made.put("attention.recurrent_layers", Value::Bools(recurrent));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let experts = gated_experts(&base)?;
    spec_with(&base, HeadOrder::Grouped, |_| FfnSpec::Experts(experts.clone()))
}

/// The experts of every layer.
pub(super) fn gated_experts(base: &Base<'_>) -> Result<ExpertsSpec> {
    let mut experts = base.experts()?.ok_or_else(|| base.keys.missing("expert_count"))?;
    let n_shared = base.keys.count("expert_shared_feed_forward_length")?.unwrap_or(base.n_ff[0]);
    experts.shared = base.shared(n_shared, true);
    experts.router.scale = base.expert_scale()?;
    Ok(experts)
}

/// A model of delta-nets and attention whose layers have these feed-forward parts.
pub(super) fn spec_with(
    base: &Base<'_>,
    order: HeadOrder,
    ffn: impl Fn(usize) -> FfnSpec,
) -> Result<ModelSpec> {
    let keys = &base.keys;
    let n_head_v = keys.required_count("ssm.time_step_rank")?;
    let delta_net = DeltaNetSpec {
        n_embd: base.n_embd,
        n_head_k: keys.required_count("ssm.group_count")?,
        n_head_v,
        head_dim_k: keys.required_count("ssm.state_size")?,
        head_dim_v: keys.required_count("ssm.inner_size")?.checked_div(n_head_v).unwrap_or(0),
        n_taps: keys.required_count("ssm.conv_kernel")?,
        order,
        has_joint_gates: order == HeadOrder::Grouped,
        gate: Gate::Silu,
        norm: base.norm,
    };
    let recurrent = match keys.bools("attention.recurrent_layers", base.n_layer)? {
        Some(layers) => layers,
        None => {
            let period = keys.count("full_attention_interval")?.unwrap_or(PERIOD);
            (0..base.n_layer).map(|i| period == 0 || (i + 1) % period != 0).collect()
        }
    };
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        attention.gate = Some(AttentionGate::WithQuery);
        let mut layer = base.layer_of(attention, ffn(i));
        layer.ffn_norm_role = Role::AttnPostNorm;
        if recurrent[i] {
            layer.mixer = MixerSpec::DeltaNet(delta_net);
        }
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// The delta-net that a slot belongs to.
pub(super) fn delta_net_of(sources: &Sources<'_>, slot: &Slot) -> Option<DeltaNetSpec> {
    match &sources.spec.layers[slot.id.layer?].mixer {
        MixerSpec::DeltaNet(spec) => Some(*spec),
        _ => None,
    }
}

/// Queries, keys, values and gates of each key head lie together in one matrix.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let Some(spec) = delta_net_of(sources, slot) else { return common_source(sources, slot) };
    if !matches!(slot.id.role, Role::AttnQkv | Role::AttnGate) {
        return common_source(sources, slot);
    }
    let group = spec.n_head_v / spec.n_head_k * spec.head_dim_v;
    let stride = 2 * spec.head_dim_k + 2 * group;
    let piece = |first: usize, run: usize| Piece {
        names: vec![sources.in_layer(slot, "linear_attn.in_proj_qkvz.weight")],
        shape: vec![spec.n_head_k * stride, spec.n_embd],
        n_rows: spec.n_head_k * run,
        rows: RowMap::Strided { first, run, stride, pairs: None },
    };
    let (key, value) = (spec.head_dim_k, 2 * spec.head_dim_k);
    let pieces = match slot.id.role {
        Role::AttnQkv => vec![piece(0, key), piece(key, key), piece(value, group)],
        _ => vec![piece(value + group, group)],
    };
    Ok(Some(Source::Pieces(pieces, ValueMap::Same)))
}

/// What all these families have otherwise than most: norms store the difference from one, decays the logarithm of
/// what they are without their sign, and the convolution has a dimension more.
pub(super) fn common_source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let is_delta_net = delta_net_of(sources, slot).is_some();
    let source = match slot.id.role {
        // Attention has q, k and v apart.
        Role::AttnQkv if !is_delta_net => return Ok(None),
        Role::FfnGateExps | Role::FfnUpExps | Role::FfnDownExps => return experts(sources, slot),
        Role::SsmDt => {
            return Ok(Some(Source::whole(slot, vec![sources.in_layer(slot, "linear_attn.dt_bias")])));
        }
        _ => plain(sources, slot)?,
    };
    Ok(source.map(|source| match slot.id.role {
        // MLX has added the one.
        Role::AttnNorm | Role::AttnPostNorm | Role::OutputNorm | Role::AttnQNorm | Role::AttnKNorm
            if sources.dialect == Dialect::Transformers =>
        {
            source.with_values(ValueMap::Plus(1.0))
        }
        Role::SsmA => source.with_values(ValueMap::NegativeExp),
        Role::SsmConv => source.with_shape(&[slot.shape[0], 1, slot.shape[1]]),
        Role::FfnGateInpShexp => source.with_shape(&[1, slot.shape[0]]),
        _ => source,
    }))
}

/// Experts lie apart, or in stacks with the gate's rows before the others of each.
pub(super) fn experts(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let [n_expert, n_out, n_in] = slot.shape[..] else { return Ok(None) };
    let (name, first) = match slot.id.role {
        Role::FfnGateExps => ("mlp.experts.gate_up_proj", 0),
        Role::FfnUpExps => ("mlp.experts.gate_up_proj", n_out),
        _ => ("mlp.experts.down_proj", 0),
    };
    let stem = sources.in_layer(slot, name);
    let stack = Source::whole(slot, vec![stem.clone(), format!("{stem}.weight")]);
    let stack = if slot.id.role == Role::FfnDownExps {
        stack
    } else {
        let rows = RowMap::Strided { first, run: n_out, stride: 2 * n_out, pairs: None };
        stack.with_shape(&[n_expert, 2 * n_out, n_in]).with_rows(rows)
    };
    Ok(plain(sources, slot)?.map(|apart| Source::Either(Box::new(stack), Box::new(apart))))
}
