//! `publish`: what the clients of a pool send, and to whom.

use std::sync::Arc;
use std::time::Duration;

use super::groups::{Groups, check_name};
use super::{pace, profile};
use crate::base::GroupId;
use crate::base::units::Rate;
use crate::payload::{Padding, Template};
use crate::scenario::model::{Arrivals, Destination, GroupChoice, Mode, Publish, Sizes};
use crate::scenario::read::names::did_you_mean;
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::{Kind, Node};
use crate::wire::{DataType, MESSAGE_BYTES_MAX, Subprotocol};

pub(in crate::scenario) const KEYS: [&str; 12] = [
    "rate",
    "pool_rate",
    "arrivals",
    "profile",
    "start",
    "stop",
    "next",
    "pause",
    "to",
    "payload",
    "ack",
    "no_echo",
];
const PAYLOAD_KEYS: [&str; 3] = ["type", "size", "padding"];
const ARRIVALS: [(&str, Arrivals); 3] = [
    ("uniform", Arrivals::Uniform),
    ("poisson", Arrivals::Poisson),
    ("burst", Arrivals::Burst(BURST_DEFAULT)),
];
const BURST_DEFAULT: u32 = 10;
/// Messages of one burst: what a client may have in flight.
const BURST_MAX: u64 = 256;
const TYPES: [(&str, DataType); 4] = [
    ("text", DataType::Text),
    ("json", DataType::Json),
    ("binary", DataType::Binary),
    ("protobuf", DataType::Protobuf),
];
pub(in crate::scenario) const PADDINGS: [(&str, Padding); 3] = [
    ("zeros", Padding::Zeros),
    ("random", Padding::Random),
    ("unicode", Padding::Unicode),
];
const PAYLOAD_DEFAULT: Template = Template {
    data_type: DataType::Json,
    size: 128,
    padding: Padding::Random,
};
/// What a frame needs beside its data: the keys, and a group's name of 1024 characters.
const ENVELOPE_BYTES: usize = 8 << 10;
/// Messages of one client: the identity numbers a stream up to here.
const MESSAGES_MAX: f64 = (1u64 << 31) as f64;

/// What `publish` is checked against.
pub(super) struct Context<'c> {
    pub(super) groups: &'c Groups,
    /// Members per group; `None` when not all pools could be read.
    pub(super) members: Option<Vec<u32>>,
    pub(super) mode: Mode,
    /// Clients of this pool before `--scale`.
    pub(super) asked: u32,
    /// `None` when it could not be read.
    pub(super) duration: Option<Duration>,
    /// The duration is a flag's: pools may want to go on for longer than the load does now.
    pub(super) duration_forced: bool,
}

pub(super) fn read(
    pool: &Section<'_>,
    choice: Option<&GroupChoice>,
    protocol: Subprotocol,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Publish> {
    let section = pool.section("publish", &KEYS, mistakes)?;
    let after_ack = pace::after_ack(&section, mistakes);
    let rate = match after_ack {
        Some(_) => None,
        None => rate(&section, context, mistakes),
    };
    let flag = |key: &str, default: bool, mistakes: &mut Mistakes| match section.get(key) {
        Some(node) => scalar::flag(node, mistakes).unwrap_or(default),
        None => default,
    };
    let ack = flag("ack", true, mistakes);
    if let (Some(_), false, Some(entry)) = (after_ack, ack, section.entry("ack")) {
        mistakes
            .add(entry.key_place, "a closed loop waits for acks")
            .mend("leave `ack: false` out, or `next: after_ack`");
    }
    let no_echo = flag("no_echo", false, mistakes);
    let (start, stop) = pace::window(&section, context, mistakes);
    let (payload, sizes) = payload(&section, protocol, context.mode, mistakes);
    Some(Publish {
        to: destination(&section, choice, context, mistakes).unwrap_or(Destination::Joined),
        payload,
        sizes,
        rate: rate.unwrap_or(Rate::per_second(1.0)),
        arrivals: arrivals(&section, mistakes).unwrap_or_default(),
        profile: profile::read(&section, context.duration, mistakes).unwrap_or_default(),
        start,
        stop,
        after_ack,
        ack,
        no_echo,
    })
}

/// `uniform`, `poisson`, `burst` or `{burst: SIZE}`.
fn arrivals(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Arrivals> {
    let node = section.get("arrivals")?;
    if let Kind::Map(_) = node.kind {
        let section = section.section("arrivals", &["burst"], mistakes)?;
        let node = section.required("burst", "`burst: 10`", mistakes)?;
        let read = scalar::whole(node, "a number of messages", 1, BURST_MAX, mistakes)?;
        return Some(Arrivals::Burst(read.value as u32));
    }
    let read = scalar::choice(node, "a way to spread arrivals", &ARRIVALS, mistakes)?;
    Some(read.value)
}

/// `rate`, per client, or `pool_rate`, of all clients together before `--scale`.
fn rate(section: &Section<'_>, context: &Context<'_>, mistakes: &mut Mistakes) -> Option<Rate> {
    let duration = context.duration;
    if section.conflict("rate", "pool_rate", "give one of the two", mistakes) {
        return None;
    }
    let (node, clients) = match section.get("pool_rate") {
        Some(node) => (node, context.asked),
        None => {
            let example = "`rate: 1/s` (per client) or `pool_rate: 500/s`";
            (section.required("rate", example, mistakes)?, 1)
        }
    };
    let read = scalar::rate(node, mistakes)?;
    let per_second = read.value.as_per_second() / f64::from(clients.max(1));
    if per_second <= 0.0 {
        mistakes
            .add(read.place, "at this rate nothing is ever published")
            .mend("leave `publish` out for clients that only listen");
    } else if duration.is_some_and(|load| per_second * load.as_secs_f64() >= MESSAGES_MAX) {
        let what = format!("`{}` is more messages than a client can number", read.shown);
        mistakes
            .add(read.place, what)
            .expected("less than 2^31 messages per client over the whole load");
    }
    Some(Rate::per_second(per_second))
}

fn destination(
    section: &Section<'_>,
    choice: Option<&GroupChoice>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Destination> {
    let Some(node) = section.get("to") else {
        return joined(section.place, choice, mistakes);
    };
    if let Kind::Map(_) = node.kind {
        return event(section, mistakes);
    }
    let read = scalar::text(
        node,
        "joined, random, a group's name, or {event: NAME}",
        mistakes,
    )?;
    if read.value == "joined" {
        return joined(read.place, choice, mistakes);
    }
    if read.value == "random" {
        return random(read.place, choice, context, mistakes);
    }
    check_name(&read, mistakes)?;
    let group = context.groups.find(&read.value);
    let members = context.members.as_ref()?;
    if group.is_none_or(|group| members[group.index()] == 0) {
        let names = context.groups.names.iter().map(String::as_str);
        let mend = match group {
            Some(_) => Some("give the pool that may join it more clients or fewer groups".into()),
            None => did_you_mean(&read.shown, ["joined", "random"].into_iter().chain(names)),
        };
        mistakes
            .add(read.place, format!("nobody joins group `{}`", read.shown))
            .expected("joined, random, a group that a pool joins, or {event: NAME}")
            .maybe_mend(mend);
    }
    group.map(Destination::Group)
}

fn joined(
    place: Place,
    choice: Option<&GroupChoice>,
    mistakes: &mut Mistakes,
) -> Option<Destination> {
    if choice?.groups.is_empty() {
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
    choice: Option<&GroupChoice>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Destination> {
    let members = context.members.as_ref()?;
    let joined = |group: &GroupId| members[group.index()] > 0;
    let all = || (0..members.len() as u32).map(GroupId);
    let groups: Arc<[GroupId]> = match choice?.groups.as_slice() {
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

/// `{event: NAME}`.
fn event(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Destination> {
    let section = section.section("to", &["event"], mistakes)?;
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
    Some(Destination::Event(read.value))
}

fn payload(
    publish: &Section<'_>,
    protocol: Subprotocol,
    mode: Mode,
    mistakes: &mut Mistakes,
) -> (Template, Sizes) {
    let mut template = PAYLOAD_DEFAULT;
    let Some(section) = publish.section("payload", &PAYLOAD_KEYS, mistakes) else {
        return (template, Sizes::Fixed);
    };
    if let Some(node) = section.get("type") {
        let read = scalar::choice(node, "a payload type", &TYPES, mistakes);
        template.data_type = read.map_or(template.data_type, |read| read.value);
    }
    if let Some(node) = section.get("padding") {
        let read = scalar::choice(node, "a padding", &PADDINGS, mistakes);
        template.padding = read.map_or(template.padding, |read| read.value);
    }
    let room = Room::of(template.data_type, protocol, mode);
    let sizes = sizes(&section, &room, &mut template, mistakes);
    (template, sizes.unwrap_or_default())
}

/// `size`: one, a range, or a distribution. The template gets the largest.
fn sizes(
    payload: &Section<'_>,
    room: &Room,
    template: &mut Template,
    mistakes: &mut Mistakes,
) -> Option<Sizes> {
    let node = payload.get("size")?;
    if !matches!(node.kind, Kind::Map(_)) {
        template.size = room.size(node, mistakes)?;
        return Some(Sizes::Fixed);
    }
    let section = payload.section("size", &["min", "max", "lognormal"], mistakes)?;
    for key in ["min", "max"] {
        let why = "give a range or a distribution";
        if section.conflict("lognormal", key, why, mistakes) {
            return None;
        }
    }
    // Sizes are at most a mebibyte.
    let size = |section: &Section<'_>, key: &str, example: &str, mistakes: &mut Mistakes| {
        let node = section.required(key, example, mistakes)?;
        Some((room.size(node, mistakes)? as u32, node.place))
    };
    if section.get("lognormal").is_some() {
        let section = section.section("lognormal", &["median", "p99"], mistakes)?;
        let median = size(&section, "median", "`median: 400B`", mistakes);
        let (p99, place) = size(&section, "p99", "`p99: 4KiB`", mistakes)?;
        let (median, _) = median?;
        if p99 < median {
            mistakes.add(place, "`p99` is below the median");
            return None;
        }
        template.size = room.max;
        return Some(Sizes::LogNormal {
            median,
            p99,
            min: room.min as u32,
            max: room.max as u32,
        });
    }
    let min = size(&section, "min", "`min: 100B`", mistakes);
    let (max, place) = size(&section, "max", "`max: 4KiB`", mistakes)?;
    let (min, _) = min?;
    if max < min {
        mistakes.add(place, "`max` is below `min`");
        return None;
    }
    template.size = max as usize;
    Some(Sizes::Uniform { min, max })
}

/// What fits: room for the identity, and inside the largest frame.
struct Room {
    data_type: DataType,
    protocol: Subprotocol,
    mode: Mode,
    min: usize,
    max: usize,
}

impl Room {
    fn of(data_type: DataType, protocol: Subprotocol, mode: Mode) -> Self {
        let room = MESSAGE_BYTES_MAX - ENVELOPE_BYTES;
        let in_base64 =
            !protocol.is_binary() && matches!(data_type, DataType::Binary | DataType::Protobuf);
        Room {
            data_type,
            protocol,
            mode,
            min: Template::size_min(data_type),
            max: if in_base64 { room / 4 * 3 } else { room },
        }
    }

    fn size(&self, node: &Node, mistakes: &mut Mistakes) -> Option<usize> {
        let read = scalar::size(node, mistakes)?;
        let (min, max, data_type) = (self.min, self.max, self.data_type);
        let size = read.value.0;
        if size < min as u64 && self.mode != Mode::Counts {
            let shown = &read.shown;
            let what = format!("`{shown}` has no room for the identity that verification needs");
            mistakes
                .add(read.place, what)
                .expected(format!("at least {min}B for {data_type}"))
                .mend("or count messages only: `verify: {mode: counts}`");
        }
        if size > max as u64 {
            mistakes
                .add(
                    read.place,
                    format!("`{}` does not fit in a message", read.shown),
                )
                .expected(format!(
                    "at most {max}B for {data_type} over {}",
                    self.protocol
                ));
            return None;
        }
        // At most 1 MiB.
        Some(size as usize)
    }
}
