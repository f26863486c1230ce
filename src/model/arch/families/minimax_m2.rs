//! `minimax-m2`: MiniMax M2: queries and keys are normed as wholes, a part of each head is rotated, and experts are
//! chosen by sigmoids with a bias.

use super::prelude::*;

/// The `minimax-m2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "minimax-m2",
    checkpoint_classes: &["MiniMaxM2ForCausalLM"],
    model_types: &["minimax_m2"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGateInp, "block_sparse_moe.gate"),
            (Role::FfnGateExps, "block_sparse_moe.experts.{e}.w1"),
            (Role::FfnUpExps, "block_sparse_moe.experts.{e}.w3"),
            (Role::FfnDownExps, "block_sparse_moe.experts.{e}.w2"),
        ],
        ..Names::PLAIN
    },
    source: |sources, slot| match slot.id.role {
        Role::ExpProbs => {
            let name = sources.in_layer(slot, "block_sparse_moe.e_score_correction_bias");
            Ok(Some(Source::whole(slot, vec![name])))
        }
        _ => plain(sources, slot),
    },
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.activation(&["scoring_func"], "sigmoid", &["sigmoid"])?;
    let partial = Partial::Allowed(1.0);
    made.base(&Defaults { freq_base: 5e6, head_dim: Some(128), partial, ..Defaults::RMS })?;
    if let Some(n_rot) = made.config.count("rotary_dim")? {
        made.replace_count("rope.dimension_count", n_rot)?;
    }
    made.experts(&["num_local_experts"])?;
    made.count("expert_feed_forward_length", "intermediate_size")?;
    made.put_count("expert_gating_func", 2)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.scoring = base.scoring(Scoring::Sigmoid)?;
    experts.router.has_choice_bias = true;
    let layer = |i| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(QkNormSpec { extent: QkNormExtent::Token, ..base.qk_norm() });
        base.layer_of(attention, FfnSpec::Experts(experts.clone()))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
