//! Reads messages: at a terminal with editing and a history, else as standard input gives them.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::lines::Input;
use crate::cli::output::warn;
use crate::error::{Error, Result};

/// Reads standard input.
pub(super) enum Reader {
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

/// The longest line that is taken: more than any context holds.
const MAX_LINE_BYTES: u64 = 64 << 20;

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminal { history, .. } => f.debug_struct("Terminal").field("history", history).finish(),
            Self::Pipe => f.write_str("Pipe"),
        }
    }
}

impl Reader {
    /// A reader of standard input, which is a terminal or not; what is typed there goes to a file if it
    /// `keeps_history`.
    ///
    /// # Errors
    /// [`Error::Io`] if the terminal cannot be used.
    pub(super) fn open(is_terminal: bool, keeps_history: bool) -> Result<Self> {
        if !is_terminal {
            return Ok(Self::Pipe);
        }
        let mut editor = Box::new(DefaultEditor::new().map_err(terminal_error)?);
        let history = if keeps_history { history_file() } else { None };
        if let Some(path) = history.as_ref().filter(|path| path.exists())
            && let Err(error) = editor.load_history(path)
        {
            warn(format_args!("cannot read the history {}: {error}", path.display()));
        }
        Ok(Self::Terminal { editor, history })
    }

    /// The next message; a terminal shows a prompt.
    ///
    /// # Errors
    /// [`Error::Io`] if standard input or the terminal fails.
    pub(super) fn read(&mut self) -> Result<Input> {
        match self {
            Self::Terminal { .. } => self.read_edited(),
            Self::Pipe => read_piped(&mut io::stdin().lock()),
        }
    }

    fn read_edited(&mut self) -> Result<Input> {
        let Self::Terminal { editor, .. } = self else { return Ok(Input::End) };
        let mut text = String::new();
        loop {
            match editor.readline(if text.is_empty() { "> " } else { "… " }) {
                Ok(line) => match line.strip_suffix('\\') {
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
                Err(ReadlineError::Eof) if !text.is_empty() => return Ok(Input::Text(text)),
                Err(ReadlineError::Eof) => return Ok(Input::End),
                Err(ReadlineError::Interrupted) => return Ok(Input::Interrupted),
                Err(ReadlineError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {
                    discard_typed();
                    return Ok(Input::Unusable(
                        "a character is not UTF-8; set the terminal to UTF-8".to_owned(),
                    ));
                }
                Err(error) => return Err(terminal_error(error)),
            }
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

/// Reads a line, and those that follow a `\` at its end.
fn read_piped(source: &mut impl BufRead) -> Result<Input> {
    let failed = |e| Error::io("standard input", "cannot read", e);
    let mut text = Vec::new();
    loop {
        let begun = text.len();
        let n = source.take(MAX_LINE_BYTES).read_until(b'\n', &mut text).map_err(failed)?;
        if n == 0 && text.is_empty() {
            return Ok(Input::End);
        }
        let has_end = n > 0 && text.ends_with(b"\n");
        if text.len() as u64 >= MAX_LINE_BYTES {
            if !has_end {
                source.skip_until(b'\n').map_err(failed)?;
            }
            let what = format!("it has more than {} MiB; say it in fewer words", MAX_LINE_BYTES >> 20);
            return Ok(Input::Unusable(what));
        }
        if has_end {
            text.pop();
            text.pop_if(|last| *last == b'\r');
        }
        if n > 0 && text[begun..].ends_with(b"\\") {
            text.pop();
            text.push(b'\n');
            continue;
        }
        return Ok(String::from_utf8(text).map_or_else(
            |e| {
                let at = e.utf8_error().valid_up_to();
                Input::Unusable(format!("it is not UTF-8 text (byte {at}); convert it to UTF-8 first"))
            },
            Input::Text,
        ));
    }
}

/// Drops what was typed or pasted and is not read yet: the rest of a line that cannot be used.
fn discard_typed() {
    #[cfg(unix)]
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
}

fn terminal_error(error: ReadlineError) -> Error {
    let source = match error {
        ReadlineError::Io(source) => source,
        other => io::Error::other(other),
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

    fn text(text: &str) -> Input {
        Input::Text(text.to_owned())
    }

    /// All that a pipe gives.
    fn read(mut source: &[u8]) -> Vec<Input> {
        let inputs = std::iter::from_fn(|| Some(read_piped(&mut source).expect("bytes are read")));
        inputs.take_while(|input| *input != Input::End).collect()
    }

    #[test]
    fn piped_lines_end_with_the_input() {
        assert_eq!(read(b"one\ntwo\r\n\nlast"), ["one", "two", "", "last"].map(text));
    }

    #[test]
    fn lines_that_end_in_a_backslash_go_on() {
        assert_eq!(read(b"a\\\nb\\\r\nc\nd"), ["a\nb\nc", "d"].map(text));
        assert_eq!(read(b"a\\\n"), ["a\n"].map(text));
        assert_eq!(read(b"a\\"), ["a\n"].map(text));
    }

    #[test]
    fn bytes_that_are_not_utf8_spoil_their_message_alone() {
        let inputs = read(b"one\ntw\xf6\\\nstill two\nthree\n");
        assert_eq!((&inputs[0], &inputs[2]), (&text("one"), &text("three")));
        assert!(matches!(&inputs[1], Input::Unusable(why) if why.contains("byte 2")), "{:?}", inputs[1]);
    }

    #[test]
    fn lines_beyond_all_reason_are_left_out() {
        let mut source = vec![b'x'; MAX_LINE_BYTES as usize + 5];
        source.extend_from_slice(b"\nnext\n");
        let inputs = read(&source);
        assert!(matches!(&inputs[0], Input::Unusable(why) if why.contains("64 MiB")), "{:?}", inputs[0]);
        assert_eq!(inputs[1..], [text("next")]);
    }
}
