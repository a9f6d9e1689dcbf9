//! Asking a filter. Types were checked when it was read; a null that turns up in place of
//! a text makes what is built on it null, and a condition on it false.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Comparison, Expr, Facts, Function};

enum Value<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    Bool(bool),
    Null,
}

/// Whether a condition holds.
pub(super) fn truth(expr: &Expr, facts: &Facts<'_>) -> bool {
    matches!(value(expr, facts), Value::Bool(true))
}

fn value<'a>(expr: &'a Expr, facts: &'a Facts<'_>) -> Value<'a> {
    match expr {
        Expr::Text(text) => Value::Text(text.into()),
        Expr::Number(number) => Value::Number(*number),
        Expr::Bool(bool) => Value::Bool(*bool),
        // A list is only ever asked by `In`.
        Expr::Null | Expr::Groups | Expr::List(_) => Value::Null,
        Expr::UserId => facts
            .user
            .map_or(Value::Null, |user| Value::Text(user.into())),
        Expr::ConnectionId => Value::Text(facts.connection.into()),
        Expr::Not(inner) => Value::Bool(!truth(inner, facts)),
        Expr::And(a, b) => Value::Bool(truth(a, facts) && truth(b, facts)),
        Expr::Or(a, b) => Value::Bool(truth(a, facts) || truth(b, facts)),
        Expr::Compare(comparison, a, b) => {
            Value::Bool(compare(*comparison, &value(a, facts), &value(b, facts)))
        }
        Expr::In(item, list) => Value::Bool(is_in(&value(item, facts), list, facts)),
        Expr::Call(function, arguments) => {
            let values: Vec<_> = arguments.iter().map(|expr| value(expr, facts)).collect();
            call(*function, &values)
        }
    }
}

fn compare(comparison: Comparison, a: &Value<'_>, b: &Value<'_>) -> bool {
    let order = match (a, b) {
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    };
    match comparison {
        Comparison::Eq => order == Some(Ordering::Equal),
        Comparison::Ne => order != Some(Ordering::Equal),
        Comparison::Gt => order == Some(Ordering::Greater),
        Comparison::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Comparison::Lt => order == Some(Ordering::Less),
        Comparison::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
    }
}

fn is_in(item: &Value<'_>, list: &Expr, facts: &Facts<'_>) -> bool {
    match (item, list) {
        (Value::Text(text), Expr::Groups) => facts.groups.contains(&text.as_ref()),
        (_, Expr::List(list)) => list
            .iter()
            .any(|other| compare(Comparison::Eq, item, &value(other, facts))),
        _ => false,
    }
}

fn call<'a>(function: Function, values: &[Value<'a>]) -> Value<'a> {
    let text = |index: usize| match values.get(index) {
        Some(Value::Text(text)) => Some(text.as_ref()),
        _ => None,
    };
    let number = |index: usize| match values.get(index) {
        Some(Value::Number(number)) => Some(number.max(0.0) as usize),
        _ => None,
    };
    let Some(first) = text(0) else {
        return Value::Null;
    };
    let owned = |text: String| Value::Text(Cow::Owned(text));
    match (function, text(1)) {
        (Function::ToLower, _) => owned(first.to_lowercase()),
        (Function::ToUpper, _) => owned(first.to_uppercase()),
        (Function::Trim, _) => owned(first.trim().to_owned()),
        (Function::Length, _) => Value::Number(first.chars().count() as f64),
        (Function::Substring, _) => {
            let skip = number(1).unwrap_or(0);
            let take = if values.len() > 2 {
                number(2).unwrap_or(0)
            } else {
                usize::MAX
            };
            owned(first.chars().skip(skip).take(take).collect())
        }
        (Function::Concat, Some(second)) => owned(format!("{first}{second}")),
        (Function::IndexOf, Some(second)) => Value::Number(
            first
                .find(second)
                .map_or(-1.0, |at| first[..at].chars().count() as f64),
        ),
        (Function::StartsWith, Some(second)) => Value::Bool(first.starts_with(second)),
        (Function::EndsWith, Some(second)) => Value::Bool(first.ends_with(second)),
        (Function::Contains, Some(second)) => Value::Bool(first.contains(second)),
        (_, None) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use crate::hub::filter::{Facts, Filter};

    #[test]
    fn filters_of_the_documentation_choose_the_right_connections() {
        let ann = Facts {
            user: Some("Ann"),
            connection: "c1",
            groups: &["g1", "it's"],
        };
        let nobody = Facts {
            user: None,
            connection: "c2",
            groups: &[],
        };
        for (text, is_ann, is_nobody) in [
            ("userId eq 'Ann'", true, false),
            ("userId ne 'Ann'", false, true),
            ("userId eq null", false, true),
            ("userId ne null", true, false),
            ("'g1' in groups", true, false),
            ("not ('g1' in groups)", false, true),
            ("'it''s' in groups and connectionId eq 'c1'", true, false),
            ("userId in ('Bob', 'Ann')", true, false),
            (
                "tolower(userId) eq 'ann' or connectionId gt 'c1'",
                true,
                true,
            ),
            (
                "startswith(userId, 'A') and endswith(userId,'n')",
                true,
                false,
            ),
            ("contains(connectionId, '2')", false, true),
            ("length(userId) ge 3 and length(userId) lt 4", true, false),
            (
                "substring(userId, 1) eq 'nn' and substring(userId,0,1) eq 'A'",
                true,
                false,
            ),
            ("indexof(userId, 'x') eq -1", true, false),
            ("concat(connectionId, toupper('x')) eq 'c1X'", true, false),
            ("trim(' c2 ') eq connectionId", false, true),
            ("startswith(userId, 'A') eq true", true, false),
            ("true", true, true),
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(
                (filter.accepts(&ann), filter.accepts(&nobody)),
                (is_ann, is_nobody),
                "{text}"
            );
        }
    }
}
