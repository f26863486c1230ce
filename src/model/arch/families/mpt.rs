//! `mpt`: MPT: layer norms without bias, no biases, scores that fall with the distance or learned positions, and perhaps
//! bounded q, k and v.

use super::prelude::*;

/// The `mpt` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "mpt",
    checkpoint_classes: &["MPTForCausalLM", "MptForCausalLM", "MptModel"],
    model_types: &["mpt"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.blocks.",
        other: &[
            (Role::TokenEmbd, "transformer.wte"),
            (Role::PositionEmbd, "transformer.wpe"),
            (Role::OutputNorm, "transformer.norm_f"),
            (Role::AttnNorm, "norm_1"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attn.Wqkv"),
            (Role::AttnOutput, "attn.out_proj"),
            (Role::FfnNorm, "norm_2"),
            (Role::FfnUp, "ffn.up_proj"),
            (Role::FfnDown, "ffn.down_proj"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: |_| {
        let absent = Promise::Absent;
        Ok(Promises { is_tied: Some(true), qkv_bias: absent, output_bias: absent, mlp_bias: absent })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("no_bias", true, false)?;
    made.base(&Defaults {
        eps_name: "layer_norm_epsilon",
        n_ctx_name: "max_seq_len",
        n_ff_times: made.config.count("expansion_ratio")?.unwrap_or(4),
        n_layer_name: "n_layers",
        n_embd_name: "d_model",
        n_head_name: "n_heads",
        ..Defaults::LAYER
    })?;
    let config = made.config;
    let Some(attention) = config.object("attn_config")? else {
        made.put(BIAS, Value::F32(8.0));
        return Ok(());
    };
    if attention.bool("qk_ln")?.unwrap_or(false) {
        return Err(made.unsupported("qk_ln: true, norms of queries and keys in the mpt architecture".into()));
    }
    if let Some(scale) = attention.f32("softmax_scale")? {
        return Err(
            made.unsupported(format!("softmax_scale {scale}; the mpt architecture has no key for it"))
        );
    }
    let has_bias = attention.bool("alibi")?.unwrap_or(true);
    let greatest = attention.f32("alibi_bias_max")?.unwrap_or(8.0);
    made.put(BIAS, Value::F32(if has_bias { greatest } else { 0.0 }));
    if !has_bias && config.bool("learned_pos_emb")?.unwrap_or(true) {
        made.will_have(POSITIONS.into());
    }
    if let Some(bound) = attention.f32("clip_qkv")? {
        made.put("attention.clamp_kqv", Value::F32(bound));
    }
    if let Some(n) = attention.count("kv_n_heads")? {
        made.replace_count("attention.head_count_kv", n)?;
    }
    Ok(())
}

/// The tensor whose presence says that positions are learned.
const POSITIONS: &str = "position_embd.weight";

/// The greatest bias of scores.
const BIAS: &str = "attention.max_alibi_bias";

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluErf)?;
    let alibi = keys.f32(BIAS)?.filter(|&bias| bias > 0.0);
    let clamp = keys.f32("attention.clamp_kqv")?.filter(|&bound| bound > 0.0);
    let attention = |i| AttentionSpec { rope: None, alibi, clamp, ..base.attention(i) };
    let layer = |i| base.layer_of(attention(i), FfnSpec::Dense(base.ffn(i)));
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    if keys.has_tensor(POSITIONS) {
        model.embed.n_positions = Some(model.n_ctx_train);
    }
    Ok(model)
}
