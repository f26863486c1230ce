//! Unigram, SentencePiece's other kind, which GGUF calls `t5`: of all ways to spell a text in tokens the one with the
//! greatest sum of scores.
//!
//! Viterbi's algorithm, from left to right over the characters: the best way to reach each place, by every token that
//! ends there. A character that is not a token costs ten more than the worst token does and is unknown; neighbours that
//! are unknown become one token. Sums are in 64 bits and the first of equals stays, as in the `tokenizers` library.

use std::borrow::Cow;

use super::charsmap::CharsMap;
use super::spm::{SPACE, byte_of_token};
use super::trie::Trie;
use super::vocabulary::{SpacePrefix, TokenType};
use crate::error::{Error, Result};

/// How much worse than the worst token an unknown character is.
const UNKNOWN_PENALTY: f64 = 10.0;

/// Encodes ordinary text of a Unigram vocabulary.
pub(super) struct Unigram {
    trie: Trie,
    scores: Vec<f32>,
    unknown: Option<u32>,
    unknown_score: f64,
    /// The tokens of the bytes, if it has all of them.
    bytes: Option<Box<[u32; 256]>>,
    charsmap: CharsMap,
    blanks: Blanks,
    /// Whether tokens hold spaces inside, so that words cannot be taken one by one.
    spans_words: bool,
}

/// What becomes of blanks.
#[derive(Clone, Copy)]
pub(super) struct Blanks {
    /// Where a space is put in front; `None` for nowhere.
    pub(super) prefix: Option<SpacePrefix>,
    /// Whether runs of them become one. Those at the ends go too if the prefix is [`SpacePrefix::Always`].
    pub(super) removes_extra: bool,
}

impl Blanks {
    /// Whether only words count, each with one space in front.
    fn counts_words(self) -> bool {
        self.removes_extra && matches!(self.prefix, None | Some(SpacePrefix::Always))
    }
}

impl Unigram {
    /// Builds the tables of `tokens` (index = id), their `types` and `scores`. Ordinary tokens come of text, and
    /// user-defined ones at no cost.
    pub(super) fn new(
        tokens: &[String],
        types: &[TokenType],
        scores: &[f32],
        unknown: Option<u32>,
        charsmap: CharsMap,
        blanks: Blanks,
    ) -> Self {
        let mut scores = scores.to_vec();
        let normal = |id: &u32| types[*id as usize] == TokenType::Normal;
        let defined = |id: &u32| types[*id as usize] == TokenType::UserDefined;
        let all = 0..tokens.len() as u32;
        all.clone().filter(defined).for_each(|id| scores[id as usize] = 0.0);
        let worst = all.clone().filter(normal).map(|id| scores[id as usize]).fold(f32::INFINITY, f32::min);
        let words = all.clone().filter(|id| normal(id) || defined(id));
        let trie = Trie::new(words.clone().map(|id| (tokens[id as usize].as_str(), id)));
        let mut byte_ids = [None; 256];
        for id in all.filter(|&id| types[id as usize] == TokenType::Byte) {
            if let Some(byte) = byte_of_token(&tokens[id as usize]) {
                byte_ids[usize::from(byte)].get_or_insert(id);
            }
        }
        let bytes =
            byte_ids.iter().all(Option::is_some).then(|| Box::new(byte_ids.map(Option::unwrap_or_default)));
        let has_space_inside = |id: u32| tokens[id as usize].chars().skip(1).any(|c| c == SPACE);
        let spans_words = !blanks.counts_words() && words.into_iter().any(has_space_inside);
        let unknown_score = f64::from(if worst.is_finite() { worst } else { 0.0 }) - UNKNOWN_PENALTY;
        Self { trie, scores, unknown, unknown_score, bytes, charsmap, blanks, spans_words }
    }

    /// `text` with its characters replaced.
    ///
    /// # Errors
    /// `Limit` for a text that this makes too long.
    pub(super) fn normalized<'t>(&self, text: &'t str) -> Result<Cow<'t, str>> {
        Ok(if self.charsmap.is_empty() { text.into() } else { self.charsmap.normalize(text)?.into() })
    }

    /// Appends the ids of `text` to `ids`; `is_first` if it begins the whole text.
    ///
    /// # Errors
    /// `Usage` for a character that is not a token if the vocabulary has neither an unknown token nor tokens for bytes;
    /// `Limit` for a text that its normalisation makes too long.
    pub(super) fn encode(&self, text: &str, is_first: bool, ids: &mut Vec<u32>) -> Result<()> {
        let text = self.charsmap.normalize(text)?;
        let mut best = Vec::new();
        let mut word = String::new();
        if self.blanks.counts_words() {
            for (i, part) in text.split_whitespace().enumerate() {
                let marked = part.starts_with(SPACE);
                word.clear();
                word.extend((!marked && (i > 0 || self.begins_with_space(is_first))).then_some(SPACE));
                word.push_str(part);
                self.cut_words(&word, &mut best, ids)?;
            }
            return Ok(());
        }
        let blank = text.starts_with([' ', SPACE]);
        word.extend((!text.is_empty() && !blank && self.begins_with_space(is_first)).then_some(SPACE));
        let mut before = None;
        for c in text.chars() {
            let is_extra = self.blanks.removes_extra && c == ' ' && before == Some(' ');
            word.extend((!is_extra).then_some(if c == ' ' { SPACE } else { c }));
            before = Some(c);
        }
        self.cut_words(&word, &mut best, ids)
    }

    fn begins_with_space(&self, is_first: bool) -> bool {
        match self.blanks.prefix {
            None => false,
            Some(SpacePrefix::FirstUnlessBlank) => is_first,
            Some(SpacePrefix::Always | SpacePrefix::UnlessBlank) => true,
        }
    }

    /// Appends the tokens of `text`, word by word: where each begins with its space, no token lies across.
    fn cut_words(&self, text: &str, best: &mut Vec<Best>, ids: &mut Vec<u32>) -> Result<()> {
        if self.spans_words {
            return self.cut(text, best, ids);
        }
        let starts = text.match_indices(SPACE).map(|(at, _)| at).filter(|&at| at > 0).chain([text.len()]);
        let mut from = 0;
        for to in starts {
            self.cut(&text[from..to], best, ids)?;
            from = to;
        }
        Ok(())
    }

    /// Appends the best tokens of `text`.
    fn cut(&self, text: &str, best: &mut Vec<Best>, ids: &mut Vec<u32>) -> Result<()> {
        best.clear();
        best.resize(text.len() + 1, Best::NONE);
        best[0] = Best { sum: 0.0, ..Best::NONE };
        for (start, c) in text.char_indices() {
            let sum = best[start].sum;
            let mut is_token = false;
            for (len, id) in self.trie.prefixes(&text.as_bytes()[start..]) {
                is_token |= len == c.len_utf8();
                best[start + len].improve(sum + f64::from(self.scores[id as usize]), start, Some(id));
            }
            if !is_token {
                best[start + c.len_utf8()].improve(sum + self.unknown_score, start, None);
            }
        }
        let mut path: Vec<(usize, usize, Option<u32>)> = Vec::new();
        let mut end = text.len();
        while end > 0 {
            let Best { start, id, .. } = best[end];
            let start = start as usize;
            match path.last_mut() {
                Some((first, _, None)) if id.is_none() => *first = start,
                _ => path.push((start, end, id)),
            }
            end = start;
        }
        for &(start, end, id) in path.iter().rev() {
            match (id, &self.bytes, self.unknown) {
                (Some(id), ..) => ids.push(id),
                (None, Some(bytes), _) => {
                    ids.extend(text[start..end].bytes().map(|byte| bytes[usize::from(byte)]));
                }
                (None, None, Some(unknown)) => ids.push(unknown),
                (None, None, None) => {
                    return Err(Error::usage(format!(
                        "the model's vocabulary has no token for {:?}, no byte tokens and no unknown token; leave it out",
                        &text[start..end]
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The best way to reach a place.
#[derive(Clone, Copy)]
struct Best {
    sum: f64,
    /// Where its last token begins.
    start: u32,
    /// That token; `None` for an unknown character.
    id: Option<u32>,
}

impl Best {
    /// Not reached.
    const NONE: Self = Self { sum: f64::NEG_INFINITY, start: u32::MAX, id: None };

    fn improve(&mut self, sum: f64, start: usize, id: Option<u32>) {
        if self.start == u32::MAX || sum > self.sum {
            *self = Self { sum, start: start as u32, id };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Blanks = Blanks { prefix: Some(SpacePrefix::Always), removes_extra: true };

    fn unigram(pieces: &[(&str, f32, TokenType)], unknown: Option<u32>, blanks: Blanks) -> Unigram {
        let tokens: Vec<String> = pieces.iter().map(|piece| piece.0.to_owned()).collect();
        let types: Vec<TokenType> = pieces.iter().map(|piece| piece.2).collect();
        let scores: Vec<f32> = pieces.iter().map(|piece| piece.1).collect();
        Unigram::new(&tokens, &types, &scores, unknown, CharsMap::default(), blanks)
    }

    fn ids(unigram: &Unigram, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        unigram.encode(text, true, &mut ids).unwrap();
        ids
    }

    const N: TokenType = TokenType::Normal;

    #[test]
    fn the_greatest_sum_wins_and_unknown_neighbours_are_one() {
        let pieces = [
            ("<unk>", 0.0, TokenType::Unknown),
            ("▁", -3.0, N),
            ("a", -2.0, N),
            ("b", -2.0, N),
            ("ab", -5.0, N),
        ];
        let pieces = [&pieces[..], &[("▁ab", -6.5, N), ("<s>", 5.0, TokenType::Control)]].concat();
        let words = unigram(&pieces, Some(0), WORDS);
        assert_eq!(ids(&words, "ab  ab "), [5, 5]);
        assert_eq!(ids(&words, "aab"), [1, 2, 2, 3]);
        assert_eq!(ids(&words, "xyzab猫"), [1, 0, 2, 3, 0]);
        assert_eq!(ids(&words, "<s>"), [1, 0]);
        assert!(ids(&words, "").is_empty() && ids(&words, " \n").is_empty());
    }

    #[test]
    fn blanks_stay_where_they_are_not_removed() {
        let pieces = [("<unk>", 0.0, TokenType::Unknown), ("▁", -3.0, N), ("a", -2.0, N), ("▁a", -4.0, N)];
        let kept = Blanks { prefix: Some(SpacePrefix::UnlessBlank), removes_extra: false };
        assert_eq!(ids(&unigram(&pieces, Some(0), kept), "a  a "), [3, 1, 3, 1]);
        assert_eq!(ids(&unigram(&pieces, Some(0), kept), " a"), [3]);
        let across = [&pieces[..], &[("▁▁", -3.5, N)]].concat();
        assert_eq!(ids(&unigram(&across, Some(0), kept), "a  a"), [3, 4, 2]);
        let none = Blanks { prefix: None, removes_extra: false };
        assert_eq!(ids(&unigram(&pieces, Some(0), none), "aa"), [2, 2]);
    }

    #[test]
    fn unknown_characters_are_spelled_in_bytes_where_there_are_such_tokens() {
        let bytes: Vec<String> = (0..=255).map(crate::tokenizer::spm::byte_token).collect();
        let mut pieces: Vec<(&str, f32, TokenType)> = vec![("▁", -1.0, N)];
        pieces.extend(bytes.iter().map(|text| (text.as_str(), 0.0, TokenType::Byte)));
        assert_eq!(ids(&unigram(&pieces, None, WORDS), "é"), [0, 1 + 0xc3, 1 + 0xa9]);
        let message =
            unigram(&pieces[..1], None, WORDS).encode("é", true, &mut Vec::new()).unwrap_err().to_string();
        assert!(message.contains("no unknown token"), "{message}");
    }
}
