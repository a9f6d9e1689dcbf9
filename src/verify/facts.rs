//! What publishers tell receivers about their streams, shard to shard.
//!
//! Facts are taken every 250 ms and at the end. They are increments, numbered by their
//! source: each is applied once, in order; a missing one fails the self-check. They travel
//! as batches of an [`Exchange`](super::Exchange), which makes that so on a bad road.

use std::ops::Range;

use super::events::ConnectionEnd;
use crate::base::{AckId, GroupId, Slot, Time};
use crate::payload::{Cause, StreamId};

/// What a shard's publishers did since the facts before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The slots of the shard that speaks.
    pub source: Range<u32>,
    /// 1, 2, 3, ... per source.
    pub serial: u64,
    /// When they were taken: whatever was transmitted before is counted in `invoked`.
    pub at: Time,
    /// A publisher of the source has had a retriable error for an answer, ever.
    pub saw_error: bool,
    /// Messages of which a receiver of the source needs the publisher's evidence: whoever
    /// publishes them keeps what is recorded of them.
    pub pins: Vec<(StreamId, u32)>,
    /// The streams that changed; all others of the source stand as they did.
    pub streams: Vec<StreamFacts>,
    /// What changed in the memberships of the source's receivers, in order; for a
    /// [`Mirror`](super::Mirror), and empty where there is none.
    pub members: Vec<MemberEvent>,
}

/// One event of a receiver that decides what it is owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberEvent {
    /// The receiver.
    pub slot: Slot,
    /// When it happened.
    pub at: Time,
    /// What happened.
    pub what: MemberChange,
}

/// What decides about memberships; see the methods of [`Shard`](super::Shard) of these names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberChange {
    /// A new connection, the slot's so-many-th from 0.
    Connected(u16),
    /// A join is about to be sent.
    JoinInvoked(GroupId, AckId),
    /// Its answer: success or not.
    JoinAnswered(GroupId, AckId, bool),
    /// A leave is about to be sent.
    LeaveInvoked(GroupId, AckId),
    /// Its answer: success or not.
    LeaveAnswered(GroupId, AckId, bool),
    /// The connection is over.
    Ended(ConnectionEnd),
}

/// One stream's progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamFacts {
    /// The stream.
    pub stream: StreamId,
    /// The highest seq transmitted.
    pub invoked: u32,
    /// Every seq at or below it has its final outcome.
    pub settled: u32,
    /// The newly settled messages that were not simply sent once and acked, in order.
    pub exceptions: Vec<Exception>,
    /// From which seq on first transmissions come from which connection of the publisher.
    pub epochs: Vec<(u32, u16)>,
}

/// A run of messages with the same unusual history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// First seq.
    pub first: u32,
    /// Last seq.
    pub last: u32,
    /// What became of them.
    pub fate: Fate,
    /// Why they were sent again, if they were.
    pub causes: Causes,
}

/// The outcome of a publish as the receivers' side needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Acked: owed to every member.
    Ok,
    /// Perhaps executed.
    Unknown,
    /// Refused or never sent.
    Failed,
    /// Every attempt was refused with `Forbidden`: nobody may have it.
    Forbidden,
    /// No answer was asked for.
    FireAndForget,
}

/// A set of causes of retransmission.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Causes(u8);

impl Causes {
    /// Adds a cause; `First` is none.
    pub fn insert(&mut self, cause: Cause) {
        if cause != Cause::First {
            self.0 |= 1 << cause as u8;
        }
    }

    /// Whether the set holds `cause`.
    pub fn contains(self, cause: Cause) -> bool {
        self.0 & 1 << cause as u8 != 0
    }

    /// Never sent again.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
