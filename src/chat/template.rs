//! Chat templates: Jinja programs, shipped with models, that write a conversation as the model's text.
//!
//! They are written for Python's Jinja as Hugging Face's `transformers` sets it up, so blocks eat the
//! line break behind them, strings have Python's methods, and a few functions are there. A template is
//! part of a file from anywhere: its steps and its output are limited.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error as JinjaError, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use super::strftime;
use crate::error::{Error, Result};
use crate::limits::{MAX_RENDERED_BYTES, MAX_TEMPLATE_BYTES, MAX_TEMPLATE_STEPS};

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

/// A chat template, ready to render conversations.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    /// Compiles `source`; `bos` and `eos` are the texts of the model's tokens, for the template to
    /// write.
    ///
    /// # Errors
    /// `Malformed` with the line if the source is not valid Jinja, `Limit` if it is too long.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let what =
                format!("{PLACE} has {} bytes; the limit is {MAX_TEMPLATE_BYTES}; {REMEDY}", source.len());
            return Err(Error::limit(what));
        }
        let mut environment = environment();
        environment
            .add_template_owned("chat", without_generation_marks(source))
            .map_err(|e| Error::malformed(PLACE, format!("{}; {REMEDY}", describe(&e))))?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// Writes `messages` as the model's text; with `add_generation_prompt` up to where the model's
    /// answer starts.
    ///
    /// # Errors
    /// `Usage` with the template's own words if it refuses the conversation (most want user and
    /// assistant in turn); `Limit` if it runs or writes too much; `Malformed` with the line for
    /// whatever else goes wrong in it.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let shown: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.as_str(), content => message.content.as_str() })
            .collect();
        let context = context! {
            messages => shown,
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        let mut out = LimitedOutput(Vec::new());
        let template = self.environment.get_template("chat").map_err(|e| failure(&e))?;
        template.render_captured_to(context, &mut out).map_err(|e| failure(&e))?;
        String::from_utf8(out.0)
            .map_err(|_| Error::malformed(PLACE, format!("it does not write UTF-8; {REMEDY}")))
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
fn failure(error: &JinjaError) -> Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<Refusal>() {
            return Error::usage(format!(
                "{PLACE} refuses the conversation: {}",
                error.detail().unwrap_or_default()
            ));
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => Error::limit(format!(
            "{PLACE} does not come to an end within {MAX_TEMPLATE_STEPS} steps; {REMEDY}"
        )),
        ErrorKind::WriteFailure => {
            Error::limit(format!("{PLACE} writes more than {MAX_RENDERED_BYTES} bytes; {REMEDY}"))
        }
        _ => Error::malformed(PLACE, format!("{}; {REMEDY}", describe(error))),
    }
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
