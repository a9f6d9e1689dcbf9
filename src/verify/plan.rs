//! What the verifier knows before the run: who is who, what is promised, what it may use.
//!
//! No events here; read `events` for what happens, `shard` for who takes it.

use std::time::Duration;

use crate::base::{GroupId, Slot};
use crate::wire::DataType;

/// What runs set for [`Plan::late_after`].
pub const LATE_AFTER: Duration = Duration::from_secs(1);

/// What runs set for [`Plan::ack_within`] unless the scenario says otherwise. The documents
/// name no time; the official Python and Java clients wait so long. Source: verification A4.
pub const ACK_WITHIN: Duration = Duration::from_secs(30);

/// Whose word a hub is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Promise {
    /// Only published text and the maintainers' word can make a violation; what rests on
    /// inference is reported as unknown.
    #[default]
    Published,
    /// As one node behaves: membership in force before the join is acked, fan-out queued
    /// before the publish is acked, sequence ids in steps of one.
    Reference,
}

impl Promise {
    /// The name in reports and scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Promise::Published => "published",
            Promise::Reference => "reference",
        }
    }
}

/// How deep the verifier looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Every (message, receiver) pair is judged.
    #[default]
    Full,
    /// For groups too big for pair tables: what a receiver got is kept as a count and a sum
    /// of hashes. Loss, repetition and invention are seen, not named; order is not seen.
    Digest,
    /// Payloads carry no identity: only sequence ids and answers are judged, and every
    /// owed pair is counted as unverified.
    Counts,
}

impl Mode {
    /// The name in reports and scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::Digest => "digest",
            Mode::Counts => "counts",
        }
    }
}

/// What is known of a run before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The run's id, as payloads carry it.
    pub run: u32,
    /// Whose word counts.
    pub promise: Promise,
    /// How deep to look.
    pub mode: Mode,
    /// Bytes that one shard may hold, by its own accounting.
    pub memory_budget: u64,
    /// How long after the load deliveries may still arrive; evidence says it, `run` waits it.
    pub drain: Duration,
    /// A delivery later than this after its intended time counts as late.
    pub late_after: Duration,
    /// A request is answered within this time of its last transmission, while its transport
    /// lives.
    pub ack_within: Duration,
    /// Nobody else uses the hub: traffic that is not ours was invented by it.
    pub exclusive: bool,
    /// Group names, by group id.
    pub groups: Vec<Box<str>>,
    /// Those that server messages are addressed to without a join (everybody, a user, a
    /// connection), by group id above the groups': the stream of a server message is judged
    /// as a group's, with the connection for its window. Source: verification 12.
    pub audiences: Vec<Box<str>>,
    /// Slots, by slot number.
    pub slots: Vec<SlotPlan>,
}

/// What is planned for one slot.
#[derive(Clone, Debug, Default)]
pub struct SlotPlan {
    /// Its pool, for books by pool; pools are numbered from 0.
    pub pool: u16,
    /// The user id that its token names; `None` when it names none.
    pub user_id: Option<Box<str>>,
    /// Its subprotocol numbers messages and recovers sessions.
    pub reliable: bool,
    /// It asks to be spared its own messages (constant for the run).
    pub no_echo: bool,
    /// The audiences that each of its connections belongs to from beginning to end.
    pub hears: Vec<GroupId>,
    /// The data type that it publishes; `None`: it publishes nothing that anybody is owed.
    pub data_type: Option<DataType>,
    /// Chaos makes it withhold sequence acks: losing its session for that is expected.
    pub withholds_acks: bool,
}

impl Plan {
    /// The plan of `slot`, if there is such a slot.
    pub(super) fn slot(&self, slot: Slot) -> Option<&SlotPlan> {
        self.slots.get(slot.index())
    }

    /// How many groups and audiences there are.
    pub(super) fn addresses(&self) -> usize {
        self.groups.len() + self.audiences.len()
    }

    /// The name of a group or an audience; `None` when it is not in the plan.
    pub(super) fn name(&self, group: GroupId) -> Option<&str> {
        let above = group.index().checked_sub(self.groups.len());
        let name = match above {
            None => self.groups.get(group.index()),
            Some(at) => self.audiences.get(at),
        };
        name.map(|name| &**name)
    }

    /// Whether messages of this address come from the server, not from a group.
    pub(super) fn is_audience(&self, group: GroupId) -> bool {
        (self.groups.len()..self.addresses()).contains(&group.index())
    }

    /// How many pools there are.
    pub(super) fn pools(&self) -> usize {
        let pools = self.slots.iter().map(|slot| usize::from(slot.pool) + 1);
        pools.max().unwrap_or(0)
    }

    /// The pool of a slot.
    pub(super) fn pool_of(&self, slot: Slot) -> usize {
        self.slot(slot).map_or(0, |slot| slot.pool.into())
    }

    /// Whether any slot publishes to somebody.
    pub(super) fn publishes(&self) -> bool {
        self.slots.iter().any(|slot| slot.data_type.is_some())
    }
}
