//! Checkpoints as tensor-parallel training saves them: files `NAME-00006-TP-003.safetensors` hold the parts of rank 3, and
//! files `NAME-00000-TP-common.safetensors` what is whole. Grok 2 is published so, its experts in eight parts.

use std::collections::{BTreeMap, BTreeSet};

use super::shard::Shard;
use crate::error::{Error, Result};

/// What a file of such a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Whole,
    PartOf(usize),
}

/// What the file `name` holds, if its name is of such a set.
fn held(name: &str) -> Option<Held> {
    let (_, rank) = name.strip_suffix(".safetensors")?.rsplit_once("-TP-")?;
    match rank {
        "common" => Some(Held::Whole),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Held::PartOf),
        _ => None,
    }
}

/// Whether the file `name` is of such a set.
pub(super) fn is_part(name: &str) -> bool {
    held(name).is_some()
}

/// The shards of every tensor, in the order of ranks: one of a tensor that is whole.
///
/// # Errors
/// [`Error::Malformed`] if a rank is missing, or its part of a tensor.
pub(super) fn shards_of(shards: &[Shard]) -> Result<BTreeMap<String, Vec<usize>>> {
    let name = |shard: &Shard| shard.path().file_name().map(|name| name.to_string_lossy().into_owned());
    let helds: Vec<Held> =
        shards.iter().map(|shard| name(shard).and_then(|name| held(&name)).unwrap_or(Held::Whole)).collect();
    let ranks: BTreeSet<usize> = helds
        .iter()
        .filter_map(|held| match held {
            Held::PartOf(rank) => Some(*rank),
            Held::Whole => None,
        })
        .collect();
    if let Some((missing, _)) = ranks.iter().enumerate().find(|(i, rank)| i != *rank) {
        let what = format!("the files of rank {missing} are missing (...-TP-{missing:03}.safetensors)");
        return Err(Error::malformed(shards[0].path(), what));
    }
    let mut order: Vec<usize> = (0..shards.len()).collect();
    order.sort_by_key(|&i| match helds[i] {
        Held::Whole => 0,
        Held::PartOf(rank) => rank,
    });
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for i in order {
        for tensor in shards[i].tensor_names() {
            found.entry(tensor.to_owned()).or_default().push(i);
        }
    }
    for (tensor, of) in &found {
        let is_whole = of.len() == 1 && helds[of[0]] == Held::Whole;
        let is_parted = of.iter().zip(&ranks).all(|(&i, &rank)| helds[i] == Held::PartOf(rank));
        if !(is_whole || is_parted && of.len() == ranks.len()) {
            let (tensor, n, n_ranks) = (tensor.escape_debug(), of.len(), ranks.len());
            let what = format!(
                "tensor {tensor} is in {n} of the files, neither whole in one nor in a part of each of {n_ranks} ranks"
            );
            return Err(Error::malformed(shards[of[0]].path(), what));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_tell_their_rank() {
        assert_eq!(held("pytorch_model-00006-TP-003.safetensors"), Some(Held::PartOf(3)));
        assert_eq!(held("pytorch_model-00000-TP-common.safetensors"), Some(Held::Whole));
        for name in
            ["model-00001-of-00002.safetensors", "a-TP-x.safetensors", "a-TP-1.bin", "a-TP-.safetensors"]
        {
            assert_eq!(held(name), None, "{name}");
        }
    }
}
