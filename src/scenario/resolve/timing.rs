//! When a fault happens and how long it lasts: `at`, `start`/`every`/`until`, `for`.

use std::time::Duration;

use super::chaos::Context;
use crate::scenario::model::{ChaosKind, Timing};
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::Mistakes;

/// `at`, or `start`/`every`/`until`.
pub(super) fn timing(
    section: &Section<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Timing> {
    for key in ["start", "every", "until"] {
        let why = "`at` is for once; `start`, `every` and `until` are for again and again";
        if section.conflict("at", key, why, mistakes) {
            return None;
        }
    }
    if section.get("at").is_some() {
        return Some(Timing::At(time(section, "at", context, mistakes)?));
    }
    let Some(node) = section.get("every") else {
        let what = match section.get("start").or(section.get("until")) {
            Some(_) => "`start` and `until` need `every`",
            None => "it is not said when this happens",
        };
        mistakes
            .add(section.place, what)
            .mend("add `at: 5s` for once, or `start: 5s, every: 2s` for again and again");
        return None;
    };
    let every = scalar::duration(node, mistakes);
    let start = match section.get("start") {
        Some(_) => time(section, "start", context, mistakes)?,
        None => Duration::ZERO,
    };
    let until = until(section, start, context, mistakes)?;
    let every = every?;
    if every.value.is_zero() {
        mistakes
            .add(every.place, "`every` must be longer than nothing")
            .expected("a duration, e.g. 2s");
        return None;
    }
    Some(Timing::Every {
        start,
        every: every.value,
        until,
    })
}

/// A time inside the load.
fn time(
    section: &Section<'_>,
    key: &str,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Duration> {
    let read = scalar::duration(section.get(key)?, mistakes)?;
    let late = context.duration.is_some_and(|end| read.value >= end);
    // A load that a flag made shorter leaves out what came later; the caller says so.
    if late && !context.duration_forced {
        let what = format!("`{key}: {}` is not before the end of the load", read.shown);
        mistakes
            .add(read.place, what)
            .mend("inject it earlier, or make `duration` longer");
        return None;
    }
    Some(read.value)
}

fn until(
    section: &Section<'_>,
    start: Duration,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Duration> {
    // Without an end of the load there is another mistake to mend first.
    let end = context.duration?;
    let Some(node) = section.get("until") else {
        return Some(end);
    };
    let read = scalar::duration(node, mistakes)?;
    let what = if read.value <= start {
        format!("`until: {}` is not after `start`", read.shown)
    } else if read.value > end && !context.duration_forced {
        format!("`until: {}` is after the end of the load", read.shown)
    } else {
        return Some(read.value.min(end));
    };
    mistakes
        .add(read.place, what)
        .mend("leave `until` out to go on to the end of the load");
    None
}

/// `for`, of kinds that last.
pub(super) fn lasts(
    section: &Section<'_>,
    kind: ChaosKind,
    mistakes: &mut Mistakes,
) -> Option<Duration> {
    let name = kind.name();
    let Some(entry) = section.entry("for") else {
        // A half-open connection may well stay so until the client notices.
        if kind.lasts() && kind != ChaosKind::HalfOpen {
            mistakes
                .add(
                    section.place,
                    format!("it is not said how long the {name} lasts"),
                )
                .mend("add `for: 5s`");
        }
        return None;
    };
    if !kind.lasts() {
        let lasting = ChaosKind::ALL.iter().filter(|kind| kind.lasts());
        let lasting: Vec<&str> = lasting.map(|kind| kind.name()).collect();
        mistakes
            .add(
                entry.key_place,
                format!("a {name} happens at once and has no `for`"),
            )
            .mend(format!(
                "leave `for` out; these last: {}",
                lasting.join(", ")
            ));
        return None;
    }
    let read = scalar::duration(&entry.value, mistakes)?;
    if read.value.is_zero() {
        mistakes
            .add(read.place, format!("a {name} of no duration does nothing"))
            .expected("a duration, e.g. 5s");
        return None;
    }
    Some(read.value)
}
