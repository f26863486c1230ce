//! What reaches a terminal, and numbers as people read them.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::printable;

/// Writes a report to standard output and flushes it. What it quotes from files cannot steer a
/// terminal: see [`printable::lines`].
///
/// # Errors
/// [`Error::Io`], also for a reader that went away.
pub fn show(report: &str) -> Result<()> {
    write(&printable::lines(report))
}

/// Writes text of a model to standard output and flushes it: to a terminal without control characters
/// (see [`printable::prose`]), elsewhere byte for byte.
///
/// # Errors
/// [`Error::Io`], also for a reader that went away.
pub fn show_generated(text: &str) -> Result<()> {
    if std::io::stdout().is_terminal() { write(&printable::prose(text)) } else { write(text) }
}

/// Writes `value` to standard output as one JSON document and a newline. What would steer a terminal
/// is spelled as JSON escapes.
///
/// # Errors
/// [`Error::Io`], also for a reader that went away.
pub fn show_json(value: &serde_json::Value) -> Result<()> {
    write(&printable::json(&format!("{value:#}\n")))
}

/// Whether the last line on standard output has not ended.
static IS_MIDLINE: AtomicBool = AtomicBool::new(false);

fn write(text: &str) -> Result<()> {
    if let Some(last) = text.chars().next_back() {
        IS_MIDLINE.store(last != '\n', Ordering::Relaxed);
    }
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|e| Error::io("standard output", "cannot write to", e))
}

/// Writes `text` and a newline to standard error. What cannot be written is lost: a program whose
/// standard error is closed or full still does its work and keeps its exit status, which `eprintln!`,
/// by its panic, would not let it. What the text quotes from files cannot steer a terminal.
pub fn say(text: impl Display) {
    // Standard error has no buffer: one write keeps a line whole among those of other programs.
    let text = format!("{text}\n");
    let _ = std::io::stderr().lock().write_all(printable::lines(&text).as_bytes());
}

/// Shows why the program fails, on one line of standard error; a line of text that it breaks off on a terminal is
/// ended first.
pub fn error(message: impl Display) {
    if IS_MIDLINE.load(Ordering::Relaxed) && std::io::stdout().is_terminal() {
        let _ = write("\n");
    }
    say(format_args!("error: {}", printable::line(&message.to_string())));
}

/// Shows a warning on one line of standard error.
pub fn warn(message: impl Display) {
    say(format_args!("warning: {}", printable::line(&message.to_string())));
}

/// Shows a remark on one line of standard error.
pub fn note(message: impl Display) {
    say(format_args!("note: {}", printable::line(&message.to_string())));
}

/// The outcome of something and, if that is well, of what was done in the end in any case. If both
/// failed, the end's error is shown.
///
/// # Errors
/// The first.
pub fn also<T>(outcome: Result<T>, end: Result<()>) -> Result<T> {
    match (outcome, end) {
        (Ok(value), Ok(())) => Ok(value),
        (Ok(_), Err(one)) | (Err(one), Ok(())) => Err(one),
        (Err(first), Err(last)) => {
            error(last);
            Err(first)
        }
    }
}

/// Bytes with a binary unit, as in "1.5 GiB".
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count with its thousands apart, as in "7,344,384".
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share with enough digits for the smallest errors: an F16 file loses some 0.02 %.
pub fn percent(share: f64) -> String {
    if share < 0.001 { format!("{:.4} %", share * 100.0) } else { format!("{:.2} %", share * 100.0) }
}

/// Warns of texts in pieces of `n_ctx` tokens for a model that was trained with fewer.
pub fn warn_beyond_training(n_ctx: usize, n_ctx_train: usize) {
    if n_ctx > n_ctx_train {
        warn(format_args!(
            "the model was trained with {n_ctx_train} positions; beyond them (--ctx {n_ctx}) it predicts badly"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_unit_that_fits() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!([0, 999, 1000, 7_344_384].map(count), ["0", "999", "1,000", "7,344,384"]);
    }
}
