//! Filters of numbers.

use super::super::args::{CallArgs, integer, string};
use super::super::ast::Binary;
use super::super::chars::with_ascii_digits;
use super::super::fault::{Fault, Result};
use super::super::ops;
use super::super::text::is_space;
use super::super::value::Value;
use super::at_path;

/// `value | name(args)`.
pub(super) fn apply(name: &str, value: &Value, args: CallArgs) -> Result<Value> {
    if let (Value::Undefined(what), "abs" | "float" | "int" | "round") = (value, name) {
        return Err(Fault::failed(format!("'{what}' is undefined")));
    }
    match name {
        "abs" => {
            args.none(name)?;
            match value {
                Value::Float(float) => Ok(Value::Float(float.abs())),
                _ => match value.as_int() {
                    Some(int) => Ok(Value::Int(int.saturating_abs())),
                    None => {
                        Err(Fault::failed(format!("bad operand type for abs(): '{}'", value.type_name())))
                    }
                },
            }
        }
        "float" => {
            let [default] = args.bind(name, ["default"])?;
            let float = match value {
                Value::Str(text) => parse_float(text),
                _ => value.as_float(),
            };
            Ok(float.map(Value::Float).unwrap_or_else(|| default.unwrap_or(Value::Float(0.0))))
        }
        "int" => {
            let [default, base] = args.bind(name, ["default", "base"])?;
            let base = integer(base.as_ref(), 10, name)?;
            let int = match value {
                Value::Str(text) => parse_int(text, base).or_else(|| whole(parse_float(text)?)),
                Value::Float(float) if float.is_infinite() => {
                    return Err(Fault::failed("cannot convert float infinity to integer"));
                }
                Value::Float(float) => whole(*float),
                _ => value.as_int(),
            };
            Ok(int.map(Value::Int).unwrap_or_else(|| default.unwrap_or(Value::Int(0))))
        }
        "round" => round(value, args),
        "sum" => {
            let [attribute, start] = args.bind(name, ["attribute", "start"])?;
            let mut sum = start.unwrap_or(Value::Int(0));
            if sum.as_str().is_some() {
                return Err(Fault::failed("sum() can't sum strings [use ''.join(seq) instead]"));
            }
            for item in &value.items()?.items {
                let item = match &attribute {
                    None | Some(Value::None) => item.clone(),
                    Some(path) => at_path(item, path, None)?,
                };
                sum = ops::binary(Binary::Add, &sum, &item)?;
            }
            Ok(sum)
        }
        _ => file_size(value, args),
    }
}

fn whole(float: f64) -> Option<i128> {
    (float.is_finite() && float.abs() < 1e37).then_some(float.trunc() as i128)
}

/// A number as `float()` reads it.
fn parse_float(text: &str) -> Option<f64> {
    let text = with_ascii_digits(&without_underscores(text.trim_matches(is_space))?);
    let unsigned = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let named = matches!(&*unsigned, "inf" | "infinity" | "nan");
    (named || unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')).then(|| text.parse().ok())?
}

/// A number as `int(text, base)` reads it.
fn parse_int(text: &str, base: i64) -> Option<i128> {
    let text = with_ascii_digits(&without_underscores(text.trim_matches(is_space))?).to_ascii_lowercase();
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find_map(|(prefix, of)| {
        (base == 0 || base == of).then(|| Some((digits.strip_prefix(prefix)?, of)))?
    });
    let (digits, base) = prefixed.unwrap_or((digits, if base == 0 { 10 } else { base }));
    if !(2..=36).contains(&base) || !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let int = i128::from_str_radix(digits, u32::try_from(base).ok()?).ok()?;
    Some(if is_negative { -int } else { int })
}

/// Underscores may stand between digits.
fn without_underscores(text: &str) -> Option<String> {
    let odd = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!odd).then(|| text.replace('_', ""))
}

fn round(value: &Value, args: CallArgs) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"])?;
    let precision = integer(precision.as_ref(), 0, "round")?;
    let method = match &method {
        Some(method) => string(method, "round")?.to_string(),
        None => "common".to_owned(),
    };
    let number = value.as_float().ok_or_else(|| {
        Fault::failed(format!("type {} doesn't define __round__ method", value.type_name()))
    })?;
    let scale = 10f64.powi(i32::try_from(precision.clamp(-400, 400)).unwrap_or(0));
    match method.as_str() {
        "ceil" => Ok(Value::Float((number * scale).ceil() / scale)),
        "floor" => Ok(Value::Float((number * scale).floor() / scale)),
        "common" => match value.as_int() {
            Some(int) if precision >= 0 => Ok(Value::Int(int)),
            Some(int) => {
                let unit = u32::try_from(-precision).ok().and_then(|n| 10i128.checked_pow(n));
                let Some(unit) = unit else { return Ok(Value::Int(0)) };
                let rest = int.rem_euclid(unit);
                let down = int - rest;
                let is_up = 2 * rest > unit || (2 * rest == unit && (down / unit) % 2 != 0);
                Ok(Value::Int(if is_up { down + unit } else { down }))
            }
            None if precision < 0 => Ok(Value::Float((number * scale).round_ties_even() / scale)),
            None => {
                let digits = usize::try_from(precision.min(400)).unwrap_or(0);
                Ok(Value::Float(format!("{number:.digits$}").parse().unwrap_or(number)))
            }
        },
        _ => Err(Fault::failed("method must be common, ceil or floor")),
    }
}

fn file_size(value: &Value, args: CallArgs) -> Result<Value> {
    let [binary] = args.bind("filesizeformat", ["binary"])?;
    let is_binary = binary.is_some_and(|binary| binary.is_true());
    let bytes = match value {
        Value::Str(text) => parse_float(text),
        _ => value.as_float(),
    };
    let bytes = bytes.ok_or_else(|| Fault::failed("filesizeformat wants a number"))?;
    let base = if is_binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Value::text("1 Byte");
    }
    if bytes < base {
        return Value::text(format!("{} Bytes", bytes.trunc()));
    }
    let prefixes = if is_binary {
        ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    } else {
        ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    };
    let mut unit = base;
    for prefix in prefixes {
        unit *= base;
        if bytes < unit {
            return Value::text(format!("{:.1} {prefix}", base * bytes / unit));
        }
    }
    Value::text(format!("{:.1} {}", base * bytes / unit, prefixes[7]))
}
