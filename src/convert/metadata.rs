//! The `general.*` keys: what a file says of itself, from configuration, model card and name.

use gguf_simd::BlockType;

use crate::checkpoint::{Checkpoint, ModelCard, excerpt};
use crate::convert::naming::{ModelName, folder_identifier, is_local_path, is_repository, size_label};
use crate::convert::recipe::{Candidate, Choice};
use crate::convert::{FileType, ImportanceFile, PlanOptions};
use crate::gguf::Value;
use crate::model::arch::Family;
use crate::model::sampling::{MIN_P, REPEAT_PENALTY, TEMPERATURE, TOP_K, TOP_P};
use crate::model::spec::ModelSpec;
use crate::quantize::ScaleSearch;

/// Where repositories of the Hub are found.
const HUB: &str = "https://huggingface.co/";

/// The version of the block formats that the field writes.
const QUANTIZATION_VERSION: u32 = 2;

/// What is known of a model beyond its weights.
#[derive(Debug)]
pub(super) struct General {
    name: ModelName,
    size_label: String,
    card: ModelCard,
}

impl General {
    /// Gathers it: a name from the user, the card, config.json or the folder, in this order.
    pub(super) fn of(
        checkpoint: &Checkpoint,
        options: &PlanOptions,
        spec: &ModelSpec,
        tensors: &[Candidate],
    ) -> Self {
        let card = checkpoint.model_card().cloned().unwrap_or_default();
        let repository = checkpoint.config().string("_name_or_path").ok().flatten();
        let repository = repository.filter(|id| is_repository(id));
        let mut name = match repository {
            Some(repository) => ModelName::parse(repository),
            None => ModelName::parse(&folder_identifier(checkpoint.dir())),
        };
        let of_card = card.name.as_ref().filter(|name| !is_local_path(name));
        if let Some(given) = options.name.as_ref().or(of_card) {
            given.clone_into(&mut name.name);
        }
        // The size in a name is that of the whole model.
        let named = name.size_label.clone().filter(|_| options.pruned.is_empty());
        let size_label = named.unwrap_or_else(|| counted_size(spec, tensors));
        Self { name, size_label, card }
    }

    /// The model's name, for people.
    pub(super) fn name(&self) -> &str {
        &self.name.name
    }
}

/// The size of a model as its tensors tell.
pub(super) fn counted_size(spec: &ModelSpec, tensors: &[Candidate]) -> String {
    let is_expert = |tensor: &Candidate| tensor.id.role.is_expert_stack();
    let count = |experts: bool| -> u64 {
        let some = tensors.iter().filter(|tensor| is_expert(tensor) == experts);
        some.map(|tensor| tensor.shape.iter().map(|&n| n as u64).product::<u64>()).sum()
    };
    size_label(count(false), count(true), spec.experts().0)
}

/// The keys that describe the model; `notes` gets what is left out.
pub(super) fn general(
    family: &Family,
    general: &General,
    checkpoint: &Checkpoint,
    notes: &mut Vec<String>,
) -> Vec<(String, Value)> {
    let mut pairs = vec![text("architecture", family.gguf_name), text("type", "model")];
    pairs.extend(sampling(checkpoint, notes));
    let General { name, size_label, card } = general;
    pairs.push(text("name", &name.name));
    let optional = [
        ("version", &name.version),
        ("organization", &name.organization),
        ("finetune", &name.finetune),
        ("basename", &name.basename),
        ("size_label", &Some(size_label.clone())),
        ("license", &card.license),
        ("license.name", &card.license_name),
        ("license.link", &card.license_link),
    ];
    pairs.extend(optional.iter().filter_map(|(key, value)| value.as_ref().map(|value| text(key, value))));
    pairs.extend(base_models(&card.base_models, notes));
    for (key, list) in [("tags", &card.tags), ("languages", &card.languages)] {
        if !list.is_empty() {
            pairs.push((format!("general.{key}"), Value::Strings(list.clone())));
        }
    }
    pairs
}

/// The keys that describe the file, in which `tensors` get the types of `choices`.
pub(super) fn file(options: &PlanOptions, tensors: &[Candidate], choices: &[Choice]) -> Vec<(String, Value)> {
    let file_type = match options.file_type {
        FileType::KEEP => most_used(tensors, choices).and_then(FileType::of_blocks),
        file_type => Some(file_type),
    };
    let number = file_type.unwrap_or(FileType::F16).number();
    let mut pairs = vec![
        ("general.file_type".into(), Value::U32(number)),
        ("general.quantization_version".into(), Value::U32(QUANTIZATION_VERSION)),
    ];
    pairs.extend(options.importance.iter().flat_map(ImportanceFile::pairs));
    if options.scale_search != ScaleSearch::default() {
        pairs.push(("quantize.scale_search".into(), Value::String(options.scale_search.to_string())));
    }
    pairs
}

/// The block type of most weights.
fn most_used(tensors: &[Candidate], choices: &[Choice]) -> Option<BlockType> {
    let mut n_weights: Vec<(usize, BlockType)> = Vec::new();
    for (tensor, choice) in tensors.iter().zip(choices) {
        let (n, ty) = (tensor.shape.iter().product::<usize>(), choice.block_type);
        match n_weights.iter_mut().find(|(_, other)| *other == ty) {
            Some((sum, _)) => *sum += n,
            None => n_weights.push((n, ty)),
        }
    }
    n_weights.into_iter().max_by_key(|(n, _)| *n).map(|(_, ty)| ty)
}

fn text(key: &str, value: &str) -> (String, Value) {
    (format!("general.{key}"), Value::String(value.to_owned()))
}

/// The sampling that generation_config.json recommends. What the runtime could not do is left out,
/// and told in `notes`.
fn sampling(checkpoint: &Checkpoint, notes: &mut Vec<String>) -> Vec<(String, Value)> {
    let Some(config) = checkpoint.generation_config() else {
        return Vec::new();
    };
    let key = |name: &str| format!("general.sampling.{name}");
    let mut wrong = |name: &str, value: &serde_json::Value, expected: &str| {
        let (path, value) = (config.path().display(), excerpt(value));
        notes.push(format!("{path}: {name} is {value} and is left out: it should be {expected}"));
    };
    let mut pairs = Vec::new();
    if let Some(value) = config.value("top_k") {
        match value.as_i64().map(i32::try_from) {
            // Several programs have -1 for "off", which is 0 here.
            Some(Ok(top_k)) if top_k >= -1 => pairs.push((key(TOP_K), Value::I32(top_k.max(0)))),
            _ => wrong("top_k", value, "an integer, 0 or more"),
        }
    }
    // What is said to be greedy is, whatever stands beside it.
    let is_greedy = config.value("do_sample") == Some(&serde_json::Value::Bool(false));
    if is_greedy {
        pairs.push((key(TEMPERATURE.gguf_name), Value::F32(0.0)));
    }
    for (name, number) in [
        ("top_p", TOP_P),
        ("min_p", MIN_P),
        ("temperature", TEMPERATURE),
        ("repetition_penalty", REPEAT_PENALTY),
    ] {
        let Some(value) = config.value(name).filter(|_| !(is_greedy && name == "temperature")) else {
            continue;
        };
        match value.as_f64().map(|value| value as f32).filter(|&value| number.allows(value)) {
            Some(value) => pairs.push((key(number.gguf_name), Value::F32(value))),
            None => wrong(name, value, &format!("a number {number}")),
        }
    }
    pairs
}

/// The models that this one was made from, as `owner/name` on the Hub or as addresses. What is
/// neither, such as a path, is left out and told in `notes`.
fn base_models(ids: &[String], notes: &mut Vec<String>) -> Vec<(String, Value)> {
    let repository = |id: &str| {
        let id = id.strip_prefix(HUB).unwrap_or(id);
        is_repository(id).then(|| id.to_owned())
    };
    let is_address = |id: &str| id.starts_with("https://") || id.starts_with("http://");
    let (ids, wrong): (Vec<&String>, Vec<&String>) =
        ids.iter().partition(|id| repository(id).is_some() || is_address(id));
    notes.extend(wrong.iter().map(|id| {
        format!("the model card's base_model {id:?} is left out: it is not a repository of the Hub")
    }));
    if ids.is_empty() {
        return Vec::new();
    }
    let mut pairs = vec![("general.base_model.count".to_owned(), Value::U32(ids.len() as u32))];
    for (i, id) in ids.into_iter().enumerate() {
        let key = |name: &str| format!("base_model.{i}.{name}");
        let url = match repository(id) {
            None => id.clone(),
            Some(repository) => {
                let name = ModelName::parse(&repository);
                pairs.push(text(&key("name"), &name.name));
                pairs.extend(name.version.map(|version| text(&key("version"), &version)));
                pairs.extend(name.organization.map(|organization| text(&key("organization"), &organization)));
                format!("{HUB}{repository}")
            }
        };
        pairs.push(text(&key("repo_url"), &url));
    }
    pairs
}
