//! `plamo3`: PLaMo 3: windows in most layers, which have a rotary base of their own; norms around both parts and of
//! heads, which store their difference from numbers of their own; q, k and v in one matrix, gate and up in another.

use super::prelude::*;

/// Layers to one without a window.
const PERIOD: usize = 8;

/// The `plamo3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "plamo3",
    checkpoint_classes: &["Plamo3ForCausalLM", "PLaMo3ForCausalLM"],
    model_types: &["plamo3"],
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
            (Role::AttnQNorm, "mixer.q_norm"),
            (Role::AttnKNorm, "mixer.k_norm"),
            (Role::AttnOutput, "mixer.o_proj"),
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

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    if config.f32("rope_scaling_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(
            made.unsupported("rope_scaling_factor; positions of plamo3 are not stretched here".into())
        );
    }
    made.base(&Defaults { freq_base: 1e6, ..Defaults::RMS })?;
    made.count("attention.sliding_window", made.first_of(&["window_size", "sliding_window"]))?;
    made.put("rope.freq_base_swa", Value::F32(config.f32("rope_local_theta")?.unwrap_or(1e4)));
    match config.count("sliding_window_pattern") {
        Ok(period) => made.put_count("attention.sliding_window_pattern", period.unwrap_or(PERIOD)),
        Err(_) => {
            let list = config.value("sliding_window_pattern").and_then(|list| list.as_array());
            let windowed = list.map(|list| list.iter().filter_map(serde_json::Value::as_bool).collect());
            let windowed: Vec<bool> = windowed.unwrap_or_default();
            if windowed.len() != made.n_layer()? {
                return Err(made.unsupported(
                    "a sliding_window_pattern that is neither a period nor a list of \
                                             true and false, one for each layer"
                        .into(),
                ));
            }
            made.put("attention.sliding_window_pattern", Value::Bools(windowed));
            Ok(())
        }
    }
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let window = base.window()?;
    let windowed = base.windowed(if window.is_some() { PERIOD } else { 0 })?;
    // GGUF names these without a suffix.
    let behind = NormSpec { is_bare: true, ..base.norm };
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        if windowed[i] {
            attention.window = window;
            attention.rope = Some(RopeUse { index: 1, order: base.order });
        }
        let ffn = FfnShape { is_fused: true, ..base.ffn(i) };
        LayerSpec {
            mixer_post_norm: Some(behind),
            ffn_post_norm: Some(behind),
            ..base.layer_of(attention, FfnSpec::Gated(ffn))
        }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(1e4);
    model.ropes.push(RopeSpec {
        freq_base,
        scaling: RopeScaling::None,
        factors: RopeFactors::Never,
        ..base.rope.clone()
    });
    Ok(model)
}

/// What norms store their difference from.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let offset = match slot.id.role {
        Role::AttnPostNorm => 1.0 / 5.0,
        // Five to the power of three halves.
        Role::FfnPostNorm => 1.0 / 11.180_34,
        _ if slot.shape.len() == 1 && slot.id.suffix != Suffix::Bias => 1.0,
        _ => return plain(sources, slot),
    };
    let Some(stem) = sources.stem(slot) else { return Ok(None) };
    let source = Source::whole(slot, vec![format!("{stem}.weight")]);
    Ok(Some(source.with_values(ValueMap::Plus(offset))))
}
