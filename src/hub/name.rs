//! Names of models on the hub, as users write them.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::paths::stays_inside;

/// What such names begin with.
const PREFIX: &str = "hf:";

/// `hf:ORG/NAME[@REVISION][:FILE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubName {
    repository: String,
    revision: Option<String>,
    file: Option<String>,
}

impl HubName {
    /// The name that `input` is; `None` for a path.
    ///
    /// # Errors
    /// [`Error::Usage`] for one of another form.
    pub fn of(input: &Path) -> Result<Option<Self>> {
        let Some(text) = input.to_str().and_then(|text| text.strip_prefix(PREFIX)) else { return Ok(None) };
        let (head, file) = match text.split_once(':') {
            Some((head, file)) => (head, Some(file)),
            None => (text, None),
        };
        let (repository, revision) = match head.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (head, None),
        };
        let is_sound = repository.split('/').count() <= 2
            && stays_inside(repository)
            && revision.is_none_or(stays_inside)
            && file.is_none_or(stays_inside);
        if !is_sound {
            return Err(Error::usage(format!(
                "{} is not the name of a model on the hub; it is to be hf:ORG/NAME, hf:ORG/NAME@REVISION or, for a GGUF file, \
                 hf:ORG/NAME:FILE or hf:ORG/NAME:TYPE, as in hf:ORG/NAME:Q4_K_M",
                input.display()
            )));
        }
        let owned = |text: &str| text.to_owned();
        Ok(Some(Self {
            repository: repository.to_owned(),
            revision: revision.map(owned),
            file: file.map(owned),
        }))
    }

    /// The name that is most likely meant by `input`, which is written in another way: an address of the hub, or `ORG/NAME`
    /// alone. `None` for what is more likely a path.
    pub fn meant_by(input: &Path) -> Option<Self> {
        let text = input.to_str()?;
        let address = ["https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/"];
        let Some(rest) = address.iter().find_map(|start| text.strip_prefix(start)) else {
            let (org, name) = text.split_once('/')?;
            let is_word = |word: &str| {
                word.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            };
            let is_name = is_word(org) && is_word(name) && !Path::new(org).exists();
            let is_file =
                [".gguf", ".safetensors", ".bin", ".json", ".pth"].iter().any(|end| name.ends_with(end));
            return Self::of(Path::new(&format!("{PREFIX}{text}"))).ok()?.filter(|_| is_name && !is_file);
        };
        let rest = rest.split(['?', '#']).next()?;
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let name = match parts[..] {
            [org, name] | [org, name, "tree", "main"] => format!("{org}/{name}"),
            [org, name, "tree", revision] => format!("{org}/{name}@{revision}"),
            [org, name, "resolve" | "blob" | "raw", revision, ref file @ ..] => {
                let revision = if revision == "main" { String::new() } else { format!("@{revision}") };
                let file = file.join("/");
                // Of other files, the checkpoint that they are of.
                let file = if file.ends_with(".gguf") { format!(":{file}") } else { String::new() };
                format!("{org}/{name}{revision}{file}")
            }
            _ => return None,
        };
        Self::of(Path::new(&format!("{PREFIX}{name}"))).ok()?
    }

    /// `ORG/NAME`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A branch, a tag or a commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The GGUF file, or its type.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.repository)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, Option<String>) {
        let name = HubName::of(Path::new(text)).expect("sound").expect("of the hub");
        assert_eq!(name.to_string(), text);
        (name.repository().into(), name.revision().into(), name.file().map(str::to_owned))
    }

    #[test]
    fn a_name_has_a_repository_a_revision_and_a_file() {
        assert_eq!(parts("hf:a/b"), ("a/b".into(), "main".into(), None));
        assert_eq!(parts("hf:gpt2@v1.0"), ("gpt2".into(), "v1.0".into(), None));
        assert_eq!(
            parts("hf:a/b@refs/pr/1:x/y-Q4_K_M.gguf"),
            ("a/b".into(), "refs/pr/1".into(), Some("x/y-Q4_K_M.gguf".into()))
        );
        assert_eq!(parts("hf:a/b:x y/é#q%.gguf").2.as_deref(), Some("x y/é#q%.gguf"));
        assert_eq!(HubName::of(Path::new("./hf:a")).expect("a path"), None);
    }

    #[test]
    fn addresses_and_bare_names_are_recognised_and_paths_are_not() {
        let meant = |text: &str| HubName::meant_by(Path::new(text)).map(|name| name.to_string());
        for (text, name) in [
            ("Qwen/Qwen2.5-0.5B", "hf:Qwen/Qwen2.5-0.5B"),
            ("https://huggingface.co/a/b", "hf:a/b"),
            ("https://huggingface.co/a/b/tree/main", "hf:a/b"),
            ("https://hf.co/a/b/tree/v1", "hf:a/b@v1"),
            ("huggingface.co/a/b/resolve/main/x/y.gguf?download=true", "hf:a/b:x/y.gguf"),
            ("https://huggingface.co/a/b/blob/v2/model.safetensors", "hf:a/b@v2"),
        ] {
            assert_eq!(meant(text).as_deref(), Some(name), "{text}");
        }
        for text in [
            "model",
            "/a/b",
            "./a/b",
            "../a",
            "a/b/c",
            "models/x.gguf",
            "src/b",
            "https://example.org/a/b",
            "a/",
        ] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_that_would_lead_elsewhere_is_refused() {
        for text in [
            "hf:",
            "hf:a/b/c",
            "hf:../a",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b:",
            "hf:a/b:../x",
            "hf:a?b",
            "hf:a/b:x:y",
        ] {
            let message = HubName::of(Path::new(text)).expect_err(text).to_string();
            assert!(message.contains("hf:ORG/NAME"), "{message}");
        }
    }
}
