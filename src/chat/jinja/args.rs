//! Arguments of a call, and what they are bound to.

use std::sync::Arc;

use super::fault::{Fault, Result};
use super::value::Value;

/// The arguments of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct CallArgs {
    pub positional: Vec<Value>,
    pub named: Vec<(Arc<str>, Value)>,
}

impl CallArgs {
    /// Binds the arguments to the parameters of `callee`, by position or name.
    pub(super) fn bind<const N: usize>(self, callee: &str, params: [&str; N]) -> Result<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            let given = self.positional.len();
            return Err(Fault::failed(format!("{callee}() takes at most {N} arguments, {given} are given")));
        }
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            match params.iter().position(|param| *param == &*name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => {
                    return Err(Fault::failed(format!(
                        "{callee}() got multiple values for argument '{name}'"
                    )));
                }
                None => {
                    return Err(Fault::failed(format!("{callee}() has no parameter named '{name}'")));
                }
            }
        }
        Ok(bound)
    }

    /// Refuses arguments.
    pub(super) fn none(self, callee: &str) -> Result<()> {
        self.bind(callee, []).map(|[]| ())
    }

    /// The only argument, by position.
    pub(super) fn one(self, callee: &str) -> Result<Value> {
        let [value] = self.bind(callee, [""])?;
        required(value, callee)
    }
}

/// An argument that must be there.
pub(super) fn required(value: Option<Value>, callee: &str) -> Result<Value> {
    value.ok_or_else(|| Fault::failed(format!("{callee}() lacks an argument")))
}

/// An argument that is a string.
pub(super) fn string(value: &Value, callee: &str) -> Result<super::text::Text> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        Value::Undefined(name) => Err(Fault::failed(format!("'{name}' is undefined"))),
        _ => Err(Fault::failed(format!("{callee}() wants a string, not '{}'", value.type_name()))),
    }
}

/// An argument that is an integer, or `otherwise` if it is left out.
pub(super) fn integer(value: Option<&Value>, otherwise: i64, callee: &str) -> Result<i64> {
    let Some(value) = value else { return Ok(otherwise) };
    match value.as_int() {
        Some(int) => {
            i64::try_from(int).map_err(|_| Fault::Limit(format!("gives {callee} a number that is too large")))
        }
        None => Err(Fault::failed(format!("{callee}() wants an integer, not '{}'", value.type_name()))),
    }
}
