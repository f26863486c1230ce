//! `arwkv7`: ARWKV: Qwen 2 with the time mix of RWKV-7 in the place of attention.

use super::prelude::*;
use super::rwkv7::MIXTURES;

/// The `arwkv7` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "arwkv7",
    checkpoint_classes: &["RwkvHybridForCausalLM"],
    model_types: &["rwkv_hybrid"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TimeMixReceptance, "self_attn.time_mixer.receptance"),
            (Role::TimeMixKey, "self_attn.time_mixer.key"),
            (Role::TimeMixValue, "self_attn.time_mixer.value"),
            (Role::TimeMixOutput, "self_attn.time_mixer.output"),
            (Role::TimeMixLn, "self_attn.time_mixer.ln_x"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// The tensor whose presence says that the outputs of heads are normed.
const HEAD_NORM: &str = "blk.0.time_mix_ln.weight";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let config = made.config;
    if config.count("wkv_version")?.is_some_and(|version| version != 7) {
        return Err(made.unsupported("wkv_version; it must be 7".into()));
    }
    if config.string("wkv_layers")?.is_some_and(|layers| layers != "full") {
        return Err(made.unsupported("wkv_layers of another kind than \"full\"".into()));
    }
    let has_gate = config.bool("wkv_has_gate")?.unwrap_or(true);
    super::rwkv7::shared_keys(made, [64, 64, 32, if has_gate { 128 } else { 0 }])?;
    made.put_count("token_shift_count", 1)?;
    made.f32_or("attention.layer_norm_rms_epsilon", "rms_norm_eps", 1e-6)?;
    made.count("feed_forward_length", "intermediate_size")?;
    if config.bool("wkv_has_group_norm")?.unwrap_or(true) {
        made.will_have(HEAD_NORM.to_owned());
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut mixer = super::rwkv7::mixer(&base)?;
    mixer.head_norm = mixer.head_norm.filter(|_| keys.has_tensor(HEAD_NORM));
    let layer = |i: usize| {
        let attention = AttentionSpec::plain(base.n_embd, 1, 1, 1);
        LayerSpec {
            mixer: MixerSpec::Rwkv7(Rwkv7Spec { is_first: i == 0, ..mixer }),
            ..base.layer_of(attention, FfnSpec::Gated(base.ffn(i)))
        }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    Ok(model)
}

/// Narrow matrices are turned there.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let of = |name: &str| sources.in_layer(slot, &format!("self_attn.time_mixer.{name}"));
    // See `rwkv7`.
    let share = if slot.id.layer == Some(0) { "a" } else { "v" };
    let name = match slot.id.role {
        Role::TimeMixLerp => {
            let apart = MIXTURES.iter().take(slot.shape[0]).map(|mixture| of(&format!("x_{mixture}")));
            return Ok(Some(Source::stacked(slot, apart)));
        }
        Role::TimeMixW0 => "w0",
        Role::TimeMixW1 => "w1",
        Role::TimeMixW2 => "w2",
        Role::TimeMixA0 => "a0",
        Role::TimeMixA1 => "a1",
        Role::TimeMixA2 => "a2",
        Role::TimeMixV0 => &format!("{share}0"),
        Role::TimeMixV1 => &format!("{share}1"),
        Role::TimeMixV2 => &format!("{share}2"),
        Role::TimeMixG1 => "g1",
        Role::TimeMixG2 => "g2",
        Role::TimeMixKK => "k_k",
        Role::TimeMixKA => "k_a",
        Role::TimeMixRK => "r_k",
        _ => return plain(sources, slot),
    };
    let source = Source::whole(slot, vec![of(name)]);
    let MixerSpec::Rwkv7(mixer) = sources.spec.layers[0].mixer else { return Ok(Some(source)) };
    Ok(Some(match slot.shape[..] {
        [n_out, n_in] => {
            let rows = RowMap::Columns { n_out, n_cols: n_out, first: 0, step: 1, skipped: 0 };
            source.with_shape(&[n_in, n_out]).with_rows(rows)
        }
        _ if slot.id.role == Role::TimeMixRK => source.with_shape(&[mixer.n_head(), mixer.head_dim]),
        [n] => source.with_shape(&[1, 1, n]),
        _ => source,
    }))
}
