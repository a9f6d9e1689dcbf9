//! `publish`: what the clients of a pool send, and to whom.

use std::time::Duration;

use super::groups::{Groups, check_name};
use crate::base::units::Rate;
use crate::payload::{Padding, Template};
use crate::scenario::model::{Arrivals, Destination, GroupChoice, Mode, Publish};
use crate::scenario::read::names::did_you_mean;
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::{Kind, Node};
use crate::wire::{DataType, MESSAGE_BYTES_MAX, Subprotocol};

const KEYS: [&str; 6] = ["rate", "arrivals", "to", "payload", "ack", "no_echo"];
const PAYLOAD_KEYS: [&str; 3] = ["type", "size", "padding"];
const ARRIVALS: [(&str, Arrivals); 2] = [
    ("uniform", Arrivals::Uniform),
    ("poisson", Arrivals::Poisson),
];
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
    /// `None` when it could not be read.
    pub(super) duration: Option<Duration>,
}

pub(super) fn read(
    pool: &Section<'_>,
    choice: Option<&GroupChoice>,
    protocol: Subprotocol,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Publish> {
    let section = pool.section("publish", &KEYS, mistakes)?;
    let rate = rate(&section, context.duration, mistakes);
    let arrivals = section
        .get("arrivals")
        .and_then(|node| scalar::choice(node, "a way to spread arrivals", &ARRIVALS, mistakes))
        .map_or(Arrivals::default(), |read| read.value);
    let flag = |key: &str, default: bool, mistakes: &mut Mistakes| match section.get(key) {
        Some(node) => scalar::flag(node, mistakes).unwrap_or(default),
        None => default,
    };
    let ack = flag("ack", true, mistakes);
    let no_echo = flag("no_echo", false, mistakes);
    Some(Publish {
        to: destination(&section, choice, context, mistakes).unwrap_or(Destination::Joined),
        payload: payload(&section, protocol, context.mode, mistakes),
        rate: rate.unwrap_or(Rate::per_second(1.0)),
        arrivals,
        ack,
        no_echo,
    })
}

fn rate(
    section: &Section<'_>,
    duration: Option<Duration>,
    mistakes: &mut Mistakes,
) -> Option<Rate> {
    let node = section.required("rate", "`rate: 1/s` (per client)", mistakes)?;
    let read = scalar::rate(node, mistakes)?;
    let per_second = read.value.as_per_second();
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
    Some(read.value)
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
    let read = scalar::text(node, "joined, a group's name, or {event: NAME}", mistakes)?;
    if read.value == "joined" {
        return joined(read.place, choice, mistakes);
    }
    check_name(&read, mistakes)?;
    let group = context.groups.find(&read.value);
    let members = context.members.as_ref()?;
    if group.is_none_or(|group| members[group.index()] == 0) {
        let names = context.groups.names.iter().map(String::as_str);
        let mend = match group {
            Some(_) => Some("give the pool that may join it more clients or fewer groups".into()),
            None => did_you_mean(&read.shown, std::iter::once("joined").chain(names)),
        };
        mistakes
            .add(read.place, format!("nobody joins group `{}`", read.shown))
            .expected("joined, a group that a pool joins, or {event: NAME}")
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
) -> Template {
    let mut template = PAYLOAD_DEFAULT;
    let Some(section) = publish.section("payload", &PAYLOAD_KEYS, mistakes) else {
        return template;
    };
    if let Some(node) = section.get("type") {
        let read = scalar::choice(node, "a payload type", &TYPES, mistakes);
        template.data_type = read.map_or(template.data_type, |read| read.value);
    }
    if let Some(node) = section.get("padding") {
        let read = scalar::choice(node, "a padding", &PADDINGS, mistakes);
        template.padding = read.map_or(template.padding, |read| read.value);
    }
    if let Some(node) = section.get("size") {
        let size = size(node, template.data_type, protocol, mode, mistakes);
        template.size = size.unwrap_or(template.size);
    }
    template
}

/// The size: room for the identity, and inside the largest frame.
fn size(
    node: &Node,
    data_type: DataType,
    protocol: Subprotocol,
    mode: Mode,
    mistakes: &mut Mistakes,
) -> Option<usize> {
    let read = scalar::size(node, mistakes)?;
    let size = read.value.0;
    let min = Template::size_min(data_type) as u64;
    if size < min && mode != Mode::Counts {
        let shown = &read.shown;
        let what = format!("`{shown}` has no room for the identity that verification needs");
        mistakes
            .add(read.place, what)
            .expected(format!("at least {min}B for {data_type}"))
            .mend("or count messages only: `verify: {mode: counts}`");
    }
    let room = (MESSAGE_BYTES_MAX - ENVELOPE_BYTES) as u64;
    let in_base64 =
        !protocol.is_binary() && matches!(data_type, DataType::Binary | DataType::Protobuf);
    let max = if in_base64 { room / 4 * 3 } else { room };
    if size > max {
        mistakes
            .add(
                read.place,
                format!("`{}` does not fit in a message", read.shown),
            )
            .expected(format!("at most {max}B for {data_type} over {protocol}"));
        return None;
    }
    // At most 1 MiB.
    Some(size as usize)
}
