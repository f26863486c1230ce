//! Methods of strings, Python's.

use super::super::args::{CallArgs, integer, required, string};
use super::super::chars;
use super::super::fault::{Fault, Result};
use super::super::format;
use super::super::meter;
use super::super::text::{Builder, Text, is_space};
use super::super::value::{Kind, Value};
use super::split::{separator, with_keywords};

/// The methods there are.
pub(super) const NAMES: [&str; 44] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// `text.name(args)`.
pub(super) fn call(text: &Text, name: &str, args: CallArgs) -> Result<Value> {
    // Other cases may be longer, up to three times.
    meter::room(4 * text.len())?;
    match name {
        "format" => return Ok(Value::Str(format::str_format(text, &args)?)),
        "format_map" => {
            let Value::Dict(dict) = args.one(name)? else {
                return Err(Fault::failed("format_map() wants a mapping"));
            };
            let named = dict.iter().filter_map(|(key, value)| Some((key.as_str()?.into(), value.clone())));
            let args = CallArgs { positional: Vec::new(), named: named.collect() };
            return Ok(Value::Str(format::str_format(text, &args)?));
        }
        "split" | "rsplit" | "splitlines" | "replace" | "expandtabs" => {
            return with_keywords(text, name, args);
        }
        _ => {}
    }
    if !args.named.is_empty() {
        return Err(Fault::failed(format!("str.{name}() takes no keyword arguments")));
    }
    match name {
        "strip" | "lstrip" | "rstrip" => strip(text, name, args),
        "startswith" | "endswith" => affix(text, name, args),
        "find" | "rfind" | "index" | "rindex" | "count" => find(text, name, args),
        "center" | "ljust" | "rjust" | "zfill" => pad(text, name, args),
        "join" => join(text, &args.one(name)?),
        "partition" | "rpartition" => {
            let separator = separator(&args.one(name)?, name)?;
            let at = if name == "partition" { text.find(&*separator) } else { text.rfind(&*separator) };
            let parts = match at {
                Some(at) => [&text[..at], &*separator, &text[at + separator.len()..]],
                None if name == "partition" => [&**text, "", ""],
                None => ["", "", &**text],
            };
            Value::tuple([Value::text(parts[0])?, Value::text(parts[1])?, Value::text(parts[2])?])
        }
        "removeprefix" | "removesuffix" => {
            let affix = string(&args.one(name)?, name)?;
            let rest =
                if name == "removeprefix" { text.strip_prefix(&*affix) } else { text.strip_suffix(&*affix) };
            Value::text(rest.unwrap_or(text))
        }
        _ => {
            args.none(name)?;
            match cased(text, name) {
                Some(changed) => Value::text(changed),
                None => Ok(Value::Bool(is(text, name))),
            }
        }
    }
}

/// The text in another case.
pub(in super::super) fn cased(text: &str, name: &str) -> Option<String> {
    Some(match name {
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "casefold" => text.chars().map(folded).collect(),
        "capitalize" => {
            let mut chars = text.chars();
            chars.next().map(titlecase).unwrap_or_default() + &chars.as_str().to_lowercase()
        }
        "swapcase" => text.chars().map(swapped).collect(),
        "title" => {
            let mut is_inside = false;
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                let letter = c.is_lowercase() || c.is_uppercase();
                if is_inside {
                    out.extend(c.to_lowercase());
                } else {
                    out.push_str(&titlecase(c));
                }
                is_inside = letter;
            }
            out
        }
        _ => return None,
    })
}

fn swapped(c: char) -> String {
    if c.is_lowercase() { c.to_uppercase().collect() } else { c.to_lowercase().collect() }
}

/// A character without its case.
fn folded(c: char) -> String {
    match c {
        'ı' | 'Ꭰ'..='Ᏽ' => c.to_string(),
        'ᏸ'..='ᏽ' | 'ꭰ'..='ꮿ' => c.to_uppercase().collect(),
        'ẞ' => "ss".to_owned(),
        _ => c.to_uppercase().flat_map(char::to_lowercase).collect(),
    }
}

/// A character at the beginning of a word.
fn titlecase(c: char) -> String {
    match c {
        'ß' | 'ﬀ'..='ﬆ' | 'ﬓ'..='ﬗ' | 'և' => {
            // Letters in one: the first of them is large.
            let mut letters = c.to_uppercase();
            letters.next().into_iter().chain(letters.flat_map(char::to_lowercase)).collect()
        }
        'Ǆ'..='ǆ' => "ǅ".to_owned(),
        'Ǉ'..='ǉ' => "ǈ".to_owned(),
        'Ǌ'..='ǌ' => "ǋ".to_owned(),
        'Ǳ'..='ǳ' => "ǲ".to_owned(),
        _ => c.to_uppercase().collect(),
    }
}

fn is(text: &str, name: &str) -> bool {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    match name {
        "isalnum" => all(|c| chars::is_letter(c) || chars::is_numeric(c)),
        "isalpha" => all(chars::is_letter),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(chars::is_decimal),
        "isdigit" => all(chars::is_digit),
        "isnumeric" => all(chars::is_numeric),
        "isspace" => all(is_space),
        "isprintable" => text.chars().all(chars::is_printable),
        "isidentifier" => chars::is_identifier(text),
        "istitle" => cased(text, "title").as_deref() == Some(text) && text.chars().any(char::is_alphabetic),
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        _ => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
    }
}

fn strip(text: &str, name: &str, args: CallArgs) -> Result<Value> {
    let [chars] = args.bind(name, [""])?;
    let chars = match chars {
        None | Some(Value::None) => None,
        Some(chars) => Some(string(&chars, name)?),
    };
    meter::steps(text.len().min(64) * chars.as_ref().map_or(0, |chars| chars.len()) / 64)?;
    let set: Option<std::collections::HashSet<char>> = chars.map(|chars| chars.chars().collect());
    let goes = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
    let text = if name == "rstrip" { text } else { text.trim_start_matches(goes) };
    Value::text(if name == "lstrip" { text } else { text.trim_end_matches(goes) })
}

/// The part of the text between two places counted in characters, and the bytes before it.
fn part<'t>(
    text: &'t str,
    from: Option<Value>,
    to: Option<Value>,
    name: &str,
) -> Result<Option<(&'t str, usize)>> {
    let given = |value: &Option<Value>| !matches!(value, None | Some(Value::None));
    if !given(&from) && !given(&to) {
        return Ok(Some((text, 0)));
    }
    let len = text.chars().count() as i64;
    let place = |value: Option<Value>, otherwise: i64| {
        let value = value.filter(|value| !matches!(value, Value::None));
        let at = integer(value.as_ref(), otherwise, name)?;
        Ok(if at < 0 { (at + len).max(0) } else { at })
    };
    let (from, to) = (place(from, 0)?, place(to, len)?.min(len));
    if from > to {
        return Ok(None);
    }
    let byte = |at: i64| text.char_indices().nth(at as usize).map_or(text.len(), |(byte, _)| byte);
    Ok(Some((&text[byte(from)..byte(to)], byte(from))))
}

fn affix(text: &str, name: &str, args: CallArgs) -> Result<Value> {
    let [wanted, from, to] = args.bind(name, ["", "", ""])?;
    let wanted = match required(wanted, name)? {
        Value::Seq(Kind::Tuple, list) => list.items.clone(),
        one => vec![one],
    };
    let part = part(text, from, to, name)?;
    for wanted in &wanted {
        let wanted = string(wanted, name)?;
        let found = part.is_some_and(|(text, _)| {
            if name == "startswith" { text.starts_with(&*wanted) } else { text.ends_with(&*wanted) }
        });
        if found {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn find(text: &str, name: &str, args: CallArgs) -> Result<Value> {
    let [wanted, from, to] = args.bind(name, ["", "", ""])?;
    let wanted = string(&required(wanted, name)?, name)?;
    let part = part(text, from, to, name)?;
    if name == "count" {
        let n = match part {
            None => 0,
            Some((text, _)) if wanted.is_empty() => text.chars().count() + 1,
            Some((text, _)) => text.matches(&*wanted).count(),
        };
        return Ok(Value::Int(n as i128));
    }
    let at = part.and_then(|(part, before)| {
        let at = if name.starts_with('r') { part.rfind(&*wanted) } else { part.find(&*wanted) };
        at.map(|at| text[..before + at].chars().count() as i128)
    });
    match at {
        Some(at) => Ok(Value::Int(at)),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => Err(Fault::failed("substring not found")),
    }
}

fn pad(text: &str, name: &str, args: CallArgs) -> Result<Value> {
    let [width, fill] = args.bind(name, ["", ""])?;
    let width = integer(Some(&required(width, name)?), 0, name)?;
    let fill = match fill {
        Some(fill) => string(&fill, name)?,
        None => Text::new(if name == "zfill" { "0" } else { " " })?,
    };
    if fill.chars().count() != 1 {
        return Err(Fault::failed(format!("str.{name}() wants one character to fill with")));
    }
    let len = text.chars().count();
    let n = usize::try_from(width).unwrap_or(0).saturating_sub(len);
    let mut out = Builder::default();
    if name == "zfill" {
        let signed = usize::from(text.starts_with(['+', '-']));
        out.push(&text[..signed])?;
        out.repeat(&fill, n)?;
        out.push(&text[signed..])?;
        return Ok(Value::Str(out.finish()?));
    }
    let before = match name {
        "rjust" => n,
        "center" => n / 2 + (n & usize::try_from(width).unwrap_or(0) & 1),
        _ => 0,
    };
    out.repeat(&fill, before)?;
    out.push(text)?;
    out.repeat(&fill, n - before)?;
    Ok(Value::Str(out.finish()?))
}

fn join(separator: &str, items: &Value) -> Result<Value> {
    let mut out = Builder::default();
    for (i, item) in items.items()?.items.iter().enumerate() {
        out.push(if i > 0 { separator } else { "" })?;
        out.push(&string(item, "join")?)?;
    }
    Ok(Value::Str(out.finish()?))
}
