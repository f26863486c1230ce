//! Several texts, from arguments or the lines of a file.

use std::path::{Path, PathBuf};

use super::input::read_text;
use super::load::Model;
use crate::error::{Error, Result};
use crate::runtime::EmbedText;

/// Several texts.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct TextsArgs {
    /// The texts; behind -- they may begin with a hyphen
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    texts: Vec<String>,
    /// A file with a text a line; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Cut texts that are longer than the model can read, instead of refusing them
    #[arg(long)]
    truncate: bool,
}

impl TextsArgs {
    /// The texts.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are none; those of reading a file.
    pub(super) fn read(&self) -> Result<Vec<String>> {
        let texts = match &self.file {
            Some(file) => read_text(file)?.lines().map(str::to_owned).collect(),
            None => self.texts.clone(),
        };
        if texts.is_empty() {
            return Err(Error::usage(
                "there are no texts; give some as arguments, or a file with a text a line by -f FILE",
            ));
        }
        Ok(texts)
    }

    /// The files that are read.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.file.iter().map(PathBuf::as_path)
    }

    /// `texts`, if the model can read each, cut if that was asked for: the last token stays the last. `max_tokens` are what
    /// its authors say that it reads.
    ///
    /// # Errors
    /// [`Error::Limit`] for one that is too long, [`Error::Usage`] for one without tokens.
    pub(super) fn within(
        &self,
        model: &Model,
        max_tokens: Option<usize>,
        mut texts: Vec<EmbedText>,
    ) -> Result<Vec<EmbedText>> {
        let n_ctx_train = model.engine.spec().n_ctx_train;
        let n_most = max_tokens.map_or(n_ctx_train, |n| n.min(n_ctx_train));
        for (i, EmbedText { ids, .. }) in texts.iter_mut().enumerate() {
            let number = i + 1;
            if ids.is_empty() {
                return Err(Error::usage(format!("text {number} has no tokens; leave it out")));
            }
            if ids.len() > n_most {
                if !self.truncate {
                    return Err(Error::limit(format!(
                        "text {number} has {} tokens, and the model reads {n_most}; use --truncate to cut it there",
                        ids.len()
                    )));
                }
                let last = ids[ids.len() - 1];
                ids.truncate(n_most);
                if model.tokenizer.adds_eos() {
                    ids[n_most - 1] = last;
                }
            }
        }
        Ok(texts)
    }
}

/// Tokens of the longest of `texts`.
pub(super) fn n_longest(texts: &[EmbedText]) -> usize {
    texts.iter().map(|text| text.ids.len()).max().unwrap_or(1)
}
