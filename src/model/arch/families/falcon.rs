//! `falcon`: Falcon 7B, 40B and 180B: parallel parts, with one norm or two; q, k and v in one matrix, whose rows
//! come by key-value head in the large ones.

use super::prelude::*;

/// The `falcon` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "falcon",
    checkpoint_classes: &["FalconForCausalLM", "RWForCausalLM"],
    model_types: &["falcon", "RefinedWeb", "RefinedWebModel"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.h.",
        other: &[
            (Role::TokenEmbd, "transformer.word_embeddings"),
            (Role::OutputNorm, "transformer.ln_f"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "self_attention.query_key_value"),
            (Role::AttnOutput, "self_attention.dense"),
            (Role::FfnUp, "mlp.dense_h_to_4h"),
            (Role::FfnDown, "mlp.dense_4h_to_h"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: |config| {
        let bias = Promise::of(config.bool("bias")?.unwrap_or(false));
        let is_tied = Some(config.bool("tie_word_embeddings")?.unwrap_or(true));
        Ok(Promises { is_tied, qkv_bias: bias, output_bias: bias, mlp_bias: bias })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["activation"], "gelu", &["gelu"])?;
    made.refuse("alibi", false, true)?;
    made.refuse("parallel_attn", true, false)?;
    made.base(&Defaults {
        eps_name: "layer_norm_epsilon",
        n_ff_name: "ffn_hidden_size",
        n_ff_times: 4,
        n_ctx: 2048,
        n_head_name: made.first_of(&["num_attention_heads", "n_head"]),
        n_layer_name: made.first_of(&["num_hidden_layers", "n_layer"]),
        n_head_kv_name: made.first_of(&["num_kv_heads", "n_head_kv"]),
        ..Defaults::LAYER
    })?;
    if !is_by_kv_head(made.config)? {
        made.replace_count("attention.head_count_kv", 1)?;
    }
    let n_norms = made.config.count("num_ln_in_parallel_attn")?;
    let has_two = is_new(made.config)? && n_norms.unwrap_or(2) == 2;
    made.put("attention.has_two_norms", Value::Bool(has_two));
    Ok(())
}

fn is_new(config: &Config) -> Result<bool> {
    Ok(config.bool("new_decoder_architecture")?.unwrap_or(false))
}

/// Whether the rows of q, k and v come by key-value head, and not all queries first and then one key and one value.
fn is_by_kv_head(config: &Config) -> Result<bool> {
    Ok(is_new(config)? || !config.bool("multi_query")?.unwrap_or(true))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluErf)?;
    // Files of others say it by their tensors.
    let has_two = keys
        .bool("attention.has_two_norms")?
        .unwrap_or_else(|| base.keys.has_tensor("blk.0.attn_norm_2.weight"));
    let layer = |i| {
        let mut layer = base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
        layer.ffn_input = FfnInput::Shared;
        if has_two {
            // GGUF calls the mixer's own the second.
            layer.mixer_norm_role = Role::AttnNorm2;
            layer.ffn_norm_role = Role::AttnNorm;
            layer.ffn_input = FfnInput::Beside(base.norm);
        }
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let layer = &sources.spec.layers[slot.id.layer.unwrap_or(0)];
    let has_two = layer.mixer_norm_role == Role::AttnNorm2;
    let name = match (slot.id.role, has_two) {
        (Role::AttnNorm, true) => "ln_mlp",
        (Role::AttnNorm2, true) => "ln_attn",
        (Role::AttnNorm, false) => "input_layernorm",
        _ => return qkv(sources, slot),
    };
    let name = sources.in_layer(slot, &format!("{name}.{}", slot.id.suffix.name()));
    Ok(Some(Source::whole(slot, vec![name])))
}

fn qkv(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let source = plain(sources, slot)?;
    let MixerSpec::Attention(attention) = &sources.spec.layers[slot.id.layer.unwrap_or(0)].mixer else {
        return Ok(source);
    };
    let is_by_head = is_by_kv_head(sources.config)?;
    match (slot.id.role, source) {
        (Role::AttnQkv, Some(Source::Pieces(pieces, values))) if is_by_head => {
            Ok(Some(Source::Pieces(by_kv_head(&pieces[0], attention), values)))
        }
        (_, source) => Ok(source),
    }
}

/// The rows of q, k and v, which come by key-value head: its queries, its key, its value.
pub(super) fn by_kv_head(whole: &Piece, attention: &AttentionSpec) -> Vec<Piece> {
    let (head_dim, group) = (attention.head_dim_k, attention.group());
    let stride = (group + 2) * head_dim;
    let piece = |first: usize, run: usize, n_rows: usize| Piece {
        n_rows,
        rows: RowMap::Strided { first, run, stride, pairs: None },
        ..whole.clone()
    };
    vec![
        piece(0, group * head_dim, attention.n_embd_q()),
        piece(group * head_dim, head_dim, attention.n_embd_k()),
        piece((group + 1) * head_dim, head_dim, attention.n_embd_v()),
    ]
}
