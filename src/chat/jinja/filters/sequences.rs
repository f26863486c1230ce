//! Filters of sequences.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::super::args::{CallArgs, integer, required, string};
use super::super::fault::{Fault, Result};
use super::super::meter;
use super::super::ops;
use super::super::show;
use super::super::text::Builder;
use super::super::value::{Generator, Kind, Value, push};
use super::{at_path, folded, is_true, sort_by, sorted};

/// `value | name(args)`.
pub(super) fn apply(name: &str, value: &Value, args: CallArgs) -> Result<Value> {
    match name {
        "batch" => {
            let [count, fill] = args.bind(name, ["linecount", "fill_with"])?;
            let count = required(count, name)?;
            Generator::filled(|out| batch(out, value, integer(Some(&count), 0, name)?, fill.as_ref()))
        }
        "slice" => {
            let [count, fill] = args.bind(name, ["slices", "fill_with"])?;
            let count = required(count, name)?;
            Generator::filled(|out| slice(out, value, integer(Some(&count), 0, name)?, fill.as_ref()))
        }
        "dictsort" => dictsort(value, args),
        "groupby" => groupby(value, args),
        "join" => {
            let [separator, attribute] = args.bind(name, ["d", "attribute"])?;
            let separator = separator.map(|separator| show::to_text(&separator)).transpose()?;
            let mut out = Builder::default();
            for (i, item) in value.items()?.items.iter().enumerate() {
                out.push(if i > 0 { separator.as_deref().unwrap_or_default() } else { "" })?;
                show::write(&mut out, &picked(item, attribute.as_ref())?)?;
            }
            Ok(Value::Str(out.finish()?))
        }
        "max" | "min" => {
            let [case, attribute] = args.bind(name, ["case_sensitive", "attribute"])?;
            let mut best: Option<(Value, Value)> = None;
            for (key, item) in keyed(value, attribute.as_ref(), is_true(&case))? {
                let better = match &best {
                    None => true,
                    Some((least, _)) if name == "min" => {
                        ops::order(&key, least, "<")?.is_some_and(|o| o.is_lt())
                    }
                    Some((most, _)) => ops::order(&key, most, ">")?.is_some_and(|o| o.is_gt()),
                };
                if better {
                    best = Some((key, item));
                }
            }
            Ok(best.map_or_else(|| Value::undefined("an item of an empty sequence"), |(_, item)| item))
        }
        "sort" => {
            let [reverse, case, attribute] = args.bind(name, ["reverse", "case_sensitive", "attribute"])?;
            let mut keyed = keyed_by_several(value, attribute.as_ref(), is_true(&case))?;
            let is_reversed = is_true(&reverse);
            // Python compares lists of keys, and passes over equal ones: two that are undefined are not a fault.
            sort_by(&mut keyed, |(a, _), (b, _)| match (ops::equal(a, b)?, is_reversed) {
                (true, _) => Ok(Some(Ordering::Equal)),
                (false, true) => ops::order(b, a, "<"),
                (false, false) => ops::order(a, b, "<"),
            })?;
            Value::list(keyed.into_iter().map(|(_, item)| item))
        }
        _ => {
            let [case, attribute] = args.bind(name, ["case_sensitive", "attribute"])?;
            Generator::filled(|out| {
                let mut seen = HashSet::new();
                for item in &value.items()?.items {
                    meter::take(64)?;
                    let key = folded(picked(item, attribute.as_ref())?, is_true(&case))?;
                    if seen.insert(key.key()?) {
                        push(out, item.clone())?;
                    }
                }
                Ok(())
            })
        }
    }
}

/// The item, or what `attribute` names in it.
fn picked(item: &Value, attribute: Option<&Value>) -> Result<Value> {
    match attribute {
        None | Some(Value::None) => Ok(item.clone()),
        Some(path) => at_path(item, path, None),
    }
}

/// The items, each with the key it is compared by.
fn keyed(value: &Value, attribute: Option<&Value>, case_sensitive: bool) -> Result<Vec<(Value, Value)>> {
    let items = value.items()?;
    let mut out = Vec::new();
    for item in &items.items {
        meter::take(2 * size_of::<Value>())?;
        out.push((folded(picked(item, attribute)?, case_sensitive)?, item.clone()));
    }
    Ok(out)
}

/// As [`keyed`], where the attribute may name several with commas between them.
fn keyed_by_several(
    value: &Value,
    attribute: Option<&Value>,
    case_sensitive: bool,
) -> Result<Vec<(Value, Value)>> {
    let Some(Value::Str(paths)) = attribute else { return keyed(value, attribute, case_sensitive) };
    if !paths.contains(',') {
        return keyed(value, attribute, case_sensitive);
    }
    let items = value.items()?;
    let mut out = Vec::new();
    for item in &items.items {
        let mut keys = Vec::new();
        for path in paths.split(',') {
            push(&mut keys, folded(at_path(item, &Value::text(path)?, None)?, case_sensitive)?)?;
        }
        out.push((Value::seq(Kind::List, keys)?, item.clone()));
    }
    Ok(out)
}

fn batch(out: &mut Vec<Value>, value: &Value, count: i64, fill: Option<&Value>) -> Result<()> {
    let count = usize::try_from(count).unwrap_or(0);
    let mut row = Vec::new();
    for item in &value.items()?.items {
        if row.len() == count && !row.is_empty() {
            push(out, Value::seq(Kind::List, std::mem::take(&mut row))?)?;
        }
        push(&mut row, item.clone())?;
    }
    if !row.is_empty() {
        if let Some(fill) = fill.filter(|fill| !matches!(fill, Value::None)) {
            while row.len() < count {
                push(&mut row, fill.clone())?;
            }
        }
        push(out, Value::seq(Kind::List, row)?)?;
    }
    Ok(())
}

fn slice(out: &mut Vec<Value>, value: &Value, count: i64, fill: Option<&Value>) -> Result<()> {
    let items = value.items()?;
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(Fault::failed("slice() wants a number of slices above 0"));
    }
    let (each, longer) = (items.items.len() / count, items.items.len() % count);
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let mut rest = items.items.as_slice();
    for i in 0..count {
        let (row, behind) = rest.split_at(each + usize::from(i < longer));
        rest = behind;
        let mut counted = Vec::new();
        for item in row {
            push(&mut counted, item.clone())?;
        }
        if let (Some(fill), true) = (fill, i >= longer) {
            push(&mut counted, fill.clone())?;
        }
        push(out, Value::seq(Kind::List, counted)?)?;
    }
    Ok(())
}

fn dictsort(value: &Value, args: CallArgs) -> Result<Value> {
    let [case, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
    let Value::Dict(dict) = value else {
        return Err(Fault::failed(format!("'{}' object has no attribute 'items'", value.type_name())));
    };
    let by_value = match by {
        None => false,
        Some(by) => match &*string(&by, "dictsort")? {
            "key" => false,
            "value" => true,
            _ => return Err(Fault::failed("You can only sort by either \"key\" or \"value\"")),
        },
    };
    let mut keyed = Vec::new();
    for (key, value) in dict.iter() {
        let sorted_by = folded(if by_value { value } else { key }.clone(), is_true(&case))?;
        keyed.push((sorted_by, Value::tuple([key.clone(), value.clone()])?));
    }
    Value::list(sorted(keyed, is_true(&reverse))?.into_iter().map(|(_, pair)| pair))
}

fn groupby(value: &Value, args: CallArgs) -> Result<Value> {
    let [attribute, default, case] = args.bind("groupby", ["attribute", "default", "case_sensitive"])?;
    let attribute = required(attribute, "groupby")?;
    let items = value.items()?;
    let mut keyed = Vec::new();
    for item in &items.items {
        let key = at_path(item, &attribute, default.as_ref())?;
        keyed.push((folded(key, is_true(&case))?, item.clone()));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in sorted(keyed, false)? {
        match groups.last_mut() {
            Some((last, group)) if ops::equal(last, &key)? => push(group, item)?,
            _ => {
                let mut group = Vec::new();
                push(&mut group, item)?;
                groups.push((key, group));
            }
        }
    }
    let mut out = Vec::new();
    for (_, group) in groups {
        // The group is named as its first item spells it.
        let name = at_path(&group[0], &attribute, default.as_ref())?;
        push(&mut out, Value::counted(Kind::Group, [name, Value::seq(Kind::List, group)?])?)?;
    }
    Value::list(out)
}
