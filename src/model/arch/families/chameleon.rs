//! `chameleon`: Meta's Chameleon, as far as it writes text: Llama with norms of heads by mean and deviation, and in the
//! larger model norms behind the parts. Its tokens of images are never written: their logits are the least of all.

use super::prelude::*;

/// The `chameleon` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "chameleon",
    checkpoint_classes: &["ChameleonForConditionalGeneration", "ChameleonForCausalLM"],
    model_types: &["chameleon"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source,
    promises,
};

/// The tokens of images, which files do not tell: those of all published models.
const IMAGE_TOKENS: (usize, usize) = (4, 8196);

/// The key of norms behind the parts instead of in front.
const NORMS_BEHIND: &str = "swin_norm";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    if let Some(ids) = made.config.object("vocabulary_map")? {
        for name in ids.keys().filter(|name| name.starts_with("IMGIMG")) {
            let (first, end) = IMAGE_TOKENS;
            if !ids.count(name)?.is_some_and(|id| (first..end).contains(&id)) {
                let what = format!("vocabulary_map: image token {name} is not within {first}..{end}");
                return Err(made.unsupported(what));
            }
        }
    }
    made.base(&Defaults { eps: 1e-5, ..Defaults::RMS })?;
    let is_behind = made.config.bool(NORMS_BEHIND)?.unwrap_or(false);
    made.put(NORMS_BEHIND, Value::Bool(is_behind));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let is_behind = keys.bool(NORMS_BEHIND)?.unwrap_or(false);
    // What PyTorch adds to variances where nothing is said.
    let norm = NormSpec { kind: NormKind::Layer, eps: 1e-5, ..base.norm };
    let layer = |i| {
        let mut layer = base.layer(i, |attention| {
            let extent = QkNormExtent::HeadOfItsOwn;
            attention.qk_norm = Some(QkNormSpec { norm, extent, ..base.qk_norm() });
        });
        if is_behind {
            layer.mixer_norm = None;
            layer.mixer_post_norm = Some(base.norm);
            layer.mixer_post_norm_role = Role::AttnNorm;
            layer.ffn_input = FfnInput::Sequential(None);
            layer.ffn_post_norm = Some(base.norm);
            layer.ffn_post_norm_role = Role::FfnNorm;
        }
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.head.never = Some(IMAGE_TOKENS).filter(|&(_, end)| end <= model.n_vocab);
    Ok(model)
}

/// Weights of heads are brought to the order of pairs as their rows are.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let made = plain(sources, slot)?;
    let [_, head_dim] = slot.shape[..] else { return Ok(made) };
    Ok(match slot.id.role {
        Role::AttnQNorm | Role::AttnKNorm => {
            let rows = RowMap::TiledColumns { head_dim: 1, n_group: 2, group: head_dim / 2 };
            made.map(|source| source.with_rows(rows))
        }
        _ => made,
    })
}
