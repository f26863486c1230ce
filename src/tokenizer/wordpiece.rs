//! WordPiece, as BERT has it: text is cleaned, cut into words, and each word into the longest tokens from the left.
//!
//! GGUF calls it `bert` and spells tokens otherwise than vocab.txt: one that begins a word has `▁` in front, and one
//! that continues it has lost its `##`. A word that tokens cannot spell to its end is one unknown token as a whole.
//!
//! Classes of characters are those of the `tokenizers` library, by the same tables, so that rare characters fall alike.

use std::borrow::Cow;

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

use super::spm::SPACE;
use super::text_ids::TextIds;
use super::vocabulary::{CaseRules, TokenType};
use crate::error::{Error, Result};

/// Longer words are unknown; all models have this number.
pub(super) const MAX_WORD_CHARS: usize = 100;

/// Encodes ordinary text of a WordPiece vocabulary.
pub(super) struct WordPiece {
    ids: TextIds,
    rules: CaseRules,
    unknown: Option<u32>,
    max_token_bytes: usize,
}

impl WordPiece {
    /// Builds the table of `tokens` (index = id) by their `types`: ordinary ones are found in words.
    pub(super) fn new(
        tokens: &[String],
        types: &[TokenType],
        rules: CaseRules,
        unknown: Option<u32>,
    ) -> Self {
        let mut ids = TextIds::with_capacity(tokens.len());
        for (id, (token, _)) in
            (0..).zip(tokens.iter().zip(types)).filter(|(_, (_, ty))| **ty == TokenType::Normal)
        {
            ids.get_or_insert(token, id);
        }
        let max_token_bytes = tokens.iter().map(String::len).max().unwrap_or(0);
        Self { ids, rules, unknown, max_token_bytes }
    }

    /// `text`, cleaned and in the letters that words are spelled in.
    pub(super) fn normalized<'t>(&self, text: &'t str) -> Cow<'t, str> {
        normalized(text, self.rules).into()
    }

    /// Appends the ids of `text` to `ids`.
    ///
    /// # Errors
    /// `Usage` for a word that tokens cannot spell if the vocabulary has no unknown token.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let normal = normalized(text, self.rules);
        let mut word = String::new();
        for part in normal.split_whitespace().flat_map(isolated) {
            word.clear();
            word.push(SPACE);
            word.push_str(part);
            if part.chars().count() > MAX_WORD_CHARS || !self.cut(&word, ids) {
                ids.push(self.unknown.ok_or_else(|| {
                    Error::usage(format!(
                        "the model's vocabulary cannot spell the word {part:?} and has no unknown token; leave it out"
                    ))
                })?);
            }
        }
        Ok(())
    }

    /// Appends the tokens of `word`, which has its mark in front, if they spell it to its end.
    fn cut(&self, word: &str, ids: &mut Vec<u32>) -> bool {
        let before = ids.len();
        let mut start = 0;
        while start < word.len() {
            // What begins a word holds at least a character behind the mark; no other token begins with a mark.
            let shortest = if start == 0 { SPACE.len_utf8() } else { 0 };
            let ends = word[start..].char_indices().map(|(i, c)| i + c.len_utf8());
            let ends: Vec<usize> =
                ends.filter(|&end| end > shortest).take_while(|&end| end <= self.max_token_bytes).collect();
            let marked = start > 0 && word[start..].starts_with(SPACE);
            let found = ends.iter().rev().find_map(|&end| {
                let id = self.ids.get(&word[start..start + end])?;
                (!marked || end == SPACE.len_utf8()).then_some((end, id))
            });
            let Some((end, id)) = found else {
                ids.truncate(before);
                return false;
            };
            ids.push(id);
            start += end;
        }
        true
    }
}

/// `text` without control characters, with blanks around ideographs, without accents and in lower case as `rules` say.
fn normalized(text: &str, rules: CaseRules) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars().filter(|&c| c != '\0' && c != char::REPLACEMENT_CHARACTER && !is_control(c)) {
        if is_blank(c) {
            clean.push(' ');
        } else if is_ideograph(c) {
            clean.extend([' ', c, ' ']);
        } else {
            clean.push(c);
        }
    }
    if rules.strip_accents && !clean.is_ascii() {
        clean = clean.nfd().map(|(c, _)| c).filter(|c| !c.is_mark_nonspacing()).collect();
    }
    if rules.lowercase {
        clean = clean.chars().flat_map(char::to_lowercase).collect();
    }
    clean
}

/// The parts of `word` between punctuation marks, and the marks.
fn isolated(word: &str) -> impl Iterator<Item = &str> {
    word.split_inclusive(is_punctuation).flat_map(|part| {
        let mark = part
            .char_indices()
            .next_back()
            .filter(|&(_, c)| is_punctuation(c))
            .map_or(part.len(), |(i, _)| i);
        [&part[..mark], &part[mark..]].into_iter().filter(|part| !part.is_empty())
    })
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || c.is_whitespace()
}

fn is_control(c: char) -> bool {
    !matches!(c, '\t' | '\n' | '\r') && c.is_other()
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_punctuation()
}

/// The blocks of CJK ideographs as BERT lists them (0x2B920 is the libraries' number, not Unicode's).
fn is_ideograph(c: char) -> bool {
    matches!(
        c as u32,
        0x3400..=0x4DBF
            | 0x4E00..=0x9FFF
            | 0xF900..=0xFAFF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0x2F800..=0x2FA1F
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNCASED: CaseRules = CaseRules { lowercase: true, strip_accents: true };

    fn ids(tokens: &[&str], text: &str, rules: CaseRules) -> Vec<u32> {
        let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
        let types = vec![TokenType::Normal; tokens.len()];
        let mut ids = Vec::new();
        WordPiece::new(&tokens, &types, rules, Some(99)).encode(text, &mut ids).unwrap();
        ids
    }

    #[test]
    fn the_longest_tokens_from_the_left_spell_a_word_or_it_is_unknown() {
        let tokens = ["▁un", "aff", "able", "▁u", "▁unaffx", "▁a"];
        assert_eq!(ids(&tokens, "unaffable a", UNCASED), [0, 1, 2, 5]);
        assert_eq!(ids(&tokens, "unaffab a", UNCASED), [99, 5]);
        assert_eq!(ids(&tokens, &"u".repeat(101), UNCASED), [99]);
    }

    #[test]
    fn a_mark_alone_begins_no_word_and_a_beginning_continues_none() {
        assert_eq!(ids(&["▁", "a"], "a", UNCASED), [99]);
        assert_eq!(ids(&["▁x", "▁a"], "x▁a", UNCASED), [99]);
        assert_eq!(ids(&["▁x", "▁", "a"], "x▁a", UNCASED), [0, 1, 2]);
    }

    #[test]
    fn case_and_accents_go_as_the_rules_say() {
        let tokens = ["▁cafe", "▁Café", "▁café", "▁猫", "▁!", "▁i"];
        assert_eq!(ids(&tokens, "Ca\u{ad}fé", UNCASED), [0]);
        assert_eq!(ids(&tokens, "Café", CaseRules { lowercase: false, strip_accents: false }), [1]);
        assert_eq!(ids(&tokens, "Café", CaseRules { lowercase: true, strip_accents: false }), [2]);
        assert_eq!(ids(&tokens, "猫猫!!I\u{3000}İ", UNCASED), [3, 3, 4, 4, 5, 5]);
    }

    #[test]
    fn a_word_without_tokens_needs_an_unknown_one() {
        let wordpiece = WordPiece::new(&[], &[], UNCASED, None);
        let message = wordpiece.encode("x", &mut Vec::new()).unwrap_err().to_string();
        assert!(message.contains("\"x\"") && message.contains("no unknown token"), "{message}");
    }
}
