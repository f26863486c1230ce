//! Finds a checkpoint's files from what the user pointed at, and says what is wrong when it cannot.

use std::fs;
use std::path::{Path, PathBuf};

use super::index::ShardIndex;
use super::other_weights;
use super::parted::is_part;
use super::weight_names::{Format, PYTORCH, SAFETENSORS, ShardName};
use crate::error::{Error, Result};
use crate::limits;
use crate::paths::folder_of;
use crate::printable::first_few;

/// What an input turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// The folder with the files beside the weights.
    pub(super) dir: PathBuf,
    /// The weights.
    pub(super) weights: Weights,
    /// What was passed over on the way, a sentence each.
    pub(super) notes: Vec<String>,
}

/// Where the weights are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// In one file.
    Single(PathBuf),
    /// In the shards this index names.
    Index(PathBuf),
    /// In all of these shards, which no index names.
    Shards(Vec<PathBuf>),
    /// In all of these files, of which each has a part of every matrix.
    Ranks(Vec<PathBuf>),
    /// In all of these files, of which some have a part of some matrices.
    Parted(Vec<PathBuf>),
}

/// Finds the weights of `input`: a weight file, a checkpoint's folder, or its index.
///
/// In a folder `model.safetensors` comes before an index, as in transformers' `from_pretrained`: one
/// that stays behind when a sharded model is saved anew as one file names yesterday's weights. Where
/// there is neither, a whole set of shards is taken, or the only file there is. PyTorch's files count where there
/// are not safetensors files.
///
/// # Errors
/// [`Error::Io`] if there is nothing, [`Error::Usage`] or [`Error::Unsupported`] for something else.
pub(super) fn locate(input: &Path) -> Result<Located> {
    let kind = fs::metadata(input).map_err(|e| Error::io(input, "cannot open", e))?;
    let mut notes = Vec::new();
    if kind.is_dir() {
        let weights = in_folder(input, &mut notes)?;
        return Ok(Located { dir: input.to_owned(), weights, notes });
    }
    let name = input.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let dir = folder_of(input).to_owned();
    if let Some(format) = Format::of(name) {
        let weights = beside(&dir, input, name, format, &mut notes)?;
        return Ok(Located { dir, weights, notes });
    }
    if name.ends_with(".json") {
        return Ok(Located { dir, weights: Weights::Index(input.to_owned()), notes });
    }
    if name.ends_with(".gguf") {
        return Err(Error::usage(format!("{} is a GGUF file already; give it to gguf-run", input.display())));
    }
    Err(Error::usage(format!(
        "{}: a checkpoint is a folder, a .safetensors or PyTorch file (.bin, .pth, .pt) in one, or the index of several \
         files (model.safetensors.index.json)",
        input.display(),
    )))
}

/// What a named weight file stands for: itself, or all the shards it is one of.
fn beside(dir: &Path, input: &Path, name: &str, format: &Format, notes: &mut Vec<String>) -> Result<Weights> {
    if name.starts_with("adapter_model.") {
        return Err(adapter(dir));
    }
    let index = dir.join(format.index);
    if name != format.single && index.is_file() && ShardIndex::open(&index)?.shard_files().contains(name) {
        return Ok(Weights::Index(index));
    }
    match ShardName::parse(name, format) {
        Some(shard) if shard.n_shards > 1 => joined(dir, &shard, format, notes),
        _ if is_part(name) => {
            let names = file_names(dir)?;
            let parts: Vec<&String> = names.iter().filter(|name| is_part(name)).collect();
            notes.push(format!("{} and the others of {} files are joined", parts[0], parts.len()));
            Ok(Weights::Parted(parts.into_iter().map(|name| dir.join(name)).collect()))
        }
        _ => match ranks_of(name, &strs(&file_names(dir)?)) {
            Some(names) => {
                let expected = (0..names.len()).map(|rank| format!("consolidated.{rank:02}.pth"));
                if let Some(missing) = expected.into_iter().find(|name| !names.contains(&name.as_str())) {
                    let what = format!(
                        "{missing} is missing, one of the files that hold a part of every matrix each"
                    );
                    return Err(Error::malformed(dir, what));
                }
                notes.push(format!("{} and the others of {} files are joined", names[0], names.len()));
                Ok(Weights::Ranks(names.iter().map(|name| dir.join(name)).collect()))
            }
            None => Ok(Weights::Single(input.to_owned())),
        },
    }
}

fn in_folder(dir: &Path, notes: &mut Vec<String>) -> Result<Weights> {
    let names = file_names(dir)?;
    let has_any = |format: &Format| names.iter().any(|name| format.may_hold_weights(name));
    let is_indexed = dir.join(SAFETENSORS.index).is_file();
    let format =
        if is_indexed || has_any(&SAFETENSORS) || !has_any(&PYTORCH) { &SAFETENSORS } else { &PYTORCH };
    let (single, index) = (dir.join(format.single), dir.join(format.index));
    if let Some(name) = names.iter().find(|name| name.starts_with("adapter_model."))
        && (single.is_file() || index.is_file())
    {
        notes.push(format!(
            "{} is left aside, as the weights beside it are those of a whole model; if it is not merged into them, \
             --lora merges it",
            dir.join(name).display()
        ));
    }
    if single.is_file() {
        if index.is_file() {
            let beside = single.display();
            notes
                .push(format!("{} is left aside: {beside} comes first, as in transformers", index.display()));
        }
        return Ok(Weights::Single(single));
    }
    if index.is_file() {
        return Ok(Weights::Index(index));
    }
    if names.iter().any(|name| name == "adapter_config.json") {
        return Err(adapter(dir));
    }
    let candidates: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| format.may_hold_weights(name)).collect();
    // Shards called as transformers calls them come before files of other formats in the folder.
    let is_model =
        |name: &&str| ShardName::parse(name, format).is_some_and(|shard| shard.stem == format.stem);
    let first = candidates.iter().copied().find(is_model).or(candidates.first().copied());
    let Some(first) = first else { return Err(nothing_found(dir, &names)) };
    let others: Vec<&str> = match ShardName::parse(first, format) {
        Some(shard) => {
            let is_rival = |name: &&str| shard.stem != format.stem || is_model(name);
            let rivals = candidates.iter().copied().filter(is_rival);
            rivals.filter(|name| !shard.is_of_one_set_with(name, format)).collect()
        }
        None if is_part(first) => candidates.iter().copied().filter(|name| !is_part(name)).collect(),
        None => match ranks_of(first, &strs(&names)) {
            Some(ranks) => candidates.iter().copied().filter(|name| !ranks.contains(name)).collect(),
            None => candidates[1..].to_vec(),
        },
    };
    match others.first() {
        None => beside(dir, &dir.join(first), first, format, notes),
        Some(other) => Err(Error::usage(format!(
            "{} holds several {} files ({first}, {other}, …) and no {}: name the one to convert, or \
             download the index",
            dir.display(),
            format.extensions.join(" or "),
            format.index
        ))),
    }
}

/// All shards of the set that `shard` is one of, if they are all there.
fn joined(dir: &Path, shard: &ShardName<'_>, format: &Format, notes: &mut Vec<String>) -> Result<Weights> {
    let (stem, n_shards) = (shard.stem, shard.n_shards);
    if n_shards > limits::MAX_SHARDS {
        let what = format!("{}: {n_shards} shards; the limit is {}", dir.display(), limits::MAX_SHARDS);
        return Err(Error::limit(what));
    }
    let set: Vec<PathBuf> = (1..=n_shards).map(|number| dir.join(shard.sibling(number))).collect();
    let missing = set.iter().filter(|path| !path.is_file()).filter_map(|path| path.file_name()?.to_str());
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        let what = format!(
            "{} of the {n_shards} shards of {stem} are missing, and so is an index that names them: {}; download them",
            missing.len(),
            listed(&missing)
        );
        return Err(Error::malformed(dir, what));
    }
    let index = dir.join(format.index);
    let why = if index.is_file() { "does not name them" } else { "is not there" };
    notes.push(format!("all {n_shards} shards of {stem} are taken, though {} {why}", index.display()));
    Ok(Weights::Shards(set))
}

/// The files among `names` of the ranks that Meta's file `name` is one of (`consolidated.00.pth`), in order; `None` if
/// it is alone or none.
pub(super) fn ranks_of<'n>(name: &str, names: &[&'n str]) -> Option<Vec<&'n str>> {
    let number = |name: &str| -> Option<usize> {
        let digits = name.strip_prefix("consolidated.")?.strip_suffix(".pth")?;
        digits.parse().ok().filter(|_| digits.len() == 2)
    };
    number(name)?;
    let ranks: Vec<&str> = names.iter().copied().filter(|name| number(name).is_some()).collect();
    (ranks.len() > 1).then_some(ranks)
}

fn nothing_found(dir: &Path, names: &[String]) -> Error {
    if let Some(name) = names.iter().find(|name| name.ends_with(".gguf")) {
        return Error::usage(format!(
            "{} holds a GGUF file already; run that with gguf-run, or convert it to another type with gguf-convert, by \
             its own name: {}",
            dir.display(),
            dir.join(name).display()
        ));
    }
    let instead = other_weights::instead(dir, names).map_or_else(String::new, |what| format!("; {what}"));
    Error::usage(format!(
        "{} holds no weights: neither .safetensors nor PyTorch files (.bin, .pth, .pt){instead}",
        dir.display()
    ))
}

fn adapter(dir: &Path) -> Error {
    let dir = dir.display();
    Error::usage(format!(
        "{dir} holds a PEFT adapter, not a model; to merge it into its base model while that is converted: gguf-convert \
         BASE --lora {dir} --type Q4_K_M; to make a GGUF adapter of it: gguf-convert BASE --lora {dir} --adapter-only"
    ))
}

/// Whether these files are all the ranks of a set.
pub(super) fn are_ranks(names: &[String]) -> bool {
    let names = strs(names);
    names.first().and_then(|first| ranks_of(first, &names)).is_some_and(|ranks| ranks.len() == names.len())
}

fn strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// The first few of `names`, for a message.
pub(super) fn listed(names: &[&str]) -> String {
    first_few(names, 8)
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

    const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

    #[test]
    fn a_folder_prefers_the_single_file_then_the_index() {
        let dir = folder(&["model.safetensors", "model.safetensors.index.json", "other.safetensors"]);
        let located = locate(dir.path()).unwrap();
        assert_eq!(located.weights, Weights::Single(dir.path().join("model.safetensors")));
        let [note] = &located.notes[..] else { panic!("{:?}", located.notes) };
        assert!(note.contains("index.json is left aside"), "{note}");
        let dir = folder(&["model.safetensors.index.json", "other.safetensors", SHARDS[0], SHARDS[1]]);
        let located = locate(dir.path()).unwrap();
        assert_eq!(located.weights, Weights::Index(dir.path().join(SAFETENSORS.index)));
        assert!(located.notes.is_empty());
        let dir = folder(&["model.safetensors", "other.safetensors"]);
        assert!(locate(dir.path()).unwrap().notes.is_empty());
        let dir = folder(&["consolidated.safetensors"]);
        let only = dir.path().join("consolidated.safetensors");
        assert_eq!(locate(dir.path()).unwrap().weights, Weights::Single(only));
    }

    #[test]
    fn a_shard_stands_for_all_when_the_index_beside_it_names_it() {
        let dir = folder(&["shard.safetensors", SHARDS[0], "other.safetensors"]);
        let index = dir.path().join(SAFETENSORS.index);
        fs::write(&index, r#"{"weight_map": {"a": "shard.safetensors"}}"#).unwrap();
        let weights = |name| locate(&dir.path().join(name)).map(|located| located.weights);
        assert_eq!(weights("shard.safetensors").unwrap(), Weights::Index(index));
        assert_eq!(
            weights("other.safetensors").unwrap(),
            Weights::Single(dir.path().join("other.safetensors"))
        );
        let stray = weights(SHARDS[0]).unwrap_err().to_string();
        assert!(stray.contains(SHARDS[1]) && stray.contains("missing"), "{stray}");
    }

    #[test]
    fn a_whole_set_of_shards_needs_no_index() {
        for more in [&[][..], &["consolidated.safetensors"]] {
            let dir = folder(&[&SHARDS[..], more].concat());
            for input in [dir.path().to_owned(), dir.path().join(SHARDS[1])] {
                let located = locate(&input).unwrap();
                let set = SHARDS.map(|name| dir.path().join(name));
                assert_eq!(located.weights, Weights::Shards(set.to_vec()));
                let [note] = &located.notes[..] else { panic!("{:?}", located.notes) };
                assert!(note.contains("all 2 shards") && note.contains("is not there"), "{note}");
            }
        }
        let whole = folder(&["model-00001-of-00001.safetensors"]);
        assert!(matches!(locate(whole.path()).unwrap().weights, Weights::Single(_)));
        let two_sets = folder(&[SHARDS[0], SHARDS[1], "model-00001-of-00003.safetensors"]);
        assert!(message(two_sets.path()).contains("several"));
    }

    #[test]
    fn missing_shards_are_named() {
        let dir = folder(&["model-00002-of-00003.safetensors"]);
        for input in [dir.path().to_owned(), dir.path().join("model-00002-of-00003.safetensors")] {
            let message = message(&input);
            assert!(message.contains("2 of the 3 shards of model are missing"), "{message}");
            assert!(
                message.contains("model-00001-of-00003.safetensors, model-00003-of-00003.safetensors"),
                "{message}"
            );
        }
        let many = folder(&["model-00001-of-99999999.safetensors"]);
        assert!(message(many.path()).contains("the limit is"));
    }

    #[test]
    fn an_adapter_beside_whole_weights_is_left_aside_with_a_note() {
        let dir = folder(&["model.safetensors", "adapter_config.json", "adapter_model.safetensors"]);
        let located = locate(dir.path()).unwrap();
        assert_eq!(located.weights, Weights::Single(dir.path().join("model.safetensors")));
        let [note] = &located.notes[..] else { panic!("{:?}", located.notes) };
        assert!(
            note.contains("adapter_model.safetensors is left aside") && note.contains("--lora"),
            "{note}"
        );
    }

    #[test]
    fn folders_of_other_things_are_told_apart() {
        assert!(message(folder(&["training_args.bin", "config.json"]).path()).contains("holds no weights"));
        let adapter = folder(&["adapter_config.json", "adapter_model.safetensors"]);
        assert!(message(adapter.path()).contains("PEFT adapter"));
        assert!(message(&adapter.path().join("adapter_model.safetensors")).contains("PEFT adapter"));
        let gguf = folder(&["model.gguf"]);
        assert!(message(gguf.path()).contains("GGUF file already"));
        assert!(message(&gguf.path().join("model.gguf")).contains("GGUF file already"));
        assert!(message(folder(&["a.safetensors", "b.safetensors"]).path()).contains("several"));
        assert!(message(folder(&["config.json"]).path()).contains("holds no weights"));
        assert!(message(folder(&["config.json", "openvino_model.bin"]).path()).contains("OpenVINO"));
        assert!(message(Path::new("/nonexistent/model")).contains("cannot open"));
    }

    #[test]
    fn files_of_pytorch_count_where_there_are_no_safetensors() {
        let dir = folder(&["pytorch_model.bin", "training_args.bin", "model.safetensors"]);
        assert_eq!(
            locate(dir.path()).unwrap().weights,
            Weights::Single(dir.path().join("model.safetensors"))
        );
        let dir = folder(&["pytorch_model.bin", "training_args.bin", "optimizer.pt"]);
        assert_eq!(
            locate(dir.path()).unwrap().weights,
            Weights::Single(dir.path().join("pytorch_model.bin"))
        );
        let dir = folder(&["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]);
        assert!(matches!(locate(dir.path()).unwrap().weights, Weights::Shards(set) if set.len() == 2));
        fs::write(dir.path().join(PYTORCH.index), "{}").unwrap();
        assert_eq!(locate(dir.path()).unwrap().weights, Weights::Index(dir.path().join(PYTORCH.index)));
        let dir = folder(&["consolidated.00.pth"]);
        assert!(matches!(locate(dir.path()).unwrap().weights, Weights::Single(_)));
        let dir = folder(&["consolidated.00.pth", "consolidated.01.pth", "params.json"]);
        for input in [dir.path().to_owned(), dir.path().join("consolidated.01.pth")] {
            let ranks = [0, 1].map(|rank| dir.path().join(format!("consolidated.0{rank}.pth")));
            assert_eq!(locate(&input).unwrap().weights, Weights::Ranks(ranks.to_vec()));
        }
        assert!(message(folder(&["a.pth", "b.pt"]).path()).contains("several .bin or .pth"));
    }
}
