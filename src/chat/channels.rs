//! Answers in channels, as models of the Harmony format give them (gpt-oss):
//!
//! ```text
//! <|channel|>analysis<|message|>what it thinks<|end|><|start|>assistant<|channel|>final<|message|>what it says
//! ```
//!
//! Templates want the two apart and refuse the marks; people want to tell them apart without such marks. Source: OpenAI's
//! description of the format (openai-harmony).

use std::mem;

const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";

/// Marks that end what is said in a channel.
const ENDS: [&str; 5] = ["<|end|>", "<|call|>", "<|return|>", "<|start|>", CHANNEL];

/// The channel of what is thought.
const THINKING: &str = "analysis";

/// An answer, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spoken {
    /// What the model thought.
    pub(super) thinking: String,
    /// What it says.
    pub(super) content: String,
}

impl Spoken {
    /// The parts of an answer; `None` if it has no channels.
    pub(super) fn of(answer: &str) -> Option<Self> {
        if !answer.starts_with(CHANNEL) {
            return None;
        }
        let (mut spoken, mut channels) = (Self::default(), Channels::default());
        let mut told = |is_thinking: bool, text: &str| {
            if is_thinking { &mut spoken.thinking } else { &mut spoken.content }.push_str(text);
        };
        channels.read(answer, &mut told);
        channels.end(&mut told);
        Some(spoken)
    }
}

/// Makes an answer that comes in pieces readable: what is thought stands between `<think>` and `</think>`, as other models
/// write it, and the marks are gone. Answers without channels stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Readable {
    channels: Channels,
    is_thinking: bool,
}

impl Readable {
    /// What can be shown after the next piece.
    pub fn push(&mut self, piece: &str) -> String {
        let mut shown = String::new();
        let is_thinking = &mut self.is_thinking;
        self.channels.read(piece, |thinks, text| show(is_thinking, thinks, text, &mut shown));
        shown
    }

    /// What is left when the answer ends.
    pub fn finish(mut self) -> String {
        let mut shown = String::new();
        let is_thinking = &mut self.is_thinking;
        self.channels.end(|thinks, text| show(is_thinking, thinks, text, &mut shown));
        if self.is_thinking {
            shown.push_str("\n</think>");
        }
        shown
    }
}

/// Adds `text` to `shown`, behind a border if it is of the other kind than the text before.
fn show(is_thinking: &mut bool, thinks: bool, text: &str, shown: &mut String) {
    if mem::replace(is_thinking, thinks) != thinks {
        shown.push_str(if thinks { "<think>\n" } else { "\n</think>\n\n" });
    }
    shown.push_str(text);
}

/// Where in an answer reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before its first character.
    #[default]
    Start,
    /// Before a message: its role and its channel are being named.
    Header,
    /// In a message.
    Body { is_thinking: bool },
    /// In an answer without channels.
    Plain,
}

/// Takes an answer apart as it comes.
#[derive(Clone, Debug, Default)]
struct Channels {
    place: Place,
    /// What was not told yet: it may be the beginning of a mark, or of a header.
    held: String,
}

impl Channels {
    /// Reads a piece, and calls `told` with what is known to be text, and whether it is thought.
    fn read(&mut self, piece: &str, mut told: impl FnMut(bool, &str)) {
        self.held.push_str(piece);
        loop {
            match self.place {
                Place::Start if self.held.starts_with(CHANNEL) => self.place = Place::Header,
                Place::Start if CHANNEL.starts_with(&self.held) => return,
                Place::Start => self.place = Place::Plain,
                Place::Header => {
                    let Some(at) = self.held.find(MESSAGE) else { return };
                    let header = &self.held[..at];
                    let channel = header.rfind(CHANNEL).map_or("", |at| &header[at + CHANNEL.len()..]);
                    let is_thinking = channel.split_whitespace().next() == Some(THINKING);
                    self.held.drain(..at + MESSAGE.len());
                    self.place = Place::Body { is_thinking };
                }
                Place::Body { is_thinking } => {
                    let ends = ENDS.iter().filter_map(|mark| self.held.find(mark));
                    let Some(end) = ends.min() else {
                        self.tell(is_thinking, self.held.len() - beginning_of_mark(&self.held), &mut told);
                        return;
                    };
                    self.tell(is_thinking, end, &mut told);
                    self.place = Place::Header;
                }
                Place::Plain => return self.tell(false, self.held.len(), &mut told),
            }
        }
    }

    /// Tells what was held back, as the answer has ended.
    fn end(&mut self, mut told: impl FnMut(bool, &str)) {
        match self.place {
            Place::Body { is_thinking } => self.tell(is_thinking, self.held.len(), &mut told),
            Place::Start | Place::Plain => self.tell(false, self.held.len(), &mut told),
            Place::Header => {}
        }
    }

    fn tell(&mut self, is_thinking: bool, end: usize, told: &mut impl FnMut(bool, &str)) {
        if end > 0 {
            told(is_thinking, &self.held[..end]);
            self.held.drain(..end);
        }
    }
}

/// Bytes at the end of `text` that may begin a mark.
fn beginning_of_mark(text: &str) -> usize {
    let begins = |n: &usize| ENDS.iter().any(|mark| n < &mark.len() && text.ends_with(&mark[..*n]));
    (1..text.len().min(CHANNEL.len()) + 1).rev().find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str =
        "<|channel|>analysis<|message|>Hm < 3 <|\n<|end|><|start|>assistant<|channel|>final<|message|>Yes<3";

    #[test]
    fn what_is_thought_and_what_is_said_are_told_apart() {
        let spoken = Spoken { thinking: "Hm < 3 <|\n".into(), content: "Yes<3".into() };
        assert_eq!(Spoken::of(ANSWER), Some(spoken));
        assert_eq!(Spoken::of("Yes <|channel|>final<|message|>"), None, "no answer in channels");
        let said = Spoken::of("<|channel|>commentary to=f <|constrain|>json<|message|>{}<|call|>").unwrap();
        assert_eq!((said.thinking.as_str(), said.content.as_str()), ("", "{}"));
        assert_eq!(Spoken::of("<|channel|>analysis").unwrap(), Spoken::default(), "cut off in its header");
    }

    #[test]
    fn answers_are_readable_however_they_are_cut_into_pieces() {
        for answer in [ANSWER, "Plain <|channel|>text", "<|chan", "<|channel|>analysis<|message|>cut <|e"] {
            let whole = {
                let mut readable = Readable::default();
                readable.push(answer) + &readable.finish()
            };
            for n in 1..answer.len() {
                let mut readable = Readable::default();
                let pieces: String = answer
                    .as_bytes()
                    .chunks(n)
                    .map(|piece| readable.push(str::from_utf8(piece).unwrap()))
                    .collect();
                assert_eq!(pieces + &readable.finish(), whole, "{answer:?} in pieces of {n}");
            }
        }
        let mut readable = Readable::default();
        let shown = readable.push(ANSWER) + &readable.finish();
        assert_eq!(shown, "<think>\nHm < 3 <|\n\n</think>\n\nYes<3");
        let mut cut = Readable::default();
        assert_eq!(cut.push("<|channel|>analysis<|message|>Hm") + &cut.finish(), "<think>\nHm\n</think>");
    }
}
