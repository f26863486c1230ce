//! Byte-level BPE from tokenizer.json.

use super::Parts;
use super::added::Adder;
use super::detect::{self, Wanted};
use super::settings::Settings;
use super::token_list::TokenList;
use super::tokenizer_json::{Merge, TokenizerJson, flatten, type_of};
use crate::error::{Error, Result};
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::vocabulary::{CaseRules, Kind, SpacePrefix, TokenType, Vocabulary};

/// Reads the vocabulary in `json`, for a model with `n_vocab` rows. The tokens of `roles` have these where no file
/// names others.
pub(super) fn read(
    json: &TokenizerJson,
    roles: &[(Role, Option<u32>)],
    settings: &Settings<'_>,
    n_vocab: usize,
) -> Result<Vocabulary> {
    let mut list = TokenList::new(&json.path, n_vocab);
    for (text, id) in json.bpe_vocab()? {
        list.set(*id, text, TokenType::Normal, 0.0)?;
    }
    let mut notes = check_normalizer(json)?;
    notes.extend(json.left_out());
    let added = Adder::new(&mut list, Kind::ByteLevelBpe, &mut notes).add_all(Some(json), settings)?;
    let unknown = json.model.unk_token.as_deref().and_then(|text| list.id_of(text));
    let tokens = list.finish();
    let merges = json.model.merges.iter().map(|merge| merge_line(merge, json)).collect::<Result<Vec<_>>>()?;
    let wanted = Wanted { tokens: &tokens, merges: &merges, ignore_merges: json.model.ignore_merges };
    let pre = detect::pre_tokenizer(json, &wanted, &mut notes)?;
    let parts = Parts {
        kind: Kind::ByteLevelBpe,
        pre,
        tokens,
        merges,
        added,
        ids: [&[(Role::Unknown, unknown.map(|id| id as u32))], roles].concat(),
        add_space_prefix: None,
        space_prefix: SpacePrefix::Always,
        remove_extra_whitespaces: None,
        case: CaseRules::default(),
        charsmap: Vec::new(),
        notes,
    };
    parts.assemble(Some(json), settings)
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
