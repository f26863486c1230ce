//! Tokens to statements.

mod expression;
mod macros;

use std::sync::Arc;

use super::ast::{Body, Expr, Filter, For, Stmt, StmtKind, Uses};
use super::fault::{Failure, Fault, Result};
use super::lexer::{Token, tokens};
use super::text::Text;
use macros::check_target;

/// How deep statements and expressions may nest: parsing, evaluating and dropping them recurses. Python
/// allows less.
const MAX_DEPTH: usize = 200;

/// Parses a template.
pub(super) fn parse(source: &str) -> std::result::Result<Body, Failure> {
    let tokens = tokens(source).map_err(|(fault, line)| Failure { fault, line })?;
    let mut parser = Parser { tokens, ..Parser::default() };
    let body = parser.body(&[]).map_err(|fault| Failure { fault, line: parser.line() })?;
    match parser.unknown.into_iter().next() {
        Some((what, line)) => Err(Failure { fault: Fault::Broken(what), line }),
        None => Ok(body),
    }
}

#[derive(Default)]
struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    /// What the macros around the present token name.
    uses: Vec<Uses>,
    /// Loops around the present token that it can end.
    n_loops: usize,
    /// Loops around the present token.
    n_fors: usize,
    /// Whether the present token is of a branch, where a name that nothing has matters only if the branch is taken.
    in_branch: bool,
    /// Filters and tests that there are not, outside of branches, and their lines.
    unknown: Vec<(String, usize)>,
    blocks: Vec<Arc<str>>,
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

    /// Notes that there is no `kind` called `name`, which matters unless the text is of a branch.
    fn note_unknown(&mut self, kind: &str, name: &str) {
        if !self.in_branch {
            self.unknown.push((format!("no {kind} named '{name}'"), self.line()));
        }
    }

    /// Runs `parse` as part of a branch, or outside of all.
    fn branch<T>(&mut self, in_branch: bool, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let around = std::mem::replace(&mut self.in_branch, in_branch);
        let parsed = parse(self);
        self.in_branch = around;
        parsed
    }

    /// Runs `parse` where no loop around can be ended.
    fn outside_loops<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let n_loops = std::mem::take(&mut self.n_loops);
        let parsed = parse(self);
        self.n_loops = n_loops;
        parsed
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

    /// Refuses what nests `more` levels deeper than here.
    fn check_depth(&self, more: usize) -> Result<()> {
        if self.depth + more > MAX_DEPTH {
            return Err(Fault::Limit(format!("nests more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.check_depth(1)?;
        self.depth += 1;
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
        let body = self.branch(false, |parser| parser.body(&[end]))?;
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
                let filters = self.branch(false, |parser| {
                    let first = parser.filter()?;
                    parser.filters_after(vec![first])
                })?;
                Ok(StmtKind::FilterBlock(filters, self.body_to("endfilter")?))
            }
            "print" => {
                let mut parts = vec![self.expression()?];
                while self.skip_op(",") {
                    parts.push(self.expression()?);
                }
                Ok(StmtKind::Print(Expr::Concat(parts)))
            }
            "generation" => {
                Ok(StmtKind::Scope(self.outside_loops(|parser| parser.body_to("endgeneration"))?))
            }
            "autoescape" => {
                if !matches!(self.expression()?, Expr::Bool(false)) {
                    return Err(Fault::Broken("autoescape is not supported".to_owned()));
                }
                Ok(StmtKind::Scope(self.body_to("endautoescape")?))
            }
            "block" => self.block_statement(),
            "break" if self.n_loops > 0 => Ok(StmtKind::Break),
            "continue" if self.n_loops > 0 => Ok(StmtKind::Continue),
            "break" | "continue" => Err(Fault::failed(format!("'{name}' outside of a loop"))),
            "include" | "import" | "from" | "extends" => {
                while !matches!(self.peek(), Token::BlockEnd | Token::End) {
                    self.next();
                }
                Ok(StmtKind::Elsewhere(name.into()))
            }
            _ => Err(Fault::failed(format!("syntax error: unknown tag '{name}'"))),
        }
    }

    /// A block, which sees the names of the template alone unless it is `scoped`.
    fn block_statement(&mut self) -> Result<StmtKind> {
        let name = self.name()?;
        if self.blocks.contains(&name) {
            return Err(Fault::failed(format!("block '{name}' defined twice")));
        }
        self.blocks.push(name.clone());
        let is_scoped = self.skip_name("scoped");
        if self.is_name("required") {
            return Err(Fault::failed(format!(
                "block '{name}' is required of a template that extends this one; a chat template stands alone"
            )));
        }
        let body = self.outside_loops(|parser| parser.body_to("endblock"))?;
        self.skip_name(&name);
        Ok(if is_scoped { StmtKind::Scope(body) } else { StmtKind::Block(body) })
    }

    fn if_statement(&mut self) -> Result<StmtKind> {
        self.branch(true, Self::branches)
    }

    fn branches(&mut self) -> Result<StmtKind> {
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
        self.n_fors += 1;
        let target = self.target(Some("in"), false)?;
        check_target(&target)?;
        self.expect_word("in")?;
        let iterable = self.tuple_or_condition_free()?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.expect(&Token::BlockEnd, "'%}'")?;
        self.n_loops += 1;
        let body = self.branch(false, |parser| parser.body(&["endfor", "else"]))?;
        self.n_loops -= 1;
        let otherwise = if self.skip_name("else") { self.body_to("endfor")? } else { Body::new() };
        self.skip_name("endfor");
        self.n_fors -= 1;
        Ok(StmtKind::For(Box::new(For { target, iterable, condition, body, otherwise, recursive })))
    }

    fn set_statement(&mut self) -> Result<StmtKind> {
        let target = self.target(None, true)?;
        if self.n_fors > 0 {
            check_target(&target)?;
        }
        if self.skip_op("=") {
            return Ok(StmtKind::Set(target, self.tuple_or_expression(true)?));
        }
        let filters = self.branch(false, |parser| parser.filters_after(Vec::new()))?;
        Ok(StmtKind::SetBlock(target, filters, self.body_to("endset")?))
    }

    fn with_statement(&mut self) -> Result<StmtKind> {
        let mut names = Vec::new();
        while self.peek() != &Token::BlockEnd {
            if !names.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(None, false)?;
            self.expect_op("=")?;
            names.push((target, self.expression()?));
        }
        Ok(StmtKind::With(names, self.body_to("endwith")?))
    }

    /// The filters that follow, behind `filters`.
    fn filters_after(&mut self, mut filters: Vec<Filter>) -> Result<Vec<Filter>> {
        while self.skip_op("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }
}
