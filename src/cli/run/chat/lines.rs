//! Lines from the user: edited, with history, at a terminal; else as standard input gives them.

use std::fmt;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::cli::output::warn;
use crate::error::{Error, Result};

/// Where lines come from.
pub(super) enum Lines {
    /// A terminal, with the file of its history.
    Terminal {
        /// Edits and remembers lines.
        editor: Box<DefaultEditor>,
        /// Where they are kept; `None` where that is impossible.
        history: Option<PathBuf>,
    },
    /// A pipe or a file.
    Pipe,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A line, or several joined by `\` at their ends.
    Text(String),
    /// Ctrl-C instead of a line.
    Interrupted,
    /// There are no more lines.
    End,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminal { history, .. } => f.debug_struct("Terminal").field("history", history).finish(),
            Self::Pipe => f.write_str("Pipe"),
        }
    }
}

impl Lines {
    /// The lines of standard input.
    ///
    /// # Errors
    /// [`Error::Io`] if the terminal cannot be used.
    pub(super) fn open() -> Result<Self> {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Ok(Self::Pipe);
        }
        let mut editor = Box::new(DefaultEditor::new().map_err(terminal_error)?);
        let history = history_file();
        if let Some(path) = history.as_ref().filter(|path| path.exists())
            && let Err(error) = editor.load_history(path)
        {
            warn(format_args!("cannot read the history {}: {error}", path.display()));
        }
        Ok(Self::Terminal { editor, history })
    }

    /// Whether a person sits at the other end.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// The next line; at a terminal after showing `prompt`.
    ///
    /// # Errors
    /// [`Error::Io`] if standard input or the terminal fails.
    pub(super) fn read(&mut self, prompt: &str) -> Result<Input> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() { prompt } else { "… " };
            match self.read_one(prompt)? {
                Input::Text(line) => match line.strip_suffix('\\') {
                    Some(begun) => {
                        text.push_str(begun);
                        text.push('\n');
                    }
                    None => {
                        text.push_str(&line);
                        self.remember(&text);
                        return Ok(Input::Text(text));
                    }
                },
                Input::End if !text.is_empty() => return Ok(Input::Text(text)),
                other => return Ok(other),
            }
        }
    }

    fn read_one(&mut self, prompt: &str) -> Result<Input> {
        match self {
            Self::Terminal { editor, .. } => match editor.readline(prompt) {
                Ok(line) => Ok(Input::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
                Err(ReadlineError::Eof) => Ok(Input::End),
                Err(error) => Err(terminal_error(error)),
            },
            Self::Pipe => read_piped(&mut std::io::stdin().lock()),
        }
    }

    fn remember(&mut self, text: &str) {
        let Self::Terminal { editor, history } = self else { return };
        if text.trim().is_empty() {
            return;
        }
        let kept = editor.add_history_entry(text).and_then(|_| match &history {
            Some(path) => editor.append_history(path),
            None => Ok(()),
        });
        if let Err(error) = kept {
            warn(format_args!("cannot keep the history: {error}"));
            *history = None;
        }
    }
}

fn read_piped(source: &mut impl BufRead) -> Result<Input> {
    let mut line = Vec::new();
    let n = source.read_until(b'\n', &mut line).map_err(|e| Error::io("standard input", "cannot read", e))?;
    if n == 0 {
        return Ok(Input::End);
    }
    let line = String::from_utf8(line).map_err(|_| {
        Error::unsupported("standard input", "it is not UTF-8 text; convert it to UTF-8 first")
    })?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(Input::Text(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

fn terminal_error(error: ReadlineError) -> Error {
    let source = match error {
        ReadlineError::Io(source) => source,
        other => std::io::Error::other(other),
    };
    Error::io("the terminal", "cannot use", source)
}

/// The file of the history, in the user's data folder, which is made if it is missing.
fn history_file() -> Option<PathBuf> {
    let folder: &Path = &dirs::data_dir()?.join("gguf-kit");
    match std::fs::create_dir_all(folder) {
        Ok(()) => Some(folder.join("chat-history.txt")),
        Err(error) => {
            warn(format_args!("the history is not kept: cannot make {}: {error}", folder.display()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_lines_end_with_the_input() {
        let mut source: &[u8] = b"one\ntwo\r\n\nlast";
        let lines: Vec<_> = std::iter::from_fn(|| match read_piped(&mut source).expect("UTF-8") {
            Input::Text(line) => Some(line),
            _ => None,
        })
        .collect();
        assert_eq!(lines, ["one", "two", "", "last"]);
    }

    #[test]
    fn piped_bytes_that_are_no_text_are_an_error() {
        assert!(matches!(read_piped(&mut &b"\xff\n"[..]), Err(Error::Unsupported { .. })));
    }
}
