//! The words of a filter.

/// A word and where it begins, in bytes.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) word: Word<'a>,
}

/// What a word is.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Word<'a> {
    Name(&'a str),
    Text(String),
    Number(f64),
    Open,
    Close,
    Comma,
}

/// Cuts a filter into words; where it cannot, gives that place.
pub(super) fn words(text: &str) -> Result<Vec<Token<'_>>, usize> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            return Ok(words);
        };
        let (word, length) = match first {
            '(' => (Word::Open, 1),
            ')' => (Word::Close, 1),
            ',' => (Word::Comma, 1),
            '\'' => quoted(rest).ok_or(at)?,
            '0'..='9' | '-' => {
                let end = rest[1..]
                    .find(|c: char| !c.is_ascii_digit() && c != '.')
                    .map_or(rest.len(), |end| end + 1);
                (Word::Number(rest[..end].parse().map_err(|_| at)?), end)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                (Word::Name(&rest[..end]), end)
            }
            _ => return Err(at),
        };
        words.push(Token { at, word });
        rest = &rest[length..];
    }
}

/// A text in single quotes; two of them inside mean one.
fn quoted(text: &str) -> Option<(Word<'_>, usize)> {
    let mut content = String::new();
    let mut rest = text.strip_prefix('\'')?;
    loop {
        let end = rest.find('\'')?;
        content.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(more) => {
                content.push('\'');
                rest = more;
            }
            None => return Some((Word::Text(content), text.len() - rest.len())),
        }
    }
}
