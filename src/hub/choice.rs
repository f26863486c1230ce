//! Which files of a repository are needed.

use std::path::{Path, PathBuf};

use super::Wanted;
use super::name::HubName;
use crate::checkpoint::{WeightsAmong, is_beside_weights, shards_of};
use crate::error::{Error, Result};
use crate::printable;

/// The type that is taken where a repository has several GGUF files.
const USUAL_TYPE: &str = "Q4_K_M";

/// GGUF files that are not models of their own.
const NO_MODELS: [&str; 2] = ["mmproj", "imatrix"];

/// The files to fetch, in two steps: the second may need what the first brought.
#[derive(Debug)]
pub(super) struct Choice {
    first: Vec<String>,
    rest: Rest,
    /// The file that is the model, if it is not a folder.
    file: Option<String>,
}

#[derive(Debug)]
enum Rest {
    Files(Vec<String>),
    Index(String),
}

impl Choice {
    /// Chooses among the files called `names`.
    pub(super) fn new(name: &HubName, wanted: Wanted, names: &[&str]) -> Result<Self> {
        let ggufs = Ggufs::of(names);
        if let Some(asked) = name.file() {
            return ggufs.choose(name, asked);
        }
        let beside = names.iter().filter(|name| is_beside_weights(name)).map(|&name| name.to_owned());
        let mut first: Vec<String> = beside.collect();
        let has = |file: &str| names.contains(&file);
        let refused = |what: String| Error::usage(format!("{name}: {what}"));
        if wanted == Wanted::Adapter {
            let weights =
                ["adapter_model.safetensors", "adapter_model.bin"].into_iter().find(|file| has(file));
            let weights = weights.filter(|_| has("adapter_config.json")).ok_or_else(|| {
                refused("it holds no PEFT adapter (adapter_config.json and adapter_model.safetensors)".into())
            })?;
            return Ok(Self { first, rest: Rest::Files(vec![weights.to_owned()]), file: None });
        }
        // Where a module has both, the second is the same once more.
        first.retain(|file| match file.strip_suffix("/pytorch_model.bin") {
            Some(folder) => !has(&format!("{folder}/model.safetensors")),
            None => true,
        });
        match WeightsAmong::choose(names).map_err(refused)? {
            Some(WeightsAmong::Files(files)) => Ok(Self { first, rest: Rest::Files(files), file: None }),
            Some(WeightsAmong::Index(index)) => {
                first.push(index.clone());
                Ok(Self { first, rest: Rest::Index(index), file: None })
            }
            None if !ggufs.models.is_empty() => ggufs.choose_usual(name),
            None if has("adapter_config.json") => Err(refused(format!(
                "it holds a PEFT adapter, not a model; merge it into its base: gguf-convert BASE --lora {name}"
            ))),
            None => {
                Err(refused("it holds no weights: neither safetensors nor PyTorch nor GGUF files".into()))
            }
        }
    }

    /// The weights, if it is a checkpoint.
    pub(super) fn weights(&self) -> Option<WeightsAmong> {
        if self.file.is_some() {
            return None;
        }
        Some(match &self.rest {
            Rest::Files(files) => WeightsAmong::Files(files.clone()),
            Rest::Index(index) => WeightsAmong::Index(index.clone()),
        })
    }

    pub(super) fn first(&self) -> &[String] {
        &self.first
    }

    /// What is needed besides, once the first files are in `snapshot`.
    pub(super) fn rest(&self, names: &[&str], snapshot: &Path) -> Result<Vec<String>> {
        let index = match &self.rest {
            Rest::Files(files) => return Ok(files.clone()),
            Rest::Index(index) => snapshot.join(index),
        };
        let shards = shards_of(&index)?;
        match shards.iter().find(|shard| !names.contains(&shard.as_str())) {
            Some(missing) => Err(Error::malformed(
                index,
                format!("it names {missing}, which the repository does not have"),
            )),
            None => Ok(shards),
        }
    }

    /// What to open.
    pub(super) fn path_in(&self, snapshot: &Path) -> PathBuf {
        self.file.as_ref().map_or_else(|| snapshot.to_owned(), |file| snapshot.join(file))
    }
}

/// The GGUF models of a repository; each is the list of its parts.
struct Ggufs {
    models: Vec<Vec<String>>,
}

impl Ggufs {
    fn of(names: &[&str]) -> Self {
        let is_model = |name: &&&str| {
            let lower = name.to_lowercase();
            lower.ends_with(".gguf") && !NO_MODELS.iter().any(|part| lower.contains(part))
        };
        let mut sorted: Vec<&str> = names.iter().filter(is_model).copied().collect();
        sorted.sort_unstable();
        let mut models: Vec<Vec<String>> = Vec::new();
        for name in sorted {
            let of_split = part_of(name);
            let is_same = |parts: &&mut Vec<String>| of_split.is_some() && part_of(&parts[0]) == of_split;
            match models.iter_mut().find(is_same) {
                Some(parts) => parts.push(name.to_owned()),
                None => models.push(vec![name.to_owned()]),
            }
        }
        Self { models }
    }

    /// The model that `asked` names by a file or a type.
    fn choose(self, name: &HubName, asked: &str) -> Result<Choice> {
        let is_named = |parts: &&Vec<String>| parts.iter().any(|part| part == asked);
        let found: Vec<&Vec<String>> = match self.models.iter().find(is_named) {
            Some(parts) => vec![parts],
            None => self.models.iter().filter(|parts| is_of_type(stem(&parts[0]), asked)).collect(),
        };
        match found[..] {
            [parts] => Ok(Choice {
                first: Vec::new(),
                file: Some(parts[0].clone()),
                rest: Rest::Files(parts.clone()),
            }),
            [] => Err(Error::usage(format!(
                "{name}: no GGUF file is called or ends so; there is {}",
                self.list()
            ))),
            [a, b, ..] => Err(Error::usage(format!(
                "{name}: several files are of that type ({}, {}); name one",
                a[0], b[0]
            ))),
        }
    }

    fn choose_usual(self, name: &HubName) -> Result<Choice> {
        if let [parts] = &self.models[..] {
            let file = parts[0].clone();
            return self.choose(name, &file);
        }
        if self.models.iter().filter(|parts| is_of_type(stem(&parts[0]), USUAL_TYPE)).count() == 1 {
            return self.choose(name, USUAL_TYPE);
        }
        Err(Error::usage(format!(
            "{name}: several GGUF files; name one or its type behind a colon: {}",
            self.list()
        )))
    }

    fn list(&self) -> String {
        const SHOWN: usize = 30;
        if self.models.is_empty() {
            return "none".to_owned();
        }
        printable::first_few(self.models.iter().map(|parts| &parts[0]), SHOWN)
    }
}

/// The name of a model without its ending and the number of a part.
fn stem(name: &str) -> &str {
    part_of(name).map_or_else(|| without_ending(name), |(head, _)| head)
}

fn without_ending(name: &str) -> &str {
    name.get(..name.len() - ".gguf".len()).unwrap_or(name)
}

/// The model that a file is a numbered part of, and of how many.
fn part_of(name: &str) -> Option<(&str, &str)> {
    let is_number = |text: &&str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let (rest, count) = without_ending(name).rsplit_once("-of-")?;
    let (head, number) = rest.rsplit_once('-')?;
    (is_number(&number) && is_number(&count)).then_some((head, count))
}

/// Whether the name of a model ends in `ty`, as in `Model-Q4_K_M`.
fn is_of_type(stem: &str, ty: &str) -> bool {
    let (stem, ty) = (stem.to_lowercase(), ty.to_lowercase());
    let head = stem.strip_suffix(&ty);
    head.is_some_and(|head| head.is_empty() || head.ends_with(|c: char| !c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(name: &str, names: &[&str]) -> Result<(Vec<String>, Option<String>), String> {
        let name = HubName::of(Path::new(name)).expect("sound").expect("of the hub");
        let choice = Choice::new(&name, Wanted::Model, names).map_err(|e| e.to_string())?;
        let rest = choice.rest(names, Path::new("nowhere")).expect("known");
        Ok((choice.first.iter().cloned().chain(rest).collect(), choice.file))
    }

    #[test]
    fn only_parts_of_one_split_belong_together() {
        let names = ["m-00001-of-00002.gguf", "m-00001-of-00003.gguf", "m-00002-of-00002.gguf", "m.gguf"];
        let chosen = |asked: &str| choice(&format!("hf:a/b:{asked}"), &names).expect("a choice");
        assert_eq!(chosen("m.gguf"), (vec!["m.gguf".to_owned()], Some("m.gguf".to_owned())));
        let parts = [names[0], names[2]].map(str::to_owned);
        assert_eq!(chosen(names[2]), (parts.to_vec(), Some(names[0].to_owned())));
        assert_eq!(chosen(names[1]).0, [names[1]]);
    }

    #[test]
    fn only_what_a_conversion_reads_is_chosen() {
        let names = [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "onnx/model.onnx",
            "README.md",
            ".gitattributes",
            "consolidated.safetensors",
            "tokenizer.json",
            "m-Q8_0.gguf",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
        ];
        let (files, file) = choice("hf:a/b", &names).expect("a choice");
        assert_eq!(
            files,
            [
                "config.json",
                "README.md",
                "tokenizer.json",
                "2_Dense/config.json",
                "2_Dense/model.safetensors",
                "model.safetensors"
            ]
        );
        assert_eq!(file, None);
    }

    #[test]
    fn a_gguf_file_is_chosen_by_name_or_type_with_all_its_parts() {
        let names = [
            "README.md",
            "m-IQ4_XS.gguf",
            "m-Q4_K_M.gguf",
            "m-Q8_0.gguf",
            "mmproj-m-Q8_0.gguf",
            "BF16/m-BF16-00001-of-00002.gguf",
            "BF16/m-BF16-00002-of-00002.gguf",
        ];
        let of = |name| choice(name, &names).map(|(files, _)| files);
        assert_eq!(of("hf:a/b").expect("the usual"), ["m-Q4_K_M.gguf"]);
        assert_eq!(of("hf:a/b:q8_0").expect("a type"), ["m-Q8_0.gguf"]);
        assert_eq!(of("hf:a/b:m-IQ4_XS.gguf").expect("a file"), ["m-IQ4_XS.gguf"]);
        assert_eq!(of("hf:a/b:bf16").expect("two parts"), &names[5..]);
        let error = of("hf:a/b:4_XS").expect_err("no such type");
        assert!(error.contains("there is BF16/m-BF16-00001-of-00002.gguf, m-IQ4_XS.gguf"), "{error}");
        assert!(
            choice("hf:a/b", &["x-Q8_0.gguf", "x-Q6_K.gguf"]).expect_err("two").contains("behind a colon")
        );
        assert!(
            choice("hf:a/b", &["adapter_config.json"]).expect_err("an adapter").contains("--lora hf:a/b")
        );
        assert!(choice("hf:a/b", &["x.txt"]).expect_err("none").contains("no weights"));
    }
}
