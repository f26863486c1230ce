//! Tokens to statements.

mod expression;

use std::sync::Arc;

use super::ast::{Body, Expr, Filter, For, Macro, Step, Stmt, StmtKind, Target, Uses};
use super::fault::{Failure, Fault, Result};
use super::lexer::{Token, tokens};
use super::text::Text;

/// How deep statements and expressions may nest: parsing, evaluating and dropping them recurses. Python
/// allows less.
const MAX_DEPTH: usize = 200;

/// Parses a template.
pub(super) fn parse(source: &str) -> std::result::Result<Body, Failure> {
    let tokens = tokens(source).map_err(|(fault, line)| Failure { fault, line })?;
    let mut parser = Parser { tokens, at: 0, depth: 0, uses: Vec::new(), n_loops: 0 };
    parser.body(&[]).map_err(|fault| Failure { fault, line: parser.line() })
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    /// What the macros around the present token name.
    uses: Vec<Uses>,
    /// Loops around the present token.
    n_loops: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn line(&self) -> usize {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(found) if *found == op)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if found == name)
    }

    fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.next();
        }
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.next();
        }
        found
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        let found = match self.peek() {
            Token::Data(_) => "text".to_owned(),
            Token::Name(name) => format!("'{name}'"),
            Token::Str(_) => "a string".to_owned(),
            Token::Int(_) | Token::Float(_) => "a number".to_owned(),
            Token::Op(op) => format!("'{op}'"),
            Token::BlockEnd => "'%}'".to_owned(),
            Token::VariableEnd => "'}}'".to_owned(),
            Token::BlockBegin => "'{%'".to_owned(),
            Token::VariableBegin => "'{{'".to_owned(),
            Token::End => "the end of the template".to_owned(),
        };
        Err(Fault::failed(format!("syntax error: expected {wanted}, found {found}")))
    }

    fn expect_op(&mut self, op: &str) -> Result<()> {
        if self.skip_op(op) { Ok(()) } else { self.unexpected(&format!("'{op}'")) }
    }

    fn expect(&mut self, token: &Token, shown: &str) -> Result<()> {
        if self.peek() == token {
            self.next();
            return Ok(());
        }
        self.unexpected(shown)
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.skip_name(word) { Ok(()) } else { self.unexpected(&format!("'{word}'")) }
    }

    fn name(&mut self) -> Result<Arc<str>> {
        match self.peek() {
            Token::Name(name) => {
                let name = name.as_str().into();
                self.next();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::Limit(format!("nests more than {MAX_DEPTH} deep")));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Statements up to a tag that begins with one of `ends`, whose name is the next token then; to the
    /// end of the template if there are none.
    fn body(&mut self, ends: &[&str]) -> Result<Body> {
        let mut body = Body::new();
        loop {
            let line = self.line();
            let kind = match self.next() {
                Token::Data(text) => StmtKind::Text(Text::new(text)?),
                Token::VariableBegin => {
                    let expr = self.tuple_or_expression(true)?;
                    self.expect(&Token::VariableEnd, "'}}'")?;
                    StmtKind::Print(expr)
                }
                Token::BlockBegin => {
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(body);
                    }
                    let statement = self.nested(Self::statement)?;
                    self.expect(&Token::BlockEnd, "'%}'")?;
                    statement
                }
                Token::End if ends.is_empty() => return Ok(body),
                _ => return self.unexpected(&format!("{{% {} %}}", ends.join(" or "))),
            };
            body.push(Stmt { line, kind });
        }
    }

    /// The body of a tag: from the tag's end up to `{% end`, which is consumed.
    fn body_to(&mut self, end: &str) -> Result<Body> {
        self.expect(&Token::BlockEnd, "'%}'")?;
        let body = self.body(&[end])?;
        self.next();
        Ok(body)
    }

    fn statement(&mut self) -> Result<StmtKind> {
        let Token::Name(name) = self.peek().clone() else { return self.unexpected("the name of a tag") };
        self.next();
        match name.as_str() {
            "if" => self.if_statement(),
            "for" => self.for_statement(),
            "set" => self.set_statement(),
            "with" => self.with_statement(),
            "macro" => self.macro_statement(),
            "call" => self.call_statement(),
            "filter" => {
                let first = self.filter()?;
                let filters = self.filters_after(vec![first])?;
                Ok(StmtKind::FilterBlock(filters, self.body_to("endfilter")?))
            }
            "print" => {
                let mut parts = vec![self.expression()?];
                while self.skip_op(",") {
                    parts.push(self.expression()?);
                }
                Ok(StmtKind::Print(Expr::Concat(parts)))
            }
            "generation" => Ok(StmtKind::Scope(self.body_to("endgeneration")?)),
            "autoescape" => {
                if !matches!(self.expression()?, Expr::Bool(false)) {
                    return Err(Fault::Broken("autoescape is not supported".to_owned()));
                }
                Ok(StmtKind::Scope(self.body_to("endautoescape")?))
            }
            "block" => {
                let name = self.name()?;
                let body = self.body_to("endblock")?;
                self.skip_name(&name);
                Ok(StmtKind::Scope(body))
            }
            "break" if self.n_loops > 0 => Ok(StmtKind::Break),
            "continue" if self.n_loops > 0 => Ok(StmtKind::Continue),
            "break" | "continue" => Err(Fault::failed(format!("'{name}' outside of a loop"))),
            "include" | "import" | "from" | "extends" => {
                Err(Fault::failed(format!("'{name}' needs other templates; a chat template stands alone")))
            }
            _ => Err(Fault::failed(format!("syntax error: unknown tag '{name}'"))),
        }
    }

    fn if_statement(&mut self) -> Result<StmtKind> {
        let mut branches = Vec::new();
        let mut condition = Some(self.tuple_or_expression(false)?);
        loop {
            self.expect(&Token::BlockEnd, "'%}'")?;
            let is_last = condition.is_none();
            let body = self.body(if is_last { &["endif"] } else { &["elif", "else", "endif"] })?;
            branches.push((condition, body));
            condition = match self.next() {
                Token::Name(tag) if tag == "elif" => Some(self.tuple_or_expression(false)?),
                Token::Name(tag) if tag == "else" => None,
                _ => return Ok(StmtKind::If(branches)),
            };
        }
    }

    fn for_statement(&mut self) -> Result<StmtKind> {
        let target = self.target(Some("in"))?;
        self.expect_word("in")?;
        let iterable = self.tuple_or_condition_free()?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.expect(&Token::BlockEnd, "'%}'")?;
        self.n_loops += 1;
        let body = self.body(&["endfor", "else"])?;
        self.n_loops -= 1;
        let otherwise = if self.skip_name("else") { self.body_to("endfor")? } else { Body::new() };
        self.skip_name("endfor");
        Ok(StmtKind::For(Box::new(For { target, iterable, condition, body, otherwise, recursive })))
    }

    fn set_statement(&mut self) -> Result<StmtKind> {
        let target = self.target(None)?;
        if self.skip_op("=") {
            return Ok(StmtKind::Set(target, self.tuple_or_expression(true)?));
        }
        let filters = self.filters_after(Vec::new())?;
        Ok(StmtKind::SetBlock(target, filters, self.body_to("endset")?))
    }

    fn with_statement(&mut self) -> Result<StmtKind> {
        let mut names = Vec::new();
        while self.peek() != &Token::BlockEnd {
            if !names.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(None)?;
            self.expect_op("=")?;
            names.push((target, self.expression()?));
        }
        Ok(StmtKind::With(names, self.body_to("endwith")?))
    }

    fn macro_statement(&mut self) -> Result<StmtKind> {
        let name = self.name()?;
        let params = self.params()?;
        Ok(StmtKind::Macro(Arc::new(self.macro_body(name, params, "endmacro")?)))
    }

    fn call_statement(&mut self) -> Result<StmtKind> {
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
        let n_loops = std::mem::take(&mut self.n_loops);
        let body = self.body_to(end)?;
        self.n_loops = n_loops;
        let mut uses = self.uses.pop().unwrap_or_default();
        let is_param = |name: &str| params.iter().any(|(param, _)| &**param == name);
        uses.varargs &= !is_param("varargs");
        uses.kwargs &= !is_param("kwargs");
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
            if default.is_none() && params.iter().any(|(_, default)| default.is_some()) {
                return Err(Fault::failed("a parameter without a default follows one with a default"));
            }
            params.push((name, default));
        }
        Ok(params)
    }

    fn target(&mut self, end: Option<&str>) -> Result<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            targets.push(self.nested(Self::one_target)?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
            if self.is_op("=") || self.is_op(")") || end.is_some_and(|end| self.is_name(end)) {
                break;
            }
        }
        Ok(if is_tuple { Target::Tuple(targets) } else { targets.remove(0) })
    }

    fn one_target(&mut self) -> Result<Target> {
        if self.skip_op("(") {
            let target = self.target(None)?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.name()?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(Fault::failed(format!("cannot assign to {name}")));
        }
        if self.skip_op(".") {
            return Ok(Target::Attribute(name, self.name()?));
        }
        Ok(Target::Name(name))
    }

    /// The filters that follow, behind `filters`.
    fn filters_after(&mut self, mut filters: Vec<Filter>) -> Result<Vec<Filter>> {
        while self.skip_op("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }
}
