//! Reading a scenario: from a file or a text, with flags on top, to a [`Scenario`] or to
//! every mistake in it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::diagnostic::Diagnostics;
use super::model::Scenario;
use super::presets::{self, PREFIX};
use super::read::compose::Composer;
use super::read::env::{self, Env};
use super::read::overrides::Overrides;
use super::read::source::{Mistakes, Place, Sources};
use super::read::{secrets, tree};
use super::resolve::scenario::{Outside, resolve};

/// The largest scenario file, bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// The largest `--scale`.
const SCALE_MAX: f64 = 1e6;
/// The file as a whole.
const FILE: Place = Place {
    source: 0,
    line: 0,
    column: 0,
    width: 0,
};

/// Reads a scenario file, or a preset when the path says `preset:NAME`.
///
/// # Errors
/// Every mistake found: in the file, in a flag, in what the environment lacks. A file that
/// cannot be read is one of them.
pub fn load(path: &Path, overrides: &Overrides, env: Env<'_>) -> Result<Scenario, Diagnostics> {
    let name = path.display().to_string();
    if let Some(preset) = name.strip_prefix(PREFIX) {
        return match presets::preset(preset, overrides.units.unwrap_or(1)) {
            Ok(text) => parse_as(&text, &name, preset, overrides, env),
            Err(why) => Err(unreadable(&name, why)),
        };
    }
    let stem = path.file_stem().map(|stem| stem.to_string_lossy());
    if overrides.units.is_some() {
        let why = format!("`--units` is for presets, e.g. {PREFIX}small-groups");
        return Err(unreadable(&name, why));
    }
    match read(path) {
        Ok(text) => parse_as(&text, &name, stem.as_deref().unwrap_or(""), overrides, env),
        Err(why) => Err(unreadable(&name, why)),
    }
}

/// A mistake that is the file itself.
fn unreadable(name: &str, why: String) -> Diagnostics {
    let mut sources = Sources::default();
    sources.add(name, "");
    let mut mistakes = Mistakes::default();
    mistakes.add(FILE, why);
    sources.render(mistakes)
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes: no scenario"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        format!("not UTF-8 text: line {line} has other bytes")
    })
}

/// Reads a scenario from a text; `file_name` is for messages, and names a scenario that has
/// no name.
///
/// # Errors
/// As [`load`].
pub fn parse(
    text: &str,
    file_name: &str,
    overrides: &Overrides,
    env: Env<'_>,
) -> Result<Scenario, Diagnostics> {
    let stem = Path::new(file_name).file_stem();
    let stem = stem.map(|stem| stem.to_string_lossy());
    parse_as(
        text,
        file_name,
        stem.as_deref().unwrap_or(""),
        overrides,
        env,
    )
}

fn parse_as(
    text: &str,
    file_name: &str,
    stem: &str,
    overrides: &Overrides,
    env: Env<'_>,
) -> Result<Scenario, Diagnostics> {
    let mut sources = Sources::default();
    let mut mistakes = Mistakes::default();
    // A byte order mark is no part of the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = sources.add(file_name, text);
    let mut root = tree::parse(text, source, &mut sources, &mut mistakes);
    if !mistakes.is_empty() && root.is_none() {
        // No YAML: whatever the flags say would only add noise.
        return Err(sources.render(mistakes));
    }
    let mut variants = Vec::new();
    if let Some(root) = &mut root {
        // Before anything is laid over a secret that a message could quote.
        secrets::mark(root, &mut sources);
        let mut composer = Composer {
            read: &read,
            sources: &mut sources,
            mistakes: &mut mistakes,
            included: 0,
        };
        composer.include(root, Path::new(file_name));
        variants = composer.variants(root, overrides.variant.as_deref(), FILE);
    }
    overrides.apply(&mut root, &mut sources, &mut mistakes);
    let outside = Outside {
        stem,
        scale: scale(overrides, &mut sources, &mut mistakes),
        duration_forced: overrides.duration.is_some(),
    };
    let mut scenario = None;
    match &mut root {
        Some(root) if !root.is_null() => {
            env::substitute(root, env, &mut mistakes);
            secrets::mark(root, &mut sources);
            scenario = resolve(root, &outside, &mut mistakes);
            // Nobody runs them now, but a mistake in one is a mistake in the file.
            for mut variant in variants {
                env::substitute(&mut variant, env, &mut mistakes);
                secrets::mark(&mut variant, &mut sources);
                resolve(&variant, &outside, &mut mistakes);
            }
        }
        _ => {
            mistakes
                .add(FILE, "there is no scenario in this file")
                .mend("the least is `pools: {listeners: {clients: 10, groups: {count: 1}}}`");
        }
    }
    match scenario {
        Some(scenario) if mistakes.is_empty() => Ok(scenario),
        _ => Err(sources.render(mistakes)),
    }
}

/// `--scale`; 1 beside a mistake.
fn scale(overrides: &Overrides, sources: &mut Sources, mistakes: &mut Mistakes) -> f64 {
    let Some(text) = &overrides.scale else {
        return 1.0;
    };
    let factor = text.trim().parse::<f64>().ok();
    match factor.filter(|factor| *factor > 0.0 && *factor <= SCALE_MAX) {
        Some(factor) => factor,
        None => {
            let place = Place {
                source: sources.add("--scale", text),
                line: 1,
                column: 1,
                width: text.chars().count() as u32,
            };
            mistakes
                .add(place, format!("`{text}` is not a factor"))
                .expected("a number above 0, e.g. 0.1 or 20");
            1.0
        }
    }
}
