//! Text from a flag, a file or standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, Result};
use crate::limits::MAX_TEXT_BYTES;
use crate::regular_file;

/// What to evaluate.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// A text, which the model's tokenizer cuts into tokens.
    Text(String),
    /// The numbers of tokens, as they are.
    Ids(Vec<u32>),
}

/// A file to evaluate.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct FileArgs {
    /// The text to evaluate; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A file with the numbers of tokens, apart by white space or commas, to evaluate as they are; - reads standard
    /// input. The model needs no vocabulary then
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
}

impl FileArgs {
    /// What is to be evaluated.
    ///
    /// # Errors
    /// Those of [`read_text`] and [`read_ids`].
    pub(super) fn read(&self) -> Result<Input> {
        match &self.ids {
            Some(ids) => read_ids(ids).map(Input::Ids),
            None => read_text_trimmed(self.path()).map(Input::Text),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        let given = self.file.as_deref().or(self.ids.as_deref());
        given.expect("the arguments are a group that is required")
    }
}

/// The numbers of tokens that the file at `path` lists, or standard input for `-`.
///
/// # Errors
/// Those of [`read_text`], and [`Error::Usage`] for what is not a number.
pub(super) fn read_ids(path: &Path) -> Result<Vec<u32>> {
    parse_ids(&read_text(path)?, path)
}

/// The ids that `text`, the content of `file`, lists.
fn parse_ids(text: &str, file: &Path) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for (line, words) in text.lines().enumerate() {
        for word in words.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
            ids.push(word.parse().map_err(|_| {
                Error::usage(format!(
                    "{}: line {}: {word:?} is not the number of a token; give numbers apart by white space or commas",
                    file.display(),
                    line + 1
                ))
            })?);
        }
    }
    Ok(ids)
}

/// The text of the file at `path`, which may be a pipe, or of standard input for `-`.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Unsupported`] if it is not UTF-8, [`Error::Limit`]
/// if it is too long.
pub(in crate::cli) fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        let path = Path::new("standard input");
        read_limited(std::io::stdin().lock(), path, &mut bytes)?;
        return utf8(path, bytes);
    } else {
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
        read_limited(file, path, &mut bytes)?;
    }
    utf8(path, bytes)
}

/// The text of the regular file at `path`; a pipe, which may never end, is refused.
///
/// # Errors
/// As [`regular_file::read`], and [`Error::Unsupported`] if it is not UTF-8.
pub(super) fn read_file(path: &Path) -> Result<String> {
    utf8(path, regular_file::read(path, MAX_TEXT_BYTES as u64)?)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::unsupported(path, format!("it is not UTF-8 text (byte {at}); convert it to UTF-8 first"))
    })?;
    // What editors put in front to say that it is UTF-8 is not a part of the text.
    match text.strip_prefix('\u{FEFF}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}

/// [`read_text`] without one trailing newline: the editor's, not the text's.
///
/// # Errors
/// As that.
pub(super) fn read_text_trimmed(path: &Path) -> Result<String> {
    let text = read_text(path)?;
    Ok(trimmed(&text).to_owned())
}

/// A text without one trailing newline.
pub(in crate::cli) fn trimmed(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

fn read_limited(source: impl Read, path: &Path, bytes: &mut Vec<u8>) -> Result<()> {
    let read = source.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(bytes);
    read.map_err(|e| Error::io(path, "cannot read", e))?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(Error::limit(format!(
            "{} is longer than {} MiB; give a shorter text",
            path.display(),
            MAX_TEXT_BYTES >> 20
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_is_trimmed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("text");
        for (written, read) in
            [("a\n", "a"), ("a\n\n", "a\n"), ("a\r\n", "a"), ("a", "a"), ("", ""), ("\u{FEFF}a", "a")]
        {
            std::fs::write(&path, written).expect("written");
            assert_eq!(read_text_trimmed(&path).expect("read"), read);
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_the_position() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("text");
        std::fs::write(&path, b"abc\xff").expect("written");
        let message = read_text(&path).expect_err("not UTF-8").to_string();
        assert!(message.contains("byte 3"), "{message}");
    }

    #[test]
    fn ids_are_apart_by_white_space_or_commas() {
        let parse = |text: &str| parse_ids(text, Path::new("ids.txt"));
        assert_eq!(parse("1, 2\n\t3,,4\r\n").expect("numbers"), [1, 2, 3, 4]);
        for wrong in ["1\n2 x3", "1\n-1", "\n4294967296"] {
            let message = parse(wrong).expect_err("no number").to_string();
            assert!(message.contains("ids.txt: line 2"), "{message}");
        }
    }
}
