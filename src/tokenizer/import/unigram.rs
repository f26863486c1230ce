//! Unigram from tokenizer.json, as XLM-RoBERTa and T5 have it.

use super::Parts;
use super::added::Adder;
use super::settings::Settings;
use super::token_list::TokenList;
use super::tokenizer_json::{TokenizerJson, Vocab, flatten, type_of};
use crate::error::{Error, Result};
use crate::tokenizer::Role;
use crate::tokenizer::spm;
use crate::tokenizer::vocabulary::{Kind, SpacePrefix, TokenType, Vocabulary};

/// What the normaliser and the pre-tokenizer come to.
#[derive(Default)]
struct Text {
    charsmap: Vec<u8>,
    /// Blanks at the ends go, and runs become one.
    strips: bool,
    /// Runs of blanks become one.
    merges: bool,
    prefix: Option<SpacePrefix>,
}

/// Reads the vocabulary in `json`, for a model with `n_vocab` rows.
///
/// # Errors
/// `Unsupported` for a normaliser or pre-tokenizer that GGUF cannot express.
pub(super) fn read(json: &TokenizerJson, settings: &Settings<'_>, n_vocab: usize) -> Result<Vocabulary> {
    let Vocab::Pieces(pieces) = &json.model.vocab else {
        return Err(Error::malformed(&json.path, "a Unigram vocabulary without scores"));
    };
    let text = text_rules(json)?;
    let mut list = TokenList::new(&json.path, n_vocab);
    for (id, (piece, score)) in pieces.iter().enumerate() {
        let ty = if json.model.unk_id == Some(id) {
            TokenType::Unknown
        } else if json.model.byte_fallback && spm::byte_of_token(piece).is_some() {
            TokenType::Byte
        } else {
            TokenType::Normal
        };
        list.set(id, piece, ty, *score as f32)?;
    }
    let mut notes = Vec::new();
    let added = Adder::new(&mut list, Kind::Unigram, &mut notes).add_all(Some(json), settings)?;
    let parts = Parts {
        added,
        ids: vec![(Role::Unknown, json.model.unk_id.map(|id| id as u32))],
        add_space_prefix: Some(text.prefix.is_some()),
        // Where blanks at the ends stay, one there is already in front.
        space_prefix: if text.strips {
            SpacePrefix::Always
        } else {
            text.prefix.unwrap_or(SpacePrefix::UnlessBlank)
        },
        remove_extra_whitespaces: Some(text.strips || text.merges),
        charsmap: text.charsmap,
        notes,
        ..Parts::new(Kind::Unigram, list.finish())
    };
    parts.assemble(Some(json), settings)
}

fn text_rules(json: &TokenizerJson) -> Result<Text> {
    let mut text = Text::default();
    let mut escapes = false;
    for part in flatten(&json.normalizer).into_iter().chain(flatten(&json.pre_tokenizer)) {
        let is_run = part["pattern"]["Regex"] == " {2,}";
        match type_of(part) {
            "Precompiled" => {
                let encoded = part["precompiled_charsmap"].as_str().unwrap_or_default();
                let wrong = || Error::malformed(&json.path, "a precompiled_charsmap that is not base64");
                text.charsmap = from_base64(encoded).ok_or_else(wrong)?;
            }
            "Strip" if part["strip_right"] == true => text.strips = true,
            "Replace" if is_run && (part["content"] == " " || part["content"] == "▁") => text.merges = true,
            "WhitespaceSplit" => text.strips = true,
            "Metaspace" if part["replacement"] == "▁" && part["split"] != false => {
                escapes = true;
                let scheme = part["prepend_scheme"].as_str();
                text.prefix = match scheme.unwrap_or_default() {
                    "never" => None,
                    "first" => Some(SpacePrefix::FirstUnlessBlank),
                    "" if part["add_prefix_space"] == false => None,
                    _ => Some(SpacePrefix::UnlessBlank),
                };
            }
            other => {
                let what = format!(
                    "a Unigram tokenizer with the component {other:?} ({part}); supported are Precompiled, Strip at the \
                     right, Replace of runs of spaces, WhitespaceSplit and Metaspace with \"▁\""
                );
                return Err(Error::unsupported(&json.path, what));
            }
        }
    }
    if escapes {
        Ok(text)
    } else {
        let what = "a Unigram tokenizer that does not escape spaces (Metaspace with \"▁\")";
        Err(Error::unsupported(&json.path, what))
    }
}

/// The bytes that `text` stands for, four characters for three of them; `None` for another text.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for &c in group {
            let digit = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(digit);
        }
        let n = group.len() * 6 / 8;
        bits <<= 32 - 6 * group.len();
        bytes.extend(&bits.to_be_bytes()[..n]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_three_bytes_in_four_characters() {
        let cases = [
            ("", ""),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("YWJjZA==", "abcd"),
            ("77+9", "\u{fffd}"),
        ];
        for (text, bytes) in cases {
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(from_base64("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
        assert_eq!(from_base64("Y Q="), None);
    }
}
