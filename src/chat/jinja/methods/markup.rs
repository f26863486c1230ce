//! Methods of markup: those of strings, what they give is markup again, and what they put in is escaped first.

use super::super::args::CallArgs;
use super::super::fault::Result;
use super::super::markup::{each, escaped};
use super::super::text::Text;
use super::super::value::{Kind, Value};
use super::string;

/// `text.name(args)`.
pub(super) fn call(text: &Text, name: &str, mut args: CallArgs) -> Result<Value> {
    let is_put_in = |position: usize| match name {
        "join" | "format" => true,
        "replace" | "center" | "ljust" | "rjust" => position == 1,
        _ => false,
    };
    for (position, value) in args.positional.iter_mut().enumerate() {
        if is_put_in(position) {
            *value = escaped(value)?;
        }
    }
    if name == "format" {
        for (_, value) in &mut args.named {
            *value = escaped(value)?;
        }
    }
    marked(&string::call(&text.clone().with_markup(false), name, args)?)
}

/// The value, its strings markup.
fn marked(value: &Value) -> Result<Value> {
    match value {
        Value::Str(text) => Ok(Value::Str(text.clone().with_markup(true))),
        Value::Seq(kind @ (Kind::List | Kind::Tuple), list) => Value::seq(*kind, each(list, marked)?),
        value => Ok(value.clone()),
    }
}
