//! Finds a checkpoint's files from what the user pointed at, and says what is wrong when it cannot.

use std::fs;
use std::path::{Path, PathBuf};

use super::index::{self, ShardIndex};
use crate::error::{Error, Result};

/// What an input turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// The folder with the files beside the weights.
    pub(super) dir: PathBuf,
    /// The weights.
    pub(super) weights: Weights,
}

/// Where the weights are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// In one file.
    Single(PathBuf),
    /// In the shards this index names.
    Index(PathBuf),
}

/// Finds the weights of `input`: a `.safetensors` file, a checkpoint's folder, or its index.
///
/// # Errors
/// [`Error::Io`] if there is nothing, [`Error::Usage`] or [`Error::Unsupported`] for something else.
pub(super) fn locate(input: &Path) -> Result<Located> {
    let kind = fs::metadata(input).map_err(|e| Error::io(input, "cannot open", e))?;
    if kind.is_dir() {
        return Ok(Located { dir: input.to_owned(), weights: in_folder(input)? });
    }
    let name = input.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let dir = match input.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if name.ends_with(".safetensors") {
        let weights = beside(&dir, input, name)?;
        return Ok(Located { dir, weights });
    }
    if name.ends_with(".json") {
        return Ok(Located { dir, weights: Weights::Index(input.to_owned()) });
    }
    if name.ends_with(".gguf") {
        return Err(Error::usage(format!("{} is a GGUF file already; give it to gguf-run", input.display())));
    }
    Err(Error::usage(format!(
        "{}: a checkpoint is a .safetensors file, a folder with one, or a model.safetensors.index.json{}",
        input.display(),
        if is_pickle_name(name) { ". PyTorch's .bin and .pth files cannot be read" } else { "" }
    )))
}

/// What a named `.safetensors` file stands for: itself, or all the shards it is one of.
fn beside(dir: &Path, input: &Path, name: &str) -> Result<Weights> {
    if name == "adapter_model.safetensors" {
        return Err(adapter(dir));
    }
    let index = dir.join(index::FILE_NAME);
    let has_index = index.is_file();
    if has_index && ShardIndex::open(&index)?.shard_files().contains(name) {
        return Ok(Weights::Index(index));
    }
    match shard_count(name) {
        Some(n_shards) if n_shards > 1 => Err(Error::usage(format!(
            "{} is one of {n_shards} shards, and {} beside it {}: download the model's index and all its shards",
            input.display(),
            index::FILE_NAME,
            if has_index { "does not name it" } else { "is missing" }
        ))),
        _ => Ok(Weights::Single(input.to_owned())),
    }
}

fn in_folder(dir: &Path) -> Result<Weights> {
    let index = dir.join(index::FILE_NAME);
    if index.is_file() {
        return Ok(Weights::Index(index));
    }
    let single = dir.join("model.safetensors");
    if single.is_file() {
        return Ok(Weights::Single(single));
    }
    let names = file_names(dir)?;
    if names.iter().any(|name| name == "adapter_config.json") {
        return Err(adapter(dir));
    }
    let mut candidates = names.iter().filter(|name| name.ends_with(".safetensors"));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => {
            let path = dir.join(only);
            beside(dir, &path, only)
        }
        (Some(first), Some(second)) => Err(Error::usage(format!(
            "{} holds several .safetensors files ({first}, {second}, …) and no {}: name the one to convert, or \
             download the index",
            dir.display(),
            index::FILE_NAME
        ))),
        (None, _) => Err(nothing_found(dir, &names)),
    }
}

fn nothing_found(dir: &Path, names: &[String]) -> Error {
    if names.iter().any(|name| is_pickle_name(name)) {
        return Error::unsupported(
            dir,
            "it holds PyTorch weights (.bin or .pth) only, and .safetensors are needed: download the model's \
             safetensors version",
        );
    }
    if let Some(name) = names.iter().find(|name| name.ends_with(".gguf")) {
        return Error::usage(format!(
            "{} holds a GGUF file already; give it to gguf-run: {}",
            dir.display(),
            dir.join(name).display()
        ));
    }
    Error::usage(format!("{} holds no .safetensors file", dir.display()))
}

fn adapter(dir: &Path) -> Error {
    Error::unsupported(
        dir,
        "it holds a PEFT adapter (adapter_config.json), not a model: merge it into its base model first, and \
         convert the result",
    )
}

fn is_pickle_name(name: &str) -> bool {
    [".bin", ".pth", ".pt", ".ckpt"].iter().any(|extension| name.ends_with(extension))
}

/// The `2` of `model-00001-of-00002.safetensors`.
fn shard_count(name: &str) -> Option<usize> {
    let (head, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (_, number) = head.rsplit_once('-')?;
    number.parse::<usize>().ok()?;
    count.parse().ok()
}

/// The names in a folder that are UTF-8, sorted.
fn file_names(dir: &Path) -> Result<Vec<String>> {
    let cannot = |e| Error::io(dir, "cannot list", e);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(cannot)? {
        if let Ok(name) = entry.map_err(cannot)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        dir
    }

    fn message(input: &Path) -> String {
        locate(input).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_prefers_the_index_then_the_single_file() {
        let dir = folder(&["model.safetensors", "model.safetensors.index.json", "other.safetensors"]);
        assert_eq!(locate(dir.path()).unwrap().weights, Weights::Index(dir.path().join(index::FILE_NAME)));
        let dir = folder(&["model.safetensors", "other.safetensors"]);
        assert_eq!(
            locate(dir.path()).unwrap().weights,
            Weights::Single(dir.path().join("model.safetensors"))
        );
        let dir = folder(&["consolidated.safetensors"]);
        let only = dir.path().join("consolidated.safetensors");
        assert_eq!(locate(dir.path()).unwrap().weights, Weights::Single(only));
    }

    #[test]
    fn a_shard_stands_for_all_when_the_index_beside_it_names_it() {
        let dir = folder(&["shard.safetensors", "model-00001-of-00002.safetensors", "other.safetensors"]);
        let index = dir.path().join(index::FILE_NAME);
        fs::write(&index, r#"{"weight_map": {"a": "shard.safetensors"}}"#).unwrap();
        let weights = |name| locate(&dir.path().join(name)).map(|located| located.weights);
        assert_eq!(weights("shard.safetensors").unwrap(), Weights::Index(index));
        assert_eq!(
            weights("other.safetensors").unwrap(),
            Weights::Single(dir.path().join("other.safetensors"))
        );
        let stray = weights("model-00001-of-00002.safetensors").unwrap_err().to_string();
        assert!(stray.contains("one of 2 shards") && stray.contains("does not name it"), "{stray}");
    }

    #[test]
    fn a_shard_without_an_index_is_refused() {
        let dir = folder(&["model-00001-of-00002.safetensors"]);
        for input in [dir.path().to_owned(), dir.path().join("model-00001-of-00002.safetensors")] {
            let message = message(&input);
            assert!(message.contains("one of 2 shards") && message.contains("is missing"), "{message}");
        }
        let whole = folder(&["model-00001-of-00001.safetensors"]);
        assert!(matches!(locate(whole.path()).unwrap().weights, Weights::Single(_)));
    }

    #[test]
    fn folders_of_other_things_are_told_apart() {
        assert!(message(folder(&["pytorch_model.bin"]).path()).contains(".safetensors are needed"));
        let adapter = folder(&["adapter_config.json", "adapter_model.safetensors"]);
        assert!(message(adapter.path()).contains("PEFT adapter"));
        assert!(message(&adapter.path().join("adapter_model.safetensors")).contains("PEFT adapter"));
        let gguf = folder(&["model.gguf"]);
        assert!(message(gguf.path()).contains("GGUF file already"));
        assert!(message(&gguf.path().join("model.gguf")).contains("GGUF file already"));
        assert!(message(folder(&["a.safetensors", "b.safetensors"]).path()).contains("several"));
        assert!(message(folder(&["config.json"]).path()).contains("no .safetensors"));
        assert!(message(Path::new("/nonexistent/model")).contains("cannot open"));
    }

    #[test]
    fn shard_counts_are_read_from_names() {
        assert_eq!(shard_count("model-00001-of-00002.safetensors"), Some(2));
        assert_eq!(shard_count("model.safetensors"), None);
        assert_eq!(shard_count("best-of-luck.safetensors"), None);
    }
}
