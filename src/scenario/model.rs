//! A resolved scenario: every default filled in, every name looked up.

use std::ops::Range;
use std::time::Duration;

use secrecy::SecretString;

use crate::base::units::Rate;
use crate::base::{GroupId, Seed, Slot};
use crate::wire::Subprotocol;

mod chaos;
mod client;
mod groups;
mod publish;

pub use crate::verify::{Mode, Promise};
pub use chaos::{ChaosEntry, ChaosKind, Effect, Share, Timing};
pub use client::ClientSpec;
pub use groups::{Churn, GroupChoice, Sessions, Spread, Stay};
pub use publish::{Arrivals, Destination, Profile, Publish, REQUESTS_PER_SERVER, Sizes, Stage};

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
    /// How long an answer may take before the hub is said to owe it.
    pub ack_within: Duration,
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
    /// What a person should know of how flags changed the file's plan.
    pub notes: Vec<String>,
}

impl Scenario {
    /// How many slots all pools have together: clients, and servers.
    pub fn clients(&self) -> u32 {
        self.pools.iter().map(|pool| pool.clients).sum()
    }

    /// How many of them hold a connection: all but servers.
    pub fn connections(&self) -> u32 {
        let clients = self.pools.iter().filter(|pool| !pool.server);
        clients.map(|pool| pool.clients).sum()
    }

    /// The first slot of the user that a slot belongs to, which names the user.
    pub fn user_of(&self, slot: Slot) -> Slot {
        let pool = &self.pools[self.pool_of(slot)];
        let nth = slot.0 - pool.first_slot;
        Slot(slot.0 - nth % pool.connections_per_user.max(1))
    }

    /// How many clients connect before the load and stay.
    pub fn residents(&self) -> u32 {
        let resident = |pool: &&Pool| pool.sessions.is_none() && !pool.server;
        let residents = self.pools.iter().filter(resident);
        residents.map(|pool| pool.clients).sum()
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
    /// They are application servers: they hold no connection, and publish over the service
    /// API. What follows of connections and groups means nothing for them.
    pub server: bool,
    /// The subprotocol they offer.
    pub protocol: Subprotocol,
    /// How fast they connect; `None`: as fast as the target takes them.
    pub connect: Option<Rate>,
    /// How many of them are connections of one user, in slot order; 1: each its own.
    pub connections_per_user: u32,
    /// They come and go during the load; `None`: they connect before it and stay.
    pub sessions: Option<Sessions>,
    /// Which groups they join.
    pub groups: GroupChoice,
    /// They leave groups and join them again during the load.
    pub churn: Option<Churn>,
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

/// A condition on the result, e.g. `delivery.p99 < 250ms`.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    /// As written.
    pub expr: String,
    /// What is measured, by its dotted name: `delivery.p99`, `violations.total`; of a rate
    /// (see `unit`) without `.rate`.
    pub metric: String,
    /// The comparison: `<`, `<=`, `>`, `>=`, `==`.
    pub comparison: Comparison,
    /// The bound, in `unit`.
    pub bound: f64,
    /// What `bound` is measured in, and so what `actual` must be converted to.
    pub unit: Unit,
    /// Of one pool's clients; `None`: of all.
    pub pool: Option<usize>,
    /// In every stretch of this length during the load; `None`: over the whole run.
    pub over: Option<Duration>,
    /// Missing it ends the run early, but not before so long into the load.
    pub abort_after: Option<Duration>,
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
    /// A count or bytes by the second of the load: `publish.acked.rate`. The threshold's
    /// `metric` is the count.
    PerSecond,
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
