//! A whole checkpoint: its weights in one file or many, and the files beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::adapter::Adapter;
use super::among::WeightsAmong;
use super::config::Config;
use super::folder::Folder;
use super::index::ShardIndex;
use super::locate::{Located, Weights, are_ranks, locate};
use super::makers;
use super::model_card::{ModelCard, read_model_card};
use super::modules::Modules;
use super::parted;
use super::shard::Shard;
use super::shards::{Opener, follow, open_all, open_indexed, shard, shards_of_names};
use super::tensor::TensorView;
use crate::error::{Error, Result};
use crate::read_file::ReadFile;

/// Where AutoGPTQ and AutoAWQ said what they did before config.json had a place for it.
const QUANTISATION: [&str; 2] = ["quantize_config.json", "quant_config.json"];

/// An opened checkpoint: every shard opened, every name in one place.
#[derive(Debug)]
pub struct Checkpoint {
    folder: Folder,
    index_path: Option<PathBuf>,
    shards: Vec<Shard>,
    /// The shard each tensor lies in.
    shard_of: BTreeMap<String, usize>,
    /// What its shard calls a tensor, where that is not the name it goes by.
    own_names: BTreeMap<String, String>,
    /// Shards that each hold a part of every matrix.
    n_ranks: usize,
    /// The shards of tensors of which several hold a part.
    parts: BTreeMap<String, Vec<usize>>,
    /// Shards from this one on are of modules behind the model; names there get the module's in front.
    first_module: usize,
    modules: Modules,
    config: Config,
    generation_config: Option<Config>,
    quantisation: Option<Config>,
    model_card: Option<ModelCard>,
    heading: Option<String>,
    adapters: Vec<Adapter>,
    notes: Vec<String>,
}

impl Checkpoint {
    /// Opens a checkpoint by its folder, its weight file, one of its shards, or their index.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`], [`Error::Unsupported`], [`Error::Limit`] or
    /// [`Error::Usage`], as the files deserve; a tensor of a type that cannot be converted is an error
    /// only when it is asked for.
    pub fn open(input: &Path) -> Result<Self> {
        Self::open_located(locate(input)?, &ReadFile::open)
    }

    /// Opens a checkpoint whose weights are not in its folder `dir`: `open` gives a file by the path that it would have
    /// there.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_remote(dir: &Path, weights: &WeightsAmong, open: &Opener<'_>) -> Result<Self> {
        let weights = match weights {
            WeightsAmong::Index(index) => Weights::Index(dir.join(index)),
            WeightsAmong::Files(files) => {
                let paths: Vec<PathBuf> = files.iter().map(|file| dir.join(file)).collect();
                match &paths[..] {
                    [path] => Weights::Single(path.clone()),
                    _ if are_ranks(files) => Weights::Ranks(paths),
                    _ if files.iter().all(|file| parted::is_part(file)) => Weights::Parted(paths),
                    _ => Weights::Shards(paths),
                }
            }
        };
        Self::open_located(Located { dir: dir.to_owned(), weights, notes: Vec::new() }, open)
    }

    fn open_located(located: Located, open: &Opener<'_>) -> Result<Self> {
        let Located { dir, weights, mut notes } = located;
        let folder = Folder::new(dir);
        let generation_config = folder.read_config_tolerantly("generation_config.json", &mut notes);
        let quantisation =
            QUANTISATION.into_iter().find_map(|name| folder.read_config_tolerantly(name, &mut notes));
        let (mut n_ranks, mut parts) = (1, BTreeMap::new());
        let (index_path, shards, shard_of) = match weights {
            Weights::Single(path) => (None, vec![shard(&path, open)?], None),
            Weights::Shards(paths) => (None, open_all(paths.iter(), open)?, None),
            Weights::Ranks(paths) => {
                let shards = open_all(paths.iter(), open)?;
                let of_first = shards[0].tensor_names().map(|name| (name.to_owned(), 0)).collect();
                n_ranks = shards.len();
                (None, shards, Some(of_first))
            }
            Weights::Parted(paths) => {
                let shards = open_all(paths.iter(), open)?;
                parts = parted::shards_of(&shards)?;
                let firsts = parts.iter().map(|(name, of)| (name.clone(), of[0])).collect();
                parts.retain(|_, of| of.len() > 1);
                (None, shards, Some(firsts))
            }
            Weights::Index(path) => {
                let index = ShardIndex::open(&path)?;
                let shards = open_indexed(folder.path(), &path, &index, open)?;
                let shard_of = follow(&index, &path, &shards, &mut notes)?;
                (Some(path), shards, Some(shard_of))
            }
        };
        let shard_of = match shard_of {
            Some(shard_of) => shard_of,
            None => shards_of_names(&shards, |_, _, _| None)?,
        };
        let (config, shard_of, own_names) = if makers::has_makers_names(&shards) {
            let (shard_of, own_names) = makers::renamed(&shard_of);
            (makers::config(&folder, (&shards, n_ranks), &mut notes)?, shard_of, own_names)
        } else {
            (open_config(&folder)?, shard_of, BTreeMap::new())
        };
        let (model_card, heading) = read_model_card(&folder, &mut notes);
        let modules = Modules::open(&folder)?;
        let first_module = shards.len();
        let (mut shards, mut shard_of) = (shards, shard_of);
        for (i, module) in modules.dense.iter().enumerate() {
            let shard = shard(&module.weights, open)?;
            let names =
                shard.tensor_names().map(|name| (format!("{}{name}", module_prefix(i)), shards.len()));
            shard_of.extend(names);
            shards.push(shard);
        }
        Ok(Self {
            folder,
            index_path,
            shards,
            shard_of,
            own_names,
            n_ranks,
            parts,
            first_module,
            modules,
            config,
            generation_config,
            quantisation,
            model_card,
            heading,
            adapters: Vec::new(),
            notes,
        })
    }

    /// The same model with these adapters merged into it, one after the other. A vocabulary that one of them resized
    /// counts, and so does the tokenizer beside it.
    ///
    /// # Errors
    /// As [`Adapter::changes`].
    pub fn with_adapters(mut self, adapters: Vec<Adapter>) -> Result<Self> {
        const VOCAB_SIZE: &str = "vocab_size";
        for adapter in &adapters {
            self.notes.extend(adapter.notes());
            if let Some(n_vocab) = adapter.n_vocab()? {
                self.config.set_count(VOCAB_SIZE, n_vocab);
            }
            if adapter.has_tokenizer() {
                self.folder.take_tokenizer_of(adapter.dir());
                let dir = adapter.dir().display();
                self.notes
                    .push(format!("the tokenizer and the chat template are those of the adapter in {dir}"));
            }
        }
        self.adapters = adapters;
        Ok(self)
    }

    /// What is merged into the model.
    pub fn adapters(&self) -> &[Adapter] {
        &self.adapters
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

    /// The first heading of README.md.
    pub fn heading(&self) -> Option<&str> {
        self.heading.as_deref()
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
            Some(&shard) => self.shards[shard].tensor(self.name_in(shard, name)),
            None => Ok(None),
        }
    }

    /// The modules behind the model, as folders of sentence-transformers have them. The tensors of the first and the
    /// second matrix have `dense_2.` and `dense_3.` in front of their names.
    pub fn modules(&self) -> &Modules {
        &self.modules
    }

    /// What `shard` itself calls a tensor.
    fn name_in<'n>(&'n self, shard: usize, name: &'n str) -> &'n str {
        match shard.checked_sub(self.first_module) {
            Some(module) => name.strip_prefix(&module_prefix(module)).unwrap_or(name),
            None => self.own_names.get(name).map_or(name, String::as_str),
        }
    }

    /// The tensors of this name of all ranks, if there are several.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a rank has none; as [`Checkpoint::tensor`].
    pub fn ranks_of(&self, name: &str) -> Result<Option<Vec<TensorView<'_>>>> {
        if let Some(parts) = self.parts.get(name) {
            let parts = parts.iter().map(|&shard| self.shards[shard].tensor(name));
            return Ok(Some(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()));
        }
        if self.n_ranks < 2 || self.shard_of.get(name).is_none_or(|&shard| shard >= self.n_ranks) {
            return Ok(None);
        }
        let own = self.name_in(0, name);
        let mut parts = Vec::with_capacity(self.n_ranks);
        for shard in &self.shards[..self.n_ranks] {
            let Some(part) = shard.tensor(own)? else {
                let what = format!(
                    "tensor {own} is missing, which the first of {} files has a part of",
                    self.n_ranks
                );
                return Err(Error::malformed(shard.path(), what));
            };
            parts.push(part);
        }
        Ok(Some(parts))
    }

    /// The method by which the weights were quantised, in lower case, if config.json says that they
    /// were. It may say so of weights that are plain again; the tensors tell.
    pub fn quantization_method(&self) -> Option<String> {
        let quantisation = self.quantisation_sections().next()?;
        let method = quantisation.get("quant_method").and_then(|method| method.as_str());
        Some(method.unwrap_or("an unnamed method").to_ascii_lowercase())
    }

    /// The value of `key` in what config.json says of the quantisation, or the file of older programs beside it.
    pub(crate) fn quantisation_setting(&self, key: &str) -> Option<&serde_json::Value> {
        let beside = || self.quantisation.as_ref()?.value(key);
        self.quantisation_sections().find_map(|section| section.get(key)).or_else(beside)
    }

    /// Where config.json says how weights are quantised; models of pictures and text may say it of the latter alone.
    fn quantisation_sections(&self) -> impl Iterator<Item = &serde_json::Value> {
        let inner = self.config.value("text_config");
        let names = ["quantization_config", "compression_config", "quantization"];
        names.into_iter().filter_map(move |name| self.config.value(name).or_else(|| inner?.get(name)))
    }

    /// The weight files, sorted by name.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
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

/// What stands in front of the names of the tensors of dense module `i`: they are numbered as in GGUF.
fn module_prefix(i: usize) -> String {
    format!("dense_{}.", i + 2)
}

fn open_config(folder: &Folder) -> Result<Config> {
    folder.read_config("config.json")?.ok_or_else(|| {
        Error::usage(format!(
            "{} has no config.json, which says what the model is: download it from where the weights came from",
            folder.path().display()
        ))
    })
}
