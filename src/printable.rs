//! Makes text from elsewhere harmless to print: names in model files, reasons from other libraries and
//! file names may hold characters that steer a terminal or reorder what it shows.
//!
//! Messages carry such text as it is; it is escaped once, where it is printed (`cli::output`).

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::path::Path;

/// `text` on one line: everything that would steer a terminal, line breaks and tabs included, becomes
/// an escape such as `\n` or `\u{1b}`.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, steers, |c, out| out.extend(c.escape_default()))
}

/// A path on one line, as [`line()`] shows it.
pub fn path(path: &Path) -> String {
    line(&path.to_string_lossy()).into_owned()
}

/// As [`line()`], but line feeds and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| steers(c) && !matches!(c, '\n' | '\t'), |c, out| out.extend(c.escape_default()))
}

/// Text that a model wrote, for a terminal: control characters other than line feeds, carriage returns
/// and tabs become escapes. Marks of writing direction stay, for Arabic and Hebrew text has them.
pub fn prose(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    escape(text, is_harmful, |c, out| out.extend(c.escape_default()))
}

/// A JSON document with everything that would steer a terminal spelled `\u009b`; it means the same.
///
/// JSON has such characters inside strings only, apart from the line feeds and tabs of its layout.
pub fn json(document: &str) -> Cow<'_, str> {
    let is_harmful = |c| steers(c) && !matches!(c, '\n' | '\t');
    escape(document, is_harmful, |c, out| {
        write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
    })
}

/// Control characters (C0, DEL, C1), separators of lines and paragraphs, and the embeddings, overrides
/// and isolates of writing direction, which let one text pass for another.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first `n_shown` of some things, for a sentence, and how many more there are: `a, b and 3 more`.
pub fn first_few<T: Display>(things: impl IntoIterator<Item = T>, n_shown: usize) -> String {
    let mut things = things.into_iter();
    let shown: Vec<String> = things.by_ref().take(n_shown).map(|thing| thing.to_string()).collect();
    let more = match things.count() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    shown.join(", ") + &more
}

fn escape(text: &str, is_harmful: impl Fn(char) -> bool, write: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(&is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) { write(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// `n` things, as in "1 token" or "2 tokens".
pub fn plural(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_steers_a_terminal_is_escaped() {
        let mut harmful: Vec<u32> = (0..0x20).chain(0x7f..0xa0).collect();
        harmful.extend((0x2028..=0x202e).chain(0x2066..=0x2069));
        for c in harmful.into_iter().map(|c| char::from_u32(c).expect("a character")) {
            let text = format!("a{c}b");
            assert_eq!(line(&text), format!("a{}b", c.escape_default()));
            let kept = matches!(c, '\n' | '\t');
            assert_eq!(lines(&text) == text, kept, "{c:?}");
            assert_eq!(json(&text) == text, kept, "{c:?}");
            assert_eq!(prose(&text) == text, kept || c == '\r' || c > '\u{ff}', "{c:?}");
        }
    }

    #[test]
    fn lists_say_how_many_more_there_are() {
        assert_eq!(first_few([0; 0], 2), "");
        assert_eq!(first_few(["a", "b"], 2), "a, b");
        assert_eq!(first_few(1..=5, 2), "1, 2 and 3 more");
    }

    #[test]
    fn text_that_steers_nothing_stays_as_it_is() {
        for text in ["", "plain", "back\\slash \"quotes\"", "ünïcödé 漢字 🦙", "עברית\u{200f}!"]
        {
            for shown in [line(text), lines(text), prose(text), json(text)] {
                assert!(matches!(shown, Cow::Borrowed(same) if same == text), "{text}");
            }
        }
        assert_eq!(line("a\u{1b}[2J'é\n"), "a\\u{1b}[2J'é\\n");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::json!({ "k\u{9b}\u{202e}": ["\u{1b}\u{7f}\u{2029}\n\t\u{0}é🦙"] });
        let text = format!("{value:#}");
        let escaped = json(&text);
        assert!(escaped.contains("\"k\\u009b\\u202e\"") && escaped.contains("\\u007f\\u2029"), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("still JSON"), value);
    }
}
