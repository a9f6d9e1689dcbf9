//! Finds what must never be shown in a tree: values under keys that hold secrets, even
//! misspelt, and texts that carry one. They are starred out in source lines and in messages.

use std::rc::Rc;

use super::source::Sources;
use super::tree::{Kind, Node};

/// Marks the secrets of a scenario's tree.
pub(in crate::scenario) fn mark(root: &mut Rc<Node>, sources: &mut Sources) {
    walk(root, "", false, sources);
}

/// `in_target`: everything is secret but what is known not to be.
fn walk(node: &mut Rc<Node>, key: &str, in_target: bool, sources: &mut Sources) {
    let node = Rc::make_mut(node);
    match &mut node.kind {
        Kind::Scalar(scalar) => {
            let by_key = if in_target {
                !matches!(key, "endpoint" | "hub")
            } else {
                names_a_secret(key)
            };
            scalar.secret =
                (by_key || carries_a_secret(&scalar.raw)) && !only_a_reference(&scalar.raw);
            if scalar.secret {
                sources.hide(node.stretch);
            }
        }
        Kind::Seq(items) => {
            for item in items {
                walk(item, key, in_target, sources);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                let in_target = in_target || entry.key == "target";
                walk(&mut entry.value, &entry.key, in_target, sources);
            }
        }
    }
}

/// Whether a text is `${NAME}` or the like and nothing else: it shows no value.
fn only_a_reference(raw: &str) -> bool {
    let one = raw.starts_with("${") && raw.find('}') == Some(raw.len() - 1);
    one && (raw.ends_with(":-}") || !raw.contains(":-"))
}

/// Whether a key looks like one whose value is secret.
pub(in crate::scenario) fn names_a_secret(key: &str) -> bool {
    const WORDS: [&str; 7] = [
        "key",
        "secret",
        "token",
        "password",
        "connectionstring",
        "accessurl",
        "credential",
    ];
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    // How long a token is valid is no secret, and a person who mistypes it wants to see it.
    let of_a_token = ["lifetime", "ttl"].iter().any(|end| plain.ends_with(end));
    WORDS.iter().any(|word| plain.contains(word)) && !of_a_token
}

/// Whether a text has a secret in it: a connection string, a URL with a query or a
/// password.
pub(in crate::scenario) fn carries_a_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let in_url = |rest: &str| {
        // A query may hold a token under any name.
        rest.contains('?') || rest.split('/').next().unwrap_or("").contains('@')
    };
    lower.contains("accesskey=")
        || lower.contains("access_token=")
        || lower
            .split_once("://")
            .is_some_and(|(_, rest)| in_url(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_key_or_by_look() {
        for key in [
            "access_key",
            "acces_kye_key",
            "AccessKey",
            "connection-string",
            "token",
        ] {
            assert!(names_a_secret(key), "{key}");
        }
        for key in [
            "endpoint",
            "hub",
            "clients",
            "kind",
            "token_lifetime",
            "tokenLifetime",
        ] {
            assert!(!names_a_secret(key), "{key}");
        }
        assert!(carries_a_secret("Endpoint=http://a;AccessKey=b;"));
        assert!(carries_a_secret("wss://a/client?access_token=b"));
        assert!(carries_a_secret("http://user:pass@host/x"));
        assert!(carries_a_secret("http://host?code=b"));
        assert!(!carries_a_secret("http://host/a@b"));
    }
}
