//! The flight recorder: the last frames and control events of a receiver and the last
//! publishes of a publisher, kept for evidence only. Bounded rings; the oldest goes first.

use std::fmt;
use std::hint::black_box;

use super::events::{Answer, ConnectionEnd, LossCause};
use crate::base::{AckId, GroupId, Slot, Time};
use crate::payload::{Cause, Identity};

/// Frames kept per receiver (4 KiB).
pub(super) const FRAMES_KEPT: usize = 128;
/// Control events kept per receiver.
pub(super) const CONTROL_KEPT: usize = 64;
/// Publishes kept per publisher (10 KB).
pub(super) const PUBLISHES_KEPT: usize = 128;

/// Frames that wait to be filed under their receivers, for each receiver and in all (192 KiB
/// for each shard).
const UNFILED_EACH: usize = 4;
const UNFILED_MAX: usize = 4096;
/// Filed together: as many waits for memory overlap as the processor can keep under way.
const FILED_TOGETHER: usize = 64;

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

    /// An item beside the place of the next one, or in it.
    fn near(&self) -> Option<&T> {
        self.items
            .get(self.at)
            .filter(|_| self.items.len() == self.cap)
            .or(self.items.last())
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

/// The last frames of each receiver of a shard.
///
/// Each receiver's ring is memory that nobody has touched since its last frame, hundreds of
/// nanoseconds away. So frames are written down one after the other, and filed under their
/// receivers many at a time: then those waits overlap.
#[derive(Debug)]
pub(super) struct FrameRecorder {
    /// By receiver.
    filed: Vec<Ring<FrameRecord>>,
    /// In the order in which they came, each with its receiver.
    unfiled: Vec<(u32, FrameRecord)>,
}

impl FrameRecorder {
    pub(super) fn new(receivers: usize) -> Self {
        FrameRecorder {
            filed: vec![Ring::new(FRAMES_KEPT); receivers],
            unfiled: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, receiver: usize, frame: FrameRecord) {
        if self.unfiled.is_empty() {
            self.unfiled.reserve_exact(self.unfiled_max());
        }
        // Receivers are as many as slots, which are numbered by u32.
        self.unfiled.push((receiver as u32, frame));
        if self.unfiled.len() >= self.unfiled_max() {
            self.file();
        }
    }

    fn unfiled_max(&self) -> usize {
        let kept = self.filed.first().map_or(0, Ring::kept);
        (self.filed.len() * UNFILED_EACH.min(kept / 8)).clamp(FILED_TOGETHER, UNFILED_MAX)
    }

    /// Files what is not filed yet: for those who are about to look for many.
    pub(super) fn file(&mut self) {
        for frames in self.unfiled.chunks(FILED_TOGETHER) {
            // Loops that do nothing but wait for memory, for that of all at once.
            for (receiver, _) in frames {
                black_box(self.filed[*receiver as usize].at);
            }
            for (receiver, _) in frames {
                black_box(self.filed[*receiver as usize].near().map(|frame| frame.seq));
            }
            for (receiver, frame) in frames {
                self.filed[*receiver as usize].push(*frame);
            }
        }
        self.unfiled.clear();
    }

    /// Newest first.
    pub(super) fn newest(&self, receiver: usize) -> impl Iterator<Item = &FrameRecord> {
        let unfiled = self.unfiled.iter().rev();
        let unfiled =
            unfiled.filter_map(move |(of, frame)| (*of as usize == receiver).then_some(frame));
        let filed = &self.filed[receiver];
        unfiled.chain(filed.newest()).take(filed.kept())
    }

    /// Keeps at most `cap` of each from now on; what is there is dropped.
    pub(super) fn shrink(&mut self, cap: usize) {
        self.unfiled = Vec::new();
        self.filed.iter_mut().for_each(|ring| ring.shrink(cap));
    }

    pub(super) fn bytes(&self) -> u64 {
        let rings = self.filed.len() * size_of::<Ring<FrameRecord>>();
        let unfiled = self.unfiled.capacity() * size_of::<(u32, FrameRecord)>();
        self.filed.iter().map(Ring::bytes).sum::<u64>() + (rings + unfiled) as u64
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
    fn frames_are_found_newest_first_whether_they_are_filed_or_not() {
        let mut recorder = FrameRecorder::new(2);
        let frame = |id| FrameRecord {
            at: Time::ZERO,
            id,
            publisher: 0,
            group: 0,
            seq: 0,
            tx: 0,
            epoch: 1,
            attempt: 1,
        };
        let kept = FRAMES_KEPT as u64;
        // Each second frame is of the other receiver, whose ids are odd.
        for n in 0..4 * FRAMES_KEPT as u64 + 21 {
            recorder.push((n % 2) as usize, frame(n));
            let ids = |receiver| recorder.newest(receiver).map(|frame| frame.id);
            let of = |first| {
                (0..=n)
                    .rev()
                    .filter(move |id| id % 2 == first)
                    .take(FRAMES_KEPT)
            };
            assert!(ids(0).eq(of(0)) && ids(1).eq(of(1)), "after {n}");
        }
        let bytes = recorder.bytes();
        assert!(bytes > 2 * kept * size_of::<FrameRecord>() as u64);
        recorder.shrink(3);
        assert_eq!(recorder.newest(0).count(), 0);
        (0..9).for_each(|id| recorder.push(0, frame(id)));
        let ids: Vec<u64> = recorder.newest(0).map(|frame| frame.id).collect();
        assert_eq!(ids, [8, 7, 6]);
        assert!(recorder.bytes() < bytes);
    }

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
