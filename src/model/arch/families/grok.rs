//! `grok`: Grok 1 and 2: norms in front of and behind both parts; bounded scores of attention and of routers; experts
//! with GELU gates, in Grok 2 beside a dense part.
//!
//! With a dense part weights of experts are not divided by their sum, as the code says that xAI published Grok 2 with;
//! without one the norm behind makes it all the same. llama.cpp divides them, does not bound the scores of routers and
//! has no temperature, so that its logits of Grok 2 differ.

use super::prelude::*;

/// The `grok` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "grok",
    checkpoint_classes: &["Grok1ForCausalLM", "GrokForCausalLM", "Grok1ModelForCausalLM"],
    model_types: &["grok-1", "grok"],
    keys,
    spec,
    names: Names::PLAIN,
    source,
    promises: super::gemma::promises,
};

/// What the first files do not say: of Grok 1.
const EMBEDDING_SCALE: f32 = 78.383_67;
const LOGIT_SCALE: f32 = 0.577_350_26;
const ATTENTION_SCALE: f32 = 0.088_388_346;
const ATTENTION_CAP: (&str, f32) = ("attn_logit_softcapping", 30.0);
const ROUTER_CAP: (&str, f32) = ("router_logit_softcapping", 30.0);
const FINAL_CAP: (&str, f32) = ("final_logit_softcapping", 0.0);
const BETA_FAST: f32 = 8.0;

/// The tensor whose presence says that there is a dense part beside the experts.
const DENSE: &str = "blk.0.ffn_up.weight";

/// That whose presence says that the norm behind experts has the name of Grok 1's files.
const OLD_NORM: &str = "blk.0.layer_output_norm.weight";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    made.activation(&["hidden_act"], "gelu", &["gelu", "gelu_pytorch_tanh"])?;
    made.refuse("rope_rotate_half_dims", false, true)?;
    made.activation(&["attn_logit_softcapping_method"], "tanh", &["tanh"])?;
    let n_ctx_name = made.first_of(&["max_position_embeddings", "context_len"]);
    made.base(&Defaults { eps: 1e-5, n_ctx_name, ..Defaults::RMS })?;
    made.experts(&["num_local_experts", "num_experts"])?;
    made.optional_count("expert_feed_forward_length", "moe_intermediate_size")?;
    for (name, default) in [ATTENTION_CAP, ROUTER_CAP, FINAL_CAP] {
        made.f32_or(name, name, default)?;
    }
    let head_dim = made.head_dim(&Defaults::RMS)?;
    made.f32_or("attention.output_scale", "attn_output_multiplier", 1.0 / (head_dim as f32).sqrt())?;
    made.f32_or("embedding_scale", "embedding_multiplier_scale", EMBEDDING_SCALE)?;
    made.f32_or("logit_scale", "output_multiplier_scale", LOGIT_SCALE)?;
    if let Some(n) = config.count("attn_temperature_len")?.filter(|&n| n > 0) {
        made.put_count("attention.temperature_length", n)?;
    }
    if config.bool("residual_moe")?.unwrap_or(false) {
        made.will_have(DENSE.into());
    }
    stretched(made)
}

/// Writes how positions are stretched, which stands beside everything else.
fn stretched(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    match config.string("rope_type")?.unwrap_or("original") {
        // Not at all.
        "original" | "default" => return Ok(()),
        "yarn" => {}
        other => return Err(made.unsupported(format!("rope_type \"{other}\"; it must be original or yarn"))),
    }
    if config.f32("extrapolation_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(made.unsupported("extrapolation_factor; it must be 1".into()));
    }
    made.put("rope.scaling.type", Value::String("yarn".into()));
    made.put("rope.scaling.factor", Value::F32(config.required_f32("scaling_factor")?));
    let original = config.required_count("original_max_position_embeddings")?;
    made.put_count("rope.scaling.original_context_length", original)?;
    made.f32_or("rope.scaling.yarn_ext_factor", "extrapolation_factor", 1.0)?;
    made.f32_or("rope.scaling.yarn_attn_factor", "attn_factor", 1.0)?;
    made.f32_or("rope.scaling.yarn_beta_fast", "beta_fast", BETA_FAST)?;
    made.f32_or("rope.scaling.yarn_beta_slow", "beta_slow", 1.0)?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::GeluTanh)?;
    if let RopeScaling::Yarn { beta_fast, .. } = &mut base.rope.scaling
        && !keys.contains("rope.scaling.yarn_beta_fast")
    {
        *beta_fast = BETA_FAST;
    }
    let or = |key: &str, default: f32| Ok::<_, crate::Error>(keys.f32(key)?.unwrap_or(default));
    let cap = |(key, own): (&str, f32)| super::gemma::softcap_of(&keys, key, own);
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.softcap = cap(ROUTER_CAP)?;
    experts.router.scale = base.expert_scale()?;
    if keys.has_tensor(DENSE) {
        // The sum of both, divided by the root of two.
        let scale = core::f32::consts::FRAC_1_SQRT_2;
        experts.router.is_normalised = false;
        experts.router.scale *= scale;
        experts.shared = base.shared(base.n_ff[0], false).map(|shared| SharedSpec {
            scale,
            is_named_plainly: true,
            ..shared
        });
    }
    let old_norm = keys.has_tensor(OLD_NORM);
    let ffn_post_norm_role = if old_norm { Role::LayerOutputNorm } else { Role::FfnPostNorm };
    let (scale, softcap) = (or("attention.output_scale", ATTENTION_SCALE)?, cap(ATTENTION_CAP)?);
    let log_temperature = keys.count("attention.temperature_length")?.filter(|&n| n > 0);
    let layer = |i| {
        let attention = AttentionSpec { scale, softcap, log_temperature, ..base.attention(i) };
        LayerSpec {
            mixer_post_norm: Some(base.norm),
            mixer_post_norm_role: Role::AttnOutputNorm,
            ffn_post_norm: Some(base.norm),
            ffn_post_norm_role,
            ..base.layer_of(attention, FfnSpec::Experts(experts.clone()))
        }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.embed.scale = or("embedding_scale", EMBEDDING_SCALE)?;
    model.head.scale = or("logit_scale", LOGIT_SCALE)?;
    model.head.softcap = cap(FINAL_CAP)?;
    Ok(model)
}

/// Checkpoints name tensors in three ways: Grok 2's own, that of the first port of Grok 1, and that of the second.
const SPELLINGS: &[(Role, [&str; 3])] = &[
    (Role::TokenEmbd, ["model.embed_tokens", "transformer.in_out_embed", ""]),
    (Role::OutputNorm, ["model.norm", "transformer.rms_norm", ""]),
    (Role::AttnNorm, ["pre_attn_norm", "rms_norm", "pre_attn_norm"]),
    (Role::AttnQ, ["self_attn.q_proj", "multi_head_attention.query", "attn.q_proj"]),
    (Role::AttnK, ["self_attn.k_proj", "multi_head_attention.key", "attn.k_proj"]),
    (Role::AttnV, ["self_attn.v_proj", "multi_head_attention.value", "attn.v_proj"]),
    (Role::AttnOutput, ["self_attn.o_proj", "multi_head_attention.linear", "attn.o_proj"]),
    (Role::AttnOutputNorm, ["post_attn_norm", "rms_norm_1", ""]),
    (Role::FfnNorm, ["pre_moe_norm", "rms_norm_2", ""]),
    (Role::FfnPostNorm, ["post_moe_norm", "rms_norm_3", ""]),
    (Role::FfnGateInp, ["block_sparse_moe.gate", "router", "moe_block.gate"]),
    (
        Role::FfnGateExps,
        ["block_sparse_moe.experts.{e}.w1", "moe.{e}.linear", "moe_block.experts.{e}.linear"],
    ),
    (
        Role::FfnUpExps,
        ["block_sparse_moe.experts.{e}.w3", "moe.{e}.linear_v", "moe_block.experts.{e}.linear_v"],
    ),
    (
        Role::FfnDownExps,
        ["block_sparse_moe.experts.{e}.w2", "moe.{e}.linear_1", "moe_block.experts.{e}.linear_1"],
    ),
];

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let Some((_, spellings)) = SPELLINGS.iter().find(|(role, _)| *role == slot.id.role) else {
        return plain(sources, slot);
    };
    let name = |(i, spelling): (usize, &&str)| match (slot.id.layer, i) {
        _ if spelling.is_empty() => None,
        (None, _) => Some(format!("{spelling}.weight")),
        (Some(layer), 1) => Some(format!("transformer.decoder_layer.{layer}.{spelling}.weight")),
        (Some(layer), _) => Some(format!("model.layers.{layer}.{spelling}.weight")),
    };
    let names: Vec<String> = spellings.iter().enumerate().filter_map(name).collect();
    if !slot.id.role.is_expert_stack() {
        return Ok(Some(Source::whole(slot, names)));
    }
    let pieces = (0..slot.shape[0]).map(|e| {
        let of_expert = names.iter().map(|name| name.replace("{e}", &e.to_string())).collect();
        Piece::whole(&slot.shape[1..], of_expert)
    });
    Ok(Some(Source::Pieces(pieces.collect(), ValueMap::Same)))
}
