//! A parsed template.

use std::sync::Arc;

use super::text::Text;

/// Statements in a row.
pub(super) type Body = Vec<Stmt>;

/// A statement and its line.
#[derive(Debug)]
pub(super) struct Stmt {
    pub line: usize,
    pub kind: StmtKind,
}

/// What a statement does.
#[derive(Debug)]
pub(super) enum StmtKind {
    /// Writes template text.
    Text(Text),
    /// Writes an expression's value.
    Print(Expr),
    /// The branches in turn; the last may be unconditional.
    If(Vec<(Option<Expr>, Body)>),
    For(Box<For>),
    Set(Target, Expr),
    /// Sets what the body writes, after the filters.
    SetBlock(Target, Vec<Filter>, Body),
    With(Vec<(Target, Expr)>, Body),
    Macro(Arc<Macro>),
    /// Calls the expression with the body as `caller`.
    Call(Arc<Macro>, Expr),
    /// Writes what the body writes, after the filters.
    FilterBlock(Vec<Filter>, Body),
    /// A body with names of its own: `generation`, `autoescape`, a `block` that is `scoped`.
    Scope(Body),
    /// A body that sees the names of the template, and none of those around it.
    Block(Body),
    /// A statement of this name, which needs other templates.
    Elsewhere(Arc<str>),
    Break,
    Continue,
}

/// A loop.
#[derive(Debug)]
pub(super) struct For {
    pub target: Target,
    pub iterable: Expr,
    pub condition: Option<Expr>,
    pub body: Body,
    pub otherwise: Body,
    pub recursive: bool,
}

/// A macro, or the body of a `call` block.
#[derive(Debug)]
pub(super) struct Macro {
    pub name: Arc<str>,
    /// The parameters and what they are without an argument.
    pub params: Vec<(Arc<str>, Option<Expr>)>,
    pub body: Body,
    /// Whether the body names them; else surplus arguments are an error.
    pub uses: Uses,
}

/// Which of a macro's implicit arguments its body names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uses {
    pub varargs: bool,
    pub kwargs: bool,
    pub caller: bool,
}

/// What is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    Attribute(Arc<str>, Arc<str>),
    Tuple(Vec<Target>),
}

/// A filter in a chain.
#[derive(Debug)]
pub(super) struct Filter {
    pub name: Arc<str>,
    pub args: Args,
}

/// Arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Args {
    pub positional: Vec<Expr>,
    pub named: Vec<(Arc<str>, Expr)>,
    /// `*args` and `**kwargs`.
    pub more: Option<Box<Expr>>,
    pub more_named: Option<Box<Expr>>,
}

/// An expression.
///
/// Operators in a row stand side by side, so that only nesting makes the tree deep.
#[derive(Debug)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Unary(Unary, Box<Expr>),
    /// Operators of one precedence, from the left.
    Binary(Box<Expr>, Vec<(Binary, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Box<Expr>, Vec<(Compare, Expr)>),
    /// Joins the texts of all.
    Concat(Vec<Expr>),
    /// Condition, value if true, value if false.
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    /// What follows a value, from the left.
    Chain(Box<Expr>, Vec<Step>),
}

/// What may follow a value.
#[derive(Debug)]
pub(super) enum Step {
    Attribute(Arc<str>),
    Item(Expr),
    Slice(Box<[Option<Expr>; 3]>),
    Call(Args),
    Filter(Filter),
    /// A test, and whether it is negated.
    Test(Filter, bool),
}

/// An operator before its operand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unary {
    Minus,
    Plus,
}

/// An operator between operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}
