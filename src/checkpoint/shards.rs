//! Opens the shards of a checkpoint, and says which tensor lies in which.

use std::collections::BTreeMap;
use std::path::Path;

use super::index::ShardIndex;
use super::locate::listed;
use super::shard::Shard;
use crate::error::{Error, Result};
use crate::printable::plural;
use crate::read_file::ReadFile;

/// Gives the file at a path.
pub type Opener<'a> = dyn Fn(&Path) -> Result<ReadFile> + 'a;

pub(super) fn shard(path: &Path, open: &Opener<'_>) -> Result<Shard> {
    Shard::from_file(open(path)?)
}

pub(super) fn open_all(
    paths: impl Iterator<Item = impl AsRef<Path>>,
    open: &Opener<'_>,
) -> Result<Vec<Shard>> {
    paths.map(|path| shard(path.as_ref(), open)).collect()
}

/// Opens all shards of an index, which must all be there.
pub(super) fn open_indexed(
    dir: &Path,
    index_path: &Path,
    index: &ShardIndex,
    open: &Opener<'_>,
) -> Result<Vec<Shard>> {
    let files = index.shard_files();
    let is_missing = |file: &&str| {
        let path = dir.join(file);
        // A streamed shard has no file here.
        !path.is_file() && open(&path).is_err()
    };
    let missing: Vec<&str> = files.iter().copied().filter(is_missing).collect();
    if !missing.is_empty() {
        let what = format!(
            "{} missing in the folder, of {}: {}; download what is missing",
            plural(missing.len(), "shard"),
            files.len(),
            listed(&missing)
        );
        return Err(Error::malformed(index_path, what));
    }
    open_all(files.iter().map(|file| dir.join(file)), open)
}

/// The shard of every tensor. Where two shards have one of the same name, `prefer` chooses.
///
/// # Errors
/// [`Error::Malformed`] if it does not.
pub(super) fn shards_of_names(
    shards: &[Shard],
    mut prefer: impl FnMut(&str, usize, usize) -> Option<usize>,
) -> Result<BTreeMap<String, usize>> {
    let mut shard_of: BTreeMap<String, usize> = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        for name in shard.tensor_names() {
            let Some(other) = shard_of.insert(name.to_owned(), i) else { continue };
            let Some(preferred) = prefer(name, other, i) else {
                let (name, other) = (name.escape_debug(), shards[other].path().display());
                return Err(Error::malformed(shard.path(), format!("tensor {name} is also in {other}")));
            };
            shard_of.insert(name.to_owned(), preferred);
        }
    }
    Ok(shard_of)
}

/// The shard of every tensor in the shards of `index`. The index decides between two shards that have
/// the same tensor. What else it says and is not so is a note: a tensor it sends elsewhere is taken from
/// where it is, one that it does not name counts all the same (as in transformers), and one that is
/// nowhere is an error only when the model needs it.
pub(super) fn follow(
    index: &ShardIndex,
    index_path: &Path,
    shards: &[Shard],
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, usize>> {
    let is_named =
        |shard: usize, file: &str| shards[shard].path().file_name().is_some_and(|name| name == file);
    let mut twice = Vec::new();
    let shard_of = shards_of_names(shards, |name, a, b| {
        let file = index.shard_of.get(name)?;
        let chosen = [a, b].into_iter().find(|&shard| is_named(shard, file))?;
        twice.push(name.to_owned());
        Some(chosen)
    })?;
    let sent: Vec<(&str, &str)> =
        index.shard_of.iter().map(|(name, file)| (name.as_str(), file.as_str())).collect();
    let of = |wanted: fn(Option<bool>) -> bool| -> Vec<&str> {
        let held = |name: &str, file: &str| shard_of.get(name).map(|&shard| is_named(shard, file));
        sent.iter().filter(|(name, file)| wanted(held(name, file))).map(|&(name, _)| name).collect()
    };
    let twice: Vec<&str> = twice.iter().map(String::as_str).collect();
    for (names, what) in [
        (twice, "in two shards, and taken from the one that it names"),
        (of(|held| held == Some(false)), "in another shard than it names, and taken from there"),
        (of(|held| held.is_none()), "in no shard, though it names one"),
    ] {
        if !names.is_empty() {
            let (path, n) = (index_path.display(), names.len());
            notes.push(format!("{path}: tensors {what} ({n}): {}", listed(&names)));
        }
    }
    Ok(shard_of)
}
