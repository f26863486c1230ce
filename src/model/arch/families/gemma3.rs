//! `gemma3`: Gemma 3, text: five layers with a window to one without, which have rotary bases of their own;
//! norms before and behind both parts, and of query and key heads. Norms store their difference from one.

use super::prelude::*;

/// Layers to one without a window.
const PERIOD: usize = 6;

/// The `gemma3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gemma3",
    checkpoint_classes: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "Gemma3TextModel"],
    model_types: &["gemma3", "gemma3_text"],
    keys,
    spec,
    names: Names { other: SANDWICH, ..Names::PLAIN },
    source: super::gemma::source,
    promises: super::gemma::promises,
};

/// Layers of the 27B, of which alone the scale is not that of its heads.
const N_LAYER_WIDE: usize = 62;

const DEFAULTS: Defaults = Defaults { head_dim: Some(256), freq_base: 1e6, has_kinds: true, ..Defaults::RMS };

pub(super) fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_activation"], "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
    made.base(&DEFAULTS)?;
    made.count("attention.sliding_window", "sliding_window")?;
    let base = match made.rope_of_windows(&DEFAULTS)? {
        Some(own) => own.freq_base,
        None => made.config.f32("rope_local_base_freq")?.unwrap_or(1e4),
    };
    made.put("rope.freq_base_swa", Value::F32(base));
    super::gemma::windows(made, PERIOD)?;
    made.optional_f32("final_logit_softcapping", "final_logit_softcapping")?;
    super::gemma::scale(made, &DEFAULTS, N_LAYER_WIDE)
}

pub(super) fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::GeluTanh)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    // Files need not say it.
    let wide =
        (base.n_layer == N_LAYER_WIDE).then(|| 1.0 / (base.n_embd as f32 / base.n_head[0] as f32).sqrt());
    let scale = keys.f32("attention.scale")?.or(wide);
    let layer = |i: usize| {
        let mut layer = base.layer(i, |attention| {
            attention.qk_norm = Some(base.qk_norm());
            attention.scale = scale.unwrap_or(attention.scale);
            // Without windows (Rnj-1) all layers have the model's own rotary base.
            if windowed[i] && window.is_some() {
                attention.window = window;
                attention.rope = Some(RopeUse { index: 1, order: base.order });
            }
        });
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_post_norm = Some(base.norm);
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    let mut of_windows = base.rope.clone();
    of_windows.freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(1e4);
    of_windows.scaling = RopeScaling::None;
    of_windows.factors = RopeFactors::Never;
    model.ropes.push(of_windows);
    model.embed.scale = (base.n_embd as f32).sqrt();
    model.head.softcap = keys.f32("final_logit_softcapping")?.filter(|&cap| cap > 0.0);
    Ok(model)
}
