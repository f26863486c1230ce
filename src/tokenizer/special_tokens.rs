//! Finding special tokens in a text before it is encoded.
//!
//! Longest first: every occurrence of the longest token is cut out of the text, then of the next one
//! in what remains, and so on. That is how peers read the same files, and it differs from
//! «leftmost-longest» where occurrences overlap.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::vocabulary::{TokenType, Vocabulary};
use crate::error::{Error, Result};

/// A stretch of the text to encode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    /// Ordinary text, as a range of bytes.
    Text(Range<usize>),
    /// A special token.
    Token(u32),
}

/// Which blanks around a special token go with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strip {
    /// Blanks before it.
    pub(super) left: bool,
    /// Blanks after it.
    pub(super) right: bool,
}

struct Special {
    id: u32,
    text: String,
    /// Found only where the caller asks for special tokens to be parsed.
    on_request: bool,
    strip: Strip,
}

/// The special tokens of a vocabulary, longest first.
pub(super) struct SpecialTokens {
    tokens: Vec<Special>,
    /// Says which tokens occur at all; pattern i is `tokens[i]`.
    automaton: AhoCorasick,
    any_unrequested: bool,
}

impl SpecialTokens {
    /// The control, unknown and user-defined tokens of `vocabulary`, by `types` (index = id).
    ///
    /// # Errors
    /// `Limit` if there are too many for a search automaton.
    pub(super) fn new(vocabulary: &Vocabulary, types: &[TokenType]) -> Result<Self> {
        let mut tokens: Vec<Special> = Vec::new();
        for (id, (text, ty)) in vocabulary.tokens.iter().zip(types).enumerate() {
            let on_request = match ty {
                TokenType::Control | TokenType::Unknown => true,
                TokenType::UserDefined => false,
                TokenType::Undefined | TokenType::Normal | TokenType::Unused | TokenType::Byte => continue,
            };
            let strip = vocabulary.strip_of(text);
            tokens.push(Special { id: id as u32, text: text.clone(), on_request, strip });
        }
        tokens.sort_by_key(|token| (std::cmp::Reverse(token.text.len()), token.id));
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(tokens.iter().map(|token| &token.text))
            .map_err(|e| Error::limit(format!("the vocabulary has too many special tokens: {e}")))?;
        let any_unrequested = tokens.iter().any(|token| !token.on_request);
        Ok(Self { tokens, automaton, any_unrequested })
    }

    /// Cuts `text` at its special tokens; at control and unknown ones only if `parse_special`.
    pub(super) fn partition(&self, text: &str, parse_special: bool) -> Vec<Fragment> {
        let mut fragments = Vec::new();
        if !text.is_empty() {
            fragments.push(Fragment::Text(0..text.len()));
        }
        if !parse_special && !self.any_unrequested {
            return fragments;
        }
        let mut occurs = vec![false; self.tokens.len()];
        for found in self.automaton.find_overlapping_iter(text) {
            occurs[found.pattern().as_usize()] = true;
        }
        for (token, _) in self.tokens.iter().zip(occurs).filter(|&(_, occurs)| occurs) {
            if parse_special || !token.on_request {
                fragments = cut(text, fragments, token);
            }
        }
        fragments
    }
}

/// Cuts every occurrence of `token` out of the text fragments.
fn cut(text: &str, fragments: Vec<Fragment>, token: &Special) -> Vec<Fragment> {
    let mut out = Vec::with_capacity(fragments.len() + 2);
    for fragment in fragments {
        let Fragment::Text(mut rest) = fragment else {
            out.push(fragment);
            continue;
        };
        while let Some(offset) = text[rest.clone()].find(&token.text) {
            let (start, end) = (rest.start + offset, rest.start + offset + token.text.len());
            let before =
                if token.strip.left { trim_end(&text[rest.start..start]) } else { &text[rest.start..start] };
            if !before.is_empty() {
                out.push(Fragment::Text(rest.start..rest.start + before.len()));
            }
            out.push(Fragment::Token(token.id));
            let after =
                if token.strip.right { trim_start(&text[end..rest.end]) } else { &text[end..rest.end] };
            rest.start = rest.end - after.len();
        }
        if !rest.is_empty() {
            out.push(Fragment::Text(rest));
        }
    }
    out
}

/// The blanks of the C locale.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_blank)
}

fn trim_start(text: &str) -> &str {
    text.trim_start_matches(is_blank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::vocabulary::tests::bpe_vocabulary;

    fn specials(tokens: &[(&str, TokenType)], name: Option<&str>) -> SpecialTokens {
        let mut vocabulary = bpe_vocabulary(tokens, &[]);
        vocabulary.model_name = name.map(str::to_owned);
        SpecialTokens::new(&vocabulary, &vocabulary.types).unwrap()
    }

    fn partition(specials: &SpecialTokens, text: &str, parse_special: bool) -> Vec<String> {
        let shown = |fragment| match fragment {
            Fragment::Text(range) => text[range].to_owned(),
            Fragment::Token(id) => format!("#{id}"),
        };
        specials.partition(text, parse_special).into_iter().map(shown).collect()
    }

    #[test]
    fn control_tokens_are_text_unless_asked_for_and_user_defined_ones_never() {
        let specials = specials(&[("<s>", TokenType::Control), ("<u>", TokenType::UserDefined)], None);
        assert_eq!(partition(&specials, "a<s>b<u><u>", false), ["a<s>b", "#1", "#1"]);
        assert_eq!(partition(&specials, "a<s>b<u><u>", true), ["a", "#0", "b", "#1", "#1"]);
    }

    #[test]
    fn the_longest_token_wins_even_where_a_shorter_one_starts_earlier() {
        let specials = specials(&[("ab", TokenType::Control), ("bcd", TokenType::Control)], None);
        assert_eq!(partition(&specials, "abcd ab", true), ["a", "#1", " ", "#0"]);
    }

    #[test]
    fn normal_tokens_are_no_cutting_points_and_nothing_comes_of_nothing() {
        let specials = specials(&[("x", TokenType::Normal), ("<s>", TokenType::Control)], None);
        assert_eq!(partition(&specials, "axb", true), ["axb"]);
        assert!(partition(&specials, "", true).is_empty());
    }

    #[test]
    fn phi_3_takes_the_blanks_after_its_special_tokens() {
        let tokens = [("<|user|>", TokenType::Control), ("<s>", TokenType::Control)];
        let phi = specials(&tokens, Some("Phi-3-mini"));
        assert_eq!(partition(&phi, "<s> <|user|>\n a ", true), ["#1", " ", "#0", "a "]);
        let other = specials(&tokens, Some("Llama"));
        assert_eq!(partition(&other, "<|user|>\na", true), ["#0", "\na"]);
    }
}
