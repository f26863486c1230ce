//! A conversation: its messages, and the changes that make it.

use serde::{Deserialize, Serialize};

use super::{Answer, Message};

/// Messages in turn, behind an optional system message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    pub(super) system: Option<String>,
    pub(super) messages: Vec<Message>,
    /// Set once the context was full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<Cut>,
}

/// What prompts leave out since the context was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The number of the oldest messages that are left out.
    pub n_dropped: usize,
    /// The tokens that prompts could have at that time. Prompts that may have more are cut anew.
    pub max_tokens: usize,
}

/// One step of a conversation. Applied in order, changes make the conversation again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The user says this.
    Asked(String),
    /// The model answers the last message, or answers it anew.
    Answered(Answer),
    /// The last message of the user is taken back, with its answer.
    TakenBack,
    /// The system message is replaced or removed.
    System(Option<String>),
    /// The messages are forgotten, but not the system message.
    Cleared,
    /// The context was full.
    Cut(Cut),
}

impl Conversation {
    /// An empty conversation, with a system message if there is one.
    pub fn new(system: Option<String>) -> Self {
        Self { system, ..Self::default() }
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

    /// The messages, without the system message.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Whether the last message is the user's: there is no answer to it.
    pub fn is_unanswered(&self) -> bool {
        self.messages.last().is_some_and(|last| last.role == "user")
    }

    /// Changes the conversation.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Asked(content) => self.push("user", content),
            Change::Answered(Answer { content, thinking }) => {
                self.pop("assistant");
                self.messages.push(Message { thinking, ..Message::new("assistant", content) });
            }
            Change::TakenBack => {
                self.pop("assistant");
                self.pop("user");
                // Without the messages that it showed, a cut would hide those there are.
                self.cut = self.cut.filter(|cut| cut.n_dropped < self.messages.len());
            }
            Change::System(system) => self.system = system,
            Change::Cleared => *self = Self::new(self.system.take()),
            Change::Cut(cut) => self.cut = Some(cut),
        }
    }

    fn push(&mut self, role: &str, content: String) {
        self.messages.push(Message::new(role, content));
    }

    fn pop(&mut self, role: &str) {
        self.messages.pop_if(|last| last.role == role);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: impl IntoIterator<Item = Change>) -> Conversation {
        let mut conversation = Conversation::new(Some("Be brief.".into()));
        changes.into_iter().for_each(|change| conversation.apply(change));
        conversation
    }

    fn contents(conversation: &Conversation) -> Vec<&str> {
        conversation.messages().iter().map(|message| message.content.as_str()).collect()
    }

    #[test]
    fn the_last_message_is_taken_back_with_its_answer_or_without_one() {
        let [one, yes, two] =
            [Change::Asked("One.".into()), Change::Answered("Yes.".into()), Change::Asked("Two.".into())];
        let asked = changed([one.clone(), yes.clone(), two.clone(), Change::TakenBack]);
        assert_eq!(contents(&asked), ["One.", "Yes."]);
        assert_eq!(contents(&changed([one.clone(), yes.clone(), Change::TakenBack])), [""; 0]);
        assert_eq!(contents(&changed([Change::TakenBack, one, yes, two])), ["One.", "Yes.", "Two."]);
    }

    #[test]
    fn a_new_answer_takes_the_place_of_the_old_one() {
        let conversation =
            changed(["Yes.", "No."].map(|answer| Change::Answered(answer.into())).into_iter().rev());
        assert_eq!(contents(&conversation), ["Yes."]);
    }

    #[test]
    fn what_is_forgotten_is_all_but_the_system_message() {
        let cut = Change::Cut(Cut { n_dropped: 0, max_tokens: 9 });
        let cleared = changed([Change::Asked("One.".into()), cut, Change::Cleared]);
        assert_eq!(cleared, Conversation::new(Some("Be brief.".into())));
    }

    #[test]
    fn a_cut_that_hides_all_there_is_ends() {
        let cut = Change::Cut(Cut { n_dropped: 2, max_tokens: 9 });
        let told = ["One.", "Two."]
            .into_iter()
            .flat_map(|told| [Change::Asked(told.into()), Change::Answered("Yes.".into())]);
        let conversation = changed(told.chain([cut]));
        assert_eq!(conversation.cut.map(|cut| cut.n_dropped), Some(2));
        let mut shorter = conversation;
        shorter.apply(Change::TakenBack);
        assert_eq!((shorter.cut, contents(&shorter).len()), (None, 2));
    }

    #[test]
    fn a_conversation_is_read_back_and_so_is_one_of_the_first_version() {
        let cut = Change::Cut(Cut { n_dropped: 0, max_tokens: 9 });
        let conversation = changed([Change::Asked("\"One\"\n".into()), cut]);
        assert_eq!(Conversation::from_json(&conversation.to_json()).unwrap(), conversation);
        let thought = Answer { content: "Yes.".into(), thinking: Some("Hm.".into()) };
        for answer in [thought, "No.".into()] {
            let change = Change::Answered(answer);
            let json = serde_json::to_string(&change).unwrap();
            assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change, "{json}");
        }
        assert_eq!(serde_json::to_string(&Change::Answered("No.".into())).unwrap(), r#"{"answered":"No."}"#);
        let first = br#"{"system":null,"messages":[{"role":"user","content":"One."}]}"#;
        assert_eq!(contents(&Conversation::from_json(first).unwrap()), ["One."]);
        assert!(Conversation::from_json(b"[1, 2").is_err());
    }
}
