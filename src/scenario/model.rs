//! A resolved scenario: every default filled in, every name looked up.

use std::ops::Range;
use std::time::Duration;

use secrecy::SecretString;

use crate::base::units::Rate;
use crate::base::{GroupId, Seed, Slot};
use crate::payload::Template;
use crate::protocol::{Behaviour, SessionConfig};
use crate::wire::Subprotocol;

pub use crate::verify::{Mode, Promise};

/// What a run shall do. Immutable; plans are pure functions of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Names the run in reports and in the results folder: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Every random choice derives from it.
    pub seed: Seed,
    /// Whether the seed was drawn because the scenario named none.
    pub seed_drawn: bool,
    /// How long the load lasts; connecting comes before, draining after it.
    pub duration: Duration,
    /// How long after load, last fault and last return deliveries may still arrive.
    pub drain: Duration,
    /// What is verified.
    pub mode: Mode,
    /// What the hub is held to.
    pub promise: Promise,
    /// The verifier's memory budget, bytes.
    pub verify_memory: u64,
    /// Where the clients connect.
    pub target: TargetSpec,
    /// The clients, in slot order.
    pub pools: Vec<Pool>,
    /// Every group named or counted by a pool; [`GroupId`] is an index into it.
    pub groups: Vec<String>,
    /// The faults to inject, in file order.
    pub chaos: Vec<ChaosEntry>,
    /// Conditions on the result.
    pub thresholds: Vec<Threshold>,
}

impl Scenario {
    /// How many clients all pools have together.
    pub fn clients(&self) -> u32 {
        self.pools.iter().map(|pool| pool.clients).sum()
    }

    /// The pool that a slot belongs to.
    pub fn pool_of(&self, slot: Slot) -> usize {
        self.pools
            .partition_point(|pool| pool.slots().end <= slot.0)
    }

    /// The groups that a slot joins, in joining order.
    pub fn groups_of(&self, slot: Slot) -> Vec<GroupId> {
        let pool = &self.pools[self.pool_of(slot)];
        pool.groups.of(slot.0 - pool.first_slot)
    }
}

/// Where the clients connect.
#[derive(Clone, Debug)]
pub enum TargetSpec {
    /// The embedded hub, in this process, on loopback.
    Embedded {
        /// Hub name.
        hub: String,
    },
    /// An endpoint, with a key that signs a token per client unless the hub asks for none.
    Endpoint {
        /// `http(s)://` or `ws(s)://` and a host.
        url: String,
        /// Hub name.
        hub: String,
        /// The access key.
        access_key: Option<SecretString>,
    },
    /// `Endpoint=...;AccessKey=...;Version=1.0;`
    ConnectionString {
        /// The whole connection string.
        value: SecretString,
        /// Hub name.
        hub: String,
    },
    /// A client access URL, token and all, the same for every client.
    ClientAccessUrl(SecretString),
}

/// Clients that do the same.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Labels its metrics.
    pub name: String,
    /// The slot of its first client.
    pub first_slot: u32,
    /// How many.
    pub clients: u32,
    /// The subprotocol they offer.
    pub protocol: Subprotocol,
    /// How fast they connect; `None`: as fast as the target takes them.
    pub connect: Option<Rate>,
    /// Which groups they join.
    pub groups: GroupChoice,
    /// What they publish; `None`: they only listen.
    pub publish: Option<Publish>,
    /// How they behave.
    pub client: ClientSpec,
}

impl Pool {
    /// The slots of its clients.
    pub fn slots(&self) -> Range<u32> {
        self.first_slot..self.first_slot + self.clients
    }
}

/// How the clients of a pool behave where the protocol leaves it to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSpec {
    /// Whose habits they have; the policies below start from it.
    pub behaviour: Behaviour,
    /// Every policy of their sessions. A first connection is always tried again, whatever
    /// the behaviour: behind a real client there is a program that starts it again.
    pub session: SessionConfig,
    /// How long opening one connection may take.
    pub connect_timeout: Duration,
    /// Each client has a user id of its own, `u-SLOT`; otherwise none has any.
    pub user_ids: bool,
    /// The roles in their tokens, where tokens are signed.
    pub roles: Vec<String>,
    /// How long their tokens are valid.
    pub token_lifetime: Duration,
}

impl ClientSpec {
    /// The defaults of a behaviour.
    pub fn of(behaviour: Behaviour, subprotocol: Subprotocol) -> Self {
        let mut session = SessionConfig::of(behaviour, subprotocol);
        session.reconnect.retry_start = true;
        ClientSpec {
            behaviour,
            session,
            // Also bounds a dial made for a recovery, which the official clients leave
            // unbounded.
            connect_timeout: Duration::from_secs(15),
            user_ids: true,
            roles: vec![
                "webpubsub.joinLeaveGroup".into(),
                "webpubsub.sendToGroup".into(),
            ],
            // The official service SDKs' default.
            token_lifetime: Duration::from_secs(3600),
        }
    }
}

/// Which groups a pool's clients join.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupChoice {
    /// The groups to choose from.
    pub groups: Vec<GroupId>,
    /// How many of them each client joins, at most all.
    pub join: u32,
}

impl GroupChoice {
    /// The groups that client `i` of the pool joins: `join` of them from place
    /// `i mod count` on, so that they spread evenly.
    pub fn of(&self, i: u32) -> Vec<GroupId> {
        let count = self.groups.len();
        (0..(self.join as usize).min(count))
            .map(|k| self.groups[(i as usize + k) % count])
            .collect()
    }
}

/// What each client of a pool publishes.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Per client, open loop.
    pub rate: Rate,
    /// How the intended times are spread.
    pub arrivals: Arrivals,
    /// To whom.
    pub to: Destination,
    /// The shape of the payload.
    pub payload: Template,
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
}

/// To whom a client publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// To each of its own groups in turn.
    Joined,
    /// To one group.
    Group(GroupId),
    /// To the hub's event handler, under this event name.
    Event(String),
}

/// A kind of injected fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChaosKind {
    /// A proper close frame from the client, with a code that keeps the session (1001).
    Close,
    /// FIN without a close frame.
    Drop,
    /// RST.
    Reset,
    /// The socket stays, nothing moves.
    HalfOpen,
    /// Reads stop for a while, then go on.
    Stall,
    /// Connections die and every new one fails until it ends.
    Blackout,
    /// Sequence acks are withheld.
    NoSequenceAck,
    /// A share of all clients at one instant, by RST.
    Storm,
    /// Several drops in a row, some inside the recovery.
    Flap,
    /// The next new connection presents an expired token.
    BadToken,
    /// The embedded hub loses every connection and all state.
    HubRestart,
}

impl ChaosKind {
    /// All kinds, in the order of reports.
    pub const ALL: [ChaosKind; 11] = [
        ChaosKind::Close,
        ChaosKind::Drop,
        ChaosKind::Reset,
        ChaosKind::HalfOpen,
        ChaosKind::Stall,
        ChaosKind::Blackout,
        ChaosKind::NoSequenceAck,
        ChaosKind::Storm,
        ChaosKind::Flap,
        ChaosKind::BadToken,
        ChaosKind::HubRestart,
    ];

    /// The name in scenario files, reports and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            ChaosKind::Close => "close",
            ChaosKind::Drop => "drop",
            ChaosKind::Reset => "reset",
            ChaosKind::HalfOpen => "half_open",
            ChaosKind::Stall => "stall",
            ChaosKind::Blackout => "blackout",
            ChaosKind::NoSequenceAck => "no_sequence_ack",
            ChaosKind::Storm => "storm",
            ChaosKind::Flap => "flap",
            ChaosKind::BadToken => "bad_token",
            ChaosKind::HubRestart => "hub_restart",
        }
    }

    /// Whether the fault has a duration (`for`).
    pub const fn lasts(self) -> bool {
        matches!(
            self,
            ChaosKind::HalfOpen | ChaosKind::Stall | ChaosKind::Blackout | ChaosKind::NoSequenceAck
        )
    }
}

/// One line of the chaos plan.
#[derive(Clone, Debug)]
pub struct ChaosEntry {
    /// What happens.
    pub kind: ChaosKind,
    /// Whose clients; `None`: those of every pool.
    pub pool: Option<usize>,
    /// To how many of them, each time.
    pub share: Share,
    /// When.
    pub timing: Timing,
    /// How long it lasts, for kinds that last; `half_open` without it lasts until the
    /// client notices by itself.
    pub lasts: Option<Duration>,
}

/// How many clients a fault hits each time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Share {
    /// A fraction, 0 to 1, rounded up to at least one client.
    Fraction(f64),
    /// A number of clients, at most all.
    Count(u32),
}

/// When a fault happens, from the start of the load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timing {
    /// Once.
    At(Duration),
    /// At `start`, then every `every`, before `until`.
    Every {
        /// First time.
        start: Duration,
        /// Period, above zero.
        every: Duration,
        /// No more from here on; at most the scenario's duration.
        until: Duration,
    },
}

/// A condition on the result, e.g. `delivery.p99 < 250ms`.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    /// As written.
    pub expr: String,
    /// What is measured, by its dotted name: `delivery.p99`, `violations.total`.
    pub metric: String,
    /// The comparison: `<`, `<=`, `>`, `>=`, `==`.
    pub comparison: Comparison,
    /// The bound, in `unit`.
    pub bound: f64,
    /// What `bound` is measured in, and so what `actual` must be converted to.
    pub unit: Unit,
}

/// What the bound of a threshold is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A count, or bytes.
    Number,
    /// Seconds: latencies, and `generator.cpu_s` and `generator.schedule_lag_p99_us`.
    Seconds,
    /// A fraction, 0 to 1: `delivery.verified` of `delivery.expected`.
    Share,
}

/// A comparison of a threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
}

impl Comparison {
    /// Whether `actual` meets `bound`.
    pub fn holds(self, actual: f64, bound: f64) -> bool {
        match self {
            Comparison::Less => actual < bound,
            Comparison::LessOrEqual => actual <= bound,
            Comparison::Greater => actual > bound,
            Comparison::GreaterOrEqual => actual >= bound,
            Comparison::Equal => actual == bound,
        }
    }
}
