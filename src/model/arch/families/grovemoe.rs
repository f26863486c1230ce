//! `grovemoe`: GroveMoE 33B-A3B: Qwen 3 with experts, of which every few in a row share a narrow one, the adjugate
//! expert, whose output is added to that of each of them.
//!
//! The router chooses by sigmoids and weighs by probabilities, of the same scores: the greatest are the same. llama.cpp
//! gives adjugate experts the experts' output instead of their input, and other weights; its logits differ.

use super::prelude::*;

/// The `grovemoe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "grovemoe",
    checkpoint_classes: &["GroveMoeForCausalLM", "modeling_grove_moe.GroveMoeForCausalLM"],
    model_types: &["grove_moe"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGateChexps, "mlp.chunk_experts.{e}.gate_proj"),
            (Role::FfnUpChexps, "mlp.chunk_experts.{e}.up_proj"),
            (Role::FfnDownChexps, "mlp.chunk_experts.{e}.down_proj"),
        ],
        // Zeros that training moves and nothing reads.
        in_keys: &["mlp.expert_bias"],
        ..Names::PLAIN
    },
    source: plain,
    promises,
};

/// Experts that share an adjugate expert, and what multiplies its output: constants of the authors' code.
const GROUP: usize = 2;
const SCALE: f32 = 0.05;

/// The length of a head, and the width of an adjugate expert, where configurations are silent.
const HEAD_DIM: usize = 128;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_sliding_window", false, true)?;
    made.refuse("norm_topk_prob", true, false)?;
    super::qwen2moe::every_layer_has_experts(made)?;
    made.base(&Defaults { head_dim: Some(HEAD_DIM), ..Defaults::RMS })?;
    made.experts(&["num_experts", "num_local_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    let n_narrow = made.config.count("head_dim")?.unwrap_or(HEAD_DIM);
    made.put_count("expert_chunk_feed_forward_length", n_narrow)?;
    made.put_count("experts_per_group", GROUP)?;
    made.put("expert_group_scale", Value::F32(SCALE));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.scale = base.expert_scale()?;
    let n_narrow = keys.count("expert_chunk_feed_forward_length")?.filter(|&n| n > 0);
    experts.adjugate = Some(AdjugateSpec {
        n_ff: n_narrow.unwrap_or(base.head_dim_k),
        group: keys.required_count("experts_per_group")?,
        scale: keys.required_f32("expert_group_scale")?,
    });
    let layer = |i| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        base.layer_of(attention, FfnSpec::Experts(experts.clone()))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
