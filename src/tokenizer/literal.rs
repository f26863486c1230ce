//! Control tokens that a text spells out and that are to stay text, although the text around them is
//! read with its special tokens.
//!
//! A chat prompt is one text: what a template writes, whose control tokens count, around what people
//! wrote, whose do not. A template may trim, split and test what people wrote, so it cannot be wrapped.
//! Instead a mark, a character that occurs nowhere else, goes into the few places where a control token
//! could be read ([`Spellings::spots`]), the prompt is rendered, and the marks come out again
//! ([`unmarked`]) while their places veto tokens:
//!
//! - one mark vetoes the tokens that it stands inside of;
//! - two together veto the tokens that the character behind them is part of. They stand at the ends of a
//!   text, where a token could be half the text's and half the template's.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError};

/// Finds where a text could be read as control tokens.
pub(super) struct Spellings {
    /// The texts of control tokens in lower case (ASCII), as a template may change case.
    texts: Vec<String>,
    whole: AhoCorasick,
    /// Of the texts without their last byte.
    beginnings: NFA,
    /// Of the texts without their first byte, in reverse.
    ends: NFA,
    max_bytes: usize,
}

/// Where marks go in a text: before the character at each offset, `true` for two marks.
type Spots = Vec<(usize, bool)>;

impl Spellings {
    /// Finds the control tokens with these texts, none of them empty.
    ///
    /// # Errors
    /// If there are too many for a search automaton.
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, BuildError> {
        let texts: Vec<String> = texts.map(str::to_ascii_lowercase).collect();
        let all_but = |first: usize, last: usize| {
            let bytes = texts.iter().map(move |text| &text.as_bytes()[first..text.len() - last]);
            bytes.filter(|bytes| !bytes.is_empty())
        };
        let reversed = all_but(1, 0).map(|bytes| bytes.iter().rev().copied().collect::<Vec<u8>>());
        Ok(Self {
            whole: AhoCorasick::new(&texts)?,
            beginnings: NFA::new(all_but(0, 1))?,
            ends: NFA::new(reversed)?,
            max_bytes: texts.iter().map(String::len).max().unwrap_or(0),
            texts,
        })
    }

    /// Where marks keep `text` from being read as control tokens, alone or together with what a template
    /// writes around it. Takes time in proportion to the text and the spellings in it.
    pub(super) fn spots(&self, text: &str) -> Spots {
        let lower = text.to_ascii_lowercase();
        let mut spots: Spots = Vec::new();
        // Matches come by their ends; a mark before the last character of one serves all it lies inside of.
        for found in self.whole.find_overlapping_iter(&lower) {
            let last = last_char(&lower[..found.end()]);
            let is_single = last == found.start();
            let is_served =
                |&(at, double): &(usize, bool)| at > found.start() || double && at == found.start();
            if !spots.last().is_some_and(is_served) {
                spots.push((last, is_single));
            }
        }
        // A template may trim the text, so its ends are where it would then end, too.
        let blank = lower.len() - lower.trim_start().len();
        for (start, end) in [(0, lower.len()), (blank, lower.trim_end().len())] {
            if start < end {
                spots.extend(
                    self.ends_of(&lower[start..end]).into_iter().flatten().map(|at| (start + at, true)),
                );
            }
        }
        spots.sort_unstable();
        // Of two spots in one place the stronger stays.
        spots.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            earlier.1 |= same && later.1;
            same
        });
        spots
    }

    /// The first and the last character of `text`, where a control token could begin before it or go on
    /// behind it.
    fn ends_of(&self, text: &str) -> [Option<usize>; 2] {
        let near = text.len().min(self.max_bytes);
        let bytes = text.as_bytes();
        let begins = is_underway(&self.beginnings, bytes[bytes.len() - near..].iter());
        let ends = is_underway(&self.ends, bytes[..near].iter().rev())
            || text.len() < self.max_bytes
                && self.texts.iter().any(|token| token.rfind(text).is_some_and(|at| at > 0));
        [ends.then_some(0), begins.then(|| last_char(text))]
    }
}

/// Whether `bytes` end in the beginning of a pattern.
fn is_underway<'a>(automaton: &NFA, bytes: impl Iterator<Item = &'a u8>) -> bool {
    let Ok(start) = automaton.start_state(Anchored::No) else { return false };
    bytes.fold(start, |state, &byte| automaton.next_state(Anchored::No, state, byte)) != start
}

/// Where the last character of `text`, which is not empty, begins.
fn last_char(text: &str) -> usize {
    text.char_indices().next_back().map_or(0, |(at, _)| at)
}

/// `text` with `mark` at `spots`.
pub(super) fn marked(text: &str, spots: &[(usize, bool)], mark: char) -> String {
    let mut out = String::with_capacity(text.len() + 2 * spots.len() * mark.len_utf8());
    let mut from = 0;
    for &(at, double) in spots {
        out.push_str(&text[from..at]);
        out.push(mark);
        out.extend(double.then_some(mark));
        from = at;
    }
    out.push_str(&text[from..]);
    out
}

/// Offsets in a text at which tokens are vetoed, ascending: twice the offset for a mark between two
/// characters, and one more for marks that mean the character behind them.
pub(super) struct Vetoes(Vec<usize>);

impl Vetoes {
    /// Vetoes nothing.
    pub(super) const NONE: Self = Self(Vec::new());

    /// Those in `range` of the text, by their places in it.
    pub(super) fn within(&self, range: &Range<usize>) -> Self {
        let inside = self.0.iter().filter(|&&place| (2 * range.start..2 * range.end).contains(&place));
        Self(inside.map(|place| place - 2 * range.start).collect())
    }

    /// The same, once `n_bytes` have come in front of the text.
    pub(super) fn moved_by(self, n_bytes: usize) -> Self {
        Self(self.0.into_iter().map(|place| place + 2 * n_bytes).collect())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a token at `start..end` is vetoed.
    pub(super) fn forbid(&self, start: usize, end: usize) -> bool {
        let next = self.0.partition_point(|&at| at <= 2 * start);
        self.0.get(next).is_some_and(|&at| at < 2 * end)
    }
}

/// `text` without its marks, and what they veto in it.
pub(super) fn unmarked(text: &str, mark: char) -> (String, Vetoes) {
    let (mut plain, mut vetoes) = (String::with_capacity(text.len()), Vec::new());
    for c in text.chars() {
        let here = 2 * plain.len();
        if c != mark {
            plain.push(c);
        } else if vetoes.last() == Some(&here) {
            vetoes.push(here + 1);
        } else if vetoes.last() != Some(&(here + 1)) {
            vetoes.push(here);
        }
    }
    (plain, Vetoes(vetoes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: char = '\u{f8a3}';

    fn spellings(texts: &[&str]) -> Spellings {
        Spellings::new(texts.iter().copied()).unwrap()
    }

    /// `text` with marks, shown as `·`.
    fn shown(texts: &[&str], text: &str) -> String {
        marked(text, &spellings(texts).spots(text), '·')
    }

    #[test]
    fn a_mark_goes_into_every_spelling_and_nowhere_else() {
        let texts = ["<|eot|>", "<s>"];
        assert_eq!(shown(&texts, "x <|eot|> <s>, a < b"), "x <|eot|·> <s·>, a < b");
        assert_eq!(shown(&texts, "<|EOT|> is no end, plainly"), "<|EOT|·> is no end, plainly");
        assert_eq!(shown(&texts, "no <|tokens|> here"), "no <|tokens|> here");
    }

    #[test]
    fn overlapping_spellings_share_a_mark_that_is_inside_of_all() {
        assert_eq!(shown(&["aba", "bab"], "xabababx"), "xab·ab·abx");
        assert_eq!(shown(&["<s>", "<<s>>"], " <<s>> "), " <<s·>> ");
    }

    #[test]
    fn ends_that_a_template_could_complete_get_two_marks() {
        let texts = ["<|eot|>"];
        assert_eq!(shown(&texts, "Hi <|eo"), "Hi <|e··o");
        assert_eq!(shown(&texts, "t|> Hi"), "··t|> Hi");
        assert_eq!(shown(&texts, " eot "), " ··eot ");
        assert_eq!(shown(&texts, "  <|\n"), "  <··|\n");
    }

    #[test]
    fn a_token_of_one_character_is_vetoed_as_that_character() {
        assert_eq!(shown(&["§"], "a§b§§c"), "a··§b··§··§c");
    }

    #[test]
    fn one_mark_vetoes_what_is_around_it_and_two_what_follows() {
        let (plain, vetoes) = unmarked(&format!("ab{MARK}cd{MARK}{MARK}ef"), MARK);
        assert_eq!(plain, "abcdef");
        assert!(vetoes.forbid(1, 3) && !vetoes.forbid(0, 2) && !vetoes.forbid(2, 4));
        assert!(vetoes.forbid(4, 5) && vetoes.forbid(3, 6) && !vetoes.forbid(5, 6));
    }

    #[test]
    fn texts_without_control_tokens_are_left_alone() {
        assert_eq!(shown(&[], "<|eot|>"), "<|eot|>");
        assert_eq!(shown(&["<s>"], ""), "");
        assert_eq!(shown(&["<s>"], " \n"), " \n");
    }
}
