//! `qwen2`: Qwen 1.5 to 2.5, Qwen Coder, the R1 distils of them: Llama with
//! biases of q, k and v, and rotary positions over halves.

use super::prelude::*;

/// The `qwen2` family.
pub(super) static FAMILY: Family = QWEN2;

/// KORMo, which has other names for norms, and no biases unless it says so.
pub(super) static KORMO: Family = Family {
    checkpoint_classes: &["KORMoForCausalLM"],
    model_types: &["kormo"],
    names: Names {
        other: &[(Role::AttnNorm, "pre_attention_layernorm"), (Role::FfnNorm, "pre_mlp_layernorm")],
        ..Names::PLAIN
    },
    promises: super::prelude::promises,
    ..QWEN2
};

const QWEN2: Family = Family {
    gguf_name: "qwen2",
    checkpoint_classes: &["Qwen2ForCausalLM", "Qwen2Model", "DotsOCRForCausalLM"],
    model_types: &["qwen2"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

/// Biases of q, k and v, and no others.
pub(super) fn promises(config: &Config) -> Result<Promises> {
    let promises = super::prelude::promises(config)?;
    Ok(Promises { qkv_bias: Promise::There, output_bias: Promise::Absent, ..promises })
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_sliding_window", false, true)?;
    made.base(&Defaults::RMS)
}

/// What keys of this form mean.
pub(super) fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}
