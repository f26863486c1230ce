//! Expressions, in Jinja's order of precedence: `if`, `or`, `and`, `not`, comparisons, `+ -`, `~`,
//! `* / // %`, `**`, signs, and what follows a value.

use super::super::ast::{Args, Binary, Compare, Expr, Filter, Step, Unary};
use super::super::fault::{Fault, Result};
use super::super::filters;
use super::super::lexer::Token;
use super::super::tests;
use super::super::text::Text;
use super::Parser;

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.nested(Self::conditional)
    }

    /// An expression, or several with commas between them.
    pub(super) fn tuple_or_expression(&mut self, with_conditional: bool) -> Result<Expr> {
        self.tuple(with_conditional, false)
    }

    /// What a `for` runs over: `if` begins its filter.
    pub(super) fn tuple_or_condition_free(&mut self) -> Result<Expr> {
        self.tuple(false, false)
    }

    fn tuple(&mut self, with_conditional: bool, in_parentheses: bool) -> Result<Expr> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let ends = matches!(self.peek(), Token::VariableEnd | Token::BlockEnd | Token::Op(")"))
                || self.is_name("recursive") && !with_conditional;
            if ends {
                break;
            }
            items.push(if with_conditional { self.expression()? } else { self.nested(Self::or)? });
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(item) if !is_tuple => Ok(item),
            Some(item) => {
                items.push(item);
                Ok(Expr::Tuple(items))
            }
            None if in_parentheses => Ok(Expr::Tuple(items)),
            None => self.unexpected("an expression"),
        }
    }

    fn conditional(&mut self) -> Result<Expr> {
        let n_unknown = self.unknown.len();
        let mut expr = self.or()?;
        let mut n_levels = 0;
        while self.skip_name("if") {
            // All three parts are branches.
            self.unknown.truncate(n_unknown);
            let (condition, otherwise) = self.branch(true, |parser| {
                let condition = parser.or()?;
                let otherwise =
                    if parser.skip_name("else") { Some(Box::new(parser.expression()?)) } else { None };
                Ok((condition, otherwise))
            })?;
            expr = Expr::If(Box::new(condition), Box::new(expr), otherwise);
            // Each stands inside of the next.
            n_levels += 1;
            self.check_depth(n_levels)?;
        }
        Ok(expr)
    }

    fn or(&mut self) -> Result<Expr> {
        let first = self.and()?;
        let mut parts = vec![first];
        while self.skip_name("or") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
    }

    fn and(&mut self) -> Result<Expr> {
        let first = self.not()?;
        let mut parts = vec![first];
        while self.skip_name("and") {
            parts.push(self.not()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) })
    }

    fn not(&mut self) -> Result<Expr> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr> {
        let left = self.sum()?;
        let mut ops = Vec::new();
        while let Some(op) = self.comparison() {
            ops.push((op, self.sum()?));
        }
        Ok(if ops.is_empty() { left } else { Expr::Compare(Box::new(left), ops) })
    }

    fn comparison(&mut self) -> Option<Compare> {
        let op = match self.peek() {
            Token::Op("==") => Compare::Eq,
            Token::Op("!=") => Compare::Ne,
            Token::Op("<") => Compare::Lt,
            Token::Op("<=") => Compare::Le,
            Token::Op(">") => Compare::Gt,
            Token::Op(">=") => Compare::Ge,
            Token::Name(name) if name == "in" => Compare::In,
            Token::Name(name) if name == "not" => {
                let (Token::Name(second), _) = self.tokens.get(self.at + 1)? else { return None };
                if second != "in" {
                    return None;
                }
                self.next();
                Compare::NotIn
            }
            _ => return None,
        };
        self.next();
        Some(op)
    }

    /// Operators of one precedence, from the left.
    fn binary(
        &mut self,
        ops: &[(&str, Binary)],
        operand: impl Fn(&mut Self) -> Result<Expr>,
    ) -> Result<Expr> {
        let first = operand(self)?;
        let mut more = Vec::new();
        while let Some((_, op)) = ops.iter().find(|(spelled, _)| self.is_op(spelled)) {
            self.next();
            more.push((*op, operand(self)?));
        }
        Ok(if more.is_empty() { first } else { Expr::Binary(Box::new(first), more) })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.binary(&[("+", Binary::Add), ("-", Binary::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_op("~") {
            parts.push(self.product()?);
        }
        Ok(Expr::Concat(parts))
    }

    fn product(&mut self) -> Result<Expr> {
        let ops = [("*", Binary::Mul), ("/", Binary::Div), ("//", Binary::FloorDiv), ("%", Binary::Mod)];
        self.binary(&ops, Self::power)
    }

    fn power(&mut self) -> Result<Expr> {
        self.binary(&[("**", Binary::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expr> {
        let sign = match self.peek() {
            Token::Op("-") => Some(Unary::Minus),
            Token::Op("+") => Some(Unary::Plus),
            _ => None,
        };
        let expr = if let Some(sign) = sign {
            self.next();
            Expr::Unary(sign, Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let mut steps = Vec::new();
        self.postfix(&mut steps)?;
        if with_filters {
            self.filters_and_tests(&mut steps)?;
        }
        Ok(if steps.is_empty() { expr } else { Expr::Chain(Box::new(expr), steps) })
    }

    fn primary(&mut self) -> Result<Expr> {
        match self.next() {
            Token::Name(name) => Ok(match name.as_str() {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ => {
                    for uses in &mut self.uses {
                        uses.varargs |= name == "varargs";
                        uses.kwargs |= name == "kwargs";
                        uses.caller |= name == "caller";
                    }
                    Expr::Name(name.into())
                }
            }),
            Token::Str(mut text) => {
                while let Token::Str(more) = self.peek() {
                    text.push_str(more);
                    self.next();
                }
                Ok(Expr::Str(Text::new(text)?))
            }
            Token::Int(int) => Ok(Expr::Int(int)),
            Token::Float(float) => Ok(Expr::Float(float)),
            Token::Op("(") => {
                let inner = self.nested(|parser| parser.tuple(true, true))?;
                self.expect_op(")")?;
                Ok(inner)
            }
            Token::Op("[") => Ok(Expr::List(self.items("]", Self::expression)?)),
            Token::Op("{") => Ok(Expr::Dict(self.items("}", |parser| {
                let key = parser.expression()?;
                parser.expect_op(":")?;
                Ok((key, parser.expression()?))
            })?)),
            _ => {
                self.at -= 1;
                self.unexpected("an expression")
            }
        }
    }

    fn items<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.skip_op(close) {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.skip_op(close) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn postfix(&mut self, steps: &mut Vec<Step>) -> Result<()> {
        loop {
            steps.push(if self.skip_op(".") {
                match self.next() {
                    Token::Name(name) => Step::Attribute(name.into()),
                    Token::Int(index) => Step::Item(Expr::Int(index)),
                    _ => {
                        self.at -= 1;
                        return self.unexpected("a name or a number");
                    }
                }
            } else if self.skip_op("[") {
                let step = self.nested(Self::subscript)?;
                self.expect_op("]")?;
                step
            } else if self.is_op("(") {
                Step::Call(self.args()?)
            } else {
                return Ok(());
            });
        }
    }

    /// What stands in brackets: an index, or up to three bounds.
    fn subscript(&mut self) -> Result<Step> {
        let mut bounds = [None, None, None];
        if self.is_op("]") {
            return Ok(Step::Item(Expr::Tuple(Vec::new())));
        }
        if !self.is_op(":") {
            let first = self.expression()?;
            if !self.is_op(":") {
                if !self.skip_op(",") {
                    return Ok(Step::Item(first));
                }
                let mut items = vec![first, self.expression()?];
                while self.skip_op(",") {
                    items.push(self.expression()?);
                }
                return Ok(Step::Item(Expr::Tuple(items)));
            }
            bounds[0] = Some(first);
        }
        for bound in &mut bounds[1..] {
            if !self.skip_op(":") {
                break;
            }
            if !self.is_op(":") && !self.is_op("]") {
                *bound = Some(self.expression()?);
            }
        }
        Ok(Step::Slice(Box::new(bounds)))
    }

    fn args(&mut self) -> Result<Args> {
        let mut args = Args::default();
        self.expect_op("(")?;
        let mut is_first = true;
        while !self.skip_op(")") {
            if !is_first {
                self.expect_op(",")?;
                if self.skip_op(")") {
                    break;
                }
            }
            is_first = false;
            // Nothing but `**` and what is named may follow `*`, and nothing `**`.
            let (is_full, is_closed) = (args.more.is_some(), args.more_named.is_some());
            if !is_full && !is_closed && self.skip_op("*") {
                args.more = Some(Box::new(self.expression()?));
            } else if !is_closed && self.skip_op("**") {
                args.more_named = Some(Box::new(self.expression()?));
            } else if is_closed {
                return Err(Fault::failed("syntax error: an argument follows the last one, '**'"));
            } else if let (Token::Name(name), Some((Token::Op("="), _))) =
                (self.peek().clone(), self.tokens.get(self.at + 1))
            {
                self.at += 2;
                if args.named.iter().any(|(other, _)| **other == *name) {
                    return Err(Fault::failed(format!("syntax error: the argument '{name}' is given twice")));
                }
                args.named.push((name.into(), self.expression()?));
            } else if args.named.is_empty() && !is_full {
                args.positional.push(self.expression()?);
            } else {
                return Err(Fault::failed("syntax error: a positional argument follows a named one"));
            }
        }
        Ok(args)
    }

    fn filters_and_tests(&mut self, steps: &mut Vec<Step>) -> Result<()> {
        loop {
            steps.push(if self.skip_op("|") {
                Step::Filter(self.filter()?)
            } else if self.skip_name("is") {
                self.test()?
            } else if self.is_op("(") {
                Step::Call(self.args()?)
            } else {
                return Ok(());
            });
        }
    }

    pub(super) fn filter(&mut self) -> Result<Filter> {
        let name = self.name()?;
        if !filters::exists(&name) {
            self.note_unknown("filter", &name);
        }
        let args = if self.is_op("(") { self.args()? } else { Args::default() };
        Ok(Filter { name, args })
    }

    fn test(&mut self) -> Result<Step> {
        let negated = self.skip_name("not");
        let name = self.name()?;
        if !tests::exists(&name) {
            self.note_unknown("test", &name);
        }
        let takes_value = match self.peek() {
            Token::Name(name) => !matches!(name.as_str(), "else" | "or" | "and" | "is"),
            Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{") => true,
            _ => false,
        };
        if self.is_name("is") {
            return Err(Fault::failed("syntax error: tests cannot be chained with 'is'"));
        }
        let args = if self.is_op("(") {
            self.args()?
        } else if takes_value {
            let value = self.primary()?;
            let mut steps = Vec::new();
            self.postfix(&mut steps)?;
            let value = if steps.is_empty() { value } else { Expr::Chain(Box::new(value), steps) };
            Args { positional: vec![value], ..Args::default() }
        } else {
            Args::default()
        };
        Ok(Step::Test(Filter { name, args }, negated))
    }
}
