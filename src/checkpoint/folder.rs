//! A checkpoint's folder. Hands out the files beside the weights and records every request.
//!
//! What a conversion depends on is thereby known without a list kept by hand: the cache
//! key is made of what was read here and of what was looked for and absent, and none of these files is
//! ever written over. Every file beside the weights is therefore read through this type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::{config::Config, json};
use crate::error::{Error, Result};
use crate::limits;
use crate::regular_file;

/// SHA-256 of a file's content; `None` for a file that is not there.
pub type ContentDigest = Option<[u8; 32]>;

/// Files that belong to a tokenizer.
pub(super) const OF_TOKENIZERS: [&str; 15] = [
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "tiktoken.model",
    "qwen.tiktoken",
    "hy.tiktoken",
    "rwkv_vocab_v20230424.txt",
    "tokenizer.jsonl",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
];

/// The folder, in a checkpoint's, of chat templates for other purposes.
pub(super) const OF_TEMPLATES: &str = "additional_chat_templates";

/// Files of that folder that are read at most.
const MAX_TEMPLATES: usize = 64;

/// A folder that remembers which of its files were asked for.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The folder of the tokenizer's files, if they lie elsewhere.
    tokenizer: Option<PathBuf>,
    asked_for: Mutex<BTreeMap<String, ContentDigest>>,
}

impl Folder {
    /// The folder at `path`, of which nothing has been read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), tokenizer: None, asked_for: Mutex::default() }
    }

    /// Takes the tokenizer's files from the folder at `path` from here on.
    pub(super) fn take_tokenizer_of(&mut self, path: &Path) {
        self.tokenizer = Some(path.to_owned());
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        match &self.tokenizer {
            Some(path) if OF_TOKENIZERS.contains(&name) || name.starts_with(OF_TEMPLATES) => path.join(name),
            _ => self.path.join(name),
        }
    }

    /// The content of the file `name`, of at most `limit` bytes; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Limit`] if it is longer, [`Error::Malformed`] if it changed since it was
    /// read before.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let path = self.join(name);
        let content = if path.exists() { Some(regular_file::read(&path, limit)?) } else { None };
        if content.as_ref().is_some_and(|content| content.starts_with(json::GIT_LFS)) {
            return Err(Error::malformed(path, json::FETCH_FROM_GIT_LFS));
        }
        let digest: ContentDigest = content.as_deref().map(|bytes| Sha256::digest(bytes).into());
        let mut asked_for = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *asked_for.entry(name.to_owned()).or_insert(digest);
        if before == digest {
            Ok(content)
        } else {
            Err(Error::malformed(path, "it changed while the checkpoint was being read; run again"))
        }
    }

    /// The text of the file `name`, of at most `limit` bytes; `None` if it does not exist. The mark of UTF-8 that some
    /// editors put in front is not part of it; a template keeps it, as in transformers.
    ///
    /// # Errors
    /// As [`Self::read`], and [`Error::Malformed`] if it is not UTF-8.
    pub fn read_text(&self, name: &str, limit: u64) -> Result<Option<String>> {
        let Some(bytes) = self.read(name, limit)? else { return Ok(None) };
        let text = json::text_of(&self.join(name), bytes)?;
        match text.strip_prefix('\u{feff}') {
            Some(rest) if !name.ends_with(".jinja") => Ok(Some(rest.to_owned())),
            _ => Ok(Some(text)),
        }
    }

    /// The chat templates for other purposes, by name and text: `additional_chat_templates/NAME.jinja`.
    ///
    /// # Errors
    /// As [`Self::read_text`], and [`Error::Limit`] if there are too many.
    pub fn more_templates(&self) -> Result<Vec<(String, String)>> {
        let path = self.join(OF_TEMPLATES);
        let listed = match std::fs::read_dir(&path) {
            Ok(listed) => listed,
            Err(_) if !path.is_dir() => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(path, "cannot list", e)),
        };
        let mut names = Vec::new();
        for entry in listed {
            let entry = entry.map_err(|e| Error::io(&path, "cannot list", e))?;
            let name = entry.file_name();
            names.extend(name.to_str().and_then(|name| name.strip_suffix(".jinja")).map(str::to_owned));
        }
        names.sort();
        if names.len() > MAX_TEMPLATES {
            let (path, n) = (path.display(), names.len());
            return Err(Error::limit(format!("{path}: {n} templates; the limit is {MAX_TEMPLATES}")));
        }
        let mut templates = Vec::new();
        for name in names {
            let text = self.read_text(&format!("{OF_TEMPLATES}/{name}.jinja"), limits::MAX_CONFIG_BYTES)?;
            templates.extend(text.map(|text| (name, text)));
        }
        Ok(templates)
    }

    /// The JSON object in the file `name`; `None` if it does not exist.
    ///
    /// # Errors
    /// As [`Self::read_text`], and [`Error::Malformed`] if it is not a JSON object.
    pub fn read_config(&self, name: &str) -> Result<Option<Config>> {
        let text = self.read_text(name, limits::MAX_CONFIG_BYTES)?;
        text.map(|text| Config::parse(&self.join(name), &text)).transpose()
    }

    /// As [`Self::read_config`] for a file that is not worth an error: where it cannot be read, there is
    /// none, and `notes` gets the reason.
    pub fn read_config_tolerantly(&self, name: &str, notes: &mut Vec<String>) -> Option<Config> {
        match self.read_text(name, limits::MAX_CONFIG_BYTES) {
            Ok(text) => Config::parse_tolerantly(&self.join(name), &text?, notes),
            Err(e) => {
                notes.push(format!("left aside: {e}"));
                None
            }
        }
    }

    /// Every file asked for so far, by name, with the digest of what was read.
    pub fn asked_for(&self) -> BTreeMap<String, ContentDigest> {
        self.asked_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn absent_files_are_remembered_as_well_as_those_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.json"), "{}").unwrap();
        let folder = Folder::new(dir.path());
        assert!(folder.read_config("a.json").unwrap().is_some());
        assert_eq!(folder.read_text("b.txt", 10).unwrap(), None);
        let asked_for = folder.asked_for();
        assert_eq!(asked_for.keys().collect::<Vec<_>>(), ["a.json", "b.txt"]);
        // The digest of "{}", by sha256sum.
        let digest = asked_for["a.json"].unwrap();
        assert_eq!(digest[..4], [0x44, 0x13, 0x6f, 0xa3]);
        assert_eq!(asked_for["b.txt"], None);
    }

    #[test]
    fn a_file_that_changes_between_two_reads_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        assert_eq!(folder.read("a", 10).unwrap(), None);
        fs::write(dir.path().join("a"), "new").unwrap();
        let message = folder.read("a", 10).unwrap_err().to_string();
        assert!(message.contains("changed while"), "{message}");
    }

    #[test]
    fn a_pointer_of_git_lfs_is_no_content_of_any_file() {
        let dir = tempfile::tempdir().unwrap();
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        for name in ["tokenizer.json", "tokenizer.model", "chat_template.jinja"] {
            fs::write(dir.path().join(name), pointer).unwrap();
            let message = Folder::new(dir.path()).read(name, 1000).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains("git lfs pull"), "{message}");
        }
    }

    #[test]
    fn the_mark_of_utf_8_is_no_part_of_a_text_but_of_a_template() {
        let dir = tempfile::tempdir().unwrap();
        for (name, expected) in [("tokenizer.json", "{}"), ("chat_template.jinja", "\u{feff}{}")] {
            fs::write(dir.path().join(name), "\u{feff}{}").unwrap();
            assert_eq!(Folder::new(dir.path()).read_text(name, 10).unwrap().as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_file_longer_than_its_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "12345").unwrap();
        let folder = Folder::new(dir.path());
        assert!(matches!(folder.read("a", 4), Err(Error::Limit { .. })));
        assert_eq!(folder.read("a", 5).unwrap().as_deref(), Some(&b"12345"[..]));
    }
}
