//! What a fleet is told, and what it tells.

use std::ops::Range;
use std::sync::Arc;

use actix::{Message, Recipient};

use crate::base::Time;
use crate::chaos::Plan;
use crate::client::SharedConfig;
use crate::metrics::{Moments, Snapshot};
use crate::verify::{self, ExchangeCounts, Facts, Letter, Progress, ShardOutcome};

/// What a fleet needs to know. `Send`: made by the coordinator's thread.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// What all its clients share.
    pub shared: SharedConfig,
    /// Which fleet.
    pub index: usize,
    /// How many fleets there are.
    pub fleets: usize,
    /// Its clients.
    pub slots: Range<u32>,
    /// The faults of the whole run.
    pub plan: Arc<Plan>,
    /// What the verifier knows of the run.
    pub verify: Arc<verify::Plan>,
    /// Who gets the reports.
    pub reports: Recipient<Report>,
}

/// Where things stand in one fleet.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Report {
    /// Which fleet.
    pub fleet: usize,
    /// 1, 2, 3, ...: an older one that comes after a newer one says nothing any more.
    pub number: u64,
    /// Clients connected, and members of their groups, for the first time.
    pub ready: u32,
    /// Clients that ever had a connection.
    pub ever_connected: u32,
    /// Those among them that will not come back.
    pub departed: u32,
    /// Clients connected now.
    pub connected: u64,
    /// Publishes without an outcome.
    pub outstanding: u64,
    /// Client actors that ended in a panic.
    pub panicked: u32,
    /// What the verifier has seen so far.
    pub progress: Progress,
    /// What publishers did, for the other fleets' verifiers, and what was heard of theirs.
    pub letters: Vec<Letter<Arc<Facts>>>,
    /// Whether every other fleet has the last facts.
    pub told: Told,
    /// Totals, once a second.
    pub snapshot: Option<Box<Snapshot>>,
    /// What happened to clients since the last report.
    pub moments: Moments,
    /// Things worth telling.
    pub notes: Vec<String>,
}

/// Start connecting.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Begin;

/// Start publishing and breaking at this time.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StartLoad(pub Time);

/// Publish and break no more, before the time: faults at work end now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopLoad;

/// Publisher facts of another fleet, and what it has heard of ours.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver(pub Letter<Arc<Facts>>);

/// Another fleet is gone: nothing is told to it any more, and what its publishers sent after
/// its last facts is nobody's.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Lost {
    /// Which.
    pub fleet: usize,
    /// Its clients.
    pub slots: Range<u32>,
}

/// How far a fleet is with telling its last facts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// They are not taken yet, or not acknowledged by all.
    NotYet,
    /// Every other fleet has acknowledged everything.
    All,
    /// Some fleet has not, in as many rounds as there are.
    GaveUp,
}

/// Publish and break no more, give every publish its outcome, and tell the last facts. The
/// answer comes when they are taken; [`Report::told`] says when all others have them.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Settle;

/// Judge, say goodbye, and end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Box<Concluded>")]
pub struct Conclude;

/// What a fleet ends with.
#[derive(Debug)]
pub struct Concluded {
    /// The verifier's books.
    pub outcome: ShardOutcome,
    /// The last totals.
    pub snapshot: Snapshot,
    /// Client actors that ended in a panic.
    pub panicked: u32,
    /// What the exchange of facts had to bear.
    pub exchange: ExchangeCounts,
}
