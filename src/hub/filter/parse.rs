//! Reading a filter: words to a checked expression.

use super::lex::{Token, Word, words};
use super::{Comparison, Expr, Function, Type};

/// Comparisons, functions and connectives in one filter. Source: docs, OData filter.
const CLAUSES_MAX: usize = 100;
/// Parentheses, calls and nots inside each other.
const DEPTH_MAX: usize = 50;

/// Why a filter cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter: {what}, at character {at}")]
pub(crate) struct FilterError {
    at: usize,
    what: String,
}

struct Parser<'a> {
    text: &'a str,
    words: Vec<Token<'a>>,
    next: usize,
    clauses: usize,
    depth: usize,
}

type Typed = (Expr, Type);

pub(super) fn parse(text: &str) -> Result<Expr, FilterError> {
    let mut parser = Parser {
        text,
        words: Vec::new(),
        next: 0,
        clauses: 0,
        depth: 0,
    };
    match words(text) {
        Ok(words) => parser.words = words,
        Err(at) => {
            return Err(FilterError {
                at: text[..at].chars().count() + 1,
                what: "a character that has no place here, or a text without its end quote".into(),
            });
        }
    }
    let expr = parser.either()?;
    if parser.next < parser.words.len() {
        return parser.fail("expected `and`, `or` or the end");
    }
    parser.boolean(expr)
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, what: impl Into<String>) -> Result<T, FilterError> {
        let at = self
            .words
            .get(self.next)
            .map_or(self.text.len(), |token| token.at);
        Err(FilterError {
            at: self.text[..at].chars().count() + 1,
            what: what.into(),
        })
    }

    fn peek(&self) -> Option<&Word<'a>> {
        self.words.get(self.next).map(|token| &token.word)
    }

    fn takes(&mut self, word: &Word<'_>) -> bool {
        let found = self.peek() == Some(word);
        self.next += usize::from(found);
        found
    }

    fn takes_name(&mut self, name: &str) -> bool {
        self.takes(&Word::Name(name))
    }

    fn expect(&mut self, word: &Word<'_>, what: &str) -> Result<(), FilterError> {
        if self.takes(word) {
            return Ok(());
        }
        self.fail(format!("expected {what}"))
    }

    fn count(&mut self) -> Result<(), FilterError> {
        self.clauses += 1;
        if self.clauses > CLAUSES_MAX {
            return self.fail("more than 100 clauses");
        }
        Ok(())
    }

    /// Goes one level deeper for the time of `read`.
    fn inside<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail("nested more than 50 deep");
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn boolean(&self, (expr, kind): Typed) -> Result<Expr, FilterError> {
        match kind {
            Type::Bool => Ok(expr),
            _ => self.fail("expected a condition before this"),
        }
    }

    fn either(&mut self) -> Result<Typed, FilterError> {
        let mut left = self.both()?;
        while self.takes_name("or") {
            self.count()?;
            let a = self.boolean(left)?;
            let right = self.both()?;
            let b = self.boolean(right)?;
            left = (Expr::Or(Box::new(a), Box::new(b)), Type::Bool);
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Typed, FilterError> {
        let mut left = self.negation()?;
        while self.takes_name("and") {
            self.count()?;
            let a = self.boolean(left)?;
            let right = self.negation()?;
            let b = self.boolean(right)?;
            left = (Expr::And(Box::new(a), Box::new(b)), Type::Bool);
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Typed, FilterError> {
        if !self.takes_name("not") {
            return self.comparison();
        }
        self.count()?;
        let inner = self.inside(Self::negation)?;
        let inner = self.boolean(inner)?;
        Ok((Expr::Not(Box::new(inner)), Type::Bool))
    }

    fn comparison(&mut self) -> Result<Typed, FilterError> {
        let (left, left_type) = self.operand()?;
        let operator = match self.peek() {
            Some(Word::Name("eq")) => Comparison::Eq,
            Some(Word::Name("ne")) => Comparison::Ne,
            Some(Word::Name("gt")) => Comparison::Gt,
            Some(Word::Name("ge")) => Comparison::Ge,
            Some(Word::Name("lt")) => Comparison::Lt,
            Some(Word::Name("le")) => Comparison::Le,
            Some(Word::Name("in")) => return self.membership(left, left_type),
            _ => return Ok((left, left_type)),
        };
        self.next += 1;
        self.count()?;
        let (right, right_type) = self.operand()?;
        let is_equality = matches!(operator, Comparison::Eq | Comparison::Ne);
        let comparable = match (left_type, right_type) {
            (Type::List, _) | (_, Type::List) => false,
            (Type::Null, _) | (_, Type::Null) => is_equality,
            (Type::Bool, Type::Bool) => is_equality,
            (a, b) => a == b,
        };
        if !comparable {
            return self.fail("the two sides before this cannot be compared so");
        }
        Ok((
            Expr::Compare(operator, Box::new(left), Box::new(right)),
            Type::Bool,
        ))
    }

    fn membership(&mut self, left: Expr, left_type: Type) -> Result<Typed, FilterError> {
        self.next += 1;
        self.count()?;
        let right = if self.takes_name("groups") {
            Expr::Groups
        } else {
            self.expect(&Word::Open, "`groups` or a list in parentheses")?;
            let mut list = Vec::new();
            loop {
                let (item, item_type) = self.operand()?;
                if item_type != left_type {
                    return self.fail("the list before this has items of another type");
                }
                list.push(item);
                if !self.takes(&Word::Comma) {
                    break;
                }
            }
            self.expect(&Word::Close, "`,` or `)`")?;
            Expr::List(list)
        };
        if left_type != Type::Text && !matches!(right, Expr::List(_)) {
            return self.fail("only a text can be in groups");
        }
        Ok((Expr::In(Box::new(left), Box::new(right)), Type::Bool))
    }

    fn operand(&mut self) -> Result<Typed, FilterError> {
        let Some(word) = self.peek().cloned() else {
            return self.fail("expected a value");
        };
        let name = match word {
            Word::Text(text) => {
                self.next += 1;
                return Ok((Expr::Text(text), Type::Text));
            }
            Word::Number(number) => {
                self.next += 1;
                return Ok((Expr::Number(number), Type::Number));
            }
            Word::Open => {
                self.next += 1;
                let inner = self.inside(Self::either)?;
                self.expect(&Word::Close, "`)`")?;
                return Ok(inner);
            }
            Word::Close | Word::Comma => return self.fail("expected a value"),
            Word::Name(name) => name,
        };
        let typed = match name {
            "true" | "false" => (Expr::Bool(name == "true"), Type::Bool),
            "null" => (Expr::Null, Type::Null),
            "userId" => (Expr::UserId, Type::Text),
            "connectionId" => (Expr::ConnectionId, Type::Text),
            "groups" => (Expr::Groups, Type::List),
            _ => return self.call(name),
        };
        self.next += 1;
        Ok(typed)
    }

    fn call(&mut self, name: &str) -> Result<Typed, FilterError> {
        use Type::{Bool, Number, Text};
        let (function, arguments, result): (_, &[Type], _) = match name {
            "tolower" => (Function::ToLower, &[Text], Text),
            "toupper" => (Function::ToUpper, &[Text], Text),
            "trim" => (Function::Trim, &[Text], Text),
            "length" => (Function::Length, &[Text], Number),
            "concat" => (Function::Concat, &[Text, Text], Text),
            "indexof" => (Function::IndexOf, &[Text, Text], Number),
            "startswith" => (Function::StartsWith, &[Text, Text], Bool),
            "endswith" => (Function::EndsWith, &[Text, Text], Bool),
            "contains" => (Function::Contains, &[Text, Text], Bool),
            "substring" => (Function::Substring, &[Text, Number, Number], Text),
            _ => {
                return self.fail(format!(
                    "{:?} is no field (userId, connectionId, groups) and no function",
                    name.chars().take(40).collect::<String>()
                ));
            }
        };
        self.next += 1;
        self.count()?;
        self.expect(&Word::Open, "`(`")?;
        let mut values = Vec::new();
        for (index, &wanted) in arguments.iter().enumerate() {
            if index > 0 {
                // The length of a substring may be left out.
                if function == Function::Substring
                    && index == 2
                    && self.peek() == Some(&Word::Close)
                {
                    break;
                }
                self.expect(&Word::Comma, "`,`")?;
            }
            let (value, kind) = self.inside(Self::either)?;
            if kind != wanted {
                return self.fail("an argument of another type before this");
            }
            values.push(value);
        }
        self.expect(&Word::Close, "`)`")?;
        Ok((Expr::Call(function, values), result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_with_the_place() {
        for (text, says) in [
            ("", "expected a value, at character 1"),
            ("userId", "condition"),
            ("userId eq", "expected a value"),
            ("userId eq 1", "cannot be compared"),
            ("userId eq 'x", "end quote, at character 11"),
            ("name eq 'x'", "no field"),
            ("'g' in userId", "`groups`"),
            ("1 in groups", "only a text"),
            ("groups eq 'g'", "cannot be compared"),
            ("not userId", "condition"),
            ("length('a','b') eq 1", "`)`"),
            ("startswith(userId,1)", "another type"),
            ("userId in ('a',1)", "another type"),
            ("userId eq 'a' userId", "the end"),
            ("null gt userId", "cannot be compared"),
            ("userId eq 'é' ; x", "at character 15"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = "(".repeat(10_000);
        assert!(parse(&deep).unwrap_err().to_string().contains("deep"));
        let long = vec!["userId eq 'a'"; 100].join(" or ");
        assert!(parse(&long).unwrap_err().to_string().contains("clauses"));
    }
}
