//! Filters: Jinja's built-in ones, and `tojson` as `transformers` has it.
//!
//! Strings never escape themselves (`transformers` has no automatic escaping), so `safe` changes nothing
//! and what `escape` gives is an ordinary string. `random` is refused; `urlize` is not there.

mod numbers;
mod select;
mod sequences;
mod strings;

use std::cmp::Ordering;

use super::args::{CallArgs, required};
use super::fault::{Fault, Result};
use super::interpreter::item;
use super::json::tojson;
use super::methods::entries;
use super::ops;
use super::show;
use super::text::Text;
use super::value::{Dict, Generator, List, Value};

const NAMES: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Whether there is a filter called `name`.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// `value | name(args)`.
pub(super) fn apply(name: &str, value: Value, args: CallArgs) -> Result<Value> {
    match name {
        "abs" | "filesizeformat" | "float" | "int" | "round" | "sum" => numbers::apply(name, &value, args),
        "map" | "select" | "reject" | "selectattr" | "rejectattr" => select::apply(name, &value, args),
        "batch" | "dictsort" | "groupby" | "join" | "max" | "min" | "slice" | "sort" | "unique" => {
            sequences::apply(name, &value, args)
        }
        "tojson" => tojson(&value, args),
        "default" | "d" => {
            let [default, boolean] = args.bind(name, ["default_value", "boolean"])?;
            let is_missing =
                value.is_undefined() || boolean.is_some_and(|boolean| boolean.is_true()) && !value.is_true();
            match default {
                _ if !is_missing => Ok(value),
                Some(default) => Ok(default),
                None => Value::text(""),
            }
        }
        "attr" => {
            let [attribute] = args.bind(name, ["name"])?;
            let wanted = show::to_text(&required(attribute, name)?)?;
            let found = super::methods::attribute(&value, &wanted)?;
            Ok(found.unwrap_or_else(|| Value::undefined(&wanted)))
        }
        "count" | "length" => {
            args.none(name)?;
            Ok(Value::Int(value.len()? as i128))
        }
        "first" | "last" | "list" | "items" | "reverse" => plain(name, &value, args),
        "random" | "urlize" => Err(Fault::Broken(format!("the filter '{name}' is not supported"))),
        _ if exists(name) => strings::apply(name, &value, args),
        _ => Err(Fault::Broken(format!("no filter named '{name}'"))),
    }
}

/// Filters of sequences that take nothing.
fn plain(name: &str, value: &Value, args: CallArgs) -> Result<Value> {
    args.none(name)?;
    match name {
        "items" => match value {
            Value::Dict(dict) => Ok(Generator::of(entries(dict)?.items()?)),
            Value::Undefined(_) => Generator::filled(|_| Ok(())),
            _ => Generator::filled(|_| Err(Fault::failed("Can only get item pairs from a mapping."))),
        },
        "reverse" => {
            let backwards = |items: &List| Value::list(items.items.iter().rev().cloned());
            match value {
                Value::Str(text) => Value::text(text.chars().rev().collect::<String>()),
                // What cannot be read backwards is made a list.
                Value::Generator(_) | Value::Loop(_) => backwards(&*value.items()?),
                _ => Ok(Generator::of(backwards(&*value.items()?)?.items()?)),
            }
        }
        "list" => Value::list(value.items()?.items.iter().cloned()),
        _ => {
            let end = match value {
                Value::Generator(generator) if name == "first" => generator.next()?,
                Value::Generator(_) | Value::Loop(_) if name == "last" => {
                    return Err(Fault::failed(format!("'{}' object is not reversible", value.type_name())));
                }
                _ if name == "first" => value.items()?.items.first().cloned(),
                _ => value.items()?.items.last().cloned(),
            };
            Ok(end.unwrap_or_else(|| Value::undefined("an item of an empty sequence")))
        }
    }
}

/// A mapping, of pairs or of a mapping.
pub(super) fn to_dict(value: &Value) -> Result<Dict> {
    if let Value::Dict(dict) = value {
        return dict.copy();
    }
    if let Value::Undefined(name) = value {
        return Err(Fault::failed(format!("'{name}' is undefined")));
    }
    let mut dict = Dict::new()?;
    for pair in &value.items()?.items {
        match pair.items()?.items.as_slice() {
            [key, value] => dict.insert(key.clone(), value.clone())?,
            _ => return Err(Fault::failed("dictionary update sequence element is not a pair")),
        }
    }
    Ok(dict)
}

/// `path` inside of `value`: names and numbers with dots between them.
fn at_path(value: &Value, path: &Value, default: Option<&Value>) -> Result<Value> {
    let mut found = value.clone();
    match path {
        Value::Str(path) => {
            for part in path.split('.') {
                let key = match part.parse() {
                    Ok(index) => Value::Int(index),
                    Err(_) => Value::text(part)?,
                };
                found = item(&found, &key)?;
                if let (true, Some(default)) = (found.is_undefined(), default) {
                    found = default.clone();
                }
            }
        }
        _ => found = item(value, path)?,
    }
    Ok(found)
}

/// Small letters, where case does not count.
fn folded(value: Value, case_sensitive: bool) -> Result<Value> {
    match value {
        Value::Str(text) if !case_sensitive => Ok(Value::Str(Text::new(text.to_lowercase())?)),
        other => Ok(other),
    }
}

/// Sorts, keeping the order of equals; `order` may fail.
pub(super) fn sort_by<T>(
    items: &mut [T],
    mut order: impl FnMut(&T, &T) -> Result<Option<Ordering>>,
) -> Result<()> {
    let mut failed = None;
    // A comparison that failed ends everything, so the order behind it does not matter; equal ones are
    // a consistent order.
    items.sort_by(|a, b| {
        if failed.is_some() {
            return Ordering::Equal;
        }
        match order(a, b) {
            Ok(order) => order.unwrap_or(Ordering::Equal),
            Err(fault) => {
                failed = Some(fault);
                Ordering::Equal
            }
        }
    });
    failed.map_or(Ok(()), Err)
}

/// Values beside the keys they are sorted by.
fn sorted(mut keyed: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<(Value, Value)>> {
    sort_by(
        &mut keyed,
        |(a, _), (b, _)| {
            if reverse { ops::order(b, a, "<") } else { ops::order(a, b, "<") }
        },
    )?;
    Ok(keyed)
}

fn is_true(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(Value::is_true)
}
