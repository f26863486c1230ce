//! `rwkv7`: RWKV-7: layers without attention, whose time mix and channel mix look at the position before and at matrices
//! that decay. What `arwkv7` has of it is here too.

use super::prelude::*;

/// The `rwkv7` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "rwkv7",
    checkpoint_classes: &["RWKV7ForCausalLM", "Rwkv7ForCausalLM"],
    model_types: &["rwkv7"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TokenEmbd, "model.embeddings"),
            (Role::TokenEmbdNorm, "model.layers.0.pre_norm"),
            (Role::AttnNorm, "attn_norm"),
            (Role::AttnNorm2, "ffn_norm"),
            (Role::TimeMixReceptance, "attn.r_proj"),
            (Role::TimeMixKey, "attn.k_proj"),
            (Role::TimeMixValue, "attn.v_proj"),
            (Role::TimeMixOutput, "attn.o_proj"),
            (Role::TimeMixLn, "attn.g_norm"),
            (Role::ChannelMixKey, "ffn.key"),
            (Role::ChannelMixValue, "ffn.value"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// The context of files of models that see no positions: far more than any text has.
const N_CTX: usize = 1 << 20;

/// What a narrow vector's width is where a configuration is silent: a power of the stream's width, times a factor, in
/// steps of 32.
fn default_rank(n_embd: usize, (power, factor): (f64, f64)) -> usize {
    let steps = (libm::pow(n_embd as f64, power) * factor / 32.0).round_ties_even();
    (steps as usize).max(1) * 32
}

/// Writes the keys of both architectures.
pub(super) fn shared_keys(made: &mut FromConfig<'_>, ranks: [usize; 4]) -> Result<()> {
    made.put_count("context_length", N_CTX)?;
    made.count("block_count", "num_hidden_layers")?;
    made.count("embedding_length", "hidden_size")?;
    // Readers expect it.
    made.put_count("attention.head_count", 0)?;
    made.count("vocab_size", "vocab_size")?;
    made.count("wkv.head_size", made.first_of(&["head_dim", "head_size"]))?;
    let keys = ["decay_lora_rank", "iclr_lora_rank", "value_residual_mix_lora_rank", "gate_lora_rank"];
    for (key, rank) in keys.into_iter().zip(ranks) {
        made.put_count(&format!("attention.{key}"), rank)?;
    }
    Ok(())
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "sqrelu", &["sqrelu"])?;
    made.refuse("norm_bias", true, false)?;
    if made.config.value("attn").is_some_and(|attn| !attn.is_null()) {
        return Err(
            made.unsupported("attn: layers of attention, which the rwkv7 architecture has not".into())
        );
    }
    let n_embd = made.config.required_count("hidden_size")?;
    let mut ranks = [0; 4];
    let names = ["decay_low_rank_dim", "a_low_rank_dim", "v_low_rank_dim", "gate_low_rank_dim"];
    let defaults = [(0.5, 1.8), (0.5, 1.8), (0.5, 1.3), (0.8, 0.6)];
    for ((rank, name), default) in ranks.iter_mut().zip(names).zip(defaults) {
        *rank = made.config.count(name)?.unwrap_or_else(|| default_rank(n_embd, default));
    }
    shared_keys(made, ranks)?;
    made.f32_or("attention.layer_norm_epsilon", "norm_eps", 1e-5)?;
    let n_ff = made.config.count("intermediate_size")?.unwrap_or(n_embd.saturating_mul(4));
    made.put_count("feed_forward_length", n_ff)
}

/// The time mix of a layer that `base` tells of.
pub(super) fn mixer(base: &Base<'_>) -> Result<Rwkv7Spec> {
    let keys = &base.keys;
    Ok(Rwkv7Spec {
        n_embd: base.n_embd,
        head_dim: keys.required_count("wkv.head_size")?,
        ranks: RwkvRanks {
            decay: keys.required_count("attention.decay_lora_rank")?,
            rate: keys.required_count("attention.iclr_lora_rank")?,
            value: keys.required_count("attention.value_residual_mix_lora_rank")?,
            gate: keys.count("attention.gate_lora_rank")?.unwrap_or(0),
        },
        is_first: false,
        head_norm: Some(NormSpec { kind: NormKind::Layer, eps: HEAD_EPS, has_weight: true, is_bare: false }),
        channel: None,
    })
}

/// Of the norms of heads' outputs, which no configuration says.
const HEAD_EPS: f32 = 64e-5;

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::ReluSquared)?;
    let mixer = mixer(&base)?;
    let layer = |i: usize| {
        let channel = Some(ChannelMixSpec { norm: base.norm, n_ff: base.n_ff[i], has_receptance: false });
        LayerSpec {
            mixer: MixerSpec::Rwkv7(Rwkv7Spec { is_first: i == 0, channel, ..mixer }),
            ffn_input: FfnInput::Sequential(None),
            ..base.layer_of(AttentionSpec::plain(base.n_embd, 1, 1, 1), FfnSpec::None)
        }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    model.embed.norm = Some(base.norm);
    Ok(model)
}

/// What mixtures are called, in the order of GGUF.
pub(super) const MIXTURES: [&str; 6] = ["r", "w", "k", "v", "a", "g"];

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let of = |name: &str| sources.in_layer(slot, name);
    // The first layer has no values of another, and other programs ask for something in their place.
    let is_first = slot.id.layer == Some(0);
    let share = if is_first { "a" } else { "v" };
    let name = match slot.id.role {
        Role::TimeMixLerp => {
            let apart = MIXTURES.iter().take(slot.shape[0]).map(|mixture| of(&format!("attn.x_{mixture}")));
            let whole = Source::whole(slot, vec![of("attn.x_x")]);
            let whole = whole.with_shape(&[slot.shape[0], slot.shape[3]]);
            return Ok(Some(Source::Either(Box::new(Source::stacked(slot, apart)), Box::new(whole))));
        }
        Role::TimeMixW0 => "attn.w_lora.lora.2.bias",
        Role::TimeMixW1 => "attn.w_lora.lora.0.weight",
        Role::TimeMixW2 => "attn.w_lora.lora.2.weight",
        Role::TimeMixA0 => "attn.a_lora.lora.2.bias",
        Role::TimeMixA1 => "attn.a_lora.lora.0.weight",
        Role::TimeMixA2 => "attn.a_lora.lora.2.weight",
        Role::TimeMixV0 => &format!("attn.{share}_lora.lora.2.bias"),
        Role::TimeMixV1 => &format!("attn.{share}_lora.lora.0.weight"),
        Role::TimeMixV2 => &format!("attn.{share}_lora.lora.2.weight"),
        Role::TimeMixG1 => "attn.g_lora.lora.0.weight",
        Role::TimeMixG2 => "attn.g_lora.lora.2.weight",
        Role::TimeMixKK => "attn.k_k",
        Role::TimeMixKA => "attn.k_a",
        Role::TimeMixRK => "attn.r_k",
        Role::ChannelMixLerpK => "ffn.x_k",
        _ => return plain(sources, slot),
    };
    let source = Source::whole(slot, vec![of(name)]);
    let MixerSpec::Rwkv7(mixer) = sources.spec.layers[0].mixer else { return Ok(Some(source)) };
    let by_head = slot.id.role == Role::TimeMixRK;
    Ok(Some(if by_head { source.with_shape(&[mixer.n_head(), mixer.head_dim]) } else { source }))
}
