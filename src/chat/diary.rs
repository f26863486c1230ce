//! A conversation that is on disk: what is said is appended to its session file before anything else
//! happens.

use super::{Change, Conversation};
use crate::error::Result;
use crate::runtime::{Sequence, SessionFile};

/// A conversation, and the file that keeps it, if there is one.
#[derive(Debug)]
pub struct Diary {
    conversation: Conversation,
    file: Option<SessionFile>,
}

impl Diary {
    /// A conversation as `file` has it, or one that is not kept.
    pub fn new(conversation: Conversation, file: Option<SessionFile>) -> Self {
        Self { conversation, file }
    }

    /// The conversation.
    pub fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// Changes the conversation; the change is on disk when this returns.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if it cannot be written. The conversation is changed all the same, and the
    /// next change, or [`Diary::save`], writes both.
    pub fn record(&mut self, change: Change) -> Result<()> {
        let text = serde_json::to_string(&change).expect("strings and numbers are JSON");
        self.conversation.apply(change);
        self.file.as_mut().map_or(Ok(()), |file| file.append(&text))
    }

    /// Writes the conversation anew, with what `sequence` has computed.
    ///
    /// # Errors
    /// As [`SessionFile::replace`]: the file is then as it was.
    pub fn save(&mut self, sequence: &Sequence<'_>) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.replace(sequence, &self.conversation.to_json())
    }
}

/// The conversation that was `attached` to a sequence, with the `records` that were appended since.
///
/// # Errors
/// What is wrong with them.
pub fn restore(attached: &[u8], records: &[String]) -> serde_json::Result<Conversation> {
    let mut conversation = Conversation::from_json(attached)?;
    for record in records {
        conversation.apply(serde_json::from_str(record)?);
    }
    Ok(conversation)
}
