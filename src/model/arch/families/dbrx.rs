//! `dbrx`: DBRX: layer norms without bias, bounded q, k and v, experts whose weights are normalised.

use super::prelude::*;

/// The `dbrx` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "dbrx",
    checkpoint_classes: &["DbrxForCausalLM"],
    model_types: &["dbrx"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.blocks.",
        other: &[
            (Role::TokenEmbd, "transformer.wte"),
            (Role::OutputNorm, "transformer.norm_f"),
            (Role::AttnNorm, "norm_attn_norm.norm_1"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "norm_attn_norm.attn.Wqkv"),
            (Role::AttnOutput, "norm_attn_norm.attn.out_proj"),
            (Role::AttnOutputNorm, "norm_attn_norm.norm_2"),
            (Role::FfnGateInp, "ffn.router.layer"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let part = |name: &str| {
        let missing = || made.unsupported(format!("{name} is missing"));
        made.config.object(name)?.ok_or_else(missing)
    };
    let (attention, ffn) = (part("attn_config")?, part("ffn_config")?);
    if let Some(activation) = ffn.object("ffn_act_fn")?
        && let Some(name) = activation.string("name")?.filter(|&name| name != "silu")
    {
        return Err(made.unsupported(format!("ffn_act_fn \"{name}\"; the dbrx architecture has silu")));
    }
    if let Some(norm) = ffn.f32("moe_normalize_expert_weights")?.filter(|&norm| norm != 1.0) {
        return Err(made.unsupported(format!("moe_normalize_expert_weights {norm}; it must be 1")));
    }
    made.base(&Defaults {
        n_ff_times: 4,
        n_ff_name: "ffn_hidden_size",
        n_ctx_name: "max_seq_len",
        n_embd_name: "d_model",
        n_head_name: "n_heads",
        n_layer_name: "n_layers",
        ..Defaults::LAYER
    })?;
    made.replace_count("feed_forward_length", ffn.count("ffn_hidden_size")?.unwrap_or(3584))?;
    made.replace_count("attention.head_count_kv", attention.count("kv_n_heads")?.unwrap_or(1))?;
    made.replace("rope.freq_base", Value::F32(attention.f32("rope_theta")?.unwrap_or(1e4)));
    if let Some(bound) = attention.f32("clip_qkv")? {
        made.put("attention.clamp_kqv", Value::F32(bound));
    }
    made.put_count("expert_count", ffn.count("moe_num_experts")?.unwrap_or(4))?;
    made.put_count("expert_used_count", ffn.count("moe_top_k")?.unwrap_or(1))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::Silu)?;
    let experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    let clamp = keys.f32("attention.clamp_kqv")?.filter(|&bound| bound > 0.0);
    let layer = |i| {
        let attention = AttentionSpec { clamp, ..base.attention(i) };
        LayerSpec {
            ffn_norm_role: Role::AttnOutputNorm,
            ..base.layer_of(attention, FfnSpec::Experts(experts.clone()))
        }
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// All experts lie in one matrix, one below the other; those of the last product are turned.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let (name, is_turned) = match slot.id.role {
        Role::FfnGateExps => ("w1", false),
        Role::FfnUpExps => ("v1", false),
        Role::FfnDownExps => ("w2", true),
        _ => return plain(sources, slot),
    };
    let [n_expert, n_out, n_in] = slot.shape[..] else { return Ok(None) };
    let name = sources.in_layer(slot, &format!("ffn.experts.mlp.{name}"));
    let whole = Source::whole(slot, vec![name]);
    Ok(Some(if is_turned {
        let rows = RowMap::Columns { n_out, n_cols: n_out, first: 0, step: 1, skipped: 0 };
        whole.with_shape(&[n_expert * n_in, n_out]).with_rows(rows)
    } else {
        whole.with_shape(&[n_expert * n_out, n_in])
    }))
}
