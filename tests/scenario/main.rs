//! Scenario files from the outside: what is right resolves to what it says, what is wrong is
//! named with its place.

mod broken;
mod chaos;
mod client;
mod compose;
mod flags;
mod load;
mod people;
mod reference;
mod right;
mod secrets;
mod thresholds;

use hubstorm::scenario::{self, Diagnostics, Overrides, Scenario};

/// No variable is set.
fn no_env(_: &str) -> Option<String> {
    None
}

/// Reads a text as `test.yaml` without flags and without an environment.
fn parse(text: &str) -> Result<Scenario, Diagnostics> {
    scenario::parse(text, "test.yaml", &Overrides::default(), &no_env)
}
