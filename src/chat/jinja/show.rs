//! Values as text: Python's `str` and `repr`.

use super::chars::is_printable;
use super::fault::{Fault, Result};
use super::meter;
use super::text::{Builder, Text};
use super::value::{Kind, Value};

/// Namespaces may hold themselves; Python fails at about this depth as well.
const MAX_DEPTH: usize = 300;

/// What `{{ value }}` writes.
pub(super) fn to_text(value: &Value) -> Result<Text> {
    if let Value::Str(text) = value {
        return Ok(text.clone());
    }
    let mut out = Builder::default();
    write(&mut out, value)?;
    out.finish()
}

/// Writes `value` as `str` does.
pub(super) fn write(out: &mut Builder, value: &Value) -> Result<()> {
    match value {
        Value::Str(text) => out.push(text),
        Value::Undefined(_) => Ok(()),
        _ => write_repr(out, value, 0),
    }
}

/// Writes `value` as `repr` does.
pub(super) fn write_repr(out: &mut Builder, value: &Value, depth: usize) -> Result<()> {
    meter::steps(1)?;
    if depth > MAX_DEPTH {
        return Err(Fault::Limit("writes a value that holds itself".to_owned()));
    }
    match value {
        Value::Undefined(_) => out.push("Undefined"),
        Value::None => out.push("None"),
        Value::Bool(true) => out.push("True"),
        Value::Bool(false) => out.push("False"),
        Value::Int(int) => out.push(&int.to_string()),
        Value::Float(float) => out.push(&float_repr(*float)),
        Value::Str(text) if text.is_markup() => {
            out.push("Markup(")?;
            write_quoted(out, text)?;
            out.push(")")
        }
        Value::Str(text) => write_quoted(out, text),
        Value::Seq(Kind::Range(from, to, step), _) => {
            out.push(&format!("range({from}, {to}"))?;
            if *step != 1 {
                out.push(&format!(", {step}"))?;
            }
            out.push(")")
        }
        Value::Seq(kind, list) => {
            let (open, close) = match kind {
                Kind::Tuple | Kind::Group => ("(", if list.items.len() == 1 { ",)" } else { ")" }),
                Kind::Keys => ("dict_keys([", "])"),
                Kind::Values => ("dict_values([", "])"),
                Kind::Items => ("dict_items([", "])"),
                _ => ("[", "]"),
            };
            out.push(open)?;
            for (i, item) in list.items.iter().enumerate() {
                out.push(if i > 0 { ", " } else { "" })?;
                write_repr(out, item, depth + 1)?;
            }
            out.push(close)
        }
        Value::Generator(_) => out.push("<generator object>"),
        Value::Dict(dict) => write_entries(out, dict.iter(), depth),
        Value::Namespace(namespace) => {
            out.push("<Namespace ")?;
            let attributes = namespace.attributes.borrow();
            let keys: Vec<Value> = attributes.keys().map(|key| Value::Str(key.clone())).collect();
            write_entries(out, keys.iter().zip(attributes.values()), depth)?;
            out.push(">")
        }
        Value::Loop(state) => {
            out.push(&format!("<LoopContext {}/{}>", state.index.get() + 1, state.items.items.len()))
        }
        _ => out.push(&format!("<{}>", value.type_name())),
    }
}

fn write_entries<'a>(
    out: &mut Builder,
    entries: impl Iterator<Item = (&'a Value, &'a Value)>,
    depth: usize,
) -> Result<()> {
    out.push("{")?;
    for (i, (key, value)) in entries.enumerate() {
        out.push(if i > 0 { ", " } else { "" })?;
        write_repr(out, key, depth + 1)?;
        out.push(": ")?;
        write_repr(out, value, depth + 1)?;
    }
    out.push("}")
}

/// A string as Python writes it in a list: single quotes, unless only those are inside.
fn write_quoted(out: &mut Builder, text: &str) -> Result<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.push("\\n")?,
            '\r' => out.push("\\r")?,
            '\t' => out.push("\\t")?,
            '\\' => out.push("\\\\")?,
            c if c == quote => {
                out.push_char('\\')?;
                out.push_char(c)?;
            }
            c if is_printable(c) => out.push_char(c)?,
            c => match u32::from(c) {
                code @ 0..=0xff => out.push(&format!("\\x{code:02x}"))?,
                code @ 0x100..=0xffff => out.push(&format!("\\u{code:04x}"))?,
                code => out.push(&format!("\\U{code:08x}"))?,
            },
        }
    }
    out.push_char(quote)
}

/// A number as Python writes it: the shortest digits that mean it, with an exponent below 1e-4 and from 1e16.
pub(super) fn float_repr(float: f64) -> String {
    if float.is_nan() {
        return "nan".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if float != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{float}");
    if plain.contains('.') { plain } else { plain + ".0" }
}
