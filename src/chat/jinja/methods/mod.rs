//! Attributes and methods of values: those of Python's types that change nothing, as the sandbox of
//! Jinja allows.

mod markup;
mod split;
mod string;

pub(super) use split::replace;
pub(super) use string::cased;

use std::rc::Rc;

use super::args::{CallArgs, required};
use super::fault::{Fault, Result};
use super::ops;
use super::value::{Dict, Kind, Loop, Value, push};

const OF_DICT: [&str; 6] = ["get", "items", "keys", "values", "copy", "fromkeys"];
const OF_LIST: [&str; 3] = ["index", "count", "copy"];
const OF_INT: [&str; 3] = ["bit_length", "bit_count", "conjugate"];
const OF_FLOAT: [&str; 2] = ["is_integer", "conjugate"];
const OF_LOOP: [&str; 2] = ["cycle", "changed"];
const OF_CYCLER: [&str; 2] = ["next", "reset"];

/// The attribute `name` of `value`, if Python has one of that name and the sandbox allows it.
pub(super) fn attribute(value: &Value, name: &str) -> Result<Option<Value>> {
    if let Some(found) = of_number(value, name) {
        return Ok(Some(found));
    }
    let methods: &[&'static str] = match value {
        Value::Str(_) => &string::NAMES,
        Value::Dict(_) => &OF_DICT,
        Value::Function("dict") => &OF_DICT[5..],
        Value::Seq(Kind::List, _) => &OF_LIST,
        Value::Seq(Kind::Tuple | Kind::Range(..), _) => &OF_LIST[..2],
        Value::Int(_) | Value::Bool(_) => &OF_INT,
        Value::Float(_) => &OF_FLOAT,
        Value::Loop(state) => {
            if let Some(found) = loop_attribute(state, name)? {
                return Ok(Some(found));
            }
            &OF_LOOP
        }
        Value::Seq(Kind::Group, list) if name == "grouper" || name == "list" => {
            return Ok(Some(list.items[usize::from(name == "list")].clone()));
        }
        Value::Cycler(cycler) if name == "current" => {
            return Ok(Some(cycler.items[cycler.position.get()].clone()));
        }
        Value::Cycler(cycler) if name == "pos" => return Ok(Some(Value::Int(cycler.position.get() as i128))),
        Value::Cycler(cycler) if name == "items" => {
            return Value::tuple(cycler.items.iter().cloned()).map(Some);
        }
        Value::Cycler(_) => &OF_CYCLER,
        Value::Namespace(namespace) => {
            let attributes = namespace.attributes.borrow();
            let found = attributes.iter().find(|(key, _)| &***key == name);
            return Ok(found.map(|(_, value)| value.clone()));
        }
        _ => &[],
    };
    match methods.iter().find(|method| **method == name) {
        Some(method) => Ok(Some(Value::method(value.clone(), method)?)),
        None => Ok(None),
    }
}

/// Parts of numbers and of ranges.
fn of_number(value: &Value, name: &str) -> Option<Value> {
    Some(match (value, name) {
        (Value::Float(float), "real") => Value::Float(*float),
        (Value::Float(_), "imag") => Value::Float(0.0),
        (Value::Bool(_) | Value::Int(_), "real" | "numerator") => Value::Int(value.as_int()?),
        (Value::Bool(_) | Value::Int(_), "imag") => Value::Int(0),
        (Value::Bool(_) | Value::Int(_), "denominator") => Value::Int(1),
        (Value::Seq(Kind::Range(from, ..), _), "start") => Value::Int((*from).into()),
        (Value::Seq(Kind::Range(_, to, _), _), "stop") => Value::Int((*to).into()),
        (Value::Seq(Kind::Range(.., step), _), "step") => Value::Int((*step).into()),
        _ => return None,
    })
}

fn loop_attribute(state: &Loop, name: &str) -> Result<Option<Value>> {
    let items = &state.items.items;
    let (i, n) = (state.index.get(), items.len());
    let int = |int: usize| Value::Int(int as i128);
    let item = |at: Option<usize>, name: &str| {
        at.and_then(|at| items.get(at)).cloned().unwrap_or_else(|| Value::undefined(name))
    };
    Ok(Some(match name {
        "index" => int(i + 1),
        "index0" => int(i),
        "revindex" => int(n - i),
        "revindex0" => int(n - i - 1),
        "first" => Value::Bool(i == 0),
        "last" => Value::Bool(i + 1 == n),
        "length" => int(n),
        "depth" => int(state.depth + 1),
        "depth0" => int(state.depth),
        "previtem" => item(i.checked_sub(1), "there is no previous item"),
        "nextitem" => item(Some(i + 1), "there is no next item"),
        _ => return Ok(None),
    }))
}

/// `object.name(args)`.
pub(super) fn call(object: &Value, name: &str, args: CallArgs) -> Result<Value> {
    match object {
        Value::Str(text) if text.is_markup() => markup::call(text, name, args),
        Value::Str(text) => string::call(text, name, args),
        Value::Dict(dict) => of_dict(dict, name, args),
        Value::Function(_) => of_dict(&Rc::new(Dict::new()?), name, args),
        Value::Seq(_, list) if name == "copy" => {
            args.none(name)?;
            Value::list(list.items.iter().cloned())
        }
        Value::Seq(_, list) => of_list(&list.items, name, args),
        Value::Cycler(cycler) => {
            args.none(name)?;
            let at = cycler.position.get();
            let next = if name == "reset" { 0 } else { (at + 1) % cycler.items.len() };
            cycler.position.set(next);
            Ok(if name == "reset" { Value::None } else { cycler.items[at].clone() })
        }
        Value::Float(float) => {
            args.none(name)?;
            Ok(if name == "conjugate" { object.clone() } else { Value::Bool(float.fract() == 0.0) })
        }
        _ => {
            args.none(name)?;
            let int = object.as_int().unwrap_or_default();
            Ok(match name {
                "conjugate" => Value::Int(int),
                "bit_length" => Value::Int(i128::from(128 - int.unsigned_abs().leading_zeros())),
                _ => Value::Int(i128::from(int.unsigned_abs().count_ones())),
            })
        }
    }
}

fn of_dict(dict: &Rc<Dict>, name: &str, args: CallArgs) -> Result<Value> {
    let no_keywords = |args: &CallArgs| {
        if args.named.is_empty() {
            return Ok(());
        }
        Err(Fault::failed(format!("{name}() takes no keyword arguments")))
    };
    match name {
        "get" => {
            no_keywords(&args)?;
            let [key, default] = args.bind(name, ["", ""])?;
            let found = dict.get(&required(key, name)?)?.cloned();
            Ok(found.unwrap_or_else(|| default.unwrap_or(Value::None)))
        }
        "fromkeys" => {
            no_keywords(&args)?;
            let [keys, value] = args.bind(name, ["", ""])?;
            let mut made = Dict::new()?;
            for key in &required(keys, name)?.items()?.items {
                made.insert(key.clone(), value.clone().unwrap_or(Value::None))?;
            }
            Ok(Value::Dict(Rc::new(made)))
        }
        _ => {
            args.none(name)?;
            match name {
                "keys" => Value::counted(Kind::Keys, dict.iter().map(|(key, _)| key.clone())),
                "values" => Value::counted(Kind::Values, dict.iter().map(|(_, value)| value.clone())),
                "items" => entries(dict),
                _ => Ok(Value::Dict(Rc::new(dict.copy()?))),
            }
        }
    }
}

/// The entries as pairs.
pub(super) fn entries(dict: &Dict) -> Result<Value> {
    let mut pairs = Vec::new();
    for (key, value) in dict.iter() {
        push(&mut pairs, Value::tuple([key.clone(), value.clone()])?)?;
    }
    Value::seq(Kind::Items, pairs)
}

fn of_list(items: &[Value], name: &str, args: CallArgs) -> Result<Value> {
    let [wanted, from, to] = args.bind(name, ["", "", ""])?;
    let wanted = required(wanted, name)?;
    let mut n = 0;
    let bound = |value: Option<Value>, otherwise: usize| {
        let at = value.and_then(|value| value.as_int()).unwrap_or(otherwise as i128);
        (if at < 0 { at + items.len() as i128 } else { at }).clamp(0, items.len() as i128) as usize
    };
    let (from, to) = (bound(from, 0), bound(to, items.len()));
    for (i, item) in items.iter().enumerate() {
        if ops::equal(item, &wanted)? {
            if name == "index" && (from..to).contains(&i) {
                return Ok(Value::Int(i as i128));
            }
            n += 1;
        }
    }
    if name == "index" { Err(Fault::failed("the value is not in the list")) } else { Ok(Value::Int(n)) }
}
