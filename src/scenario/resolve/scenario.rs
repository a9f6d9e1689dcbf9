//! The file as a whole.

use std::time::Duration;

use super::{chaos, client, idle, pools, target, threshold};
use crate::base::Seed;
use crate::base::units::format_duration;
use crate::scenario::model::{Mode, Pool, Promise, Scenario, TargetSpec};
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::Node;
use crate::verify::ACK_WITHIN;

/// `include` and `variants` are gone when a tree gets here.
const KEYS: [&str; 12] = [
    "hubstorm",
    "include",
    "variants",
    "name",
    "seed",
    "duration",
    "drain",
    "verify",
    "target",
    "pools",
    "chaos",
    "thresholds",
];
const VERSION: u64 = 1;
const DURATION_DEFAULT: Duration = Duration::from_secs(30);
const DRAIN_DEFAULT: Duration = Duration::from_secs(10);
/// A year: longer runs are a slip of the unit.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Source: verification 7, the verifier's budget.
const MEMORY_DEFAULT: u64 = 1 << 30;
/// Below this the verifier's own tables do not fit.
const MEMORY_MIN: u64 = 1 << 20;
const MODES: [(&str, Mode); 3] = [
    ("full", Mode::Full),
    ("digest", Mode::Digest),
    ("counts", Mode::Counts),
];
const PROMISES: [(&str, Promise); 2] = [
    ("published", Promise::Published),
    ("reference", Promise::Reference),
];

/// What comes from outside the tree.
pub(in crate::scenario) struct Outside<'o> {
    /// The name of a scenario that has none.
    pub(in crate::scenario) stem: &'o str,
    /// Multiplies the clients of every pool.
    pub(in crate::scenario) scale: f64,
    /// The duration is a flag's: faults may go on for longer than the load does now.
    pub(in crate::scenario) duration_forced: bool,
}

/// Resolves a tree. What it returns counts only when no mistake was noted.
pub(in crate::scenario) fn resolve(
    root: &Node,
    outside: &Outside<'_>,
    mistakes: &mut Mistakes,
) -> Option<Scenario> {
    let head = Place {
        width: 1,
        ..root.place
    };
    let file = Section::open(root, head, "", &KEYS, mistakes)?;
    version(&file, mistakes);
    let given = seed(&file, mistakes);
    let seed = given.unwrap_or_else(Seed::draw);
    let duration = duration(&file, "duration", DURATION_DEFAULT, mistakes);
    if duration.is_some_and(|duration| duration.is_zero()) {
        let at = file.get("duration").map_or(head, |node| node.place);
        mistakes.add(at, "a load of no duration tests nothing");
    }
    let verify = verify(&file, mistakes);
    let target = target::read(&file, mistakes);
    let embedded = matches!(target, TargetSpec::Embedded { .. });
    let mut pools = pools::read(&file, &verify, &target, duration, seed, outside, mistakes);
    let context = chaos::Context {
        pools: &pools.pools,
        asked: &pools.asked,
        target: &target,
        duration,
        duration_forced: outside.duration_forced,
    };
    let mut notes = Vec::new();
    let chaos = chaos::read(&file, &context, &mut notes, mistakes);
    if outside.duration_forced {
        let pools = pools.pools.iter_mut();
        notes.extend(pools.filter_map(|pool| shorten(pool, duration?)));
    }
    if mistakes.is_empty() {
        notes.extend(idle::notes(&pools.pools, pools.groups.len()));
    }
    let judged = threshold::Context {
        pools: &pools.pools,
        duration,
        duration_forced: outside.duration_forced,
    };
    let thresholds = threshold::read(&file, &judged, mistakes);
    Some(Scenario {
        name: name(&file, outside.stem, mistakes),
        seed,
        seed_drawn: given.is_none(),
        duration: duration.unwrap_or(DURATION_DEFAULT),
        drain: self::duration(&file, "drain", DRAIN_DEFAULT, mistakes).unwrap_or(DRAIN_DEFAULT),
        mode: verify.mode,
        promise: verify.promise.unwrap_or(if embedded {
            Promise::Reference
        } else {
            Promise::Published
        }),
        verify_memory: verify.memory,
        ack_within: verify.ack_within,
        target,
        chaos,
        thresholds,
        pools: pools.pools,
        groups: pools.groups,
        notes,
    })
}

/// Fits a pool's publishing into a load that a flag made shorter. Says so when nothing is
/// left of it.
fn shorten(pool: &mut Pool, load: Duration) -> Option<String> {
    let publish = pool.publish.as_mut()?;
    publish.stop = publish.stop.map(|stop| stop.min(load));
    let start = publish.start;
    if start < load {
        return None;
    }
    pool.publish = None;
    let (name, start) = (&pool.name, format_duration(start));
    Some(format!(
        "pool {name} publishes nothing: it would start at {start}, and the load is over before"
    ))
}

fn version(file: &Section<'_>, mistakes: &mut Mistakes) {
    let Some(node) = file.get("hubstorm") else {
        return;
    };
    let read = scalar::whole(node, "a format version", 1, u64::from(u32::MAX), mistakes);
    if let Some(read) = read.filter(|read| read.value != VERSION) {
        let what = format!("format version {} is not known to this build", read.shown);
        mistakes
            .add(read.place, what)
            .expected(format!("hubstorm: {VERSION}"));
    }
}

fn seed(file: &Section<'_>, mistakes: &mut Mistakes) -> Option<Seed> {
    let read = scalar::whole(file.get("seed")?, "a seed", 0, u64::MAX, mistakes)?;
    Some(Seed(read.value))
}

/// A duration of at most a year; `None` beside a mistake, so that nothing is checked against
/// a guess.
fn duration(
    file: &Section<'_>,
    key: &str,
    default: Duration,
    mistakes: &mut Mistakes,
) -> Option<Duration> {
    let Some(node) = file.get(key) else {
        return Some(default);
    };
    let read = scalar::duration(node, mistakes)?;
    if read.value > DURATION_MAX {
        let what = format!("`{}` is longer than a year", read.shown);
        mistakes.add(read.place, what);
        return None;
    }
    Some(read.value)
}

/// The run's name: the file's stem when left out, with what is not allowed made `-`.
fn name(file: &Section<'_>, stem: &str, mistakes: &mut Mistakes) -> String {
    const ALLOWED: &str = "letters, digits, -, _ and . (not first), at most 64";
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let read = file
        .get("name")
        .and_then(|node| scalar::text(node, ALLOWED, mistakes));
    let Some(read) = read else {
        let name: String = stem
            .chars()
            .take(64)
            .map(|c| if fits(c) { c } else { '-' })
            .collect();
        let name = name.trim_start_matches('.');
        return if name.is_empty() { "scenario" } else { name }.to_owned();
    };
    let long = read.value.chars().count() > 64;
    if read.value.is_empty() || read.value.starts_with('.') || long || !read.value.chars().all(fits)
    {
        mistakes
            .add(read.place, format!("`{}` cannot name a run", read.shown))
            .expected(ALLOWED);
    }
    read.value
}

/// How deliveries are verified.
pub(in crate::scenario) struct Verify {
    pub(in crate::scenario) mode: Mode,
    promise: Option<Promise>,
    memory: u64,
    ack_within: Duration,
}

fn verify(file: &Section<'_>, mistakes: &mut Mistakes) -> Verify {
    let mut verify = Verify {
        mode: Mode::Full,
        promise: None,
        memory: MEMORY_DEFAULT,
        ack_within: ACK_WITHIN,
    };
    let keys = ["mode", "promise", "memory", "ack_within"];
    let Some(section) = file.section("verify", &keys, mistakes) else {
        return verify;
    };
    if let Some(node) = section.get("mode") {
        let read = scalar::choice(node, "a verification mode", &MODES, mistakes);
        verify.mode = read.map_or(verify.mode, |read| read.value);
    }
    if let Some(node) = section.get("promise") {
        let read = scalar::choice(node, "a promise", &PROMISES, mistakes);
        verify.promise = read.map(|read| read.value);
    }
    if let Some(read) = section
        .get("memory")
        .and_then(|node| scalar::size(node, mistakes))
    {
        verify.memory = read.value.0;
        if verify.memory < MEMORY_MIN {
            let what = format!("`{}` is too little memory to verify anything", read.shown);
            mistakes.add(read.place, what).expected("at least 1MiB");
        }
    }
    if let Some(within) = section
        .get("ack_within")
        .and_then(|node| client::bounded(node, mistakes))
    {
        verify.ack_within = within;
    }
    verify
}
