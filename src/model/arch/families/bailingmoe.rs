//! `bailingmoe`: Ling Lite and Plus: experts in every layer, chosen by probabilities, beside shared ones.

use super::prelude::*;

/// The `bailingmoe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "bailingmoe",
    checkpoint_classes: &["BailingMoeForCausalLM"],
    // Those of `bailingmoe2` are the same, and it is the younger.
    model_types: &[],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TokenEmbd, "model.word_embeddings"),
            (Role::AttnQkv, ""),
            (Role::AttnOutput, "attention.dense"),
        ],
        is_permuted: true,
        ..Names::PLAIN
    },
    source,
    promises: |config| {
        let qkv = Promise::of(config.bool("use_qkv_bias")?.unwrap_or(false));
        let other = Promise::of(config.bool("use_bias")?.unwrap_or(false));
        Ok(Promises { qkv_bias: qkv, output_bias: other, mlp_bias: other, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("norm_head", false, true)?;
    if made.config.count("first_k_dense_replace")?.unwrap_or(0) != 0 {
        return Err(made.unsupported("first_k_dense_replace; it must be 0".into()));
    }
    made.base(&Defaults::RMS)?;
    super::deepseek2::experts(made)?;
    // Those that choose by sigmoids are another architecture.
    made.replace_count("expert_gating_func", 1)?;
    made.replace("expert_weights_scale", Value::F32(1.0));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    super::dots1::spec_with(&base, Scoring::Softmax, |_, _| {})
}

/// Queries, keys and values lie in one tensor, one after the other; heads are brought to the order of pairs.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let attention = slot.id.layer.and_then(|i| sources.spec.layers[i].mixer.attention());
    let Some(attention) = attention else { return plain(sources, slot) };
    let (n_q, n_k) = (attention.n_embd_q(), attention.n_embd_k());
    let (first, pairs) = match slot.id.role {
        Role::AttnQ => (0, Some(attention.head_dim_k)),
        Role::AttnK => (n_q, Some(attention.head_dim_k)),
        Role::AttnV => (n_q + n_k, None),
        _ => return plain(sources, slot),
    };
    let mut shape = slot.shape.clone();
    shape[0] = n_q + n_k + attention.n_embd_v();
    let name = format!("attention.query_key_value.{}", slot.id.suffix.name());
    let run = attention.head_dim_k;
    let rows = RowMap::Strided { first, run, stride: run, pairs };
    let piece = Piece { names: vec![sources.in_layer(slot, &name)], shape, n_rows: slot.shape[0], rows };
    Ok(Some(Source::Pieces(vec![piece], ValueMap::Same)))
}
