//! `${NAME}`, `${NAME:-default}` and `${NAME:?message}` inside scalars.
//!
//! Two steps, because a value must never be able to add YAML: before the text is scanned,
//! the punctuation of references is protected, so that they may stand unquoted even in
//! `{flow: ${MAPPINGS}}`; after it, scalars get their values. `$${` stands for `${` itself.

use std::borrow::Cow;
use std::rc::Rc;

use super::source::{Mistakes, Place};
use super::tree::{Kind, Node};

/// Looks an environment variable up; a parameter, so that tests bring their own.
pub type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Characters with a meaning in YAML, and what stands for them inside references while the
/// text is scanned: one private character each, so that columns stay right.
const PROTECTED: [(char, char); 8] = [
    ('{', '\u{f8f0}'),
    ('}', '\u{f8f1}'),
    ('[', '\u{f8f2}'),
    (']', '\u{f8f3}'),
    (',', '\u{f8f4}'),
    (':', '\u{f8f5}'),
    ('#', '\u{f8f6}'),
    ('?', '\u{f8f7}'),
];

/// Characters of a reference that may stand unquoted where YAML wants quotes.
const REFERENCE_MAX: usize = 1024;
/// Bytes that the environment may bring into one scenario.
const VALUES_MAX: usize = 1 << 20;

/// Replaces the punctuation inside references by private characters.
pub(super) fn protect(text: &str) -> Cow<'_, str> {
    // A text that uses the private characters itself keeps them; its references have to be
    // quoted where YAML wants it.
    if !text.contains("${") || text.contains(|c| PROTECTED.iter().any(|(_, p)| *p == c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..=start]);
        rest = &rest[start + 1..];
        // A `$` ends the look, too: else many starts without an end would take for ever.
        let mut near = rest.char_indices().take(REFERENCE_MAX);
        let stop = near.find(|(_, c)| "}$\r\n".contains(*c));
        if let Some((end, '}')) = stop
            && split(&rest[1..end]).is_some()
        {
            out.extend(rest[..=end].chars().map(|c| swap(c, |pair| *pair)));
            rest = &rest[end + 1..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Undoes [`protect`].
pub(super) fn restore(text: &str) -> String {
    text.chars().map(|c| swap(c, |(a, b)| (*b, *a))).collect()
}

fn swap(c: char, order: impl Fn(&(char, char)) -> (char, char)) -> char {
    PROTECTED
        .iter()
        .map(order)
        .find(|(from, _)| *from == c)
        .map_or(c, |(_, to)| to)
}

/// What follows the name in a reference.
enum Otherwise<'r> {
    /// `${NAME}`
    Fail,
    /// `${NAME:-default}`: when unset or empty.
    Default(&'r str),
    /// `${NAME:?message}`: when unset or empty.
    Message(&'r str),
}

/// Takes the inside of `${...}` apart; `None` when it is no reference.
fn split(inside: &str) -> Option<(&str, Otherwise<'_>)> {
    let (name, rest) = inside.split_at(
        inside
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(inside.len()),
    );
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let otherwise = match rest {
        "" => Otherwise::Fail,
        // A reference inside a default would end at the wrong brace.
        _ if rest.contains("${") => return None,
        _ if rest.starts_with(":-") => Otherwise::Default(&rest[2..]),
        _ if rest.starts_with(":?") => Otherwise::Message(&rest[2..]),
        _ => return None,
    };
    Some((name, otherwise))
}

/// Replaces the references in every scalar of a tree.
pub(in crate::scenario) fn substitute(root: &mut Rc<Node>, env: Env<'_>, mistakes: &mut Mistakes) {
    let mut expander = Expander {
        env,
        room: VALUES_MAX,
        mistakes,
    };
    expander.node(root);
}

struct Expander<'e, 'm> {
    env: Env<'e>,
    /// Of [`VALUES_MAX`], what is left.
    room: usize,
    mistakes: &'m mut Mistakes,
}

impl Expander<'_, '_> {
    fn node(&mut self, node: &mut Rc<Node>) {
        let node = Rc::make_mut(node);
        match &mut node.kind {
            Kind::Scalar(scalar) => {
                if scalar.raw.contains("${") {
                    let value = self.expand(&scalar.raw, node.place);
                    scalar.broken = value.is_none();
                    scalar.value = value.unwrap_or_default();
                }
            }
            Kind::Seq(items) => items.iter_mut().for_each(|item| self.node(item)),
            Kind::Map(entries) => {
                for entry in entries {
                    self.node(&mut entry.value);
                }
            }
        }
    }

    /// The text with its references replaced; `None` when one has no value.
    fn expand(&mut self, raw: &str, place: Place) -> Option<String> {
        let mut out = String::new();
        let mut whole = true;
        let mut rest = raw;
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                // `$${` is written for `${`.
                out.push_str(&rest[..start - 1]);
                out.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            out.push_str(&rest[..start]);
            let inside = &rest[start + 2..];
            let end = inside.find('}');
            let reference = end.and_then(|end| split(&inside[..end]));
            match reference {
                Some((name, otherwise)) => match self.value(name, otherwise, place) {
                    Some(value) => out.push_str(&value),
                    None => whole = false,
                },
                None => {
                    whole = false;
                    self.mistakes
                        .add(place, "`${` does not start a reference to the environment")
                        .expected("${NAME}, ${NAME:-default} or ${NAME:?message}")
                        .mend("write $${ for the characters ${ themselves");
                }
            }
            rest = &inside[end.map_or(inside.len(), |end| end + 1)..];
        }
        out.push_str(rest);
        whole.then_some(out)
    }

    fn value(&mut self, name: &str, otherwise: Otherwise<'_>, place: Place) -> Option<String> {
        match lookup(name, otherwise, self.env) {
            Ok(value) if value.len() <= self.room => {
                self.room -= value.len();
                Some(value)
            }
            Ok(_) => {
                let what = format!("the environment brings in more than {VALUES_MAX} bytes");
                self.mistakes.add(place, what);
                None
            }
            Err(why) => {
                let mend = format!("set it, or write ${{{name}:-default}}");
                self.mistakes
                    .add(place, format!("environment variable {name}: {why}"))
                    .mend(mend);
                None
            }
        }
    }
}

fn lookup(name: &str, otherwise: Otherwise<'_>, env: Env<'_>) -> Result<String, String> {
    let set = env(name);
    let filled = |set: Option<String>| set.filter(|value| !value.is_empty());
    match otherwise {
        Otherwise::Fail => set.ok_or_else(|| "not set".into()),
        Otherwise::Default(default) => Ok(filled(set).unwrap_or_else(|| default.to_owned())),
        Otherwise::Message("") => filled(set).ok_or_else(|| "not set or empty".into()),
        Otherwise::Message(message) => filled(set).ok_or_else(|| message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(raw: &str) -> Option<String> {
        let env = |name: &str| match name {
            "A" => Some("a: [b]\n".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let place = Place {
            source: 0,
            line: 1,
            column: 1,
            width: 1,
        };
        let mut mistakes = Mistakes::default();
        let mut expander = Expander {
            env: &env,
            room: VALUES_MAX,
            mistakes: &mut mistakes,
        };
        let out = expander.expand(raw, place);
        assert_eq!(out.is_none(), !mistakes.is_empty(), "{raw}");
        out
    }

    #[test]
    fn references_are_replaced_and_defaults_hold() {
        for (raw, value) in [
            ("x${A}y", Some("xa: [b]\ny")),
            ("${EMPTY}|${EMPTY:-d}|${B:-d}|${B:-}", Some("|d|d|")),
            ("${B}", None),
            ("${EMPTY:?why}", None),
            ("${A:?why}", Some("a: [b]\n")),
            ("$${A} $$${A} $A $$", Some("${A} $${A} $A $$")),
            ("${A", None),
            ("${A-b}", None),
            ("${1A}", None),
            ("${B:-${A}}", None),
        ] {
            assert_eq!(expanded(raw).as_deref(), value, "{raw}");
        }
    }

    #[test]
    fn protection_keeps_columns_and_is_undone() {
        let text = "{a: ${B:-[x, y]: #}, c: ${D}} ${no";
        let safe = protect(text);
        assert_eq!(safe.chars().count(), text.chars().count());
        assert!(safe.contains("{a: $\u{f8f0}B"), "{safe}");
        assert_eq!(restore(&safe), text);
    }
}
