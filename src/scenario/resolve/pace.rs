//! When a pool publishes: its start, its stop, and whether it waits for the hub.

use std::time::Duration;

use super::publish::Context;
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::Mistakes;

/// `next: after_ack` and `pause`: a closed loop, with the pause of each turn.
pub(super) fn after_ack(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Duration> {
    let options = [("by_schedule", false), ("after_ack", true)];
    let closed = section
        .get("next")
        .and_then(|node| scalar::choice(node, "what the next message follows", &options, mistakes))
        .is_some_and(|read| read.value);
    let Some(entry) = section.entry("pause") else {
        if closed {
            for key in ["rate", "pool_rate", "arrivals", "profile"] {
                open_loop_only(section, key, mistakes);
            }
        }
        return closed.then_some(Duration::ZERO);
    };
    if !closed {
        mistakes
            .add(entry.key_place, "an open loop does not pause for the hub")
            .mend("add `next: after_ack` for a closed loop, or use `rate`");
        return None;
    }
    for key in ["rate", "pool_rate", "arrivals", "profile"] {
        open_loop_only(section, key, mistakes);
    }
    Some(scalar::duration(&entry.value, mistakes).map_or(Duration::ZERO, |read| read.value))
}

fn open_loop_only(section: &Section<'_>, key: &str, mistakes: &mut Mistakes) {
    if let Some(entry) = section.entry(key) {
        mistakes
            .add(
                entry.key_place,
                format!("`{key}` cannot stand beside `next: after_ack`"),
            )
            .mend("in a closed loop the hub paces the clients; `pause` slows them down");
    }
}

/// `start` and `stop`, inside the load.
pub(super) fn window(
    section: &Section<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> (Duration, Option<Duration>) {
    let mut time = |key: &str| {
        let read = scalar::duration(section.get(key)?, mistakes)?;
        let late = context.duration.is_some_and(|end| match key {
            "start" => read.value >= end,
            _ => read.value > end,
        });
        if late && !context.duration_forced {
            let what = format!("`{key}: {}` is after the end of the load", read.shown);
            mistakes
                .add(read.place, what)
                .mend("times count from the start of the load; see `duration`");
            return None;
        }
        Some(read)
    };
    let (start, stop) = (time("start"), time("stop"));
    let from = start.map_or(Duration::ZERO, |read| read.value);
    if let Some(stop) = &stop
        && stop.value <= from
    {
        mistakes
            .add(
                stop.place,
                format!("`stop: {}` is not after `start`", stop.shown),
            )
            .mend("leave `stop` out to publish to the end of the load");
    }
    (from, stop.map(|read| read.value))
}
