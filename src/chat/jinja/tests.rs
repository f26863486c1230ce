//! Tests: what stands behind `is`.

use super::args::{CallArgs, required, string};
use super::ast::Compare;
use super::fault::{Fault, Result};
use super::filters;
use super::meter;
use super::ops;
use super::show;
use super::value::{Kind, Value};

const NAMES: [&str; 39] = [
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "==",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    ">=",
    "greaterthan",
    "gt",
    ">",
    "in",
    "integer",
    "iterable",
    "le",
    "<=",
    "lessthan",
    "lower",
    "lt",
    "<",
    "mapping",
    "ne",
    "!=",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Whether there is a test called `name`.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// `value is name(args)`.
pub(super) fn apply(name: &str, value: &Value, args: CallArgs) -> Result<bool> {
    if let Some(op) = comparison(name) {
        return ops::compare(op, value, &args.one(name)?);
    }
    match name {
        "divisibleby" | "sameas" => {
            let other = args.one(name)?;
            if name == "sameas" {
                meter::touch(value.as_str().map_or(0, str::len))?;
                return Ok(ops::same(value, &other));
            }
            let rest = ops::binary(super::ast::Binary::Mod, value, &other)?;
            ops::equal(&rest, &Value::Int(0))
        }
        _ => {
            args.none(name)?;
            plain(name, value)
        }
    }
}

fn comparison(name: &str) -> Option<Compare> {
    Some(match name {
        "eq" | "equalto" | "==" => Compare::Eq,
        "ne" | "!=" => Compare::Ne,
        "lt" | "lessthan" | "<" => Compare::Lt,
        "le" | "<=" => Compare::Le,
        "gt" | "greaterthan" | ">" => Compare::Gt,
        "ge" | ">=" => Compare::Ge,
        "in" => Compare::In,
        _ => return None,
    })
}

fn plain(name: &str, value: &Value) -> Result<bool> {
    Ok(match name {
        "boolean" => matches!(value, Value::Bool(_)),
        "callable" => matches!(
            value,
            Value::Undefined(_)
                | Value::Macro(_)
                | Value::Method(_)
                | Value::Function(_)
                | Value::Joiner(_)
                | Value::Loop(_)
        ),
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "escaped" => matches!(value, Value::Str(text) if text.is_markup()),
        "even" | "odd" => {
            let rest = ops::binary(super::ast::Binary::Mod, value, &Value::Int(2))?;
            ops::equal(&rest, &Value::Int(i128::from(name == "odd")))?
        }
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "filter" | "test" => {
            // What is not a name is none of theirs; what no mapping could have as a key is a fault.
            if !value.is_hashable() {
                return Err(Fault::failed(format!("unhashable type: '{}'", value.type_name())));
            }
            value.as_str().is_some_and(if name == "filter" { filters::exists } else { exists })
        }
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "none" => matches!(value, Value::None),
        "iterable" => matches!(
            value,
            Value::Undefined(_)
                | Value::Str(_)
                | Value::Seq(..)
                | Value::Generator(_)
                | Value::Dict(_)
                | Value::Loop(_)
        ),
        "sequence" => match value {
            Value::Seq(kind, _) => matches!(kind, Kind::List | Kind::Tuple | Kind::Group | Kind::Range(..)),
            Value::Undefined(_) | Value::Str(_) | Value::Dict(_) => true,
            _ => false,
        },
        "lower" | "upper" => {
            let text = show::to_text(value)?;
            meter::touch(4 * text.len())?;
            let is_cased = text.chars().any(|c| c.is_lowercase() || c.is_uppercase());
            let is_other = |c: char| if name == "lower" { c.is_uppercase() } else { c.is_lowercase() };
            is_cased && !text.chars().any(is_other)
        }
        _ => return Err(Fault::Broken(format!("no test named '{name}'"))),
    })
}

/// The test that the arguments of `select` and its kin name, applied to `value`.
pub(super) fn apply_named(value: &Value, args: &CallArgs) -> Result<bool> {
    let mut args = args.clone();
    if args.positional.is_empty() {
        return Ok(value.is_true());
    }
    let name = string(&required(Some(args.positional.remove(0)), "select")?, "select")?;
    apply(&name, value, args)
}
