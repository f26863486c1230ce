//! Mistral's tekken.json: special tokens first, then words by rank.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;

use super::{Ranks, Written};
use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_JSON_BYTES;
use crate::tokenizer::special_ids::Role;

/// The file.
const NAME: &str = "tekken.json";

/// The first special tokens of tekken.json before version 7, which does not list them.
const SPECIALS: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

const ROLES: [(Role, &str); 4] =
    [(Role::Unknown, "<unk>"), (Role::Bos, "<s>"), (Role::Eos, "</s>"), (Role::Padding, "<pad>")];

/// The file in `folder`, if it is there.
///
/// # Errors
/// As [`Ranks::open`].
pub(super) fn open(folder: &Folder) -> Result<Option<Ranks>> {
    let text = folder.read_text(NAME, MAX_JSON_BYTES)?;
    text.map(|text| parse(folder.join(NAME), &text)).transpose()
}

/// What tekken.json says.
#[derive(Deserialize)]
struct Tekken {
    config: Config,
    vocab: Vec<Word>,
    #[serde(default)]
    special_tokens: Option<Vec<Special>>,
}

#[derive(Deserialize)]
struct Config {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct Word {
    rank: usize,
    token_bytes: String,
}

#[derive(Deserialize)]
struct Special {
    rank: usize,
    token_str: String,
}

fn parse(path: PathBuf, text: &str) -> Result<Ranks> {
    let tekken: Tekken =
        serde_json::from_str(text).map_err(|e| Error::malformed(&path, format!("not a tekken.json: {e}")))?;
    let n_special = tekken.config.default_num_special_tokens;
    let n_words = tekken.config.default_vocab_size.saturating_sub(n_special);
    let named: HashMap<usize, &str> = match &tekken.special_tokens {
        Some(list) => list.iter().map(|token| (token.rank, token.token_str.as_str())).collect(),
        None => SPECIALS.into_iter().enumerate().collect(),
    };
    if let Some(rank) = named.keys().find(|&&rank| rank >= n_special) {
        let what =
            format!("special token {rank}, of {n_special} that default_num_special_tokens says there are");
        return Err(Error::malformed(path, what));
    }
    // Words of higher ranks serve other sizes of the vocabulary.
    let words = tekken.vocab.iter().filter(|token| token.rank < n_words);
    let tokens = words.map(|token| {
        let bytes = BASE64_STANDARD.decode(&token.token_bytes).ok().filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| {
            Error::malformed(&path, format!("the bytes of token {} are not in base64", token.rank))
        })?;
        Ok((bytes, token.rank + n_special))
    });
    let tokens = tokens.collect::<Result<Vec<_>>>()?;
    if n_special > tokens.len() + named.len() + MAX_FILLERS {
        let what = format!("default_num_special_tokens is {n_special}, far more than it has tokens");
        return Err(Error::malformed(path, what));
    }
    let texts: Vec<String> = (0..n_special)
        .map(|i| named.get(&i).map_or_else(|| format!("<SPECIAL_{i}>"), |text| (*text).to_owned()))
        .collect();
    let added: Vec<(usize, &str)> = texts.iter().map(String::as_str).enumerate().collect();
    let written = Written { pattern: &tekken.config.pattern, is_nfc: false, first: Some("<s>") };
    written.ranks(path, &tokens, &added, &ROLES)
}

/// Special tokens without a name, at most: files have room for a thousand.
const MAX_FILLERS: usize = 1 << 16;
