//! `qwen4exp`: Qwen 4 Exp: Qwen 3.5's mixers and experts, of which every part gets a gated mean of several streams; one
//! layer has a table of n-grams besides. Attention is to blocks of positions that an indexer chooses: within as many as
//! it chooses that is attention to all, and longer texts are refused.

use super::prelude::*;
use super::qwen3next::{DEFAULTS, delta_keys, expert_keys, gated_experts, spec_with};

/// The `qwen4exp` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen4exp",
    checkpoint_classes: &["Qwen4ExpForCausalLM", "Qwen4ExpForConditionalGeneration"],
    model_types: &["qwen4_exp", "qwen4_exp_text"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::HcHeadNorm, "model.hyper_connection_mixer.hc_norm"),
            (Role::HcHeadDown, "model.hyper_connection_mixer.input_mix_weight_down"),
            (Role::HcHeadUp, "model.hyper_connection_mixer.input_mix_weight_up"),
            (Role::HcAttnNorm, "attn_hyper_connection.hc_norm"),
            (Role::HcAttnDown, "attn_hyper_connection.input_mix_weight_down"),
            (Role::HcAttnUp, "attn_hyper_connection.input_mix_weight_up"),
            (Role::HcAttnInject, "attn_hyper_connection.block_inject_weight"),
            (Role::HcFfnNorm, "mlp_hyper_connection.hc_norm"),
            (Role::HcFfnDown, "mlp_hyper_connection.input_mix_weight_down"),
            (Role::HcFfnUp, "mlp_hyper_connection.input_mix_weight_up"),
            (Role::HcFfnInject, "mlp_hyper_connection.block_inject_weight"),
            (Role::PleKey, "ple.key_proj"),
            (Role::PleValue, "ple.value_proj"),
            (Role::PleNormKey, "ple.norm_key"),
            (Role::PleNormQuery, "ple.norm_query"),
            (Role::PleNormConv, "ple.norm_conv"),
            (Role::PleConv, "ple.conv1d"),
            (Role::IndexerQNorm, "self_attn.indexer.q_layernorm"),
            (Role::IndexerKNorm, "self_attn.indexer.k_layernorm"),
            (Role::AttnGate, "linear_attn.in_proj_z"),
            (Role::SsmConv, "linear_attn.conv1d"),
            (Role::SsmA, "linear_attn.A_log"),
            (Role::SsmBeta, "linear_attn.in_proj_b"),
            (Role::SsmAlpha, "linear_attn.in_proj_a"),
            (Role::SsmNorm, "linear_attn.norm"),
            (Role::SsmOut, "linear_attn.out_proj"),
            (Role::FfnGateInpShexp, "mlp.shared_expert_gate"),
            (Role::FfnGateShexp, "mlp.shared_expert.gate_proj"),
            (Role::FfnUpShexp, "mlp.shared_expert.up_proj"),
            (Role::FfnDownShexp, "mlp.shared_expert.down_proj"),
        ],
        in_keys: &[
            ".ple_embedding.layer_multipliers",
            ".ple_embedding.ngram_heads_offsets",
            ".ple_embedding.ngram_heads_vocab_sizes",
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// How many positions are chosen.
const TOP_K: &str = "attention.indexer.top_k";

/// The keys of n-grams: the layers that have a table, and where its hashes lead.
const LAYERS: &str = "ple.layers";
const MULTIPLIERS: &str = "ple.layer_multipliers";
const FIRST_ROWS: &str = "ple.head_offsets";
const N_ROWS: &str = "ple.head_vocab_sizes";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    // There are no dense parts.
    made.base(&Defaults { n_ff_name: "", ..DEFAULTS })?;
    super::qwen2vl::sections(made, super::qwen35::SECTIONS)?;
    expert_keys(made)?;
    delta_keys(made)?;
    // Silence means `hidden_act`, which is not a sigmoid.
    made.activation(&["output_gate_type"], "silu", &["sigmoid"])?;
    let config = made.config;
    made.put_count("hyper_connection.count", config.count("hc_count")?.unwrap_or(4))?;
    made.put_count("hyper_connection.low_rank", config.count("hc_lowrank")?.unwrap_or(320))?;
    made.count("attention.indexer.head_count", "indexer_n_heads")?;
    made.count("attention.indexer.key_length", "indexer_head_dim")?;
    made.count(TOP_K, "indexer_budget")?;
    if let Some(n) = config.count("indexer_kv_heads")?.filter(|&n| n != 1) {
        return Err(made.unsupported(format!("indexer_kv_heads {n}; it must be 1")));
    }
    let ratio = config.required_count("indexer_compress_ratio")?;
    let ratio = i32::try_from(ratio).map_err(|_| made.unsupported("indexer_compress_ratio".into()))?;
    let n_layer = made.n_layer()?;
    let attends: Vec<bool> = match config.strings("layer_types")? {
        Some(kinds) => kinds.iter().map(|kind| *kind != "linear_attention").collect(),
        None => (0..n_layer).map(|i| i % 4 == 3).collect(),
    };
    let ratios = attends.into_iter().map(|attends| if attends { ratio } else { 0 }).collect();
    made.put("attention.compress_ratios", Value::I32s(ratios));
    made.note(
        "layers attend to blocks of positions that an indexer chooses: this program computes texts of at most \
         indexer_budget positions, of which all are chosen"
            .into(),
    );
    ngram_keys(made)
}

/// Writes the keys of the table of n-grams, if a layer has one. Checkpoints store what is made of the seed as well, and
/// what they store counts.
fn ngram_keys(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    let of = |name: &str, usual: usize| Ok::<_, crate::Error>(config.count(name)?.unwrap_or(usual));
    let list = config.value("ple_layer_ids").and_then(|list| list.as_array()).cloned().unwrap_or_default();
    let mut layers: Vec<i32> =
        list.iter().filter_map(|id| i32::try_from(id.as_u64()?).ok()?.checked_sub(1)).collect();
    layers.sort_unstable();
    layers.dedup();
    let layer = match layers[..] {
        [] => return Ok(()),
        [layer] => layer,
        _ => {
            let what = format!("ple_layer_ids of {} layers; a GGUF file has one table", layers.len());
            return Err(made.unsupported(what));
        }
    };
    let (n_gram, n_each) = (of("ngram_size", 3)?, of("heads_per_ngram", 8)?);
    let n_hash = n_gram.saturating_sub(1).saturating_mul(n_each);
    if n_hash == 0 || n_gram > crate::limits::MAX_NGRAM || n_hash > crate::limits::MAX_NGRAM_HASHES {
        return Err(made.unsupported(format!("ngram_size {n_gram} with heads_per_ngram {n_each}")));
    }
    let n_embd = config.required_count("hidden_size")?;
    made.put(LAYERS, Value::I32s(vec![layer]));
    made.put_count("ple.ngram_size", n_gram)?;
    made.put_count("ple.heads_per_ngram", n_each)?;
    made.put_count("ple.conv_kernel", of("ple_conv_kernel_size", 4)?)?;
    made.put_count("embedding_length_per_layer_input", of("ple_embed_dim", n_embd)? / n_hash)?;
    made.put_count("ple.eos_token_id", end_of(made)?)?;
    if let Some(image) = made.whole.count("image_token_id")? {
        made.put_count("ple.image_token_id", image)?;
    }
    let sizes = primes(of("ngram_vocab_size_base", 20_000_000)? as u64, n_hash);
    let firsts = sizes.iter().scan(0u64, |end, size| {
        let first = *end;
        *end = first.saturating_add(*size);
        Some(first)
    });
    let firsts = firsts.collect();
    let numbers = multipliers(of("vocab_size", 1)? as u64, n_gram, of("seed", 1234)? as u64);
    for (key, name, computed) in [
        (MULTIPLIERS, "layer_multipliers", numbers),
        (FIRST_ROWS, "ngram_heads_offsets", firsts),
        (N_ROWS, "ngram_heads_vocab_sizes", sizes),
    ] {
        let name = format!("model.layers.{layer}.ple.ple_embedding.{name}");
        let stored = made.integers(&name)?.map(|stored| stored.iter().map(|&n| n as u64).collect());
        made.put(key, Value::U64s(stored.unwrap_or(computed)));
    }
    Ok(())
}

/// The token that ends a text: the first, if there are several.
fn end_of(made: &FromConfig<'_>) -> Result<usize> {
    let value = made.config.value("eos_token_id");
    let first = value.and_then(|value| value.as_array().map_or(Some(value), |list| list.first()));
    let id = first.and_then(|id| usize::try_from(id.as_u64()?).ok());
    id.ok_or_else(|| made.unsupported("ple_layer_ids without an eos_token_id".into()))
}

/// The first `n` primes from `least` on.
fn primes(least: u64, n: usize) -> Vec<u64> {
    let is_prime = |n: u64| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    // Far beyond what a table has room for, there is no need to look.
    let least = least.min(crate::limits::MAX_NGRAM_ROWS as u64);
    (least..).filter(|&n| is_prime(n)).take(n).collect()
}

/// What tokens are multiplied with in hashes: odd numbers from a generator (Steele et al. 2014, "SplitMix64"), so small
/// that products fit 63 bits.
fn multipliers(n_vocab: u64, n_gram: usize, seed: u64) -> Vec<u64> {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let half = (i64::MAX as u64 / n_vocab.max(1) / 2).max(1);
    let number = |i: u64| {
        let mut x = seed.wrapping_add(STEP.wrapping_mul(i + 1)).wrapping_add(STEP);
        for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
            x = (x ^ x >> shift).wrapping_mul(factor);
        }
        2 * ((x ^ x >> 31) % half) + 1
    };
    (0..n_gram as u64).map(number).collect()
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let experts = gated_experts(&base)?;
    let hyper = HyperSpec {
        n_embd: base.n_embd,
        n_stream: keys.required_count("hyper_connection.count")?,
        kind: HyperKind::Gated { rank: keys.required_count("hyper_connection.low_rank")?, norm: base.norm },
    };
    let indexer = IndexerSpec {
        n_head: keys.required_count("attention.indexer.head_count")?,
        head_dim: keys.required_count("attention.indexer.key_length")?,
        n_pool: None,
    };
    let mut model = spec_with(&base, HeadOrder::Tiled, |_| FfnSpec::Experts(experts.clone()))?;
    for layer in &mut model.layers {
        layer.mixer_norm = None;
        layer.ffn_input = FfnInput::Sequential(None);
        layer.hyper = Some(hyper);
        match &mut layer.mixer {
            MixerSpec::DeltaNet(delta_net) => delta_net.gate = Gate::Sigmoid,
            MixerSpec::Attention(attention) => attention.indexer = Some(indexer),
            _ => {}
        }
    }
    if let Some((layer, ngram)) = ngram_of(&base, hyper.n_stream)? {
        let layer = model.layers.get_mut(layer).ok_or_else(|| keys.wrong(LAYERS, "layers of the model"))?;
        layer.ngram = Some(ngram);
    }
    model.embed.hyper = Some(HyperEndSpec { hyper, is_mean: false });
    model.head.norm = None;
    let top_k = keys.required_count(TOP_K)?;
    model.max_ctx = Some(top_k);
    model.n_ctx_train = model.n_ctx_train.min(top_k);
    Ok(model)
}

/// The table of n-grams, and the layer that has it.
fn ngram_of(base: &Base<'_>, n_stream: usize) -> Result<Option<(usize, NgramSpec)>> {
    let keys = &base.keys;
    let Some(n_layer) = keys.len(LAYERS)?.filter(|&n| n > 0) else { return Ok(None) };
    if n_layer > 1 {
        return Err(keys.unsupported(format!("{LAYERS} of {n_layer} layers; files have one table")));
    }
    let layer = keys.counts(LAYERS, 1)?.unwrap_or_default()[0];
    let n_gram = keys.required_count("ple.ngram_size")?;
    let n_hash = n_gram.saturating_sub(1).saturating_mul(keys.required_count("ple.heads_per_ngram")?);
    let numbers = |key: &str, n: usize| {
        let mut numbers = keys.u64s(key)?.ok_or_else(|| keys.missing(key))?;
        if numbers.len() < n {
            return Err(keys.wrong(key, &format!("{n} numbers")));
        }
        numbers.truncate(n);
        Ok(numbers)
    };
    let firsts = numbers(FIRST_ROWS, n_hash)?;
    let end = keys.required_count("ple.eos_token_id")?;
    let ngram = NgramSpec {
        n_embd: base.n_embd,
        n_stream,
        n_gram,
        row_len: keys.required_count("embedding_length_per_layer_input")?,
        n_taps: keys.required_count("ple.conv_kernel")?,
        end: u32::try_from(end).map_err(|_| keys.wrong("ple.eos_token_id", "a token"))?,
        multipliers: numbers(MULTIPLIERS, n_gram)?,
        hashes: firsts.into_iter().zip(numbers(N_ROWS, n_hash)?).collect(),
        norm: base.norm,
    };
    Ok(Some((layer, ngram)))
}

/// Norms are stored less one, queries and keys of indexers lie in one matrix, and the table of n-grams in parts.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let made = match slot.id.role {
        Role::PerLayerTokenEmbd => return table(sources, slot).map(Some),
        Role::IndexerQProj | Role::IndexerKProj => {
            let mixer = &sources.spec.layers[slot.id.layer.unwrap_or(0)].mixer;
            let indexer = mixer.attention().and_then(|attention| attention.indexer);
            let n_keys = indexer.map_or(0, |indexer| indexer.head_dim);
            let n_queries = indexer.map_or(0, |indexer| indexer.n_head * indexer.head_dim);
            let first = if slot.id.role == Role::IndexerKProj { n_queries } else { 0 };
            let stride = n_queries + n_keys;
            let rows = RowMap::Strided { first, run: slot.shape[0], stride, pairs: None };
            let name = sources.in_layer(slot, "self_attn.indexer.index_qk_proj.weight");
            let shape = [stride, slot.shape[1]];
            return Ok(Some(Source::whole(slot, vec![name]).with_shape(&shape).with_rows(rows)));
        }
        Role::PleConv => {
            let shape = [slot.shape[0], 1, slot.shape[1]];
            return Ok(plain(sources, slot)?.map(|source| source.with_shape(&shape)));
        }
        _ => super::qwen35::source(sources, slot)?,
    };
    Ok(made.map(|source| match slot.id.role {
        Role::HcHeadNorm
        | Role::HcAttnNorm
        | Role::HcFfnNorm
        | Role::PleNormKey
        | Role::PleNormQuery
        | Role::PleNormConv
        | Role::IndexerQNorm
        | Role::IndexerKNorm
            if sources.dialect == Dialect::Transformers =>
        {
            source.with_values(ValueMap::Plus(1.0))
        }
        _ => source,
    }))
}

/// The table of n-grams, without the rows that fill its parts up.
fn table(sources: &Sources<'_>, slot: &Slot) -> Result<Source> {
    let config = sources.config;
    let has_table = |layer: &LayerSpec| layer.ngram.is_some();
    let layer = sources.spec.layers.iter().position(has_table).unwrap_or(0);
    let stem = format!("{}{layer}.ple.ple_embedding.ngram_embedding", sources.names.layer_prefix);
    let divisor = config.count("make_ngram_vocab_size_divisible_by")?.unwrap_or(128).max(1);
    let n_rows = slot.shape[0].next_multiple_of(divisor);
    let part = n_rows.div_ceil(config.count("split_ngram_parts")?.unwrap_or(512).max(1));
    let piece = |name: String, first: usize, n: usize| Piece {
        names: vec![name],
        shape: vec![n, slot.shape[1]],
        n_rows: n.min(slot.shape[0] - first),
        rows: RowMap::Same,
    };
    let firsts = (0..slot.shape[0]).step_by(part).enumerate();
    let parts =
        firsts.map(|(i, first)| piece(format!("{stem}.shard_{i}.weight"), first, part.min(n_rows - first)));
    let whole = piece(format!("{stem}.weight"), 0, n_rows);
    Ok(Source::Either(
        Box::new(Source::Pieces(parts.collect(), ValueMap::Same)),
        Box::new(Source::Pieces(vec![whole], ValueMap::Same)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_published_configuration() {
        assert_eq!(primes(20_000_000, 3), [20_000_003, 20_000_023, 20_000_033]);
        assert!(multipliers(248_320, 3, 1234).iter().all(|n| n % 2 == 1 && *n < i64::MAX as u64 / 248_320));
    }
}
