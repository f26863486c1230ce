//! `nemotron_h`: Nemotron-H and Nemotron Nano 2: layers of one part each: a state-space mixer, attention without
//! positions, or a feed-forward part with squared ReLU.

use super::mamba2::{MixerNames, mixer, mixer_keys};
use super::prelude::*;

/// The `nemotron_h` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "nemotron_h",
    checkpoint_classes: &["NemotronHForCausalLM"],
    model_types: &["nemotron_h"],
    keys,
    spec,
    names: NAMES,
    source: super::mamba2::source,
    promises,
};

/// What checkpoints call the tensors.
pub(super) const NAMES: Names = Names {
    base_prefix: "backbone.",
    layer_prefix: "backbone.layers.",
    other: &[
        (Role::TokenEmbd, "backbone.embeddings"),
        (Role::OutputNorm, "backbone.norm_f"),
        (Role::AttnNorm, "norm"),
        (Role::AttnQ, "mixer.q_proj"),
        (Role::AttnK, "mixer.k_proj"),
        (Role::AttnV, "mixer.v_proj"),
        (Role::AttnOutput, "mixer.o_proj"),
        (Role::SsmIn, "mixer.in_proj"),
        (Role::SsmConv, "mixer.conv1d"),
        (Role::SsmDt, "mixer.dt_bias"),
        (Role::SsmA, "mixer.A_log"),
        (Role::SsmD, "mixer.D"),
        (Role::SsmNorm, "mixer.norm"),
        (Role::SsmOut, "mixer.out_proj"),
        (Role::FfnUp, "mixer.up_proj"),
        (Role::FfnDown, "mixer.down_proj"),
        (Role::FfnGateInp, "mixer.gate"),
        (Role::FfnUpExps, "mixer.experts.{e}.up_proj"),
        (Role::FfnDownExps, "mixer.experts.{e}.down_proj"),
        (Role::FfnUpShexp, "mixer.shared_experts.up_proj"),
        (Role::FfnDownShexp, "mixer.shared_experts.down_proj"),
        (Role::FfnLatentDown, "mixer.fc1_latent_proj"),
        (Role::FfnLatentUp, "mixer.fc2_latent_proj"),
    ],
    ..Names::PLAIN
};

/// What a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Mamba,
    Attention,
    FeedForward,
    Experts,
}

pub(super) fn kinds(made: &FromConfig<'_>) -> Result<Vec<Kind>> {
    let config = made.config;
    let of = |name: &str| match name {
        "M" | "mamba" | "linear_attention" => Ok(Kind::Mamba),
        "*" | "attention" | "full_attention" => Ok(Kind::Attention),
        "-" | "mlp" => Ok(Kind::FeedForward),
        "E" | "moe" => Ok(Kind::Experts),
        other => Err(made.unsupported(format!("layers of the kind \"{other}\""))),
    };
    if let Some(pattern) = config.string("hybrid_override_pattern")? {
        return pattern.chars().map(|c| of(c.encode_utf8(&mut [0; 4]))).collect();
    }
    let types = config.strings(made.first_of(&["layers_block_type", "layer_types"]))?;
    types.unwrap_or_default().into_iter().map(of).collect()
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let kinds = kinds(made)?;
    let n_ff = made.config.required_count("intermediate_size")?;
    trunk_keys(made, &kinds, (Kind::FeedForward, n_ff))
}

/// Writes the keys that variants have in common; layers of the kind `wide` have a part of width `n_ff`.
pub(super) fn trunk_keys(
    made: &mut FromConfig<'_>,
    kinds: &[Kind],
    (wide, n_ff): (Kind, usize),
) -> Result<()> {
    made.activation(&["mlp_hidden_act"], "relu2", &["relu2"])?;
    made.activation(&["mamba_hidden_act"], "silu", &["silu"])?;
    made.refuse("use_bias", false, true)?;
    let config = made.config;
    made.count("context_length", "max_position_embeddings")?;
    made.put_count("block_count", kinds.len())?;
    made.count("embedding_length", "hidden_size")?;
    made.count("vocab_size", "vocab_size")?;
    made.f32_or("attention.layer_norm_rms_epsilon", "layer_norm_epsilon", 1e-5)?;
    // Readers expect it.
    made.f32_or("attention.layer_norm_epsilon", "layer_norm_epsilon", 1e-5)?;
    made.count("attention.head_count", "num_attention_heads")?;
    let only = |kind: Kind, n: usize| kinds.iter().map(move |&of| if of == kind { n } else { 0 });
    let n_head_kv = config.required_count("num_key_value_heads")?;
    made.replace_counts("attention.head_count_kv", only(Kind::Attention, n_head_kv))?;
    made.replace_counts("feed_forward_length", only(wide, n_ff))?;
    let head_dim = config.required_count(made.first_of(&["head_dim", "attention_head_dim"]))?;
    made.put_count("attention.key_length", head_dim)?;
    made.put_count("attention.value_length", head_dim)?;
    made.put_count("rope.dimension_count", head_dim)?;
    mixer_keys(
        made,
        MixerNames {
            n_head: "mamba_num_heads",
            head_dim: "mamba_head_dim",
            n_group: made.first_of(&["n_groups", "mamba_n_groups"]),
            n_state: "ssm_state_size",
            n_taps: made.first_of(&["conv_kernel", "mamba_d_conv"]),
            has_bias: "mamba_proj_bias",
        },
    )
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::ReluSquared)?;
    trunk(&base, |i| FfnSpec::Dense(base.ffn(i)))
}

/// The model whose layers have one part each: those with a width of a feed-forward part what `ffn` says.
pub(super) fn trunk(base: &Base<'_>, ffn: impl Fn(usize) -> FfnSpec) -> Result<ModelSpec> {
    let mixer = mixer(base)?;
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.rope = None;
        let mut layer = base.layer_of(attention, FfnSpec::None);
        layer.ffn_input = FfnInput::Sequential(None);
        if base.n_ff[i] > 0 {
            // The norm in front is called like those of mixers.
            layer.mixer = MixerSpec::None;
            layer.ffn = ffn(i);
            layer.ffn_input = FfnInput::Sequential(layer.mixer_norm.take());
            layer.ffn_norm_role = Role::AttnNorm;
        } else if base.n_head_kv[i] == 0 {
            layer.mixer = MixerSpec::Mamba2(mixer);
        }
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    Ok(model)
}
