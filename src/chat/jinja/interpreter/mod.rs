//! Runs a parsed template.
//!
//! Names live in scopes that point to the scope around them: a loop's pass, a macro's call, a block have
//! one each, an `if` has none. A macro keeps the scope that it was defined in. Scopes stand in a vector
//! and are taken off when they end, unless a macro was defined meanwhile, which may keep them.

mod call;
mod expression;

pub(super) use expression::{attribute, item};

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::args::CallArgs;
use super::ast::{Body, For, Macro, Stmt, StmtKind, Target};
use super::fault::{Failure, Fault, Result};
use super::filters;
use super::meter;
use super::show;
use super::text::{Builder, Text};
use super::value::{Kind, Loop, Namespace, Value, push};
use crate::limits::MAX_RENDERED_BYTES;

/// How deep evaluation may recurse, over all; a call of a macro costs about six. The stack of a
/// rendering is made for it.
const MAX_DEPTH: usize = 2000;

/// The scope of the template's own names; that of the variables is around it.
const TOP: usize = 1;

/// Bytes that a scope is counted as.
const SCOPE_BYTES: usize = 160;

/// Bytes that a name in it is counted as.
const NAME_BYTES: usize = 64;

/// A rendering under way.
pub(super) struct Interpreter<'a> {
    scopes: Vec<Scope>,
    scope: usize,
    macros: Vec<Defined<'a>>,
    /// Loops that call themselves.
    recursive: Vec<(&'a For, usize)>,
    /// What is written, and by the blocks whose text is being collected.
    outputs: Vec<Builder>,
    namespaces: Vec<Rc<Namespace>>,
    depth: usize,
    line: usize,
}

/// Names of a block.
struct Scope {
    names: HashMap<Arc<str>, Value>,
    parent: Option<usize>,
}

/// A macro and where it was defined.
#[derive(Clone)]
struct Defined<'a> {
    body: &'a Macro,
    scope: usize,
}

/// How a body ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Renders `body` with `variables`.
pub(super) fn render(body: &Body, variables: Vec<(Arc<str>, Value)>) -> std::result::Result<String, Failure> {
    let root = Scope { names: variables.into_iter().collect(), parent: None };
    let top = Scope { names: HashMap::new(), parent: Some(0) };
    let mut interpreter = Interpreter {
        scopes: vec![root, top],
        scope: TOP,
        macros: Vec::new(),
        recursive: Vec::new(),
        outputs: vec![Builder::default()],
        namespaces: Vec::new(),
        depth: 0,
        line: 1,
    };
    let ended = interpreter.body(body);
    // Namespaces may hold each other, and would then never be dropped.
    for namespace in std::mem::take(&mut interpreter.namespaces) {
        let attributes = namespace.attributes.take();
        drop(attributes);
    }
    match ended {
        Ok(_) => Ok(interpreter.outputs.remove(0).into_string()),
        Err(fault) => Err(Failure { fault, line: interpreter.line }),
    }
}

impl<'a> Interpreter<'a> {
    fn body(&mut self, body: &'a [Stmt]) -> Result<Flow> {
        for statement in body {
            self.line = statement.line;
            match self.statement(&statement.kind)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    /// Runs `what` one level deeper.
    fn nested<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        meter::steps(1)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::Limit(format!("calls itself more than {MAX_DEPTH} levels deep")));
        }
        let done = what(self);
        self.depth -= 1;
        done
    }

    fn statement(&mut self, statement: &'a StmtKind) -> Result<Flow> {
        self.nested(|this| match statement {
            StmtKind::If(branches) => this.branches(branches),
            StmtKind::For(statement) => {
                let value = this.evaluate(&statement.iterable)?;
                this.run_loop(statement, &value, 0)
            }
            StmtKind::Scope(body) => this.scoped(|this| this.body(body)),
            StmtKind::Block(body) => this.enter(TOP, |this| this.body(body)),
            StmtKind::Elsewhere(name) => {
                Err(Fault::failed(format!("'{name}' needs other templates; a chat template stands alone")))
            }
            StmtKind::With(names, body) => this.with(names, body),
            StmtKind::FilterBlock(chain, body) => {
                // What breaks off is not written.
                let (text, flow) = this.collect(|this| this.scoped(|this| this.body(body)))?;
                if flow == Flow::Next {
                    let value = this.filtered(Value::Str(text), chain)?;
                    this.write(&value)?;
                }
                Ok(flow)
            }
            StmtKind::SetBlock(target, chain, body) => {
                let (text, flow) = this.collect(|this| this.scoped(|this| this.body(body)))?;
                if flow == Flow::Next {
                    let value = this.filtered(Value::Str(text), chain)?;
                    this.assign(target, value)?;
                }
                Ok(flow)
            }
            StmtKind::Break => Ok(Flow::Break),
            StmtKind::Continue => Ok(Flow::Continue),
            simple => this.simple(simple).map(|()| Flow::Next),
        })
    }

    fn simple(&mut self, statement: &'a StmtKind) -> Result<()> {
        match statement {
            StmtKind::Text(text) => self.write_text(text),
            StmtKind::Print(expr) => {
                let value = self.evaluate(expr)?;
                self.write(&value)
            }
            StmtKind::Set(target, expr) => {
                let value = self.evaluate(expr)?;
                self.assign(target, value)
            }
            StmtKind::Macro(body) => {
                let value = self.define(body)?;
                self.set(&body.name, value)
            }
            StmtKind::Call(body, call) => {
                let caller = self.define(body)?;
                let value = self.call_with_caller(call, caller)?;
                self.write(&value)
            }
            _ => unreachable!("statements with bodies are run elsewhere"),
        }
    }

    fn branches(&mut self, branches: &'a [(Option<super::ast::Expr>, Body)]) -> Result<Flow> {
        for (condition, body) in branches {
            let holds = match condition {
                Some(condition) => self.evaluate(condition)?.is_true(),
                None => true,
            };
            if holds {
                return self.body(body);
            }
        }
        Ok(Flow::Next)
    }

    fn with(&mut self, names: &'a [(Target, super::ast::Expr)], body: &'a Body) -> Result<Flow> {
        // The values are those of the scope around, all of them.
        let mut values = Vec::new();
        for (_, expr) in names {
            values.push(self.evaluate(expr)?);
        }
        self.scoped(|this| {
            for ((target, _), value) in names.iter().zip(values) {
                this.assign(target, value)?;
            }
            this.body(body)
        })
    }

    /// Runs a loop over the items of `over`; `depth` counts the loops of its kind around it.
    fn run_loop(&mut self, statement: &'a For, over: &Value, depth: usize) -> Result<Flow> {
        // A pass that breaks never comes to what fails behind the items.
        let (items, generator) = match over {
            Value::Generator(generator) => (generator.rest()?, Some(generator)),
            _ => (over.items()?, None),
        };
        let check_end = || generator.map_or(Ok(()), |generator| generator.check_end());
        let items = match &statement.condition {
            None => items,
            Some(condition) => {
                let mut kept = Vec::new();
                for item in &items.items {
                    let is_kept = self.scoped(|this| {
                        this.assign(&statement.target, item.clone())?;
                        Ok(this.evaluate(condition)?.is_true())
                    })?;
                    if is_kept {
                        push(&mut kept, item.clone())?;
                    }
                }
                Value::seq(Kind::List, kept)?.items()?
            }
        };
        let recursion = if statement.recursive {
            meter::take(SCOPE_BYTES)?;
            self.recursive.push((statement, self.scope));
            Some(self.recursive.len() - 1)
        } else {
            None
        };
        let state = Rc::new(Loop {
            items: items.clone(),
            index: Cell::new(0),
            depth,
            changed: RefCell::new(None),
            recursion,
        });
        let ended = self.passes(statement, &state);
        // It may hold the loop itself, and would then never be dropped.
        state.changed.take();
        let (flow, is_passed) = ended?;
        if flow == Flow::Next {
            check_end()?;
        }
        if is_passed { Ok(Flow::Next) } else { self.scoped(|this| this.body(&statement.otherwise)) }
    }

    /// Runs the passes; returns whether one of them broke, and whether one came to its end: without that, what stands
    /// behind `else` is run.
    fn passes(&mut self, statement: &'a For, state: &Rc<Loop>) -> Result<(Flow, bool)> {
        let mut is_passed = false;
        for (i, item) in state.items.items.iter().enumerate() {
            meter::steps(1)?;
            state.index.set(i);
            let flow = self.scoped(|this| {
                this.set(&"loop".into(), Value::Loop(state.clone()))?;
                this.assign(&statement.target, item.clone())?;
                this.body(&statement.body)
            })?;
            if flow == Flow::Break {
                return Ok((Flow::Break, is_passed));
            }
            is_passed |= flow == Flow::Next;
        }
        Ok((Flow::Next, is_passed))
    }

    /// Runs `what` in a new scope.
    fn scoped<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let around = self.scope;
        self.enter(around, what)
    }

    /// Runs `what` in a new scope inside of `parent`.
    fn enter<T>(&mut self, parent: usize, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let around = self.scope;
        let n_macros = self.macros.len();
        meter::take(SCOPE_BYTES)?;
        self.scope = self.scopes.len();
        self.scopes.push(Scope { names: HashMap::new(), parent: Some(parent) });
        let done = what(self)?;
        if self.macros.len() == n_macros {
            let ended = self.scopes.drain(self.scope..);
            meter::give(ended.map(|scope| SCOPE_BYTES + scope.names.len() * NAME_BYTES).sum());
        }
        self.scope = around;
        Ok(done)
    }

    /// The text that `what` writes, instead of writing it.
    fn collect<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<(Text, T)> {
        self.outputs.push(Builder::default());
        let done = what(self)?;
        let text = self.outputs.pop().unwrap_or_default().finish()?;
        Ok((text, done))
    }

    fn write(&mut self, value: &Value) -> Result<()> {
        let out = self.outputs.last_mut().expect("the template's own output is there");
        show::write(out, value)?;
        self.check_length()
    }

    fn write_text(&mut self, text: &str) -> Result<()> {
        self.outputs.last_mut().expect("the template's own output is there").push(text)?;
        self.check_length()
    }

    fn check_length(&self) -> Result<()> {
        if self.outputs[0].as_str().len() > MAX_RENDERED_BYTES {
            return Err(Fault::Limit(format!("writes more than {MAX_RENDERED_BYTES} bytes")));
        }
        Ok(())
    }

    fn define(&mut self, body: &'a Arc<Macro>) -> Result<Value> {
        meter::take(SCOPE_BYTES)?;
        self.macros.push(Defined { body, scope: self.scope });
        Ok(Value::Macro(self.macros.len() - 1))
    }

    /// What `name` means here.
    fn lookup(&self, name: &Arc<str>) -> Value {
        let mut at = Some(self.scope);
        while let Some(scope) = at.map(|at| &self.scopes[at]) {
            if let Some(value) = scope.names.get(name) {
                return value.clone();
            }
            at = scope.parent;
        }
        call::global(name).map_or_else(|| Value::undefined(name), Value::Function)
    }

    fn set(&mut self, name: &Arc<str>, value: Value) -> Result<()> {
        meter::steps(1)?;
        let names = &mut self.scopes[self.scope].names;
        if names.insert(name.clone(), value).is_none() {
            meter::take(NAME_BYTES)?;
        }
        Ok(())
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name) => self.set(name, value),
            Target::Attribute(name, attribute) => {
                let Value::Namespace(namespace) = self.lookup(name) else {
                    return Err(Fault::failed("cannot assign attribute on non-namespace object"));
                };
                if attribute.starts_with('_') {
                    return Err(Fault::failed(format!("a namespace cannot have '{attribute}'")));
                }
                namespace.set(Text::new(&**attribute)?, value)
            }
            Target::Tuple(targets) => {
                let items = value.items()?;
                if items.items.len() != targets.len() {
                    let (found, wanted) = (items.items.len(), targets.len());
                    return Err(Fault::failed(format!("{found} values to unpack into {wanted} names")));
                }
                for (target, item) in targets.iter().zip(&items.items) {
                    self.assign(target, item.clone())?;
                }
                Ok(())
            }
        }
    }

    fn filtered(&mut self, mut value: Value, chain: &'a [super::ast::Filter]) -> Result<Value> {
        for filter in chain {
            let args = self.args(&filter.args)?;
            value = self.filter(&filter.name, value, args)?;
        }
        Ok(value)
    }

    /// `value | name(args)`.
    fn filter(&mut self, name: &str, value: Value, args: CallArgs) -> Result<Value> {
        self.nested(|_| filters::apply(name, value, args))
    }
}
