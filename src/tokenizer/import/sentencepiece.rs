//! SentencePiece's own file, tokenizer.model: a protobuf of pieces with scores and types.
//!
//! The fields are those of `sentencepiece_model.proto` in the SentencePiece project.

use std::path::{Path, PathBuf};

use prost::Message;

use super::Parts;
use super::added::Adder;
use super::settings::Settings;
use super::token_list::TokenList;
use super::tokenizer_json::TokenizerJson;
use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_JSON_BYTES;
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::vocabulary::{Kind, TokenType, Vocabulary};

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
    /// True if absent, like the one above and the one below.
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

/// The name of the file.
pub(super) const NAME: &str = "tokenizer.model";

/// An opened tokenizer.model of a kind that GGUF can carry.
pub(super) struct Model {
    path: PathBuf,
    proto: ModelProto,
    notes: Vec<String>,
}

impl Model {
    /// Reads the file in `folder`, if there is one.
    ///
    /// # Errors
    /// `Io`; `Limit` for a file too long; `Malformed` if it is not of this form; `Unsupported` for a
    /// kind that GGUF cannot carry.
    pub(super) fn open(folder: &Folder) -> Result<Option<Self>> {
        let Some(bytes) = folder.read(NAME, MAX_JSON_BYTES)? else { return Ok(None) };
        let path = folder.join(NAME);
        let proto = parse(&path, &bytes)?;
        let notes = check_kind(&path, &proto)?;
        Ok(Some(Self { path, proto, notes }))
    }

    /// Text, score and type of each piece; index = id. The text of an unused one may be empty.
    pub(super) fn pieces(&self) -> impl ExactSizeIterator<Item = (&str, f32, TokenType)> {
        self.proto.pieces.iter().map(|piece| {
            let ty = TokenType::from_code(piece.ty.unwrap_or(TokenType::Normal as i32));
            (piece.text.as_deref().unwrap_or_default(), piece.score.unwrap_or(0.0), ty)
        })
    }
}

/// Reads the vocabulary in `model`, for a model with `n_vocab` rows; `json` is a tokenizer.json beside it,
/// for the tokens added there.
pub(super) fn read(
    model: &Model,
    json: Option<&TokenizerJson>,
    settings: &Settings<'_>,
    n_vocab: usize,
) -> Result<Vocabulary> {
    let mut notes = model.notes.clone();
    let mut list = TokenList::new(&model.path, n_vocab);
    for (id, (text, score, ty)) in model.pieces().enumerate() {
        list.set(id, text, ty, score)?;
    }
    let mut adder = Adder::new(&mut list, Kind::SentencePiece, &mut notes);
    adder.replaces = true;
    let mut added = adder.add_all(json, settings)?;
    if json.is_none() {
        // Tokenizers that read this file themselves look for added tokens in the text as it is.
        added.iter_mut().for_each(|(_, flags)| flags.normalized = false);
    }
    let tokens = list.finish();
    let trainer = model.proto.trainer.clone().unwrap_or_default();
    let id = |id: Option<i32>, default: i32| {
        let id = u32::try_from(id.unwrap_or(default)).ok();
        id.filter(|&id| model.proto.trainer.is_some() && (id as usize) < tokens.texts.len())
    };
    let ids = vec![
        (Role::Unknown, id(trainer.unk_id, 0)),
        (Role::Bos, id(trainer.bos_id, 1)),
        (Role::Eos, id(trainer.eos_id, 2)),
    ];
    let normalizer = model.proto.normalizer.clone().unwrap_or_default();
    let parts = Parts {
        added,
        ids,
        add_space_prefix: settings
            .flag("add_prefix_space")?
            .or(normalizer.add_dummy_prefix.filter(|&yes| !yes)),
        remove_extra_whitespaces: Some(normalizer.remove_extra_whitespaces.unwrap_or(true))
            .filter(|&yes| yes),
        charsmap: normalizer.precompiled_charsmap.unwrap_or_default(),
        notes,
        ..Parts::new(Kind::SentencePiece, tokens)
    };
    parts.assemble(json, settings)
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
    let normalizer = model.normalizer.clone().unwrap_or_default();
    let kind = match trainer.model_type.unwrap_or(1) {
        2 => None,
        1 => Some("unigram"),
        3 => Some("word"),
        4 => Some("char"),
        _ => Some("unknown"),
    };
    let unsupported = |what: String| Err(Error::unsupported(path, what));
    if let Some(kind) = kind {
        return unsupported(format!(
            "a SentencePiece model of the kind {kind}; of tokenizer.model alone supported is BPE: save the tokenizer as \
             tokenizer.json beside it (AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER), by transformers)"
        ));
    }
    if trainer.treat_whitespace_as_suffix == Some(true) {
        return unsupported(
            "a SentencePiece model that puts spaces behind words; supported is before".into(),
        );
    }
    if normalizer.escape_whitespaces == Some(false) {
        return unsupported("a SentencePiece model that does not escape spaces (\"▁\")".into());
    }
    let normalizes = normalizer.precompiled_charsmap.is_some_and(|map| !map.is_empty());
    let name = normalizer.name.unwrap_or_default();
    let note = || {
        format!(
            "tokenizer: texts are normalised first ({name:?}); gguf-run does that, while programs that know no \
             tokenizer.ggml.precompiled_charsmap of this kind of tokenizer read them as they are"
        )
    };
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
        let normalizer =
            NormalizerSpec { remove_extra_whitespaces: Some(false), ..NormalizerSpec::default() };
        ModelProto { pieces, trainer: Some(trainer), normalizer: Some(normalizer) }
    }
}
