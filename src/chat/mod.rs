//! Chat templates and conversations.

pub mod conversation;
mod strftime;
pub mod template;
pub mod user_text;

pub use conversation::{Conversation, Prompt};
pub use template::{Message, RenderError, SpecialTokens, Template};
