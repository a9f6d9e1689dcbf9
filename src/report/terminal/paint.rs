//! Colours, or none.

use std::env;

/// Colours text for a terminal, or leaves it alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paint(bool);

impl Paint {
    /// Without colours.
    pub const PLAIN: Paint = Paint(false);
    /// With colours.
    pub const COLOURS: Paint = Paint(true);

    /// Colours when the output is a terminal and nobody asked for none: neither
    /// `--no-color` nor a non-empty `NO_COLOR`, and the terminal is not a dumb one.
    pub fn detect(is_terminal: bool, no_color: bool) -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint(is_terminal && !no_color && !set("NO_COLOR") && !dumb)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Bold.
    pub fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    /// Dim.
    pub fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// Good: green.
    pub fn good(self, text: &str) -> String {
        self.sgr("32", text)
    }

    /// Bad: bold red.
    pub fn bad(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    /// Doubtful: yellow.
    pub fn doubt(self, text: &str) -> String {
        self.sgr("33", text)
    }
}
