//! `gemma2`: Gemma 2: every other layer has a window, scores and logits are capped, norms stand before and
//! behind both parts.

use super::prelude::*;

/// Layers to one without a window.
const PERIOD: usize = 2;

/// The `gemma2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gemma2",
    checkpoint_classes: &["Gemma2ForCausalLM", "Gemma2Model"],
    model_types: &["gemma2"],
    keys,
    spec,
    names: Names { other: SANDWICH, ..Names::PLAIN },
    source: super::gemma::source,
    promises: super::gemma::promises,
};

/// Layers of the 27B, of which alone the scale is not that of its heads.
const N_LAYER_WIDE: usize = 46;

const DEFAULTS: Defaults = Defaults { head_dim: Some(256), ..Defaults::RMS };

/// What the first files do not say: the bounds of scores and logits, and the window.
const ATTENTION_CAP: (&str, f32) = ("attn_logit_softcapping", 50.0);
const FINAL_CAP: (&str, f32) = ("final_logit_softcapping", 30.0);
const WINDOW: usize = 4096;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_activation"], "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
    made.base(&DEFAULTS)?;
    made.count("attention.sliding_window", "sliding_window")?;
    super::gemma::windows(made, PERIOD)?;
    super::gemma::softcap(made, ATTENTION_CAP.0, ATTENTION_CAP.1)?;
    super::gemma::softcap(made, FINAL_CAP.0, FINAL_CAP.1)?;
    super::gemma::scale(made, &DEFAULTS, N_LAYER_WIDE)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::GeluTanh)?;
    let window = Some(base.window()?.unwrap_or(Window::Sliding(WINDOW)));
    let windowed = base.windowed(PERIOD)?;
    // Files need not say it.
    let wide =
        (base.n_layer == N_LAYER_WIDE).then(|| 1.0 / (base.n_embd as f32 / base.n_head[0] as f32).sqrt());
    let scale = keys.f32("attention.scale")?.or(wide);
    let softcap = super::gemma::softcap_of(&keys, ATTENTION_CAP.0, ATTENTION_CAP.1)?;
    let layer = |i: usize| {
        let mut layer = base.layer(i, |attention| {
            attention.scale = scale.unwrap_or(attention.scale);
            attention.softcap = softcap;
            attention.window = window.filter(|_| windowed[i]);
        });
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_post_norm = Some(base.norm);
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.embed.scale = (base.n_embd as f32).sqrt();
    model.head.softcap = super::gemma::softcap_of(&keys, FINAL_CAP.0, FINAL_CAP.1)?;
    Ok(model)
}
