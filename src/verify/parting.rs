//! The end of a receiver's connection: what it makes of its memberships, and whose fault it
//! was.

use std::time::Duration;

use super::events::ConnectionEnd;
use super::kinds::Unknown;
use super::membership::WindowEnd;
use super::recorder::Control;
use super::shard::Shard;
use crate::base::{Slot, Time};

/// A recovery counts as refused early when our last frame was read less than this before.
const REFUSED_EARLY: Duration = Duration::from_secs(25);
/// A queue that overflowed while our sequence ack was this late is our own doing.
const ACKS_LATE: Duration = Duration::from_secs(1);

impl Shard {
    pub(super) fn end_connection(&mut self, index: usize, end: ConnectionEnd, now: Time) {
        // Slots of the shard are slots of the plan, by construction of the ranges.
        let slot = Slot(self.slots.start + index as u32);
        self.requests_over(slot, now);
        let missing = self.missing_of(index);
        let receiver = &mut self.receivers[index];
        receiver.control.push((now, Control::Ended(end)));
        let Some(conn) = receiver.conn.take() else {
            return;
        };
        let reliable = self.plan.slot(slot).is_some_and(|plan| plan.reliable);
        let overflowing = conn.overflowing(missing);
        let by_hub = end == ConnectionEnd::Refused || conn.lost_code == Some(1008);
        let how = if !reliable {
            WindowEnd::Unreliable
        } else if by_hub && overflowing {
            let planned = self.plan.slots[slot.index()].withholds_acks;
            self.slow_overflows += u64::from(!planned && conn.ack_lag > ACKS_LATE);
            WindowEnd::Overflow
        } else {
            WindowEnd::Gap
        };
        if reliable
            && end == ConnectionEnd::Refused
            && let Some(refused) = conn.refused
            && refused.since(conn.heard) < REFUSED_EARLY
            && !overflowing
            && !conn.closed_for_good()
        {
            self.unknown.add(Unknown::RecoveryRefusedEarly, 1);
        }
        if end == ConnectionEnd::Stopped {
            receiver.stopped = true;
        }
        for (group, member) in receiver.members.clone() {
            self.members[member as usize].end_all(how, now);
            self.ask_after(group, now);
        }
    }

    /// Messages sent to the groups of a receiver that have not come to it: about what the
    /// hub's queue for it holds.
    fn missing_of(&self, index: usize) -> u64 {
        let mut missing = 0;
        let mut marks = smallvec::SmallVec::new();
        for (group, member) in &self.receivers[index].members {
            let membership = &self.members[*member as usize];
            if membership.latest().is_none_or(|w| w.ended.is_some()) {
                continue;
            }
            let group = &self.groups[group.index()];
            let resolved = membership.resolve(group, &self.told);
            let mut sent = 0;
            for (at, stream) in group.streams.iter().enumerate() {
                resolved.marks(stream, &mut marks);
                let floor = marks.last().map_or(u32::MAX, |mark| mark.floor);
                let next = match self.is_digest() {
                    true => stream.horizon + 1,
                    false => membership.frontier(at as u32).0,
                };
                sent += u64::from((stream.invoked + 1).saturating_sub(next.max(floor)));
            }
            missing += match self.is_digest() {
                true => self.missing_in_digest(*member, sent),
                false => sent,
            };
        }
        missing
    }
}
