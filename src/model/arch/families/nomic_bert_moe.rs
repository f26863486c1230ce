//! `nomic-bert-moe`: Nomic Embed 2: BERT with rotary positions, plain feed-forward parts, and experts in every other layer.

use super::prelude::*;

/// The `nomic-bert-moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "nomic-bert-moe",
    checkpoint_classes: &[],
    model_types: &[],
    keys,
    spec,
    names: Names {
        base_prefix: "",
        layer_prefix: "encoder.layers.",
        other: &[
            (Role::TokenEmbd, "embeddings.word_embeddings"),
            (Role::TokenTypes, "embeddings.token_type_embeddings"),
            (Role::TokenEmbdNorm, "emb_ln"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attn.Wqkv"),
            (Role::AttnOutput, "attn.out_proj"),
            (Role::AttnOutputNorm, "norm1"),
            (Role::FfnUp, "mlp.fc1"),
            (Role::FfnDown, "mlp.fc2"),
            (Role::FfnGateInp, "mlp.router.layer"),
            (Role::LayerOutputNorm, "norm2"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: |_| Ok(encoder::promises(true)),
};

/// Whether a Nomic BERT has experts.
pub(super) fn is_meant(config: &Config) -> Result<bool> {
    Ok(config.count("moe_every_n_layers")?.is_some_and(|n| n > 0))
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["activation_function", "hidden_act"], "gelu", &["gelu"])?;
    for flag in ["prenorm", "causal", "rotary_emb_interleaved", "moe_normalize_expert_weights"] {
        made.refuse(flag, false, true)?;
    }
    for flag in ["qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias"] {
        made.refuse(flag, true, false)?;
    }
    if made.config.count("num_shared_experts")?.is_some_and(|n| n > 0) {
        return Err(
            made.unsupported("num_shared_experts, which the nomic-bert-moe architecture has not".into())
        );
    }
    super::nomic_bert::numbers(made)?;
    made.count("moe_every_n_layers", "moe_every_n_layers")?;
    made.count("expert_count", made.first_of(&["num_experts", "num_local_experts"]))?;
    made.count("expert_used_count", "moe_top_k")?;
    made.note(
        "the biases mlp.experts.bias behind experts are left out, for GGUF files of this architecture have no place \
         for them"
            .into(),
    );
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluErf)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.is_dense = true;
    experts.router.is_normalised = false;
    let period = keys.count("moe_every_n_layers")?.unwrap_or(0);
    let layer = |i: usize| {
        let ffn = match period > 0 && i % period == 1 % period {
            true => FfnSpec::Experts(experts.clone()),
            false => FfnSpec::Dense(base.ffn(i)),
        };
        base.layer_of(base.attention(i), ffn)
    };
    encoder::bert(&base, (0..base.n_layer).map(layer).collect())
}

/// Experts lie in one matrix each way, of which that of the outputs is turned.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let (name, is_turned) = match slot.id.role {
        Role::FfnUpExps => ("mlp.experts.mlp.w1", false),
        Role::FfnDownExps => ("mlp.experts.mlp.w2", true),
        _ => return plain(sources, slot),
    };
    let [n_expert, n_out, n_in] = slot.shape[..] else { return Ok(None) };
    let whole = Source::whole(slot, vec![sources.in_layer(slot, name)]);
    Ok(Some(if is_turned {
        let rows = RowMap::Columns { n_out, n_cols: n_out, first: 0, step: 1, skipped: 0 };
        whole.with_shape(&[n_expert * n_in, n_out]).with_rows(rows)
    } else {
        whole.with_shape(&[n_expert * n_out, n_in])
    }))
}
