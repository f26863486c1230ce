//! Chat templates and conversations.

pub mod answer;
pub mod conversation;
pub mod diary;
mod jinja;
pub mod prompt;
mod strftime;
pub mod template;
pub mod user_text;

pub use answer::{Answer, AnswerMarks, AnswerReader};
pub use conversation::{Change, Conversation, Cut};
pub use prompt::{Prompt, PromptError};
pub use template::{Message, RenderError, SpecialTokens, Template};
