//! Why a template stops.

/// `Result` with a [`Fault`].
pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// Why a template stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It calls `raise_exception`; its own words.
    Raised(String),
    /// An operation fails, as with an exception in Python.
    Failed(String),
    /// It asks for something that there is not, whatever the values are.
    Broken(String),
    /// It exceeds a limit; completes "the template ...".
    Limit(String),
}

impl Fault {
    /// An operation that fails.
    pub(super) fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }
}

/// A [`Fault`] and the line of the template where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) fault: Fault,
    /// Where, from 1.
    pub(crate) line: usize,
}
