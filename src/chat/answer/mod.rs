//! Answers, taken apart: what a model thinks and what it says.
//!
//! Templates want the two apart: some refuse the marks of thoughts in what was said, others would write them where the
//! model has never seen any, and most leave old thoughts out. People want to tell them apart, in one spelling. An answer
//! is read as it comes:
//!
//! ```text
//! start   -- mark of thoughts (or the prompt ends with one) --> thoughts -- their end --> said
//!         -- anything else ------------------------------------------------------------> said
//! header  -- <|message|> or its like --> body -- end of the message, or another header --> header
//! ```
//!
//! where answers of models that give several messages begin in a header. Marks that the vocabulary has as tokens count
//! as such only where they came as one: an answer may speak of them. [`TOKEN_MARK`] stands in front of those.

use std::collections::HashSet;
use std::mem;

use serde::{Deserialize, Serialize};

use crate::runtime::generate::TOKEN_MARK;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::answer_marks::{
    self, BODIES, CHANNEL, HEADERS, MESSAGE_ENDS, OF_MESSAGES, THINKING_BODY, THOUGHTS, ThoughtMarks,
};

/// The channel of what is thought, and whom thoughts are for.
const THINKING_CHANNEL: &str = "analysis";
const TO_SELF: &str = "to=self";

/// A longer text is no header that lacks its mark, but an answer without any.
const MAX_HEADER_BYTES: usize = 64;

/// What a model thought and what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Answer {
    /// What it said.
    pub content: String,
    /// What it thought before.
    pub thinking: Option<String>,
}

/// An answer as JSON: a text, unless there are thoughts.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Plain(String),
    WithThoughts { content: String, thinking: String },
}

impl From<Written> for Answer {
    fn from(written: Written) -> Self {
        match written {
            Written::Plain(content) => Self { content, thinking: None },
            Written::WithThoughts { content, thinking } => Self { content, thinking: Some(thinking) },
        }
    }
}

impl From<Answer> for Written {
    fn from(Answer { content, thinking }: Answer) -> Self {
        match thinking {
            None => Self::Plain(content),
            Some(thinking) => Self::WithThoughts { content, thinking },
        }
    }
}

impl From<&str> for Answer {
    fn from(content: &str) -> Self {
        Self { content: content.to_owned(), thinking: None }
    }
}

/// The marks that answers of a model may have.
#[derive(Debug)]
pub struct AnswerMarks {
    /// The tokens that are spelled like one.
    ids: HashSet<u32>,
    /// The texts of these.
    of_tokens: HashSet<&'static str>,
    has_messages: bool,
}

impl AnswerMarks {
    /// Those of the models that have this tokenizer.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let tokens = tokenizer.tokens_spelled(answer_marks::all());
        let of_tokens: HashSet<_> = tokens.values().copied().collect();
        let has_messages = OF_MESSAGES.iter().any(|texts| texts.iter().all(|text| of_tokens.contains(text)));
        Self { ids: tokens.into_keys().collect(), of_tokens, has_messages }
    }

    /// The tokens in front of which [`TOKEN_MARK`] is to stand.
    pub fn ids(&self) -> &HashSet<u32> {
        &self.ids
    }

    /// The mark at the beginning of `text`, and whether more of it could change that. One that the vocabulary has counts
    /// if `is_token`, others if not.
    fn at_start(&self, text: &str, is_token: bool) -> (Option<&'static str>, bool) {
        let mut all = answer_marks::all().filter(|mark| self.of_tokens.contains(mark) == is_token);
        match all.clone().find(|mark| text.starts_with(mark)) {
            Some(mark) => (Some(mark), false),
            None => (None, all.any(|mark| mark.starts_with(text))),
        }
    }
}

/// What was said without what some models put around it.
fn without_marks(said: &str) -> String {
    let inner = answer_marks::AROUND_SAID
        .iter()
        .find_map(|(open, close)| said.trim().strip_prefix(open)?.strip_suffix(close).map(str::trim));
    inner.unwrap_or(said).to_owned()
}

/// The marks of thoughts that the end of a prompt opens.
pub(super) fn opened_by(prompt: &str) -> Option<&'static ThoughtMarks> {
    let end = prompt.trim_end();
    THOUGHTS.iter().find(|marks| {
        end.strip_suffix(marks.label.trim_end()).map_or(end, str::trim_end).ends_with(marks.open)
    })
}

/// Where in an answer reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before anything but blanks.
    Start,
    /// Between the marks of thoughts.
    Thoughts(&'static ThoughtMarks),
    /// Before a message: its role and its channel are being named.
    Header,
    /// In a message.
    Body { thinks: bool },
    /// In what is said, to the end.
    Said,
}

/// A piece of an answer.
enum Lexeme {
    Mark(&'static str),
    Text(String),
}

/// Takes an answer apart as it comes, and makes it readable: what is thought stands between `<think>` and `</think>`.
#[derive(Debug)]
pub struct AnswerReader<'a> {
    marks: &'a AnswerMarks,
    place: Place,
    /// What came and was not looked at: it may be the beginning of a mark.
    held: String,
    /// At the start, blanks; in a header, what was read of it.
    before: String,
    has_header: bool,
    /// A label that thoughts may still begin with.
    label: &'static str,
    /// Whether there were marks: blanks behind those are not part of what is said.
    has_marks: bool,
    /// All of it without [`TOKEN_MARK`].
    whole: String,
    stays_whole: bool,
    thinking: Part,
    content: Part,
    shown: String,
    /// Whether thoughts are shown that have no end yet.
    shows_thoughts: bool,
}

/// What was told of thoughts, or of what is said.
#[derive(Debug, Default)]
struct Part {
    text: String,
    /// Blanks that count once something follows.
    blanks: String,
    /// Whether another message has begun since.
    is_ended: bool,
}

impl<'a> AnswerReader<'a> {
    /// Begins an answer to a prompt that may have opened thoughts.
    pub fn new(marks: &'a AnswerMarks, opened: Option<&'static ThoughtMarks>) -> Self {
        let place = match opened {
            Some(opened) => Place::Thoughts(opened),
            None if marks.has_messages => Place::Header,
            None => Place::Start,
        };
        Self {
            marks,
            place,
            held: String::new(),
            before: String::new(),
            has_header: false,
            label: opened.map_or("", |opened| opened.label),
            has_marks: opened.is_some(),
            whole: opened.map_or_else(String::new, |opened| opened.open.to_owned()),
            stays_whole: opened.is_some_and(|opened| opened.stays),
            thinking: Part::default(),
            content: Part::default(),
            shown: String::new(),
            shows_thoughts: false,
        }
    }

    /// Takes the next piece; what can be shown now.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        self.read(false);
        mem::take(&mut self.shown)
    }

    /// What is left to show when the answer ends, and the answer. One that `is_whole`, which was not cut off, and never
    /// ended its thoughts has said what stands there.
    pub fn finish(mut self, is_whole: bool) -> (String, Answer) {
        self.read(true);
        match self.place {
            Place::Header if !self.has_header => self.say_what_was_before(),
            Place::Thoughts(_) if !self.before.is_empty() => {
                let before = mem::take(&mut self.before);
                self.tell(true, &before);
            }
            _ => {}
        }
        if self.shows_thoughts {
            self.shown.push_str("\n</think>");
        }
        let blanks = mem::take(&mut self.content.blanks);
        self.shown.push_str(&blanks);
        self.content.text.push_str(&blanks);
        if is_whole && matches!(self.place, Place::Thoughts(_)) {
            self.content.text = mem::take(&mut self.thinking.text);
        }
        let answer = match self.stays_whole {
            true => Answer { content: self.whole, thinking: None },
            false => Answer {
                content: if self.has_marks { without_marks(&self.content.text) } else { self.content.text },
                thinking: Some(self.thinking.text).filter(|thinking| !thinking.is_empty()),
            },
        };
        (self.shown, answer)
    }

    fn read(&mut self, is_end: bool) {
        while let Some(lexeme) = self.next(is_end) {
            match lexeme {
                Lexeme::Mark(mark) => {
                    self.whole.push_str(mark);
                    self.take_mark(mark);
                }
                Lexeme::Text(text) => {
                    self.whole.push_str(&text);
                    self.take_text(&text);
                }
            }
        }
    }

    /// The next mark, or the text before it; nothing as long as what comes may decide which it is.
    fn next(&mut self, is_end: bool) -> Option<Lexeme> {
        loop {
            let first = self.held.chars().next()?;
            let is_token = first == TOKEN_MARK;
            let rest = &self.held[if is_token { first.len_utf8() } else { 0 }..];
            let (mark, may_become) = self.marks.at_start(rest, is_token);
            if let Some(mark) = mark {
                self.held.drain(..self.held.len() - rest.len() + mark.len());
                return Some(Lexeme::Mark(mark));
            }
            if may_become && !is_end {
                return None;
            }
            if is_token {
                self.held.remove(0);
                continue;
            }
            let mut ends = self.held.char_indices().skip(1);
            let is_end_of_text = |(at, c): &(usize, char)| {
                let (mark, may_become) = self.marks.at_start(&self.held[*at..], false);
                *c == TOKEN_MARK || mark.is_some() || may_become
            };
            let n = ends.find(is_end_of_text).map_or(self.held.len(), |(at, _)| at);
            return Some(Lexeme::Text(self.held.drain(..n).collect()));
        }
    }

    fn take_mark(&mut self, mark: &'static str) {
        let thoughts = || THOUGHTS.iter().find(|marks| marks.open == mark);
        match self.place {
            Place::Start | Place::Header if !self.has_header && thoughts().is_some() => {
                let thoughts = thoughts().expect("looked at");
                self.before.clear();
                self.has_marks = true;
                (self.place, self.label) = (Place::Thoughts(thoughts), thoughts.label);
                self.stays_whole |= thoughts.stays;
            }
            // The prompt has opened them already.
            Place::Thoughts(marks) if mark == marks.open && self.thinking.text.is_empty() => {}
            Place::Thoughts(marks) if mark == marks.close => {
                self.label = "";
                self.take_text("");
                self.place = Place::Said;
            }
            Place::Header if BODIES.contains(&mark) => {
                let header = mem::take(&mut self.before);
                let channel = header.rfind(CHANNEL).map_or(&*header, |at| &header[at + CHANNEL.len()..]);
                let thinks = mark == THINKING_BODY
                    || channel.split_whitespace().next() == Some(THINKING_CHANNEL)
                    || header.split_whitespace().any(|word| word == TO_SELF);
                let part = if thinks { &mut self.thinking } else { &mut self.content };
                part.is_ended = !part.text.is_empty();
                (self.place, self.has_header, self.has_marks) = (Place::Body { thinks }, true, true);
            }
            Place::Header => {
                self.has_header |= HEADERS.contains(&mark);
                self.before.push_str(mark);
            }
            Place::Body { .. } if HEADERS.contains(&mark) || MESSAGE_ENDS.contains(&mark) => {
                self.place = Place::Header;
                self.before.push_str(mark);
            }
            _ => self.take_text(mark),
        }
    }

    fn take_text(&mut self, text: &str) {
        match self.place {
            Place::Start => {
                self.before.push_str(text);
                if !self.before.trim().is_empty() {
                    self.say_what_was_before();
                }
            }
            Place::Header => {
                self.before.push_str(text);
                let header = self.before.trim_start();
                if !self.has_header && (header.len() > MAX_HEADER_BYTES || header.contains('\n')) {
                    self.say_what_was_before();
                }
            }
            Place::Thoughts(_) if !self.label.is_empty() || !self.before.is_empty() => {
                self.before.push_str(text);
                if self.before.len() < self.label.len() && self.label.starts_with(&self.before) {
                    return;
                }
                let before = mem::take(&mut self.before);
                let label = mem::take(&mut self.label);
                self.tell(true, before.strip_prefix(label).unwrap_or(&before));
            }
            Place::Thoughts(_) => self.tell(true, text),
            Place::Body { thinks } => self.tell(thinks, text),
            Place::Said => self.tell(false, text),
        }
    }

    /// Takes what came so far for what is said: it was neither a mark nor a header.
    fn say_what_was_before(&mut self) {
        self.place = Place::Said;
        let before = mem::take(&mut self.before);
        self.tell(false, &before);
    }

    /// Adds to what was thought, or said, and shows it. Blanks around thoughts are not theirs.
    fn tell(&mut self, thinks: bool, text: &str) {
        let part = if thinks { &mut self.thinking } else { &mut self.content };
        let text = if part.text.is_empty() && self.has_marks { text.trim_start() } else { text };
        let solid = text.trim_end();
        if solid.is_empty() {
            return part.blanks.push_str(text);
        }
        let mut added = mem::take(&mut part.blanks);
        if mem::take(&mut part.is_ended) {
            "\n\n".clone_into(&mut added);
        }
        added.push_str(solid);
        part.blanks.push_str(&text[solid.len()..]);
        part.text.push_str(&added);
        if mem::replace(&mut self.shows_thoughts, thinks) != thinks {
            self.shown.push_str(if thinks { "<think>\n" } else { "\n</think>\n\n" });
        }
        self.shown.push_str(&added);
    }
}

#[cfg(test)]
mod tests;
