//! `muse-glimmer`: the text part of Muse Glimmer: a normed embedding, windows with rotary positions in three layers of
//! four and none in the fourth, gated outputs of attention, norms around both parts, bounded logits.

use super::prelude::*;

/// Layers to one without a window.
const PERIOD: usize = 4;

/// The epsilon of norms behind parts, which files do not say.
const POST_EPS: f32 = 1e-8;

/// The `muse-glimmer` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "muse-glimmer",
    checkpoint_classes: &["MuseGlimmerForConditionalGeneration"],
    model_types: &["muse_glimmer", "muse_glimmer_text"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnGate, "self_attn.gate_proj"),
            (Role::AttnPostNorm, "post_attention_layernorm"),
            (Role::FfnNorm, "pre_feedforward_layernorm"),
            (Role::FfnPostNorm, "post_feedforward_layernorm"),
        ],
        is_permuted: true,
        ..Names::PLAIN
    },
    source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_activation"], "silu", &["silu"])?;
    made.refuse("attention_bias", false, true)?;
    let config = made.config;
    let post_eps = config.f32("post_norm_eps")?.unwrap_or(POST_EPS);
    if post_eps != POST_EPS {
        return Err(made.unsupported(format!("post_norm_eps {post_eps}; the architecture has {POST_EPS}")));
    }
    made.base(&Defaults { eps: 1e-5, head_dim: Some(128), ..Defaults::RMS })?;
    let n_layer = made.n_layer()?;
    made.put_count("attention.sliding_window", config.count("sliding_window")?.unwrap_or(2048))?;
    let windowed: Vec<bool> = match config.strings("layer_types")? {
        Some(kinds) => kinds.iter().map(|kind| *kind == "sliding_attention").collect(),
        None => (0..n_layer).map(|i| !(n_layer - 1 - i).is_multiple_of(PERIOD)).collect(),
    };
    if let Some(bases) = config.f32s("layer_rope_theta")? {
        let base = made.rope(&Defaults::RMS)?.freq_base;
        let is_known = |(&base_of, &has): (&f32, &bool)| base_of == if has { base } else { 0.0 };
        if bases.len() != windowed.len() || !bases.iter().zip(&windowed).all(is_known) {
            let what = "layer_rope_theta; layers with windows have rope_theta here, and the others 0";
            return Err(made.unsupported(what.into()));
        }
    }
    made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    made.f32_or("final_logit_softcapping", "final_logit_softcapping", 20.0)?;
    made.f32_or("logit_scale", "output_multiplier", 0.196_116_13)?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let behind = NormSpec { eps: POST_EPS, ..base.norm };
    let layer = |i: usize| {
        let mut layer = base.layer(i, |attention| {
            attention.qk_norm = Some(base.qk_norm());
            attention.gate = Some(AttentionGate::Element);
            attention.window = window.filter(|_| windowed[i]);
            attention.rope = attention.rope.filter(|_| windowed[i]);
        });
        layer.mixer_post_norm = Some(behind);
        layer.ffn_post_norm = Some(behind);
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    if let Some(freq_base) = keys.f32("rope.freq_base_swa")? {
        model.ropes[0].freq_base = freq_base;
    }
    model.embed.norm = Some(NormSpec { has_weight: false, ..base.norm });
    model.head.scale = keys.required_f32("logit_scale")?;
    model.head.softcap = keys.f32("final_logit_softcapping")?.filter(|&cap| cap > 0.0);
    Ok(model)
}

/// Norms of layers store their difference from one; those of heads are a number of the configuration.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    match slot.id.role {
        Role::AttnQNorm => {
            let scale = sources.config.f32("qk_scale_factor")?.unwrap_or(3.87);
            Ok(Some(Source::Computed(vec![scale; slot.shape[0]])))
        }
        Role::AttnKNorm => Ok(Some(Source::Computed(vec![1.0; slot.shape[0]]))),
        Role::AttnNorm | Role::AttnPostNorm | Role::FfnNorm | Role::FfnPostNorm => {
            Ok(plain(sources, slot)?.map(|source| source.with_values(ValueMap::Plus(1.0))))
        }
        _ => plain(sources, slot),
    }
}
