//! `phi3`: Phi 3, 3.5 and 4, and their minis: Llama with q, k and v in one matrix, gate and up in another, and
//! factors of rotary frequencies that depend on the length of the context.
//! Some have a window in every layer.

use super::prelude::*;

/// The `phi3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "phi3",
    checkpoint_classes: &[
        "Phi3ForCausalLM",
        "Phi4ForCausalLM",
        "Phi4MMForCausalLM",
        "Phi3VForCausalLM",
        "Phi4ForCausalLMV",
    ],
    model_types: &["phi3"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "self_attn.qkv_proj"),
            (Role::FfnUp, "mlp.gate_up_proj"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: |config| {
        let absent = Promise::Absent;
        Ok(Promises { qkv_bias: absent, output_bias: absent, mlp_bias: absent, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps: 1e-5, partial: Partial::Allowed(1.0), ..Defaults::RMS })?;
    made.optional_count("attention.sliding_window", "sliding_window")?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    by_context(&mut base)?;
    let window = base.window()?;
    let layer = |i| {
        let ffn = FfnShape { is_fused: true, ..base.ffn(i) };
        base.layer_of(AttentionSpec { window, ..base.attention(i) }, FfnSpec::Gated(ffn))
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// Reads the factors of rotary frequencies that depend on the length of the context, if there are some.
pub(super) fn by_context(base: &mut Base<'_>) -> Result<()> {
    // Files say the original context and the factor; that the factors are tensors, not all of them say.
    if let Some(original_context) = base.keys.count("rope.scaling.original_context_length")? {
        base.rope.factors = RopeFactors::ByContext { original_context };
        let magnitude = base.keys.f32("rope.scaling.attn_factor")?.unwrap_or(1.0);
        base.rope.scaling = RopeScaling::Magnified { magnitude };
    }
    Ok(())
}
