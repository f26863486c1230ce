//! The marks by which answers tell what a model thinks from what it says.
//!
//! Most models put marks around their thoughts. Some answer in several messages, each with a header:
//!
//! ```text
//! gpt-oss (Harmony)  <|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.
//! Muse Glimmer        to=self<|message|>Hm.<|eom|><|start|>assistant to=user<|message|>Yes.
//! Solar              <|think|>Hm.<|end|><|begin|>assistant<|content|>Yes.
//! ```
//!
//! Sources: OpenAI's description of the format (openai-harmony), and the chat templates of these models.

/// Marks around thoughts.
#[derive(Debug, PartialEq, Eq)]
pub struct ThoughtMarks {
    /// Stands in front of them.
    pub open: &'static str,
    /// Stands behind them.
    pub close: &'static str,
    /// A word that follows the first mark and is not part of them.
    pub label: &'static str,
    /// Whether templates want them in what was said, with their marks.
    pub stays: bool,
    /// Whether the first mark is prose, with which any answer may begin: it counts at the end of a prompt alone.
    pub is_prose: bool,
}

const fn around(open: &'static str, close: &'static str) -> ThoughtMarks {
    ThoughtMarks { open, close, label: "", stays: false, is_prose: false }
}

/// The marks around thoughts that models use.
pub const THOUGHTS: [ThoughtMarks; 10] = [
    around("<think>", "</think>"),
    around("<thought>", "</thought>"),
    around("<seed:think>", "</seed:think>"),
    around("<mm:think>", "</mm:think>"),
    around("<think:opensource>", "</think:opensource>"),
    around("<|START_THINKING|>", "<|END_THINKING|>"),
    around("<|inner_prefix|>", "<|inner_suffix|>"),
    ThoughtMarks { is_prose: true, ..around("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]") },
    ThoughtMarks { label: "thought\n", ..around("<|channel>", "<channel|>") },
    ThoughtMarks { stays: true, ..around("[THINK]", "[/THINK]") },
];

/// What some models put around what they say, behind their thoughts; the first may be among the marks of those.
pub const AROUND_SAID: [(&str, &str); 3] =
    [("<response>", "</response>"), ("<answer>", "</answer>"), ("", "[END FINAL RESPONSE]")];

/// In front of the name of a channel, in the header of a message.
pub const CHANNEL: &str = "<|channel|>";

/// What begins the header of a message; the first message of an answer has only the rest of one.
pub const HEADERS: [&str; 3] = ["<|start|>", "<|begin|>", CHANNEL];

/// What ends a header.
pub const BODIES: [&str; 3] = ["<|message|>", "<|content|>", THINKING_BODY];

/// What ends a header, of thoughts.
pub const THINKING_BODY: &str = "<|think|>";

/// What ends a message.
pub const MESSAGE_ENDS: [&str; 5] = ["<|end|>", "<|call|>", "<|return|>", "<|calls|>", "<|flush|>"];

/// Texts of which each tells, with the other, that answers consist of messages.
pub const OF_MESSAGES: [[&str; 2]; 2] = [["<|start|>", "<|message|>"], ["<|begin|>", "<|content|>"]];

/// Every mark that may stand in an answer.
pub fn all() -> impl Iterator<Item = &'static str> + Clone {
    let opening = THOUGHTS.iter().filter(|marks| !marks.is_prose).map(|marks| marks.open);
    let thoughts = opening.chain(THOUGHTS.iter().map(|marks| marks.close));
    thoughts.chain(HEADERS).chain(BODIES).chain(MESSAGE_ENDS)
}
