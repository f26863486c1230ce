//! `phi2`: Phi 1 to 2: both parts get one norm of the stream, a part of each head is rotated, every matrix has
//! a bias.

use super::prelude::*;

/// The `phi2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "phi2",
    checkpoint_classes: &["PhiForCausalLM"],
    model_types: &["phi"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::OutputNorm, "model.final_layernorm"),
            (Role::AttnOutput, "self_attn.dense"),
            (Role::FfnUp, "mlp.fc1"),
            (Role::FfnDown, "mlp.fc2"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: |config| {
        let there = Promise::There;
        Ok(Promises { qkv_bias: there, output_bias: there, mlp_bias: there, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "gelu_new", &["gelu_new", "gelu_pytorch_tanh", "gelu_fast"])?;
    made.refuse("qk_layernorm", false, true)?;
    made.base(&Defaults { partial: Partial::Allowed(0.5), ..Defaults::LAYER })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluTanh)?;
    let layer = |i| {
        let mut layer = base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
        layer.ffn_input = FfnInput::Shared;
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}
