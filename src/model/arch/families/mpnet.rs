//! `mpnet`: MPNet: RoBERTa whose scores also depend on how far a key lies from the query, by a table of buckets that all
//! layers share. llama.cpp has no such architecture: the name is this program's own, the key of the buckets and the
//! table's name are those of T5.

use super::bert;
use super::prelude::*;

/// All keys from this distance on have the same bucket; configurations do not say.
const MAX_DISTANCE: usize = 128;

/// Buckets, of which transformers' class takes so many whatever a configuration says.
const N_BUCKETS: usize = 32;

/// The row of the first position: the padding token of its code, whatever a configuration calls it, and one.
const FIRST_POSITION: usize = 2;

/// What tensors are called inside classes with a head.
const PREFIX: &str = "mpnet.";

/// The `mpnet` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "mpnet",
    checkpoint_classes: &["MPNetModel", "MPNetForMaskedLM", "MPNetForSequenceClassification"],
    model_types: &["mpnet"],
    keys,
    spec,
    names: Names {
        base_prefix: PREFIX,
        layer_prefix: "encoder.layer.",
        other: &[
            (Role::TokenEmbd, "embeddings.word_embeddings"),
            (Role::PositionEmbd, "embeddings.position_embeddings"),
            (Role::TokenEmbdNorm, "embeddings.LayerNorm"),
            (Role::AttnQ, "attention.attn.q"),
            (Role::AttnK, "attention.attn.k"),
            (Role::AttnV, "attention.attn.v"),
            (Role::AttnOutput, "attention.attn.o"),
            (Role::AttnOutputNorm, "attention.LayerNorm"),
            (Role::FfnUp, "intermediate.dense"),
            (Role::FfnDown, "output.dense"),
            (Role::LayerOutputNorm, "output.LayerNorm"),
        ],
        left_out: &["pooler.", "lm_head.", "embeddings.position_ids"],
        ..Names::PLAIN
    },
    source: |sources, slot| match slot.id.role {
        Role::AttnRelB => {
            let name = format!("{PREFIX}encoder.relative_attention_bias.weight");
            Ok(Some(Source::whole(slot, vec![name])))
        }
        _ => bert::source(sources, slot, PREFIX, FIRST_POSITION),
    },
    promises: |_| Ok(encoder::promises(true)),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "gelu", &["gelu"])?;
    made.refuse_number("relative_attention_num_buckets", N_BUCKETS as f32)?;
    made.base(&Defaults { eps: 1e-12, ..Defaults::LAYER })?;
    let n_ctx = made.config.required_count("max_position_embeddings")?;
    made.replace_count("context_length", n_ctx.saturating_sub(FIRST_POSITION))?;
    made.put_count("attention.relative_buckets_count", N_BUCKETS)?;
    encoder::keys(made, 0)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluErf)?;
    let n_buckets = keys.required_count("attention.relative_buckets_count")?;
    let relative = Some(RelativeSpec { n_buckets, max_distance: MAX_DISTANCE, layer: 0 });
    let layer = |i| {
        let attention = AttentionSpec { rope: None, relative, ..base.attention(i) };
        base.layer_of(attention, FfnSpec::Dense(base.ffn(i)))
    };
    let mut model = encoder::bert(&base, (0..base.n_layer).map(layer).collect())?;
    model.embed.n_positions = Some(model.n_ctx_train);
    model.ropes.clear();
    Ok(model)
}
