//! `model.safetensors.index.json`: which tensor lies in which shard.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::json;
use crate::error::{Error, Result};
use crate::limits;
use crate::paths::stays_inside;

/// The file name of an index.
pub(super) const FILE_NAME: &str = "model.safetensors.index.json";

/// That of PyTorch's files.
pub(super) const PYTORCH_FILE_NAME: &str = "pytorch_model.bin.index.json";

/// The map from tensor names to shard file names, which are plain names without folders.
#[derive(Debug)]
pub(super) struct ShardIndex {
    pub(super) shard_of: BTreeMap<String, String>,
}

impl ShardIndex {
    /// Reads the index at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Limit`], and [`Error::Malformed`] if it is not an index or a file name
    /// would lead out of the checkpoint's folder.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let object = json::parse_object(path, &json::read_text(path, limits::MAX_INDEX_BYTES)?)?;
        let Some(Value::Object(map)) = object.get("weight_map") else {
            return Err(Error::malformed(
                path,
                "it has no weight_map from tensors to shards; give the checkpoint's folder, or its index \
                 model.safetensors.index.json",
            ));
        };
        if map.is_empty() {
            return Err(Error::malformed(path, "its weight_map is empty"));
        }
        let mut shard_of = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().filter(|file| is_plain_name(file)).ok_or_else(|| {
                let what = format!(
                    "its weight_map sends tensor {} to {file}; a file name without folders is needed",
                    tensor.escape_debug()
                );
                Error::malformed(path, what)
            })?;
            shard_of.insert(tensor.clone(), file.to_owned());
        }
        let index = Self { shard_of };
        let n_shards = index.shard_files().len();
        if n_shards > limits::MAX_SHARDS {
            let what = format!("{}: {n_shards} shards; the limit is {}", path.display(), limits::MAX_SHARDS);
            return Err(Error::limit(what));
        }
        Ok(index)
    }

    /// The shards' file names, each once, sorted.
    pub(super) fn shard_files(&self) -> BTreeSet<&str> {
        self.shard_of.values().map(String::as_str).collect()
    }
}

/// Whether a file name stays in its folder.
fn is_plain_name(name: &str) -> bool {
    stays_inside(name) && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_not_plain() {
        assert!(is_plain_name("model-00001-of-00002.safetensors"));
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a/", "./a", "..\\x", "C:x", "a\0b"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
