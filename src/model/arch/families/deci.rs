//! `deci`: DeciLM and Nemotron 51B, Super and Ultra: Llama whose layers were thinned out: heads and widths differ, and
//! some have a matrix in the place of attention, or no attention, or no feed-forward part.

use super::prelude::*;

/// The `deci` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "deci",
    checkpoint_classes: &["DeciLMForCausalLM"],
    model_types: &["deci", "nemotron-nas", "nemotron_nas"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source,
    promises,
};

/// Widths are multiples of this.
const MULTIPLE: usize = 256;

/// One part of a layer, as configurations tell of it.
fn part(made: &FromConfig<'_>, block: &serde_json::Value, name: &str) -> Result<serde_json::Value> {
    let part = block.get(name).filter(|part| part.is_object()).cloned();
    part.ok_or_else(|| made.unsupported(format!("block_configs without \"{name}\"")))
}

/// The numbers of heads, of key-value heads and the width of a layer's feed-forward part; 0 for what it does without.
fn of_block(
    made: &FromConfig<'_>,
    block: &serde_json::Value,
    (n_head, n_embd): (usize, usize),
) -> Result<[usize; 3]> {
    let (attention, ffn) = (part(made, block, "attention")?, part(made, block, "ffn")?);
    let is = |part: &serde_json::Value, name: &str| part.get(name).and_then(serde_json::Value::as_bool);
    if is(&ffn, "replace_with_linear") == Some(true) {
        return Err(made.unsupported("a matrix in the place of a feed-forward part".into()));
    }
    for (part, name) in [(&attention, "sparsify"), (&ffn, "sparsify")] {
        if part.get(name).is_some_and(|list| !list.is_null()) {
            return Err(made.unsupported(format!("block_configs with \"{name}\"")));
        }
    }
    let group = attention.get("n_heads_in_group").and_then(serde_json::Value::as_u64);
    let heads = match group.and_then(|group| usize::try_from(group).ok()) {
        Some(group) => [n_head, n_head.checked_div(group).unwrap_or(0)],
        None if is(&attention, "replace_with_linear") == Some(true) => [n_head, 0],
        None => [0, 0],
    };
    let n_ff = match ffn.get("ffn_mult").and_then(serde_json::Value::as_f64) {
        // The integer below, then the next multiple.
        Some(times) => ((2.0 * times * n_embd as f64 / 3.0) as usize).checked_next_multiple_of(MULTIPLE),
        None => Some(0),
    };
    Ok([heads[0], heads[1], n_ff.unwrap_or(usize::MAX)])
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let config = made.config;
    let n_layer = made.n_layer()?;
    let Some(blocks) = config.value("block_configs").filter(|blocks| !blocks.is_null()) else {
        made.base(&Defaults::RMS)?;
        if let Some(counts) = config.value("num_key_value_heads_per_layer").and_then(|list| list.as_array()) {
            let count = |n: &serde_json::Value| n.as_u64().and_then(|n| usize::try_from(n).ok());
            made.replace_counts("attention.head_count_kv", counts.iter().map(|n| count(n).unwrap_or(0)))?;
        }
        return Ok(());
    };
    // Widths are a layer's own.
    made.base(&Defaults { n_ff_name: "", ..Defaults::RMS })?;
    let blocks = blocks.as_array().filter(|blocks| blocks.len() == n_layer);
    let Some(blocks) = blocks else {
        return Err(made.unsupported(format!("block_configs of another number of layers than {n_layer}")));
    };
    let (n_head, n_embd) =
        (config.required_count("num_attention_heads")?, config.required_count("hidden_size")?);
    let of = |block| of_block(made, block, (n_head, n_embd));
    let layers = blocks.iter().map(of).collect::<Result<Vec<[usize; 3]>>>()?;
    made.replace_counts("attention.head_count", layers.iter().map(|layer| layer[0]))?;
    made.replace_counts("attention.head_count_kv", layers.iter().map(|layer| layer[1]))?;
    made.replace_counts("feed_forward_length", layers.iter().map(|layer| layer[2]))?;
    // Where the first layer has no heads, readers cannot tell.
    let head_dim = made.head_dim(&Defaults::RMS)?;
    made.replace_count("attention.key_length", head_dim)?;
    made.replace_count("attention.value_length", head_dim)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let layer = |i: usize| {
        let mut layer = base.layer_of(AttentionSpec::plain(base.n_embd, 1, 1, 1), FfnSpec::None);
        layer.mixer = match (base.n_head[i], base.n_head_kv[i]) {
            (0, _) => MixerSpec::None,
            (_, 0) => MixerSpec::Linear { n_embd: base.n_embd },
            _ => MixerSpec::Attention(base.attention(i)),
        };
        layer.mixer_norm = layer.mixer_norm.filter(|_| base.n_head[i] > 0);
        match base.n_ff[i] {
            0 => layer.ffn_input = FfnInput::Sequential(None),
            _ => layer.ffn = FfnSpec::Gated(base.ffn(i)),
        }
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let is_linear = |i: usize| matches!(sources.spec.layers[i].mixer, MixerSpec::Linear { .. });
    match (slot.id.role, slot.id.suffix, slot.id.layer) {
        (Role::AttnOutput, Suffix::Weight, Some(i)) if is_linear(i) => {
            let name = sources.in_layer(slot, "self_attn.linear_attn.weight");
            Ok(Some(Source::whole(slot, vec![name])))
        }
        _ => plain(sources, slot),
    }
}
