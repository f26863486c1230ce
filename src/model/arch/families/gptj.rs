//! `gptj`: GPT-J: parallel parts with one norm, a part of each head is rotated, and the output has a bias.

use super::prelude::*;

/// The `gptj` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gptj",
    checkpoint_classes: &["GPTJForCausalLM"],
    model_types: &["gptj"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.h.",
        other: &[
            (Role::TokenEmbd, "transformer.wte"),
            (Role::OutputNorm, "transformer.ln_f"),
            (Role::AttnNorm, "ln_1"),
            (Role::AttnQ, "attn.q_proj"),
            (Role::AttnK, "attn.k_proj"),
            (Role::AttnV, "attn.v_proj"),
            (Role::AttnOutput, "attn.out_proj"),
            (Role::FfnUp, "mlp.fc_in"),
            (Role::FfnDown, "mlp.fc_out"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: |config| {
        let absent = Promise::Absent;
        Ok(Promises { qkv_bias: absent, output_bias: absent, mlp_bias: Promise::There, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["activation_function"], "gelu_new", &["gelu_new", "gelu_pytorch_tanh"])?;
    made.base(&super::gpt2::DEFAULTS)?;
    made.replace_count("rope.dimension_count", made.config.count("rotary_dim")?.unwrap_or(64))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Pairs, Gate::GeluTanh)?;
    let layer = |i| LayerSpec {
        ffn_input: FfnInput::Shared,
        ..base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
