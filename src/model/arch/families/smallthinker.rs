//! `smallthinker`: SmallThinker: experts with ReLU gates, chosen from the stream that attention has not changed yet; in
//! models with windows every fourth layer, from the first on, sees all positions and does not tell them apart.

use super::prelude::*;

/// The `smallthinker` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "smallthinker",
    checkpoint_classes: &["SmallThinkerForCausalLM"],
    model_types: &["smallthinker"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGateInp, "block_sparse_moe.primary_router"),
            (Role::FfnGateExps, "block_sparse_moe.experts.{e}.gate"),
            (Role::FfnUpExps, "block_sparse_moe.experts.{e}.up"),
            (Role::FfnDownExps, "block_sparse_moe.experts.{e}.down"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises,
};

/// Layers from one without a window to the next.
const PERIOD: usize = 4;

/// The window that readers take, whatever files say.
const WINDOW: usize = 4096;

fn has_window(i: usize) -> bool {
    !i.is_multiple_of(PERIOD)
}

/// A list of a configuration that says yes or no of every layer; `default` where it has none.
fn layout(made: &FromConfig<'_>, name: &str, default: bool) -> Result<Vec<bool>> {
    match made.config.f32s(name)? {
        Some(list) => Ok(list.into_iter().map(|x| x != 0.0).collect()),
        None => Ok(vec![default; made.n_layer()?]),
    }
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("moe_enable_early_router", true, false)?;
    made.refuse("moe_enable_secondary_experts", false, true)?;
    if layout(made, "moe_layer_layout", true)?.contains(&false) {
        return Err(made.unsupported("moe_layer_layout with layers that have no experts".into()));
    }
    made.base(&Defaults { n_ff_name: "moe_ffn_hidden_size", ..Defaults::RMS })?;
    let (windowed, rotated) =
        (layout(made, "sliding_window_layout", false)?, layout(made, "rope_layout", true)?);
    let follows = |layout: &[bool]| layout.iter().enumerate().all(|(i, has)| *has == has_window(i));
    if windowed.contains(&true) {
        if made.config.count("sliding_window_size")? != Some(WINDOW) {
            return Err(made.unsupported(format!("sliding_window_size; it must be {WINDOW}")));
        }
        made.put_count("attention.sliding_window", WINDOW)?;
        if !follows(&windowed) || !follows(&rotated) {
            let what =
                "sliding_window_layout and rope_layout; they must be 0 in every fourth layer and 1 in others";
            return Err(made.unsupported(what.into()));
        }
    } else if rotated.contains(&false) {
        return Err(
            made.unsupported("rope_layout with layers without positions, in a model without windows".into())
        );
    }
    made.count("expert_count", "moe_num_primary_experts")?;
    made.count("expert_used_count", "moe_num_active_primary_experts")?;
    made.count("expert_feed_forward_length", "moe_ffn_hidden_size")?;
    let is_softmax = made.config.bool("moe_primary_router_apply_softmax")?.unwrap_or(false);
    made.put_count("expert_gating_func", if is_softmax { 1 } else { 2 })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Relu)?;
    let Some(mut experts) = base.experts()? else {
        return Err(keys.missing("expert_count"));
    };
    experts.router.scoring = base.scoring(Scoring::Softmax)?;
    experts.router.sees_stream = true;
    let window = base.window()?.map(|_| Window::Sliding(WINDOW));
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        if window.is_some() {
            attention.window = window.filter(|_| has_window(i));
            attention.rope = attention.rope.filter(|_| has_window(i));
        }
        base.layer_of(attention, FfnSpec::Experts(experts.clone()))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
