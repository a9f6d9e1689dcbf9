//! `sessions` and `churn`: clients that come and go.

use std::time::Duration;

use super::pools::CLIENTS_MAX;
use super::scenario::Outside;
use crate::base::units::{Rate, parse_duration};
use crate::scenario::model::{Churn, Sessions, Stay};
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::Mistakes;
use crate::scenario::read::tree::Node;

const STAY: &str = "a duration, exponential(MEAN) or uniform(MIN, MAX), e.g. exponential(60s)";

/// Reads `sessions`, with the arrival rate as written.
pub(super) fn read(pool: &Section<'_>, mistakes: &mut Mistakes) -> Option<Sessions> {
    let section = pool.section("sessions", &["arrive", "stay"], mistakes)?;
    pool.conflict(
        "sessions",
        "connect",
        "`arrive` says how fast clients come",
        mistakes,
    );
    let arrive = section.required("arrive", "`arrive: 20/s`", mistakes);
    let arrive = arrive.and_then(|node| {
        let read = scalar::rate(node, mistakes)?;
        if read.value.as_per_second() <= 0.0 {
            mistakes.add(read.place, "at this rate nobody ever comes");
        }
        Some(read.value)
    });
    let stay = section.required("stay", "`stay: exponential(60s)`", mistakes);
    let stay = stay.and_then(|node| stay_of(node, mistakes));
    Some(Sessions {
        arrive: arrive?,
        stay: stay?,
    })
}

/// How many clients come in the load; of a pool that says no number.
pub(super) fn clients(sessions: &Sessions, duration: Duration) -> u64 {
    let all = sessions.arrive.as_per_second() * duration.as_secs_f64();
    // The slack undoes rounding: 0.1/s for 30s is three.
    ((all + 1e-6).floor() as u64).clamp(1, CLIENTS_MAX)
}

/// The rate at which `--scale` times as many come.
pub(super) fn scaled(sessions: Sessions, outside: &Outside<'_>) -> Sessions {
    let arrive = sessions.arrive.as_per_second() * outside.scale;
    Sessions {
        arrive: Rate::per_second(arrive),
        ..sessions
    }
}

fn stay_of(node: &Node, mistakes: &mut Mistakes) -> Option<Stay> {
    let read = scalar::text(node, STAY, mistakes)?;
    let text = read.value.trim();
    let stay = match text.split_once('(') {
        None => parse_duration(text).ok().map(Stay::Fixed),
        Some((shape, rest)) => rest.strip_suffix(')').and_then(|rest| {
            let lengths: Vec<Duration> = rest
                .split(',')
                .map(|part| parse_duration(part.trim()).ok())
                .collect::<Option<_>>()?;
            match (shape.trim(), lengths.as_slice()) {
                ("exponential", [mean]) => Some(Stay::Exponential(*mean)),
                ("uniform", [min, max]) if min <= max => Some(Stay::Uniform(*min, *max)),
                _ => None,
            }
        }),
    };
    let zero = |length: &Duration| length.is_zero();
    let nothing = match &stay {
        Some(Stay::Fixed(length) | Stay::Exponential(length)) => zero(length),
        Some(Stay::Uniform(_, max)) => zero(max),
        None => true,
    };
    if nothing {
        let what = format!("`{}` does not say how long clients stay", read.shown);
        mistakes.add(read.place, what).expected(STAY);
        return None;
    }
    stay
}

/// Reads `churn`.
pub(super) fn churn(pool: &Section<'_>, groups: bool, mistakes: &mut Mistakes) -> Option<Churn> {
    let section = pool.section("churn", &["every", "away"], mistakes)?;
    if !groups {
        mistakes
            .add(
                section.place,
                "a pool that joins no group has none to leave",
            )
            .mend("add `groups: {count: 10, join: 1}` to the pool");
    }
    let mut time = |key: &str, example: &str| {
        let node = section.required(key, example, mistakes)?;
        let read = scalar::duration(node, mistakes)?;
        if read.value.is_zero() {
            let what = format!("`{key}` must be longer than nothing");
            mistakes.add(read.place, what).expected(example);
            return None;
        }
        Some(read.value)
    };
    let (every, away) = (time("every", "`every: 30s`"), time("away", "`away: 2s`"));
    Some(Churn {
        every: every?,
        away: away?,
    })
}
