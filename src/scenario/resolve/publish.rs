//! `publish`: what the clients of a pool send, and to whom.

use std::time::Duration;

use super::groups::Groups;
use super::{destination, pace, profile};
use crate::base::units::Rate;
use crate::payload::{Padding, Template};
use crate::scenario::model::{Arrivals, Destination, GroupChoice, Mode, Publish, Sizes};
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::Mistakes;
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
    /// Every pool of the file, in order.
    pub(super) pools: Vec<Sketch>,
    pub(super) mode: Mode,
    /// Clients of this pool before `--scale`.
    pub(super) asked: u32,
    /// `None` when it could not be read.
    pub(super) duration: Option<Duration>,
    /// The duration is a flag's: pools may want to go on for longer than the load does now.
    pub(super) duration_forced: bool,
}

/// What others need to know of a pool to publish to it.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    pub(super) name: String,
    pub(super) server: bool,
    /// Its users have ids.
    pub(super) users: bool,
}

/// Who publishes.
#[derive(Clone, Copy)]
pub(super) struct Publisher<'p> {
    /// The groups of its pool; `None` when they could not be read.
    pub(super) choice: Option<&'p GroupChoice>,
    pub(super) protocol: Subprotocol,
    /// Over the service API.
    pub(super) server: bool,
}

pub(super) fn read(
    pool: &Section<'_>,
    publisher: Publisher<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Publish> {
    if matches!(&pool.get("publish")?.kind, Kind::Scalar(scalar) if scalar.value == "none") {
        return None;
    }
    let section = pool.section("publish", &KEYS, mistakes)?;
    if publisher.server {
        no_answers(&section, mistakes);
    }
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
    let (payload, sizes) = payload(&section, publisher, context.mode, mistakes);
    Some(Publish {
        to: destination::read(&section, publisher, context, mistakes)
            .unwrap_or(Destination::Joined),
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

/// What belongs to a client's connection has no place in a server's requests.
fn no_answers(section: &Section<'_>, mistakes: &mut Mistakes) {
    for key in ["next", "pause", "ack", "no_echo"] {
        if let Some(entry) = section.entry(key) {
            mistakes
                .add(entry.key_place, format!("a server has no `{key}`"))
                .mend("leave it out: a server sends by its schedule, each request is answered, and nothing echoes");
        }
    }
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

fn payload(
    publish: &Section<'_>,
    publisher: Publisher<'_>,
    mode: Mode,
    mistakes: &mut Mistakes,
) -> (Template, Sizes) {
    let mut template = PAYLOAD_DEFAULT;
    let Some(section) = publish.section("payload", &PAYLOAD_KEYS, mistakes) else {
        return (template, Sizes::Fixed);
    };
    if let Some(node) = section.get("type") {
        // The service API has no content type for protobuf. Source: protocol 7.3.
        let types = if publisher.server {
            &TYPES[..3]
        } else {
            &TYPES[..]
        };
        let read = scalar::choice(node, "a payload type", types, mistakes);
        template.data_type = read.map_or(template.data_type, |read| read.value);
    }
    if let Some(node) = section.get("padding") {
        let read = scalar::choice(node, "a padding", &PADDINGS, mistakes);
        template.padding = read.map_or(template.padding, |read| read.value);
    }
    let room = Room::of(template.data_type, publisher.protocol, mode);
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
