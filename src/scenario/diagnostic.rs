//! A mistake in a scenario, told so that it can be mended: where, what, what was expected,
//! and the nearest right thing.
//!
//! Rendered as `file:line:column: what`, the source line with a caret, and hints. Secrets
//! never get here: source lines arrive masked (see `source`), values from the environment
//! are shown as they were written (`${NAME}`).

use std::fmt;

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// The file as the user named it, or the flag (`--set`).
    pub file: String,
    /// From 1; 0 when the mistake is the file itself (cannot be read).
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Where `source_line` is wrong, from 1: `column`, unless a long line was cut.
    pub caret: u32,
    /// How many characters of the line are wrong, from `caret`; at least 1.
    pub width: u32,
    /// What is wrong.
    pub what: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// How to mend it: the nearest valid name, or the thing to do.
    pub mend: Option<String>,
    /// The line of the file, secrets starred out, long lines cut; empty when there is none.
    pub source_line: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.what)?;
        } else {
            let (file, line, column) = (&self.file, self.line, self.column);
            write!(f, "{file}:{line}:{column}: {}", self.what)?;
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        if !self.source_line.trim().is_empty() {
            // The caret line repeats tabs, so that it stays under its text.
            let lead: String = self
                .source_line
                .chars()
                .take(self.caret.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let carets = "^".repeat(self.width.max(1) as usize);
            write!(f, "\n{margin} |\n{number} | {}", self.source_line)?;
            write!(f, "\n{margin} | {lead}{carets}")?;
        }
        for (label, text) in [("expected", &self.expected), ("help", &self.mend)] {
            if let Some(text) = text {
                write!(f, "\n{margin} = {label}: {text}")?;
            }
        }
        Ok(())
    }
}

/// Every mistake found, in the order of the file. Never empty when returned as an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostics {
    /// The mistakes, at most [`DIAGNOSTICS_MAX`].
    pub list: Vec<Diagnostic>,
    /// How many more there were.
    pub more: usize,
}

/// How many mistakes are told at once; the others are counted.
pub const DIAGNOSTICS_MAX: usize = 100;

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, diagnostic) in self.list.iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{diagnostic}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_mistake() {
        let text = Diagnostic {
            file: "a.yaml".into(),
            line: 12,
            column: 5,
            caret: 5,
            width: 7,
            what: "unknown key `clinets`".into(),
            expected: Some("clients".into()),
            mend: Some("did you mean `clients`?".into()),
            source_line: "    clinets: 100".into(),
        }
        .to_string();
        assert_eq!(
            text,
            "a.yaml:12:5: unknown key `clinets`\n   |\n12 |     clinets: 100\n   |     ^^^^^^^\n   = expected: clients\n   = help: did you mean `clients`?"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_has_no_place() {
        let text = Diagnostic {
            file: "a.yaml".into(),
            line: 0,
            column: 0,
            caret: 0,
            width: 0,
            what: "cannot be read: no such file".into(),
            expected: None,
            mend: None,
            source_line: String::new(),
        }
        .to_string();
        assert_eq!(text, "a.yaml: cannot be read: no such file");
    }
}
