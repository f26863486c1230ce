//! `rwkv6`: RWKV-6: layers without attention, whose inputs say how far they are mixed with those of the position before.
//! What `rwkv6qwen2` has of it is here too.

use super::prelude::*;

/// The `rwkv6` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "rwkv6",
    checkpoint_classes: &["Rwkv6ForCausalLM"],
    model_types: &["rwkv6"],
    keys,
    spec,
    names: Names {
        base_prefix: "rwkv.",
        layer_prefix: "rwkv.blocks.",
        other: &[
            (Role::TokenEmbd, "rwkv.embeddings"),
            (Role::TokenEmbdNorm, "rwkv.blocks.0.pre_ln"),
            (Role::OutputNorm, "rwkv.ln_out"),
            (Role::Output, "head"),
            (Role::AttnNorm, "ln1"),
            (Role::AttnNorm2, "ln2"),
            (Role::TimeMixReceptance, "attention.receptance"),
            (Role::TimeMixKey, "attention.key"),
            (Role::TimeMixValue, "attention.value"),
            (Role::TimeMixGate, "attention.gate"),
            (Role::TimeMixOutput, "attention.output"),
            (Role::TimeMixLn, "attention.ln_x"),
            (Role::ChannelMixKey, "feed_forward.key"),
            (Role::ChannelMixReceptance, "feed_forward.receptance"),
            (Role::ChannelMixValue, "feed_forward.value"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// The context of files of models that see no positions: far more than any text has.
const N_CTX: usize = 1 << 20;

/// The width of models whose narrow vectors are twice as wide.
const WIDE: usize = 4096;

/// The key of the layers after which the stream is halved.
const RESCALE: &str = "rescale_every_n_layers";

/// Writes the keys of both architectures.
pub(super) fn shared_keys(made: &mut FromConfig<'_>, is_wide: bool) -> Result<()> {
    made.put_count("context_length", N_CTX)?;
    made.count("block_count", "num_hidden_layers")?;
    made.count("embedding_length", "hidden_size")?;
    // Readers expect it.
    made.put_count("attention.head_count", 0)?;
    made.count("vocab_size", "vocab_size")?;
    let times = if is_wide { 2 } else { 1 };
    for (key, name, default) in [
        ("time_mix_extra_dim", "lora_rank_tokenshift", 32 * times),
        ("time_decay_extra_dim", "lora_rank_decay", 64 * times),
    ] {
        let n = made.config.count(name)?.unwrap_or(default);
        made.put_count(key, n)?;
    }
    Ok(())
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let n_embd = made.config.required_count("hidden_size")?;
    if made.config.count("attention_hidden_size")?.is_some_and(|n| n != n_embd) {
        return Err(made.unsupported("attention_hidden_size; it must be hidden_size".into()));
    }
    if made.config.count("head_size_divisor")?.is_some_and(|n| n != 8) {
        return Err(made.unsupported("head_size_divisor; it must be 8".into()));
    }
    shared_keys(made, n_embd == WIDE)?;
    let head_dim = made.config.count("head_size")?.unwrap_or(64);
    made.put_count("wkv.head_size", head_dim)?;
    made.f32_or("attention.layer_norm_epsilon", "layer_norm_epsilon", 1e-5)?;
    made.put_count(RESCALE, made.config.count("rescale_every")?.unwrap_or(6))?;
    let n_ff = made.config.count("intermediate_size")?.unwrap_or(n_embd.saturating_mul(7) / 64 * 32);
    made.put_count("feed_forward_length", n_ff)
}

/// The time mix that keys tell of.
pub(super) fn mixer(base: &Base<'_>) -> Result<Rwkv6Spec> {
    let keys = &base.keys;
    let head_dim = keys.required_count("wkv.head_size")?;
    let n_head = base.n_embd.checked_div(head_dim).unwrap_or(0);
    let n_head_kv = keys.count("attention.head_count_kv")?.filter(|&n| n > 0).unwrap_or(n_head);
    Ok(Rwkv6Spec {
        n_embd: base.n_embd,
        head_dim,
        n_head_kv,
        mix_rank: keys.required_count("time_mix_extra_dim")?,
        decay_rank: keys.required_count("time_decay_extra_dim")?,
        head_norm: None,
        channel: None,
    })
}

/// Of the norms of heads' outputs: 1e-5 times the square of `head_size_divisor`.
const HEAD_EPS: f32 = 64e-5;

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::ReluSquared)?;
    let head_norm = NormSpec { kind: NormKind::Layer, eps: HEAD_EPS, has_weight: true, is_bare: false };
    let mixer = Rwkv6Spec { head_norm: Some(head_norm), ..mixer(&base)? };
    let every = keys.count(RESCALE)?.unwrap_or(0);
    // Files have the weights for a stream that is halved after every so many layers. This stream is not: what is added
    // to it is doubled instead, and the epsilons of its norms, which are of squares, are four times as large.
    let doubled = |i: usize| 2f32.powi(i.checked_div(every).unwrap_or(0).min(MAX_HALVINGS) as i32);
    let norm = |i: usize| NormSpec { eps: base.norm.eps * doubled(i) * doubled(i), ..base.norm };
    let layer = |i: usize| {
        let channel = ChannelMixSpec { norm: norm(i), n_ff: base.n_ff[i], has_receptance: true };
        LayerSpec {
            mixer: MixerSpec::Rwkv6(Rwkv6Spec { channel: Some(channel), ..mixer }),
            mixer_norm: Some(norm(i)),
            ffn_input: FfnInput::Sequential(None),
            residual_scale: doubled(i),
            ..base.layer_of(AttentionSpec::plain(base.n_embd, 1, 1, 1), FfnSpec::None)
        }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    model.embed.norm = Some(base.norm);
    model.head.norm = Some(norm(base.n_layer));
    Ok(model)
}

/// More than files of sixty layers have, and few enough for floats.
const MAX_HALVINGS: usize = 60;

/// The roles of mixtures' rates.
const RATES: [(Role, &str); 3] = [
    (Role::TimeMixLerpX, "attention.time_maa_x"),
    (Role::ChannelMixLerpK, "feed_forward.time_maa_k"),
    (Role::ChannelMixLerpR, "feed_forward.time_maa_r"),
];

/// What mixtures are called, in the order of GGUF.
pub(super) const MIXTURES: [&str; 5] = ["w", "k", "v", "r", "g"];

/// A matrix that is turned there: `[n_in, n_out]`.
pub(super) fn turned(slot: &Slot, name: String) -> Source {
    let (n_out, n_in) = (slot.shape[slot.shape.len() - 2], slot.shape[slot.shape.len() - 1]);
    let outer = &slot.shape[..slot.shape.len() - 2];
    let rows = RowMap::Columns { n_out, n_cols: n_out, first: 0, step: 1, skipped: 0 };
    Source::whole(slot, vec![name]).with_shape(&[outer, &[n_in, n_out]].concat()).with_rows(rows)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let of = |name: &str| sources.in_layer(slot, name);
    let rate = |name: &str, n: usize| Source::whole(slot, vec![of(name)]).with_shape(&[1, 1, n]);
    if let Some((_, name)) = RATES.iter().find(|(role, _)| *role == slot.id.role) {
        return Ok(Some(rate(name, slot.shape[0])));
    }
    Ok(Some(match slot.id.role {
        Role::TimeMixLerp => {
            let names = MIXTURES.iter().map(|mixture| of(&format!("attention.time_maa_{mixture}")));
            Source::stacked(slot, names)
        }
        Role::TimeMixDecay => rate("attention.time_decay", slot.shape[0]),
        Role::TimeMixFirst => Source::whole(slot, vec![of("attention.time_faaaa")]),
        Role::TimeMixW1 => turned(slot, of("attention.time_maa_w1")),
        Role::TimeMixW2 => turned(slot, of("attention.time_maa_w2")),
        Role::TimeMixDecayW1 => turned(slot, of("attention.time_decay_w1")),
        Role::TimeMixDecayW2 => turned(slot, of("attention.time_decay_w2")),
        Role::TimeMixOutput | Role::ChannelMixValue => {
            // Where the stream is halved, so is what is added to it.
            let every = sources.config.count("rescale_every")?.unwrap_or(6);
            let halvings = slot.id.layer.and_then(|i| i.checked_div(every)).unwrap_or(0).min(MAX_HALVINGS);
            let scaled = ValueMap::Times(0.5f32.powi(halvings as i32));
            return Ok(plain(sources, slot)?.map(|source| source.with_values(scaled)));
        }
        _ => return plain(sources, slot),
    }))
}
