//! Hides secrets in text that people or files will see.
//!
//! A last line of defence for text that comes from elsewhere (library errors, refusal
//! bodies, recorded frames). Our own secrets are `SecretString`s and never get this far.

/// What replaces a secret.
const HIDDEN: &str = "***";

/// What comes before a secret, in lower case, and what ends the secret. White space and
/// quotes end every secret.
const SECRETS: [(&str, &[char]); 5] = [
    ("access_token=", URL_END),
    ("awps_reconnection_token=", URL_END),
    ("accesskey=", &[';']),
    ("\"reconnectiontoken\":\"", &[]),
    ("bearer ey", URL_END),
];
const URL_END: &[char] = &['&', ';', '#', '<', '>', ')'];

/// The text with the value of every access token, reconnection token and access key in it
/// replaced by `***`. Works on any text: URLs, connection strings, frames, log lines.
pub fn mask(text: &str) -> String {
    // ASCII case folding keeps every byte's place, so places in `folded` are places in `text`.
    let folded = text.to_ascii_lowercase();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while let Some((value, ends)) = next_secret(&folded, at) {
        masked.push_str(&text[at..value]);
        let length = text[value..]
            .find(|c: char| ends.contains(&c) || c.is_whitespace() || matches!(c, '"' | '\'' | '`'))
            .unwrap_or(text.len() - value);
        if length > 0 {
            masked.push_str(HIDDEN);
        }
        at = value + length;
    }
    masked.push_str(&text[at..]);
    masked
}

/// Where the first secret's value at or after `from` begins, and what ends it.
fn next_secret(folded: &str, from: usize) -> Option<(usize, &'static [char])> {
    SECRETS
        .iter()
        .filter_map(|(name, ends)| {
            let found = folded[from..].find(name)?;
            Some((from + found + name.len(), *ends))
        })
        .min_by_key(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_leaked_token_in_a_log_would_let_a_reader_connect_as_the_user() {
        for (text, expected) in [
            (
                "wss://h/client/hubs/x?access_token=eyJ.a.b&awps_connection_id=c1&awps_reconnection_token=t%2F1",
                "wss://h/client/hubs/x?access_token=***&awps_connection_id=c1&awps_reconnection_token=***",
            ),
            (
                "Endpoint=https://h;AccessKey=ab+/c==;Version=1.0;",
                "Endpoint=https://h;AccessKey=***;Version=1.0;",
            ),
            (
                "ACCESSKEY=abc and Access_Token=\"x y",
                "ACCESSKEY=*** and Access_Token=\"x y",
            ),
            (
                r#"{"type":"system","reconnectionToken":"abc","userId":"u"}"#,
                r#"{"type":"system","reconnectionToken":"***","userId":"u"}"#,
            ),
            (
                "authorization: Bearer eyJ.a.b\n",
                "authorization: Bearer ey***\n",
            ),
            ("access_token=", "access_token="),
            ("nothing to hide", "nothing to hide"),
        ] {
            assert_eq!(mask(text), expected);
        }
    }

    proptest! {
        #[test]
        fn no_secret_survives_wherever_it_stands(
            before in "\\PC*",
            name in prop::sample::select(vec!["access_token=", "awps_reconnection_token=", "AccessKey="]),
            secret in "[A-Za-z0-9._-]{8,40}",
            after in "([&; \"'].*)?",
        ) {
            // The secret must be findable in the first place only where we put it.
            prop_assume!(!before.contains(&secret) && !after.contains(&secret));
            let text = format!("{before}{name}{secret}{after}");
            prop_assert!(!mask(&text).contains(&secret), "{text:?} -> {:?}", mask(&text));
        }
    }
}
