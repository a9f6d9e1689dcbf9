//! `client`: how the clients of a pool behave where the protocol leaves it to them.

use std::time::Duration;

use crate::protocol::{Backoff, Behaviour, Liveness, Rejoin, RetriedAnswers, SessionConfig};
use crate::scenario::model::ClientSpec;
use crate::scenario::read::scalar;
use crate::scenario::read::section::{Section, items};
use crate::scenario::read::source::Mistakes;
use crate::scenario::read::tree::{Kind, Node};
use crate::wire::Subprotocol;

const KEYS: [&str; 11] = [
    "behaves_like",
    "retry",
    "sequence_ack",
    "reconnect",
    "auto_reconnect",
    "auto_rejoin",
    "connect_timeout",
    "idle_timeout",
    "user_ids",
    "roles",
    "token_lifetime",
];
const RETRY_KEYS: [&str; 8] = [
    "attempts",
    "mode",
    "delay",
    "max_delay",
    "jitter",
    "ack_timeout",
    "refusals",
    "fresh_ack_id",
];
const RECONNECT_KEYS: [&str; 5] = ["attempts", "mode", "delay", "max_delay", "jitter"];
const SEQUENCE_ACK_KEYS: [&str; 2] = ["interval", "every"];
/// After which refusals a request is tried again.
pub(in crate::scenario) const REFUSALS: [(&str, RetriedAnswers); 3] = [
    ("none", RetriedAnswers::None),
    ("errors", RetriedAnswers::Errors),
    ("all", RetriedAnswers::All),
];
/// Longest pause or timeout: beyond, a client is as good as gone.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// The longest pause of pauses that double, when a fixed pause is made to: the JS client's.
const DOUBLING_MAX: Duration = Duration::from_secs(30);
/// Attempts after the first.
const ATTEMPTS_MAX: u64 = 1000;
/// Roles of one token: they travel in a URL.
const ROLES_MAX: usize = 64;

/// Reads the `client` section of a pool.
pub(super) fn read(
    pool: &Section<'_>,
    subprotocol: Subprotocol,
    mistakes: &mut Mistakes,
) -> ClientSpec {
    let section = pool.section("client", &KEYS, mistakes);
    let behaviour = section
        .as_ref()
        .and_then(|section| section.get("behaves_like"))
        .and_then(|node| {
            let options = Behaviour::ALL.map(|behaviour| (behaviour.name(), behaviour));
            scalar::choice(node, "a client", &options, mistakes)
        })
        .map_or(Behaviour::default(), |read| read.value);
    let mut spec = ClientSpec::of(behaviour, subprotocol);
    if let Some(section) = section {
        retry(&section, &mut spec.session, mistakes);
        sequence_ack(&section, &mut spec.session, mistakes);
        reconnect(&section, &mut spec.session, mistakes);
        identity(&section, &mut spec, mistakes);
    }
    spec
}

fn retry(client: &Section<'_>, session: &mut SessionConfig, mistakes: &mut Mistakes) {
    let Some(section) = client.section("retry", &RETRY_KEYS, mistakes) else {
        return;
    };
    let retry = &mut session.retry;
    if let Some(node) = section.get("attempts")
        && let Some(read) = scalar::whole(node, "a number of attempts", 0, ATTEMPTS_MAX, mistakes)
    {
        retry.retries = read.value as u32;
    }
    backoff(&section, &mut retry.backoff, mistakes);
    if let Some(timeout) = or(&section, "ack_timeout", "never", mistakes, bounded) {
        retry.ack_timeout = timeout;
    }
    if let Some(node) = section.get("refusals")
        && let Some(read) = scalar::choice(node, "a kind of refusals", &REFUSALS, mistakes)
    {
        retry.answers = read.value;
    }
    if let Some(node) = section.get("fresh_ack_id")
        && let Some(fresh) = scalar::flag(node, mistakes)
    {
        retry.fresh_ack_id = fresh;
    }
}

/// How pauses grow: the same words for requests and for connections.
fn backoff(section: &Section<'_>, backoff: &mut Backoff, mistakes: &mut Mistakes) {
    if let Some(node) = section.get("mode") {
        let options = [("fixed", false), ("exponential", true)];
        if let Some(read) = scalar::choice(node, "a way for pauses to grow", &options, mistakes) {
            if read.value && !backoff.exponential {
                backoff.max = backoff.max.max(DOUBLING_MAX);
            }
            backoff.exponential = read.value;
        }
    }
    if let Some(delay) = pause(section, "delay", mistakes) {
        backoff.first = delay;
        backoff.max = backoff.max.max(delay);
    }
    if let Some(delay) = pause(section, "max_delay", mistakes) {
        backoff.max = delay;
    }
    if let Some(node) = section.get("jitter")
        && let Some(read) = scalar::share(node, mistakes)
    {
        // A share is at most 100 %.
        backoff.jitter = (read.value.as_fraction() * 100.0).round() as u8;
    }
}

fn sequence_ack(client: &Section<'_>, session: &mut SessionConfig, mistakes: &mut Mistakes) {
    let Some(section) = client.section("sequence_ack", &SEQUENCE_ACK_KEYS, mistakes) else {
        return;
    };
    if let Some(interval) = pause(&section, "interval", mistakes) {
        session.sequence_ack.interval = interval;
    }
    if let Some(every) = or(&section, "every", "never", mistakes, |node, mistakes| {
        let most = u64::from(u32::MAX) - 1;
        scalar::whole(node, "a number of messages", 1, most, mistakes).map(|read| read.value as u32)
    }) {
        session.sequence_ack.every = every.unwrap_or(u32::MAX);
    }
}

fn reconnect(client: &Section<'_>, session: &mut SessionConfig, mistakes: &mut Mistakes) {
    if let Some(section) = client.section("reconnect", &RECONNECT_KEYS, mistakes) {
        let reconnect = &mut session.reconnect;
        backoff(&section, &mut reconnect.backoff, mistakes);
        if let Some(attempts) = or(
            &section,
            "attempts",
            "unlimited",
            mistakes,
            |node, mistakes| {
                scalar::whole(node, "a number of attempts", 1, ATTEMPTS_MAX, mistakes)
                    .map(|read| read.value as u32)
            },
        ) {
            reconnect.attempts = attempts;
        }
    }
    if let Some(node) = client.get("auto_reconnect")
        && let Some(enabled) = scalar::flag(node, mistakes)
    {
        session.reconnect.enabled = enabled;
    }
    if let Some(node) = client.get("auto_rejoin")
        && let Some(enabled) = scalar::flag(node, mistakes)
    {
        let rejoin = session.reconnect.rejoin;
        session.reconnect.rejoin = enabled.then(|| rejoin.unwrap_or(Rejoin::AT_ONCE));
    }
}

fn identity(client: &Section<'_>, spec: &mut ClientSpec, mistakes: &mut Mistakes) {
    if let Some(timeout) = pause(client, "connect_timeout", mistakes) {
        spec.connect_timeout = timeout;
    }
    if let Some(timeout) = or(client, "idle_timeout", "never", mistakes, bounded) {
        idle_timeout(&mut spec.session.liveness, timeout);
    }
    if let Some(node) = client.get("user_ids") {
        let options = [("own", true), ("none", false)];
        if let Some(read) = scalar::choice(node, "a kind of user ids", &options, mistakes) {
            spec.user_ids = read.value;
        }
    }
    if let Some(node) = client.get("roles") {
        roles(node, spec, mistakes);
    }
    if let Some(node) = client.get("token_lifetime")
        && let Some(read) = scalar::duration(node, mistakes)
    {
        if read.value < Duration::from_secs(1) {
            mistakes
                .add(
                    read.place,
                    format!("a token of {} is never valid", read.shown),
                )
                .expected("1s or more; whole seconds count");
        } else {
            spec.token_lifetime = read.value;
        }
    }
}

/// A silence that ends the transport. A client that asks for a sign of life does so when
/// three fifths of it are over; one that pings in a rhythm looks three times, as the JS
/// client does.
fn idle_timeout(liveness: &mut Liveness, timeout: Option<Duration>) {
    *liveness = match (timeout, *liveness) {
        (None, _) => Liveness::Trust,
        (Some(silence), Liveness::Beat { every, .. }) => Liveness::Beat {
            every: every.min(silence / 3),
            silence,
            look: silence / 3,
        },
        (Some(silence), Liveness::Probe { .. } | Liveness::Trust) => {
            let after = silence * 3 / 5;
            Liveness::Probe {
                after,
                within: silence - after,
            }
        }
    };
}

fn roles(node: &Node, spec: &mut ClientSpec, mistakes: &mut Mistakes) {
    let example = "a list of roles, e.g. `[webpubsub.joinLeaveGroup, webpubsub.sendToGroup]`";
    let Some(items) = items(node, "roles", example, mistakes) else {
        return;
    };
    if items.len() > ROLES_MAX {
        mistakes
            .add(node.place, format!("{} roles", items.len()))
            .expected(format!("at most {ROLES_MAX}"));
        return;
    }
    spec.roles = items
        .iter()
        .filter_map(|item| scalar::text(item, "a role", mistakes))
        .map(|read| read.value)
        .collect();
}

fn pause(section: &Section<'_>, key: &str, mistakes: &mut Mistakes) -> Option<Duration> {
    bounded(section.get(key)?, mistakes)
}

/// A time to wait: not none, and no slip of the unit.
pub(super) fn bounded(node: &Node, mistakes: &mut Mistakes) -> Option<Duration> {
    let read = scalar::duration(node, mistakes)?;
    if read.value.is_zero() || read.value > PAUSE_MAX {
        mistakes
            .add(
                read.place,
                format!("{} is too short or too long", read.shown),
            )
            .expected("more than nothing, at most 1h");
        return None;
    }
    Some(read.value)
}

/// A value, or a word for none.
fn or<T>(
    section: &Section<'_>,
    key: &str,
    word: &str,
    mistakes: &mut Mistakes,
    read: impl Fn(&Node, &mut Mistakes) -> Option<T>,
) -> Option<Option<T>> {
    let node = section.get(key)?;
    match &node.kind {
        Kind::Scalar(scalar) if scalar.value == word => Some(None),
        _ => read(node, mistakes).map(Some),
    }
}
