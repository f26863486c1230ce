//! Chat templates: Jinja programs, shipped with models, that write a conversation as the model's text.
//!
//! What they mean, and what they may use, is `super::jinja`'s affair.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Variable, json};

use super::jinja::{Failure, Fault, Program};
use crate::error::{Error, Result};
use crate::limits::MAX_TEMPLATE_BYTES;
use crate::tokenizer::{Role, Tokenizer};

/// What to do about a template that does not work.
const REMEDY: &str = "give another one with --template FILE, or use `complete`, which needs none";

/// Where errors say that they happened.
const PLACE: &str = "the chat template";

/// Characters that are shown of a template's own message.
const MAX_MESSAGE_CHARS: usize = 1000;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
    /// What the model thought before it said that, where its answer tells the two apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
}

impl Message {
    /// A message without thoughts.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into(), thinking: None }
    }
}

/// The texts of a model's special tokens, under the names that templates know them by.
///
/// A token that the model does not have is undefined in its template, as in `transformers`.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    texts: Map<String, Variable>,
}

impl SpecialTokens {
    /// What a tokenizer has of them.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let names = [
            ("bos_token", Role::Bos),
            ("eos_token", Role::Eos),
            ("unk_token", Role::Unknown),
            ("sep_token", Role::Separator),
            ("pad_token", Role::Padding),
            ("mask_token", Role::Mask),
        ];
        let text = |role| tokenizer.special(role).and_then(|id| tokenizer.token_text(id));
        names.into_iter().filter_map(|(name, role)| Some((name, text(role)?))).collect()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for SpecialTokens {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(tokens: I) -> Self {
        Self { texts: tokens.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect() }
    }
}

/// Why a template did not render a conversation.
#[derive(Debug)]
pub enum RenderError {
    /// The template does not take these messages; it may take others.
    Refused {
        /// The template's own words, or the operation that failed.
        what: String,
    },
    /// The template is broken or exceeds a limit; no conversation will do.
    Failed(Error),
}

impl From<RenderError> for Error {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Refused { what } => Self::usage(format!("{PLACE} refuses the conversation: {what}")),
            RenderError::Failed(error) => error,
        }
    }
}

/// A chat template, ready to render conversations.
#[derive(Debug)]
pub struct Template {
    source: String,
    program: Program,
    special_tokens: SpecialTokens,
    /// What it knows besides the messages, as `enable_thinking`.
    variables: Map<String, Variable>,
    contents: OnceLock<Contents>,
}

/// The form in which a template takes what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    /// A text.
    Text,
    /// A list of parts, which are texts, images and the like: templates of multimodal models may want it.
    Parts,
}

impl Contents {
    fn of(self, message: &Message) -> Variable {
        let Message { role, content, thinking } = message;
        let mut variable = match self {
            Self::Text => json!({ "role": role, "content": content }),
            Self::Parts => json!({ "role": role, "content": [{ "type": "text", "text": content }] }),
        };
        if let Some(thinking) = thinking {
            // The names that templates have for it.
            for name in ["reasoning_content", "thinking", "reasoning"] {
                variable[name] = thinking.as_str().into();
            }
        }
        variable
    }
}

impl Template {
    /// Compiles `source`, which writes `special_tokens`.
    ///
    /// # Errors
    /// `Malformed` with the line if the source is not valid Jinja, `Limit` if it is too long or nests too deep.
    pub fn new(source: &str, special_tokens: SpecialTokens) -> Result<Self> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let what = format!("{PLACE} has {} bytes; the limit is {MAX_TEMPLATE_BYTES}", source.len());
            return Err(Error::limit(what));
        }
        let program = Program::parse(source).map_err(|failure| broken(&failure, ""))?;
        Ok(Self {
            source: source.to_owned(),
            program,
            special_tokens,
            variables: Map::new(),
            contents: OnceLock::new(),
        })
    }

    /// The same, which is given `variables` besides the messages.
    #[must_use]
    pub fn with_variables(self, variables: Map<String, Variable>) -> Self {
        Self { variables, contents: OnceLock::new(), ..self }
    }

    /// Whether the template, or a text that it was given, holds `c`.
    pub(super) fn holds(&self, c: char) -> bool {
        self.source.contains(c)
            || self.special_tokens.texts.values().filter_map(Variable::as_str).any(|text| text.contains(c))
    }

    /// Whether the template writes what the user says. Some files hold the name of a template in its place, which renders
    /// as itself.
    pub fn shows_messages(&self) -> bool {
        // What stands against a message of the test is told when there are real ones.
        self.contents() == Contents::Parts || self.shows(Contents::Text) != Some(false)
    }

    /// The form that the template wants: texts, unless it shows lists alone.
    fn contents(&self) -> Contents {
        *self.contents.get_or_init(|| {
            let wants_parts = || self.shows(Contents::Parts) == Some(true);
            if self.shows(Contents::Text) != Some(true) && wants_parts() {
                Contents::Parts
            } else {
                Contents::Text
            }
        })
    }

    /// Whether the template writes what the user says in this form; `None` if it refuses to.
    fn shows(&self, contents: Contents) -> Option<bool> {
        let rendered = |content: &str| self.render_as(contents, &[Message::new("user", content)], true).ok();
        Some(rendered("Hello")? != rendered("Goodbye")?)
    }

    /// Writes `messages` as the model's text; with `add_generation_prompt` up to where the model's
    /// answer starts.
    ///
    /// # Errors
    /// [`RenderError::Refused`] if the template raises an exception (most want user and assistant in
    /// turn), or an operation on the messages fails; [`RenderError::Failed`] if it exceeds a limit.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> std::result::Result<String, RenderError> {
        self.render_as(self.contents(), messages, add_generation_prompt)
    }

    fn render_as(
        &self,
        contents: Contents,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> std::result::Result<String, RenderError> {
        let messages: Vec<Variable> = messages.iter().map(|message| contents.of(message)).collect();
        let mut variables = Map::new();
        for name in ["tools", "documents"].iter().filter(|name| !self.variables.contains_key(**name)) {
            variables.insert((*name).to_owned(), Variable::Null);
        }
        variables.insert("messages".to_owned(), messages.into());
        variables.insert("add_generation_prompt".to_owned(), add_generation_prompt.into());
        self.render_variables(variables)
    }

    /// Renders with `variables` of any kind, such as tools and structured contents, beside the special
    /// tokens, which they override.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_variables(
        &self,
        variables: Map<String, Variable>,
    ) -> std::result::Result<String, RenderError> {
        let mut context = self.special_tokens.texts.clone();
        context.extend(self.variables.clone());
        context.extend(variables);
        self.program.render(&context).map_err(|failure| match failure.fault {
            Fault::Raised(what) => RenderError::Refused { what: shortened(&what) },
            Fault::Failed(what) => RenderError::Refused {
                what: format!("line {}: {}; {REMEDY}", failure.line, shortened(&what)),
            },
            Fault::Broken(_) | Fault::Limit(_) => {
                RenderError::Failed(broken(&failure, &format!("; {REMEDY}")))
            }
        })
    }
}

/// What a template fails with whatever the messages are, and what to do.
fn broken(failure: &Failure, remedy: &str) -> Error {
    match &failure.fault {
        Fault::Limit(what) => {
            Error::limit(format!("{PLACE} {} (line {}){remedy}", shortened(what), failure.line))
        }
        Fault::Raised(what) | Fault::Failed(what) | Fault::Broken(what) => {
            Error::malformed(PLACE, format!("line {}: {}{remedy}", failure.line, shortened(what)))
        }
    }
}

/// The beginning of a message: a template can make them as long as it wants.
fn shortened(what: &str) -> String {
    match what.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{} ...", &what[..end]),
        None => what.to_owned(),
    }
}
