//! Operators, with Python's meaning.

use std::cmp::Ordering;

use super::ast::{Binary, Compare, Unary};
use super::fault::{Fault, Result};
use super::format::printf;
use super::markup::escaped;
use super::meter;
use super::text::{Builder, Text};
use super::value::{Kind, Value, push};

fn unsupported<T>(op: &str, a: &Value, b: &Value) -> Result<T> {
    for value in [a, b] {
        if let Value::Undefined(name) = value {
            return Err(Fault::failed(format!("'{name}' is undefined")));
        }
    }
    let (a, b) = (a.type_name(), b.type_name());
    Err(Fault::failed(format!("unsupported operand type(s) for {op}: '{a}' and '{b}'")))
}

fn too_large() -> Fault {
    Fault::Limit("computes an integer of more than 127 bits".to_owned())
}

/// A sign.
pub(super) fn unary(op: Unary, value: &Value) -> Result<Value> {
    match (op, value) {
        (Unary::Plus, Value::Float(float)) => Ok(Value::Float(*float)),
        (Unary::Minus, Value::Float(float)) => Ok(Value::Float(-float)),
        _ => match (op, value.as_int()) {
            (Unary::Plus, Some(int)) => Ok(Value::Int(int)),
            (Unary::Minus, Some(int)) => int.checked_neg().map(Value::Int).ok_or_else(too_large),
            (_, None) => {
                let what = match value {
                    Value::Undefined(name) => format!("'{name}' is undefined"),
                    _ => format!("bad operand type for a sign: '{}'", value.type_name()),
                };
                Err(Fault::failed(what))
            }
        },
    }
}

/// `a op b`.
pub(super) fn binary(op: Binary, a: &Value, b: &Value) -> Result<Value> {
    match (op, a, b) {
        (Binary::Add, Value::Str(a), Value::Str(b)) => return Ok(Value::Str(Text::concat(a, b)?)),
        (Binary::Add, Value::Seq(kind, a), Value::Seq(other, b))
            if kind == other && matches!(kind, Kind::List | Kind::Tuple) =>
        {
            return Value::counted(*kind, a.items.iter().chain(&b.items).cloned());
        }
        (Binary::Mod, Value::Str(format), args) if format.is_markup() => {
            return Ok(Value::Str(printf(format, &escaped(args)?)?.with_markup(true)));
        }
        (Binary::Mod, Value::Str(format), args) => return Ok(Value::Str(printf(format, args)?)),
        (Binary::Mul, Value::Str(_) | Value::Seq(Kind::List | Kind::Tuple, _), times)
            if times.as_int().is_some() =>
        {
            return repeat(a, times);
        }
        (Binary::Mul, times, Value::Str(_) | Value::Seq(Kind::List | Kind::Tuple, _))
            if times.as_int().is_some() =>
        {
            return repeat(b, times);
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (a.as_int(), b.as_int()) {
        return integers(op, a, b);
    }
    match (a.as_float(), b.as_float()) {
        (Some(a), Some(b)) => floats(op, a, b),
        _ => unsupported(spelled(op), a, b),
    }
}

fn spelled(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Mod => "%",
        Binary::Pow => "**",
    }
}

fn repeat(value: &Value, times: &Value) -> Result<Value> {
    let times = usize::try_from(times.as_int().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
    match value {
        Value::Str(text) => {
            let mut out = Builder::default();
            out.repeat(text, times)?;
            Ok(Value::Str(out.finish()?.with_markup(text.is_markup())))
        }
        Value::Seq(kind, list) => {
            let mut items = Vec::new();
            for _ in 0..if list.items.is_empty() { 0 } else { times } {
                for item in &list.items {
                    push(&mut items, item.clone())?;
                }
            }
            Value::seq(*kind, items)
        }
        _ => unsupported("*", value, &Value::None),
    }
}

fn integers(op: Binary, a: i128, b: i128) -> Result<Value> {
    let divides = matches!(op, Binary::Div | Binary::FloorDiv | Binary::Mod);
    if divides && b == 0 {
        return Err(Fault::failed("division by zero"));
    }
    let int = match op {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::Div => return Ok(Value::Float(a as f64 / b as f64)),
        Binary::FloorDiv => a.checked_div_euclid(b).map(|quotient| {
            // Euclid's remainder is never negative; Python's has the divisor's sign.
            if b < 0 && a.rem_euclid(b) != 0 { quotient - 1 } else { quotient }
        }),
        Binary::Mod => a.checked_rem_euclid(b).map(|rest| if b < 0 && rest != 0 { rest + b } else { rest }),
        Binary::Pow if b < 0 && a == 0 => {
            return Err(Fault::failed("0 cannot be raised to a negative power"));
        }
        Binary::Pow if b < 0 => return Ok(Value::Float((a as f64).powf(b as f64))),
        Binary::Pow if matches!(a, -1..=1) && b > 0 => Some(if b % 2 == 0 { a * a } else { a }),
        Binary::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    int.map(Value::Int).ok_or_else(too_large)
}

fn floats(op: Binary, a: f64, b: f64) -> Result<Value> {
    let divides = matches!(op, Binary::Div | Binary::FloorDiv | Binary::Mod);
    if divides && b == 0.0 {
        return Err(Fault::failed("division by zero"));
    }
    let rest = || {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
    };
    Ok(Value::Float(match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::FloorDiv => ((a - rest()) / b).round(),
        Binary::Mod => rest(),
        Binary::Pow if a < 0.0 && b.fract() != 0.0 => {
            return Err(Fault::failed("complex numbers are not supported"));
        }
        Binary::Pow if a == 0.0 && b < 0.0 => {
            return Err(Fault::failed("0 cannot be raised to a negative power"));
        }
        Binary::Pow => a.powf(b),
    }))
}

/// `a op b`, true or false.
pub(super) fn compare(op: Compare, a: &Value, b: &Value) -> Result<bool> {
    Ok(match op {
        Compare::Eq => equal(a, b)?,
        Compare::Ne => !equal(a, b)?,
        Compare::In => contains(b, a)?,
        Compare::NotIn => !contains(b, a)?,
        Compare::Lt => order(a, b, "<")? == Some(Ordering::Less),
        Compare::Le => matches!(order(a, b, "<=")?, Some(Ordering::Less | Ordering::Equal)),
        Compare::Gt => order(a, b, ">")? == Some(Ordering::Greater),
        Compare::Ge => matches!(order(a, b, ">=")?, Some(Ordering::Greater | Ordering::Equal)),
    })
}

/// `a == b`.
pub(super) fn equal(a: &Value, b: &Value) -> Result<bool> {
    meter::steps(1)?;
    Ok(match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => {
            meter::touch(a.len().min(b.len()))?;
            a == b
        }
        (Value::Seq(kind, a), Value::Seq(other, b)) => {
            let ranges = matches!((kind, other), (Kind::Range(..), Kind::Range(..)));
            let comparable = kind == other && *kind != Kind::Values;
            if !(ranges || comparable) || a.items.len() != b.items.len() {
                return Ok(false);
            }
            for (a, b) in a.items.iter().zip(&b.items) {
                if !equal(a, b)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (key, value) in a.iter() {
                match b.get(key)? {
                    Some(other) if equal(value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ => match (a.as_int(), b.as_int()) {
            (Some(a), Some(b)) => a == b,
            _ => match (a.as_float(), b.as_float()) {
                (Some(a), Some(b)) => a == b,
                _ => same(a, b),
            },
        },
    })
}

/// Whether both are one object.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    use std::rc::Rc;
    match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::Seq(_, a), Value::Seq(_, b)) => Rc::ptr_eq(a, b),
        (Value::Generator(a), Value::Generator(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        (Value::Cycler(a), Value::Cycler(b)) => Rc::ptr_eq(a, b),
        (Value::Joiner(a), Value::Joiner(b)) => Rc::ptr_eq(a, b),
        (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
        (Value::Macro(a), Value::Macro(b)) => a == b,
        (Value::Function(a), Value::Function(b)) => a == b,
        _ => false,
    }
}

/// Which comes first; nothing if neither does (not a number).
pub(super) fn order(a: &Value, b: &Value, op: &str) -> Result<Option<Ordering>> {
    meter::steps(1)?;
    if let (Some(a), Some(b)) = (a.as_int(), b.as_int()) {
        return Ok(Some(a.cmp(&b)));
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            meter::touch(a.len().min(b.len()))?;
            Ok(Some(a.cmp(b)))
        }
        (Value::Seq(kind, left), Value::Seq(other, right))
            if kind == other && matches!(kind, Kind::List | Kind::Tuple) =>
        {
            for (a, b) in left.items.iter().zip(&right.items) {
                if !equal(a, b)? {
                    return order(a, b, op);
                }
            }
            Ok(Some(left.items.len().cmp(&right.items.len())))
        }
        _ => match (a.as_float(), b.as_float()) {
            (Some(a), Some(b)) => Ok(a.partial_cmp(&b)),
            _ => {
                if let Some(name) = [a, b].iter().find_map(|value| match value {
                    Value::Undefined(name) => Some(name),
                    _ => None,
                }) {
                    return Err(Fault::failed(format!("'{name}' is undefined")));
                }
                let (a, b) = (a.type_name(), b.type_name());
                Err(Fault::failed(format!("'{op}' not supported between instances of '{a}' and '{b}'")))
            }
        },
    }
}

/// `item in container`.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool> {
    match (container, item) {
        (Value::Str(text), Value::Str(part)) => {
            meter::touch(text.len())?;
            Ok(text.contains(&**part))
        }
        (Value::Str(_), _) => {
            let found = item.type_name();
            Err(Fault::failed(format!("'in <string>' requires string as left operand, not {found}")))
        }
        (Value::Dict(dict), _) => Ok(dict.get(item)?.is_some()),
        (Value::Seq(Kind::Keys, _), _) if !item.is_hashable() => {
            Err(Fault::failed(format!("unhashable type: '{}'", item.type_name())))
        }
        (Value::Generator(generator), _) => {
            while let Some(found) = generator.next()? {
                if equal(&found, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => {
            for found in &container.items()?.items {
                if equal(found, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// `value[from:to:step]`.
pub(super) fn slice(value: &Value, bounds: &[Value; 3]) -> Result<Value> {
    let bound = |value: &Value| match value {
        Value::None => Ok(None),
        _ => match value.as_int() {
            Some(int) => Ok(Some(int.clamp(i128::from(i64::MIN), i128::from(i64::MAX)))),
            None => Err(Fault::failed("slice indices must be integers or None")),
        },
    };
    let [from, to, step] = [bound(&bounds[0])?, bound(&bounds[1])?, bound(&bounds[2])?];
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Fault::failed("slice step cannot be zero"));
    }
    // Where the slice of a sequence of `len` begins, and where it ends.
    let ends = |len: usize| {
        let len = len as i128;
        let (low, high) = if step < 0 { (-1, len - 1) } else { (0, len) };
        let place = |bound: i128| (if bound < 0 { bound + len } else { bound }).clamp(low, high);
        let begin = from.map_or(if step < 0 { high } else { low }, place);
        (begin, to.map_or(if step < 0 { low } else { high }, place))
    };
    let indices = |len: usize| {
        let (mut at, end) = ends(len);
        std::iter::from_fn(move || {
            let inside = if step < 0 { at > end } else { at < end };
            let index = at as usize;
            at += step;
            inside.then_some(index)
        })
    };
    match value {
        Value::Str(text) => {
            meter::room(8 * text.len())?;
            let chars: Vec<char> = text.chars().collect();
            let part: String = indices(chars.len()).map(|i| chars[i]).collect();
            Ok(Value::Str(Text::new(part)?.with_markup(text.is_markup())))
        }
        Value::Seq(Kind::Range(first, _, stride), list) => {
            let (begin, end) = ends(list.items.len());
            let (first, stride) = (i128::from(*first), i128::from(*stride));
            let number = |int: i128| {
                i64::try_from(int)
                    .map_err(|_| Fault::Limit("makes a range of numbers that are too large".to_owned()))
            };
            let (from, to) = (number(first + begin * stride)?, number(first + end * stride)?);
            let kind = Kind::Range(from, to, number(stride * step)?);
            Value::counted(kind, indices(list.items.len()).map(|i| list.items[i].clone()))
        }
        Value::Seq(kind @ (Kind::List | Kind::Tuple | Kind::Group), list) => {
            let kind = if *kind == Kind::List { Kind::List } else { Kind::Tuple };
            Value::counted(kind, indices(list.items.len()).map(|i| list.items[i].clone()))
        }
        Value::Undefined(name) => Err(Fault::failed(format!("'{name}' is undefined"))),
        _ => Err(Fault::failed(format!("'{}' object is not subscriptable", value.type_name()))),
    }
}
