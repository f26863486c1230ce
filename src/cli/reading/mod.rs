//! Texts that a model reads in chunks to be learned from: plain ones, conversations, and those that ship with the
//! program.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::run::input::{read_text, trimmed};
use crate::chat::{Message, RenderError, SpecialTokens, Template};
use crate::error::{Error, Result};
use crate::eval::Chunks;
use crate::tokenizer::Tokenizer;

/// Texts of many kinds to calibrate with where none are given: English prose, other languages, code, numbers. Written
/// for this program.
const OWN_TEXT: &str = include_str!("texts.txt");

/// Conversations, for models that have a template for them. Written for this program.
const OWN_CONVERSATIONS: &str = include_str!("conversations.jsonl");

/// Reads texts for one model.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    /// Tokens in a chunk.
    pub(super) n_ctx: usize,
    /// Chunks of each text at most.
    pub(super) max_chunks: Option<usize>,
}

impl Reader<'_> {
    /// The chunks of the text at `path`. A .jsonl file has a conversation in each line, and goes through the chat
    /// template.
    ///
    /// # Errors
    /// What reading gives; [`Error::Usage`] if the text is too short, or the model has no template;
    /// [`Error::Malformed`] for a line that is not a conversation.
    pub(super) fn read(&self, path: &Path) -> Result<Chunks> {
        let text = read_text(path)?;
        let is_chat = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl"));
        let ids = if is_chat {
            let template = self.template()?.ok_or_else(|| {
                let what = "the model has no chat template to read conversations through; give plain text";
                Error::usage(format!("{}: {what}", path.display()))
            })?;
            self.conversations(&template, path, &text)?
        } else {
            self.plain(trimmed(&text))?
        };
        self.chunks(ids).map_err(|e| Error::usage(format!("{}: {e}", path.display())))
    }

    /// The chunks of the texts that ship with the program.
    ///
    /// # Errors
    /// [`Error::Usage`] if chunks are so long that these texts are too short.
    pub(super) fn own(&self) -> Result<Chunks> {
        let mut ids = self.plain(trimmed(OWN_TEXT))?;
        if let Some(template) = self.template()? {
            // Some templates know no system message, or none but their own roles: such a model goes without those.
            let path = PathBuf::from("the program's own conversations");
            for line in OWN_CONVERSATIONS.lines() {
                ids.extend(self.conversations(&template, &path, line).unwrap_or_default());
            }
        }
        self.chunks(ids).map_err(|e| {
            Error::usage(format!("the program's own texts are too short: {e}; give texts to --calibrate"))
        })
    }

    fn chunks(&self, ids: Vec<u32>) -> Result<Chunks> {
        let first_token = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos());
        Chunks::new(ids, self.n_ctx, self.max_chunks, first_token)
    }

    fn template(&self) -> Result<Option<Template>> {
        let source = self.tokenizer.chat_template();
        let template =
            source.map(|source| Template::new(source, SpecialTokens::of(self.tokenizer))).transpose()?;
        Ok(template.filter(Template::shows_messages))
    }

    fn plain(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.tokenizer.encode(text, true, false)?;
        // An end-of-text token belongs to the end, not into the last chunk.
        if self.tokenizer.adds_eos() {
            ids.pop();
        }
        Ok(ids)
    }

    /// The tokens of conversations, one after the other.
    fn conversations(&self, template: &Template, path: &Path, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |what: String| Error::malformed(path, format!("line {}: {what}", i + 1));
            let messages = messages(line).map_err(wrong)?;
            let rendered = template.render(&messages, false).map_err(|e| match e {
                RenderError::Refused { what } => wrong(format!("the chat template refuses it: {what}")),
                RenderError::Failed(e) => e,
            })?;
            // Templates write the token at the beginning themselves.
            ids.extend(self.tokenizer.encode(&rendered, false, true)?);
        }
        Ok(ids)
    }
}

/// The messages of a line: an object that has them, or the list itself.
fn messages(line: &str) -> Result<Vec<Message>, String> {
    let value: Value = serde_json::from_str(line).map_err(|e| format!("not JSON: {e}"))?;
    let list = match value {
        Value::Object(mut object) => {
            object.remove("messages").ok_or("it has no \"messages\"; a list of role and content is needed")?
        }
        list => list,
    };
    serde_json::from_value(list).map_err(|e| format!("its messages are not a list of role and content: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_messages_or_is_their_list() {
        let list = r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]"#;
        for line in [list.to_owned(), format!(r#"{{"id": 5, "messages": {list}}}"#)] {
            let messages = messages(&line).expect("messages");
            assert_eq!((messages.len(), messages[1].content.as_str()), (2, "Hello"));
        }
        for (line, reason) in
            [("{", "not JSON"), ("{}", "no \"messages\""), (r#"[{"role": 5}]"#, "role and content")]
        {
            let error = messages(line).expect_err("wrong");
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn every_conversation_of_our_own_has_a_user_and_an_answer() {
        for line in OWN_CONVERSATIONS.lines() {
            let messages = messages(line).expect("messages");
            let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
            assert!(roles.len() >= 2 && roles.len().is_multiple_of(2), "{roles:?}");
            assert!(roles.chunks(2).all(|pair| pair == ["user", "assistant"]), "{roles:?}");
        }
        assert!(OWN_CONVERSATIONS.lines().count() >= 8 && OWN_TEXT.len() > 30_000);
    }
}
