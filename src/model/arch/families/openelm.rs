//! `openelm`: OpenELM: heads and widths grow from layer to layer; norms of heads.

use super::prelude::*;

/// The `openelm` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "openelm",
    checkpoint_classes: &["OpenELMForCausalLM"],
    model_types: &["openelm"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.layers.",
        other: &[
            (Role::TokenEmbd, "transformer.token_embeddings"),
            (Role::OutputNorm, "transformer.norm"),
            (Role::AttnNorm, "attn_norm"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attn.qkv_proj"),
            (Role::AttnQNorm, "attn.q_norm"),
            (Role::AttnKNorm, "attn.k_norm"),
            (Role::AttnOutput, "attn.out_proj"),
            (Role::FfnNorm, "ffn_norm"),
            (Role::FfnDown, "ffn.proj_2"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: |_| {
        let none = Promise::Absent;
        Ok(Promises { is_tied: Some(true), qkv_bias: none, output_bias: none, mlp_bias: none })
    },
};

/// A list of counts, one for each layer.
fn counts(made: &FromConfig<'_>, name: &str) -> Result<Vec<usize>> {
    let list = made.config.value(name).and_then(|list| list.as_array());
    let count = |n: &serde_json::Value| n.as_u64().and_then(|n| usize::try_from(n).ok());
    let counts = list.map(|list| list.iter().map(count).collect::<Option<Vec<usize>>>());
    counts.flatten().ok_or_else(|| made.unsupported(format!("{name} that is not a list of counts")))
}

/// The width that is `times` the stream's, to the nearest multiple of `divisor`, but not a tenth less.
fn width(times: f32, n_embd: usize, divisor: usize) -> Option<usize> {
    let exact = f64::from(times) * n_embd as f64;
    let nearest = ((exact + divisor as f64 / 2.0) as usize).checked_div(divisor)?.checked_mul(divisor)?;
    let least = nearest.max(divisor);
    if (least as f64) < 0.9 * exact { least.checked_add(divisor) } else { Some(least) }
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["activation_fn_name"], "swish", &["swish", "silu"])?;
    made.activation(&["normalization_layer_name"], "rms_norm", &["rms_norm"])?;
    made.refuse("normalize_qk_projections", true, false)?;
    made.refuse("ffn_with_glu", true, false)?;
    made.refuse("share_input_output_layers", true, false)?;
    let config = made.config;
    made.count("block_count", "num_transformer_layers")?;
    made.count("context_length", "max_context_length")?;
    let n_embd = made.count("embedding_length", "model_dim")?;
    made.count("vocab_size", "vocab_size")?;
    made.replace_counts("attention.head_count", counts(made, "num_query_heads")?)?;
    made.replace_counts("attention.head_count_kv", counts(made, "num_kv_heads")?)?;
    let divisor = config.count("ffn_dim_divisor")?.unwrap_or(256);
    let times = config.f32s("ffn_multipliers")?.unwrap_or_default();
    let widths: Option<Vec<usize>> = times.into_iter().map(|times| width(times, n_embd, divisor)).collect();
    let widths = widths.ok_or_else(|| made.unsupported(format!("ffn_dim_divisor {divisor}")))?;
    made.replace_counts("feed_forward_length", widths)?;
    let head_dim = config.required_count("head_dim")?;
    for key in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
        made.put_count(key, head_dim)?;
    }
    made.f32_or("rope.freq_base", "rope_freq_constant", 1e4)?;
    // No configuration says it.
    made.put("attention.layer_norm_rms_epsilon", Value::F32(1e-6));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let layer = |i| base.layer(i, |attention| attention.qk_norm = Some(base.qk_norm()));
    base.model((0..base.n_layer).map(layer).collect())
}

/// Gates and the rest lie in one tensor, one after the other.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let first = match slot.id.role {
        Role::FfnGate => 0,
        Role::FfnUp => slot.shape[0],
        _ => return plain(sources, slot),
    };
    let (n_ff, n_embd) = (slot.shape[0], slot.shape[1]);
    let piece = Piece {
        names: vec![sources.in_layer(slot, "ffn.proj_1.weight")],
        shape: vec![2 * n_ff, n_embd],
        n_rows: n_ff,
        rows: RowMap::Strided { first, run: n_ff, stride: n_ff, pairs: None },
    };
    Ok(Some(Source::Pieces(vec![piece], ValueMap::Same)))
}
