//! Expressions.

use std::rc::Rc;
use std::sync::Arc;

use super::super::args::CallArgs;
use super::super::ast::{Args, Expr, Step};
use super::super::fault::{Fault, Result};
use super::super::meter;
use super::super::methods;
use super::super::ops;
use super::super::show;
use super::super::tests;
use super::super::text::{Builder, Text};
use super::super::value::{Dict, Kind, Value, push};
use super::Interpreter;

impl<'a> Interpreter<'a> {
    /// The value of `expr`.
    pub(super) fn evaluate(&mut self, expr: &'a Expr) -> Result<Value> {
        self.nested(|this| match expr {
            Expr::None => Ok(Value::None),
            Expr::Bool(bool) => Ok(Value::Bool(*bool)),
            Expr::Int(int) => Ok(Value::Int(*int)),
            Expr::Float(float) => Ok(Value::Float(*float)),
            Expr::Str(text) => Ok(Value::Str(text.clone())),
            Expr::Name(name) => Ok(this.lookup(name)),
            Expr::List(items) => Value::list(this.all(items)?),
            Expr::Tuple(items) => Value::tuple(this.all(items)?),
            Expr::Dict(entries) => {
                let mut dict = Dict::new()?;
                for (key, value) in entries {
                    let key = this.evaluate(key)?;
                    dict.insert(key, this.evaluate(value)?)?;
                }
                Ok(Value::Dict(Rc::new(dict)))
            }
            Expr::Unary(op, operand) => ops::unary(*op, &this.evaluate(operand)?),
            Expr::Not(operand) => Ok(Value::Bool(!this.evaluate(operand)?.is_true())),
            Expr::If(condition, value, otherwise) => {
                if this.evaluate(condition)?.is_true() {
                    return this.evaluate(value);
                }
                match otherwise {
                    Some(otherwise) => this.evaluate(otherwise),
                    None => Ok(Value::undefined("the value of a condition without else")),
                }
            }
            Expr::Chain(first, steps) => {
                let mut value = this.evaluate(first)?;
                for step in steps {
                    value = this.step(value, step)?;
                }
                Ok(value)
            }
            _ => this.operators(expr),
        })
    }

    fn all(&mut self, exprs: &'a [Expr]) -> Result<Vec<Value>> {
        exprs.iter().map(|expr| self.evaluate(expr)).collect()
    }

    fn operators(&mut self, expr: &'a Expr) -> Result<Value> {
        match expr {
            Expr::Binary(first, more) => {
                let mut value = self.evaluate(first)?;
                for (op, operand) in more {
                    value = ops::binary(*op, &value, &self.evaluate(operand)?)?;
                }
                Ok(value)
            }
            Expr::And(parts) | Expr::Or(parts) => {
                let decides = matches!(expr, Expr::Or(_));
                let mut value = Value::None;
                for part in parts {
                    value = self.evaluate(part)?;
                    if value.is_true() == decides {
                        break;
                    }
                }
                Ok(value)
            }
            Expr::Compare(first, more) => {
                let mut left = self.evaluate(first)?;
                for (op, operand) in more {
                    let right = self.evaluate(operand)?;
                    if !ops::compare(*op, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::Concat(parts) => {
                let mut out = Builder::default();
                for part in parts {
                    show::write(&mut out, &self.evaluate(part)?)?;
                }
                Ok(Value::Str(out.finish()?))
            }
            _ => unreachable!("the other expressions are evaluated elsewhere"),
        }
    }

    pub(super) fn step(&mut self, value: Value, step: &'a Step) -> Result<Value> {
        match step {
            Step::Attribute(name) => match value {
                Value::Macro(number) => self.of_macro(number, name),
                value => attribute(&value, name),
            },
            Step::Item(index) => item(&value, &self.evaluate(index)?),
            Step::Slice(bounds) => {
                let mut values = [Value::None, Value::None, Value::None];
                for (value, bound) in values.iter_mut().zip(bounds.iter()) {
                    if let Some(bound) = bound {
                        *value = self.evaluate(bound)?;
                    }
                }
                ops::slice(&value, &values)
            }
            Step::Call(args) => {
                let args = self.args(args)?;
                self.call(&value, args)
            }
            Step::Filter(filter) => {
                let args = self.args(&filter.args)?;
                self.filter(&filter.name, value, args)
            }
            Step::Test(test, negated) => {
                let args = self.args(&test.args)?;
                Ok(Value::Bool(tests::apply(&test.name, &value, args)? != *negated))
            }
        }
    }

    /// The arguments of a call.
    pub(super) fn args(&mut self, args: &'a Args) -> Result<CallArgs> {
        let mut positional = Vec::new();
        for expr in &args.positional {
            push(&mut positional, self.evaluate(expr)?)?;
        }
        let mut named: Vec<(Arc<str>, Value)> = Vec::new();
        for (name, expr) in &args.named {
            named.push((name.clone(), self.evaluate(expr)?));
        }
        if let Some(more) = &args.more {
            let more = self.evaluate(more)?.items()?;
            meter::steps(more.items.len())?;
            meter::room(more.items.len() * size_of::<Value>())?;
            positional.extend(more.items.iter().cloned());
        }
        if let Some(more) = &args.more_named {
            let Value::Dict(more) = self.evaluate(more)? else {
                return Err(Fault::failed("** wants a mapping"));
            };
            for (key, value) in more.iter() {
                let Some(name) = key.as_str() else { return Err(Fault::failed("keywords must be strings")) };
                named.push((name.into(), value.clone()));
            }
        }
        Ok(CallArgs { positional, named })
    }
}

/// `value.name`: Python's attribute, else the item.
pub(in super::super) fn attribute(value: &Value, name: &str) -> Result<Value> {
    if let Some(found) = methods::attribute(value, name)? {
        return Ok(found);
    }
    match value {
        Value::Dict(dict) => {
            let found = dict.get(&Value::text(name)?)?.cloned();
            Ok(found.unwrap_or_else(|| Value::undefined(&format!("dict object has no attribute {name}"))))
        }
        Value::Undefined(what) => Err(Fault::failed(format!("'{what}' is undefined"))),
        _ => Ok(Value::undefined(&format!("{} object has no attribute {name}", value.type_name()))),
    }
}

/// `value[index]`: the item, else Python's attribute.
pub(in super::super) fn item(value: &Value, index: &Value) -> Result<Value> {
    let found = match (value, index) {
        (Value::Undefined(what), _) => return Err(Fault::failed(format!("'{what}' is undefined"))),
        (Value::Dict(dict), _) if index.key().is_ok() => dict.get(index)?.cloned(),
        (Value::Seq(Kind::Keys | Kind::Values | Kind::Items, _), _) => None,
        (Value::Seq(_, list), _) if index.as_int().is_some() => {
            at(list.items.len(), index).map(|at| list.items[at].clone())
        }
        (Value::Str(text), _) if index.as_int().is_some() => {
            let len = value.len()?;
            match at(len, index).and_then(|at| text.chars().nth(at)) {
                Some(c) => Some(Value::Str(Text::new(c)?.with_markup(text.is_markup()))),
                None => None,
            }
        }
        (Value::Namespace(_), Value::Str(name)) => methods::attribute(value, name)?,
        _ => None,
    };
    match (found, index) {
        (Some(found), _) => Ok(found),
        (None, Value::Str(name)) => {
            let found = methods::attribute(value, name)?;
            Ok(found.unwrap_or_else(|| {
                Value::undefined(&format!("{} object has no attribute {}", value.type_name(), &**name))
            }))
        }
        _ => Ok(Value::undefined(&format!("{} object has no such element", value.type_name()))),
    }
}

/// The place of `index` in a sequence, from the end if it is negative.
fn at(len: usize, index: &Value) -> Option<usize> {
    let index = index.as_int()?;
    let index = if index < 0 { index.checked_add(len as i128)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}
