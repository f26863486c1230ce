//! Values as markup shows them.

use super::fault::Result;
use super::value::{Kind, List, Value, push};

/// The value, its strings escaped where they are not markup.
pub(super) fn escaped(value: &Value) -> Result<Value> {
    match value {
        Value::Str(text) if !text.is_markup() => Ok(Value::Str(text.escaped()?)),
        Value::Seq(kind @ (Kind::List | Kind::Tuple), list) => Value::seq(*kind, each(list, escaped)?),
        Value::Generator(_) => Value::seq(Kind::List, each(&*value.items()?, escaped)?),
        _ => Ok(value.clone()),
    }
}

/// The items of `list` as `change` makes them.
pub(super) fn each(list: &List, change: impl Fn(&Value) -> Result<Value>) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    for item in &list.items {
        push(&mut out, change(item)?)?;
    }
    Ok(out)
}
