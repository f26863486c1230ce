//! `plamo`: PLaMo 13B: parallel parts with one norm; checkpoints have the heads that share keys apart, GGUF beside each
//! other.

use super::prelude::*;

/// The `plamo` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "plamo",
    checkpoint_classes: &["PlamoForCausalLM"],
    model_types: &["plamo"],
    keys,
    spec,
    names: Names { layer_prefix: "model.layers.layers.", other: &[(Role::AttnNorm, "norm")], ..Names::PLAIN },
    source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.base(&Defaults { n_ctx: 4096, n_head_kv_name: "", ..Defaults::RMS })?;
    let n_head = made.config.required_count("num_attention_heads")?;
    let n_shared = made.config.count("n_shared_head")?.unwrap_or(8);
    let n_kv = n_head.checked_div(n_shared).unwrap_or(0);
    made.replace_count("attention.head_count_kv", n_kv)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let layer = |i| LayerSpec { ffn_input: FfnInput::Shared, ..base.layer(i, |_| {}) };
    base.model((0..base.n_layer).map(layer).collect())
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let source = plain(sources, slot)?;
    let attention = slot.id.layer.and_then(|layer| sources.spec.layers[layer].mixer.attention());
    let Some(attention) = attention else { return Ok(source) };
    let (head_dim, n_group, group) = (attention.head_dim_k, attention.group(), attention.n_head_kv);
    let rows = match slot.id.role {
        Role::AttnQ => RowMap::Tiled { first: 0, head_dim, n_group, group },
        Role::AttnOutput => RowMap::TiledColumns { head_dim, n_group, group },
        _ => return Ok(source),
    };
    Ok(source.map(|source| source.with_rows(rows)))
}
