//! A whole checkpoint: its weights in one file or many, and the files beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::folder::Folder;
use super::index::ShardIndex;
use super::locate::{Located, Weights, locate};
use super::model_card::ModelCard;
use super::shard::{Shard, TensorView};
use crate::error::{Error, Result};
use crate::limits;

/// An opened checkpoint: every shard mapped, every name in one place.
#[derive(Debug)]
pub struct Checkpoint {
    folder: Folder,
    index_path: Option<PathBuf>,
    shards: Vec<Shard>,
    /// The shard each tensor lies in.
    shard_of: BTreeMap<String, usize>,
    config: Config,
    generation_config: Option<Config>,
    model_card: Option<ModelCard>,
    notes: Vec<String>,
}

impl Checkpoint {
    /// Opens a checkpoint by its folder, its `.safetensors` file, one of its shards, or its
    /// `model.safetensors.index.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`], [`Error::Unsupported`], [`Error::Limit`] or
    /// [`Error::Usage`], as the files deserve; a tensor of a type that cannot be converted is an error
    /// only when it is asked for.
    pub fn open(input: &Path) -> Result<Self> {
        let Located { dir, weights } = locate(input)?;
        let folder = Folder::new(dir);
        let config = open_config(&folder)?;
        let mut notes = Vec::new();
        let generation_config = folder.read_config_tolerantly("generation_config.json", &mut notes);
        let (index_path, shards, shard_of) = match weights {
            Weights::Single(path) => {
                let shard = Shard::open(&path)?;
                let shard_of = shard.tensor_names().map(|name| (name.to_owned(), 0)).collect();
                (None, vec![shard], shard_of)
            }
            Weights::Index(path) => {
                let (shards, shard_of) = open_shards(folder.path(), &path)?;
                (Some(path), shards, shard_of)
            }
        };
        let model_card = read_model_card(&folder, &mut notes);
        Ok(Self { folder, index_path, shards, shard_of, config, generation_config, model_card, notes })
    }

    /// The path of the folder the files lie in.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The folder, to read files beside the weights from.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// config.json.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// generation_config.json, if there is one.
    pub fn generation_config(&self) -> Option<&Config> {
        self.generation_config.as_ref()
    }

    /// The front matter of README.md, if there is one and it can be read.
    pub fn model_card(&self) -> Option<&ModelCard> {
        self.model_card.as_ref()
    }

    /// What was set aside while opening, one sentence each, to be shown as warnings.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The names of all tensors, sorted.
    pub fn tensor_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.shard_of.keys().map(String::as_str)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its elements are of a type that cannot be converted.
    pub fn tensor(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        match self.shard_of.get(name) {
            Some(&shard) => self.shards[shard].tensor(name),
            None => Ok(None),
        }
    }

    /// The method by which the checkpoint was quantised before it came here, in lower case; `None`
    /// for a plain one. Quantised ones need another reading of their tensors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if `quantization_config` is there and cannot be read.
    pub fn quantization_method(&self) -> Result<Option<String>> {
        for key in ["quantization_config", "compression_config"] {
            if let Some(quantization) = self.config.object(key)? {
                let method = quantization.string("quant_method")?.unwrap_or("unnamed");
                return Ok(Some(method.to_ascii_lowercase()));
            }
        }
        Ok(None)
    }

    /// The paths of the weight files, sorted.
    pub fn weight_paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.shards.iter().map(Shard::path)
    }

    /// The path of the index that names the weight files, if one was read.
    pub fn index_path(&self) -> Option<&Path> {
        self.index_path.as_deref()
    }

    /// Bytes of all weight files.
    pub fn total_bytes(&self) -> u64 {
        self.shards.iter().map(Shard::file_len).sum()
    }
}

fn open_config(folder: &Folder) -> Result<Config> {
    folder.read_config("config.json")?.ok_or_else(|| {
        Error::usage(format!(
            "{} has no config.json, which says what the model is: download it from where the weights came from",
            folder.path().display()
        ))
    })
}

/// Opens all shards of an index and checks that index and shards agree: every tensor named is in the
/// shard named, and no tensor is in two.
fn open_shards(dir: &Path, index_path: &Path) -> Result<(Vec<Shard>, BTreeMap<String, usize>)> {
    let index = ShardIndex::open(index_path)?;
    let files: Vec<&str> = index.shard_files().into_iter().collect();
    let missing: Vec<&str> = files.iter().copied().filter(|file| !dir.join(file).is_file()).collect();
    if let [first, ..] = missing[..] {
        return Err(Error::malformed(
            index_path,
            format!(
                "of its {} shards {} are missing in the folder, the first is {first}: download them",
                files.len(),
                missing.len()
            ),
        ));
    }
    let shards = files.iter().map(|file| Shard::open(&dir.join(file))).collect::<Result<Vec<_>>>()?;
    let mut shard_of: BTreeMap<String, usize> = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        for name in shard.tensor_names() {
            if let Some(other) = shard_of.insert(name.to_owned(), i) {
                let what = format!("tensor {} is also in {}", name.escape_debug(), files[other]);
                return Err(Error::malformed(shard.path(), what));
            }
        }
    }
    for (name, file) in &index.shard_of {
        if shard_of.get(name).is_none_or(|&i| files[i] != file) {
            let what = format!("it says that tensor {} is in {file}, and it is not", name.escape_debug());
            return Err(Error::malformed(index_path, what));
        }
    }
    Ok((shards, shard_of))
}

/// Reads the model card; whatever is wrong with it becomes a note.
fn read_model_card(folder: &Folder, notes: &mut Vec<String>) -> Option<ModelCard> {
    const NAME: &str = "README.md";
    let read = folder.read_text(NAME, limits::MAX_MODEL_CARD_BYTES).map_err(|e| e.to_string());
    match read.and_then(|text| text.map_or(Ok(None), |text| ModelCard::parse(&text))) {
        Ok(card) => card,
        Err(reason) => {
            notes.push(format!("{} is left aside: {reason}", folder.join(NAME).display()));
            None
        }
    }
}
