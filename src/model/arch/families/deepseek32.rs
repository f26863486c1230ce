//! `deepseek32`: DeepSeek V3.2: DeepSeek V3 whose layers attend to the positions that an indexer chooses. Within as many as
//! it chooses that is attention to all, and longer texts are refused. What `glm-dsa` has of it is here too.

use super::prelude::*;

/// The `deepseek32` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "deepseek32",
    checkpoint_classes: &["DeepseekV32ForCausalLM"],
    model_types: &["deepseek_v32"],
    keys,
    spec,
    names: super::deepseek2::NAMES,
    source: super::deepseek2::source,
    promises,
};

/// How many positions are chosen.
const TOP_K: &str = "attention.indexer.top_k";

/// Writes the keys of the indexer.
pub(super) fn indexer_keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.count("attention.indexer.head_count", "index_n_heads")?;
    made.count("attention.indexer.key_length", "index_head_dim")?;
    made.count(TOP_K, "index_topk")?;
    made.note(
        "layers attend to positions that an indexer chooses: this program computes texts of at most index_topk \
         positions, of which all are chosen"
            .into(),
    );
    Ok(())
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("attention_bias", false, true)?;
    super::deepseek2::keys_with(made, &Defaults::RMS)?;
    indexer_keys(made)
}

/// A model of `deepseek2` with an indexer.
pub(super) fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut model = super::deepseek2::spec(keys)?;
    let indexer = IndexerSpec {
        n_head: keys.required_count("attention.indexer.head_count")?,
        head_dim: keys.required_count("attention.indexer.key_length")?,
        n_pool: None,
    };
    let top_k = keys.required_count(TOP_K)?;
    for layer in &mut model.layers {
        if let MixerSpec::Mla(mla) = &mut layer.mixer {
            mla.indexer = Some(indexer);
        }
    }
    model.max_ctx = Some(top_k);
    model.n_ctx_train = model.n_ctx_train.min(top_k);
    Ok(model)
}
