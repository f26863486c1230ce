//! `cohere2moe`: Command with experts: attention and experts side by side, windows in most layers, and positions in
//! those alone and in the dense layers in front; what is shared and what is chosen are averaged.

use super::prelude::*;

/// The `cohere2moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "cohere2moe",
    checkpoint_classes: &["Cohere2MoeForCausalLM"],
    model_types: &["cohere2_moe"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises: super::gemma::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("attention_bias", false, true)?;
    let config = made.config;
    let norms = if config.f32("rms_norm_eps")?.is_some() { Defaults::RMS } else { Defaults::LAYER };
    made.base(&Defaults { head_dim: Some(128), ..norms })?;
    made.f32_or("logit_scale", "logit_scale", 0.0625)?;
    made.count("attention.sliding_window", "sliding_window")?;
    let n_layer = made.n_layer()?;
    let n_dense = match config.strings("mlp_layer_types")? {
        Some(types) => types.iter().take_while(|kind| **kind == "dense").count(),
        None => config.count("first_k_dense_replace")?.unwrap_or(0),
    };
    if n_dense > 0 && config.count("prefix_dense_sliding_window_pattern")?.unwrap_or(1) != 1 {
        return Err(made.unsupported("prefix_dense_sliding_window_pattern; it must be 1".into()));
    }
    let period = config.count("sliding_window_pattern")?.filter(|&n| n > 0).unwrap_or(4);
    let windowed: Vec<bool> = match config.strings("layer_types")? {
        Some(types) => types.iter().map(|kind| *kind == "sliding_attention").collect(),
        None => (0..n_layer).map(|i| i >= n_dense && (i - n_dense + 1) % period != 0).collect(),
    };
    made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    made.put_count("leading_dense_block_count", n_dense)?;
    let n_ff = config.required_count("intermediate_size")?;
    made.replace_count(
        "feed_forward_length",
        config.count("prefix_dense_intermediate_size")?.unwrap_or(n_ff),
    )?;
    made.experts(&["num_experts", "num_local_experts"])?;
    made.put_count("expert_feed_forward_length", n_ff)?;
    made.normalised(true)?;
    let is_softmax = config.string("expert_selection_fn")?.unwrap_or("softmax") == "softmax";
    made.put_count("expert_gating_func", if is_softmax { 3 } else { 2 })?;
    let n_shared = config.count("num_shared_experts")?.unwrap_or(0);
    if n_shared > 0 {
        let strategy = config.string("shared_expert_combination_strategy")?.unwrap_or("average");
        if strategy != "average" {
            let what = format!("shared_expert_combination_strategy \"{strategy}\"; it must be \"average\"");
            return Err(made.unsupported(what));
        }
        made.put_count("expert_shared_count", n_shared)?;
        made.put_count("expert_shared_feed_forward_length", n_ff.saturating_mul(n_shared))?;
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let kind =
        if keys.contains("attention.layer_norm_rms_epsilon") { NormKind::Rms } else { NormKind::Layer };
    let base = Base::read(keys, kind, RopeOrder::Pairs, Gate::Silu)?;
    let (n_dense, window, windowed) = (base.n_dense()?, base.window()?, base.windowed_behind_first(4)?);
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.scoring = base.scoring(Scoring::Sigmoid)?;
    experts.router.is_normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.router.scale = base.expert_scale()?;
    let n_shared = keys.count("expert_shared_count")?.unwrap_or(0);
    let n_shared = keys
        .count("expert_shared_feed_forward_length")?
        .unwrap_or(n_shared.saturating_mul(experts.expert.n_ff));
    experts.shared = base.shared(n_shared, false);
    if let Some(shared) = &mut experts.shared {
        // The mean of both.
        (shared.scale, experts.router.scale) = (0.5, 0.5 * experts.router.scale);
    }
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.window = window.filter(|_| windowed[i]);
        attention.rope = attention.rope.filter(|_| windowed[i] || i < n_dense);
        let ffn = if i < n_dense { FfnSpec::Gated(base.ffn(i)) } else { FfnSpec::Experts(experts.clone()) };
        let mut layer = base.layer_of(attention, ffn);
        layer.ffn_input = FfnInput::Shared;
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.head.scale = keys.f32("logit_scale")?.filter(|&scale| scale != 0.0).unwrap_or(1.0);
    Ok(model)
}
