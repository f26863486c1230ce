//! `exaone`: EXAONE 3 to 3.5: Llama with the names of GPT-2.

use super::prelude::*;

/// The `exaone` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "exaone",
    checkpoint_classes: &["ExaoneForCausalLM"],
    model_types: &["exaone"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.h.",
        other: &[
            (Role::TokenEmbd, "transformer.wte"),
            (Role::OutputNorm, "transformer.ln_f"),
            (Role::AttnNorm, "ln_1"),
            (Role::AttnQ, "attn.attention.q_proj"),
            (Role::AttnK, "attn.attention.k_proj"),
            (Role::AttnV, "attn.attention.v_proj"),
            (Role::AttnOutput, "attn.attention.out_proj"),
            (Role::FfnNorm, "ln_2"),
            (Role::FfnGate, "mlp.c_fc_0"),
            (Role::FfnUp, "mlp.c_fc_1"),
            (Role::FfnDown, "mlp.c_proj"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["activation_function"], "silu", &["silu"])?;
    let n_layer_name = made.first_of(&["num_layers", "num_hidden_layers"]);
    made.base(&Defaults { eps: 1e-5, eps_name: "layer_norm_epsilon", n_layer_name, ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}
