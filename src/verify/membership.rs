//! One receiver's membership in one group: its windows, and the frontier of each pair.
//!
//! A *window* is one continuous membership of one connection. It *may* receive from the
//! moment the join is sent until the leave is acked or the connection ends; it *must*
//! receive from the join's ack until the leave is sent. Windows hold times; `group` turns
//! them into sequence numbers, [`Mark`], per stream.

use smallvec::SmallVec;
use std::hint::black_box;

use super::group::Group;
use crate::base::{AckId, GroupId, Slot, Time};

/// The top bit of a frontier: the pair has open holes.
const HOLES: u32 = 1 << 31;
/// The greatest seq that a stream may reach.
pub(super) const SEQ_MAX: u32 = HOLES - 2;

/// What shows that a membership is visible to a stream's publisher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// Nothing of the stream came in the window.
    Nothing,
    /// The last first transmission came from this connection of the publisher.
    By(u16),
    /// Something came, so long ago that it no longer matters from which connection.
    LongAgo,
}

/// Why a window is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WindowEnd {
    /// The leave was acked.
    Left,
    /// The join was refused.
    Refused,
    /// The connection ended unrecovered.
    Gap,
    /// The connection ended because its queue overflowed.
    Overflow,
    /// The connection ended on a subprotocol without recovery.
    Unreliable,
}

/// One continuous membership of one connection in one group.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Numbers the windows of a membership; holes refer to it.
    pub(super) ordinal: u32,
    /// The connection.
    pub(super) epoch: u16,
    pub(super) join_invoked: Time,
    pub(super) joined: Option<Time>,
    /// The join was sent more than once: one of them may have been executed unheard.
    pub(super) resent: bool,
    /// The newest leave on the connection that was asked for before this window began: its
    /// answers do not end it.
    since: Option<AckId>,
    pub(super) leave_invoked: Option<Time>,
    pub(super) ended: Option<(Time, WindowEnd)>,
    /// It alone rules everything that is not folded yet: its floors are behind.
    pub(super) passed: bool,
    /// Over, and everything that it could receive is folded.
    pub(super) closed: bool,
}

impl Window {
    /// Why it is over, if it is. A leave that was never answered ends the duty all the same.
    pub(super) fn end(&self) -> Option<WindowEnd> {
        let ended = self.ended.map(|(_, end)| end);
        ended.or(self.leave_invoked.map(|_| WindowEnd::Left))
    }

    /// Whether the receiver surely is a member: joined, and has not asked to leave.
    pub(super) fn must(&self) -> bool {
        self.joined.is_some() && self.leave_invoked.is_none() && self.ended.is_none()
    }
}

/// One receiver's membership in one group, over all its windows.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) slot: Slot,
    pub(super) group: GroupId,
    pub(super) windows: SmallVec<[Window; 1]>,
    next_ordinal: u32,
    /// The connection of the last window, which may be forgotten.
    last_epoch: Option<u16>,
    /// The newest leave that was asked for, and on which connection.
    leave: Option<(u16, AckId)>,
    /// The windows seen so far are on more than one connection.
    pub(super) reconnected: bool,
    /// The transport of the first recovery since which nothing came that was sent after it.
    pub(super) silent_since: Option<u16>,
    /// Frontiers by stream: highest seq seen + 1, never below 1; the top bit marks holes.
    next: Vec<u32>,
    /// By stream: seen in the latest window.
    seen: Vec<u64>,
    /// By stream: from which connection of the publisher, while the latest window is young;
    /// empty while all came from the publishers' first ones.
    shown: Vec<u16>,
    /// By stream: permitted losses were folded into counters and forgotten.
    folded: Vec<u64>,
    /// Streams beyond the table are not tracked: the memory budget refused its growth.
    pub(super) blind: bool,
    /// What comes to it is noted for the samples.
    pub(super) observed: bool,
}

impl Membership {
    pub(super) fn touch(&self) {
        black_box((
            self.observed,
            self.windows.len(),
            self.next.first(),
            self.seen.first(),
        ));
    }

    pub(super) fn new(slot: Slot, group: GroupId) -> Self {
        Membership {
            slot,
            group,
            windows: SmallVec::new(),
            next_ordinal: 0,
            last_epoch: None,
            leave: None,
            reconnected: false,
            silent_since: None,
            next: Vec::new(),
            seen: Vec::new(),
            shown: Vec::new(),
            folded: Vec::new(),
            blind: false,
            observed: false,
        }
    }

    /// Begins a window; what was seen in the one before does not count in it. `resent`: the
    /// join that begins it was sent before.
    pub(super) fn open(&mut self, epoch: u16, now: Time, resent: bool) {
        self.reconnected |= self.last_epoch.is_some_and(|last| last != epoch);
        self.last_epoch = Some(epoch);
        self.windows.push(Window {
            ordinal: self.next_ordinal,
            epoch,
            join_invoked: now,
            joined: None,
            resent,
            since: self.newest_leave(epoch),
            leave_invoked: None,
            ended: None,
            passed: false,
            closed: false,
        });
        self.next_ordinal = self.next_ordinal.saturating_add(1);
        self.seen.fill(0);
        self.shown = Vec::new();
        self.silent_since = None;
    }

    /// A leave is asked for (again). A client's ackIds grow with what it asks for.
    pub(super) fn asks_to_leave(&mut self, epoch: u16, ack_id: AckId) {
        let newest = self.newest_leave(epoch);
        self.leave = Some((epoch, newest.map_or(ack_id, |newest| newest.max(ack_id))));
    }

    /// Whether a leave was asked for after this join was first: which of them the hub
    /// executed last its answer does not say.
    pub(super) fn is_stale(&self, epoch: u16, join: AckId) -> bool {
        self.newest_leave(epoch).is_some_and(|leave| leave > join)
    }

    fn newest_leave(&self, epoch: u16) -> Option<AckId> {
        let leave = self.leave.filter(|(of, _)| *of == epoch);
        leave.map(|(_, ack_id)| ack_id)
    }

    /// The window that the answer to this leave ends.
    pub(super) fn left_by(&mut self, epoch: u16, leave: AckId) -> Option<&mut Window> {
        self.windows.iter_mut().find(|window| {
            window.epoch == epoch
                && window.ended.is_none()
                && window.leave_invoked.is_some()
                && window.since.is_none_or(|since| since < leave)
        })
    }

    /// The latest window.
    pub(super) fn latest(&self) -> Option<&Window> {
        self.windows.last()
    }

    pub(super) fn latest_mut(&mut self) -> Option<&mut Window> {
        self.windows.last_mut()
    }

    /// A window of this connection that may receive now.
    pub(super) fn may(&self, epoch: u16) -> Option<&Window> {
        self.windows
            .iter()
            .rev()
            .find(|window| window.epoch == epoch && window.ended.is_none())
    }

    /// When the group was last left on this connection, with an acked leave.
    pub(super) fn left_at(&self, epoch: u16) -> Option<Time> {
        self.windows
            .iter()
            .rev()
            .filter(|window| window.epoch == epoch)
            .find_map(|window| match window.ended {
                Some((at, WindowEnd::Left)) => Some(at),
                _ => None,
            })
    }

    /// Ends every window that is still open.
    pub(super) fn end_all(&mut self, end: WindowEnd, now: Time) {
        for window in &mut self.windows {
            if window.ended.is_none() {
                window.ended = Some((now, end));
            }
        }
    }

    /// Forgets the windows before the one at `at`, which rules everything from here on.
    pub(super) fn drop_windows(&mut self, at: usize) {
        self.windows.drain(..at);
        if let [only] = self.windows.as_slice()
            && !only.passed
        {
            self.shown = Vec::new();
        }
        if let Some(first) = self.windows.first_mut() {
            first.passed = true;
        }
    }

    /// Forgets of the windows those that are `over`, by their places: everything that they
    /// could receive is folded. One whose join was never acked leaves no trace; one
    /// is over says only why nothing is owed any more.
    pub(super) fn close_windows(&mut self, over: &[bool]) {
        let mut over = over.iter().copied().chain(std::iter::repeat(false));
        self.windows.retain(|window| {
            let over = over.next() == Some(true);
            window.closed |= over && window.passed && window.ended.is_some();
            !(over && window.ended.is_some() && window.joined.is_none() && !window.passed)
        });
    }

    /// One window rules everything, and its end, if it has one, is behind: nothing of it
    /// can be forgotten.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.windows.as_slice(), [only] if only.passed && (only.closed || only.ended.is_none()))
    }

    /// The earliest time that is still looked up.
    pub(super) fn needs_from(&self) -> Time {
        match self.windows.first() {
            None => Time::MAX,
            Some(window) if !window.passed => window.join_invoked,
            Some(window) => {
                let own = match (window.ended, window.leave_invoked) {
                    _ if window.closed => Time::MAX,
                    (Some((at, WindowEnd::Left)), left) => left.unwrap_or(at),
                    (None, Some(left)) => left,
                    (Some((at, _)), _) => at,
                    (None, None) => Time::MAX,
                };
                let next = self.windows.get(1).map_or(Time::MAX, |w| w.join_invoked);
                own.min(next)
            }
        }
    }

    /// Streams that the table holds.
    pub(super) fn tracked(&self) -> usize {
        self.next.len()
    }

    /// Makes the table hold `streams` streams. What was folded before is not waited for.
    pub(super) fn grow(&mut self, streams: usize, group: &Group) {
        let held = self.next.len();
        if streams <= held {
            return;
        }
        self.next.reserve_exact(streams - held);
        self.seen.resize(streams.div_ceil(64), 0);
        self.folded.resize(streams.div_ceil(64), 0);
        for at in held..streams {
            let horizon = group.streams.get(at).map_or(0, |stream| stream.horizon);
            self.next.push(horizon + 1);
            if !self.shown.is_empty() {
                self.shown.push(0);
            }
            if horizon > 0 {
                // At most 2^24 streams.
                self.set_folded(at as u32);
            }
        }
    }

    /// (frontier, has holes) of a tracked stream; (1, false) of any other.
    pub(super) fn frontier(&self, stream: u32) -> (u32, bool) {
        match self.next.get(stream as usize) {
            Some(next) => (next & !HOLES, next & HOLES != 0),
            None => (1, false),
        }
    }

    pub(super) fn set_frontier(&mut self, stream: u32, next: u32, holes: bool) {
        if let Some(slot) = self.next.get_mut(stream as usize) {
            *slot = next | if holes { HOLES } else { 0 };
        }
    }

    /// What of the stream came in the latest window.
    pub(super) fn shown(&self, stream: u32) -> Shown {
        match (bit(&self.seen, stream), self.shown.get(stream as usize)) {
            (false, _) => Shown::Nothing,
            (true, Some(epoch)) => Shown::By(*epoch),
            (true, None) if self.is_young() => Shown::By(0),
            (true, None) => Shown::LongAgo,
        }
    }

    /// A first transmission of the stream came, from this connection of its publisher.
    pub(super) fn show(&mut self, stream: u32, epoch: u16) {
        set_bit(&mut self.seen, stream);
        if epoch != 0 && self.shown.is_empty() && self.is_young() {
            self.shown = vec![0; self.next.len()];
        }
        if let Some(shown) = self.shown.get_mut(stream as usize) {
            *shown = epoch;
        }
    }

    /// Judgements may still ask from which connections came what came in the latest window.
    fn is_young(&self) -> bool {
        self.windows.last().is_some_and(|window| !window.passed)
    }

    pub(super) fn folded(&self, stream: u32) -> bool {
        bit(&self.folded, stream)
    }

    pub(super) fn set_folded(&mut self, stream: u32) {
        set_bit(&mut self.folded, stream);
    }

    /// Bytes for `streams` streams.
    pub(super) const fn bytes_for(streams: usize) -> u64 {
        (streams * 4 + streams.div_ceil(64) * 16) as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        Self::bytes_for(self.next.len())
            + self.shown.capacity() as u64 * 2
            + (size_of::<Self>() + self.windows.len().saturating_sub(1) * size_of::<Window>())
                as u64
    }
}

fn bit(bits: &[u64], at: u32) -> bool {
    bits.get(at as usize / 64)
        .is_some_and(|word| word >> (at % 64) & 1 != 0)
}

fn set_bit(bits: &mut [u64], at: u32) {
    if let Some(word) = bits.get_mut(at as usize / 64) {
        *word |= 1 << (at % 64);
    }
}
