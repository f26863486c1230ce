//! Strings that are accounted for.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::fault::Result;
use super::meter;

/// Bytes that a string costs beside its characters.
const OVERHEAD: usize = 64;

/// A string of a template, shared between values.
#[derive(Clone)]
pub(super) struct Text {
    counted: Arc<Counted>,
    /// Whether it is markup: what is added to it is escaped first. That makes no difference to anything else.
    is_markup: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Counted(String);

impl Drop for Counted {
    fn drop(&mut self) {
        meter::give(self.0.len() + OVERHEAD);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.counted.0
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.counted == other.counted
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.counted.cmp(&other.counted)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.counted.hash(state);
    }
}

impl Text {
    /// A string whose length is bounded by what it was made of.
    pub(super) fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        meter::take(text.len() + OVERHEAD)?;
        Ok(Self { counted: Arc::new(Counted(text)), is_markup: false })
    }

    /// Joins two strings. If one of them is markup, the other is escaped.
    pub(super) fn concat(a: &Self, b: &Self) -> Result<Self> {
        let is_markup = a.is_markup || b.is_markup;
        let mut out = Builder::default();
        for part in [a, b] {
            if is_markup && !part.is_markup {
                out.push(&part.escaped()?)?;
            } else {
                out.push(part)?;
            }
        }
        Ok(Self { is_markup, ..out.finish()? })
    }

    /// Whether it is markup.
    pub(super) fn is_markup(&self) -> bool {
        self.is_markup
    }

    /// The same characters, as markup or not.
    pub(super) fn with_markup(self, is_markup: bool) -> Self {
        Self { is_markup, ..self }
    }

    /// Its characters as markup that shows them.
    pub(super) fn escaped(&self) -> Result<Self> {
        let mut out = Builder::default();
        for c in self.chars() {
            match c {
                '&' => out.push("&amp;")?,
                '<' => out.push("&lt;")?,
                '>' => out.push("&gt;")?,
                '\'' => out.push("&#39;")?,
                '"' => out.push("&#34;")?,
                c => out.push_char(c)?,
            }
        }
        Ok(out.finish()?.with_markup(true))
    }
}

/// A string under construction: asks for its bytes before it grows.
///
/// Bytes of one that is never finished are not given back: then the rendering has failed.
#[derive(Debug, Default)]
pub(super) struct Builder(String);

impl Builder {
    /// Appends `text`.
    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        meter::take(text.len())?;
        self.0.push_str(text);
        Ok(())
    }

    /// Appends a character.
    pub(super) fn push_char(&mut self, c: char) -> Result<()> {
        meter::take(c.len_utf8())?;
        self.0.push(c);
        Ok(())
    }

    /// Appends `text`, `n` times.
    pub(super) fn repeat(&mut self, text: &str, n: usize) -> Result<()> {
        let len = text.len().saturating_mul(n);
        meter::take(len)?;
        self.0.reserve(len);
        (0..if len == 0 { 0 } else { n }).for_each(|_| self.0.push_str(text));
        Ok(())
    }

    /// What is there so far.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The string, which leaves the account.
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// The string.
    pub(super) fn finish(self) -> Result<Text> {
        meter::take(OVERHEAD)?;
        Ok(Text { counted: Arc::new(Counted(self.0)), is_markup: false })
    }
}

/// What Python takes for whitespace.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}
