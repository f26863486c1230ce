//! `talkie`: Talkie: norms without weights, of heads behind the rotation too; stored numbers multiply what the parts of a
//! layer add, and the embedding, which every layer adds again.

use super::prelude::*;

/// The `talkie` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "talkie",
    checkpoint_classes: &["TalkieForCausalLM"],
    model_types: &["talkie"],
    keys,
    spec,
    names: Names {
        layer_prefix: "model.blocks.",
        other: &[
            (Role::AttnQ, "attn.attn_query"),
            (Role::AttnK, "attn.attn_key"),
            (Role::AttnV, "attn.attn_value"),
            (Role::AttnOutput, "attn.attn_resid"),
            (Role::FfnGate, "mlp.mlp_gate"),
            (Role::FfnUp, "mlp.mlp_linear"),
            (Role::FfnDown, "mlp.mlp_resid"),
        ],
        in_keys: &[LOGIT_GAIN],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// What multiplies the logits.
const LOGIT_GAIN: &str = "lm_head_gain.w_g";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    // Its norms have the epsilon of single precision.
    made.base(&Defaults { eps: f32::EPSILON, ..Defaults::RMS })?;
    let scale = made.scalar("logit_scale", LOGIT_GAIN)?;
    made.put("logit_scale", Value::F32(scale));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    base.norm.has_weight = false;
    let (extent, norm) = (QkNormExtent::QueryGain, base.norm);
    let layer = |i: usize| LayerSpec {
        stored_scale: Some(StoredScale::Embedding),
        has_gains: true,
        ..base.layer(i, |attention| {
            attention.qk_norm = Some(QkNormSpec { norm, extent, is_after_rope: true, is_optional: false });
        })
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.embed.norm = Some(base.norm);
    model.head.scale = keys.required_f32("logit_scale")?;
    Ok(model)
}

/// Heads turn the other way than in GGUF: their second halves change sign.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let name = match (slot.id.role, slot.id.suffix) {
        (Role::AttnQ | Role::AttnK, Suffix::Weight) => {
            let heads = sources.spec.layers[0].mixer.attention();
            let values = heads.map(|heads| ValueMap::NegatedHalves { head_dim: heads.head_dim_k });
            let source = plain(sources, slot)?;
            return Ok(source.map(|source| source.with_values(values.unwrap_or(ValueMap::Same))));
        }
        (Role::TokenEmbd, _) => "model.embed",
        (Role::Output, Suffix::Weight) => "lm_head",
        (Role::AttnQNorm, _) => "attn.head_gain.head_g",
        (Role::LayerOutputScale, _) => "embed_skip.a_g",
        (Role::AttnOutput, Suffix::Scale) => "attn_gain.a_g",
        (Role::FfnDown, Suffix::Scale) => "mlp_gain.a_g",
        _ => return plain(sources, slot),
    };
    let name = sources.in_layer(slot, name);
    let source = Source::whole(slot, vec![format!("{name}.weight"), name]);
    // There it is a vector.
    let is_gain = slot.id.role == Role::AttnQNorm;
    Ok(Some(if is_gain { source.with_shape(&slot.shape[..1]) } else { source }))
}
