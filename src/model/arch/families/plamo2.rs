//! `plamo2`: PLaMo 2: state-space mixers, with attention in every few layers; norms in front of and behind both parts,
//! which store their difference from numbers of their own; q, k and v in one matrix, gate and up in another.

use super::prelude::*;

/// The `plamo2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "plamo2",
    checkpoint_classes: &["Plamo2ForCausalLM", "PLaMo2ForCausalLM"],
    model_types: &["plamo2"],
    keys,
    spec,
    names: Names {
        layer_prefix: "model.layers.layers.",
        other: &[
            (Role::AttnNorm, "pre_mixer_norm"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "mixer.qkv_proj"),
            (Role::AttnQNorm, "mixer.q_weight"),
            (Role::AttnKNorm, "mixer.k_weight"),
            (Role::AttnOutput, "mixer.o_proj"),
            (Role::SsmIn, "mixer.in_proj"),
            (Role::SsmConv, "mixer.conv1d"),
            (Role::SsmX, "mixer.bcdt_proj"),
            (Role::SsmDt, "mixer.dt_proj"),
            (Role::SsmDtNorm, "mixer.dt_norm_weight"),
            (Role::SsmBNorm, "mixer.B_norm_weight"),
            (Role::SsmCNorm, "mixer.C_norm_weight"),
            (Role::SsmA, "mixer.A_log"),
            (Role::SsmD, "mixer.D"),
            (Role::SsmOut, "mixer.out_proj"),
            (Role::AttnPostNorm, "post_mixer_norm"),
            (Role::FfnNorm, "pre_mlp_norm"),
            (Role::FfnUp, "mlp.gate_up_proj"),
            (Role::FfnPostNorm, "post_mlp_norm"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: super::gemma::promises,
};

/// The least width that steps are made from; else it is a sixteenth of the stream's.
const LEAST_RANK: usize = 64;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    let count = |name: &str, default: usize| Ok::<_, crate::Error>(config.count(name)?.unwrap_or(default));
    let head_dim = count("hidden_size_per_head", 128)?;
    made.base(&Defaults { head_dim: Some(head_dim), n_ctx: 2048, ..Defaults::RMS })?;
    let (n_layer, period) = (made.n_layer()?, count("mamba_step", 2)?);
    let has_mamba = config.bool("mamba_enabled")?.unwrap_or(true);
    if has_mamba && period < 2 {
        return Err(made.unsupported(format!("mamba_step {period}; it must be 2 or more")));
    }
    let is_mamba = |i: usize| match n_layer <= period / 2 {
        true => i != n_layer - 1,
        false => i % period != period / 2,
    };
    // Heads of queries are said of all layers: llama.cpp takes those of the first for the rotated part of heads.
    let n_head_kv = count("num_key_value_heads", 4)?;
    let n_head_kv = |i: usize| if has_mamba && is_mamba(i) { 0 } else { n_head_kv };
    made.replace_counts("attention.head_count_kv", (0..n_layer).map(n_head_kv))?;
    let n_head = count("mamba_num_heads", 64)?;
    made.put_count("ssm.conv_kernel", count("mamba_d_conv", 4)?)?;
    made.put_count("ssm.inner_size", n_head.saturating_mul(head_dim))?;
    made.put_count("ssm.state_size", count("mamba_d_state", 64)?)?;
    made.put_count("ssm.time_step_rank", n_head)?;
    // Readers expect it: all heads share what is written and read.
    made.put_count("ssm.group_count", 0)?;
    let n_ctx = count("max_position_embeddings", 2048)?;
    if let Some(window) = config.count("attention_window_size")?.filter(|&window| window < n_ctx) {
        made.note(format!(
            "the model was trained with a sliding window of {window} positions, which GGUF files of this \
             architecture cannot say: beyond {window} tokens its answers may differ"
        ));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    // GGUF names these without a suffix.
    let bare = NormSpec { is_bare: true, ..base.norm };
    let n_head = keys.required_count("ssm.time_step_rank")?;
    let mamba = HeadMambaSpec {
        n_embd: base.n_embd,
        n_head,
        head_dim: keys.required_count("ssm.inner_size")?.checked_div(n_head).unwrap_or(0),
        n_state: keys.required_count("ssm.state_size")?,
        n_rank: LEAST_RANK.max(base.n_embd / 16),
        n_taps: keys.required_count("ssm.conv_kernel")?,
        norm: bare,
    };
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(QkNormSpec { extent: QkNormExtent::HeadOfItsOwn, ..base.qk_norm() });
        let ffn = FfnShape { is_fused: true, ..base.ffn(i) };
        let mut layer = LayerSpec {
            mixer_post_norm: Some(bare),
            ffn_post_norm: Some(bare),
            ..base.layer_of(attention, FfnSpec::Gated(ffn))
        };
        if base.n_head_kv[i] == 0 {
            layer.mixer = MixerSpec::HeadMamba(mamba);
        }
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// Some norms store their difference from a number; those of heads and of mixers do not, and have no suffix there.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let stem = || sources.stem(slot).unwrap_or_default();
    let plus = |offset: f32| {
        Some(Source::whole(slot, vec![format!("{}.weight", stem())]).with_values(ValueMap::Plus(offset)))
    };
    Ok(match (slot.id.role, slot.id.suffix) {
        (Role::AttnNorm | Role::FfnNorm | Role::OutputNorm, _) => plus(1.0),
        (Role::AttnPostNorm, _) => plus(1.0 / 5.0),
        // Five to the power of three halves.
        (Role::FfnPostNorm, _) => plus(1.0 / 11.180_34),
        (
            Role::AttnQNorm
            | Role::AttnKNorm
            | Role::SsmDtNorm
            | Role::SsmBNorm
            | Role::SsmCNorm
            | Role::SsmD,
            _,
        ) => Some(Source::whole(slot, vec![stem()])),
        (Role::SsmA, _) => Some(Source::whole(slot, vec![stem()]).with_values(ValueMap::NegativeExp)),
        (Role::SsmDt, Suffix::Bias) => {
            Some(Source::whole(slot, vec![sources.in_layer(slot, "mixer.dt_bias")]))
        }
        (Role::SsmConv, _) => {
            plain(sources, slot)?.map(|conv| conv.with_shape(&[slot.shape[0], 1, slot.shape[1]]))
        }
        _ => plain(sources, slot)?,
    })
}
