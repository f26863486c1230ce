//! `plm`: PLM 1.8B: attention over latent vectors without compressed queries, and plain feed-forward parts with squared
//! ReLU.

use super::prelude::*;

/// The `plm` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "plm",
    checkpoint_classes: &["PLMForCausalLM"],
    model_types: &["plm"],
    keys,
    spec,
    names: super::deepseek2::NAMES,
    source: |sources, slot| match slot.id.role {
        // Files of this architecture keep keys and values of heads in one matrix.
        Role::AttnKB | Role::AttnVB => Ok(None),
        Role::AttnKvB => {
            let name = sources.in_layer(slot, "self_attn.kv_b_proj.weight");
            Ok(Some(Source::whole(slot, vec![name])))
        }
        _ => plain(sources, slot),
    },
    promises: |config| Ok(Promises { is_tied: Some(true), mlp_bias: Promise::Absent, ..promises(config)? }),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "relu2", &["relu2"])?;
    made.refuse("attention_bias", false, true)?;
    made.refuse("tie_word_embeddings", true, false)?;
    if made.config.count("q_lora_rank")?.is_some() {
        return Err(made.unsupported("q_lora_rank; the plm architecture has no compressed queries".into()));
    }
    let n_rot = made.config.required_count("qk_rope_head_dim")?;
    let nope = made.config.required_count("qk_nope_head_dim")?;
    made.base(&Defaults { head_dim: Some(n_rot), ..Defaults::RMS })?;
    made.count("attention.kv_lora_rank", "kv_lora_rank")?;
    made.replace_count("attention.key_length", nope.saturating_add(n_rot))?;
    made.replace_count("attention.value_length", made.config.required_count("v_head_dim")?)?;
    made.replace_count("rope.dimension_count", n_rot)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::ReluSquared)?;
    let n_rot = keys.required_count("rope.dimension_count")?;
    base.rope.n_dims = n_rot;
    let mla = MlaSpec {
        n_embd: base.n_embd,
        n_head: base.n_head[0],
        q_lora_rank: None,
        kv_lora_rank: keys.required_count("attention.kv_lora_rank")?,
        head_dim_nope: base.head_dim_k.saturating_sub(n_rot),
        n_rot,
        head_dim_v: base.head_dim_v,
        rope: Some(RopeUse { index: 0, order: base.order }),
        scale: 1.0 / (base.head_dim_k as f32).sqrt(),
        temperature: None,
        norm: base.norm,
        key_norm: None,
        window: None,
        has_sinks: false,
        gate: None,
        indexer: None,
    };
    let layer = |i: usize| {
        let layer = base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
        LayerSpec { mixer: MixerSpec::Mla(mla), ..layer }
    };
    base.model((0..base.n_layer).map(layer).collect())
}
