//! What the clients of a pool publish, when, to whom and how large. Times are made of it in
//! `load`, sizes and destinations in `client::publish`.

use std::sync::Arc;
use std::time::Duration;

use crate::base::GroupId;
use crate::base::units::Rate;
use crate::payload::Template;

/// Requests that one server has under way at once, each on a connection of its own that is
/// kept alive; what is due beyond waits.
pub const REQUESTS_PER_SERVER: usize = 32;

/// What each client of a pool publishes.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Per client, open loop, where the profile is 1. Not used in a closed loop.
    pub rate: Rate,
    /// How the intended times are spread.
    pub arrivals: Arrivals,
    /// How the rate changes over time, counted from `start`.
    pub profile: Profile,
    /// When the pool starts publishing, from the start of the load.
    pub start: Duration,
    /// When it stops; `None`: with the load.
    pub stop: Option<Duration>,
    /// A closed loop: the next message follows the outcome of the one before after this
    /// pause. `None`: open loop, the schedule never waits for the hub.
    pub after_ack: Option<Duration>,
    /// To whom.
    pub to: Destination,
    /// The shape of the payload; its `size` is the largest of `sizes`.
    pub payload: Template,
    /// How large payloads are.
    pub sizes: Sizes,
    /// With an ackId, retried; else fire and forget.
    pub ack: bool,
    /// The publisher's own connection is spared its message.
    pub no_echo: bool,
}

/// How intended send times are spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Arrivals {
    /// Evenly, each client at a phase of its own.
    #[default]
    Uniform,
    /// Exponential gaps.
    Poisson,
    /// So many in one instant, the bursts spread evenly; the rate stays.
    Burst(u32),
}

/// How a rate changes over time: a factor, by time from the start of publishing.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Profile {
    /// Always 1.
    #[default]
    Constant,
    /// One stage after the other; the factor at the end of the last one stays.
    Stages(Arc<[Stage]>),
    /// From `low` up to `high` and back in each period, beginning at `low` (night, day).
    Sine {
        /// The length of a day, above zero.
        period: Duration,
        /// The least factor.
        low: f64,
        /// The greatest factor, at least `low`.
        high: f64,
    },
}

/// A stretch of time in which the factor changes evenly.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stage {
    /// How long; may be zero: a step.
    pub lasts: Duration,
    /// The factor at its beginning.
    pub from: f64,
    /// The factor at its end.
    pub to: f64,
}

/// How large payloads are, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sizes {
    /// All as the template says.
    #[default]
    Fixed,
    /// Every size from `min` to `max` equally likely.
    Uniform {
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
    /// Many small, few large, cut to `min` and `max`.
    LogNormal {
        /// Half of them are smaller.
        median: u32,
        /// One of a hundred is larger.
        p99: u32,
        /// The smallest that carries an identity.
        min: u32,
        /// The largest that fits in a message.
        max: u32,
    },
}

/// To whom a client, or a server, publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// To each of its own groups in turn.
    Joined,
    /// To one group.
    Group(GroupId),
    /// To one of these at random, each time anew; never empty.
    Random(Arc<[GroupId]>),
    /// To the hub's event handler.
    Event {
        /// The event's name.
        name: String,
        /// The handler gives the data back, and the client waits for it.
        reply: bool,
    },
    /// To every connection of the hub. From here on for servers only.
    Everybody,
    /// To a user of this pool at random, each time anew.
    User(usize),
    /// To a connection of this pool at random, each time anew.
    Connection(usize),
}
