//! The prompt of a conversation: as much of it as the context holds.
//!
//! While the conversation fits, a prompt begins with the one before it, whose keys and values are
//! cached. Once it does not fit, every message left out changes the beginning, and all has to be
//! computed again. So a full context is cut once and well, to half of what it can hold, and stays cut
//! there until it is full again:
//!
//! ```text
//! prompt  = what the last cut left                         one rendering
//! if it is too long:
//!     1, 2, 4, ... of the last turns, while they have at most half the tokens,
//!     then bisection: the most turns that have             2 log2 renderings, of short prompts
//! ```

use super::user_text::{Rendered, rendered};
use super::{Change, Conversation, Cut, Message, RenderError, Template};
use crate::error::Error;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::answer_marks::ThoughtMarks;

/// What the model is to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// How many of the oldest messages it leaves out.
    pub n_dropped: usize,
    /// The marks of thoughts that its end opens.
    pub opens: Option<&'static ThoughtMarks>,
    /// The change that keeps later prompts as short, if this one had to be shortened.
    pub cut: Option<Change>,
}

/// Why there is no prompt.
#[derive(Debug)]
pub enum PromptError {
    /// The template does not take these messages: its own words, or the operation that failed.
    Refused(String),
    /// Even the last message alone is too long: what is wrong, and what to do.
    TooLong(String),
    /// No conversation will do.
    Failed(Error),
}

impl From<RenderError> for PromptError {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Refused { what } => Self::Refused(what),
            RenderError::Failed(error) => Self::Failed(error),
        }
    }
}

impl Conversation {
    /// Renders and tokenises the conversation for the model to answer its last message; an answer that
    /// there is to it is left out. If it has more than `max_tokens` tokens, so many of the oldest
    /// messages are left out, up to the next one of the user, that it has at most half of them.
    ///
    /// # Errors
    /// See [`PromptError`].
    pub fn prompt(
        &self,
        template: &Template,
        tokenizer: &Tokenizer,
        max_tokens: usize,
    ) -> Result<Prompt, PromptError> {
        let rendered = |n_dropped| rendered(template, tokenizer, &self.shown(n_dropped), |_| false);
        let n_dropped = self.cut.filter(|cut| cut.max_tokens >= max_tokens).map_or(0, |cut| cut.n_dropped);
        let whole = match rendered(n_dropped) {
            Ok(Rendered { ids, opens }) if ids.len() <= max_tokens => {
                return Ok(Prompt { ids, n_dropped, opens, cut: None });
            }
            Err(RenderError::Refused { what }) => return Err(PromptError::Refused(what)),
            whole => whole,
        };
        let turns: Vec<usize> = (n_dropped.saturating_add(1)..self.messages.len())
            .filter(|&i| self.messages[i].role == "user")
            .collect();
        // Too much for the template may be so only because there is so much of it.
        let last = turns.last().map_or(whole, |&last| rendered(last))?;
        if last.ids.len() > max_tokens {
            return Err(too_long(last.ids.len(), max_tokens));
        }
        let (n_shown, Rendered { ids, opens }) = most(turns.len(), last, |n_shown| {
            let shorter = rendered(turns[turns.len() - n_shown]).ok();
            shorter.filter(|shorter| shorter.ids.len() <= max_tokens / 2)
        });
        let n_dropped = turns.len().checked_sub(n_shown).map_or(n_dropped, |first| turns[first]);
        Ok(Prompt { ids, n_dropped, opens, cut: Some(Change::Cut(Cut { n_dropped, max_tokens })) })
    }

    /// What the template says against the system message, if without it all is well.
    pub fn system_refusal(&self, template: &Template) -> Option<String> {
        self.system.as_ref()?;
        let n_dropped = self.cut.map_or(0, |cut| cut.n_dropped);
        let mut probe = self.clone();
        if !probe.is_unanswered() {
            probe.apply(Change::Asked("Hello".to_owned()));
        }
        let refusal = |probe: &Self| match template.render(&probe.shown(n_dropped), true) {
            Err(RenderError::Refused { what }) => Some(what),
            _ => None,
        };
        let with = refusal(&probe)?;
        probe.apply(Change::System(None));
        refusal(&probe).is_none().then_some(with)
    }

    /// The messages that a prompt shows. What the user said in several messages, because a program was
    /// ended before the answer, is one: many templates want user and assistant in turn.
    fn shown(&self, n_dropped: usize) -> Vec<Message> {
        let system = self.system.iter().cloned();
        let mut shown: Vec<Message> = system.map(|content| Message::new("system", content)).collect();
        let answer = usize::from(!self.is_unanswered());
        let end = self.messages.len().saturating_sub(answer);
        for message in &self.messages[n_dropped.min(end)..end] {
            match shown.last_mut() {
                Some(last) if last.role == "user" && message.role == "user" => {
                    last.content.push_str("\n\n");
                    last.content.push_str(&message.content);
                }
                _ => shown.push(message.clone()),
            }
        }
        shown
    }
}

/// The greatest of 1 to `n` for which `get` gives something, and that; for 1 it is `first`. If `get`
/// gives something for a number, it does for the smaller ones.
fn most<T>(n: usize, first: T, get: impl Fn(usize) -> Option<T>) -> (usize, T) {
    let (mut best, mut above) = ((1, first), n + 1);
    let mut step = 1;
    while best.0 + 1 < above {
        // Doubles until something is too much, then halves the rest.
        let middle = if above == n + 1 { (best.0 + step).min(n) } else { (best.0 + above) / 2 };
        step *= 2;
        match get(middle) {
            Some(found) => best = (middle, found),
            None => above = middle,
        }
    }
    best
}

fn too_long(n_tokens: usize, max_tokens: usize) -> PromptError {
    PromptError::TooLong(format!(
        "the message has {n_tokens} tokens with what the template adds, and at most {max_tokens} leave room for an \
         answer; say it in fewer words, or make the context longer (--ctx)"
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::path::Path;

    use super::*;
    use crate::chat::{Answer, SpecialTokens};
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

    fn template(source: &str) -> Template {
        Template::new(source, SpecialTokens::default()).unwrap()
    }

    fn asked(text: &str) -> Change {
        Change::Asked(text.to_owned())
    }

    fn answered(text: &str) -> Change {
        Change::Answered(text.into())
    }

    fn conversation() -> Conversation {
        let mut conversation = Conversation::new(Some("Be brief.".into()));
        for change in [asked("Tell me a story."), answered("Once."), asked("Go on.")] {
            conversation.apply(change);
        }
        conversation
    }

    #[test]
    fn the_beginning_is_there_once_with_and_without_the_templates_own() {
        let (tokenizer, own) = fairytale();
        for template in [own, template("{{ messages[0].content }}")] {
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
        earlier.apply(answered("And then?"));
        assert_eq!(earlier.prompt(&template, &tokenizer, 512).unwrap().ids, start, "to be answered anew");
        earlier.apply(asked("More."));
        assert!(earlier.prompt(&template, &tokenizer, 512).unwrap().ids.starts_with(&start));
    }

    #[test]
    fn the_oldest_messages_go_first_and_the_system_message_stays() {
        let (tokenizer, template) = fairytale();
        let all = conversation().prompt(&template, &tokenizer, 512).unwrap();
        assert_eq!((all.n_dropped, all.cut), (0, None));
        let some = conversation().prompt(&template, &tokenizer, all.ids.len() - 1).unwrap();
        assert_eq!(some.n_dropped, 2);
        let text = tokenizer.decode(&some.ids, true);
        assert!(text.contains("Be brief.") && text.contains("Go on.") && !text.contains("story"), "{text}");
        let error = conversation().prompt(&template, &tokenizer, 3).unwrap_err();
        assert!(matches!(&error, PromptError::TooLong(what) if what.contains("at most 3")), "{error:?}");
    }

    #[test]
    fn a_full_context_is_cut_to_half_once_in_many_turns() {
        let (tokenizer, template) = fairytale();
        let mut conversation = conversation();
        let (mut n_cuts, mut before) = (0, Vec::new());
        for turn in 0..60 {
            let prompt = conversation.prompt(&template, &tokenizer, 200).unwrap();
            assert!(prompt.ids.len() <= 200);
            match prompt.cut {
                Some(cut) => {
                    assert!(prompt.ids.len() <= 100, "turn {turn}: {} tokens", prompt.ids.len());
                    n_cuts += 1;
                    conversation.apply(cut);
                    let again = conversation.prompt(&template, &tokenizer, 200).unwrap();
                    assert_eq!((again.ids, again.cut), (prompt.ids.clone(), None), "the cut is remembered");
                }
                None => assert!(prompt.ids.starts_with(&before), "turn {turn}"),
            }
            assert!(conversation.messages()[prompt.n_dropped].role == "user");
            before = prompt.ids;
            conversation.apply(answered("A king and a queen lived there."));
            conversation.apply(asked("Tell me more."));
        }
        assert!((3..15).contains(&n_cuts), "{n_cuts} cuts in 60 turns");
        // There is room for more of it now.
        let longer = conversation.prompt(&template, &tokenizer, 100_000).unwrap();
        assert_eq!((longer.n_dropped, longer.cut), (0, None));
    }

    #[test]
    fn most_asks_a_few_numbers_and_small_ones_first() {
        for n in [1, 2, 3, 10, 1000] {
            for limit in 1..=n {
                let asked = RefCell::new(Vec::new());
                let found = most(n, 1, |k| {
                    asked.borrow_mut().push(k);
                    (k <= limit).then_some(k)
                });
                assert_eq!(found, (limit, limit), "of {n}");
                let asked = asked.into_inner();
                assert!(asked.len() <= 2 * limit.ilog2() as usize + 3, "{limit} of {n}: {asked:?}");
                assert!(asked.iter().all(|&k| k <= 2 * limit + 1), "{limit} of {n}: {asked:?}");
            }
        }
    }

    #[test]
    fn a_template_that_refuses_a_message_or_the_system_says_so() {
        let (tokenizer, _) = fairytale();
        let strict = template(
            "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}\
             {% if 'story' in m.content %}{{ raise_exception('no stories') }}{% endif %}{{ m.content }}{% endfor %}",
        );
        let mut conversation = Conversation::new(Some("Be brief.".into()));
        assert_eq!(conversation.system_refusal(&strict).as_deref(), Some("no system role"));
        conversation.apply(asked("Tell me a story."));
        assert_eq!(conversation.system_refusal(&strict), None, "it is not the system message alone");
        conversation.apply(Change::System(None));
        assert_eq!(conversation.system_refusal(&strict), None);
        let error = conversation.prompt(&strict, &tokenizer, 512).unwrap_err();
        assert!(matches!(&error, PromptError::Refused(what) if what.contains("no stories")), "{error:?}");
    }

    #[test]
    fn thoughts_are_given_to_templates_beside_what_was_said() {
        let (tokenizer, _) = fairytale();
        let shown = template(
            "{% for m in messages %}{{ m.content }}{% for name in ['thinking', 'reasoning_content', 'reasoning'] %}\
             {% if m[name] is defined %} [{{ m[name] }}]{% endif %}{% endfor %};{% endfor %}",
        );
        let mut conversation = Conversation::default();
        conversation.apply(asked("Well?"));
        let thought = Answer { content: "Yes.".into(), thinking: Some("Hm.".into()) };
        conversation.apply(Change::Answered(thought));
        conversation.apply(asked("Sure?"));
        conversation.apply(answered("Plainly."));
        conversation.apply(asked("Then go."));
        let ids = conversation.prompt(&shown, &tokenizer, 512).unwrap().ids;
        let text = "Well?;Yes. [Hm.] [Hm.] [Hm.];Sure?;Plainly.;Then go.;";
        assert_eq!(tokenizer.decode(&ids[1..], true), text);
    }

    #[test]
    fn a_prompt_tells_which_thoughts_it_opens() {
        let (tokenizer, _) = fairytale();
        let opens = |end: &str| {
            let template = template(&format!("{{{{ messages[0].content }}}}{end}"));
            let prompt = conversation().prompt(&template, &tokenizer, 512).unwrap();
            prompt.opens.map(|marks| marks.close)
        };
        assert_eq!(opens("<think>\n"), Some("</think>"));
        assert_eq!(opens("<|channel>thought\n"), Some("<channel|>"));
        assert_eq!(opens("<think>\n\n</think>\n\n"), None);
        assert_eq!(opens(""), None);
    }

    #[test]
    fn messages_without_an_answer_between_them_are_shown_as_one() {
        let (tokenizer, _) = fairytale();
        let mut conversation = Conversation::default();
        conversation.apply(asked("One."));
        conversation.apply(asked("Two."));
        let shown = template("{{ messages | length }}: {{ messages[0].content }}");
        let ids = conversation.prompt(&shown, &tokenizer, 512).unwrap().ids;
        assert_eq!(tokenizer.decode(&ids[1..], true), "1: One.\n\nTwo.");
    }
}
