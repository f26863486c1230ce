//! `seed_oss`: Seed OSS 36B: Llama with biases of q, k and v, and rotary positions over halves.

use super::prelude::*;

/// The `seed_oss` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "seed_oss",
    checkpoint_classes: &["SeedOssForCausalLM"],
    model_types: &["seed_oss"],
    keys,
    spec,
    names: Names { other: &[(Role::AttnPostNorm, "post_attention_layernorm")], ..Names::PLAIN },
    source: plain,
    promises: |config| {
        let qkv = Promise::of(config.bool("attention_bias")?.unwrap_or(true));
        let output = Promise::of(config.bool("attention_out_bias")?.unwrap_or(false));
        Ok(Promises { qkv_bias: qkv, output_bias: output, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { head_dim: Some(128), ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let layer = |i| {
        // GGUF calls the norm before the feed-forward part by what it comes after.
        LayerSpec { ffn_norm_role: Role::AttnPostNorm, ..base.layer(i, |_| {}) }
    };
    base.model((0..base.n_layer).map(layer).collect())
}
