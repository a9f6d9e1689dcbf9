//! Judging all pairs of a group: what is final goes to the ledger, what may still come
//! stays open as a hole, what is missing at the end becomes a suspect.

use smallvec::SmallVec;

use super::group::{Group, Stream};
use super::incident::INCIDENTS_PER_KIND;
use super::judge::{Bucket, PairView, Piece};
use super::kinds::Violation;
use super::marks::{Mark, Resolved};
use super::membership::Membership;
use super::outcome::Suspect;
use super::pairs::{Epochs, Hole, PairKey};
use super::plan::{Mode, Promise};
use super::shard::Shard;
use crate::base::{Slot, Time};
use crate::payload::StreamId;

/// What judging one pair changes in the tables.
struct Change {
    key: PairKey,
    next: u32,
    holes: SmallVec<[Hole; 1]>,
    folded: bool,
}

/// Judges the pairs of one membership.
pub(super) struct Judged<'a> {
    shard: &'a Shard,
    group: &'a Group,
    pub(super) membership: &'a Membership,
    member: u32,
    pub(super) resolved: Resolved<'a>,
    reliable: bool,
    attached: bool,
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
            resolved: membership.resolve(group),
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
            blind_from: if self.shard.plan.mode == Mode::Counts {
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
    /// when it was sent while the receiver was away, give or take one exchange of facts.
    /// `last`: also when its group has been silent since.
    fn recovery(
        &self,
        stream: &Stream,
        piece: &Piece,
        marks: &[Mark],
        last: bool,
    ) -> (Option<u16>, u32) {
        let mark = piece.window.and_then(|at| marks.get(at));
        let (Some(mark), Some(source)) = (mark, self.group.source_of(stream)) else {
            return (None, piece.last);
        };
        let index = (self.membership.slot.0 - self.shard.slots.start) as usize;
        let latest = marks.last().is_some_and(|m| m.ordinal == mark.ordinal);
        let silent = last && latest && mark.end.is_none() && !self.membership.heard_since_recovery;
        let mut until = piece.last;
        let mut found = None;
        for recovery in self.shard.receivers[index].recoveries.iter().rev() {
            if recovery.epoch != mark.epoch {
                continue;
            }
            let before = self.group.before(source, recovery.lost_at).of(stream);
            let after = self.group.after(source, recovery.confirmed_at).of(stream);
            let from = before.map_or(0, |at| at.0);
            let to = match silent {
                true => u32::MAX,
                false => after.map_or(u32::MAX, |at| at.0),
            };
            if piece.first <= from {
                until = until.min(from);
            } else if piece.first <= to {
                until = until.min(to);
                found = found.or(Some(recovery.transport));
            }
        }
        (found, until)
    }
}

impl Shard {
    /// Judges every pair of a group up to `targets`. At the end (`suspects` given) every
    /// verdict is final; before, what may still come stays open as a hole.
    pub(super) fn judge_group(
        &mut self,
        index: usize,
        targets: &[u32],
        mut suspects: Option<&mut Vec<Suspect>>,
    ) {
        let group = &self.groups[index];
        let mut ledger = self.ledgers[index].clone();
        let mut changes = Vec::new();
        let mut forbidden = Vec::new();
        let mut unreached: Vec<Vec<(u32, u32)>> = group
            .streams
            .iter()
            .zip(targets)
            .map(|(stream, to)| ranges(stream.horizon + 1, *to))
            .collect();
        let mut marks = SmallVec::new();
        for member in &group.members {
            let judged = Judged::new(self, group, *member);
            for (at, stream) in group.streams.iter().enumerate() {
                let to = targets[at];
                let key = PairKey::new(*member, at as u32);
                if judged.spared(stream) {
                    ledger.no_echo += u64::from(to - stream.horizon);
                    continue;
                }
                let (next, holes) = judged.membership.frontier(at as u32);
                if to == stream.horizon && !(holes && suspects.is_some()) {
                    continue;
                }
                judged.resolved.marks(stream, &mut marks);
                let view = judged.view(key, stream, &marks);
                let mut pair = PairVerdict {
                    judged: &judged,
                    view: &view,
                    key,
                    ledger: &mut ledger,
                    forbidden: &mut forbidden,
                    suspects: suspects.as_deref_mut(),
                    kept: SmallVec::new(),
                    missing: Vec::new(),
                    folded: false,
                };
                pair.run(to);
                let PairVerdict {
                    kept,
                    missing,
                    folded,
                    ..
                } = pair;
                if !unreached[at].is_empty() {
                    unreached[at] = intersect(&unreached[at], &missing);
                }
                if suspects.is_none() && (holes || folded || next <= to || !kept.is_empty()) {
                    changes.push(Change {
                        key,
                        next: next.max(to + 1),
                        holes: kept,
                        folded,
                    });
                }
            }
        }
        self.ledgers[index] = ledger;
        for (slot, stream, seq) in forbidden {
            self.forbidden_incident(slot, stream, seq);
        }
        for change in changes {
            let membership = &mut self.members[change.key.member() as usize];
            if change.key.stream() as usize >= membership.tracked() {
                if change.holes.is_empty() {
                    continue;
                }
                let streams = self.groups[index].streams.len();
                self.pairs_held += (streams - membership.tracked()) as u64;
                membership.grow(streams, &self.groups[index]);
            }
            membership.set_frontier(change.key.stream(), change.next, !change.holes.is_empty());
            if change.folded {
                membership.set_folded(change.key.stream());
            }
            self.pairs.set_holes(change.key, change.holes);
        }
        for ((stream, to), unreached) in self.groups[index]
            .streams
            .iter_mut()
            .zip(targets)
            .zip(unreached)
        {
            stream.horizon = *to;
            for range in unreached {
                match stream.unreached.last_mut() {
                    Some(last) if last.1 + 1 == range.0 => last.1 = range.1,
                    _ => stream.unreached.push(range),
                }
            }
        }
    }
}

/// The judgement of one pair in progress.
struct PairVerdict<'a, 's> {
    judged: &'a Judged<'s>,
    view: &'a PairView<'a>,
    key: PairKey,
    ledger: &'a mut super::ledger::Ledger,
    /// Deliveries of what was refused with `Forbidden`, for their incidents.
    forbidden: &'a mut Vec<(Slot, StreamId, u32)>,
    suspects: Option<&'a mut Vec<Suspect>>,
    /// Holes that stay.
    kept: SmallVec<[Hole; 1]>,
    /// What the receiver does not have, of the range judged.
    missing: Vec<(u32, u32)>,
    folded: bool,
}

impl PairVerdict<'_, '_> {
    fn run(&mut self, to: u32) {
        let view = self.view;
        let horizon = view.stream.horizon;
        // Holes kept open below the horizon: final at the end, kept until then.
        for hole in view.holes.iter().filter(|hole| hole.first <= horizon) {
            if self.suspects.is_some() {
                view.judge(hole.first, hole.last.min(horizon), &mut |piece| {
                    self.finish(piece)
                });
                self.missing.clear();
            } else {
                let mut kept = hole.clone();
                kept.last = hole.last.min(horizon);
                self.kept.push(kept);
            }
        }
        view.judge(horizon + 1, to, &mut |piece| self.take(piece));
        if self.suspects.is_none() {
            for hole in view.holes.iter().filter(|hole| hole.last > to) {
                let mut rest = hole.clone();
                rest.first = hole.first.max(to + 1);
                self.kept.push(rest);
            }
        }
    }

    fn take(&mut self, piece: Piece) {
        if piece.bucket.is_undelivered() || self.awaits_recovery(&piece) {
            push_range(&mut self.missing, piece.first, piece.last);
        }
        let open = piece.bucket.is_open() || self.awaits_recovery(&piece);
        if open && self.suspects.is_none() {
            return self.keep(piece);
        }
        self.finish(piece);
    }

    /// Not delivered to a receiver that is away and may still recover.
    fn awaits_recovery(&self, piece: &Piece) -> bool {
        piece.bucket == Bucket::Unverified && piece.first < self.view.blind_from
    }

    /// Keeps an open piece as holes of its own, with what their judgement will need.
    fn keep(&mut self, mut piece: Piece) {
        let base = piece.hole.and_then(|at| self.view.holes.get(at));
        let last = piece.last;
        loop {
            let (recovery, until) =
                self.judged
                    .recovery(self.view.stream, &piece, self.view.marks, false);
            let hole = match base {
                Some(hole) => hole.clone(),
                // Part of the tail: nothing later has come.
                None => Hole {
                    first: piece.first,
                    last: until,
                    window: self.view.marks.last().map_or(0, |mark| mark.ordinal),
                    shown: self.view.shown,
                    proofs: Epochs::default(),
                    witness: None,
                    at: Time::ZERO,
                    before_id: 0,
                    settled: None,
                    recovery: None,
                },
            };
            self.kept.push(Hole {
                first: piece.first,
                last: until,
                settled: piece.sent.or(Some((0, true))),
                recovery,
                ..hole
            });
            if until >= last {
                break;
            }
            piece.first = until + 1;
        }
    }

    fn finish(&mut self, piece: Piece) {
        self.ledger.add(piece.bucket, piece.len());
        if !piece.bucket.is_open() {
            self.folded |= piece.bucket.is_undelivered();
            if piece.bucket == Bucket::Forbidden && self.forbidden.len() < INCIDENTS_PER_KIND {
                let slot = self.judged.membership.slot;
                self.forbidden.push((slot, self.stream_id(), piece.first));
            }
            self.spoilt(&piece);
            return;
        }
        let reference = self.view.promise == Promise::Reference;
        let kind = match piece.bucket {
            Bucket::Lost => Some(Violation::Lost),
            Bucket::LostAtJoin if reference => Some(Violation::LostAtJoin),
            Bucket::LostAtLeave if reference => Some(Violation::LostAtLeave),
            _ => None,
        };
        let base = piece.hole.and_then(|at| self.view.holes.get(at));
        let mark = piece.window.and_then(|at| self.view.marks.get(at));
        let stream = self.stream_id();
        let mut rest = piece;
        loop {
            let (recovery, until) = match base.and_then(|hole| hole.recovery) {
                Some(recovery) => (Some(recovery), rest.last),
                None => self
                    .judged
                    .recovery(self.view.stream, &rest, self.view.marks, true),
            };
            if let Some(suspects) = self.suspects.as_deref_mut() {
                suspects.push(Suspect {
                    member: self.judged.member,
                    slot: self.judged.membership.slot.0,
                    stream,
                    first: rest.first,
                    last: until,
                    kind,
                    epoch: mark.map_or(0, |mark| mark.epoch),
                    recovery,
                    overtaken: base.map(|hole| (hole.at, hole.before_id)),
                });
            }
            if until >= rest.last {
                break;
            }
            rest.first = until + 1;
        }
    }

    fn stream_id(&self) -> StreamId {
        StreamId {
            publisher: self.view.stream.publisher,
            group: self.judged.membership.group,
        }
    }

    /// Takes spoilt deliveries out of a piece that counted them as delivered.
    fn spoilt(&mut self, piece: &Piece) {
        let faulted = &self.judged.shard.pairs.faulted;
        if faulted.is_empty() {
            return;
        }
        if matches!(
            piece.bucket,
            Bucket::Delivered | Bucket::NotOwed | Bucket::Forbidden
        ) {
            let n = faulted
                .range((self.key, piece.first)..=(self.key, piece.last))
                .count();
            self.ledger.spoil(piece.bucket, n as u64);
        }
    }
}

fn ranges(first: u32, last: u32) -> Vec<(u32, u32)> {
    if first <= last {
        vec![(first, last)]
    } else {
        Vec::new()
    }
}

fn push_range(ranges: &mut Vec<(u32, u32)>, first: u32, last: u32) {
    match ranges.last_mut() {
        Some(range) if range.1 + 1 == first => range.1 = last,
        _ => ranges.push((first, last)),
    }
}

/// What two sorted lists of ranges have in common.
pub(super) fn intersect(a: &[(u32, u32)], b: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let (mut at, mut bt) = (0, 0);
    let mut out = Vec::new();
    while let (Some(x), Some(y)) = (a.get(at), b.get(bt)) {
        let (first, last) = (x.0.max(y.0), x.1.min(y.1));
        if first <= last {
            out.push((first, last));
        }
        if x.1 < y.1 {
            at += 1;
        } else {
            bt += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_got_it_is_the_intersection_of_what_each_misses() {
        assert_eq!(intersect(&[(1, 10)], &[(2, 3), (5, 20)]), [(2, 3), (5, 10)]);
        assert_eq!(
            intersect(&[(1, 2), (4, 9)], &[(2, 4), (9, 9)]),
            [(2, 2), (4, 4), (9, 9)]
        );
        assert!(intersect(&[(1, 2)], &[]).is_empty());
    }
}
