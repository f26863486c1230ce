//! Finding special tokens in a text before it is encoded.
//!
//! Longest first: every occurrence of the longest token is cut out of the text, then of the next one
//! in what remains, and so on. That is how peers read the same files, and it differs from
//! "leftmost-longest" where occurrences overlap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};
use regex::Regex;

use super::encoder::Encoder;
use super::literal::{Spellings, Vetoes};
use super::spm::SPACE;
use super::vocabulary::{AddedFlags, TokenType, Vocabulary};
use crate::error::{Error, Result};

/// A stretch of the text to encode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    /// Ordinary text, as a range of bytes.
    Text(Range<usize>),
    /// A special token.
    Token(u32),
}

struct Special {
    id: u32,
    text: String,
    /// Found only where the caller asks for special tokens to be parsed.
    on_request: bool,
    flags: AddedFlags,
}

/// The special tokens of a vocabulary.
pub(super) struct SpecialTokens {
    /// Those that are looked for in a text as it is.
    pub(super) plain: Stage,
    /// Those that are looked for in what the others leave, once that is normalised.
    pub(super) normalized: Stage,
}

/// Special tokens that are looked for together, longest first, then by id.
pub(super) struct Stage {
    tokens: Vec<Special>,
    /// Finds them all at once; pattern i is `tokens[i]`.
    automaton: AhoCorasick,
    /// What to try where token i does not apply: the longest later token that it begins with.
    shorter: Vec<Option<u32>>,
    any_unrequested: bool,
    blanks: Blanks,
}

/// What the blanks are that tokens take along.
#[derive(Clone, Copy)]
enum Blanks {
    /// Those of the C locale.
    C,
    /// Those of Unicode, as where files say which tokens take them.
    Unicode,
    /// As those, but for the space, which normalisation makes a letter.
    UnicodeButSpace,
}

impl Blanks {
    fn contain(self, c: char) -> bool {
        match self {
            Self::C => is_blank(c),
            Self::Unicode => c.is_whitespace(),
            Self::UnicodeButSpace => c != ' ' && c.is_whitespace(),
        }
    }
}

impl SpecialTokens {
    /// The control, unknown and user-defined tokens of `vocabulary`, by `types` (index = id). Empty
    /// ones, which would be everywhere, are left out, and so are those that are not text. `encoder` normalises.
    ///
    /// # Errors
    /// `Limit` if there are too many for a search automaton, or for a token that normalisation makes too long.
    pub(super) fn new(vocabulary: &Vocabulary, types: &[TokenType], encoder: &Encoder) -> Result<Self> {
        let known: Option<HashMap<u32, AddedFlags>> =
            vocabulary.added.as_ref().map(|added| added.iter().copied().collect());
        let (mut plain, mut normalized) = (Vec::new(), Vec::new());
        for (id, (text, ty)) in vocabulary.tokens.iter().zip(types).enumerate() {
            let on_request = match ty {
                TokenType::Control | TokenType::Unknown => true,
                TokenType::UserDefined => false,
                TokenType::Undefined | TokenType::Normal | TokenType::Unused | TokenType::Byte => continue,
            };
            let flags = match &known {
                Some(known) => known.get(&(id as u32)).copied().unwrap_or_default(),
                None => vocabulary.guessed_flags(text),
            };
            if vocabulary.raw.contains_key(&(id as u32)) {
                continue;
            }
            let (stage, text) = if flags.normalized {
                (&mut normalized, encoder.normalized(text)?.into_owned())
            } else {
                (&mut plain, text.clone())
            };
            if !text.is_empty() {
                stage.push(Special { id: id as u32, text, on_request, flags });
            }
        }
        let blanks = if known.is_some() { Blanks::Unicode } else { Blanks::C };
        let normal_blanks = if encoder.normalizes_spaces() { Blanks::UnicodeButSpace } else { blanks };
        Ok(Self { plain: Stage::new(plain, blanks)?, normalized: Stage::new(normalized, normal_blanks)? })
    }

    /// Finds the places where a text spells tokens that are read on request only.
    ///
    /// # Errors
    /// `Limit` if there are too many for a search automaton.
    pub(super) fn spellings(&self) -> Result<Spellings> {
        let mut texts: Vec<String> = self.plain.on_request().map(str::to_owned).collect();
        for text in self.normalized.on_request() {
            // The space in front may come from elsewhere, and others may be written as what stands for them.
            let text = text.trim_start_matches(' ');
            texts.extend([text.to_owned(), text.replace(' ', &SPACE.to_string())]);
        }
        Spellings::new(texts.iter().map(String::as_str).filter(|text| !text.is_empty())).map_err(too_many)
    }
}

impl Stage {
    fn new(mut tokens: Vec<Special>, blanks: Blanks) -> Result<Self> {
        tokens.sort_by_key(|token| (Reverse(token.text.len()), token.id));
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(tokens.iter().map(|token| &token.text))
            .map_err(too_many)?;
        let any_unrequested = tokens.iter().any(|token| !token.on_request);
        Ok(Self { shorter: shorter(&tokens), tokens, automaton, any_unrequested, blanks })
    }

    /// The texts of those that are read on request only.
    pub(super) fn on_request(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter(|token| token.on_request).map(|token| token.text.as_str())
    }

    /// Whether there are no tokens to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Cuts `text` at its special tokens; at control and unknown ones only if `parse_special`, and
    /// where `vetoes` allow.
    pub(super) fn partition(&self, text: &str, parse_special: bool, vetoes: &Vetoes) -> Vec<Fragment> {
        let may = |token: &Special, start: usize, end: usize| {
            !token.on_request || parse_special && !vetoes.forbid(start, end)
        };
        between(text.len(), self.cuts(text, parse_special, may))
    }

    /// The places in `text` where tokens are that it `may` have (token, start, end).
    ///
    /// Takes time in proportion to the text and the occurrences of tokens in it. Candidates, one for each
    /// place where a token begins, are tried longest first; one that does not apply makes room for the
    /// next shorter token in its place. As no longer one is left to come, what is taken already overlaps
    /// a candidate only if it holds its first or last byte.
    fn cuts(
        &self,
        text: &str,
        parse_special: bool,
        may: impl Fn(&Special, usize, usize) -> bool,
    ) -> Vec<(Range<usize>, u32)> {
        let mut candidates = self.candidates(text, parse_special);
        if candidates.is_empty() {
            return Vec::new();
        }
        let mut taken = vec![false; text.len()];
        let mut cuts = Vec::new();
        while let Some(Reverse((i, start))) = candidates.pop() {
            let token = &self.tokens[i as usize];
            let end = start + token.text.len();
            if taken[start] {
                continue;
            }
            let joins = token.flags.single_word && touches_word(text, start, end);
            if taken[end - 1] || joins || !may(token, start, end) {
                candidates.extend(self.shorter[i as usize].map(|shorter| Reverse((shorter, start))));
                continue;
            }
            let is_free_blank = |at: usize, c: char| self.blanks.contain(c) && !taken[at];
            let (mut left, mut right) = (start, end);
            if token.flags.lstrip {
                let blanks = text[..start].char_indices().rev().take_while(|&(at, c)| is_free_blank(at, c));
                left = blanks.last().map_or(start, |(at, _)| at);
            }
            if token.flags.rstrip {
                let mut rest = text[end..].char_indices();
                let next = rest.find(|&(at, c)| !is_free_blank(end + at, c));
                right = next.map_or(text.len(), |(at, _)| end + at);
            }
            taken[left..right].fill(true);
            cuts.push((left..right, token.id));
        }
        cuts.sort_unstable_by_key(|(cut, _)| cut.start);
        cuts
    }

    /// The longest token that begins at each place of `text`, in order of (token, place).
    fn candidates(&self, text: &str, parse_special: bool) -> BinaryHeap<Reverse<(u32, usize)>> {
        const NONE: u32 = u32::MAX;
        if !parse_special && !self.any_unrequested {
            return BinaryHeap::new();
        }
        let mut longest: Vec<u32> = Vec::new();
        for found in self.automaton.find_overlapping_iter(text) {
            let i = found.pattern().as_u32();
            if parse_special || !self.tokens[i as usize].on_request {
                longest.resize(text.len(), NONE);
                longest[found.start()] = i.min(longest[found.start()]);
            }
        }
        let found = longest.into_iter().enumerate().filter(|&(_, i)| i != NONE);
        found.map(|(start, i)| Reverse((i, start))).collect()
    }
}

/// For each of `tokens` the first later one whose text its own begins with: one with the same text, else
/// the longest beginning that is a token.
fn shorter(tokens: &[Special]) -> Vec<Option<u32>> {
    let mut by_text: Vec<u32> = (0..tokens.len() as u32).collect();
    let text = |i: u32| tokens[i as usize].text.as_str();
    by_text.sort_unstable_by_key(|&i| (text(i), i));
    let mut shorter = vec![None; tokens.len()];
    // Groups of equal texts, by their first token: each begins with the one before it.
    let mut beginnings: Vec<u32> = Vec::new();
    for group in by_text.chunk_by(|&a, &b| text(a) == text(b)) {
        while beginnings.pop_if(|last| !text(group[0]).starts_with(text(*last))).is_some() {}
        for (n, &i) in group.iter().enumerate() {
            shorter[i as usize] = group.get(n + 1).or(beginnings.last()).copied();
        }
        beginnings.push(group[0]);
    }
    shorter
}

/// The text of `len` bytes between and around `cuts`, and the tokens there.
fn between(len: usize, cuts: Vec<(Range<usize>, u32)>) -> Vec<Fragment> {
    let mut fragments = Vec::with_capacity(2 * cuts.len() + 1);
    let mut from = 0;
    for (cut, id) in cuts {
        fragments.extend((from < cut.start).then_some(Fragment::Text(from..cut.start)));
        fragments.push(Fragment::Token(id));
        from = cut.end;
    }
    fragments.extend((from < len).then_some(Fragment::Text(from..len)));
    fragments
}

/// Whether a letter, a digit or the like is next to `start..end`.
fn touches_word(text: &str, start: usize, end: usize) -> bool {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w").expect("a valid expression"));
    let neighbours = [text[..start].chars().next_back(), text[end..].chars().next()];
    neighbours.into_iter().flatten().any(|c| WORD.is_match(c.encode_utf8(&mut [0; 4])))
}

/// The blanks of the C locale.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

#[allow(clippy::needless_pass_by_value, reason = "passed to map_err")]
fn too_many(e: BuildError) -> Error {
    Error::limit(format!("the vocabulary has too many special tokens: {e}"))
}

#[cfg(test)]
mod tests;
