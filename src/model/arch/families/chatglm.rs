//! `chatglm`: ChatGLM 3, GLM 4 9B of 2024 and kin: half of each head is rotated, gate and up lie in one matrix.
//! Checkpoints are those of transformers, or those of the authors' own code with other names for everything.

use super::prelude::*;

/// The `chatglm` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "chatglm",
    checkpoint_classes: &["GlmForCausalLM", "ChatGLMModel", "ChatGLMForConditionalGeneration"],
    model_types: &["glm", "chatglm"],
    keys,
    spec,
    names: Names { other: &[(Role::FfnUp, "mlp.gate_up_proj")], ..Names::PLAIN },
    source: |sources, slot| {
        let names = if is_own(sources.config) { &OWN } else { sources.names };
        plain(&Sources { names, ..*sources }, slot)
    },
    promises: |config| {
        let has_bias = config.bool(if is_own(config) { "add_qkv_bias" } else { "attention_bias" })?;
        let qkv_bias = Promise::of(has_bias.unwrap_or(false));
        Ok(Promises { qkv_bias, output_bias: Promise::Absent, ..promises(config)? })
    },
};

/// The names of the authors' own code.
const OWN: Names = Names {
    base_prefix: "transformer.",
    layer_prefix: "transformer.encoder.layers.",
    other: &[
        (Role::TokenEmbd, "transformer.embedding.word_embeddings"),
        (Role::OutputNorm, "transformer.encoder.final_layernorm"),
        (Role::Output, "transformer.output_layer"),
        (Role::AttnQ, ""),
        (Role::AttnK, ""),
        (Role::AttnV, ""),
        (Role::AttnQkv, "self_attention.query_key_value"),
        (Role::AttnOutput, "self_attention.dense"),
        (Role::FfnUp, "mlp.dense_h_to_4h"),
        (Role::FfnDown, "mlp.dense_4h_to_h"),
    ],
    ..Names::PLAIN
};

/// Whether a configuration is of the authors' own code.
fn is_own(config: &Config) -> bool {
    config.value("padded_vocab_size").is_some()
}

const DEFAULTS: Defaults =
    Defaults { eps: 1.5625e-7, partial: Partial::Allowed(0.5), head_dim: Some(128), ..Defaults::RMS };

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    if !is_own(made.config) {
        made.activation(&["hidden_act"], "silu", &["silu"])?;
        return made.base(&DEFAULTS);
    }
    for (name, expected) in [
        ("rmsnorm", true),
        ("post_layer_norm", true),
        ("apply_residual_connection_post_layernorm", false),
        ("add_bias_linear", false),
    ] {
        made.refuse(name, expected, !expected)?;
    }
    let config = made.config;
    let is_grouped = config.bool("multi_query_attention")?.unwrap_or(false);
    made.base(&Defaults {
        eps: 1e-5,
        eps_name: "layernorm_epsilon",
        head_dim: config.count("kv_channels")?,
        n_vocab_name: "padded_vocab_size",
        n_ctx_name: "seq_length",
        n_ff_name: "ffn_hidden_size",
        n_layer_name: "num_layers",
        n_head_kv_name: if is_grouped { "multi_query_group_num" } else { "num_attention_heads" },
        ..DEFAULTS
    })?;
    if let Some(ratio) = config.f32("rope_ratio")? {
        made.replace("rope.freq_base", Value::F32(1e4 * ratio));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let layer = |i| {
        let ffn = FfnShape { is_fused: true, ..base.ffn(i) };
        base.layer_of(base.attention(i), FfnSpec::Gated(ffn))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
