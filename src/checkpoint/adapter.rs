//! PEFT adapters: adapter_config.json, and what the tensors beside it change in a base model.
//!
//! A LoRA adds `scale B A` to a matrix, where `A: [r, n_in]` and `B: [n_out, r]` are of a low rank `r`, and `scale` is
//! `alpha / r`, or `alpha / sqrt(r)` for rsLoRA. DoRA scales each row of the sum to a length of its own. Whatever else
//! an adapter holds (`modules_to_save`, biases, embeddings of a resized vocabulary) takes the place of the base's.

use std::collections::BTreeMap;
use std::path::Path;

use super::adapted_experts::AdaptedExperts;
use super::adapter_settings::AdapterSettings;
use super::change::{Change, LowRank, NewRows, Parts};
use super::folder::Folder;
use super::shard::Shard;
use super::tensor::TensorView;
use crate::error::{Error, Result};
use crate::paths::folder_of;

/// The description of an adapter.
pub(super) const CONFIG: &str = "adapter_config.json";

/// Its tensors, in safetensors or as PyTorch saves them.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// What PEFT puts in front of the names of the base's modules.
const PREFIXES: [&str; 2] = ["base_model.model.", "base_model."];

/// What PEFT's wrappers add inside names.
const WRAPPERS: [&str; 3] = ["modules_to_save.default.", "modules_to_save.", "base_layer."];

/// What embeddings and heads are called, whose rows are as many as the vocabulary has tokens.
const VOCABULARIES: [&str; 7] =
    ["embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "lm_head", "embed_out"];

/// Files by which a folder has a tokenizer of its own.
const TOKENIZERS: [&str; 2] = ["tokenizer.json", "tokenizer.model"];

/// An opened adapter.
#[derive(Debug)]
pub struct Adapter {
    folder: Folder,
    settings: AdapterSettings,
    shard: Shard,
}

impl Adapter {
    /// Opens the adapter in the folder `path`, or in that of the file there, to be applied `scale` times.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is none, [`Error::Unsupported`] for one of another kind than LoRA; as
    /// [`Shard::open`].
    pub fn open(path: &Path, scale: f32) -> Result<Self> {
        let dir = if path.is_file() { folder_of(path).to_owned() } else { path.to_owned() };
        let folder = Folder::new(&dir);
        let none = |what: &str| {
            Error::usage(format!(
                "{} holds no PEFT adapter: {what} is missing; give the folder that the training saved it to",
                dir.display()
            ))
        };
        let config = folder.read_config(CONFIG)?.ok_or_else(|| none(CONFIG))?;
        let Some(weights) = WEIGHTS.iter().map(|name| dir.join(name)).find(|path| path.is_file()) else {
            return Err(none(WEIGHTS[0]));
        };
        let adapter =
            Self { shard: Shard::open(&weights)?, folder, settings: AdapterSettings::new(config, scale)? };
        Ok(adapter)
    }

    /// The folder it lies in.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Its folder, to read files beside the weights from.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The file of its tensors.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// How many times it is applied.
    pub fn scale(&self) -> f32 {
        self.settings.scale
    }

    /// What its author says that it was trained on.
    pub fn base(&self) -> Option<&str> {
        self.settings.config.string("base_model_name_or_path").ok().flatten()
    }

    /// Whether an embedding that it replaces is that of a tied head as well.
    pub fn keeps_ties(&self) -> bool {
        self.settings.config.bool("ensure_weight_tying").ok().flatten().unwrap_or(false)
    }

    /// What the user should know of it.
    pub fn notes(&self) -> Vec<String> {
        self.settings.notes()
    }

    /// Whether a tokenizer lies beside it.
    pub fn has_tokenizer(&self) -> bool {
        TOKENIZERS.iter().any(|name| self.folder.join(name).is_file())
    }

    /// Tokens of the vocabulary, if it has an embedding or a head of its own.
    ///
    /// # Errors
    /// As [`Self::changes`].
    pub fn n_vocab(&self) -> Result<Option<usize>> {
        Ok(self.changes()?.iter().find_map(|(name, change)| {
            let Change::Replaced(view) = change else { return None };
            let module = name.strip_suffix(".weight")?;
            let last = module.rsplit_once('.').map_or(module, |(_, last)| last);
            let &[n_vocab, _] = view.shape else { return None };
            VOCABULARIES.contains(&last).then_some(n_vocab)
        }))
    }

    /// What it changes, in order, each with the name of the base's tensor as its class calls it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for tensors that do not fit each other, [`Error::Unsupported`] for those of another kind of
    /// adapter.
    pub fn changes(&self) -> Result<Vec<(String, Change<'_>)>> {
        let (mut parts, mut changes) = (BTreeMap::<String, Parts<'_>>::new(), Vec::new());
        let mut experts = AdaptedExperts::default();
        for name in self.shard.tensor_names() {
            let Some(view) = self.shard.tensor(name)? else { continue };
            let plain = plain_name(name);
            if plain.contains(".original_module.") {
                continue;
            }
            let Some((module, part)) = plain.split_once(".lora_") else {
                if let Some((module, part)) = plain.split_once(".token_adapter.") {
                    if part.trim_end_matches(".default") != "trainable_tokens_delta" {
                        return Err(self.unknown(name));
                    }
                    changes.push((format!("{module}.weight"), Change::Rows(self.new_rows(module, view)?)));
                    continue;
                }
                changes.push((plain, Change::Replaced(view)));
                continue;
            };
            let of = if self.settings.parameters_of(module)?.is_empty() {
                parts.entry(module.to_owned()).or_default()
            } else {
                experts.parts(module, name)
            };
            // The name of the adapter may still stand in those of its tensors.
            let slot = match part.trim_end_matches(".weight").trim_end_matches(".default") {
                "A" => &mut of.a,
                "B" => &mut of.b,
                "embedding_A" => {
                    of.is_embedding = true;
                    &mut of.a
                }
                "embedding_B" => &mut of.b,
                "magnitude_vector" => &mut of.magnitude,
                _ => return Err(self.unknown(name)),
            };
            if slot.replace(view).is_some() {
                let what = format!("two tensors are the {part} of module {}", module.escape_debug());
                return Err(Error::malformed(self.shard.path(), what));
            }
        }
        for (module, parts) in parts {
            let change = Change::Added(self.low_rank(&module, parts)?);
            changes.push((format!("{module}.weight"), change));
        }
        changes.extend(experts.changes(&self.settings, self.shard.path())?);
        if changes.is_empty() {
            return Err(Error::malformed(self.shard.path(), "it holds no tensors"));
        }
        Ok(changes)
    }

    fn unknown(&self, name: &str) -> Error {
        let what = format!(
            "tensor {} is of a kind of adapter that this program cannot apply; merge it with PEFT, and convert that",
            name.escape_debug()
        );
        Error::unsupported(self.shard.path(), what)
    }

    /// The rows of `module` that `values` are for, as adapter_config.json says: a list, or lists by the names of modules.
    fn new_rows<'a>(&'a self, module: &str, values: TensorView<'a>) -> Result<NewRows<'a>> {
        const KEY: &str = "trainable_token_indices";
        let list = match self.settings.config.value(KEY) {
            Some(serde_json::Value::Object(by_name)) => {
                let is_of = |name: &str| module == name || module.ends_with(&format!(".{name}"));
                by_name.iter().find(|(name, _)| is_of(name)).map(|(_, list)| list)
            }
            list => list,
        };
        let index = |index: &serde_json::Value| index.as_u64().and_then(|n| usize::try_from(n).ok());
        let indices: Option<Vec<usize>> =
            list.and_then(serde_json::Value::as_array).and_then(|list| list.iter().map(index).collect());
        match (indices, values.shape) {
            (Some(indices), &[n, _]) if indices.len() == n && self.settings.scale == 1.0 => {
                Ok(NewRows { indices, values })
            }
            (Some(indices), &[n, _]) if indices.len() == n => {
                let what = "it has rows for single tokens, which can be applied once and not by a scale; give no scale";
                Err(Error::unsupported(self.shard.path(), what))
            }
            (_, shape) => {
                let what = format!(
                    "module {} has values of shape {shape:?} for single tokens, and {KEY} in adapter_config.json does not \
                     name as many",
                    module.escape_debug()
                );
                Err(Error::malformed(self.shard.path(), what))
            }
        }
    }

    fn low_rank<'a>(&'a self, module: &str, parts: Parts<'a>) -> Result<LowRank<'a>> {
        let wrong = |what: String| Error::malformed(self.shard.path(), what);
        let Parts { a, b, magnitude, is_embedding } = parts;
        let (Some(a), Some(b)) = (a, b) else {
            return Err(wrong(format!("module {} has only one of lora_A and lora_B", module.escape_debug())));
        };
        let (&[rank, n_in], &[n_out, rank_of_b]) = (a.shape, b.shape) else {
            let what = format!(
                "module {} has matrices of shapes {:?} and {:?}",
                module.escape_debug(),
                a.shape,
                b.shape
            );
            return Err(wrong(what));
        };
        if rank == 0 || rank != rank_of_b || n_in == 0 || n_out == 0 {
            let what = format!(
                "the matrices of module {} do not fit each other: lora_A has shape {:?}, lora_B {:?}",
                module.escape_debug(),
                a.shape,
                b.shape
            );
            return Err(wrong(what));
        }
        if magnitude.is_some_and(|magnitude| magnitude.n_elements() != n_out) {
            let what = format!(
                "the magnitudes of module {} are not {n_out}, one for each output",
                module.escape_debug()
            );
            return Err(wrong(what));
        }
        parts.check_floats(self.shard.path(), module)?;
        if let Some(stated) = self.settings.rank_of(module)?
            && stated != rank as f32
        {
            let what = format!(
                "module {} has rank {rank}, and adapter_config.json says {stated}, which its scale depends on",
                module.escape_debug()
            );
            return Err(wrong(what));
        }
        let is_turned = is_embedding || self.settings.config.bool("fan_in_fan_out")?.unwrap_or(false);
        Ok(LowRank { a, b, scale: self.settings.scale_of(module, rank)?, is_turned, magnitude })
    }
}

/// The name of a tensor as the base's class has it, but for the ending.
fn plain_name(name: &str) -> String {
    let name = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    WRAPPERS.iter().fold(name.to_owned(), |name, wrapper| name.replace(&format!(".{wrapper}"), "."))
}
