//! `minimax-01`: MiniMax Text-01 and M1: attention without a softmax in most layers and with one in every eighth; experts in
//! all. Norms are of the stream itself, which goes on normed, and which is multiplied before parts add to it.

use super::prelude::*;

/// The `minimax-01` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "minimax-01",
    checkpoint_classes: &["MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM", "MiniMaxForCausalLM"],
    model_types: &["minimax", "minimax_text_01", "minimax_m1"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnQkv, "self_attn.qkv_proj"),
            (Role::AttnGate, "self_attn.output_gate"),
            (Role::AttnNorm2, "self_attn.norm"),
            (Role::FfnGateInp, "block_sparse_moe.gate"),
            (Role::FfnGateExps, "block_sparse_moe.experts.{e}.w1"),
            (Role::FfnUpExps, "block_sparse_moe.experts.{e}.w3"),
            (Role::FfnDownExps, "block_sparse_moe.experts.{e}.w2"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// What the stream is multiplied by, and which layers are recurrent.
const RESIDUAL: &str = "residual_scale";
const RECURRENT: &str = "attention.recurrent_layers";

/// Layers to one with a softmax, where files do not say.
const PERIOD: usize = 8;

/// Configurations' names of what multiplies the stream before parts add to it, of transformers and of the publisher.
const ALPHAS: [(&str, &str); 3] = [
    ("full_attn_alpha_factor", "layernorm_full_attention_alpha"),
    ("linear_attn_alpha_factor", "layernorm_linear_attention_alpha"),
    ("mlp_alpha_factor", "layernorm_mlp_alpha"),
];
/// Of what multiplies what parts add.
const BETAS: [(&str, &str); 3] = [
    ("full_attn_beta_factor", "layernorm_full_attention_beta"),
    ("linear_attn_beta_factor", "layernorm_linear_attention_beta"),
    ("mlp_beta_factor", "layernorm_mlp_beta"),
];

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("postnorm", true, false)?;
    let config = made.config;
    if config.count("shared_intermediate_size")?.is_some_and(|n| n > 0) {
        return Err(made.unsupported("shared_intermediate_size; the minimax-01 architecture has none".into()));
    }
    let number = |(name, other): (&str, &str)| {
        let own = config.f32(other)?;
        Ok::<_, crate::Error>(own.or(config.f32(name)?).unwrap_or(1.0))
    };
    let alpha = number(ALPHAS[0])?;
    for (names, expected) in
        ALPHAS.map(|names| (names, alpha)).into_iter().chain(BETAS.map(|names| (names, 1.0)))
    {
        let found = number(names)?;
        if found != expected {
            let what = format!("{} {found}; in the minimax-01 architecture it is {expected}", names.0);
            return Err(made.unsupported(what));
        }
    }
    made.base(&Defaults { eps: 1e-5, freq_base: 1e6, partial: Partial::Allowed(1.0), ..Defaults::RMS })?;
    if let Some(n_rot) = config.count("rotary_dim")? {
        made.replace_count("rope.dimension_count", n_rot)?;
    }
    made.experts(&["num_local_experts"])?;
    made.put(RESIDUAL, Value::F32(alpha));
    let n_layer = made.n_layer()?;
    let recurrent: Vec<bool> = match (config.strings("layer_types")?, config.f32s("attn_type_list")?) {
        (Some(kinds), _) => kinds.iter().map(|kind| *kind == "linear_attention").collect(),
        (None, Some(kinds)) => kinds.iter().map(|&kind| kind == 0.0).collect(),
        (None, None) => (0..n_layer).map(|i| i % 2 == 1).collect(),
    };
    if recurrent.len() != n_layer {
        return Err(made.unsupported(format!("kinds of {} layers, of {n_layer}", recurrent.len())));
    }
    made.put(RECURRENT, Value::Bools(recurrent));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let alpha = keys.f32(RESIDUAL)?.filter(|&alpha| alpha != 0.0).unwrap_or(1.0);
    let experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    let period = keys.count("full_attention_interval")?.unwrap_or(PERIOD).max(1);
    let recurrent = match keys.bools(RECURRENT, base.n_layer)? {
        Some(recurrent) => recurrent,
        None => (0..base.n_layer).map(|i| (i + 1) % period != 0).collect(),
    };
    // What parts add is divided instead of multiplying the stream, which norms bring to the same.
    let scaled = NormSpec { eps: base.norm.eps / (alpha * alpha), ..base.norm };
    let layer = |i: usize| {
        let mut layer = base.layer_of(base.attention(i), FfnSpec::Experts(experts.clone()));
        if recurrent[i] {
            layer.mixer = MixerSpec::Lightning(LightningSpec {
                n_embd: base.n_embd,
                n_head: base.n_head[i],
                head_dim: base.head_dim_k,
                pace: 1.0 - i as f32 / (base.n_layer - 1).max(1) as f32 + 1e-5,
                // This norm has an epsilon of its own, which configurations do not say.
                norm: NormSpec { eps: 1e-6, ..base.norm },
            });
        }
        layer.norms_stream = true;
        layer.residual_scale = 1.0 / alpha;
        layer.mixer_norm = Some(if i == 0 { base.norm } else { scaled });
        layer.ffn_input = FfnInput::Sequential(Some(scaled));
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.head.norm = Some(scaled);
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let layer = slot.id.layer.map(|i| &sources.spec.layers[i].mixer);
    let is_recurrent = matches!(layer, Some(MixerSpec::Lightning(_)));
    match slot.id.role {
        Role::AttnOutput if is_recurrent => {
            Ok(Some(Source::whole(slot, vec![sources.in_layer(slot, "self_attn.out_proj.weight")])))
        }
        Role::AttnQkv if !is_recurrent => Ok(None),
        _ => plain(sources, slot),
    }
}
