//! Chat templates: Jinja programs, shipped with models, that write a conversation as the model's text.
//!
//! They are written for Python's Jinja as Hugging Face's `transformers` sets it up, so blocks eat the
//! line break behind them, strings have Python's methods, and a few functions are there. A template is
//! part of a file from anywhere: its steps and its output are limited.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, Error as JinjaError, ErrorKind, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Variable, json};

use super::strftime;
use crate::error::{Error, Result};
use crate::limits::{MAX_RENDERED_BYTES, MAX_TEMPLATE_BYTES, MAX_TEMPLATE_STEPS};
use crate::tokenizer::{Role, Tokenizer};

/// What to do about a template that does not work.
const REMEDY: &str = "give another one with --template FILE, or use `complete`, which needs none";

/// Where errors say that they happened.
const PLACE: &str = "the chat template";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
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
    environment: Environment<'static>,
    special_tokens: SpecialTokens,
}

impl Template {
    /// Compiles `source`, which writes `special_tokens`.
    ///
    /// # Errors
    /// `Malformed` with the line if the source is not valid Jinja, `Limit` if it is too long.
    pub fn new(source: &str, special_tokens: SpecialTokens) -> Result<Self> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let what =
                format!("{PLACE} has {} bytes; the limit is {MAX_TEMPLATE_BYTES}; {REMEDY}", source.len());
            return Err(Error::limit(what));
        }
        let mut environment = environment();
        environment
            .add_template_owned("chat", without_generation_marks(source))
            .map_err(|e| Error::malformed(PLACE, format!("{}; {REMEDY}", describe(&e))))?;
        Ok(Self { environment, special_tokens })
    }

    /// Whether the template, or a text that it was given, holds `c`.
    pub(super) fn holds(&self, c: char) -> bool {
        let source = self.environment.get_template("chat").is_ok_and(|chat| chat.source().contains(c));
        source || self.special_tokens.texts.values().filter_map(Variable::as_str).any(|text| text.contains(c))
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
        let variables = json!({
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "tools": null,
            "documents": null,
        });
        let Variable::Object(variables) = variables else { unreachable!("the literal is an object") };
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
        context.extend(variables);
        let mut out = LimitedOutput(Vec::new());
        let template = self.environment.get_template("chat").map_err(|e| failure(&e))?;
        template.render_captured_to(Value::from(Serde(context)), &mut out).map_err(|e| failure(&e))?;
        String::from_utf8(out.0).map_err(|_| {
            RenderError::Failed(Error::malformed(PLACE, format!("it does not write UTF-8; {REMEDY}")))
        })
    }
}

/// Jinja as `transformers` sets it up.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the usual delimiters are valid"),
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(MAX_TEMPLATE_STEPS));
    environment.set_debug(false);
    environment.add_function(
        "raise_exception",
        |message: String| -> std::result::Result<Value, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, message).with_source(Refusal))
        },
    );
    environment.add_function("strftime_now", |format: String| strftime::strftime(&format, strftime::now()));
    environment.add_filter("tojson", tojson);
    environment
}

/// Marks an error as the template's own decision.
#[derive(Debug)]
struct Refusal;

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("raised by the template")
    }
}

impl std::error::Error for Refusal {}

/// `{% generation %}` and `{% endgeneration %}` mark the model's words for training; here they are
/// blocks that always run.
fn without_generation_marks(source: &str) -> String {
    let mark = |word: &str| {
        regex::Regex::new(&format!(r"(\{{%[-+]?\s*){word}(\s*[-+]?%\}})")).expect("a valid expression")
    };
    let opened = mark("generation").replace_all(source, "${1}if true${2}");
    mark("endgeneration").replace_all(&opened, "${1}endif${2}").into_owned()
}

/// JSON as `transformers` writes it: Python's spacing, no escapes but JSON's own.
#[allow(clippy::needless_pass_by_value, reason = "filters take their keywords by value")]
fn tojson(value: &Value, kwargs: Kwargs) -> std::result::Result<Value, JinjaError> {
    let indent: Option<Value> = kwargs.get("indent")?;
    for ignored in ["ensure_ascii", "sort_keys"] {
        let _: Option<bool> = kwargs.get(ignored)?;
    }
    kwargs.assert_all_used()?;
    let indent = indent.filter(|indent| !indent.is_none());
    let escaped =
        minijinja::filters::tojson(value, indent, Kwargs::from_iter(std::iter::empty::<(String, Value)>()))?;
    Ok(Value::from(without_html_escapes(escaped.as_str().unwrap_or_default())))
}

/// Puts back the characters that were escaped in JSON strings only to be safe in HTML.
fn without_html_escapes(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let plain = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')]
            .into_iter()
            .find(|(code, _)| escape.starts_with(code));
        let len = match plain {
            Some((code, c)) => {
                out.push(c);
                code.len()
            }
            None => {
                let len = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&escape[..len]);
                len
            }
        };
        rest = &escape[len..];
    }
    out.push_str(rest);
    out
}

/// Output up to [`MAX_RENDERED_BYTES`].
struct LimitedOutput(Vec<u8>);

impl Write for LimitedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED_BYTES {
            return Err(io::Error::other("too much output"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error while rendering, by whose fault it is.
fn failure(error: &JinjaError) -> RenderError {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<Refusal>() {
            return RenderError::Refused { what: error.detail().unwrap_or_default().to_owned() };
        }
        source = cause.source();
    }
    RenderError::Failed(match error.kind() {
        ErrorKind::OutOfFuel => Error::limit(format!(
            "{PLACE} does not come to an end within {MAX_TEMPLATE_STEPS} steps; {REMEDY}"
        )),
        ErrorKind::WriteFailure => {
            Error::limit(format!("{PLACE} writes more than {MAX_RENDERED_BYTES} bytes; {REMEDY}"))
        }
        // What is wrong in the template itself was found when it was compiled.
        _ => return RenderError::Refused { what: format!("{}; {REMEDY}", describe(error)) },
    })
}

/// The line and the reason.
fn describe(error: &JinjaError) -> String {
    let reason = match error.detail() {
        Some(detail) => format!("{} ({detail})", error.kind()),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("line {line}: {reason}"),
        None => reason,
    }
}
