//! `lfm2`: Liquid AI's LFM2: gated short convolutions, and attention with normed heads in some layers.

use super::prelude::*;

/// The `lfm2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "lfm2",
    checkpoint_classes: &[
        "Lfm2ForCausalLM",
        "LFM2ForCausalLM",
        "Lfm2Model",
        BIDIRECTIONAL,
        "Lfm2VlForConditionalGeneration",
    ],
    model_types: &["lfm2", "lfm2_vl"],
    keys,
    spec,
    names: NAMES,
    source,
    promises,
};

/// The class whose positions see those on both sides, for embeddings.
const BIDIRECTIONAL: &str = "Lfm2BidirectionalModel";

/// The names of both LFM2 families.
pub(super) const NAMES: Names = Names {
    other: &[
        // GGUF calls the last norm by the name of one behind the embedding.
        (Role::TokenEmbdNorm, "model.embedding_norm"),
        (Role::AttnNorm, "operator_norm"),
        (Role::AttnOutput, "self_attn.out_proj"),
        (Role::AttnQNorm, "self_attn.q_layernorm"),
        (Role::AttnKNorm, "self_attn.k_layernorm"),
        (Role::ShortConvInput, "conv.in_proj"),
        (Role::ShortConvConv, "conv.conv"),
        (Role::ShortConvOutput, "conv.out_proj"),
        (Role::FfnNorm, "ffn_norm"),
        (Role::FfnGate, "feed_forward.w1"),
        (Role::FfnUp, "feed_forward.w3"),
        (Role::FfnDown, "feed_forward.w2"),
        (Role::FfnGateInp, "feed_forward.gate"),
        (Role::FfnGateExps, "feed_forward.experts.{e}.w1"),
        (Role::FfnUpExps, "feed_forward.experts.{e}.w3"),
        (Role::FfnDownExps, "feed_forward.experts.{e}.w2"),
    ],
    ..Names::PLAIN
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    common_keys(made, made.first_of(&["intermediate_size", "block_ff_dim"]))?;
    let config = made.config;
    if config.strings("architectures")?.is_some_and(|classes| classes.contains(&BIDIRECTIONAL)) {
        made.put("attention.causal", Value::Bool(false));
    }
    if config.bool("block_auto_adjust_ff_dim")?.unwrap_or(true) {
        let n_ff = config.required_count(made.first_of(&["intermediate_size", "block_ff_dim"]))?;
        let times = config.f32("block_ffn_dim_multiplier")?.unwrap_or(1.0);
        let multiple = config.count("block_multiple_of")?.unwrap_or(256).max(1);
        let n_ff = (f64::from(times) * (n_ff / 3 * 2 + n_ff % 3 * 2 / 3) as f64) as usize;
        made.replace_count("feed_forward_length", n_ff.div_ceil(multiple).saturating_mul(multiple))?;
    }
    Ok(())
}

/// The keys that both LFM2 families have; the configuration calls the width of feed-forward parts `n_ff_name`.
pub(super) fn common_keys(made: &mut FromConfig<'_>, n_ff_name: &'static str) -> Result<()> {
    made.refuse("conv_bias", false, true)?;
    made.base(&Defaults { n_ff_name, eps: 1e-5, eps_name: "norm_eps", freq_base: 1e6, ..Defaults::RMS })?;
    let config = made.config;
    let n_layer = made.n_layer()?;
    let has_attention: Vec<bool> = match config.strings("layer_types")? {
        Some(types) => types.iter().map(|kind| *kind != "conv").collect(),
        None => {
            let indices = config.value("full_attn_idxs").and_then(|list| list.as_array());
            let is_there = |i: usize| indices.is_none_or(|list| list.iter().any(|index| index == i));
            (0..n_layer).map(is_there).collect()
        }
    };
    let n_head_kv = config.required_count("num_key_value_heads")?;
    let counts = has_attention.iter().map(|has| if *has { n_head_kv } else { 0 });
    made.replace_counts("attention.head_count_kv", counts)?;
    made.put_count("shortconv.l_cache", config.count("conv_L_cache")?.unwrap_or(3))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    spec_with(&base, |i| FfnSpec::Gated(base.ffn(i)))
}

/// A model whose layers have these feed-forward parts.
pub(super) fn spec_with(base: &Base<'_>, ffn: impl Fn(usize) -> FfnSpec) -> Result<ModelSpec> {
    let n_taps = base.keys.required_count("shortconv.l_cache")?;
    let conv = ShortConvSpec { n_embd: base.n_embd, n_taps, is_centred: false };
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        let mut layer = base.layer_of(attention, ffn(i));
        if base.n_head_kv[i] == 0 {
            layer.mixer = MixerSpec::ShortConv(conv);
        }
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.head.norm_role = Role::TokenEmbdNorm;
    Ok(model)
}

/// The convolution has a dimension more than in GGUF.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let source = plain(sources, slot)?;
    if slot.id.role == Role::ShortConvConv {
        return Ok(source.map(|source| source.with_shape(&[slot.shape[0], 1, slot.shape[1]])));
    }
    Ok(source)
}

/// A head of its own only if the configuration says so.
pub(super) fn promises(config: &Config) -> Result<Promises> {
    let is_tied = match config.bool("tie_embedding")? {
        Some(is_tied) => is_tied,
        None => config.bool("tie_word_embeddings")?.unwrap_or(true),
    };
    Ok(Promises { is_tied: Some(is_tied), ..crate::model::arch::config::promises(config)? })
}
