//! How a text falls into words before BPE joins bytes within each: one table row per behaviour.
//!
//! A GGUF names its pre-tokenizer (`tokenizer.ggml.pre`); the expressions come from the models' own
//! tokenizer.json files. Each stage cuts every piece of the stage before at its matches; what lies
//! between matches is a piece too.
//!
//! Most expressions end in `\s+(?!\S)|\s+`: whitespace, but the last blank before a word goes with the
//! word. A few look ahead to the end of a number, to cut it in threes from there. That is all the look-ahead among
//! them, so it is said beside the patterns here ([`Tail`], [`Cut`]) and the rest runs on automata in linear time, which
//! a backtracking engine cannot promise.

use regex_automata::{Input, meta::Regex};

use super::pre_tokenizer_table::{Cut, ROWS, Row, Stage, Tail};

/// Cuts texts into words.
pub(super) struct Splitter {
    row: &'static Row,
    stages: Vec<CompiledStage>,
}

struct CompiledStage {
    /// Pattern 0 is the row's; pattern 1, where present, is a run of whitespace.
    regex: Regex,
    tail: Tail,
    cut: Cut,
}

/// Every name a GGUF may give a supported pre-tokenizer, in the order of the table.
pub(super) fn supported_names() -> Vec<&'static str> {
    ROWS.iter().flat_map(|row| row.names).copied().collect()
}

impl Splitter {
    /// The pre-tokenizer called `name` in GGUF files.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.names.contains(&name)).map(Self::of)
    }

    /// The pre-tokenizer of a table row.
    pub(super) fn of(row: &'static Row) -> Self {
        Self { row, stages: row.stages.iter().map(CompiledStage::new).collect() }
    }

    /// Whether a word that is a token as a whole is taken as such, whatever the merges make of it.
    pub(super) fn ignores_merges(&self) -> bool {
        self.row.ignores_merges
    }

    /// Whether texts start with the beginning-of-sequence token where a file does not say.
    pub(super) fn adds_bos(&self) -> bool {
        self.row.adds_bos
    }

    /// Calls `emit` with the words of `text`, in order; together they are the text.
    pub(super) fn split(&self, text: &str, mut emit: impl FnMut(&str)) {
        split_by(&self.stages, text, &mut emit);
    }
}

fn split_by(stages: &[CompiledStage], text: &str, emit: &mut dyn FnMut(&str)) {
    match stages.split_first() {
        None => emit(text),
        Some((stage, later)) => stage.split(text, &mut |piece| split_by(later, piece, emit)),
    }
}

impl CompiledStage {
    fn new(stage: &Stage) -> Self {
        let has_tail = stage.tail != Tail::None;
        let patterns = if has_tail { vec![stage.pattern, r"\s+"] } else { vec![stage.pattern] };
        Self {
            regex: Regex::new_many(&patterns).expect("the table's expressions are valid: a test builds each"),
            tail: stage.tail,
            cut: stage.cut,
        }
    }

    fn split(&self, text: &str, emit: &mut dyn FnMut(&str)) {
        // What lies before `from` is emitted, what lies before `at` is searched.
        let (mut from, mut at) = (0, 0);
        let mut emit_to = |from: &mut usize, to: usize| {
            if *from < to {
                emit(&text[*from..to]);
                *from = to;
            }
        };
        while at < text.len() {
            let Some(found) = self.regex.search(&Input::new(text).range(at..)) else { break };
            let (start, mut end) = (found.start(), found.end());
            if found.pattern().as_usize() == 1 {
                end = self.tail.end(text, start, end);
            }
            if self.cut != Cut::BeforeThrees {
                emit_to(&mut from, start);
            }
            if self.cut != Cut::Piece {
                let n = text[start..end].chars().count();
                let starts = text[start..end].char_indices().enumerate();
                for (_, (i, _)) in starts.filter(|(nth, _)| (n - nth).is_multiple_of(3)) {
                    emit_to(&mut from, start + i);
                }
            }
            if self.cut != Cut::BeforeThrees {
                emit_to(&mut from, end);
            }
            at = end;
        }
        emit_to(&mut from, text.len());
    }
}

impl Tail {
    /// Where the match ends that begins with the run of whitespace `text[start..end]`.
    fn end(self, text: &str, start: usize, end: usize) -> usize {
        const MOST: usize = 512;
        let before_word = if end < text.len() { without_last_char(text, start, end) } else { end };
        if self != Self::PowersOfTwo {
            return before_word;
        }
        let starts = |n: usize| text[start..before_word].char_indices().nth(n).map(|(i, _)| start + i);
        let n = text[start..before_word].chars().take(MOST).count();
        starts(1 << n.ilog2()).unwrap_or(before_word)
    }
}

/// The end of `text[start..end]` without its last character, or `end` if there is only one.
fn without_last_char(text: &str, start: usize, end: usize) -> usize {
    match text[start..end].char_indices().next_back() {
        Some((last, _)) if last > 0 => start + last,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn words(name: &str, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        Splitter::by_name(name).unwrap().split(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn every_row_compiles_and_loses_no_text() {
        let text = "I'll  go\t\r\n to Ünï 12345 猫が เธอ हिन्दी 🦙!? \u{a0}x\u{301} \n\n  end  ";
        for row in ROWS {
            let mut joined = String::new();
            Splitter::of(row).split(text, |word| {
                assert!(!word.is_empty(), "{:?}", row.names);
                joined.push_str(word);
            });
            assert_eq!(joined, text, "{:?}", row.names);
        }
    }

    #[test]
    fn names_are_unique_and_unknown_ones_are_refused() {
        let names = supported_names();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(Splitter::by_name("no such").is_none());
    }

    #[test]
    fn whitespace_leaves_its_last_blank_to_the_word() {
        assert_eq!(words("gpt-2", "a   b  "), ["a", "  ", " b", "  "]);
        assert_eq!(words("gpt-2", "a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(words("llama-bpe", "a \n\n  b"), ["a", " \n\n", " ", " b"]);
        assert_eq!(words("llama-bpe", "\u{2003}\u{2003}1"), ["\u{2003}", "\u{2003}", "1"]);
    }

    #[test]
    fn digits_are_grouped_as_each_model_wants() {
        assert_eq!(words("gpt-2", "x 12345"), ["x", " 12345"]);
        assert_eq!(words("llama-bpe", "x 12345"), ["x", " ", "123", "45"]);
        assert_eq!(words("qwen2", "x 123"), ["x", " ", "1", "2", "3"]);
        assert_eq!(words("smollm", "x 12"), ["x", " ", "1", "2"]);
        assert_eq!(words("falcon", "x 12345"), ["x", " ", "123", "45"]);
    }

    #[test]
    fn contractions_respect_case_where_the_model_does() {
        assert_eq!(words("gpt-2", "I'LL I'll"), ["I", "'", "LL", " I", "'ll"]);
        assert_eq!(words("llama-bpe", "I'LL I'll"), ["I", "'LL", " I", "'ll"]);
    }

    #[test]
    fn long_runs_lose_no_text() {
        for row in ROWS {
            for unit in ["a", " ", "\n", "1", "!", " a", "a ", "\n ", "é"] {
                let text = unit.repeat(200_000);
                let mut n = 0;
                Splitter::of(row).split(&text, |word| n += word.len());
                assert_eq!(n, text.len());
            }
        }
    }
}
