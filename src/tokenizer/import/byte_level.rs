//! Byte-level BPE from tokenizer.json.

use super::Parts;
use super::added::Adder;
use super::detect::{self, Wanted};
use super::settings::Settings;
use super::token_list::TokenList;
use super::tokenizer_json::{Merge, TokenizerJson, flatten, type_of};
use crate::error::{Error, Result};
use crate::tokenizer::normalizer::Normalizer;
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::vocabulary::{Kind, TokenType, Vocabulary};

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
    let normalizer = normalizer(json)?;
    let mut notes: Vec<String> = json.left_out().into_iter().collect();
    let names = normalizer.names();
    if !names.is_empty() {
        notes.push(format!(
            "tokenizer: the normalisation of texts ({}) is kept in a key of this program's own, which others do \
             not read",
            names.join(", ")
        ));
    }
    let added = Adder::new(&mut list, Kind::ByteLevelBpe, &mut notes).add_all(Some(json), settings)?;
    let unknown = json.model.unk_token.as_deref().and_then(|text| list.id_of(text));
    let tokens = list.finish();
    let merges = json.model.merges.iter().map(|merge| merge_line(merge, json)).collect::<Result<Vec<_>>>()?;
    let wanted = Wanted { tokens: &tokens, merges: &merges, ignore_merges: json.model.ignore_merges };
    let pre = detect::pre_tokenizer(json, &wanted, &mut notes)?;
    let parts = Parts {
        pre,
        merges,
        added,
        ids: [&[(Role::Unknown, unknown.map(|id| id as u32))], roles].concat(),
        normalizer,
        notes,
        ..Parts::new(Kind::ByteLevelBpe, tokens)
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

/// What is done to texts before they are split.
fn normalizer(json: &TokenizerJson) -> Result<Normalizer> {
    Normalizer::by_names(flatten(&json.normalizer).into_iter().map(type_of)).map_err(|name| {
        let what = format!(
            "a byte-level tokenizer with the normalizer {name:?}; supported are {}",
            Normalizer::supported()
        );
        Error::unsupported(&json.path, what)
    })
}
