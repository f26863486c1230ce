//! Byte-level BPE from tokenizer.json.

use super::added_type;
use super::detect::{self, Wanted};
use super::settings::Settings;
use super::token_list::TokenList;
use super::tokenizer_json::{Merge, TokenizerJson, flatten, type_of};
use crate::error::{Error, Result};
use crate::tokenizer::vocabulary::{Kind, TokenType, Vocabulary};

/// Reads the vocabulary in `json`, for a model with `n_vocab` rows.
pub(super) fn read(json: &TokenizerJson, settings: &Settings<'_>, n_vocab: usize) -> Result<Vocabulary> {
    let vocab = match (json.model.ty.as_deref(), &json.model.vocab.0) {
        (None | Some("BPE"), Some(vocab)) => vocab,
        (ty, _) => {
            let what = format!(
                "a byte-level tokenizer with the model {:?}; supported is BPE",
                ty.unwrap_or("Unigram")
            );
            return Err(Error::unsupported(&json.path, what));
        }
    };
    let mut list = TokenList::new(&json.path, n_vocab);
    for (text, &id) in vocab {
        list.set(id, text, TokenType::Normal, 0.0)?;
    }
    for added in &json.added_tokens {
        list.set(added.id, &added.content, added_type(&added.content, added.special), 0.0)?;
    }
    let tokens = list.finish();
    let merges = json.model.merges.iter().map(|merge| merge_line(merge, json)).collect::<Result<Vec<_>>>()?;

    let mut notes = check_normalizer(json)?;
    let wanted = Wanted { tokens: &tokens, merges: &merges, ignore_merges: json.model.ignore_merges };
    let pre = detect::pre_tokenizer(json, &wanted, &mut notes)?;
    let index = tokens.index();
    let ids = settings.special_ids(&tokens.texts, |text| index.get(text).copied())?;
    let (add_bos, add_eos) = settings.added_around(Some(json), &ids, &tokens.texts)?;
    let templates = settings.templates()?;
    Ok(Vocabulary {
        kind: Kind::ByteLevelBpe,
        pre: pre.to_owned(),
        types: tokens.types,
        scores: Vec::new(),
        merges,
        ids,
        add_bos,
        add_eos,
        add_space_prefix: None,
        remove_extra_whitespaces: None,
        chat_template: templates.default,
        named_templates: templates.named,
        model_name: None,
        notes,
        tokens: tokens.texts,
    })
}

/// A merge as GGUF has it: two halves around a space. Newer files may have spaces inside the halves,
/// which older ones write in the byte alphabet.
fn merge_line(merge: &Merge, json: &TokenizerJson) -> Result<String> {
    let malformed = || Error::malformed(&json.path, "a merge that is not two texts with a space between");
    let (left, right) = merge.halves().ok_or_else(malformed)?;
    Ok(format!("{} {}", left.replace(' ', "Ġ"), right.replace(' ', "Ġ")))
}

/// Checks that text reaches the model as it is. GGUF has no key for Unicode normalisation to NFC,
/// which most text has already.
fn check_normalizer(json: &TokenizerJson) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for part in flatten(&json.normalizer) {
        match type_of(part) {
            "NFC" => notes.push(
                "tokenizer: normalisation to NFC is left to the caller, as GGUF cannot ask for it".into(),
            ),
            other => {
                let what = format!(
                    "a byte-level tokenizer with the normalizer {other:?}; supported are none and \"NFC\""
                );
                return Err(Error::unsupported(&json.path, what));
            }
        }
    }
    Ok(notes)
}
