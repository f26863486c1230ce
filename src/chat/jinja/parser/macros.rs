//! Macros, and what is assigned to.

use std::sync::Arc;

use super::super::ast::{Expr, Macro, Step, StmtKind, Target, Uses};
use super::super::fault::{Fault, Result};
use super::Parser;

impl Parser {
    pub(super) fn macro_statement(&mut self) -> Result<StmtKind> {
        let name = self.name()?;
        let params = self.params()?;
        Ok(StmtKind::Macro(Arc::new(self.macro_body(name, params, "endmacro")?)))
    }

    pub(super) fn call_statement(&mut self) -> Result<StmtKind> {
        let params = if self.is_op("(") { self.params()? } else { Vec::new() };
        let call = self.expression()?;
        let is_call = matches!(&call, Expr::Chain(_, steps) if matches!(steps.last(), Some(Step::Call(_))));
        if !is_call {
            return Err(Fault::failed("syntax error: 'call' wants a call"));
        }
        Ok(StmtKind::Call(Arc::new(self.macro_body("caller".into(), params, "endcall")?), call))
    }

    fn macro_body(
        &mut self,
        name: Arc<str>,
        params: Vec<(Arc<str>, Option<Expr>)>,
        end: &str,
    ) -> Result<Macro> {
        self.uses.push(Uses::default());
        let body = self.outside_loops(|parser| parser.body_to(end))?;
        let mut uses = self.uses.pop().unwrap_or_default();
        let is_param = |name: &str| params.iter().any(|(param, _)| &**param == name);
        uses.varargs &= !is_param("varargs");
        uses.kwargs &= !is_param("kwargs");
        uses.caller &= !is_param("caller");
        Ok(Macro { name, params, body, uses })
    }

    fn params(&mut self) -> Result<Vec<(Arc<str>, Option<Expr>)>> {
        let mut params: Vec<(Arc<str>, Option<Expr>)> = Vec::new();
        self.expect_op("(")?;
        while !self.skip_op(")") {
            if !params.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.name()?;
            let default = if self.skip_op("=") { Some(self.expression()?) } else { None };
            if &*name == "caller" && default.is_none() {
                return Err(Fault::failed("the parameter 'caller' of a macro must have a default"));
            }
            if params.iter().any(|(param, _)| *param == name) {
                return Err(Fault::failed(format!("duplicate parameter '{name}' of a macro")));
            }
            if default.is_none() && params.iter().any(|(_, default)| default.is_some()) {
                return Err(Fault::failed("a parameter without a default follows one with a default"));
            }
            params.push((name, default));
        }
        Ok(params)
    }

    /// What is assigned to, up to the name `end` if there is one; a part of a namespace only if `with_namespace`.
    pub(super) fn target(&mut self, end: Option<&str>, with_namespace: bool) -> Result<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            targets.push(self.nested(|parser| parser.one_target(with_namespace))?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
            if self.is_op(")") || end.is_some_and(|end| self.is_name(end)) {
                break;
            }
        }
        Ok(if is_tuple { Target::Tuple(targets) } else { targets.remove(0) })
    }

    fn one_target(&mut self, with_namespace: bool) -> Result<Target> {
        if self.skip_op("(") {
            let target = self.target(None, with_namespace)?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.name()?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(Fault::failed(format!("cannot assign to {name}")));
        }
        if with_namespace && self.skip_op(".") {
            return Ok(Target::Attribute(name, self.name()?));
        }
        Ok(Target::Name(name))
    }
}

/// Refuses to assign to the `loop` of a loop.
pub(super) fn check_target(target: &Target) -> Result<()> {
    match target {
        Target::Name(name) if &**name == "loop" => Err(Fault::failed("cannot assign to the loop of a loop")),
        Target::Tuple(targets) => targets.iter().try_for_each(check_target),
        _ => Ok(()),
    }
}
