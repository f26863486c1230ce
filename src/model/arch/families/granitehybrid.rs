//! `granitehybrid`: Granite 4 H: Granite's multipliers, state-space mixers in most layers and attention, mostly without
//! positions, in some; dense parts, or experts beside a shared one. Bamba is the same without multipliers, and with
//! positions, of which parts of heads tell.

use super::mamba2::{MixerNames, mixer, mixer_keys};
use super::prelude::*;

/// The `granitehybrid` family.
pub(super) static FAMILY: Family = FAMILY_OF_BOTH;

const FAMILY_OF_BOTH: Family = Family {
    gguf_name: "granitehybrid",
    checkpoint_classes: &["GraniteMoeHybridForCausalLM"],
    model_types: &["granitemoehybrid"],
    keys,
    spec,
    names: Names {
        is_permuted: true,
        other: &[
            (Role::SsmIn, "mamba.in_proj"),
            (Role::SsmConv, "mamba.conv1d"),
            (Role::SsmDt, "mamba.dt_bias"),
            (Role::SsmA, "mamba.A_log"),
            (Role::SsmD, "mamba.D"),
            (Role::SsmNorm, "mamba.norm"),
            (Role::SsmOut, "mamba.out_proj"),
            (Role::FfnGateInp, "block_sparse_moe.router.layer"),
        ],
        ..Names::PLAIN
    },
    source: |sources, slot| {
        let is_of_mixer =
            matches!(slot.id.role, Role::SsmConv | Role::SsmDt | Role::SsmA | Role::SsmD | Role::SsmNorm);
        if is_of_mixer {
            super::mamba2::source(sources, slot)
        } else {
            super::granitemoe::source(sources, slot)
        }
    },
    promises,
};

/// Bamba, whose checkpoints call parts otherwise.
pub(super) static BAMBA: Family = Family {
    checkpoint_classes: &["BambaForCausalLM"],
    model_types: &["bamba"],
    keys: bamba_keys,
    names: Names {
        is_permuted: true,
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
    source: |sources, slot| match slot.id.role {
        Role::AttnQ | Role::AttnK => rotated(sources, slot),
        _ => super::mamba2::source(sources, slot),
    },
    ..FAMILY_OF_BOTH
};

/// Whether attention has positions.
const HAS_ROPE: &str = "rope.scaling.finetuned";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    super::granite::keys(made)?;
    let config = made.config;
    let n_layer = made.n_layer()?;
    let types = config.strings(made.first_of(&["layer_types", "layers_block_type"]))?;
    let has_attention: Vec<bool> = match types {
        Some(types) => types.iter().map(|kind| matches!(*kind, "attention" | "full_attention")).collect(),
        None => vec![false; n_layer],
    };
    let n_head_kv = config.count("num_key_value_heads")?;
    let n_head_kv = n_head_kv.unwrap_or(config.required_count("num_attention_heads")?);
    let counts = has_attention.iter().map(|has| if *has { n_head_kv } else { 0 });
    made.replace_counts("attention.head_count_kv", counts)?;
    let kind = config.string("position_embedding_type")?;
    made.put(HAS_ROPE, Value::Bool(kind == Some("rope")));
    if config.count("num_local_experts")?.unwrap_or(0) > 0 {
        made.experts(&["num_local_experts"])?;
        made.optional_count("expert_shared_feed_forward_length", "shared_intermediate_size")?;
    } else {
        let n_ff = config.required_count("shared_intermediate_size")?;
        made.replace_count("feed_forward_length", n_ff)?;
    }
    mixer_keys(made, MIXER)
}

const MIXER: MixerNames = MixerNames {
    n_head: "mamba_n_heads",
    head_dim: "mamba_d_head",
    n_group: "mamba_n_groups",
    n_state: "mamba_d_state",
    n_taps: "mamba_d_conv",
    has_bias: "mamba_proj_bias",
};

const BAMBA_DEFAULTS: Defaults = Defaults { partial: Partial::Allowed(0.5), ..Defaults::RMS };

fn bamba_keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    // Half of heads is rotated, whatever a configuration says: transformers has it in its code.
    made.base(&BAMBA_DEFAULTS)?;
    let (n_rot, head_dim) = (
        made.rope(&BAMBA_DEFAULTS)?.n_dims(made.head_dim(&BAMBA_DEFAULTS)?),
        made.head_dim(&BAMBA_DEFAULTS)?,
    );
    if n_rot == 0 || !head_dim.is_multiple_of(n_rot) {
        return Err(made.unsupported(format!("{n_rot} rotated elements of heads of {head_dim}")));
    }
    let config = made.config;
    let n_head_kv = config.required_count("num_key_value_heads")?;
    let attending = config.f32s("attn_layer_indices")?.unwrap_or_default();
    let has_attention = |i: usize| attending.contains(&(i as f32));
    let counts = (0..made.n_layer()?).map(|i| if has_attention(i) { n_head_kv } else { 0 });
    made.replace_counts("attention.head_count_kv", counts)?;
    made.put(HAS_ROPE, Value::Bool(true));
    mixer_keys(made, MIXER)
}

/// Queries and keys, of each of whose heads the front is rotated, by halves there and by pairs in GGUF.
fn rotated(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let n_rot = sources.spec.ropes[0].n_dims;
    let attention = slot.id.layer.and_then(|layer| sources.spec.layers[layer].mixer.attention());
    let (Some(Source::Pieces(pieces, values)), Some(attention)) = (plain(sources, slot)?, attention) else {
        return plain(sources, slot);
    };
    let (head_dim, whole) = (attention.head_dim_k, &pieces[0]);
    let run = |first: usize, n: usize, pairs: Option<usize>| {
        let rows = RowMap::Strided { first, run: n, stride: n, pairs };
        Piece { n_rows: n, rows, ..whole.clone() }
    };
    let of_head = |head: usize| {
        let first = head * head_dim;
        let rest = (head_dim > n_rot).then(|| run(first + n_rot, head_dim - n_rot, None));
        [Some(run(first, n_rot, Some(n_rot))), rest]
    };
    let parts = (0..slot.shape[0] / head_dim).flat_map(of_head).flatten().collect();
    Ok(Some(Source::Pieces(parts, values)))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let mixer = mixer(&base)?;
    let has_rope = keys.bool(HAS_ROPE)?.unwrap_or(true);
    let mut experts = base.experts()?;
    if let Some(experts) = &mut experts {
        experts.shared = base.shared(keys.count("expert_shared_feed_forward_length")?.unwrap_or(0), false);
    }
    let layer = |i: usize| {
        let ffn = match &experts {
            Some(experts) => FfnSpec::Experts(experts.clone()),
            None => FfnSpec::Gated(base.ffn(i)),
        };
        let mut attention = base.attention(i);
        attention.rope = attention.rope.filter(|_| has_rope);
        let mut layer = base.layer_of(attention, ffn);
        if base.n_head_kv[i] == 0 {
            layer.mixer = MixerSpec::Mamba2(mixer);
        }
        layer
    };
    super::granite::multiply(&keys, base.model((0..base.n_layer).map(layer).collect())?)
}
