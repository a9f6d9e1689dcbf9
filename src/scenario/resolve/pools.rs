//! `pools`: who connects, how many, to which groups.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::client;
use super::groups::{self, Groups};
use super::publish::Publisher;
use super::scenario::{Outside, Verify};
use super::{publish, sessions};
use crate::base::Seed;
use crate::base::units::Rate;
use crate::protocol::Behaviour;
use crate::scenario::model::{ClientSpec, GroupChoice, Pool, Sessions, TargetSpec};
use crate::scenario::read::names::cut;
use crate::scenario::read::scalar;
use crate::scenario::read::section::{Section, entries};
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::Entry;
use crate::wire::Subprotocol;

pub(in crate::scenario) const KEYS: [&str; 10] = [
    "clients",
    "servers",
    "protocol",
    "connect",
    "sessions",
    "connections_per_user",
    "groups",
    "churn",
    "publish",
    "client",
];
/// What a server, which holds no connection, has none of.
const OF_CLIENTS: [&str; 8] = [
    "clients",
    "protocol",
    "connect",
    "sessions",
    "connections_per_user",
    "groups",
    "churn",
    "client",
];
/// Servers of one pool: each has some requests under way at once.
const SERVERS_MAX: u64 = 1000;
/// Clients of one run: slots are numbered in 24 bits.
pub(super) const CLIENTS_MAX: u64 = 1 << 24;
/// Pools of one run: each is a label value of every metric.
const POOLS_MAX: usize = 256;

/// The pools, and what else the cross-checks need.
#[derive(Default)]
pub(super) struct Pools {
    pub(super) pools: Vec<Pool>,
    /// Clients per pool before `--scale`: plans are checked against these.
    pub(super) asked: Vec<u32>,
    /// Names of all groups.
    pub(super) groups: Vec<String>,
}

/// A pool before its `publish` is read, which needs the groups of all pools.
struct Draft<'n> {
    section: Section<'n>,
    name: &'n str,
    /// As asked, and after `--scale`.
    asked: u32,
    clients: u32,
    sessions: Option<Sessions>,
    choice: Option<GroupChoice>,
    protocol: Subprotocol,
    client: ClientSpec,
    server: bool,
}

pub(super) fn read(
    file: &Section<'_>,
    verify: &Verify,
    target: &TargetSpec,
    duration: Option<Duration>,
    seed: Seed,
    outside: &Outside<'_>,
    mistakes: &mut Mistakes,
) -> Pools {
    let expected = "a mapping of names to pools, e.g. `pools: {talkers: {clients: 10}}`";
    let example = "`pools: {listeners: {clients: 10, groups: {count: 1}}}`";
    let Some(node) = file.required("pools", example, mistakes) else {
        return Pools::default();
    };
    let Some(entries) = entries(node, "pools", expected, mistakes) else {
        return Pools::default();
    };
    if entries.is_empty() || entries.len() > POOLS_MAX {
        mistakes
            .add(node.place, format!("{} pools", entries.len()))
            .expected(format!("1 to {POOLS_MAX} pools"));
        return Pools::default();
    }
    let mut groups = Groups::default();
    let drafts: Vec<Draft<'_>> = (0..)
        .zip(entries)
        .filter_map(|(nth, entry)| {
            let rng = seed.stream("groups", nth);
            draft(entry, duration, outside, rng, &mut groups, mistakes)
        })
        .collect();
    let complete =
        drafts.len() == entries.len() && drafts.iter().all(|draft| draft.choice.is_some());
    let context = publish::Context {
        groups: &groups,
        pools: drafts.iter().map(|draft| sketch(draft, target)).collect(),
        // Of an incomplete table nobody can say what is missing in it.
        members: complete.then(|| members(&drafts, groups.names.len())),
        mode: verify.mode,
        asked: 0,
        duration,
        duration_forced: outside.duration_forced,
    };
    let asked = drafts.iter().map(|draft| draft.asked).collect();
    if let Some(server) = drafts.iter().find(|draft| draft.server)
        && matches!(target, TargetSpec::ClientAccessUrl(_))
    {
        mistakes
            .add(
                server.section.place,
                "a client access URL does not open the service API",
            )
            .mend("give the target an `endpoint` and `access_key`, or a `connection_string`");
    }
    if drafts.iter().all(|draft| draft.server) && !drafts.is_empty() {
        mistakes
            .add(
                node.place,
                "there are servers alone: nobody is connected to hear them",
            )
            .mend("add a pool of `clients`");
    }
    let pools = finish(drafts, outside.scale, context, mistakes);
    Pools {
        pools,
        asked,
        groups: groups.names,
    }
}

fn draft<'n>(
    entry: &'n Entry,
    duration: Option<Duration>,
    outside: &Outside<'_>,
    rng: ChaCha8Rng,
    groups: &mut Groups,
    mistakes: &mut Mistakes,
) -> Option<Draft<'n>> {
    check_name(entry, mistakes);
    let path = format!("pools.{}", cut(&entry.key));
    let section = Section::open(&entry.value, entry.key_place, &path, &KEYS, mistakes)?;
    if section.entry("servers").is_some() {
        return server(section, &entry.key, mistakes);
    }
    let sessions = sessions::read(&section, mistakes);
    let asked = asked(&section, sessions.as_ref(), duration, outside, mistakes);
    // One stands for a number that could not be read, to find the other mistakes.
    let asked = asked.unwrap_or(1);
    let clients = ((asked as f64 * outside.scale).round() as u64).clamp(1, CLIENTS_MAX) as u32;
    let choice = groups::read(&section, clients, rng, groups, mistakes);
    let protocol = protocol(&section, mistakes);
    Some(Draft {
        client: client::read(&section, protocol, mistakes),
        protocol,
        server: false,
        section,
        name: &entry.key,
        asked: asked as u32,
        clients,
        sessions: sessions.map(|sessions| sessions::scaled(sessions, outside)),
        choice,
    })
}

/// A pool of servers. `--scale` changes their rate, not their number.
fn server<'n>(section: Section<'n>, name: &'n str, mistakes: &mut Mistakes) -> Option<Draft<'n>> {
    for key in OF_CLIENTS {
        if let Some(entry) = section.entry(key) {
            mistakes
                .add(entry.key_place, format!("a pool of servers has no `{key}`"))
                .mend("leave it out: servers hold no connection, they send over the service API");
        }
    }
    let publish = "`publish: {rate: 1/s, to: everybody}`";
    section.required("publish", publish, mistakes);
    let node = section.get("servers")?;
    let read = scalar::whole(node, "a number of servers", 1, SERVERS_MAX, mistakes);
    let servers = read.map_or(1, |read| read.value as u32);
    Some(Draft {
        section,
        name,
        asked: servers,
        clients: servers,
        sessions: None,
        choice: Some(GroupChoice::default()),
        protocol: Subprotocol::default(),
        client: ClientSpec::of(Behaviour::default(), Subprotocol::default()),
        server: true,
    })
}

fn sketch(draft: &Draft<'_>, target: &TargetSpec) -> publish::Sketch {
    let minted = !matches!(
        target,
        TargetSpec::ClientAccessUrl(_)
            | TargetSpec::Endpoint {
                access_key: None,
                ..
            }
    );
    publish::Sketch {
        name: draft.name.to_owned(),
        server: draft.server,
        users: minted && draft.client.user_ids,
    }
}

/// How many clients the file asks for: of visitors, as many as come.
fn asked(
    section: &Section<'_>,
    sessions: Option<&Sessions>,
    duration: Option<Duration>,
    outside: &Outside<'_>,
    mistakes: &mut Mistakes,
) -> Option<u64> {
    let come = sessions
        .zip(duration)
        .map(|(sessions, duration)| sessions::clients(sessions, duration));
    let node = match (section.get("clients"), come) {
        (None, Some(come)) => return Some(come),
        (None, None) if section.entry("sessions").is_some() => return None,
        (None, None) => section.required("clients", "`clients: 10`", mistakes)?,
        (Some(node), _) => node,
    };
    let read = scalar::whole(node, "a number of clients", 1, CLIENTS_MAX, mistakes)?;
    let Some(come) = come.filter(|come| read.value > *come) else {
        return Some(read.value);
    };
    if !outside.duration_forced {
        mistakes
            .add(
                read.place,
                format!(
                    "only {come} of {} clients come before the load ends",
                    read.shown
                ),
            )
            .mend("leave `clients` out: as many as come");
    }
    Some(come)
}

/// Pool names are label values of metrics and steps of dotted paths.
fn check_name(entry: &Entry, mistakes: &mut Mistakes) {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name = &entry.key;
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        mistakes
            .add(
                entry.key_place,
                format!("`{}` cannot name a pool", cut(name)),
            )
            .expected("letters, digits, - and _, at most 64");
    }
}

/// How many clients join each group, before `--scale`.
fn members(drafts: &[Draft<'_>], groups: usize) -> Vec<u32> {
    let mut members = vec![0u32; groups];
    for draft in drafts {
        if let Some(choice) = &draft.choice {
            for (place, group) in choice.groups.iter().enumerate() {
                let joined = choice.members_at(place, draft.asked);
                members[group.index()] = members[group.index()].saturating_add(joined);
            }
        }
    }
    members
}

fn finish(
    drafts: Vec<Draft<'_>>,
    scale: f64,
    mut context: publish::Context<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Pool> {
    let mut first_slot = 0;
    let mut pools = Vec::new();
    for draft in drafts {
        let section = &draft.section;
        context.asked = draft.asked;
        let publisher = Publisher {
            choice: draft.choice.as_ref(),
            protocol: draft.protocol,
            server: draft.server,
        };
        let mut publish = publish::read(section, publisher, &context, mistakes);
        if let Some(publish) = publish.as_mut().filter(|_| draft.server) {
            publish.rate = Rate::per_second(publish.rate.as_per_second() * scale);
        }
        let pool = Pool {
            name: draft.name.to_owned(),
            first_slot,
            clients: draft.clients,
            server: draft.server,
            protocol: draft.protocol,
            client: draft.client,
            connect: connect(section, mistakes),
            connections_per_user: per_user(section, mistakes),
            sessions: draft.sessions,
            churn: sessions::churn(
                section,
                draft.choice.as_ref().is_none_or(|choice| choice.join > 0),
                mistakes,
            ),
            publish,
            groups: draft.choice.unwrap_or_default(),
        };
        if u64::from(first_slot) + u64::from(draft.clients) > CLIENTS_MAX {
            too_many(section.place, mistakes);
            break;
        }
        first_slot += draft.clients;
        pools.push(pool);
    }
    pools
}

fn too_many(place: Place, mistakes: &mut Mistakes) {
    let what = format!("more than {CLIENTS_MAX} clients in all pools together");
    mistakes.add(place, what);
}

fn protocol(section: &Section<'_>, mistakes: &mut Mistakes) -> Subprotocol {
    let options = Subprotocol::ALL.map(|protocol| (protocol.short_name(), protocol));
    section
        .get("protocol")
        .and_then(|node| scalar::choice(node, "a protocol", &options, mistakes))
        .map_or(Subprotocol::default(), |read| read.value)
}

fn per_user(section: &Section<'_>, mistakes: &mut Mistakes) -> u32 {
    let what = "a number of connections";
    section
        .get("connections_per_user")
        .and_then(|node| scalar::whole(node, what, 1, CLIENTS_MAX, mistakes))
        .map_or(1, |read| read.value as u32)
}

fn connect(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Rate> {
    let read = scalar::rate(section.get("connect")?, mistakes)?;
    if read.value.as_per_second() <= 0.0 {
        mistakes
            .add(read.place, "at this rate nobody ever connects")
            .mend("leave `connect` out to connect as fast as the target takes them");
    }
    Some(read.value)
}
