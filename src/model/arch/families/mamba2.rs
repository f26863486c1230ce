//! `mamba2`: Mamba-2 and Codestral Mamba: layers of a state-space mixer alone. What other families have of it is
//! here too.

use super::prelude::*;

/// The `mamba2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "mamba2",
    checkpoint_classes: &["Mamba2ForCausalLM"],
    model_types: &["mamba2"],
    keys,
    spec,
    names: Names {
        base_prefix: "backbone.",
        layer_prefix: "backbone.layers.",
        other: &[
            (Role::TokenEmbd, "backbone.embeddings"),
            (Role::OutputNorm, "backbone.norm_f"),
            (Role::AttnNorm, "norm"),
            (Role::SsmIn, "mixer.in_proj"),
            (Role::SsmConv, "mixer.conv1d"),
            (Role::SsmDt, "mixer.dt_bias"),
            (Role::SsmA, "mixer.A_log"),
            (Role::SsmD, "mixer.D"),
            (Role::SsmNorm, "mixer.norm"),
            (Role::SsmOut, "mixer.out_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// The context of files of models that see no positions: far more than any text has.
const N_CTX: usize = 1 << 20;

/// What configurations call the numbers of the mixer.
#[derive(Clone, Copy, Debug)]
pub(super) struct MixerNames {
    pub(super) n_head: &'static str,
    pub(super) head_dim: &'static str,
    pub(super) n_group: &'static str,
    pub(super) n_state: &'static str,
    pub(super) n_taps: &'static str,
    /// Whether matrices have biases, which GGUF has no place for.
    pub(super) has_bias: &'static str,
}

/// Writes the keys of the mixer.
pub(super) fn mixer_keys(made: &mut FromConfig<'_>, names: MixerNames) -> Result<()> {
    made.refuse(names.has_bias, false, true)?;
    let config = made.config;
    if let Some(limits) = config.value("time_step_limit").filter(|limits| !limits.is_null()) {
        // Infinity comes as a number, a string or an object: what matters is whether the least is 0.
        let least = limits.as_array().and_then(|list| list.first()?.as_f64());
        let most = limits.as_array().and_then(|list| list.get(1)?.as_f64());
        if least != Some(0.0) || most.is_some_and(|most| most < 1e6) {
            return Err(made.unsupported(format!("time_step_limit {limits}; it must be 0 to infinity")));
        }
    }
    let n_head = config.required_count(names.n_head)?;
    let head_dim = config.required_count(names.head_dim)?;
    made.count("ssm.conv_kernel", names.n_taps)?;
    made.count("ssm.state_size", names.n_state)?;
    made.count("ssm.group_count", names.n_group)?;
    made.put_count("ssm.inner_size", n_head.saturating_mul(head_dim))?;
    made.put_count("ssm.time_step_rank", n_head)
}

/// The mixer that keys tell of.
pub(super) fn mixer(base: &Base<'_>) -> Result<Mamba2Spec> {
    let keys = &base.keys;
    let n_head = keys.required_count("ssm.time_step_rank")?;
    Ok(Mamba2Spec {
        n_embd: base.n_embd,
        n_head,
        head_dim: keys.required_count("ssm.inner_size")?.checked_div(n_head).unwrap_or(0),
        n_group: keys.required_count("ssm.group_count")?,
        n_state: keys.required_count("ssm.state_size")?,
        n_taps: keys.required_count("ssm.conv_kernel")?,
        norm: Some(base.norm),
    })
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.put_count("context_length", N_CTX)?;
    made.count("block_count", "num_hidden_layers")?;
    made.count("embedding_length", "hidden_size")?;
    // Readers expect them.
    made.put_count("feed_forward_length", 0)?;
    made.put_count("attention.head_count", 0)?;
    made.f32_or("attention.layer_norm_rms_epsilon", "layer_norm_epsilon", 1e-5)?;
    made.count("vocab_size", "vocab_size")?;
    mixer_keys(
        made,
        MixerNames {
            n_head: "num_heads",
            head_dim: "head_dim",
            n_group: "n_groups",
            n_state: "state_size",
            n_taps: "conv_kernel",
            has_bias: "use_bias",
        },
    )
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mixer = MixerSpec::Mamba2(mixer(&base)?);
    let layer = LayerSpec {
        mixer,
        ffn_input: FfnInput::Sequential(None),
        ..base.layer_of(AttentionSpec::plain(base.n_embd, 1, 1, 1), FfnSpec::None)
    };
    let mut model = base.model(vec![layer; base.n_layer])?;
    model.ropes.clear();
    Ok(model)
}

/// Decays are stored as logarithms of what they are without their sign; convolution, scalars and the norm's groups have
/// other shapes than in GGUF.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let stem = || sources.stem(slot).unwrap_or_default();
    let of_heads = |source: Source| source.with_shape(&slot.shape[..1]);
    Ok(match slot.id.role {
        Role::SsmDt => Some(Source::whole(slot, vec![stem()])),
        Role::SsmA => plain(sources, slot)?.map(of_heads).map(|a| a.with_values(ValueMap::NegativeExp)),
        Role::SsmD => plain(sources, slot)?.map(of_heads),
        Role::SsmConv if slot.id.suffix == Suffix::Weight => {
            plain(sources, slot)?.map(|conv| conv.with_shape(&[slot.shape[0], 1, slot.shape[1]]))
        }
        Role::SsmNorm => plain(sources, slot)?.map(|norm| norm.with_shape(&[slot.shape.iter().product()])),
        _ => plain(sources, slot)?,
    })
}
