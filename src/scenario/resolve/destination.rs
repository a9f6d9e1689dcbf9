//! `to`: to whom a pool publishes.

use std::sync::Arc;

use super::groups::check_name;
use super::publish::{Context, Publisher};
use crate::base::GroupId;
use crate::scenario::model::Destination;
use crate::scenario::read::names::{did_you_mean, one_of};
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::Kind;

/// What a client, and a server, may send to.
const OF_CLIENTS: &str = "joined, random, a group that a pool joins, or {event: NAME}";
const KEYS: [&str; 4] = ["event", "reply", "user", "connection"];
const OF_SERVERS: &str =
    "everybody, random, a group that a pool joins, {user: POOL} or {connection: POOL}";

pub(super) fn read(
    section: &Section<'_>,
    publisher: Publisher<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Destination> {
    let Some(node) = section.get("to") else {
        return joined(section.place, publisher, mistakes);
    };
    if let Kind::Map(_) = node.kind {
        let section = section.section("to", &KEYS, mistakes)?;
        not_theirs(&section, publisher, mistakes);
        return match publisher.server {
            true => addressed(&section, context, mistakes),
            false => event(&section, mistakes),
        };
    }
    let read = scalar::text(node, expected(publisher), mistakes)?;
    match read.value.as_str() {
        "joined" => return joined(read.place, publisher, mistakes),
        "random" => return random(read.place, publisher, context, mistakes),
        "everybody" if publisher.server => return Some(Destination::Everybody),
        "everybody" => {
            mistakes
                .add(read.place, "a client cannot send to everybody")
                .expected(OF_CLIENTS)
                .mend("a pool of `servers` can: the service API has broadcasts");
            return None;
        }
        _ => {}
    }
    check_name(&read, mistakes)?;
    let group = context.groups.find(&read.value);
    let members = context.members.as_ref()?;
    if group.is_none_or(|group| members[group.index()] == 0) {
        let names = context.groups.names.iter().map(String::as_str);
        let words: &[&str] = match publisher.server {
            true => &["everybody", "random"],
            false => &["joined", "random"],
        };
        let mend = match group {
            Some(_) => Some("give the pool that may join it more clients or fewer groups".into()),
            None => did_you_mean(&read.shown, words.iter().copied().chain(names)),
        };
        mistakes
            .add(read.place, format!("nobody joins group `{}`", read.shown))
            .expected(expected(publisher))
            .maybe_mend(mend);
    }
    group.map(Destination::Group)
}

fn expected(publisher: Publisher<'_>) -> &'static str {
    match publisher.server {
        true => OF_SERVERS,
        false => OF_CLIENTS,
    }
}

fn joined(place: Place, publisher: Publisher<'_>, mistakes: &mut Mistakes) -> Option<Destination> {
    if publisher.server {
        mistakes
            .add(
                place,
                "a server joins no groups, so it is not said to whom it sends",
            )
            .expected(OF_SERVERS)
            .mend("add `to: everybody`");
        return None;
    }
    if publisher.choice?.groups.is_empty() {
        mistakes
            .add(
                place,
                "publishing to the joined groups, but this pool joins none",
            )
            .mend("add `groups: {count: 10, join: 1}` to the pool, or say `to: GROUP`");
    }
    Some(Destination::Joined)
}

/// `random`: any of the pool's groups that somebody joins; of a pool without groups, any of
/// the scenario's.
fn random(
    place: Place,
    publisher: Publisher<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Destination> {
    let members = context.members.as_ref()?;
    let joined = |group: &GroupId| members[group.index()] > 0;
    let all = || (0..members.len() as u32).map(GroupId);
    let groups: Arc<[GroupId]> = match publisher.choice?.groups.as_slice() {
        [] => all().filter(joined).collect(),
        own => own.iter().copied().filter(joined).collect(),
    };
    if groups.is_empty() {
        mistakes
            .add(place, "there is no group that anybody joins")
            .mend("add `groups: {count: 10, join: 1}` to a pool");
        return None;
    }
    Some(Destination::Random(groups))
}

/// Keys of the others.
fn not_theirs(section: &Section<'_>, publisher: Publisher<'_>, mistakes: &mut Mistakes) {
    let (who, keys, mend) = match publisher.server {
        true => ("server", ["event", "reply"], "events come from clients"),
        false => (
            "client",
            ["user", "connection"],
            "a pool of `servers` can: the service API sends to users and connections",
        ),
    };
    for key in keys {
        if let Some(entry) = section.entry(key) {
            let what = format!("a {who} cannot send to `{key}`");
            mistakes.add(entry.key_place, what).mend(mend);
        }
    }
}

/// `{event: NAME}`, with `reply: echo` where the handler gives the data back.
fn event(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Destination> {
    let node = section.required("event", "`event: NAME`", mistakes)?;
    let read = scalar::text(node, "an event's name", mistakes)?;
    let right = !read.value.is_empty()
        && read.value.len() <= 128
        && !read
            .value
            .contains(|c: char| c.is_control() || c.is_whitespace());
    if !right {
        mistakes
            .add(read.place, format!("`{}` cannot name an event", read.shown))
            .expected("1 to 128 characters without white space");
    }
    let options = [("none", false), ("echo", true)];
    let reply = section
        .get("reply")
        .and_then(|node| scalar::choice(node, "a reply", &options, mistakes))
        .is_some_and(|read| read.value);
    Some(Destination::Event {
        name: read.value,
        reply,
    })
}

/// `{user: POOL}` or `{connection: POOL}`.
fn addressed(
    section: &Section<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Destination> {
    if section.conflict("user", "connection", "give one of the two", mistakes) {
        return None;
    }
    let (node, user) = match section.get("connection") {
        Some(node) => (node, false),
        None => (section.required("user", "`user: POOL`", mistakes)?, true),
    };
    let read = scalar::text(node, "a pool's name", mistakes)?;
    let clients = || context.pools.iter().filter(|pool| !pool.server);
    let names = || clients().map(|pool| pool.name.as_str());
    let found = context
        .pools
        .iter()
        .position(|pool| pool.name == read.value);
    let Some(pool) = found.filter(|pool| !context.pools[*pool].server) else {
        mistakes
            .add(
                read.place,
                format!("there are no clients in a pool `{}`", read.shown),
            )
            .expected(match names().next() {
                Some(_) => one_of(names()),
                None => "a pool of clients".into(),
            })
            .maybe_mend(did_you_mean(&read.shown, names()));
        return None;
    };
    if user && !context.pools[pool].users {
        mistakes
            .add(read.place, format!("the users of `{}` have no ids to send to", read.shown))
            .mend("give the target an `access_key` and leave `user_ids: none` out, or send to `{connection: POOL}`");
    }
    Some(match user {
        true => Destination::User(pool),
        false => Destination::Connection(pool),
    })
}
