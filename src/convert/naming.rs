//! What the name of a model tells: `general.name` and the keys beside it.
//!
//! GGUF's naming convention is BaseName-SizeLabel-FineTune-Version; most Hugging Face names follow
//! it. Only what a name says plainly is taken from it.

use std::path::Path;

use crate::checkpoint::{Adapter, Checkpoint};

/// A model's name in parts, from an identifier such as `meta-llama/Llama-3.1-8B-Instruct`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelName {
    /// For people: "Llama 3.1 8B Instruct".
    pub(super) name: String,
    /// Who published it: "Meta Llama".
    pub(super) organization: Option<String>,
    /// What comes before the size: "Llama-3.1".
    pub(super) basename: Option<String>,
    /// The size as the name states it: "8B".
    pub(super) size_label: Option<String>,
    /// What comes after the size: "Instruct".
    pub(super) finetune: Option<String>,
    /// A version after the size: "v0.3".
    pub(super) version: Option<String>,
}

impl ModelName {
    /// Takes an identifier apart: a repository's, or a folder's name.
    pub(super) fn parse(identifier: &str) -> Self {
        let (organization, model) = match identifier.split_once('/') {
            Some((organization, model)) if !organization.starts_with('.') => {
                (Some(title(organization)), model)
            }
            Some((_, model)) => (None, model),
            None => (None, identifier),
        };
        let parts: Vec<&str> = model.split('-').filter(|part| !part.is_empty()).collect();
        let named = Self { name: title(model), organization, ..Self::default() };
        let Some(size) = (1..parts.len()).find(|&i| is_size(parts[i])) else {
            return named;
        };
        let (versions, finetunes): (Vec<&str>, Vec<&str>) =
            parts[size + 1..].iter().partition(|part| is_version(part));
        let join = |parts: &[&str]| (!parts.is_empty()).then(|| parts.join("-"));
        Self {
            basename: join(&parts[..size]),
            size_label: Some(parts[size].to_ascii_uppercase().replace('X', "x")),
            finetune: join(&finetunes),
            version: join(&versions),
            ..named
        }
    }
}

/// Whether `id` can be a repository of the Hub: `name` or `owner/name`, by the rules of
/// `huggingface_hub.utils.validate_repo_id`. Paths of a training machine (`C:\\models\\x`, `/data/x`,
/// `./x`, `~/x`, `a/b/c`) are none, nor are the folders that trainers write to (`out/checkpoint-500`).
pub(super) fn is_repository(id: &str) -> bool {
    const MAX_BYTES: usize = 96;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_part = |part: &str| {
        part.starts_with(is_word)
            && part.ends_with(is_word)
            && part.chars().all(|c| is_word(c) || c == '-' || c == '.')
            && part.len() <= MAX_BYTES
    };
    let model = id.rsplit('/').next().unwrap_or_default();
    let is_of_training = model
        .strip_prefix("checkpoint-")
        .is_some_and(|step| !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit()));
    !is_of_training
        && id.split('/').count() <= 2
        && id.split('/').all(is_part)
        && !id.contains("--")
        && !id.contains("..")
        && !id.ends_with(".git")
}

/// Whether a text for people is rather a path of the machine that it was written on.
pub(super) fn is_local_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_drive = bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && bytes[2] == b'/';
    text.contains('\\') || has_drive || ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start))
}

/// What a checkpoint's folder is called: its own name, or that of the repository in the Hugging Face
/// cache, where the folder is `models--owner--name/snapshots/<revision>`.
pub(super) fn folder_identifier(dir: &Path) -> String {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let name =
        |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let parent = dir.parent();
    if name(parent).as_deref() == Some("snapshots") {
        let repository = name(parent.and_then(Path::parent));
        if let Some((owner, model)) =
            repository.iter().find_map(|r| r.strip_prefix("models--")?.split_once("--"))
        {
            return format!("{owner}/{model}");
        }
    }
    name(Some(&dir)).unwrap_or_else(|| "model".into())
}

/// What a file of the model is called, but for its type: as the folder, and those of the adapters.
pub(super) fn model_stem(checkpoint: &Checkpoint) -> String {
    let dirs = std::iter::once(checkpoint.dir()).chain(checkpoint.adapters().iter().map(Adapter::dir));
    dirs.map(|dir| file_stem(&folder_identifier(dir))).collect::<Vec<_>>().join("-")
}

/// Bytes of a model's name in the names of files.
const MOST_STEM_BYTES: usize = 160;

/// The model's part of an identifier, as far as it serves in a file name.
pub(super) fn file_stem(identifier: &str) -> String {
    let model = identifier.rsplit('/').next().unwrap_or_default();
    let kept = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let mut stem: String = model.chars().map(kept).collect();
    // A file name has at most 255 bytes, and type, key and extension follow.
    stem.truncate(stem.floor_char_boundary(MOST_STEM_BYTES));
    if stem.is_empty() { "model".into() } else { stem }
}

/// Dashes become spaces, words in small letters begin with a capital; versions stay as they are.
fn title(identifier: &str) -> String {
    let word = |word: &str| {
        let is_lower = word.chars().all(|c| !c.is_uppercase()) && !is_version(word);
        let mut chars = word.chars();
        match chars.next().filter(|_| is_lower) {
            Some(first) => first.to_uppercase().chain(chars).collect(),
            None => word.to_owned(),
        }
    };
    identifier.split(['-', ' ']).filter(|part| !part.is_empty()).map(word).collect::<Vec<String>>().join(" ")
}

/// `8B`, `1.5b`, `360M`, `8x7B`.
fn is_size(part: &str) -> bool {
    let lower = part.to_ascii_lowercase();
    let Some(number) = lower.strip_suffix(['k', 'm', 'b', 't']) else {
        return false;
    };
    let (experts, number) = number.split_once('x').unwrap_or(("1", number));
    experts.parse::<u32>().is_ok()
        && number.parse::<f32>().is_ok()
        && number.starts_with(|c: char| c.is_ascii_digit())
}

/// `v0.3`, `V2`, `1.1`.
fn is_version(part: &str) -> bool {
    let digits = part.strip_prefix(['v', 'V']).unwrap_or(part);
    !digits.is_empty() && digits.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The size of a model for people: `7.3M`, `8.0B`, `70B`; with experts `8x7.2B`, where the number
/// counts what is shared and one expert.
pub(super) fn size_label(n_shared: u64, n_in_experts: u64, n_expert: usize) -> String {
    match n_expert as u64 {
        0 => rounded(n_shared + n_in_experts),
        n_expert => format!("{n_expert}x{}", rounded(n_shared + n_in_experts / n_expert)),
    }
}

fn rounded(n_parameters: u64) -> String {
    let n = n_parameters as f64;
    let (scaled, unit) = match n {
        n if n < 1e6 => (n / 1e3, "K"),
        n if n < 1e9 => (n / 1e6, "M"),
        n if n < 1e12 => (n / 1e9, "B"),
        n => (n / 1e12, "T"),
    };
    if scaled < 9.5 { format!("{scaled:.1}{unit}") } else { format!("{scaled:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conventional_name_comes_apart() {
        let name = ModelName::parse("meta-llama/Llama-3.1-8B-Instruct");
        assert_eq!(name.name, "Llama 3.1 8B Instruct");
        assert_eq!(name.organization.as_deref(), Some("Meta Llama"));
        assert_eq!(name.basename.as_deref(), Some("Llama-3.1"));
        assert_eq!(name.size_label.as_deref(), Some("8B"));
        assert_eq!(name.finetune.as_deref(), Some("Instruct"));
        assert_eq!(name.version, None);
    }

    #[test]
    fn versions_and_experts_are_recognised() {
        let name = ModelName::parse("mistralai/Mixtral-8x7B-Instruct-v0.1");
        assert_eq!(name.organization.as_deref(), Some("Mistralai"));
        assert_eq!(name.basename.as_deref(), Some("Mixtral"));
        assert_eq!(name.size_label.as_deref(), Some("8x7B"));
        assert_eq!(name.version.as_deref(), Some("v0.1"));
    }

    #[test]
    fn a_plain_name_stays_whole() {
        let name = ModelName::parse("fairytale");
        assert_eq!(name, ModelName { name: "Fairytale".into(), ..ModelName::default() });
        assert_eq!(ModelName::parse("./my-model").name, "My Model");
    }

    #[test]
    fn local_paths_are_no_repositories() {
        for id in ["gpt2", "meta-llama/Llama-3.1-8B", "a/b_c.d", "0x/1", "a/checkpoint-x"] {
            assert!(is_repository(id) && !is_local_path(id), "{id}");
        }
        for id in [
            "",
            "/model",
            "./local/base",
            "../x",
            "~/x",
            "~",
            "C:\\Users\\user\\llama",
            "D:/models/x",
            "a/b/c",
            "a/",
            "/",
            "models\\x",
            "two words",
            ".",
            "..",
            "a/.b",
            "a--b",
            "x.git",
            "-x/y",
            "a//b",
            "out/checkpoint-500",
            "checkpoint-500",
        ] {
            assert!(!is_repository(id), "{id}");
        }
        for path in ["/model", "./local/base", "../x", "~/x", "C:\\x", "D:/models/x", "models\\x"] {
            assert!(is_local_path(path), "{path}");
        }
        assert!(!is_local_path("A model: 7B/8B"));
    }

    #[test]
    fn a_folder_of_the_hub_cache_is_called_by_its_repository() {
        let dir = Path::new(
            "/h/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f249a16976918f6564b8830bc894c89659",
        );
        assert_eq!(folder_identifier(dir), "meta-llama/Llama-3.1-8B");
        assert_eq!(file_stem("meta-llama/Llama-3.1-8B"), "Llama-3.1-8B");
        assert_eq!(folder_identifier(Path::new("/h/fairytale")), "fairytale");
        assert_eq!(file_stem("two words: 1*"), "two_words__1_");
    }

    #[test]
    fn sizes_are_rounded_to_two_digits() {
        assert_eq!(size_label(7_344_384, 0, 0), "7.3M");
        assert_eq!(size_label(8_030_261_248, 0, 0), "8.0B");
        assert_eq!(size_label(70_553_706_496, 0, 0), "71B");
        assert_eq!(size_label(1_605_000_000, 45_098_000_000, 8), "8x7.2B");
    }
}
