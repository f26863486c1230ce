//! Merges adapters into the tensors of their base.
//!
//! PEFT names what it changes as the base's class does ([`Names`] finds it), and wraps modules one by one: the head
//! of a model that ties it to the embedding is then another module than that, and keeps the base's weights when an
//! adapter changes the embedding alone. Such a model is untied here.

use crate::checkpoint::{Adapter, Change, Checkpoint, ExpertsLowRank};
use crate::convert::names::Names;
use crate::convert::stored::{ExpertRows, Stored, Tensors};
use crate::error::{Error, Result};
use crate::model::arch::{Configured, Dialect, Family, Source};
use crate::model::spec::{Role, Slot, slots};

/// What a class calls the embedding and the head of a tied model.
#[derive(Debug, Default)]
struct Tied {
    embedding: Vec<String>,
    head: Vec<String>,
}

/// Merges the adapters of `checkpoint`, one after the other, into its `tensors`.
///
/// # Errors
/// [`Error::Malformed`] if an adapter changes what the base does not have, or has in another shape.
pub(super) fn merge<'a>(
    (checkpoint, tensors): (&'a Checkpoint, &mut Tensors<'a>),
    family: &Family,
    configured: &Configured,
) -> Result<()> {
    if checkpoint.adapters().is_empty() {
        return Ok(());
    }
    if tensors.dialect() == Dialect::Mlx && mlx_has_other_matrices(checkpoint, family, configured)? {
        let what = "adapters of a model whose matrices MLX saves with other values or turned: merge them into the \
                    checkpoint that this one was made of, or run them beside the model (--adapter-only)";
        return Err(Error::unsupported(checkpoint.dir(), what));
    }
    let tied = Tied::of(checkpoint, family, configured)?;
    let (found, of_experts, embedding, mut head) = {
        let names = Names::of((&*tensors, checkpoint.dir()), family.names.base_prefix, &[], &mut Vec::new())?;
        let find = |name: &str| names.find_changed(name).map(str::to_owned);
        // A scale of zero leaves everything as it is, also where DoRA would bring rows to other lengths.
        let (mut found, mut of_experts) = (Vec::new(), Vec::new());
        for adapter in checkpoint.adapters().iter().filter(|adapter| adapter.scale() != 0.0) {
            for (name, change) in adapter.changes()? {
                if let Change::Experts(added) = change {
                    let places = places_of_experts(&name, added.n_experts, &find)
                        .ok_or_else(|| not_in_base(adapter, checkpoint, &name))?;
                    of_experts.push((added, places));
                } else {
                    found.push((adapter, find(&name), name, change));
                }
            }
        }
        let first_of = |names: &[String]| names.iter().find_map(|name| find(name));
        (found, of_experts, first_of(&tied.embedding), first_of(&tied.head))
    };
    // These classes have rows of inputs, in tensors of floats, for their kernels.
    let has_rows_of_inputs = matches!(family.gguf_name, "gpt-oss" | "llama4");
    for (added, places) in &of_experts {
        merge_experts(tensors, added, places, has_rows_of_inputs)?;
    }
    for (adapter, in_base, name, change) in found {
        let (in_base, changes_embedding) = match (in_base, &embedding) {
            (Some(in_base), embedding) => {
                let is_embedding = embedding.as_ref() == Some(&in_base);
                (in_base, is_embedding)
            }
            (None, Some(embedding)) if tied.head.contains(&name) => {
                if head.replace(name.clone()).is_none() {
                    copy(tensors, embedding, &name)?;
                }
                (name, false)
            }
            (None, _) => return Err(not_in_base(adapter, checkpoint, &name)),
        };
        if let (true, None, Some(new_head)) = (changes_embedding, &head, tied.head.first())
            && !(adapter.keeps_ties() || matches!(change, Change::Rows(_)))
            && !is_resized(tensors, &in_base, &change)?
        {
            copy(tensors, &in_base, new_head)?;
            head = Some(new_head.clone());
        }
        let base = tensors.get(&in_base)?.ok_or_else(|| not_in_base(adapter, checkpoint, &in_base))?.clone();
        let changed = match change {
            Change::Replaced(view) => Stored::Plain(view),
            Change::Added(added) => base.with(&in_base, &added)?,
            Change::Rows(rows) => base.with_rows(&in_base, &rows)?,
            Change::Experts(_) => unreachable!("those of experts are merged apart"),
        };
        tensors.put(&in_base, changed);
    }
    Ok(())
}

/// The tensors that hold what a class keeps in the parameter `name`, all experts of a layer: one, or for each expert those
/// that its matrix is cut into.
fn places_of_experts(
    name: &str,
    n_experts: usize,
    find: &dyn Fn(&str) -> Option<String>,
) -> Option<Vec<Vec<String>>> {
    if let Some(whole) = find(name) {
        return Some(vec![vec![whole]]);
    }
    let (module, parameter) = name.rsplit_once('.')?;
    let parts: &[&[&str]] = match parameter {
        "gate_up_proj" => &[&["gate_proj", "up_proj"], &["w1", "w3"]],
        "down_proj" => &[&["down_proj"], &["w2"]],
        _ => return None,
    };
    let modules = [module.to_owned(), module.replace(".mlp.", ".block_sparse_moe.")];
    let of_expert = |expert: usize| {
        let mut ways = modules.iter().flat_map(|module| parts.iter().map(move |parts| (module, parts)));
        ways.find_map(|(module, parts)| {
            parts.iter().map(|part| find(&format!("{module}.{expert}.{part}.weight"))).collect()
        })
    };
    (0..n_experts).map(of_expert).collect()
}

/// Merges what an adapter adds to all experts of a layer.
fn merge_experts<'a>(
    tensors: &mut Tensors<'a>,
    added: &ExpertsLowRank<'a>,
    places: &[Vec<String>],
    has_rows_of_inputs: bool,
) -> Result<()> {
    for (expert, names) in places.iter().enumerate() {
        let mut parts = Vec::new();
        for name in names {
            // The names are those of tensors.
            parts.extend(tensors.get(name)?.map(|base| (name, base.clone())));
        }
        let n_rows = |base: &Stored<'_>| base.shape().iter().rev().nth(1).copied().unwrap_or(0);
        let per_expert = parts.iter().map(|(_, base)| n_rows(base)).sum();
        let mut first = expert * per_expert;
        for (name, base) in parts {
            let are_inputs = has_rows_of_inputs && matches!(base, Stored::Plain(_));
            let rows = ExpertRows { first, per_expert, are_inputs };
            first += n_rows(&base);
            tensors.put(name, base.with_experts(name, added, rows)?);
        }
    }
    Ok(())
}

/// Whether MLX saves matrices of this family with other values, or turned, than transformers does, whose matrices adapters
/// change.
fn mlx_has_other_matrices(checkpoint: &Checkpoint, family: &Family, configured: &Configured) -> Result<bool> {
    let place = (&configured.spec, checkpoint.config());
    let reading = |dialect, slot: &Slot| {
        let source = family.source_in(dialect, place, slot)?;
        Ok::<_, Error>(source.and_then(|source| source.reading()))
    };
    for slot in slots(&configured.spec, &configured.promises).iter().filter(|slot| slot.shape.len() > 1) {
        let own = reading(Dialect::Transformers, slot)?;
        if own.is_some() && own != reading(Dialect::Mlx, slot)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Tied {
    /// The names of a model that is tied; none for another.
    fn of(checkpoint: &Checkpoint, family: &Family, configured: &Configured) -> Result<Self> {
        if configured.promises.is_tied != Some(true) {
            return Ok(Self::default());
        }
        let mut promises = configured.promises;
        promises.is_tied = Some(false);
        let mut tied = Self::default();
        for slot in slots(&configured.spec, &promises) {
            let names = match slot.id.role {
                Role::TokenEmbd => &mut tied.embedding,
                Role::Output => &mut tied.head,
                _ => continue,
            };
            if let Some(Source::Pieces(pieces, _)) =
                family.source_of(&configured.spec, checkpoint.config(), &slot)?
            {
                names.extend(pieces.into_iter().flat_map(|piece| piece.names));
            }
        }
        Ok(tied)
    }
}

/// Gives the tensor `from` another name as well.
fn copy(tensors: &mut Tensors<'_>, from: &str, to: &str) -> Result<()> {
    if let Some(tensor) = tensors.get(from)?.cloned() {
        tensors.put(to, tensor);
    }
    Ok(())
}

/// Whether `change` brings an embedding of more or fewer tokens.
fn is_resized(tensors: &Tensors<'_>, name: &str, change: &Change<'_>) -> Result<bool> {
    let Change::Replaced(view) = change else { return Ok(false) };
    Ok(tensors.get(name)?.is_some_and(|base| base.shape() != view.shape))
}

fn not_in_base(adapter: &Adapter, checkpoint: &Checkpoint, name: &str) -> Error {
    let of = adapter.base().map(|base| format!(" ({})", base.escape_debug())).unwrap_or_default();
    let what = format!(
        "the adapter changes {}, which the base in {} does not have: it was trained on another model{of}",
        name.escape_debug(),
        checkpoint.dir().display()
    );
    Error::malformed(adapter.shard().path(), what)
}
