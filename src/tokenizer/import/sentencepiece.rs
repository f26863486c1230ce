//! SentencePiece's own file, tokenizer.model: a protobuf of pieces with scores and types.
//!
//! The fields are those of `sentencepiece_model.proto` in the SentencePiece project.

use std::path::Path;

use prost::Message;

use super::added_type;
use super::settings::Settings;
use super::token_list::{TokenList, Tokens};
use super::tokenizer_json::TokenizerJson;
use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_JSON_BYTES;
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::vocabulary::{Kind, TokenType, Vocabulary};

/// The score of tokens added beside the model; they are matched as a whole, never joined.
const ADDED_SCORE: f32 = -1000.0;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Piece {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    /// The same numbers as GGUF's token types; normal if absent.
    #[prost(int32, optional, tag = "3")]
    ty: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    /// 1 unigram (also if absent), 2 BPE, 3 word, 4 char.
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    treat_whitespace_as_suffix: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    eos_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
}

/// The name of the file.
pub(super) const NAME: &str = "tokenizer.model";

/// Reads the vocabulary in the tokenizer.model of `folder`, if there is one, for a model with `n_vocab`
/// rows; `json` is the tokenizer.json beside it, for the tokens added there.
pub(super) fn read(
    folder: &Folder,
    json: Option<&TokenizerJson>,
    settings: &Settings<'_>,
    n_vocab: usize,
) -> Result<Option<Vocabulary>> {
    let Some(bytes) = folder.read(NAME, MAX_JSON_BYTES)? else { return Ok(None) };
    let path = &folder.join(NAME);
    let model = parse(path, &bytes)?;
    let notes = check_kind(path, &model)?;
    let mut list = TokenList::new(path, n_vocab);
    for (id, piece) in model.pieces.iter().enumerate() {
        let ty = TokenType::from_code(piece.ty.unwrap_or(TokenType::Normal as i32));
        let text = piece.text.as_deref().filter(|text| !text.is_empty());
        match text {
            Some(text) => list.set(id, text, ty, piece.score.unwrap_or(0.0))?,
            None => list.set(id, &format!("[EMPTY_{id}]"), TokenType::Unused, 0.0)?,
        }
    }
    let from_json = json.map_or(&[][..], |json| &json.added_tokens);
    for added in from_json.iter().cloned().chain(settings.added_tokens()?) {
        // Pieces with a type of their own keep it: <unk>, <s>, <0x0A>.
        if matches!(
            list.type_of(added.id),
            None | Some(TokenType::Normal | TokenType::UserDefined | TokenType::Unused)
        ) {
            let ty = added_type(&added.content, added.special);
            list.set(added.id, &plain_spaces(&added.content, ty), ty, ADDED_SCORE)?;
        }
    }
    finish(list.finish(), &model, json, settings, notes).map(Some)
}

fn finish(
    tokens: Tokens,
    model: &ModelProto,
    json: Option<&TokenizerJson>,
    settings: &Settings<'_>,
    notes: Vec<String>,
) -> Result<Vocabulary> {
    let index = tokens.index();
    let mut ids = settings.special_ids(&tokens.texts, |text| index.get(text).copied())?;
    if let Some(trainer) = &model.trainer {
        let own = [
            (Role::Unknown, trainer.unk_id, 0),
            (Role::Bos, trainer.bos_id, 1),
            (Role::Eos, trainer.eos_id, 2),
        ];
        for (role, id, default) in own {
            let id =
                u32::try_from(id.unwrap_or(default)).ok().filter(|&id| (id as usize) < tokens.texts.len());
            ids.set(role, ids.get(role).or(id));
        }
    }
    let (add_bos, add_eos) = settings.added_around(json, &ids, &tokens.texts)?;
    let dummy_prefix = model.normalizer.as_ref().and_then(|spec| spec.add_dummy_prefix);
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
        add_space_prefix: settings.flag("add_prefix_space")?.or(dummy_prefix.filter(|&yes| !yes)),
        remove_extra_whitespaces: None,
        chat_template: templates.default,
        named_templates: templates.named,
        model_name: None,
        notes,
        tokens: tokens.texts,
    })
}

/// User-defined tokens are matched in the text itself, so their spaces are spaces.
pub(super) fn plain_spaces(text: &str, ty: TokenType) -> String {
    if ty == TokenType::UserDefined {
        text.replace(crate::tokenizer::spm::SPACE, " ")
    } else {
        text.to_owned()
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<ModelProto> {
    let model = ModelProto::decode(bytes)
        .map_err(|e| Error::malformed(path, format!("not a SentencePiece model: {e}")))?;
    if model.pieces.is_empty() {
        Err(Error::malformed(path, "a SentencePiece model without pieces"))
    } else {
        Ok(model)
    }
}

/// Checks that the model is one that GGUF's `llama` kind can carry, and says what it cannot.
fn check_kind(path: &Path, model: &ModelProto) -> Result<Vec<String>> {
    let trainer = model.trainer.clone().unwrap_or_default();
    let kind = match trainer.model_type.unwrap_or(1) {
        2 => None,
        1 => Some("unigram"),
        3 => Some("word"),
        4 => Some("char"),
        _ => Some("unknown"),
    };
    if let Some(kind) = kind {
        let what = format!("a SentencePiece model of the kind {kind}; supported is BPE");
        return Err(Error::unsupported(path, what));
    }
    if trainer.treat_whitespace_as_suffix == Some(true) {
        return Err(Error::unsupported(
            path,
            "a SentencePiece model that puts spaces behind words; supported is before",
        ));
    }
    let normalizer = model.normalizer.clone().unwrap_or_default();
    let normalizes = normalizer.precompiled_charsmap.is_some_and(|map| !map.is_empty());
    let name = normalizer.name.unwrap_or_default();
    let note =
        || format!("tokenizer: the normalisation {name:?} is left to the caller, as GGUF cannot ask for it");
    Ok(normalizes.then(note).into_iter().collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::tokenizer::import) fn piece(text: &str, score: f32, ty: i32) -> Piece {
        Piece { text: Some(text.to_owned()), score: Some(score), ty: Some(ty) }
    }

    pub(in crate::tokenizer::import) fn model(pieces: Vec<Piece>, model_type: i32) -> impl Message {
        let trainer = TrainerSpec { model_type: Some(model_type), ..TrainerSpec::default() };
        ModelProto { pieces, trainer: Some(trainer), normalizer: None }
    }
}
