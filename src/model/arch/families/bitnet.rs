//! `bitnet`: BitNet b1.58: norms in front of the last matrices of both parts. Its weights are three numbers and a scale,
//! which TQ2_0 and TQ1_0 hold as they are.

use super::prelude::*;

/// The `bitnet` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "bitnet",
    checkpoint_classes: &["BitNetForCausalLM", "BitnetForCausalLM"],
    model_types: &["bitnet"],
    keys,
    spec,
    names: Names {
        other: &[(Role::AttnSubNorm, "self_attn.attn_sub_norm"), (Role::FfnSubNorm, "mlp.ffn_sub_norm")],
        ..Names::PLAIN
    },
    source: plain,
    promises: super::gemma::promises,
};

/// Which activation the model has: readers that do not know the key compute SiLU.
const ACTIVATION: &str = "hidden_activation";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "relu2", &["relu2", "silu"])?;
    made.refuse("attention_bias", false, true)?;
    for name in ["quantization_config", "weight_bits"] {
        if made.config.value(name).is_some_and(|value| !value.is_null()) {
            let what = format!("{name}: weights that become three numbers when they are loaded");
            return Err(made.unsupported(what));
        }
    }
    made.base(&Defaults { freq_base: 5e5, ..Defaults::RMS })?;
    let activation = made.config.string("hidden_act")?.unwrap_or("relu2");
    made.put(ACTIVATION, Value::String(activation.into()));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let activation = match keys.string(ACTIVATION)?.unwrap_or("silu") {
        "silu" => Gate::Silu,
        "relu2" => Gate::ReluSquared,
        other => return Err(keys.unsupported(format!("{ACTIVATION} \"{other}\""))),
    };
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, activation)?;
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.output_norm = Some(base.norm);
        let ffn = FfnShape { hidden_norm: Some(base.norm), ..base.ffn(i) };
        base.layer_of(attention, FfnSpec::Gated(ffn))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
