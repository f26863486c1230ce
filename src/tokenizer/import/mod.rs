//! Vocabularies from the tokenizer files of a Hugging Face checkpoint.
//!
//! Three forms are read: tokenizer.json with a byte-level BPE, SentencePiece's tokenizer.model, and a
//! tokenizer.json that was made from one. Which pre-tokenizer a byte-level BPE has is found out by what
//! it does ([`detect`]), not by a list of fingerprints.

mod byte_level;
mod detect;
mod sentencepiece;
mod sentencepiece_json;
mod settings;
#[cfg(test)]
mod tests;
mod token_list;
mod tokenizer_json;

use super::vocabulary::{TokenType, Vocabulary};
use crate::checkpoint::{Config, Folder};
use crate::error::{Error, Result};
use settings::Settings;
use tokenizer_json::TokenizerJson;

impl Vocabulary {
    /// Reads the tokenizer files in `folder`, beside the model's `config`; the vocabulary has `n_vocab`
    /// tokens, as many as the embedding has rows.
    ///
    /// tokenizer.json decides if it holds a byte-level BPE; else tokenizer.model is preferred, which
    /// has the scores themselves.
    ///
    /// # Errors
    /// `Unsupported` if no tokenizer is there or it is of another form, with what is supported;
    /// `Malformed` for damaged files or more tokens than `n_vocab`; `Io` and `Limit` as they come.
    pub fn from_checkpoint(folder: &Folder, config: &Config, n_vocab: usize) -> Result<Self> {
        let settings = Settings::open(folder, config)?;
        let json = TokenizerJson::open(folder)?;
        let preferred = match &json {
            Some(json) if json.is_byte_level() => Some(byte_level::read(json, &settings, n_vocab)?),
            _ => sentencepiece::read(folder, json.as_ref(), &settings, n_vocab)?,
        };
        let mut vocabulary = match (preferred, &json) {
            (Some(vocabulary), _) => vocabulary,
            (None, Some(json)) => sentencepiece_json::read(json, &settings, n_vocab)?,
            (None, None) => {
                let what = "the checkpoint has neither tokenizer.json nor tokenizer.model; \
                            download them beside its weights";
                return Err(Error::unsupported(folder.path(), what));
            }
        };
        vocabulary.notes.extend(settings.id_notes(vocabulary.tokens.len()));
        vocabulary.checked(&folder.join(if json.is_some() {
            tokenizer_json::NAME
        } else {
            sentencepiece::NAME
        }))
    }
}

/// The type of an added token. Some that steer the model are not marked as special; their look tells.
fn added_type(text: &str, special: bool) -> TokenType {
    let looks_special = ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || (text.starts_with("<|") && text.ends_with("|>"))
        || (text.starts_with("<｜") && text.ends_with("｜>"))
        || text.starts_with("<unused");
    if special || looks_special { TokenType::Control } else { TokenType::UserDefined }
}
