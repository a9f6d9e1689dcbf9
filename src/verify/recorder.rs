//! The flight recorder: the last frames and control events of a receiver and the last
//! publishes of a publisher, kept for evidence only. Bounded rings; the oldest goes first.

use std::fmt;

use super::events::{Answer, ConnectionEnd, LossCause};
use crate::base::{AckId, GroupId, Slot, Time};
use crate::payload::{Cause, Identity};

/// Frames kept per receiver (4 KiB).
pub(super) const FRAMES_KEPT: usize = 128;
/// Control events kept per receiver.
pub(super) const CONTROL_KEPT: usize = 64;
/// Publishes kept per publisher (10 KB).
pub(super) const PUBLISHES_KEPT: usize = 128;

/// Room that a ring has for its first items.
const FIRST_KEPT: usize = 4;

/// The last `cap` items.
#[derive(Clone, Debug)]
pub(super) struct Ring<T> {
    items: Vec<T>,
    at: usize,
    cap: usize,
}

impl<T> Ring<T> {
    pub(super) fn new(cap: usize) -> Self {
        Ring {
            items: Vec::new(),
            at: 0,
            cap,
        }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.items.len() < self.cap {
            if self.items.len() == self.items.capacity() {
                // Most rings stay short; those that do not are moved three times.
                let room = (self.items.len() * 4).clamp(FIRST_KEPT, self.cap.max(FIRST_KEPT));
                self.items.reserve_exact(room - self.items.len());
            }
            self.items.push(item);
        } else if let Some(oldest) = self.items.get_mut(self.at) {
            *oldest = item;
            self.at += 1;
            if self.at == self.cap {
                self.at = 0;
            }
        }
    }

    /// How many it keeps.
    pub(super) fn kept(&self) -> usize {
        self.cap
    }

    /// Keeps at most `cap` from now on; what is there is dropped.
    pub(super) fn shrink(&mut self, cap: usize) {
        if cap < self.cap {
            *self = Ring::new(cap);
        }
    }

    /// Newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &T> {
        let (head, tail) = self.items.split_at(self.at.min(self.items.len()));
        head.iter().rev().chain(tail.iter().rev())
    }

    /// Newest first, to change one.
    pub(super) fn newest_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let at = self.at.min(self.items.len());
        let (head, tail) = self.items.split_at_mut(at);
        head.iter_mut().rev().chain(tail.iter_mut().rev())
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.items.capacity() * size_of::<T>()) as u64
    }
}

/// One data frame as a receiver saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameRecord {
    pub(super) at: Time,
    /// 0 when the frame had none.
    pub(super) id: u64,
    pub(super) publisher: u32,
    pub(super) group: u32,
    /// 0 when the frame had no sound identity.
    pub(super) seq: u32,
    pub(super) tx: u32,
    pub(super) epoch: u16,
    pub(super) attempt: u8,
}

impl FrameRecord {
    pub(super) fn is(&self, identity: &Identity) -> bool {
        self.seq == identity.seq
            && self.publisher == identity.publisher.0
            && self.group == identity.group.0
    }
}

impl fmt::Display for FrameRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sequenceId ", self.at)?;
        match self.id {
            0 => f.write_str("none")?,
            id => write!(f, "{id}")?,
        }
        match self.seq {
            0 => f.write_str(" (no identity of this run)"),
            seq => write!(
                f,
                " {}/group#{} seq {seq} (tx {}, attempt {})",
                self.publisher, self.group, self.tx, self.attempt
            ),
        }
    }
}

/// Something that happened to a receiver's connection or memberships.
#[derive(Clone, Debug)]
pub(super) enum Control {
    Connected { epoch: u16, id: Box<str> },
    JoinInvoked(GroupId),
    JoinAnswered(GroupId, bool),
    LeaveInvoked(GroupId),
    LeaveAnswered(GroupId, bool),
    TransportLost(LossCause, Option<u16>),
    RecoveryOpened(u16),
    RecoveryConfirmed(u16),
    RecoveryRefused,
    Renamed(Box<str>),
    Ended(ConnectionEnd),
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Control::Connected { epoch, id } => write!(f, "connection {id}, epoch {epoch}"),
            Control::JoinInvoked(group) => write!(f, "join of group#{group} sent"),
            Control::JoinAnswered(group, ok) => write!(f, "join of group#{group}: {}", yes(*ok)),
            Control::LeaveInvoked(group) => write!(f, "leave of group#{group} sent"),
            Control::LeaveAnswered(group, ok) => write!(f, "leave of group#{group}: {}", yes(*ok)),
            Control::TransportLost(cause, code) => {
                write!(f, "transport lost ({cause:?}, close code ")?;
                match code {
                    Some(code) => write!(f, "{code})"),
                    None => f.write_str("none)"),
                }
            }
            Control::RecoveryOpened(transport) => {
                write!(f, "recovery opened transport {transport}")
            }
            Control::RecoveryConfirmed(transport) => {
                write!(f, "recovery confirmed on transport {transport}")
            }
            Control::RecoveryRefused => f.write_str("recovery refused (1008)"),
            Control::Renamed(id) => write!(f, "connected frame names connection {id}"),
            Control::Ended(end) => write!(f, "connection ended ({end:?})"),
        }
    }
}

fn yes(ok: bool) -> &'static str {
    if ok { "success" } else { "refused" }
}

/// One transmission as its publisher made it, with its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublishRecord {
    pub(super) at: Time,
    pub(super) group: GroupId,
    pub(super) seq: u32,
    pub(super) tx: u32,
    pub(super) epoch: u16,
    pub(super) transport: u16,
    pub(super) cause: Cause,
    pub(super) attempt: u8,
    pub(super) ack_id: Option<AckId>,
    pub(super) answer: Option<(Answer, Time)>,
}

impl fmt::Display for PublishRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {} tx {} epoch {} transport {} attempt {} ({:?})",
            self.at, self.tx, self.epoch, self.transport, self.attempt, self.cause
        )?;
        if let Some(ack_id) = self.ack_id {
            write!(f, " ackId {ack_id}")?;
        }
        match self.answer {
            Some((answer, at)) => write!(f, " -> {answer:?} {at}"),
            None => f.write_str(" -> no answer"),
        }
    }
}

/// What is still known of a publisher's transmissions, for the evidence of any shard.
#[derive(Clone, Debug)]
pub(super) struct PublisherTrace {
    pub(super) slot: Slot,
    pub(super) publishes: Ring<PublishRecord>,
    /// (ordinal, id) of its last connections.
    pub(super) connections: Vec<(u16, Box<str>)>,
}

impl PublisherTrace {
    pub(super) fn new(slot: Slot, kept: usize) -> Self {
        PublisherTrace {
            slot,
            publishes: Ring::new(kept),
            connections: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_newest_and_forgets_the_oldest() {
        let mut ring = Ring::new(3);
        for n in 0..5 {
            ring.push(n);
        }
        assert_eq!(ring.newest().copied().collect::<Vec<_>>(), [4, 3, 2]);
        ring.shrink(0);
        ring.push(9);
        assert_eq!(ring.newest().count(), 0);
    }
}
