//! The one error type, by whose fault it is.
//!
//! A message says what is wrong, where, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug)]
pub enum Error {
    /// The system refused: missing file, no permission, disk full.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as in "cannot open".
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A file breaks the rules of its format; a message begins with the file's path.
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which part, what was expected and what was found.
        what: String,
    },
    /// A file is sound, but asks for something this program does not have.
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it asks for, and what there is instead.
        what: String,
    },
    /// A limit of this program or this machine is exceeded.
    Limit {
        /// What was asked for, the limit, and what would fit.
        what: String,
    },
    /// The request itself makes no sense.
    Usage {
        /// What was asked for and what would be right.
        what: String,
    },
    /// The user stopped the operation.
    Interrupted,
}

impl Error {
    /// The system refused `doing` something with `path`.
    pub fn io(path: impl AsRef<Path>, doing: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), doing, source }
    }

    /// The file at `path` breaks the rules of its format.
    pub fn malformed(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.as_ref().to_owned(), what: what.into() }
    }

    /// The file at `path` asks for something this program does not have.
    pub fn unsupported(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::Unsupported { path: path.as_ref().to_owned(), what: what.into() }
    }

    /// A limit is exceeded.
    pub fn limit(what: impl Into<String>) -> Self {
        Self::Limit { what: what.into() }
    }

    /// The request makes no sense.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into() }
    }

    /// The same error, of a command where what its remedy calls `option` has another name.
    #[must_use]
    pub fn with_option_called(mut self, option: &str, name: &str) -> Self {
        if let Self::Limit { what } | Self::Usage { what } = &mut self {
            *what = what.replace(option, name);
        }
        self
    }

    /// The exit status of a program that ends with this error: 2 for usage, 130 for an interrupt
    /// (as shells report Ctrl-C), else 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, doing, source } => write!(f, "{doing} {}: {source}", path.display()),
            Self::Malformed { path, what } => write!(f, "{}: {what}", path.display()),
            Self::Unsupported { path, what } => write!(f, "{}: not supported: {what}", path.display()),
            Self::Limit { what } | Self::Usage { what } => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_name_the_options_of_the_command() {
        let error = Error::limit("use --ctx 5 or less").with_option_called("--ctx", "--calibration-ctx");
        assert_eq!(error.to_string(), "use --calibration-ctx 5 or less");
        // What a file is called or says stays.
        let error = Error::malformed("--ctx", "--ctx").with_option_called("--ctx", "-c");
        assert_eq!(error.to_string(), "--ctx: --ctx");
    }
}
