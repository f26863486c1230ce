//! `falcon-h1`: Falcon-H1: attention and a state-space mixer side by side in every layer. Its many multipliers are in the
//! weights of GGUF files.

use super::mamba2::{MixerNames, mixer, mixer_keys};
use super::prelude::*;

/// The `falcon-h1` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "falcon-h1",
    checkpoint_classes: &["FalconH1ForCausalLM"],
    model_types: &["falcon_h1"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::OutputNorm, "model.final_layernorm"),
            (Role::FfnNorm, "pre_ff_layernorm"),
            (Role::FfnGate, "feed_forward.gate_proj"),
            (Role::FfnUp, "feed_forward.up_proj"),
            (Role::FfnDown, "feed_forward.down_proj"),
            (Role::SsmIn, "mamba.in_proj"),
            (Role::SsmConv, "mamba.conv1d"),
            (Role::SsmDt, "mamba.dt_bias"),
            (Role::SsmA, "mamba.A_log"),
            (Role::SsmD, "mamba.D"),
            (Role::SsmNorm, "mamba.norm"),
            (Role::SsmOut, "mamba.out_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// Whose presence says that the outputs of mixers are normed: most models do without.
const NORM: &str = "blk.0.ssm_norm.weight";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    for bias in ["attention_bias", "mlp_bias", "projectors_bias"] {
        made.refuse(bias, false, true)?;
    }
    made.base(&Defaults { eps: 1e-5, ..Defaults::RMS })?;
    let config = made.config;
    if config.bool("mamba_rms_norm")?.unwrap_or(false) {
        made.refuse("mamba_norm_before_gate", true, true)?;
        made.will_have(NORM.into());
    }
    mixer_keys(
        made,
        MixerNames {
            n_head: "mamba_n_heads",
            head_dim: "mamba_d_head",
            n_group: "mamba_n_groups",
            n_state: "mamba_d_state",
            n_taps: "mamba_d_conv",
            has_bias: "mamba_proj_bias",
        },
    )?;
    let tied = config.bool("tie_word_embeddings")?.unwrap_or(false);
    let [embedding, head] = ["embedding_multiplier", "lm_head_multiplier"].map(|name| config.f32(name));
    if tied && embedding?.unwrap_or(1.0) != head?.unwrap_or(1.0) {
        let what =
            "tie_word_embeddings: true with an embedding_multiplier that is not the lm_head_multiplier";
        return Err(made.unsupported(what.into()));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut mixer = mixer(&base)?;
    mixer.norm = mixer.norm.filter(|_| keys.has_tensor(NORM));
    let layer = |i: usize| {
        let mut layer = base.layer(i, |_| {});
        layer.mixer = MixerSpec::AttentionAndMamba2(base.attention(i), mixer);
        // The name of its weights has no suffix in GGUF.
        layer.ffn_input = FfnInput::Sequential(Some(NormSpec { is_bare: true, ..base.norm }));
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// The multipliers of a list, all 1 where the configuration has none.
fn list<const N: usize>(config: &Config, name: &str) -> Result<[f32; N]> {
    let Some(list) = config.f32s(name)? else { return Ok([1.0; N]) };
    list.try_into().map_err(|list: Vec<f32>| {
        let what = format!("{name} has {} numbers; it must have {N}", list.len());
        crate::Error::malformed(config.path(), what)
    })
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let config = sources.config;
    let one = |name: &str| Ok::<_, crate::Error>(config.f32(name)?.unwrap_or(1.0));
    let scale = match slot.id.role {
        // MLX has multiplied most weights, but takes values as they come and leaves out what belongs to keys alone.
        Role::AttnK if sources.dialect == Dialect::Mlx => one("key_multiplier")?,
        Role::TokenEmbd
        | Role::Output
        | Role::AttnQ
        | Role::AttnOutput
        | Role::FfnGate
        | Role::FfnDown
        | Role::SsmOut
        | Role::SsmIn
            if sources.dialect == Dialect::Mlx =>
        {
            return plain(sources, slot);
        }
        Role::TokenEmbd => one("embedding_multiplier")?,
        Role::Output => one("lm_head_multiplier")?,
        Role::AttnQ | Role::AttnV => one("attention_in_multiplier")?,
        Role::AttnK => one("key_multiplier")? * one("attention_in_multiplier")?,
        Role::AttnOutput => one("attention_out_multiplier")?,
        Role::FfnGate => list::<2>(config, "mlp_multipliers")?[0],
        Role::FfnDown => list::<2>(config, "mlp_multipliers")?[1],
        Role::SsmOut => one("ssm_out_multiplier")?,
        Role::SsmIn => return input(sources, slot, one("ssm_in_multiplier")?),
        // The norm has no suffix in GGUF alone.
        Role::FfnNorm => {
            let stem = sources.stem(slot).unwrap_or_default();
            return Ok(Some(Source::whole(slot, vec![format!("{stem}.weight")])));
        }
        _ => return super::mamba2::source(sources, slot),
    };
    // Codes are kept where nothing is to be done.
    let values = if scale == 1.0 { ValueMap::Same } else { ValueMap::Times(scale) };
    Ok(plain(sources, slot)?.map(|source| source.with_values(values)))
}

/// The matrix of the mixer's input, each part of whose rows has a multiplier: gates, values, what is written, what is
/// read, time steps.
fn input(sources: &Sources<'_>, slot: &Slot, scale: f32) -> Result<Option<Source>> {
    let MixerSpec::AttentionAndMamba2(_, mixer) = &sources.spec.layers[slot.id.layer.unwrap_or(0)].mixer
    else {
        return Ok(None);
    };
    let (n_inner, n_shared) = (mixer.n_inner(), mixer.n_group * mixer.n_state);
    let mut end = 0;
    let lens = [n_inner, n_inner, n_shared, n_shared, mixer.n_head];
    let multipliers = list::<5>(sources.config, "ssm_multipliers")?;
    let mut parts = [(0, 1.0); 5];
    for (part, (len, multiplier)) in parts.iter_mut().zip(lens.into_iter().zip(multipliers)) {
        end += len;
        *part = (end, multiplier * scale);
    }
    Ok(plain(sources, slot)?.map(|source| source.with_values(ValueMap::TimesByRow(parts))))
}
