//! Finding special tokens in a text before it is encoded.
//!
//! Longest first: every occurrence of the longest token is cut out of the text, then of the next one
//! in what remains, and so on. That is how peers read the same files, and it differs from
//! "leftmost-longest" where occurrences overlap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};

use super::literal::{Spellings, Vetoes};
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

/// The special tokens of a vocabulary, longest first, then by id.
pub(super) struct SpecialTokens {
    tokens: Vec<Special>,
    /// Finds them all at once; pattern i is `tokens[i]`.
    automaton: AhoCorasick,
    /// What to try where token i does not apply: the longest later token that it begins with.
    shorter: Vec<Option<u32>>,
    any_unrequested: bool,
}

impl SpecialTokens {
    /// The control, unknown and user-defined tokens of `vocabulary`, by `types` (index = id). Empty
    /// ones, which would be everywhere, are left out.
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
            if !text.is_empty() {
                let strip = vocabulary.strip_of(text);
                tokens.push(Special { id: id as u32, text: text.clone(), on_request, strip });
            }
        }
        tokens.sort_by_key(|token| (Reverse(token.text.len()), token.id));
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(tokens.iter().map(|token| &token.text))
            .map_err(too_many)?;
        let any_unrequested = tokens.iter().any(|token| !token.on_request);
        Ok(Self { shorter: shorter(&tokens), tokens, automaton, any_unrequested })
    }

    /// Finds the places where a text spells tokens that are read on request only.
    ///
    /// # Errors
    /// `Limit` if there are too many for a search automaton.
    pub(super) fn spellings(&self) -> Result<Spellings> {
        let requested = self.tokens.iter().filter(|token| token.on_request);
        Spellings::new(requested.map(|token| token.text.as_str())).map_err(too_many)
    }

    /// Cuts `text` at its special tokens; at control and unknown ones only if `parse_special`, and
    /// where `vetoes` allow.
    ///
    /// Takes time in proportion to the text and the occurrences of tokens in it. Candidates, one for each
    /// place where a token begins, are tried longest first; one that does not apply makes room for the
    /// next shorter token in its place. As no longer one is left to come, what is taken already overlaps
    /// a candidate only if it holds its first or last byte.
    pub(super) fn partition(&self, text: &str, parse_special: bool, vetoes: &Vetoes) -> Vec<Fragment> {
        let mut candidates = self.candidates(text, parse_special);
        if candidates.is_empty() {
            return fragments(text, Vec::new());
        }
        let mut taken = vec![false; text.len()];
        let mut cuts = Vec::new();
        while let Some(Reverse((i, start))) = candidates.pop() {
            let token = &self.tokens[i as usize];
            let end = start + token.text.len();
            if taken[start] {
                continue;
            }
            let is_read = !token.on_request || parse_special && !vetoes.forbid(start, end);
            if !is_read || taken[end - 1] {
                candidates.extend(self.shorter[i as usize].map(|shorter| Reverse((shorter, start))));
                continue;
            }
            let left = if token.strip.left { start_of_blanks(text, start, &taken) } else { start };
            let right = if token.strip.right { end_of_blanks(text, end, &taken) } else { end };
            taken[left..right].fill(true);
            cuts.push((left..right, token.id));
        }
        fragments(text, cuts)
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

/// The text of `text` between and around `cuts`, and the tokens there.
fn fragments(text: &str, mut cuts: Vec<(Range<usize>, u32)>) -> Vec<Fragment> {
    cuts.sort_unstable_by_key(|(cut, _)| cut.start);
    let mut fragments = Vec::with_capacity(2 * cuts.len() + 1);
    let mut from = 0;
    for (cut, id) in cuts {
        fragments.extend((from < cut.start).then_some(Fragment::Text(from..cut.start)));
        fragments.push(Fragment::Token(id));
        from = cut.end;
    }
    fragments.extend((from < text.len()).then_some(Fragment::Text(from..text.len())));
    fragments
}

/// Where the blanks begin that stand before `end` and are not taken.
fn start_of_blanks(text: &str, end: usize, taken: &[bool]) -> usize {
    let blanks = text[..end].char_indices().rev().take_while(|&(at, c)| is_blank(c) && !taken[at]);
    blanks.last().map_or(end, |(at, _)| at)
}

/// Where the blanks end that stand from `start` on and are not taken.
fn end_of_blanks(text: &str, start: usize, taken: &[bool]) -> usize {
    let mut rest = text[start..].char_indices();
    let next = rest.find(|&(at, c)| !is_blank(c) || taken[start + at]);
    next.map_or(text.len(), |(at, _)| start + at)
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
mod tests {
    use super::*;
    use crate::tokenizer::literal::unmarked;
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
        specials.partition(text, parse_special, &Vetoes::NONE).into_iter().map(shown).collect()
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
    fn normal_tokens_do_not_split_text() {
        let specials = specials(&[("x", TokenType::Normal), ("<s>", TokenType::Control)], None);
        assert_eq!(partition(&specials, "axb", true), ["axb"]);
    }

    #[test]
    fn empty_text_has_no_fragments_and_empty_tokens_are_nowhere() {
        let specials = specials(&[("", TokenType::UserDefined), ("<s>", TokenType::Control)], None);
        assert!(partition(&specials, "", true).is_empty());
        assert_eq!(partition(&specials, "a<s>b", true), ["a", "#1", "b"]);
    }

    #[test]
    fn a_vetoed_token_makes_room_for_a_shorter_one() {
        let tokens =
            [("<a>b", TokenType::Control), ("<a", TokenType::UserDefined), ("a>", TokenType::Control)];
        let specials = specials(&tokens, None);
        let (text, vetoes) = unmarked("<a>§b", '§');
        let fragments = specials.partition(&text, true, &vetoes);
        assert_eq!(fragments, [Fragment::Token(1), Fragment::Text(2..4)]);
    }

    /// The definition: cuts every occurrence of each token out of what the longer ones left.
    fn partition_slowly(specials: &SpecialTokens, text: &str, parse_special: bool) -> Vec<Fragment> {
        let mut fragments = fragments(text, Vec::new());
        for token in specials.tokens.iter().filter(|token| parse_special || !token.on_request) {
            let cut = |fragment| match fragment {
                Fragment::Text(range) => cut_slowly(text, range, token),
                Fragment::Token(_) => vec![fragment],
            };
            fragments = fragments.into_iter().flat_map(cut).collect();
        }
        fragments
    }

    fn cut_slowly(text: &str, mut rest: Range<usize>, token: &Special) -> Vec<Fragment> {
        let mut out = Vec::new();
        while let Some(offset) = text[rest.clone()].find(&token.text) {
            let (start, end) = (rest.start + offset, rest.start + offset + token.text.len());
            let (before, after) = (&text[rest.start..start], &text[end..rest.end]);
            let before = if token.strip.left { before.trim_end_matches(is_blank) } else { before };
            let after = if token.strip.right { after.trim_start_matches(is_blank) } else { after };
            if !before.is_empty() {
                out.push(Fragment::Text(rest.start..rest.start + before.len()));
            }
            out.push(Fragment::Token(token.id));
            rest.start = rest.end - after.len();
        }
        if !rest.is_empty() {
            out.push(Fragment::Text(rest));
        }
        out
    }

    #[test]
    fn random_texts_are_cut_as_the_definition_says() {
        let mut state = 7u64;
        let mut below = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut word = move |max: u64| -> (String, u64) {
            let n = 1 + below(max);
            ((0..n).map(|_| ["a", "b", " ", "é"][below(4) as usize]).collect(), below(8))
        };
        for _ in 0..400 {
            let tokens: Vec<(String, u64)> = (0..8).map(|_| word(5)).collect();
            let typed = tokens.iter().map(|(text, flags)| {
                (text.as_str(), if flags & 1 == 0 { TokenType::Control } else { TokenType::UserDefined })
            });
            let mut specials = specials(&typed.collect::<Vec<_>>(), None);
            for token in &mut specials.tokens {
                let flags = tokens[token.id as usize].1;
                token.strip = Strip { left: flags & 2 != 0, right: flags & 4 != 0 };
            }
            for _ in 0..20 {
                let (text, flags) = word(40);
                let expected = partition_slowly(&specials, &text, flags & 1 == 0);
                let found = specials.partition(&text, flags & 1 == 0, &Vetoes::NONE);
                assert_eq!(found, expected, "{text:?} with {tokens:?}");
            }
        }
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
