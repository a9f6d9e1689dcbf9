//! `chaos`: the faults to inject, and whether their plan is possible.

use std::time::Duration;

use super::{effect, timing};
use crate::base::units::format_duration;
use crate::scenario::model::{ChaosEntry, ChaosKind, Pool, Share, TargetSpec, Timing};
use crate::scenario::read::names::did_you_mean;
use crate::scenario::read::scalar;
use crate::scenario::read::section::{Section, items};
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::Node;

pub(in crate::scenario) const KEYS: [&str; 17] = [
    "kind", "stream", "pool", "at", "start", "every", "until", "share", "count", "zones",
    "rolling", "for", "delay", "jitter", "rate", "size", "window",
];
/// Zones that clients are divided into.
const ZONES_MAX: u64 = 10_000;
/// Entries of one file.
const ENTRIES_MAX: usize = 256;
/// How often one entry may hit a client: times its injections, so that a plan fits in memory.
pub const HITS_MAX: u64 = 1_000_000;
/// The same for all entries of a file.
const PLAN_HITS_MAX: u64 = 2_000_000;

/// What entries are checked against.
pub(super) struct Context<'c> {
    pub(super) pools: &'c [Pool],
    /// Clients per pool before `--scale`.
    pub(super) asked: &'c [u32],
    pub(super) target: &'c TargetSpec,
    /// `None` when it could not be read.
    pub(super) duration: Option<Duration>,
    pub(super) duration_forced: bool,
}

impl Context<'_> {
    /// The pools that hold connections, each with its clients before `--scale`.
    fn clients(&self) -> impl Iterator<Item = (&Pool, u32)> {
        let pools = self.pools.iter().zip(self.asked.iter().copied());
        pools.filter(|(pool, _)| !pool.server)
    }
}

pub(super) fn read(
    file: &Section<'_>,
    context: &Context<'_>,
    notes: &mut Vec<String>,
    mistakes: &mut Mistakes,
) -> Vec<ChaosEntry> {
    let Some(node) = file.get("chaos") else {
        return Vec::new();
    };
    let example = "a list, e.g. `- {kind: reset, at: 5s, share: 10%}`";
    let Some(items) = items(node, "chaos", example, mistakes) else {
        return Vec::new();
    };
    if items.len() > ENTRIES_MAX {
        let what = format!("more than {ENTRIES_MAX} chaos entries");
        mistakes.add(node.place, what);
        return Vec::new();
    }
    let (mut entries, mut sum) = (Vec::new(), 0u64);
    for (nth, item) in items.iter().enumerate() {
        if let Some((entry, hits)) = entry(item, nth, context, mistakes) {
            if let Some(first) = beyond(&entry, context) {
                let (kind, at) = (entry.kind.name(), format_duration(first));
                notes.push(format!(
                    "chaos.{nth} ({kind} from {at} on) is left out: the load is over before"
                ));
                continue;
            }
            entries.push(entry);
            sum = sum.saturating_add(hits);
        }
    }
    if sum > PLAN_HITS_MAX {
        let what =
            format!("all entries together would hit clients more than {PLAN_HITS_MAX} times");
        mistakes.add(node.place, what);
    }
    entries
}

/// When an entry would first happen, if a flag made the load end before.
fn beyond(entry: &ChaosEntry, context: &Context<'_>) -> Option<Duration> {
    let (Timing::At(first) | Timing::Every { start: first, .. }) = entry.timing;
    let late = context.duration.is_some_and(|end| first >= end);
    (late && context.duration_forced).then_some(first)
}

/// The number of its seed stream: its place, unless it names another.
fn stream(section: &Section<'_>, nth: usize, mistakes: &mut Mistakes) -> u32 {
    let max = u64::from(u32::MAX);
    section
        .get("stream")
        .and_then(|node| scalar::whole(node, "the number of a seed stream", 0, max, mistakes))
        // At most ENTRIES_MAX entries.
        .map_or(nth as u32, |read| read.value as u32)
}

/// One entry, and how often it hits a client.
fn entry(
    node: &Node,
    nth: usize,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<(ChaosEntry, u64)> {
    let path = format!("chaos.{nth}");
    let head = Place {
        width: 1,
        ..node.place
    };
    let section = Section::open(node, head, &path, &KEYS, mistakes)?;
    let before = mistakes.len();
    let stream = stream(&section, nth, mistakes);
    let kind = kind(&section, mistakes);
    let pool = pool(&section, context, mistakes);
    let timing = timing::timing(&section, context, mistakes);
    let kind = kind?;
    let lasts = match kind {
        ChaosKind::RecoverLate => effect::window(&section, mistakes),
        _ => timing::lasts(&section, kind, mistakes),
    };
    let effect = effect::read(&section, kind, mistakes);
    let rolling = effect::rolling(&section, timing.as_ref(), context.duration, mistakes);
    if kind == ChaosKind::HubRestart {
        hub_restart(&section, context, mistakes);
    }
    let share = match kind {
        ChaosKind::HubRestart => Some(Share::Count(0)),
        _ => share(&section, pool, context, mistakes),
    };
    possible(&section, kind, pool, context, mistakes);
    if mistakes.len() > before {
        return None;
    }
    let entry = ChaosEntry {
        kind,
        stream,
        pool: pool?,
        share: share?,
        timing: timing?,
        lasts,
        effect: effect?,
        rolling,
    };
    let hits = bounded(&section, &entry, context, mistakes);
    Some((entry, hits))
}

fn kind(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<ChaosKind> {
    let options = ChaosKind::ALL.map(|kind| (kind.name(), kind));
    let node = section.required("kind", "`kind: reset`", mistakes)?;
    Some(scalar::choice(node, "a chaos kind", &options, mistakes)?.value)
}

/// The pool's number, `Some(None)` for all pools, `None` beside a mistake.
fn pool(
    section: &Section<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Option<usize>> {
    let Some(node) = section.get("pool") else {
        return Some(None);
    };
    let read = scalar::text(node, "a pool's name", mistakes)?;
    let names = || context.pools.iter().map(|pool| pool.name.as_str());
    let found = names().position(|name| name == read.value);
    if found.is_some_and(|pool| context.pools[pool].server) {
        mistakes
            .add(
                read.place,
                format!(
                    "`{}` are servers: they hold no connection to break",
                    read.shown
                ),
            )
            .mend("name a pool of clients");
        return None;
    }
    if found.is_none() {
        mistakes
            .add(read.place, format!("there is no pool `{}`", read.shown))
            .expected("a name under `pools`, or no `pool` for all of them")
            .maybe_mend(did_you_mean(&read.shown, names()));
    }
    found.map(Some)
}

fn share(
    section: &Section<'_>,
    pool: Option<Option<usize>>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Share> {
    for (first, second) in [("share", "count"), ("share", "zones"), ("count", "zones")] {
        if section.conflict(first, second, "give one of them", mistakes) {
            return None;
        }
    }
    if let Some(node) = section.get("zones") {
        let read = scalar::whole(node, "a number of zones", 1, ZONES_MAX, mistakes)?;
        return Some(Share::Zones(read.value as u32));
    }
    if let Some(node) = section.get("share") {
        let read = scalar::share(node, mistakes)?;
        if read.value.as_fraction() <= 0.0 {
            let what = format!("a share of `{}` hits nobody", read.shown);
            mistakes
                .add(read.place, what)
                .expected("above 0%, e.g. 10%");
        }
        return Some(Share::Fraction(read.value.as_fraction()));
    }
    let Some(node) = section.get("count") else {
        mistakes
            .add(section.place, "it is not said how many clients this hits")
            .mend("add `share: 10%`, `count: 5` or `zones: 5`");
        return None;
    };
    let read = scalar::whole(
        node,
        "a number of clients",
        1,
        u64::from(u32::MAX),
        mistakes,
    )?;
    let there: u64 = match pool? {
        Some(pool) => u64::from(context.asked[pool]),
        None => context.clients().map(|(_, asked)| u64::from(asked)).sum(),
    };
    // Without pools there is another mistake to mend first.
    if read.value > there && !context.pools.is_empty() {
        mistakes
            .add(
                read.place,
                format!("there are no {} clients to hit", read.shown),
            )
            .mend("hit fewer, or give the pool more clients");
    }
    Some(Share::Count(read.value as u32))
}

/// A restart hits everybody, and only the embedded hub can be told to.
fn hub_restart(section: &Section<'_>, context: &Context<'_>, mistakes: &mut Mistakes) {
    for key in ["pool", "share", "count", "zones", "rolling"] {
        if let Some(entry) = section.entry(key) {
            mistakes
                .add(entry.key_place, format!("a hub_restart has no `{key}`"))
                .mend("leave it out: a restart hits every client");
        }
    }
    if !matches!(context.target, TargetSpec::Embedded { .. }) {
        let at = section.get("kind").map_or(section.place, |node| node.place);
        mistakes
            .add(at, "only the embedded hub can be restarted")
            .mend("leave `target` out, or use a storm: it drops every connection at once");
    }
}

/// Kinds that need something of the pool or of the target.
fn possible(
    section: &Section<'_>,
    kind: ChaosKind,
    pool: Option<Option<usize>>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) {
    let at = section.get("kind").map_or(section.place, |node| node.place);
    if kind.needs_recovery()
        && let Some(pool) = pool
    {
        let hit = |at: usize| pool.is_none_or(|pool| pool == at);
        let mut pools = context.pools.iter().enumerate();
        if !pools.any(|(at, pool)| hit(at) && !pool.server && pool.protocol.is_reliable()) {
            mistakes
                .add(at, "no client here has a session that could be recovered")
                .mend("use a pool with `protocol: json.reliable`");
        }
    }
    let keyless = matches!(
        context.target,
        TargetSpec::ClientAccessUrl(_)
            | TargetSpec::Endpoint {
                access_key: None,
                ..
            }
    );
    if matches!(kind, ChaosKind::BadToken | ChaosKind::ExpireTokens) && keyless {
        mistakes
            .add(at, "without an access key no expired token can be signed")
            .mend("give the target an `access_key`");
    }
}

/// How often the entry hits a client, or injects at all; refuses more than a plan can hold.
fn bounded(
    section: &Section<'_>,
    entry: &ChaosEntry,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> u64 {
    let all: u32 = context
        .pools
        .iter()
        .enumerate()
        .filter(|(at, pool)| !pool.server && entry.pool.is_none_or(|hit| hit == *at))
        .map(|(_, pool)| pool.clients)
        .sum();
    let each = u64::from(entry.share.of(all).max(1));
    let hits = entry.timing.count().saturating_mul(each);
    if hits > HITS_MAX {
        let at = section
            .get("every")
            .map_or(section.place, |node| node.place);
        mistakes
            .add(
                at,
                format!("this entry would hit clients more than {HITS_MAX} times"),
            )
            .mend("inject it less often, or into fewer clients");
        return 0;
    }
    hits
}
