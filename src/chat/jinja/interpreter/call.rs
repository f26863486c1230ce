//! Calls: macros, methods, the functions there are, and filters that call others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::args::{CallArgs, integer, required, string};
use super::super::ast::{Expr, Step};
use super::super::fault::{Fault, Result};
use super::super::filters;
use super::super::methods;
use super::super::ops;
use super::super::show;
use super::super::text::Text;
use super::super::value::{Dict, Kind, Loop, Namespace, Value};
use super::{Flow, Interpreter};
use crate::chat::strftime;

/// Numbers that a range may have, as in Jinja's sandbox.
const MAX_RANGE: i128 = 100_000;

/// Functions that every template has.
const GLOBALS: [&str; 8] =
    ["range", "dict", "namespace", "cycler", "joiner", "lipsum", "raise_exception", "strftime_now"];

/// The function called `name`.
pub(super) fn global(name: &str) -> Option<&'static str> {
    GLOBALS.into_iter().find(|global| *global == name)
}

impl<'a> Interpreter<'a> {
    /// `callee(args)`.
    pub(super) fn call(&mut self, callee: &Value, args: CallArgs) -> Result<Value> {
        self.nested(|this| match callee {
            Value::Macro(number) => this.call_macro(*number, args),
            Value::Method(method) => match &method.object {
                Value::Loop(state) => loop_method(state, method.name, args),
                object => methods::call(object, method.name, args),
            },
            Value::Function("namespace") => this.namespace(args),
            Value::Function(name) => function(name, args),
            Value::Loop(state) => this.recurse(state, args),
            Value::Joiner(joiner) => {
                args.none("joiner")?;
                Ok(if joiner.1.replace(true) { Value::Str(joiner.0.clone()) } else { Value::text("")? })
            }
            Value::Undefined(name) => Err(Fault::failed(format!("'{name}' is undefined"))),
            _ => Err(Fault::failed(format!("'{}' object is not callable", callee.type_name()))),
        })
    }

    /// What a macro tells of itself.
    pub(super) fn of_macro(&self, number: usize, name: &str) -> Result<Value> {
        let body = self.macros[number].body;
        Ok(match name {
            "name" => Value::text(&*body.name)?,
            "arguments" => {
                let names: Result<Vec<_>> =
                    body.params.iter().map(|(param, _)| Value::text(&**param)).collect();
                Value::tuple(names?)?
            }
            "catch_kwargs" => Value::Bool(body.uses.kwargs),
            "catch_varargs" => Value::Bool(body.uses.varargs),
            "caller" => {
                Value::Bool(body.uses.caller || body.params.iter().any(|(param, _)| &**param == "caller"))
            }
            _ => super::attribute(&Value::Macro(number), name)?,
        })
    }

    fn call_macro(&mut self, number: usize, args: CallArgs) -> Result<Value> {
        let defined = self.macros[number].clone();
        let (body, line) = (defined.body, self.line);
        let name = &body.name;
        let (text, _) = self.collect(|this| {
            this.enter(defined.scope, |this| {
                let n_params = body.params.len();
                let mut positional = args.positional;
                let surplus = positional.split_off(positional.len().min(n_params));
                let mut named = args.named;
                let mut values = positional.into_iter();
                for (param, default) in &body.params {
                    let at = named.iter().position(|(name, _)| name == param);
                    let value = match (values.next(), at.map(|at| named.remove(at).1)) {
                        (Some(_), Some(_)) => {
                            return Err(Fault::failed(format!("macro '{name}' got '{param}' twice")));
                        }
                        (Some(value), None) | (None, Some(value)) => value,
                        (None, None) => match default {
                            Some(default) => this.evaluate(default)?,
                            None => Value::undefined(param),
                        },
                    };
                    this.set(param, value)?;
                }
                this.surplus(number, surplus, named)?;
                this.body(&body.body)
            })
        })?;
        self.line = line;
        Ok(Value::Str(text))
    }

    /// Sets `caller`, `varargs` and `kwargs` where the macro names them; else they must be empty.
    fn surplus(
        &mut self,
        number: usize,
        positional: Vec<Value>,
        mut named: Vec<(std::sync::Arc<str>, Value)>,
    ) -> Result<()> {
        let body = self.macros[number].body;
        let name = &body.name;
        if body.uses.caller {
            let at = named.iter().position(|(name, _)| &**name == "caller");
            let caller = at.map_or_else(|| Value::undefined("caller"), |at| named.remove(at).1);
            self.set(&"caller".into(), caller)?;
        }
        if body.uses.kwargs {
            let mut kwargs = Dict::new()?;
            for (name, value) in named.drain(..) {
                kwargs.insert(Value::text(&*name)?, value)?;
            }
            self.set(&"kwargs".into(), Value::Dict(Rc::new(kwargs)))?;
        } else if let Some((unknown, _)) = named.first() {
            return Err(Fault::failed(format!("macro '{name}' takes no keyword argument '{unknown}'")));
        }
        if body.uses.varargs {
            self.set(&"varargs".into(), Value::tuple(positional)?)?;
        } else if !positional.is_empty() {
            let n = body.params.len();
            return Err(Fault::failed(format!("macro '{name}' takes not more than {n} argument(s)")));
        }
        Ok(())
    }

    /// Evaluates a `call` block's call, with `caller` among its arguments.
    pub(super) fn call_with_caller(&mut self, call: &'a Expr, caller: Value) -> Result<Value> {
        let Expr::Chain(first, steps) = call else { return Err(Fault::failed("'call' wants a call")) };
        let Some((Step::Call(args), before)) = steps.split_last() else {
            return Err(Fault::failed("'call' wants a call"));
        };
        let mut callee = self.evaluate(first)?;
        for step in before {
            callee = self.step(callee, step)?;
        }
        let mut args = self.args(args)?;
        args.named.push(("caller".into(), caller));
        self.call(&callee, args)
    }

    fn namespace(&mut self, args: CallArgs) -> Result<Value> {
        let Value::Dict(dict) = function("dict", args)? else {
            return Err(Fault::failed("namespace() wants a mapping"));
        };
        let namespace = Namespace::new()?;
        for (key, value) in dict.iter() {
            let key = string(key, "namespace")?;
            if key.starts_with('_') {
                return Err(Fault::failed(format!("a namespace cannot have '{}'", &*key)));
            }
            namespace.set(key, value.clone())?;
        }
        let namespace = Rc::new(namespace);
        self.namespaces.push(namespace.clone());
        Ok(Value::Namespace(namespace))
    }

    /// `loop(items)` inside of a recursive loop.
    fn recurse(&mut self, state: &Loop, args: CallArgs) -> Result<Value> {
        let Some(number) = state.recursion else {
            return Err(Fault::failed("the loop is not marked 'recursive'"));
        };
        let items = args.one("loop")?;
        let (statement, scope) = self.recursive[number];
        if scope >= self.scopes.len() {
            return Err(Fault::failed("the loop is over"));
        }
        let depth = state.depth + 1;
        let (text, _) = self.collect(|this| {
            this.enter(scope, |this| this.run_loop(statement, &items, depth).map(|_| Flow::Next))
        })?;
        Ok(Value::Str(text))
    }
}

/// Functions that need nothing of the rendering.
fn function(name: &str, args: CallArgs) -> Result<Value> {
    match name {
        "range" => range(args),
        "dict" => {
            let named = args.named;
            let [given] = CallArgs { positional: args.positional, named: Vec::new() }.bind(name, [""])?;
            let mut dict = match given {
                Some(value) => filters::to_dict(&value)?,
                None => Dict::new()?,
            };
            for (name, value) in named {
                dict.insert(Value::text(&*name)?, value)?;
            }
            Ok(Value::Dict(Rc::new(dict)))
        }
        "cycler" => {
            if args.positional.is_empty() || !args.named.is_empty() {
                return Err(Fault::failed("cycler() wants values"));
            }
            Value::cycler(args.positional)
        }
        "joiner" => {
            let [separator] = args.bind(name, ["sep"])?;
            let separator = match separator {
                Some(separator) => show::to_text(&separator)?,
                None => Text::new(", ")?,
            };
            Ok(Value::Joiner(Rc::new((separator, Cell::new(false)))))
        }
        "raise_exception" => {
            let [message] = args.bind(name, ["message"])?;
            Err(Fault::Raised(show::to_text(&required(message, name)?)?.to_string()))
        }
        "strftime_now" => {
            let [format] = args.bind(name, ["format"])?;
            Value::text(strftime::now(&string(&required(format, name)?, name)?))
        }
        _ => Err(Fault::failed(format!("{name}() gives random values, and a prompt must not be random"))),
    }
}

fn range(args: CallArgs) -> Result<Value> {
    let [first, second, step] = args.bind("range", ["", "", ""])?;
    let first = integer(Some(&required(first, "range")?), 0, "range")?;
    let (from, to) = match &second {
        Some(second) => (first, integer(Some(second), 0, "range")?),
        None => (0, first),
    };
    let step = integer(step.as_ref(), 1, "range")?;
    if step == 0 {
        return Err(Fault::failed("range() arg 3 must not be zero"));
    }
    let (wide_from, wide_step) = (i128::from(from), i128::from(step));
    let span = i128::from(to) - wide_from;
    let n = ((span + wide_step - wide_step.signum()) / wide_step).max(0);
    if n > MAX_RANGE {
        return Err(Fault::failed(format!("range() of {n} numbers; the most are {MAX_RANGE}")));
    }
    Value::counted(Kind::Range(from, to, step), (0..n).map(|i| Value::Int(wide_from + i * wide_step)))
}

/// `loop.cycle(...)` and `loop.changed(...)`.
fn loop_method(state: &Loop, name: &str, args: CallArgs) -> Result<Value> {
    if !args.named.is_empty() {
        return Err(Fault::failed(format!("loop.{name}() takes no keyword arguments")));
    }
    if name == "cycle" {
        let n = args.positional.len();
        return match state.index.get().checked_rem(n) {
            Some(at) => Ok(args.positional[at].clone()),
            None => Err(Fault::failed("no items for cycling given")),
        };
    }
    let value = Value::tuple(args.positional)?;
    let last: &RefCell<Option<Value>> = &state.changed;
    let is_same = match &*last.borrow() {
        Some(last) => ops::equal(last, &value)?,
        None => false,
    };
    if !is_same {
        last.replace(Some(value));
    }
    Ok(Value::Bool(!is_same))
}
