//! A conversation: its messages, and the prompt that shows as much of it as the context holds.

use serde::{Deserialize, Serialize};

use super::{Message, Template, user_text};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// Messages in turn, behind an optional system message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    system: Option<String>,
    messages: Vec<Message>,
}

/// What the model is to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// How many of the oldest messages it leaves out.
    pub n_dropped: usize,
}

impl Conversation {
    /// An empty conversation, with a system message if there is one.
    pub fn new(system: Option<String>) -> Self {
        Self { system, messages: Vec::new() }
    }

    /// Reads what [`Conversation::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// The conversation for a later one to go on from, as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings in structs are JSON")
    }

    /// The system message.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// Replaces the system message.
    pub fn set_system(&mut self, system: Option<String>) {
        self.system = system;
    }

    /// The messages, without the system message.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Appends what the user says.
    pub fn push_user(&mut self, content: String) {
        self.messages.push(Message { role: "user".to_owned(), content });
    }

    /// Appends what the model answered.
    pub fn push_assistant(&mut self, content: String) {
        self.messages.push(Message { role: "assistant".to_owned(), content });
    }

    /// Takes the last message back if the model said it. Whether it did.
    pub fn pop_assistant(&mut self) -> bool {
        self.pop("assistant")
    }

    /// Takes the last message back if the user said it. Whether that was so.
    pub fn pop_user(&mut self) -> bool {
        self.pop("user")
    }

    fn pop(&mut self, role: &str) -> bool {
        let is_last = self.messages.last().is_some_and(|last| last.role == role);
        if is_last {
            self.messages.pop();
        }
        is_last
    }

    /// Forgets the messages, but not the system message.
    pub fn clear(&mut self) {
        self.messages.clear();
    }

    /// Renders and tokenises the conversation for the model to answer. While it has more than
    /// `max_tokens` tokens the oldest messages are left out, up to the next one of the user.
    ///
    /// # Errors
    /// [`Error::Limit`] if even the last message alone is too long; what the template gives.
    pub fn prompt(&self, template: &Template, tokenizer: &Tokenizer, max_tokens: usize) -> Result<Prompt> {
        let starts = (0..self.messages.len()).filter(|&i| i == 0 || self.messages[i].role == "user");
        let mut n_tokens = 0;
        for n_dropped in starts {
            let system = self
                .system
                .iter()
                .map(|content| Message { role: "system".to_owned(), content: content.clone() });
            let shown: Vec<Message> = system.chain(self.messages[n_dropped..].iter().cloned()).collect();
            let ids = user_text::prompt_ids(template, tokenizer, &shown, |_| false)?;
            if ids.len() <= max_tokens {
                return Ok(Prompt { ids, n_dropped });
            }
            n_tokens = ids.len();
        }
        Err(Error::limit(format!(
            "the message has {n_tokens} tokens with what the template adds, and at most {max_tokens} leave room for \
             an answer; say it in fewer words, or make the context longer (--ctx)"
        )))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::chat::SpecialTokens;
    use crate::checkpoint::{Config, Folder};
    use crate::tokenizer::Vocabulary;

    const BOS: u32 = 4091;

    /// The tokenizer and the chat template of the bundled checkpoint.
    pub(in crate::chat) fn fairytale() -> (Tokenizer, Template) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/fairytale");
        let config = Config::open(&dir.join("config.json")).unwrap();
        let vocabulary = Vocabulary::from_checkpoint(&Folder::new(dir), &config, 4096).unwrap();
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        let template =
            Template::new(tokenizer.chat_template().unwrap(), SpecialTokens::of(&tokenizer)).unwrap();
        (tokenizer, template)
    }

    fn conversation() -> Conversation {
        let mut conversation = Conversation::new(Some("Be brief.".into()));
        conversation.push_user("Tell me a story.".into());
        conversation.push_assistant("Once.".into());
        conversation.push_user("Go on.".into());
        conversation
    }

    #[test]
    fn the_beginning_is_there_once_whoever_writes_it() {
        let (tokenizer, own) = fairytale();
        let silent = Template::new("{{ messages[0].content }}", SpecialTokens::default()).unwrap();
        for template in [own, silent] {
            let ids = conversation().prompt(&template, &tokenizer, 512).unwrap().ids;
            assert_eq!(ids[0], BOS);
            assert_eq!(ids.iter().filter(|&&id| id == BOS).count(), 1);
        }
    }

    #[test]
    fn a_later_prompt_starts_with_the_earlier_one() {
        let (tokenizer, template) = fairytale();
        let mut earlier = conversation();
        let start = earlier.prompt(&template, &tokenizer, 512).unwrap().ids;
        earlier.push_assistant("And then?".into());
        earlier.push_user("More.".into());
        assert!(earlier.prompt(&template, &tokenizer, 512).unwrap().ids.starts_with(&start));
    }

    #[test]
    fn the_oldest_messages_go_first_and_the_system_message_stays() {
        let (tokenizer, template) = fairytale();
        let all = conversation().prompt(&template, &tokenizer, 512).unwrap();
        assert_eq!(all.n_dropped, 0);
        let some = conversation().prompt(&template, &tokenizer, all.ids.len() - 1).unwrap();
        assert_eq!(some.n_dropped, 2);
        let text = tokenizer.decode(&some.ids, true);
        assert!(text.contains("Be brief.") && text.contains("Go on.") && !text.contains("story"), "{text}");
        assert!(matches!(conversation().prompt(&template, &tokenizer, 3), Err(Error::Limit { .. })));
    }

    #[test]
    fn the_last_message_is_taken_back_only_from_who_said_it() {
        let mut conversation = conversation();
        assert!(!conversation.pop_assistant() && conversation.pop_user());
        assert!(!conversation.pop_user() && conversation.pop_assistant());
        assert_eq!(conversation.messages().len(), 1);
        conversation.clear();
        assert_eq!((conversation.messages().len(), conversation.system()), (0, Some("Be brief.")));
    }
}
