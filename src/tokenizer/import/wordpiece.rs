//! WordPiece from tokenizer.json, as BERT has it.

use super::Parts;
use super::added::Adder;
use super::settings::Settings;
use super::token_list::TokenList;
use super::tokenizer_json::{TokenizerJson, Vocab, flatten, type_of};
use crate::error::{Error, Result};
use crate::tokenizer::Role;
use crate::tokenizer::spm::SPACE;
use crate::tokenizer::vocabulary::{CaseRules, Kind, TokenType, Vocabulary};
use crate::tokenizer::wordpiece::MAX_WORD_CHARS;

/// What vocab.txt puts in front of tokens that continue a word.
const CONTINUES: &str = "##";

/// Reads the vocabulary in `json`, for a model with `n_vocab` rows.
///
/// # Errors
/// `Unsupported` for what GGUF cannot say: another mark of continuation, normaliser or pre-tokenizer than BERT's.
pub(super) fn read(json: &TokenizerJson, settings: &Settings<'_>, n_vocab: usize) -> Result<Vocabulary> {
    let unsupported = |what: String| Error::unsupported(&json.path, what);
    let Vocab::Ids(vocab) = &json.model.vocab else {
        return Err(Error::malformed(&json.path, "a WordPiece vocabulary without ids"));
    };
    let model = &json.model;
    if model.continuing_subword_prefix.as_deref().unwrap_or(CONTINUES) != CONTINUES {
        let what = format!(
            "a WordPiece tokenizer whose words go on with {:?}; supported is {CONTINUES:?}",
            model.continuing_subword_prefix.as_deref().unwrap_or_default()
        );
        return Err(unsupported(what));
    }
    let longest = model.max_input_chars_per_word.unwrap_or(MAX_WORD_CHARS);
    if longest != MAX_WORD_CHARS {
        let what = format!(
            "a WordPiece tokenizer of words up to {longest} characters; supported is {MAX_WORD_CHARS}"
        );
        return Err(unsupported(what));
    }
    let case = case_rules(json)?;
    let mut list = TokenList::new(&json.path, n_vocab);
    for (text, id) in vocab {
        list.set(*id, text, TokenType::Normal, 0.0)?;
    }
    let mut notes = Vec::new();
    let added = Adder::new(&mut list, Kind::WordPiece, &mut notes).add_all(Some(json), settings)?;
    let find = |text: Option<&str>| text.and_then(|text| list.id_of(text));
    let unknown = find(model.unk_token.as_deref());
    let (first, last) = json.template_ends().unwrap_or_default();
    let ids = [(Role::Unknown, unknown), (Role::Cls, find(first)), (Role::Separator, find(last))];
    let mut tokens = list.finish();
    if let Some(id) = unknown.filter(|&id| tokens.types[id] == TokenType::Normal) {
        tokens.types[id] = TokenType::Unknown;
    }
    for (text, _) in tokens.texts.iter_mut().zip(&tokens.types).filter(|(_, ty)| **ty == TokenType::Normal) {
        *text = match text.strip_prefix(CONTINUES) {
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ => format!("{SPACE}{text}"),
        };
    }
    let parts = Parts {
        added,
        ids: ids.map(|(role, id)| (role, id.map(|id| id as u32))).to_vec(),
        case,
        notes,
        ..Parts::new(Kind::WordPiece, tokens)
    };
    parts.assemble(Some(json), settings)
}

/// What BERT's normaliser in `json` does to letters.
///
/// # Errors
/// `Unsupported` for another normaliser or pre-tokenizer, or one that leaves out a step that GGUF takes for granted.
fn case_rules(json: &TokenizerJson) -> Result<CaseRules> {
    let (normalizers, pre_tokenizers) = (flatten(&json.normalizer), flatten(&json.pre_tokenizer));
    let flag = |name: &str| normalizers.first().and_then(|part| part[name].as_bool());
    let is_bert = normalizers.len() == 1
        && type_of(normalizers[0]) == "BertNormalizer"
        && flag("clean_text") != Some(false)
        && flag("handle_chinese_chars") != Some(false)
        && pre_tokenizers.len() == 1
        && type_of(pre_tokenizers[0]) == "BertPreTokenizer";
    if !is_bert {
        let names = |parts: &[&serde_json::Value]| {
            parts.iter().map(|part| type_of(part)).collect::<Vec<_>>().join(", ")
        };
        let what = format!(
            "a WordPiece tokenizer with the normaliser [{}] and the pre-tokenizer [{}]; supported are BertNormalizer, \
             with clean_text and handle_chinese_chars, and BertPreTokenizer",
            names(&normalizers),
            names(&pre_tokenizers)
        );
        return Err(Error::unsupported(&json.path, what));
    }
    let lowercase = flag("lowercase").unwrap_or(true);
    Ok(CaseRules { lowercase, strip_accents: flag("strip_accents").unwrap_or(lowercase) })
}
