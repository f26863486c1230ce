//! Filters that apply a filter or a test to every item.

use super::super::args::{CallArgs, string};
use super::super::fault::{Fault, Result};
use super::super::tests;
use super::super::value::{Generator, Value, push};
use super::{apply as apply_filter, at_path};

/// `value | name(args)`.
pub(super) fn apply(name: &str, value: &Value, args: CallArgs) -> Result<Value> {
    // Jinja looks no further at what is false: none has no items here, where a loop over it would fail.
    Generator::filled(|out| if value.is_true() { fill(out, name, value, args) } else { Ok(()) })
}

fn fill(out: &mut Vec<Value>, name: &str, value: &Value, mut args: CallArgs) -> Result<()> {
    let items = value.items()?;
    if name == "map" {
        let change = Change::of(args)?;
        for item in &items.items {
            push(out, change.apply(item)?)?;
        }
        return Ok(());
    }
    let path = if name.ends_with("attr") {
        if args.positional.is_empty() {
            return Err(Fault::failed(format!("{name}() lacks the name of an attribute")));
        }
        Some(args.positional.remove(0))
    } else {
        None
    };
    let keeps = name.starts_with("select");
    for item in &items.items {
        let tested = match &path {
            Some(path) => at_path(item, path, None)?,
            None => item.clone(),
        };
        if tests::apply_named(&tested, &args)? == keeps {
            push(out, item.clone())?;
        }
    }
    Ok(())
}

/// What `map` does with an item.
enum Change {
    Attribute(Value, Option<Value>),
    Filter(String, CallArgs),
}

impl Change {
    fn of(mut args: CallArgs) -> Result<Self> {
        if args.positional.is_empty() {
            let [attribute, default] = args.bind("map", ["attribute", "default"])?;
            let attribute = attribute.ok_or_else(|| Fault::failed("map requires a filter argument"))?;
            return Ok(Self::Attribute(attribute, default));
        }
        let name = string(&args.positional.remove(0), "map")?;
        Ok(Self::Filter(name.to_string(), args))
    }

    fn apply(&self, item: &Value) -> Result<Value> {
        match self {
            Self::Attribute(path, default) => at_path(item, path, default.as_ref()),
            Self::Filter(name, args) => apply_filter(name, item.clone(), args.clone()),
        }
    }
}
