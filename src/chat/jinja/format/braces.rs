//! `'{}'.format(x)`.

use super::super::args::CallArgs;
use super::super::fault::{Fault, Result};
use super::super::interpreter::{attribute, item};
use super::super::show;
use super::super::text::{Builder, Text};
use super::super::value::Value;
use super::{Spec, repr};

/// `format.format(args)`.
pub(in super::super) fn str_format(format: &str, args: &CallArgs) -> Result<Text> {
    let mut out = Builder::default();
    let mut counter = Counter { next: 0, mode: None };
    fill(&mut out, format, args, &mut counter, 2)?;
    out.finish()
}

/// Which argument `{}` means: they are numbered by themselves or by the text, not both.
struct Counter {
    next: usize,
    mode: Option<bool>,
}

fn fill(out: &mut Builder, format: &str, args: &CallArgs, counter: &mut Counter, depth: usize) -> Result<()> {
    let mut rest = format;
    while let Some(at) = rest.find(['{', '}']) {
        out.push(&rest[..at])?;
        let (brace, behind) = rest[at..].split_at(1);
        if let Some(behind) = behind.strip_prefix(brace) {
            out.push(brace)?;
            rest = behind;
            continue;
        }
        if brace == "}" {
            return Err(Fault::failed("Single '}' encountered in format string"));
        }
        if depth == 0 {
            return Err(Fault::failed("Max string recursion exceeded"));
        }
        let end = closing(behind).ok_or_else(|| Fault::failed("expected '}' before end of string"))?;
        replacement(out, &behind[..end], args, counter, depth)?;
        rest = &behind[end + 1..];
    }
    out.push(rest)
}

/// Where the brace that was opened before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 1 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn replacement(
    out: &mut Builder,
    field: &str,
    args: &CallArgs,
    counter: &mut Counter,
    depth: usize,
) -> Result<()> {
    let (head, spec) = match field.find(['!', ':']) {
        Some(at) => field.split_at(at),
        None => (field, ""),
    };
    let (conversion, spec) = match spec.strip_prefix('!') {
        Some(behind) => {
            let mut chars = behind.chars();
            (chars.next(), chars.as_str())
        }
        None => (None, spec),
    };
    let spec = spec.strip_prefix(':').unwrap_or(spec);
    let mut value = lookup(head, args, counter)?;
    match conversion {
        None => {}
        Some('s') => value = Value::Str(show::to_text(&value)?),
        Some('r' | 'a') => value = Value::Str(repr(&value)?),
        Some(other) => return Err(Fault::failed(format!("Unknown conversion specifier {other}"))),
    }
    let mut filled = Builder::default();
    fill(&mut filled, spec, args, counter, depth - 1)?;
    let spec = filled.finish()?;
    if spec.is_empty() {
        return show::write(out, &value);
    }
    let parsed = Spec::parse(&spec)?;
    match &value {
        Value::Str(text) => {
            if parsed.kind.is_some_and(|kind| kind != 's') || parsed.sign.is_some() {
                return Err(Fault::failed(format!("invalid format '{}' for a string", &*spec)));
            }
            parsed.text(out, text)
        }
        Value::Bool(_) if parsed.kind.is_none() => parsed.text(out, &show::to_text(&value)?),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => parsed.number(out, &value),
        _ => Err(Fault::failed(format!(
            "unsupported format string passed to {}.__format__",
            value.type_name()
        ))),
    }
}

fn lookup(head: &str, args: &CallArgs, counter: &mut Counter) -> Result<Value> {
    let end = head.find(['.', '[']).unwrap_or(head.len());
    let (name, mut path) = head.split_at(end);
    let is_auto = name.is_empty();
    // The sandbox's formatter knows numbers of its own only without a path behind them.
    if is_auto && !path.is_empty() {
        return Err(Fault::failed("a format names no argument before its path"));
    }
    let index = if is_auto { Some(counter.next) } else { name.parse().ok() };
    let mut value = match index {
        Some(index) => {
            if counter.mode.is_some_and(|mode| mode != is_auto) {
                return Err(Fault::failed("cannot mix automatic field numbering and numbers"));
            }
            counter.mode = Some(is_auto);
            counter.next += usize::from(is_auto);
            args.positional.get(index).cloned()
        }
        None => args.named.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.clone()),
    }
    .ok_or_else(|| Fault::failed(format!("no argument '{name}' for a format")))?;
    while !path.is_empty() {
        if let Some(behind) = path.strip_prefix('[') {
            let end = behind.find(']').ok_or_else(|| Fault::failed("Missing ']' in format string"))?;
            let key = &behind[..end];
            let key = match key.parse() {
                Ok(int) => Value::Int(int),
                Err(_) => Value::text(key)?,
            };
            value = item(&value, &key)?;
            path = &behind[end + 1..];
        } else {
            let behind = &path[1..];
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            value = attribute(&value, &behind[..end])?;
            path = &behind[end..];
        }
    }
    Ok(value)
}
