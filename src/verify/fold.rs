//! Judging all pairs of a group: what is final goes to the ledger, what may still come
//! stays open as a hole, what is missing at the end becomes a suspect.

use smallvec::SmallVec;

use super::facts::Fate;
use super::group::{Group, Stream};
use super::incident::INCIDENTS_PER_KIND;
use super::judge::{Bucket, PairView, Piece};
use super::judged::Judged;
use super::kinds::Violation;
use super::ledger::Ledger;
use super::order::Witnesses;
use super::outcome::Suspect;
use super::pairs::{Epochs, Hole, Kept, PairKey};
use super::plan::Promise;
use super::shard::Shard;
use super::unsure::{Range, candidates, mark};
use crate::base::{GroupId, Slot};
use crate::payload::StreamId;

/// What judging one pair changes in the tables.
struct Change {
    key: PairKey,
    next: u32,
    holes: SmallVec<[Hole; 1]>,
    folded: bool,
}

/// What judging a group comes to, before it is written back.
struct GroupVerdict<'a> {
    targets: &'a [u32],
    ledger: Ledger,
    /// What the membership in hand adds.
    of_member: Ledger,
    changes: Vec<Change>,
    /// Deliveries of what was refused with `Forbidden`, for their incidents.
    forbidden: Vec<(Slot, StreamId, u32)>,
    /// By stream: what no receiver judged so far has.
    unreached: Vec<Vec<(u32, u32)>>,
    /// By stream: messages without a known outcome, and how far they came.
    unsure: Vec<Vec<Range>>,
    /// At the end only: what is missing for good.
    suspects: Option<&'a mut Vec<Suspect>>,
}

impl Shard {
    /// Judges every pair of a group up to `targets`. At the end (`suspects` given) every
    /// verdict is final; before, what may still come stays open as a hole.
    pub(super) fn judge_group(
        &mut self,
        index: usize,
        targets: &[u32],
        suspects: Option<&mut Vec<Suspect>>,
    ) {
        let group = &self.groups[index];
        let mut verdict = GroupVerdict {
            targets,
            ledger: self.ledgers[index].clone(),
            of_member: Ledger::default(),
            changes: Vec::new(),
            forbidden: Vec::new(),
            unreached: group
                .streams
                .iter()
                .zip(targets)
                .map(|(stream, to)| acked_ranges(stream, *to))
                .collect(),
            unsure: match group.members.is_empty() {
                // Others know how far they came.
                true => Vec::new(),
                false => candidates(group, targets),
            },
            suspects,
        };
        let mut pools = vec![Ledger::default(); self.pools.len()];
        for member in &group.members {
            let judged = Judged::new(self, group, *member);
            verdict.member(&judged, group);
            let of_member = std::mem::take(&mut verdict.of_member);
            verdict.ledger.merge(&of_member);
            pools[self.plan.pool_of(judged.membership.slot)].merge(&of_member);
        }
        let GroupVerdict {
            ledger,
            changes,
            forbidden,
            unreached,
            unsure,
            ..
        } = verdict;
        self.ledgers[index] = ledger;
        for (mine, more) in self.pools.iter_mut().zip(&pools) {
            mine.merge(more);
        }
        for (stream, ranges) in self.groups[index].streams.iter().zip(&unsure) {
            let id = StreamId {
                publisher: stream.publisher,
                // At most 2^24 groups.
                group: GroupId(index as u32),
            };
            self.unsure.add(id, ranges);
        }
        for (slot, stream, seq) in forbidden {
            self.forbidden_incident(slot, stream, seq);
        }
        let streams = self.groups[index].streams.iter_mut();
        for ((stream, to), unreached) in streams.zip(targets).zip(unreached) {
            // Before the changes: a table that grows for one begins above what is folded.
            stream.horizon = *to;
            for (first, last) in unreached {
                stream.note_unreached(first, last);
            }
        }
        for change in changes {
            self.apply_change(index, change);
        }
    }

    fn apply_change(&mut self, index: usize, change: Change) {
        let membership = &mut self.members[change.key.member() as usize];
        if change.key.stream() as usize >= membership.tracked() {
            if change.holes.is_empty() {
                return;
            }
            let streams = self.groups[index].streams.len();
            self.pairs_held += (streams - membership.tracked()) as u64;
            membership.grow(streams, &self.groups[index]);
        }
        let holes = !change.holes.is_empty();
        membership.set_frontier(change.key.stream(), change.next, holes);
        if change.folded {
            membership.set_folded(change.key.stream());
        }
        self.pairs.set_holes(change.key, change.holes);
    }
}

impl GroupVerdict<'_> {
    /// Judges the pairs of one membership.
    fn member(&mut self, judged: &Judged<'_>, group: &Group) {
        let mut marks = SmallVec::new();
        for (at, stream) in group.streams.iter().enumerate() {
            let to = self.targets[at];
            if judged.spared(stream) {
                self.of_member.no_echo += u64::from(to - stream.horizon);
                continue;
            }
            // At most 2^24 streams.
            let key = PairKey::new(judged.member, at as u32);
            let (next, holes) = judged.membership.frontier(key.stream());
            if to == stream.horizon && !(holes && self.suspects.is_some()) {
                continue;
            }
            judged.resolved.marks(stream, &mut marks);
            let mut pair = PairVerdict {
                judged,
                view: &judged.view(key, stream, &marks),
                key,
                ledger: &mut self.of_member,
                forbidden: &mut self.forbidden,
                suspects: self.suspects.as_deref_mut(),
                kept: SmallVec::new(),
                missing: Vec::new(),
                unsure: SmallVec::new(),
                folded: false,
            };
            pair.run(to);
            let (kept, missing, folded) = (pair.kept, pair.missing, pair.folded);
            for (first, last, bit) in pair.unsure {
                mark(&mut self.unsure[at], first, last, bit);
            }
            if !self.unreached[at].is_empty() {
                self.unreached[at] = intersect(&self.unreached[at], &missing);
            }
            if self.suspects.is_none() && (holes || folded || next <= to || !kept.is_empty()) {
                self.changes.push(Change {
                    key,
                    next: next.max(to + 1),
                    holes: kept,
                    folded,
                });
            }
        }
    }
}

/// The judgement of one pair in progress.
struct PairVerdict<'a, 's> {
    judged: &'a Judged<'s>,
    view: &'a PairView<'a>,
    key: PairKey,
    ledger: &'a mut Ledger,
    forbidden: &'a mut Vec<(Slot, StreamId, u32)>,
    suspects: Option<&'a mut Vec<Suspect>>,
    /// Holes that stay.
    kept: SmallVec<[Hole; 1]>,
    /// What the receiver does not have, of the range judged.
    missing: Vec<(u32, u32)>,
    /// Messages of unknown outcome that it should have if they were executed: a bit of each.
    unsure: SmallVec<[(u32, u32, u8); 1]>,
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
        let mark = piece.window.and_then(|at| self.view.marks.get(at));
        let (epoch, retried) = piece.sent.unwrap_or((0, true));
        let last = piece.last;
        loop {
            let (view, judged) = (self.view, self.judged);
            let (recovery, until) = judged.recovery(view.stream, &piece, view.marks, true);
            let hole = match base {
                Some(hole) => hole.clone(),
                // Part of the tail: nothing later has come.
                None => Hole {
                    first: piece.first,
                    last: until,
                    window: self.view.marks.last().map_or(0, |mark| mark.ordinal),
                    shown: self.view.shown,
                    proofs: Epochs::around(epoch),
                    witnesses: Witnesses::default(),
                    overtaken: None,
                    kept: None,
                },
            };
            self.kept.push(Hole {
                first: piece.first,
                last: until,
                // What is open or awaits a recovery is in a window.
                kept: mark.map(|mark| Kept {
                    epoch,
                    retried,
                    window: mark.ordinal,
                    connection: mark.epoch,
                    end: mark.end,
                    at_join: piece.at_join,
                    recovery,
                }),
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
        if piece.unsure != 0 {
            self.unsure.push((piece.first, piece.last, piece.unsure));
        }
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
        let kept = base.and_then(|hole| hole.kept);
        let mark = piece.window.and_then(|at| self.view.marks.get(at));
        let epoch = match kept {
            Some(kept) => kept.connection,
            None => mark.map_or(0, |mark| mark.epoch),
        };
        let stream = self.stream_id();
        let mut rest = piece;
        loop {
            let known = kept.and_then(|kept| kept.recovery);
            let (recovery, until) = match known.filter(|laid| self.judged.stands(*laid)) {
                Some(laid) => (Some(laid), rest.last),
                None => {
                    let (view, recent) = (self.view, kept.is_none());
                    self.judged.recovery(view.stream, &rest, view.marks, recent)
                }
            };
            let recovery = recovery.map(|laid| laid.transport);
            if let Some(suspects) = self.suspects.as_deref_mut() {
                suspects.push(Suspect {
                    member: self.judged.member,
                    slot: self.judged.membership.slot.0,
                    stream,
                    first: rest.first,
                    last: until,
                    kind,
                    epoch,
                    recovery,
                    overtaken: base.and_then(|hole| hole.overtaken),
                    stalled: false,
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

/// What of a stream was acked, from its horizon up to `to`: only that can be a lie.
fn acked_ranges(stream: &Stream, to: u32) -> Vec<(u32, u32)> {
    let mut at = stream.horizon + 1;
    let mut out = Vec::new();
    for exception in stream.exceptions_in(at, to) {
        if exception.fate == Fate::Ok {
            continue;
        }
        if at < exception.first {
            out.push((at, exception.first - 1));
        }
        at = at.max(exception.last + 1);
    }
    if at <= to {
        out.push((at, to));
    }
    out
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
