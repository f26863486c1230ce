//! `spark2_5`: Spark X2.5: windows in most layers, which have rotary positions of their own; the outputs of heads are gated,
//! feed-forward parts have GELU gates; q, k and v in one matrix.

use super::prelude::*;

/// The `spark2_5` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "spark2_5",
    checkpoint_classes: &["Spark2_5ForCausalLM"],
    model_types: &["spark2_5"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "self_attn.q_k_v_proj"),
            (Role::AttnGate, "self_attn.g_proj"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "gelu", &["gelu"])?;
    made.activation(&["gate_attn_act_mode"], "sigmoid", &["sigmoid"])?;
    made.refuse("headwise_attn_output_gate", true, false)?;
    made.base(&super::laguna::DEFAULTS)?;
    super::laguna::windows(made)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::GeluErf)?;
    let (window, windowed) = (base.window()?, base.windowed(0)?);
    let layer = |i: usize| {
        base.layer(i, |attention| {
            attention.gate = Some(AttentionGate::Head);
            if windowed[i] {
                attention.window = window;
                attention.rope = Some(RopeUse { index: 1, order: base.order });
            }
        })
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.push(super::laguna::rope_of_windows(&base)?);
    Ok(model)
}
