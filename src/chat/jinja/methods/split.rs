//! Methods of strings that take keywords: those that cut and replace.

use super::super::args::{CallArgs, integer, required, string};
use super::super::fault::{Fault, Result};
use super::super::text::{Builder, Text, is_space};
use super::super::value::{Kind, Value, push};

/// A separator, which must not be empty.
pub(super) fn separator(value: &Value, name: &str) -> Result<Text> {
    let separator = string(value, name)?;
    if separator.is_empty() { Err(Fault::failed("empty separator")) } else { Ok(separator) }
}

/// `text.name(args)`.
pub(super) fn with_keywords(text: &str, name: &str, args: CallArgs) -> Result<Value> {
    match name {
        "splitlines" => {
            let [keep] = args.bind(name, ["keepends"])?;
            lines(text, keep.is_some_and(|keep| keep.is_true()))
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["", "", "count"])?;
            let (old, new) = (string(&required(old, name)?, name)?, string(&required(new, name)?, name)?);
            let count = integer(count.as_ref(), -1, name)?;
            Ok(Value::Str(replace(text, &old, &new, usize::try_from(count).unwrap_or(usize::MAX))?))
        }
        "expandtabs" => {
            let [size] = args.bind(name, ["tabsize"])?;
            let size = usize::try_from(integer(size.as_ref(), 8, name)?).unwrap_or(0);
            let mut out = Builder::default();
            let mut column = 0;
            for c in text.chars() {
                if c == '\t' {
                    let n = if size == 0 { 0 } else { size - column % size };
                    out.repeat(" ", n)?;
                    column += n;
                } else {
                    out.push_char(c)?;
                    column = if c == '\n' || c == '\r' { 0 } else { column + 1 };
                }
            }
            Ok(Value::Str(out.finish()?))
        }
        _ => {
            let [separator_given, most] = args.bind(name, ["sep", "maxsplit"])?;
            let most = usize::try_from(integer(most.as_ref(), -1, name)?).unwrap_or(usize::MAX);
            match separator_given {
                None | Some(Value::None) => split_words(text, most, name == "rsplit"),
                Some(given) => split(text, &separator(&given, name)?, most, name == "rsplit"),
            }
        }
    }
}

/// The text with up to `count` occurrences of `old` replaced.
pub(in super::super) fn replace(text: &str, old: &str, new: &str, count: usize) -> Result<Text> {
    let mut out = Builder::default();
    let mut rest = text;
    let mut n = 0;
    // An empty text is found before each character and at the end.
    if old.is_empty() {
        for c in text.chars() {
            if n < count {
                out.push(new)?;
            }
            n += 1;
            out.push_char(c)?;
        }
        if n < count {
            out.push(new)?;
        }
        return out.finish();
    }
    while n < count
        && let Some(at) = rest.find(old)
    {
        out.push(&rest[..at])?;
        out.push(new)?;
        rest = &rest[at + old.len()..];
        n += 1;
    }
    out.push(rest)?;
    out.finish()
}

fn split(text: &str, separator: &str, most: usize, from_right: bool) -> Result<Value> {
    let mut parts = Vec::new();
    if from_right {
        for part in text.rsplitn(most.saturating_add(1), separator) {
            push(&mut parts, Value::text(part)?)?;
        }
        parts.reverse();
    } else {
        for part in text.splitn(most.saturating_add(1), separator) {
            push(&mut parts, Value::text(part)?)?;
        }
    }
    Value::seq(Kind::List, parts)
}

fn split_words(text: &str, most: usize, from_right: bool) -> Result<Value> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        rest = if from_right { rest.trim_end_matches(is_space) } else { rest.trim_start_matches(is_space) };
        if rest.is_empty() {
            break;
        }
        let cut = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
        let Some(at) = cut.filter(|_| parts.len() < most) else {
            push(&mut parts, Value::text(rest)?)?;
            break;
        };
        let behind = at + rest[at..].chars().next().map_or(0, char::len_utf8);
        let (word, remaining) =
            if from_right { (&rest[behind..], &rest[..at]) } else { (&rest[..at], &rest[behind..]) };
        push(&mut parts, Value::text(word)?)?;
        rest = remaining;
    }
    if from_right {
        parts.reverse();
    }
    Value::seq(Kind::List, parts)
}

fn lines(text: &str, keep: bool) -> Result<Value> {
    let ends = ['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let behind = if rest[at..].starts_with("\r\n") {
            at + 2
        } else {
            at + rest[at..].chars().next().map_or(0, char::len_utf8)
        };
        push(&mut parts, Value::text(&rest[..if keep { behind } else { at }])?)?;
        rest = &rest[behind..];
    }
    Value::seq(Kind::List, parts)
}
