//! Which files of a list hold a checkpoint, where the list is all that is there yet: a repository's.

use std::path::Path;

use super::folder::{OF_TEMPLATES, OF_TOKENIZERS};
use super::index::ShardIndex;
use super::locate::{listed, ranks_of};
use super::parted::is_part;
use super::weight_names::{Format, PYTORCH, SAFETENSORS, ShardName};
use crate::error::Result;

/// The weights among some files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightsAmong {
    /// These files hold them.
    Files(Vec<String>),
    /// This index names the files.
    Index(String),
}

impl WeightsAmong {
    /// Chooses as [`super::Checkpoint::open`] does once they are in a folder: one file before an index, an index before
    /// a set of shards, and safetensors before PyTorch's files. `None` if nothing holds weights.
    ///
    /// # Errors
    /// What stands against a choice: several files that are not of one set, or a set with gaps.
    pub fn choose(names: &[&str]) -> Result<Option<Self>, String> {
        let names: Vec<&str> = names.iter().copied().filter(|name| !name.contains('/')).collect();
        for format in [&SAFETENSORS, &PYTORCH] {
            for (name, is_index) in [(format.single, false), (format.index, true)] {
                if names.contains(&name) {
                    let name = name.to_owned();
                    return Ok(Some(if is_index { Self::Index(name) } else { Self::Files(vec![name]) }));
                }
            }
            let mut candidates: Vec<&str> = names
                .iter()
                .copied()
                .filter(|name| format.may_hold_weights(name) && !name.starts_with("adapter_model."))
                .collect();
            // Makers put the same weights beside under names of their own.
            if candidates.iter().any(|name| !is_consolidated(name)) {
                candidates.retain(|name| !is_consolidated(name));
            }
            if !candidates.is_empty() {
                return set_of(&candidates, format).map(|files| Some(Self::Files(files)));
            }
        }
        Ok(None)
    }
}

fn is_consolidated(name: &str) -> bool {
    name.starts_with("consolidated")
}

/// All of `candidates` that belong to one model.
fn set_of(candidates: &[&str], format: &Format) -> Result<Vec<String>, String> {
    let is_model =
        |name: &&str| ShardName::parse(name, format).is_some_and(|shard| shard.stem == format.stem);
    let first = candidates.iter().copied().find(is_model).unwrap_or(candidates[0]);
    let set: Vec<String> = match ShardName::parse(first, format) {
        Some(shard) => {
            (1..=shard.n_shards.min(crate::limits::MAX_SHARDS)).map(|number| shard.sibling(number)).collect()
        }
        None if is_part(first) => {
            candidates.iter().filter(|name| is_part(name)).map(|&name| name.to_owned()).collect()
        }
        None => match ranks_of(first, candidates) {
            Some(ranks) => ranks.into_iter().map(str::to_owned).collect(),
            None => vec![first.to_owned()],
        },
    };
    let missing: Vec<&str> =
        set.iter().map(String::as_str).filter(|name| !candidates.contains(name)).collect();
    if !missing.is_empty() {
        return Err(format!("{} of the shards are missing: {}", missing.len(), listed(&missing)));
    }
    match candidates.iter().find(|&&name| !set.iter().any(|of_set| of_set == name)) {
        Some(other) if !is_model(&first) => {
            Err(format!("several files may hold the weights ({first}, {other}, ...)"))
        }
        _ => Ok(set),
    }
}

/// The files that an index names.
///
/// # Errors
/// As for any index of a checkpoint.
pub fn shards_of(index: &Path) -> Result<Vec<String>> {
    Ok(ShardIndex::open(index)?.shard_files().into_iter().map(str::to_owned).collect())
}

/// Whether a file beside the weights may say something that a conversion reads: configuration, tokenizer, template,
/// templates for other purposes, model card; of sentence-transformers, also those of modules. Indices are none of these.
pub fn is_beside_weights(name: &str) -> bool {
    let is_json = name.ends_with(".json") && !name.ends_with(".index.json");
    match name.split_once('/') {
        None => is_json || name == "README.md" || name.ends_with(".jinja") || OF_TOKENIZERS.contains(&name),
        Some((OF_TEMPLATES, file)) => file.ends_with(".jinja"),
        // 1_Pooling, 2_Dense.
        Some((folder, file)) => {
            let is_module = folder.starts_with(|c: char| c.is_ascii_digit()) && folder.contains('_');
            is_module && [SAFETENSORS.single, PYTORCH.single, "config.json"].contains(&file)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Option<WeightsAmong> {
        WeightsAmong::choose(names).expect("a choice")
    }

    #[test]
    fn safetensors_come_before_pytorch_and_makers_duplicates_are_left() {
        let one = |name: &str| Some(WeightsAmong::Files(vec![name.to_owned()]));
        assert_eq!(
            files(&["pytorch_model.bin", "model.safetensors", "consolidated.safetensors"]),
            one("model.safetensors")
        );
        assert_eq!(files(&["consolidated.safetensors", "params.json"]), one("consolidated.safetensors"));
        assert_eq!(
            files(&["original/consolidated.00.pth", "pytorch_model.bin", "training_args.bin"]),
            one("pytorch_model.bin")
        );
        let index = "model.safetensors.index.json";
        assert_eq!(files(&[index, "consolidated.safetensors"]), Some(WeightsAmong::Index(index.into())));
        assert_eq!(files(&["README.md"]), None);
        let ranks = ["consolidated.00.pth", "consolidated.01.pth"];
        assert_eq!(files(&ranks), Some(WeightsAmong::Files(ranks.map(str::to_owned).to_vec())));
    }

    #[test]
    fn a_set_without_an_index_is_whole_or_refused() {
        let set = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(files(&set), Some(WeightsAmong::Files(set.map(str::to_owned).to_vec())));
        assert!(WeightsAmong::choose(&set[..1]).expect_err("a gap").contains("model-00002-of-00002"));
        assert!(
            WeightsAmong::choose(&["a.safetensors", "b.safetensors"]).expect_err("two").contains("several")
        );
    }

    #[test]
    fn small_files_are_told_from_the_rest() {
        for name in [
            "config.json",
            "tokenizer.model",
            "merges.txt",
            "chat_template.jinja",
            "README.md",
            "additional_chat_templates/rag.jinja",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
        ] {
            assert!(is_beside_weights(name), "{name}");
        }
        for name in [
            "model.safetensors.index.json",
            "onnx/config.json",
            "original/params.json",
            "a.gguf",
            "LICENSE",
            "model.safetensors",
        ] {
            assert!(!is_beside_weights(name), "{name}");
        }
    }
}
