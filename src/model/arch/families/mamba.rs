//! `mamba`: Mamba and Falcon Mamba: layers of a state-space mixer alone, whose numbers decay each for itself. What other
//! families have of it is here too.

use super::prelude::*;

/// The `mamba` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "mamba",
    checkpoint_classes: &["MambaForCausalLM", "FalconMambaForCausalLM"],
    model_types: &["mamba", "falcon_mamba"],
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
            (Role::SsmX, "mixer.x_proj"),
            (Role::SsmDt, "mixer.dt_proj"),
            (Role::SsmA, "mixer.A_log"),
            (Role::SsmD, "mixer.D"),
            (Role::SsmOut, "mixer.out_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: super::gemma::promises,
};

/// The context of files of models that see no positions: far more than any text has.
const N_CTX: usize = 1 << 20;

/// Whether what depends on values is normed, by norms without weights where files have none.
const IS_NORMED: &str = "ssm.dt_b_c_rms";

/// Added to mean squares there: files say the epsilon of other norms alone.
const MIXER_EPS: f32 = 1e-6;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_bias", false, true)?;
    let config = made.config;
    made.put_count("context_length", N_CTX)?;
    made.count("block_count", "num_hidden_layers")?;
    let n_embd = made.count("embedding_length", "hidden_size")?;
    // Readers expect them.
    made.put_count("feed_forward_length", 0)?;
    made.put_count("attention.head_count", 0)?;
    made.f32_or("attention.layer_norm_rms_epsilon", "layer_norm_epsilon", 1e-5)?;
    made.count("vocab_size", "vocab_size")?;
    let is_normed = config.string("model_type")? == Some("falcon_mamba");
    let eps = config.f32("mixer_rms_eps")?.unwrap_or(MIXER_EPS);
    if is_normed && eps != MIXER_EPS {
        return Err(made.unsupported(format!("mixer_rms_eps {eps}; it must be {MIXER_EPS}")));
    }
    made.put(IS_NORMED, Value::Bool(is_normed));
    let n_inner = config.count("intermediate_size")?;
    let n_inner = n_inner.unwrap_or(config.count("expand")?.unwrap_or(2).saturating_mul(n_embd));
    let n_rank = config.count("time_step_rank")?.unwrap_or(n_embd.div_ceil(16));
    made.count("ssm.conv_kernel", "conv_kernel")?;
    made.count("ssm.state_size", "state_size")?;
    made.put_count("ssm.inner_size", n_inner)?;
    made.put_count("ssm.time_step_rank", n_rank)
}

/// The mixer that keys tell of.
pub(super) fn mixer(base: &Base<'_>) -> Result<Mamba1Spec> {
    let keys = &base.keys;
    Ok(Mamba1Spec {
        n_embd: base.n_embd,
        n_inner: keys.required_count("ssm.inner_size")?,
        n_state: keys.required_count("ssm.state_size")?,
        n_rank: keys.required_count("ssm.time_step_rank")?,
        n_taps: keys.required_count("ssm.conv_kernel")?,
        norm: None,
    })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut mixer = mixer(&base)?;
    let norm = NormSpec { has_weight: false, eps: MIXER_EPS, ..base.norm };
    mixer.norm = keys.bool(IS_NORMED)?.unwrap_or(false).then_some(norm);
    let layer = LayerSpec {
        mixer: MixerSpec::Mamba1(mixer),
        ffn_input: FfnInput::Sequential(None),
        ..base.layer_of(AttentionSpec::plain(base.n_embd, 1, 1, 1), FfnSpec::None)
    };
    let mut model = base.model(vec![layer; base.n_layer])?;
    model.ropes.clear();
    Ok(model)
}

/// Decays are stored as logarithms of what they are without their sign; the convolution has another shape than in GGUF.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let source = plain(sources, slot)?;
    Ok(source.map(|source| match (slot.id.role, slot.id.suffix) {
        (Role::SsmA, _) => source.with_values(ValueMap::NegativeExp),
        (Role::SsmConv, Suffix::Weight) => source.with_shape(&[slot.shape[0], 1, slot.shape[1]]),
        _ => source,
    }))
}
