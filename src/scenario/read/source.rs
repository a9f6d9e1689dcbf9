//! The texts that a scenario is read from (the file and the flags that override it), places
//! in them, and the mistakes found there.

use super::super::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics};

/// A stretch of one line of one source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::scenario) struct Place {
    /// Index into [`Sources`]; 0 is the file.
    pub(in crate::scenario) source: u32,
    /// From 1; 0 for the source as a whole.
    pub(in crate::scenario) line: u32,
    /// From 1, in characters.
    pub(in crate::scenario) column: u32,
    /// In characters.
    pub(in crate::scenario) width: u32,
}

impl Place {
    /// `width` characters that start `skip` characters into this place.
    pub(in crate::scenario) fn part(self, skip: usize, width: usize) -> Place {
        Place {
            column: self.column + skip as u32,
            width: width as u32,
            ..self
        }
    }
}

/// A mistake before it is rendered.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mistake {
    place: Place,
    what: String,
    expected: Option<String>,
    mend: Option<String>,
}

/// Collects mistakes. A reader that fails says so here and goes on.
#[derive(Default, Debug)]
pub(in crate::scenario) struct Mistakes {
    list: Vec<Mistake>,
}

impl Mistakes {
    /// Notes a mistake; [`Noted::expected`] and [`Noted::mend`] add to it.
    pub(in crate::scenario) fn add(&mut self, place: Place, what: impl Into<String>) -> Noted<'_> {
        self.list.push(Mistake {
            place,
            what: what.into(),
            expected: None,
            mend: None,
        });
        let at = self.list.len() - 1;
        Noted(&mut self.list[at])
    }

    pub(in crate::scenario) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many so far.
    pub(in crate::scenario) fn len(&self) -> usize {
        self.list.len()
    }
}

/// The mistake just noted.
pub(in crate::scenario) struct Noted<'m>(&'m mut Mistake);

impl Noted<'_> {
    /// Says what would have been right.
    pub(in crate::scenario) fn expected(self, expected: impl Into<String>) -> Self {
        self.0.expected = Some(expected.into());
        self
    }

    /// Says how to mend it.
    pub(in crate::scenario) fn mend(self, mend: impl Into<String>) -> Self {
        self.0.mend = Some(mend.into());
        self
    }

    /// Says how to mend it, where that is known.
    pub(in crate::scenario) fn maybe_mend(self, mend: Option<String>) -> Self {
        self.0.mend = mend;
        self
    }
}

#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    /// Lines are masked by the words in them, because no tree tells where secrets are.
    unread: bool,
}

/// A stretch of text that must not be shown, over several lines maybe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::scenario) struct Stretch {
    pub(in crate::scenario) source: u32,
    /// Line and column of the first character, from 1.
    pub(in crate::scenario) start: (u32, u32),
    /// Line and column behind the last character.
    pub(in crate::scenario) end: (u32, u32),
}

/// Every source of one scenario.
#[derive(Default, Debug)]
pub(in crate::scenario) struct Sources {
    list: Vec<Source>,
    secrets: Vec<Stretch>,
}

impl Sources {
    /// Adds a source and returns its number.
    pub(in crate::scenario) fn add(&mut self, name: &str, text: &str) -> u32 {
        self.list.push(Source {
            name: name.into(),
            text: text.into(),
            unread: false,
        });
        self.list.len() as u32 - 1
    }

    /// Notes that `source` could not be read as YAML.
    pub(in crate::scenario) fn mark_unread(&mut self, source: u32) {
        self.list[source as usize].unread = true;
    }

    /// Hides a stretch from every rendered line.
    pub(in crate::scenario) fn hide(&mut self, secret: Stretch) {
        self.secrets.push(secret);
    }

    /// Renders the mistakes in the order of the sources, each once.
    pub(in crate::scenario) fn render(&self, mistakes: Mistakes) -> Diagnostics {
        let mut found = mistakes.list;
        found.sort_by_key(|mistake| {
            (
                mistake.place.source,
                mistake.place.line,
                mistake.place.column,
            )
        });
        found.dedup();
        let more = found.len().saturating_sub(DIAGNOSTICS_MAX);
        found.truncate(DIAGNOSTICS_MAX);
        let list = found.into_iter().map(|m| self.diagnostic(m)).collect();
        Diagnostics { list, more }
    }

    fn diagnostic(&self, mistake: Mistake) -> Diagnostic {
        let Place {
            source,
            line,
            column,
            width,
        } = mistake.place;
        let (source_line, caret) = self.line(source, line, column);
        let room = (source_line.chars().count() as u32 + 1).saturating_sub(caret);
        Diagnostic {
            file: self.list[source as usize].name.clone(),
            line,
            column,
            caret,
            width: width.min(room).max(1),
            what: mistake.what,
            expected: mistake.expected,
            mend: mistake.mend,
            source_line,
        }
    }

    /// The part of a line that is worth showing, secrets starred out, and the column in it.
    fn line(&self, source: u32, line: u32, column: u32) -> (String, u32) {
        let from = &self.list[source as usize];
        let text = nth_line(&from.text, line);
        let masked = match from.unread {
            false => None,
            true if continues_a_secret(&from.text, line) => Some("*".repeat(text.chars().count())),
            true => mask_by_words(text),
        };
        let (shown, caret) = window(masked.as_deref().unwrap_or(text), column);
        let first = column - caret;
        let secrets: Vec<&Stretch> = self
            .secrets
            .iter()
            .filter(|secret| {
                secret.source == source && secret.start.0 <= line && line <= secret.end.0
            })
            .collect();
        let hidden = |place: (u32, u32)| {
            secrets
                .iter()
                .any(|secret| secret.start <= place && place < secret.end)
        };
        let starred = shown
            .chars()
            .zip(first + 1..)
            .map(|(c, column)| match c {
                _ if hidden((line, column)) => '*',
                // Nothing that moves the cursor of a terminal.
                c if c.is_control() && c != '\t' => '\u{fffd}',
                c => c,
            })
            .collect();
        (starred, caret)
    }
}

/// Line `line` (from 1) of a text, without its line break; empty when there is none.
fn nth_line(text: &str, line: u32) -> &str {
    (line as usize)
        .checked_sub(1)
        .and_then(|nth| text.lines().nth(nth))
        .unwrap_or("")
}

/// The part of a long line that is worth showing, and the column in it.
fn window(line: &str, column: u32) -> (String, u32) {
    const SHOWN: usize = 160;
    const BEFORE: usize = 60;
    let at = column.saturating_sub(1) as usize;
    if line.chars().count() <= SHOWN {
        return (line.to_owned(), column);
    }
    let skip = at.saturating_sub(BEFORE);
    let shown = line.chars().skip(skip).take(SHOWN).collect();
    (shown, (at - skip) as u32 + 1)
}

/// Stars out what follows a word that announces a secret; `None` when there is no such word.
fn mask_by_words(line: &str) -> Option<String> {
    const WORDS: [&str; 8] = [
        "accesskey",
        "_key",
        "-key",
        "connection",
        "access_url",
        "token",
        "password",
        "secret",
    ];
    let lower = line.to_ascii_lowercase();
    let value_start = |word: &str| {
        lower.match_indices(word).find_map(|(at, _)| {
            let after = at + word.len();
            let end = lower[after..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
            // How long a token is valid is no secret.
            (!lower[after..after + end].ends_with("lifetime")).then_some(after + end)
        })
    };
    let start = WORDS.iter().filter_map(|word| value_start(word)).min()?;
    let masked = line[start..]
        .chars()
        .map(|c| if " :=\t".contains(c) { c } else { '*' });
    Some(line[..start].chars().chain(masked).collect())
}

/// Whether a line without a key of its own goes on with a secret from a line above.
fn continues_a_secret(text: &str, line: u32) -> bool {
    if nth_line(text, line).contains(':') {
        return false;
    }
    let above: Vec<&str> = text.lines().take(line as usize - 1).collect();
    let key = above.iter().rev().find(|line| line.contains(':'));
    key.is_some_and(|key| mask_by_words(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32) -> Place {
        Place {
            source: 0,
            line,
            column,
            width: 3,
        }
    }

    fn shown(text: &str, secrets: &[Stretch], unread: bool, at: Place) -> String {
        let mut sources = Sources::default();
        let source = sources.add("a.yaml", text);
        if unread {
            sources.mark_unread(source);
        }
        secrets.iter().for_each(|secret| sources.hide(*secret));
        let mut mistakes = Mistakes::default();
        mistakes.add(at, "wrong");
        sources.render(mistakes).to_string()
    }

    #[test]
    fn a_hidden_stretch_is_starred_out_over_lines() {
        let secret = Stretch {
            source: 0,
            start: (1, 4),
            end: (2, 3),
        };
        let text = "a: bcd\nef: g";
        assert!(shown(text, &[secret], false, place(1, 1)).contains("| a: ***\n"));
        assert!(shown(text, &[secret], false, place(2, 1)).contains("| **: g\n"));
    }

    #[test]
    fn a_file_that_is_no_yaml_shows_no_secret() {
        for text in [
            "access_key: hush: ]",
            "x: {access_key: hush",
            "connection_string: Endpoint=http://hush;AccessKey=hush: ",
            "url: ws://a/?access_token=hush: [",
        ] {
            let told = shown(text, &[], true, place(1, 1));
            assert!(told.contains("***") && !told.contains("hush"), "{told}");
        }
        let told = shown("access_key: \"x\n  hush\n", &[], true, place(2, 3));
        assert!(!told.contains("hush"), "{told}");
    }

    #[test]
    fn how_long_a_token_is_valid_is_shown_and_what_stands_beside_it_is_not() {
        let text = "client: {token_lifetime: 5s, token: hush: ]";
        let told = shown(text, &[], true, place(1, 10));
        assert!(
            told.contains("token_lifetime: 5s") && !told.contains("hush"),
            "{told}"
        );
    }

    #[test]
    fn of_a_long_line_the_mistake_is_shown() {
        let text = format!("{}wrong{}", "x".repeat(5000), "y".repeat(5000));
        let told = shown(&text, &[], false, place(1, 5001));
        assert!(told.contains("a.yaml:1:5001: wrong"));
        assert!(told.contains("xwrongy") && told.len() < 600, "{told}");
    }
}
