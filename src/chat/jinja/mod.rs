//! Jinja, as the chat templates of models are written in it.
//!
//! Templates are written for Python's Jinja2 as `transformers` sets it up: an immutable sandbox,
//! `trim_blocks`, `lstrip_blocks`, loop controls and a `generation` tag. What a template means is what that
//! gives, down to how Python spells a float, so values, operators and methods here are Python's.
//!
//! A template is also a program from anywhere. [`parser`] bounds how deep it nests, [`interpreter`] how deep
//! it calls, and [`meter`] counts every step and every byte, so a template cannot end the program, hang it or
//! take its memory, on any system. There is no way around the account: strings are made by
//! [`text::Builder`], lists by [`value::push`], and both ask first. Values cannot be changed once made,
//! namespaces excepted, so they cannot hold themselves otherwise.
//!
//! The stages: `lexer` -> `parser` -> [`ast`] -> `interpreter`, which uses `ops`, `filters`, `tests`,
//! `methods`, `format` and `json` on `value`s.

mod args;
mod ast;
mod chars;
mod fault;
mod filters;
mod format;
mod interpreter;
mod json;
mod lexer;
mod markup;
mod meter;
mod methods;
mod ops;
mod parser;
mod show;
mod tests;
mod text;
mod value;

use std::rc::Rc;

use serde_json::Value as Json;

use fault::Result;
pub(super) use fault::{Failure, Fault};
use value::{Dict, Value};

/// Bytes of the stack that parsing and rendering run on: room for the depths that both allow, several
/// times over. The system gives pages as they are touched.
const STACK_BYTES: usize = 128 << 20;

/// A parsed template.
#[derive(Debug)]
pub(super) struct Program {
    body: ast::Body,
}

impl Program {
    /// Parses `source`.
    pub(super) fn parse(source: &str) -> std::result::Result<Self, Failure> {
        on_own_stack(|| Ok(Self { body: parser::parse(source)? }))
    }

    /// Renders with `variables`.
    pub(super) fn render(
        &self,
        variables: &serde_json::Map<String, Json>,
    ) -> std::result::Result<String, Failure> {
        on_own_stack(|| {
            let variables: Result<Vec<_>> =
                variables.iter().map(|(name, json)| Ok((name.as_str().into(), from_json(json)?))).collect();
            let variables = variables.map_err(|fault| Failure { fault, line: 1 })?;
            interpreter::render(&self.body, variables)
        })
    }
}

/// Runs `work` on a thread with a stack for deep recursion, and with an account of its own.
fn on_own_stack<T: Send>(
    work: impl FnOnce() -> std::result::Result<T, Failure> + Send,
) -> std::result::Result<T, Failure> {
    let failed = |what: String| Failure { fault: Fault::Limit(what), line: 1 };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("template".to_owned()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, || {
            meter::reset();
            work()
        });
        match running {
            Ok(running) => running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(failed(format!("needs a thread that cannot be started: {error}"))),
        }
    })
}

/// A value of JSON. Its nesting is bounded by what read it.
fn from_json(json: &Json) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int.into()),
            (None, Some(int)) => Value::Int(int.into()),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::text(text.as_str())?,
        Json::Array(items) => Value::list(items.iter().map(from_json).collect::<Result<Vec<_>>>()?)?,
        Json::Object(entries) => {
            let mut dict = Dict::new()?;
            for (key, value) in entries {
                dict.insert(Value::text(key.as_str())?, from_json(value)?)?;
            }
            Value::Dict(Rc::new(dict))
        }
    })
}
