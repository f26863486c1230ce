//! Strings that are accounted for.

use std::fmt;
use std::sync::Arc;

use super::fault::Result;
use super::meter;

/// Bytes that a string costs beside its characters.
const OVERHEAD: usize = 64;

/// A string of a template, shared between values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Text(Arc<Counted>);

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
        &self.0.0
    }
}

impl Text {
    /// A string whose length is bounded by what it was made of.
    pub(super) fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        meter::take(text.len() + OVERHEAD)?;
        Ok(Self(Arc::new(Counted(text))))
    }

    /// Joins two strings.
    pub(super) fn concat(a: &str, b: &str) -> Result<Self> {
        let mut out = Builder::default();
        out.push(a)?;
        out.push(b)?;
        out.finish()
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
        Ok(Text(Arc::new(Counted(self.0))))
    }
}

/// What Python takes for whitespace.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}
