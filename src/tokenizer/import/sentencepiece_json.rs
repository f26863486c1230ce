//! A tokenizer.json that was made from a SentencePiece model, as Llama 2 and Mistral have it.
//!
//! It lists merges where SentencePiece has scores. SentencePiece's BPE trainer numbers pieces in the
//! order in which it found them and scores them by minus that number, so the order of the merges gives
//! the scores back. Gemma 4 has such a file and no SentencePiece model any more: its GGUF files hold the merges.

use std::collections::{HashMap, HashSet};

use super::Parts;
use super::added::Adder;
use super::sentencepiece::Model;
use super::settings::Settings;
use super::token_list::{TokenList, Tokens};
use super::tokenizer_json::{AddedToken, Merge, TokenizerJson, flatten, type_of};
use crate::error::{Error, Result};
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::spm;
use crate::tokenizer::vocabulary::{Kind, SpacePrefix, TokenType, Vocabulary};

/// Ids by token.
type Index<'a> = HashMap<&'a str, usize>;

/// Reads the vocabulary in `json`, for a model with `n_vocab` rows; `model` is the tokenizer.model beside
/// it, if there is one, or what is wrong with it.
pub(super) fn read(
    json: &TokenizerJson,
    model: Result<Option<Model>>,
    settings: &Settings<'_>,
    n_vocab: usize,
) -> Result<Vocabulary> {
    let vocab = json.bpe_vocab()?;
    let index: Index<'_> = vocab.iter().map(|(text, id)| (text.as_str(), *id)).collect();
    let (prefixes, space_prefix) = space_prefix(json)?;
    let mut notes: Vec<String> = json.left_out().into_iter().collect();
    let model = match model {
        Ok(model) => model.and_then(|model| agreeing(model, json, &index, &mut notes)),
        Err(error) => {
            notes.push(format!("tokenizer: tokenizer.json decides; tokenizer.model is left aside: {error}"));
            None
        }
    };
    let scores = scores(json, vocab, &index)?;
    let merged = blanks_of_merges(json, &scores);
    let pieces: Vec<_> = model.iter().flat_map(Model::pieces).collect();
    let mut list = TokenList::new(&json.path, n_vocab);
    for (text, id) in vocab {
        let derived = scores.get(text.as_str()).copied().unwrap_or(0.0);
        let (score, ty) = match pieces.get(*id) {
            Some(&(_, score, ty)) if merged.is_empty() => (score, ty),
            // The scores of the model do not rank the merges that yield blanks.
            Some(&(_, _, ty)) if !merged.contains(text.as_str()) => (derived, ty),
            _ => (derived, piece_type(json, text)),
        };
        list.set(*id, text, ty, score)?;
    }
    let kind = if settings.wants_character_merges()? { Kind::CharacterBpe } else { Kind::SentencePiece };
    let mut adder = Adder::new(&mut list, kind, &mut notes);
    adder.merged = merged;
    let added = adder.add_all(Some(json), settings)?;
    let unknown = json.model.unk_token.as_deref().and_then(|text| list.id_of(text));
    let mut tokens = list.finish();
    let (pre, merges) = match kind {
        Kind::CharacterBpe => {
            check_character_merges(json, prefixes)?;
            show_message_parts(&mut tokens);
            ("gemma4", json.model.merges.iter().filter_map(merge_line).collect())
        }
        _ => ("default", Vec::new()),
    };
    let parts = Parts {
        pre,
        merges,
        added,
        ids: vec![(Role::Unknown, unknown.map(|id| id as u32))],
        add_space_prefix: settings.flag("add_prefix_space")?.or(Some(prefixes).filter(|&yes| !yes)),
        space_prefix,
        notes,
        ..Parts::new(kind, tokens)
    };
    parts.assemble(Some(json), settings)
}

/// The added tokens with blanks ("▁▁", as Gemma's files list them) that no blanks of a text become: they are looked
/// for before spaces are escaped. The merges yield them, which may part a long stretch of blanks elsewhere than the
/// longest token would.
fn blanks_of_merges<'a>(json: &'a TokenizerJson, scores: &HashMap<&str, f32>) -> HashSet<&'a str> {
    let is_merged = |token: &&AddedToken| {
        let text = token.content.as_str();
        !token.special && !token.flags().normalized && text.contains(spm::SPACE) && scores.contains_key(text)
    };
    json.added_tokens.iter().filter(is_merged).map(|token| token.content.as_str()).collect()
}

/// Gives the tokens that part a message of Gemma 4 the type that is shown, as its files have it: who reads the
/// message needs them.
fn show_message_parts(tokens: &mut Tokens) {
    const PARTS: [&str; 7] = [
        "<|channel>",
        "<channel|>",
        "<|tool_call>",
        "<tool_call|>",
        "<|tool_response>",
        "<tool_response|>",
        "<|\"|>",
    ];
    for (text, ty) in tokens.texts.iter().zip(&mut tokens.types) {
        if PARTS.contains(&text.as_str()) {
            *ty = TokenType::UserDefined;
        }
    }
}

/// A merge as GGUF has it: two halves around a space; `None` for one that [`scores`] has refused.
fn merge_line(merge: &Merge) -> Option<String> {
    merge.halves().map(|(left, right)| format!("{left} {right}"))
}

/// Checks what the kind of GGUF tokenizer that holds merges over characters takes for granted.
///
/// # Errors
/// `Unsupported` for a space in front of texts, or in a merge.
fn check_character_merges(json: &TokenizerJson, prefixes: bool) -> Result<()> {
    let has_space =
        |merge: &Merge| merge.halves().is_some_and(|(left, right)| left.contains(' ') || right.contains(' '));
    let what = if prefixes {
        "puts a space in front of texts"
    } else if json.model.merges.iter().any(has_space) {
        "merges texts with spaces in them"
    } else {
        return Ok(());
    };
    Err(Error::unsupported(&json.path, format!("a tokenizer of merges over characters that {what}")))
}

/// `model`, if it has the tokens of `json` and no others; else a note says where they differ.
fn agreeing(model: Model, json: &TokenizerJson, index: &Index<'_>, notes: &mut Vec<String>) -> Option<Model> {
    let n_pieces = model.pieces().len();
    let added: HashSet<&str> = json.added_tokens.iter().map(|token| token.content.as_str()).collect();
    let piece = model
        .pieces()
        .enumerate()
        .find(|&(id, (text, ..))| !text.is_empty() && index.get(text) != Some(&id) && !added.contains(text));
    let beyond = index.iter().filter(|&(text, &id)| id >= n_pieces && !added.contains(text));
    let (id, text) = match (piece, beyond.min_by_key(|&(_, &id)| id)) {
        (Some((id, (text, ..))), _) => (id, text),
        (None, Some((text, &id))) => (id, *text),
        (None, None) => return Some(model),
    };
    notes.push(format!(
        "tokenizer: tokenizer.json decides; tokenizer.model beside it has other tokens (the first is {text:?}, \
         id {id}) and is left aside"
    ));
    None
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

/// Whether and where a space is put in front of a text. Checks on the way that spaces become "▁" and
/// nothing else happens to the text.
///
/// # Errors
/// `Unsupported` if something does.
fn space_prefix(json: &TokenizerJson) -> Result<(bool, SpacePrefix)> {
    let (mut prefix, mut escapes) = ((false, SpacePrefix::Always), false);
    for part in flatten(&json.normalizer).into_iter().chain(flatten(&json.pre_tokenizer)) {
        match type_of(part) {
            "Prepend" if part["prepend"] == "▁" => prefix = (true, SpacePrefix::Always),
            "Replace" if part["pattern"]["String"] == " " && part["content"] == "▁" => escapes = true,
            "Metaspace" if part["replacement"] == "▁" => {
                escapes = true;
                prefix = match part["prepend_scheme"].as_str() {
                    Some("first") => (true, SpacePrefix::FirstUnlessBlank),
                    Some(scheme) => (scheme != "never", SpacePrefix::UnlessBlank),
                    None => (part["add_prefix_space"].as_bool().unwrap_or(true), SpacePrefix::UnlessBlank),
                };
            }
            // Splits that Mistral's and Gemma's files make at spaces, which merges do not cross anyway.
            "Split" if part["pattern"]["String"] == " " && part["behavior"] == "MergedWithPrevious" => {}
            other => {
                let what = format!(
                    "a SentencePiece tokenizer.json with the component {other:?}; supported are Prepend, \
                     Replace and Metaspace with \"▁\""
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
fn scores<'a>(
    json: &'a TokenizerJson,
    vocab: &'a [(String, usize)],
    index: &Index<'a>,
) -> Result<HashMap<&'a str, f32>> {
    let mut scores: HashMap<&str, f32> = HashMap::with_capacity(vocab.len());
    for (rank, merge) in json.model.merges.iter().enumerate() {
        let malformed = |what: &str| Error::malformed(&json.path, format!("merge {rank} {what}"));
        let (left, right) =
            merge.halves().ok_or_else(|| malformed("is not two texts with a space between"))?;
        let (&piece, _) = index
            .get_key_value(format!("{left}{right}").as_str())
            .ok_or_else(|| malformed(&format!("yields {left:?} + {right:?}, which is not a token")))?;
        let next = -(scores.len() as f32);
        scores.entry(piece).or_insert(next);
    }
    let added: HashSet<&str> = json.added_tokens.iter().map(|token| token.content.as_str()).collect();
    let is_character = |text: &str| {
        !scores.contains_key(text) && !added.contains(text) && piece_type(json, text) == TokenType::Normal
    };
    let mut rest: Vec<&(String, usize)> = vocab.iter().filter(|(text, _)| is_character(text)).collect();
    rest.sort_by_key(|(_, id)| id);
    for (text, _) in rest {
        let next = -(scores.len() as f32);
        scores.entry(text).or_insert(next);
    }
    Ok(scores)
}
