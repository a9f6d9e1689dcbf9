//! One membership made ready for judgement: what `judge` needs to see of each of its pairs.

use super::group::{Group, Stream};
use super::judge::{PairView, Piece};
use super::marks::{Mark, Resolved};
use super::membership::Membership;
use super::pairs::{Laid, PairKey};
use super::plan::Mode;
use super::shard::Shard;

/// Judges the pairs of one membership.
pub(super) struct Judged<'a> {
    pub(super) shard: &'a Shard,
    group: &'a Group,
    pub(super) membership: &'a Membership,
    pub(super) member: u32,
    pub(super) resolved: Resolved<'a>,
    pub(super) reliable: bool,
    pub(super) attached: bool,
}

impl<'a> Judged<'a> {
    pub(super) fn new(shard: &'a Shard, group: &'a Group, member: u32) -> Self {
        let membership = &shard.members[member as usize];
        let plan = shard.plan.slot(membership.slot);
        let index = (membership.slot.0 - shard.slots.start) as usize;
        Judged {
            shard,
            group,
            membership,
            member,
            resolved: membership.resolve(group, &shard.told),
            reliable: plan.is_some_and(|plan| plan.reliable),
            attached: shard.receivers[index].attached(),
        }
    }

    /// The receiver asked to be spared this stream: its own, with noEcho.
    pub(super) fn spared(&self, stream: &Stream) -> bool {
        stream.publisher == self.membership.slot
            && self.shard.plan.slots[stream.publisher.index()].no_echo
    }

    pub(super) fn view<'v>(
        &'v self,
        key: PairKey,
        stream: &'v Stream,
        marks: &'v [Mark],
    ) -> PairView<'v> {
        let (next, holes) = self.membership.frontier(key.stream());
        PairView {
            marks,
            stream,
            next,
            holes: if holes {
                self.shard.pairs.holes(key)
            } else {
                &[]
            },
            shown: self.membership.shown(key.stream()),
            blind_from: if self.shard.plan.mode == Mode::Counts || !self.shard.sees_frames {
                1
            } else if self.membership.blind || self.shard.pairs.has_blind() {
                self.shard
                    .pairs
                    .blind_from(self.membership, key)
                    .unwrap_or(u32::MAX)
            } else {
                u32::MAX
            },
            reliable: self.reliable,
            promise: self.shard.plan.promise,
            attached: self.attached,
        }
    }

    /// The recovery that missing messages from `piece.first` on are laid to (R1), if to
    /// one, and the last message of which the same is true. A message is laid to a recovery
    /// when it was sent while the receiver was away, give or take one exchange of facts; or
    /// later, as long as its group has been silent since. `recent`: it lies above the horizon,
    /// so it was sent after every recovery that is forgotten.
    pub(super) fn recovery(
        &self,
        stream: &Stream,
        piece: &Piece,
        marks: &[Mark],
        recent: bool,
    ) -> (Option<Laid>, u32) {
        let mark = piece.window.and_then(|at| marks.get(at));
        let (Some(mark), Some(source)) = (mark, self.group.source_of(stream)) else {
            return (None, piece.last);
        };
        let index = (self.membership.slot.0 - self.shard.slots.start) as usize;
        let receiver = &self.shard.receivers[index];
        let latest = marks.last().is_some_and(|m| m.ordinal == mark.ordinal);
        let silent = self.membership.silent_since;
        let silent = silent.filter(|_| latest && mark.end.is_none());
        let mut until = piece.last;
        let mut found = None;
        for recovery in receiver.recoveries.iter().rev() {
            if recovery.epoch != mark.epoch {
                continue;
            }
            let before = self
                .group
                .before(source, &self.shard.told, recovery.lost_at)
                .of(stream);
            let after = self.group.after(source, recovery.confirmed_at).of(stream);
            let from = before.map_or(0, |at| at.0);
            let to = after.map_or(u32::MAX, |at| at.0);
            let transport = recovery.transport;
            if piece.first <= from {
                until = until.min(from);
            } else if piece.first <= to {
                until = until.min(to);
                let if_silent = false;
                found = found.or(Some(Laid {
                    transport,
                    if_silent,
                }));
            } else if silent.is_some_and(|since| transport >= since) {
                let if_silent = true;
                found = found.or(Some(Laid {
                    transport,
                    if_silent,
                }));
            }
        }
        if found.is_none()
            && recent
            && let (Some(since), Some((epoch, transport))) = (silent, receiver.last_recovery)
            && epoch == mark.epoch
            && transport >= since
        {
            let if_silent = true;
            found = Some(Laid {
                transport,
                if_silent,
            });
        }
        (found, until)
    }

    /// Whether what was laid to a recovery while its group was silent still is.
    pub(super) fn stands(&self, laid: Laid) -> bool {
        let since = self.membership.silent_since;
        !laid.if_silent || since.is_some_and(|since| laid.transport >= since)
    }
}
