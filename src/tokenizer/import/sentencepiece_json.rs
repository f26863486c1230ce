//! A tokenizer.json that was made from a SentencePiece model, as Llama 2 and Mistral have it.
//!
//! It lists merges where SentencePiece has scores. SentencePiece's BPE trainer numbers pieces in the
//! order in which it found them and scores them by minus that number, so the order of the merges gives
//! the scores back.

use std::collections::HashMap;

use super::added_type;
use super::sentencepiece::plain_spaces;
use super::settings::Settings;
use super::token_list::TokenList;
use super::tokenizer_json::{TokenizerJson, flatten, type_of};
use crate::error::{Error, Result};
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::spm;
use crate::tokenizer::vocabulary::{Kind, TokenType, Vocabulary};

/// Reads the vocabulary in `json`, for a model with `n_vocab` rows.
pub(super) fn read(json: &TokenizerJson, settings: &Settings<'_>, n_vocab: usize) -> Result<Vocabulary> {
    let vocab = match (json.model.ty.as_deref(), &json.model.vocab.0) {
        (None | Some("BPE"), Some(vocab)) => vocab,
        (ty, _) => {
            let ty = ty.unwrap_or("Unigram");
            let what = format!(
                "the tokenizer model {ty:?} in tokenizer.json; supported is BPE, of bytes or SentencePiece"
            );
            return Err(Error::unsupported(&json.path, what));
        }
    };
    let prefix = space_prefix(json)?;
    let scores = scores(json, vocab)?;
    let mut list = TokenList::new(&json.path, n_vocab);
    for (text, &id) in vocab {
        let score = scores.get(text.as_str()).copied().unwrap_or(0.0);
        list.set(id, text, piece_type(json, text), score)?;
    }
    for added in json.added_tokens.iter().cloned().chain(settings.added_tokens()?) {
        let is_unknown = json.model.unk_token.as_deref() == Some(added.content.as_str());
        if !is_unknown {
            let ty = added_type(&added.content, added.special);
            list.set(added.id, &plain_spaces(&added.content, ty), ty, 0.0)?;
        }
    }
    let tokens = list.finish();
    let index = tokens.index();
    let mut ids = settings.special_ids(&tokens.texts, |text| index.get(text).copied())?;
    let unknown = json.model.unk_token.as_deref().and_then(|text| index.get(text).copied());
    ids.set(Role::Unknown, ids.get(Role::Unknown).or(unknown));
    let (add_bos, add_eos) = settings.added_around(Some(json), &ids, &tokens.texts)?;
    let templates = settings.templates()?;
    Ok(Vocabulary {
        kind: Kind::SentencePiece,
        pre: "default".into(),
        types: tokens.types,
        scores: tokens.scores,
        merges: Vec::new(),
        ids,
        add_bos,
        add_eos,
        add_space_prefix: settings.flag("add_prefix_space")?.or(Some(prefix).filter(|&yes| !yes)),
        remove_extra_whitespaces: None,
        chat_template: templates.default,
        named_templates: templates.named,
        model_name: None,
        notes: Vec::new(),
        tokens: tokens.texts,
    })
}

fn piece_type(json: &TokenizerJson, text: &str) -> TokenType {
    if json.model.unk_token.as_deref() == Some(text) {
        TokenType::Unknown
    } else if json.model.byte_fallback && spm::byte_of_token(text).is_some() {
        TokenType::Byte
    } else {
        TokenType::Normal
    }
}

/// Whether a space is put in front of a text. Checks on the way that spaces become «▁» and nothing
/// else happens to the text.
///
/// # Errors
/// `Unsupported` if something does.
fn space_prefix(json: &TokenizerJson) -> Result<bool> {
    let (mut prefix, mut escapes) = (false, false);
    for part in flatten(&json.normalizer).into_iter().chain(flatten(&json.pre_tokenizer)) {
        match type_of(part) {
            "Prepend" if part["prepend"] == "▁" => prefix = true,
            "Replace" if part["pattern"]["String"] == " " && part["content"] == "▁" => escapes = true,
            "Metaspace" if part["replacement"] == "▁" => {
                escapes = true;
                prefix = match part["prepend_scheme"].as_str() {
                    Some(scheme) => scheme != "never",
                    None => part["add_prefix_space"].as_bool().unwrap_or(true),
                };
            }
            // Splits that Mistral's and Gemma's files make at spaces, which merges do not cross anyway.
            "Split" if part["pattern"]["String"] == " " && part["behavior"] == "MergedWithPrevious" => {}
            other => {
                let what = format!(
                    "a SentencePiece tokenizer.json with the component {other:?}; supported are Prepend, \
                     Replace and \
                     Metaspace with \"▁\""
                );
                return Err(Error::unsupported(&json.path, what));
            }
        }
    }
    if escapes {
        Ok(prefix)
    } else {
        let what = "a BPE tokenizer.json that neither joins bytes (ByteLevel) nor escapes spaces (\"▁\"); \
                    supported are these two";
        Err(Error::unsupported(&json.path, what))
    }
}

/// Scores by piece: what a merge yields gets minus the number of different pieces that merges before
/// it yield; ordinary pieces that no merge yields (the characters) follow in the order of their ids.
fn scores<'a>(json: &'a TokenizerJson, vocab: &'a HashMap<String, usize>) -> Result<HashMap<&'a str, f32>> {
    let mut scores: HashMap<&str, f32> = HashMap::with_capacity(vocab.len());
    for (rank, merge) in json.model.merges.iter().enumerate() {
        let malformed = |what: &str| Error::malformed(&json.path, format!("merge {rank} {what}"));
        let (left, right) =
            merge.halves().ok_or_else(|| malformed("is not two texts with a space between"))?;
        let (piece, _) = vocab
            .get_key_value(&format!("{left}{right}"))
            .ok_or_else(|| malformed(&format!("yields {left:?} + {right:?}, which is no token")))?;
        let next = -(scores.len() as f32);
        scores.entry(piece).or_insert(next);
    }
    let mut rest: Vec<(&str, usize)> = vocab
        .iter()
        .filter(|(text, _)| {
            !scores.contains_key(text.as_str()) && piece_type(json, text) == TokenType::Normal
        })
        .map(|(text, &id)| (text.as_str(), id))
        .collect();
    rest.retain(|(text, _)| json.added_tokens.iter().all(|added| added.content != *text));
    rest.sort_by_key(|&(_, id)| id);
    for (text, _) in rest {
        let next = -(scores.len() as f32);
        scores.insert(text, next);
    }
    Ok(scores)
}
