//! Vocabularies whose files list the bytes of every token by rank: tiktoken's, and Mistral's tekken.json.
//!
//! A piece of text that is a token becomes that token. Of another one the neighbours are joined whose bytes
//! together are the token of the lowest rank, and so on until none are. A byte-level BPE of tokenizer.json does the
//! same if it ignores merges for whole pieces and has as its merges, by rank, every pair of tokens whose bytes
//! together are a token. So these files are written as a tokenizer.json, and everything behind is that of one, the
//! proof in the `tokenizers` library included.
//!
//! What a file of tiktoken leaves out, the expression that cuts texts and the special tokens, stands in the code of
//! its model, and in [`tiktoken`]. Special tokens in tokenizer_config.json go before.
//!
//! Sources: the tokenizer code of llama-models, Qwen, HunYuan, ChatGLM 4, Kimi K2 and mistral-common; the conversion
//! of tiktoken's files in transformers.

mod tekken;
#[cfg(test)]
mod tests;
mod tiktoken;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::settings::Settings;
use super::tokenizer_json::TokenizerJson;
use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::tokenizer::byte_chars;
use crate::tokenizer::special_ids::Role;

/// Bytes of a token at most: the longest published ones have 128.
const MAX_TOKEN_BYTES: usize = 512;

/// A list of ranks, as a tokenizer.json.
pub(super) struct Ranks {
    path: PathBuf,
    /// The text of a tokenizer.json of the same meaning.
    pub(super) text: String,
    /// Tokens with roles, where no file beside it names them.
    pub(super) roles: Vec<(Role, Option<u32>)>,
}

impl Ranks {
    /// The list in `folder`, if there is one, for a model with `n_vocab` rows.
    ///
    /// # Errors
    /// `Malformed` for a file that is not of its form; `Unsupported` where nothing names its special tokens; `Io` and
    /// `Limit` as they come.
    pub(super) fn open(folder: &Folder, settings: &Settings<'_>, n_vocab: usize) -> Result<Option<Self>> {
        match tekken::open(folder)? {
            Some(ranks) => Ok(Some(ranks)),
            None => tiktoken::open(folder, settings, n_vocab),
        }
    }

    /// Parses what it was written as.
    ///
    /// # Errors
    /// As [`TokenizerJson::parse`].
    pub(super) fn json(&self) -> Result<TokenizerJson> {
        TokenizerJson::parse(&self.path, &self.text)
    }
}

/// What a tokenizer.json says beside its tokens.
struct Written<'a> {
    pattern: &'a str,
    is_nfc: bool,
    first: Option<&'a str>,
}

impl Written<'_> {
    /// The tokenizer.json of `tokens`, their bytes and ids, and `added` ones.
    fn ranks(
        &self,
        path: PathBuf,
        tokens: &[(Vec<u8>, usize)],
        added: &[(usize, &str)],
        roles: &[(Role, &str)],
    ) -> Result<Ranks> {
        let merges = merges(&path, tokens)?;
        let id_of = |text: &str| added.iter().find(|(_, other)| *other == text).map(|&(id, _)| id as u32);
        let special = |&(id, text): &(usize, &str)| {
            json!({
                "id": id, "content": text, "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        };
        let first = self.first.filter(|text| id_of(text).is_some());
        let template = first.map(|text| {
            json!({
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [
                    {"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": text, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}},
                ],
                "special_tokens": {text: {"id": text, "ids": [id_of(text)], "tokens": [text]}},
            })
        });
        let mut vocab: serde_json::Map<String, Value> =
            tokens.iter().map(|(bytes, id)| (byte_chars::text_of(bytes), json!(id))).collect();
        if vocab.len() < tokens.len() {
            return Err(Error::malformed(path, "two tokens have the same bytes"));
        }
        // The library gives added tokens that are not in the vocabulary ids behind it.
        for (id, text) in added {
            vocab.entry(*text).or_insert(json!(id));
        }
        let in_bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let split = json!({
            "type": "Split", "pattern": {"Regex": self.pattern}, "behavior": "Isolated", "invert": false,
        });
        let text = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added.iter().map(special).collect::<Vec<_>>(),
            "normalizer": self.is_nfc.then(|| json!({"type": "NFC"})),
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, in_bytes(false)]},
            "post_processor": template,
            "decoder": in_bytes(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
                "vocab": vocab, "merges": merges,
            },
        });
        let roles = roles.iter().map(|(role, text)| (*role, id_of(text)));
        Ok(Ranks { path, text: text.to_string(), roles: roles.collect() })
    }
}

/// Every pair of tokens whose bytes together are a token, in the order of that token's id, then of their own.
fn merges(path: &Path, tokens: &[(Vec<u8>, usize)]) -> Result<Vec<[String; 2]>> {
    let ids: HashMap<&[u8], usize> = tokens.iter().map(|(bytes, id)| (bytes.as_slice(), *id)).collect();
    let mut pairs = Vec::new();
    for (bytes, id) in tokens {
        if bytes.len() > MAX_TOKEN_BYTES {
            let what = format!("token {id} has {} bytes; at most {MAX_TOKEN_BYTES} are read", bytes.len());
            return Err(Error::malformed(path, what));
        }
        for at in 1..bytes.len() {
            let (left, right) = bytes.split_at(at);
            if let (Some(&a), Some(&b)) = (ids.get(left), ids.get(right)) {
                pairs.push(((*id, a, b), [left, right]));
            }
        }
    }
    pairs.sort_unstable_by_key(|(order, _)| *order);
    Ok(pairs.into_iter().map(|(_, halves)| halves.map(byte_chars::text_of)).collect())
}
