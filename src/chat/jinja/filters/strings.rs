//! Filters of strings.

use std::ops::Range;

use super::super::args::{CallArgs, integer, required};
use super::super::fault::{Fault, Result};
use super::super::format::printf;
use super::super::markup::escaped;
use super::super::meter;
use super::super::methods::{cased, replace};
use super::super::show;
use super::super::text::{Builder, Text, is_space};
use super::super::value::{Dict, Value};
use super::is_true;

/// What leaves markup markup, beside the filters that are about that.
const KEEPING_MARKUP: [&str; 6] = ["capitalize", "center", "indent", "lower", "trim", "upper"];

/// `value | name(args)`.
pub(super) fn apply(name: &str, value: &Value, args: CallArgs) -> Result<Value> {
    if name == "urlencode" || name == "xmlattr" {
        return attributes(name, value, args);
    }
    if let ("indent" | "truncate" | "wordwrap", true) = (name, value.as_str().is_none()) {
        return of_no_string(name, value, args);
    }
    let text = match name {
        "pprint" => {
            let mut out = Builder::default();
            show::write_repr(&mut out, value, 0)?;
            out.finish()?
        }
        _ => show::to_text(value)?,
    };
    meter::room(4 * text.len())?;
    let is_markup = text.is_markup();
    match changed(name, text, args)? {
        Value::Str(text) if is_markup && KEEPING_MARKUP.contains(&name) => {
            Ok(Value::Str(text.with_markup(true)))
        }
        value => Ok(value),
    }
}

/// Filters that take a string as it is, of something else: what has a length may be short enough for `truncate`.
fn of_no_string(name: &str, value: &Value, args: CallArgs) -> Result<Value> {
    if let Value::Undefined(what) = value
        && name != "truncate"
    {
        return Err(Fault::failed(format!("'{what}' is undefined")));
    }
    if name == "truncate" {
        let [length, _, end, leeway] = args.bind(name, TRUNCATE)?;
        let limits = Limits::of(length.as_ref(), end.as_ref(), leeway.as_ref())?;
        if limits.hold(value.len()?) {
            return Ok(value.clone());
        }
    }
    Err(Fault::failed(format!("{name}() wants a string, not '{}'", value.type_name())))
}

fn changed(name: &str, text: Text, args: CallArgs) -> Result<Value> {
    match name {
        "center" => {
            let [width] = args.bind(name, ["width"])?;
            let width = Value::Int(integer(width.as_ref(), 80, name)?.into());
            let args = CallArgs { positional: vec![width], named: Vec::new() };
            super::super::methods::call(&Value::Str(text), "center", args)
        }
        "format" => {
            if !args.named.is_empty() && !args.positional.is_empty() {
                return Err(Fault::failed("can't handle positional and keyword arguments at the same time"));
            }
            let values = if args.named.is_empty() {
                Value::tuple(args.positional)?
            } else {
                let mut dict = Dict::new()?;
                for (name, value) in args.named {
                    dict.insert(Value::text(&*name)?, value)?;
                }
                Value::Dict(std::rc::Rc::new(dict))
            };
            if text.is_markup() {
                return Ok(Value::Str(printf(&text, &escaped(&values)?)?.with_markup(true)));
            }
            Ok(Value::Str(printf(&text, &values)?))
        }
        "indent" => indent(&text, args),
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"])?;
            let old = show::to_text(&required(old, name)?)?;
            let new = show::to_text(&required(new, name)?)?;
            let count = count.filter(|count| !matches!(count, Value::None));
            let count = integer(count.as_ref(), -1, name)?;
            Ok(Value::Str(replace(&text, &old, &new, usize::try_from(count).unwrap_or(usize::MAX))?))
        }
        "trim" => {
            let [chars] = args.bind(name, ["chars"])?;
            let args = CallArgs { positional: chars.into_iter().collect(), named: Vec::new() };
            super::super::methods::call(&Value::Str(text), "strip", args)
        }
        "truncate" => truncate(&text, args),
        "wordwrap" => wordwrap(&text, args),
        _ => {
            args.none(name)?;
            plain(name, text)
        }
    }
}

/// Filters that take nothing.
fn plain(name: &str, text: Text) -> Result<Value> {
    match name {
        "capitalize" | "lower" | "upper" => Value::text(cased(&text, name).unwrap_or_default()),
        "e" | "escape" if text.is_markup() => Ok(Value::Str(text)),
        "e" | "escape" | "forceescape" => Ok(Value::Str(text.escaped()?)),
        "safe" => Ok(Value::Str(text.with_markup(true))),
        "striptags" => Value::text(striptags(&text)),
        "title" => {
            let mut is_start = true;
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                if is_start {
                    out.extend(c.to_uppercase());
                } else {
                    out.extend(c.to_lowercase());
                }
                is_start = is_space(c) || "-({[<".contains(c);
            }
            Value::text(out)
        }
        "wordcount" => {
            let mut words = 0;
            let mut is_inside = false;
            for c in text.chars() {
                let is_word = c == '_' || c.is_alphanumeric();
                words += i128::from(is_word && !is_inside);
                is_inside = is_word;
            }
            Ok(Value::Int(words))
        }
        _ => Ok(Value::Str(text)),
    }
}

/// The text without tags and comments, its whitespace made single spaces.
fn striptags(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (end, len) = if rest[at..].starts_with("<!--") { ("-->", 3) } else { (">", 1) };
        let Some(close) = rest[at..].find(end) else { break };
        kept.push_str(&rest[..at]);
        rest = &rest[at + close + len..];
    }
    kept.push_str(rest);
    let words: Vec<&str> = kept.split(is_space).filter(|word| !word.is_empty()).collect();
    let mut plain = words.join(" ");
    for (escaped, c) in
        [("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&amp;", "&")]
    {
        plain = plain.replace(escaped, c);
    }
    plain
}

fn indent(text: &str, args: CallArgs) -> Result<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"])?;
    let indention = match &width {
        Some(Value::Str(text)) => text.clone(),
        width => {
            let mut out = Builder::default();
            out.repeat(" ", usize::try_from(integer(width.as_ref(), 4, "indent")?).unwrap_or(0))?;
            out.finish()?
        }
    };
    let with_newline = Text::new(format!("{text}\n"))?;
    let args = CallArgs::default();
    let lines = super::super::methods::call(&Value::Str(with_newline), "splitlines", args)?.items()?;
    let mut out = Builder::default();
    for (i, line) in lines.items.iter().enumerate() {
        let line = line.as_str().unwrap_or_default();
        let is_indented = if i == 0 { is_true(&first) } else { is_true(&blank) || !line.is_empty() };
        out.push(if i > 0 { "\n" } else { "" })?;
        out.push(if is_indented { &indention } else { "" })?;
        out.push(line)?;
    }
    Ok(Value::Str(out.finish()?))
}

fn truncate(text: &str, args: CallArgs) -> Result<Value> {
    let [length, kill, end, leeway] = args.bind("truncate", TRUNCATE)?;
    let limits = Limits::of(length.as_ref(), end.as_ref(), leeway.as_ref())?;
    if limits.hold(text.chars().count()) {
        return Value::text(text);
    }
    let kept: String = text.chars().take(limits.n_kept).collect();
    let kept =
        if is_true(&kill) { &*kept } else { kept.rsplit_once(' ').map_or(&*kept, |(before, _)| before) };
    Value::text(format!("{kept}{}", &*limits.end))
}

/// What `truncate` takes.
const TRUNCATE: [&str; 4] = ["length", "killwords", "end", "leeway"];

/// When `truncate` cuts, and what it puts there.
struct Limits {
    /// Characters that a text may have.
    most: i64,
    /// Characters that stay of a longer one.
    n_kept: usize,
    end: Text,
}

impl Limits {
    fn of(length: Option<&Value>, end: Option<&Value>, leeway: Option<&Value>) -> Result<Self> {
        let length = integer(length, 255, "truncate")?;
        let end = end.map_or_else(|| Text::new("..."), show::to_text)?;
        let leeway = integer(leeway.filter(|leeway| !matches!(leeway, Value::None)), 5, "truncate")?;
        let n_end = end.chars().count() as i64;
        if length < n_end || leeway < 0 {
            return Err(Fault::failed(format!("expected length >= {n_end}, got {length}")));
        }
        Ok(Self { most: length.saturating_add(leeway), n_kept: (length - n_end) as usize, end })
    }

    fn hold(&self, n: usize) -> bool {
        n as i64 <= self.most
    }
}

fn wordwrap(text: &str, args: CallArgs) -> Result<Value> {
    let [width, long, with, hyphens] =
        args.bind("wordwrap", ["width", "break_long_words", "wrapstring", "break_on_hyphens"])?;
    let width = usize::try_from(integer(width.as_ref(), 79, "wordwrap")?).unwrap_or(0);
    if width == 0 {
        return Err(Fault::failed("invalid width 0 (must be > 0)"));
    }
    let breaks = long.is_none() || is_true(&long);
    let hyphens = hyphens.is_none() || is_true(&hyphens);
    let with = match with.filter(|with| !matches!(with, Value::None)) {
        Some(with) => show::to_text(&with)?,
        None => Text::new("\n")?,
    };
    let lines =
        super::super::methods::call(&Value::text(text)?, "splitlines", CallArgs::default())?.items()?;
    let mut out = Builder::default();
    for (i, line) in lines.items.iter().enumerate() {
        out.push(if i > 0 { &with } else { "" })?;
        let text = line.as_str().unwrap_or_default();
        wrap(&mut out, text, &Wrapping { width, breaks, hyphens, between: &with })?;
    }
    Ok(Value::Str(out.finish()?))
}

/// How lines are cut.
struct Wrapping<'a> {
    width: usize,
    /// Whether words that are longer are cut.
    breaks: bool,
    /// Whether words may be cut behind hyphens.
    hyphens: bool,
    /// What comes between lines.
    between: &'a str,
}

/// Appends lines of at most `width` characters. Words and the spaces between them are placed in turn; spaces at
/// the end of a line, and at the beginning of all but the first, go.
fn wrap(out: &mut Builder, text: &str, wrapping: &Wrapping<'_>) -> Result<()> {
    let Wrapping { width, breaks, hyphens, between } = *wrapping;
    meter::room(text.len().saturating_mul(size_of::<char>() + size_of::<Range<usize>>()))?;
    let chars: Vec<char> = text.chars().collect();
    let mut chunks: Vec<Range<usize>> = Vec::new();
    for (i, &c) in chars.iter().enumerate() {
        let continues = i.checked_sub(1).map(|i| chars[i]).is_some_and(|before| {
            let ends_at_hyphen = hyphens
                && before == '-'
                && c.is_alphabetic()
                && chunks.last().is_some_and(|chunk| chunk.len() > 2);
            (is_space(before) == is_space(c)) && !ends_at_hyphen
        });
        match chunks.last_mut() {
            Some(chunk) if continues => chunk.end = i + 1,
            _ => {
                meter::steps(1)?;
                chunks.push(i..i + 1);
            }
        }
    }
    chunks.reverse();
    let mut is_first = true;
    while !chunks.is_empty() {
        meter::steps(1)?;
        if !is_first && chunks.last().is_some_and(|chunk| is_space(chars[chunk.start])) {
            chunks.pop();
        }
        // What a line holds stands together in the text.
        let start = chunks.last().map_or(chars.len(), |chunk| chunk.start);
        let mut line = start..start;
        while let Some(chunk) = chunks.pop() {
            if line.len() + chunk.len() <= width {
                line.end = chunk.end;
                continue;
            }
            if chunk.len() > width && breaks {
                line.end = line.start + width;
                chunks.push(line.end..chunk.end);
            } else if line.is_empty() {
                line = chunk;
            } else {
                chunks.push(chunk);
            }
            break;
        }
        let is_kept = |i: &usize| !is_space(chars[*i]);
        let Some(last) = line.clone().rev().find(is_kept) else { continue };
        out.push(if is_first { "" } else { between })?;
        is_first = false;
        chars[line.start..=last].iter().try_for_each(|&c| out.push_char(c))?;
    }
    Ok(())
}

fn attributes(name: &str, value: &Value, args: CallArgs) -> Result<Value> {
    let mut out = Builder::default();
    if name == "urlencode" {
        args.none(name)?;
        match value {
            Value::Dict(_) | Value::Seq(..) | Value::Generator(_) => {
                let pairs = match value {
                    Value::Dict(dict) => super::super::methods::entries(dict)?.items()?,
                    _ => value.items()?,
                };
                for (i, pair) in pairs.items.iter().enumerate() {
                    let pair = pair.items()?;
                    let [key, value] = pair.items.as_slice() else { return Err(Fault::failed("not a pair")) };
                    out.push(if i > 0 { "&" } else { "" })?;
                    quote(&mut out, &show::to_text(key)?, true)?;
                    out.push("=")?;
                    quote(&mut out, &show::to_text(value)?, true)?;
                }
            }
            _ => quote(&mut out, &show::to_text(value)?, false)?,
        }
        return Ok(Value::Str(out.finish()?));
    }
    let [space] = args.bind(name, ["autospace"])?;
    let Value::Dict(dict) = value else { return Err(Fault::failed("xmlattr wants a mapping")) };
    let mut is_first = true;
    for (key, value) in dict.iter() {
        let Some(key) = key.as_str() else { return Err(Fault::failed("xmlattr wants strings as keys")) };
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        if key.contains(|c| is_space(c) || "/>=".contains(c)) {
            return Err(Fault::failed(format!("Invalid character in attribute name: {key}")));
        }
        out.push(if is_first && !(space.is_none() || is_true(&space)) { "" } else { " " })?;
        is_first = false;
        let (key, value) = (Text::new(key)?.escaped()?, show::to_text(value)?.escaped()?);
        out.push(&format!("{}=\"{}\"", &*key, &*value))?;
    }
    Ok(Value::Str(out.finish()?))
}

/// Percent-encodes `text`; in a query `/` too, and spaces become `+`.
fn quote(out: &mut Builder, text: &str, in_query: bool) -> Result<()> {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push_char(char::from(byte))?;
            }
            b'/' if !in_query => out.push("/")?,
            b' ' if in_query => out.push("+")?,
            _ => out.push(&format!("%{byte:02X}"))?,
        }
    }
    Ok(())
}
