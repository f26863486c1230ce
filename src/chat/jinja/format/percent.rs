//! `'%s' % x`.

use super::super::fault::{Fault, Result};
use super::super::show;
use super::super::text::{Builder, Text};
use super::super::value::{Kind, Value};
use super::{Spec, character, number, repr};

/// `format % args`.
pub(in super::super) fn printf(format: &str, args: &Value) -> Result<Text> {
    let list = match args {
        Value::Seq(Kind::Tuple, list) => list.items.clone(),
        other => vec![other.clone()],
    };
    let mut values = list.iter();
    let mut next =
        || values.next().cloned().ok_or_else(|| Fault::failed("not enough arguments for format string"));
    let mut out = Builder::default();
    let mut rest = format;
    let mut is_named = false;
    while let Some(at) = rest.find('%') {
        out.push(&rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('%') {
            out.push("%")?;
            rest = behind;
            continue;
        }
        let mut named = None;
        if rest.starts_with('(') {
            let end = rest.find(')').ok_or_else(|| Fault::failed("incomplete format key"))?;
            let Value::Dict(dict) = args else { return Err(Fault::failed("format requires a mapping")) };
            let key = &rest[1..end];
            named = Some(
                dict.get(&Value::text(key)?)?
                    .cloned()
                    .ok_or_else(|| Fault::failed(format!("no value named '{key}'")))?,
            );
            is_named = true;
            rest = &rest[end + 1..];
        }
        let mut spec = Spec { align: Some('>'), ..Spec::default() };
        while let Some(flag) = rest.chars().next().filter(|c| "-+ #0".contains(*c)) {
            match flag {
                '-' => spec.align = Some('<'),
                '0' => spec.zero = true,
                '#' => spec.alternate = true,
                sign => spec.sign = Some(if spec.sign == Some('+') { '+' } else { sign }),
            }
            rest = &rest[1..];
        }
        spec.width = star_or_number(&mut rest, &mut next)?.unwrap_or(0);
        if let Some(behind) = rest.strip_prefix('.') {
            rest = behind;
            spec.precision = Some(star_or_number(&mut rest, &mut next)?.unwrap_or(0));
        }
        rest = rest.trim_start_matches(['l', 'h', 'L']);
        let Some(kind) = rest.chars().next() else { return Err(Fault::failed("incomplete format")) };
        rest = &rest[kind.len_utf8()..];
        spec.zero &= spec.align != Some('<');
        let value = match named {
            Some(value) => value,
            None => next()?,
        };
        printf_one(&mut out, &value, kind, spec)?;
    }
    out.push(rest)?;
    let is_mapping =
        matches!(args, Value::Dict(_) | Value::Undefined(_) | Value::Seq(Kind::List | Kind::Range(..), _));
    if !is_named && !is_mapping && values.next().is_some() {
        return Err(Fault::failed("not all arguments converted during string formatting"));
    }
    out.finish()
}

fn star_or_number(rest: &mut &str, next: &mut impl FnMut() -> Result<Value>) -> Result<Option<usize>> {
    if let Some(behind) = rest.strip_prefix('*') {
        *rest = behind;
        let value = next()?.as_int().and_then(|int| usize::try_from(int).ok());
        return value.map(Some).ok_or_else(|| Fault::failed("* wants an integer"));
    }
    number(rest)
}

fn printf_one(out: &mut Builder, value: &Value, kind: char, mut spec: Spec) -> Result<()> {
    match kind {
        's' | 'r' | 'a' => {
            let text = if kind == 's' { show::to_text(value)? } else { repr(value)? };
            spec.zero = false;
            spec.text(out, &text)
        }
        'c' => {
            let text = match value {
                Value::Str(text) if text.chars().count() == 1 => text.clone(),
                _ => Text::new(character(value)?)?,
            };
            spec.text(out, &text)
        }
        'd' | 'i' | 'u' => {
            let int = match value {
                Value::Float(float) if float.is_finite() => float.trunc() as i128,
                _ => value.as_int().ok_or_else(|| number_wanted(kind, value))?,
            };
            spec.kind = Some('d');
            spec.number(out, &Value::Int(int))
        }
        'x' | 'X' | 'o' if value.as_int().is_some() => {
            spec.kind = Some(kind);
            spec.number(out, value)
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            spec.kind = Some(kind);
            let float = value.as_float().ok_or_else(|| number_wanted(kind, value))?;
            spec.number(out, &Value::Float(float))
        }
        'x' | 'X' | 'o' => Err(number_wanted(kind, value)),
        _ => Err(Fault::failed(format!("unsupported format character '{kind}'"))),
    }
}

fn number_wanted(kind: char, value: &Value) -> Fault {
    Fault::failed(format!("%{kind} format: a number is required, not {}", value.type_name()))
}
