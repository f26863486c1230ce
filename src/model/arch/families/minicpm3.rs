//! `minicpm3`: MiniCPM 3: attention over latent vectors, factors of rotary frequencies that depend on the length of the
//! context, and multipliers of the embedding, the residuals and the logits. Files hold the heads' keys and values in
//! one matrix.

use super::prelude::*;

/// The `minicpm3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "minicpm3",
    checkpoint_classes: &["MiniCPM3ForCausalLM"],
    model_types: &["minicpm3"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnQA, "self_attn.q_a_proj"),
            (Role::AttnQANorm, "self_attn.q_a_layernorm"),
            (Role::AttnQB, "self_attn.q_b_proj"),
            (Role::AttnKvAMqa, "self_attn.kv_a_proj_with_mqa"),
            (Role::AttnKvANorm, "self_attn.kv_a_layernorm"),
            (Role::AttnKvB, "self_attn.kv_b_proj"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: super::gemma::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let n_rot = made.config.required_count("qk_rope_head_dim")?;
    let nope = made.config.required_count("qk_nope_head_dim")?;
    let defaults = Defaults { eps: 1e-5, head_dim: Some(n_rot), ..Defaults::RMS };
    made.longrope_or_none(&defaults)?;
    made.base(&defaults)?;
    made.replace_count("attention.key_length", nope.saturating_add(n_rot))?;
    made.replace_count("attention.value_length", made.config.required_count("v_head_dim")?)?;
    made.replace_count("rope.dimension_count", n_rot)?;
    made.count("attention.q_lora_rank", "q_lora_rank")?;
    made.count("attention.kv_lora_rank", "kv_lora_rank")?;
    super::minicpm::multipliers(made)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    // Files of others say no original context: it is that of training.
    let original_context = keys.required_count("context_length")?;
    base.rope.factors = RopeFactors::ByContext { original_context };
    super::phi3::by_context(&mut base)?;
    let n_rot = base.rope.n_dims;
    let mla = MlaSpec {
        n_embd: base.n_embd,
        n_head: base.n_head[0],
        q_lora_rank: Some(keys.required_count("attention.q_lora_rank")?),
        kv_lora_rank: keys.required_count("attention.kv_lora_rank")?,
        head_dim_nope: base.head_dim_k.saturating_sub(n_rot),
        n_rot,
        head_dim_v: base.head_dim_v,
        rope: Some(RopeUse { index: 0, order: base.order }),
        scale: 1.0 / (base.head_dim_k as f32).sqrt(),
        temperature: None,
        // These norms have an epsilon of their own, which configurations do not say.
        norm: NormSpec { eps: 1e-6, ..base.norm },
        key_norm: None,
        window: None,
        has_sinks: false,
        gate: None,
        indexer: None,
    };
    let layer = |i| LayerSpec { mixer: MixerSpec::Mla(mla), ..base.layer(i, |_| {}) };
    super::minicpm::multiply(&base, base.model((0..base.n_layer).map(layer).collect())?)
}
