//! `command-r`: Command R: parallel parts with one norm without bias, scaled logits; the large ones norm every head
//! with weights of its own.

use super::prelude::*;

/// The `command-r` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "command-r",
    checkpoint_classes: &["CohereForCausalLM"],
    model_types: &["cohere"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises: super::gemma::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::LAYER)?;
    made.f32_or("logit_scale", "logit_scale", 0.0625)?;
    let has_norm = made.config.bool("use_qk_norm")?.unwrap_or(false);
    made.put("attention.qk_norm", Value::Bool(has_norm));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Pairs, Gate::Silu)?;
    // Files of others do not say whether heads are normed: their tensors do.
    let has_norm = keys.bool("attention.qk_norm")?;
    let layer = |i| {
        let mut layer = base.layer(i, |attention| {
            let extent = QkNormExtent::HeadOfItsOwn;
            if has_norm != Some(false) {
                attention.qk_norm =
                    Some(QkNormSpec { extent, is_optional: has_norm.is_none(), ..base.qk_norm() });
            }
        });
        layer.ffn_input = FfnInput::Shared;
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.head.scale = keys.f32("logit_scale")?.filter(|&scale| scale != 0.0).unwrap_or(1.0);
    Ok(model)
}
