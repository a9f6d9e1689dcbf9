//! Filters of the service API: the OData subset that the service documents. Pure.
//!
//! `parse` reads the text and checks its types, so that `eval` cannot fail. Fields are
//! `userId`, `connectionId` and `groups`. Source: docs, OData filter syntax.

mod eval;
mod lex;
mod parse;

pub(crate) use parse::FilterError;

/// What a filter is asked about.
pub(crate) struct Facts<'a> {
    /// `None`: the connection has no user, `userId` is null.
    pub(crate) user: Option<&'a str>,
    pub(crate) connection: &'a str,
    pub(crate) groups: &'a [&'a str],
}

/// A filter that can be asked.
#[derive(Debug)]
pub(crate) struct Filter(Expr);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Where it cannot be understood, and what was expected there.
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Filter)
    }

    /// Whether a connection is meant.
    pub(crate) fn accepts(&self, facts: &Facts<'_>) -> bool {
        eval::truth(&self.0, facts)
    }
}

/// The type of an expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Text,
    Number,
    Bool,
    Null,
    /// `groups`, or a list in parentheses.
    List,
}

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Function {
    ToLower,
    ToUpper,
    Trim,
    Length,
    Concat,
    IndexOf,
    StartsWith,
    EndsWith,
    Contains,
    Substring,
}

/// An expression whose types have been checked.
#[derive(Debug)]
enum Expr {
    Text(String),
    Number(f64),
    Bool(bool),
    Null,
    UserId,
    ConnectionId,
    Groups,
    List(Vec<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    In(Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
}
