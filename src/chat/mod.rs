//! Chat templates and conversations.

mod strftime;
pub mod template;

pub use template::{Message, Template};
