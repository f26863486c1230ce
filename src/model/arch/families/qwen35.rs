//! `qwen35`: Qwen 3.5 to 3.8: Qwen3-Next's mixers with dense feed-forward parts. GGUF has the value heads of one key
//! head apart, so that those of all key heads follow each other.

use super::prelude::*;
use super::qwen3next::{DEFAULTS, NAMES, common_source, delta_keys, delta_net_of, spec_with};

/// The `qwen35` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen35",
    checkpoint_classes: &["Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"],
    model_types: &["qwen3_5", "qwen3_5_text"],
    keys: |made| {
        made.base(&DEFAULTS)?;
        super::qwen2vl::sections(made, SECTIONS)?;
        delta_keys(made)
    },
    spec,
    names: NAMES,
    source,
    promises,
};

/// How many frequencies time, height and width have where a configuration is silent; of text all three are the position.
pub(super) const SECTIONS: [i32; 3] = [11, 11, 10];

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    spec_with(&base, HeadOrder::Tiled, |i| FfnSpec::Gated(base.ffn(i)))
}

/// Brings value heads from the order of their key heads to GGUF's.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let Some(spec) = delta_net_of(sources, slot) else { return common_source(sources, slot) };
    let (n_group, group) = (spec.n_head_k, spec.n_head_v / spec.n_head_k);
    let tiled = |first: usize, head_dim: usize| RowMap::Tiled { first, head_dim, n_group, group };
    let n_keys = 2 * spec.n_keys();
    let rows = match slot.id.role {
        Role::AttnQkv | Role::SsmConv => {
            let name = if slot.id.role == Role::SsmConv { "conv1d" } else { "in_proj_qkv" };
            let shape = match slot.id.role {
                Role::SsmConv => vec![slot.shape[0], 1, slot.shape[1]],
                _ => slot.shape.clone(),
            };
            let piece = |n_rows: usize, rows: RowMap| Piece {
                names: vec![sources.in_layer(slot, &format!("linear_attn.{name}.weight"))],
                shape: shape.clone(),
                n_rows,
                rows,
            };
            let values = piece(spec.n_values(), tiled(n_keys, spec.head_dim_v));
            return Ok(Some(Source::Pieces(vec![piece(n_keys, RowMap::Same), values], ValueMap::Same)));
        }
        Role::AttnGate => tiled(0, spec.head_dim_v),
        Role::SsmBeta | Role::SsmAlpha | Role::SsmA | Role::SsmDt => tiled(0, 1),
        Role::SsmOut => RowMap::TiledColumns { head_dim: spec.head_dim_v, n_group, group },
        _ => return common_source(sources, slot),
    };
    Ok(common_source(sources, slot)?.map(|source| source.with_rows(rows)))
}
