//! Judging a segment in mode `digest`: what each receiver was owed of it, by the streams and
//! its windows alone, against what its tallies say it got.
//!
//! Equal counts and equal sums: everything came, once. More: something came again. Fewer:
//! something is lost, where the promise leaves no other reading; where it does, nothing of
//! that window and segment is verified. Odd messages are judged one by one, as in `full`.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::digest::{ALL_CAME, Cut, Odd, Sum, hash, range_sum, regular_to};
use super::group::Group;
use super::judge::{Bucket, PairView, Piece};
use super::judged::Judged;
use super::ledger::Ledger;
use super::marks::Mark;
use super::membership::Shown;
use super::plan::Promise;
use super::shard::Shard;
use crate::base::Time;
use crate::payload::StreamId;

/// What a receiver was owed of a segment, if nothing odd came.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    /// Regular messages by window, by its place.
    pub(super) windows: SmallVec<[Owed; 1]>,
    /// All others, each under the verdict that it has undelivered.
    pub(super) odd: Ledger,
}

/// What one window owes of a segment in regular messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub(super) place: usize,
    pub(super) sum: Sum,
    /// The mildest verdict on any of them, were it missing.
    pub(super) missing: Bucket,
}

/// Judged alike: the windows' signature, and what else verdicts depend on.
pub(super) type Memo = FxHashMap<(SmallVec<[u64; 16]>, bool, bool), Base>;

/// A segment of a group that is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) group: usize,
    pub(super) number: u32,
    /// By stream: the last seq.
    pub(super) to: &'a [u32],
    /// When it began and ended.
    pub(super) from: Time,
    pub(super) until: Time,
}

/// The odd deliveries of one receiver in a segment.
pub(super) type OddSlice<'o> = &'o [((u32, u32, u32), Odd)];

impl Base {
    fn owe(&mut self, place: usize, sum: Sum, missing: Bucket) {
        match self.windows.iter_mut().find(|owed| owed.place == place) {
            Some(owed) => {
                owed.sum.merge(sum);
                if mildness(missing) > mildness(owed.missing) {
                    owed.missing = missing;
                }
            }
            None => self.windows.push(Owed {
                place,
                sum,
                missing,
            }),
        }
    }

    /// Takes the part of one stream out again.
    fn without(&mut self, part: &Base) {
        for less in &part.windows {
            if let Some(owed) = self.windows.iter_mut().find(|o| o.place == less.place) {
                owed.sum.take(less.sum);
            }
        }
        self.odd.subtract(&part.odd);
    }
}

/// How far a verdict on a missing message is from a plain loss.
fn mildness(bucket: Bucket) -> u8 {
    match bucket {
        Bucket::Lost => 0,
        Bucket::LostAtLeave => 1,
        Bucket::LostAtJoin => 2,
        Bucket::LostUnreliableConnected => 3,
        _ => 4,
    }
}

/// Whether a missing message under this verdict is a violation, whatever else is true of it.
pub(super) fn is_violation(bucket: Bucket, promise: Promise) -> bool {
    match bucket {
        Bucket::Lost => true,
        Bucket::LostAtJoin | Bucket::LostAtLeave => promise == Promise::Reference,
        _ => false,
    }
}

/// How a stream's messages are judged for a receiver, as come and as not come.
pub(super) struct Views<'a> {
    pub(super) came: PairView<'a>,
    gone: PairView<'a>,
}

/// A message as its stream and the receiver's windows have it.
pub(super) struct Verdict {
    pub(super) came: Bucket,
    pub(super) gone: Bucket,
    /// The window, by its place, whose tally it would be in.
    pub(super) regular: Option<usize>,
}

impl<'a> Views<'a> {
    pub(super) fn new(
        judged: &Judged<'_>,
        stream: &'a super::group::Stream,
        marks: &'a [Mark],
        blind: bool,
    ) -> Self {
        let came = PairView {
            marks,
            stream,
            next: ALL_CAME,
            holes: &[],
            shown: Shown::Nothing,
            blind_from: if blind { 1 } else { u32::MAX },
            reliable: judged.reliable,
            promise: judged.shard.plan.promise,
            attached: judged.attached,
        };
        Views {
            came,
            gone: PairView { next: 1, ..came },
        }
    }

    /// Adds what is owed of `from ..= to`.
    fn owe(&self, from: u32, to: u32, sums: &impl Fn(u32, u32) -> Sum, base: &mut Base) {
        self.came.judge(from, to, &mut |piece: Piece| {
            let last = regular_to(&piece, self.came.marks);
            if let (Some(last), Some(place)) = (last, piece.window) {
                let mut missing = Bucket::Lost;
                self.gone.judge(piece.first, last, &mut |gone| {
                    if mildness(gone.bucket) > mildness(missing) {
                        missing = gone.bucket;
                    }
                });
                base.owe(place, sums(piece.first, last), missing);
            }
            let odd = last.map_or(piece.first, |last| last + 1);
            if odd <= piece.last {
                let add = &mut |gone: Piece| base.odd.add(gone.bucket, gone.len());
                self.gone.judge(odd, piece.last, add);
            }
        });
    }

    /// The verdict on one message.
    pub(super) fn of(&self, seq: u32) -> Verdict {
        let marks = self.came.marks;
        let mut verdict = Verdict {
            came: Bucket::NotMember,
            gone: Bucket::NotMember,
            regular: None,
        };
        self.came.judge(seq, seq, &mut |piece| {
            verdict.came = piece.bucket;
            verdict.regular = regular_to(&piece, marks).and(piece.window);
        });
        self.gone
            .judge(seq, seq, &mut |piece| verdict.gone = piece.bucket);
        verdict
    }
}

impl Shard {
    /// What a membership was owed between the horizon and `to`. Sums only when asked for.
    pub(super) fn base(
        &self,
        judged: &Judged<'_>,
        group: &Group,
        to: &[u32],
        sums: Option<&[Sum]>,
        memo: &mut Memo,
    ) -> (Base, u64) {
        let key = (
            judged.resolved.signature(),
            judged.reliable,
            judged.attached,
        );
        let blind = self.digest.is_blind(judged.member);
        let all = |memo: &mut Memo| {
            let base = memo.entry(key).or_insert_with(|| {
                let mut base = Base::default();
                for at in 0..group.streams.len() {
                    self.base_of(judged, group, at, to, sums, false, &mut base);
                }
                base
            });
            base.clone()
        };
        let mut base = match blind {
            false => all(memo),
            true => {
                let mut base = Base::default();
                for at in 0..group.streams.len() {
                    self.base_of(judged, group, at, to, None, true, &mut base);
                }
                base
            }
        };
        let own = group
            .find_stream(judged.membership.slot)
            .map(|at| at as usize);
        let spared = own.filter(|at| judged.spared(&group.streams[*at]));
        let mut no_echo = 0;
        if let Some(at) = spared {
            let mut part = Base::default();
            self.base_of(judged, group, at, to, sums, blind, &mut part);
            base.without(&part);
            no_echo = u64::from(to[at] - group.streams[at].horizon);
        }
        (base, no_echo)
    }

    #[expect(clippy::too_many_arguments, reason = "one stream's share of `base`")]
    fn base_of(
        &self,
        judged: &Judged<'_>,
        group: &Group,
        at: usize,
        to: &[u32],
        sums: Option<&[Sum]>,
        blind: bool,
        base: &mut Base,
    ) {
        let stream = &group.streams[at];
        let (from, to) = (stream.horizon + 1, to[at]);
        if to < from {
            return;
        }
        let mut marks = SmallVec::new();
        judged.resolved.marks(stream, &mut marks);
        let publisher = stream.publisher.0;
        let sum = |first: u32, last: u32| match sums {
            None => Sum {
                count: u64::from(last - first) + 1,
                hashes: 0,
            },
            Some(whole) if (first, last) == (from, to) => whole[at],
            Some(_) => range_sum(self.plan.run, publisher, first, last),
        };
        Views::new(judged, stream, &marks, blind).owe(from, to, &sum, base);
    }

    /// Judges a segment at every receiver of its group, and moves the horizon to its end.
    pub(super) fn judge_segment(&mut self, segment: Segment<'_>) {
        let index = segment.group;
        let sums: Vec<Sum> = self.groups[index]
            .streams
            .iter()
            .zip(segment.to)
            .map(|(s, to)| range_sum(self.plan.run, s.publisher.0, s.horizon + 1, *to))
            .collect();
        let odd = self.odd_of(&segment);
        let mut memo = Memo::default();
        let mut rest = odd.as_slice();
        let mut sorted: Vec<u32> = self.groups[index].members.clone();
        sorted.sort_unstable();
        for member in sorted {
            let mine = rest.partition_point(|((of, ..), _)| *of <= member);
            let (odd, later) = rest.split_at(mine);
            rest = later;
            let (base, no_echo) = {
                let group = &self.groups[index];
                let judged = Judged::new(self, group, member);
                self.base(&judged, group, segment.to, Some(&sums), &mut memo)
            };
            let slot = self.members[member as usize].slot;
            let mut ledger = self.settle_accounts(&segment, member, base, odd);
            ledger.no_echo = no_echo;
            self.ledgers[index].merge(&ledger);
            let pool = self.plan.pool_of(slot);
            self.pools[pool].merge(&ledger);
        }
        // Who got a publish of unknown outcome is not noted by message (M3).
        let unsure = super::unsure::candidates(&self.groups[index], segment.to);
        for (stream, ranges) in self.groups[index].streams.iter().zip(&unsure) {
            if self.slots.contains(&stream.publisher.0) {
                self.unsure.leave_out(ranges);
            }
        }
        for (stream, to) in self.groups[index].streams.iter_mut().zip(segment.to) {
            stream.horizon = *to;
        }
    }

    /// Judges the segments that ended at `before` or earlier.
    pub(super) fn judge_cuts(&mut self, index: usize, before: Time) {
        let due = |cut: &mut Cut| cut.at <= before;
        while let Some(cut) = self.digest.groups[index].cuts.pop_front_if(due) {
            self.judge_cut(index, &cut);
        }
    }

    /// Judges everything that is left; the streams' last messages too, whose outcome may
    /// be open.
    pub(super) fn finish_digests(&mut self, now: Time) {
        self.file_settled(true);
        for index in 0..self.digest.groups.len() {
            while let Some(cut) = self.digest.groups[index].cuts.pop_front() {
                self.judge_cut(index, &cut);
            }
            let settled = self.groups[index]
                .streams
                .iter()
                .map(|s| s.invoked)
                .collect();
            self.judge_cut(index, &Cut { at: now, settled });
        }
    }

    fn judge_cut(&mut self, index: usize, cut: &Cut) {
        let streams = self.groups[index].streams.iter().enumerate();
        let to: Vec<u32> = streams.map(|(at, s)| cut.of(at).max(s.horizon)).collect();
        let digest = &mut self.digest.groups[index];
        let segment = Segment {
            group: index,
            number: digest.first,
            to: &to,
            from: digest.since,
            until: cut.at,
        };
        digest.first += 1;
        digest.since = cut.at;
        self.judge_segment(segment);
    }

    /// The odd deliveries of a segment, taken out of what is held, in order.
    fn odd_of(&mut self, segment: &Segment<'_>) -> Vec<((u32, u32, u32), Odd)> {
        let digest = &mut self.digest.groups[segment.group];
        let all = std::mem::take(&mut digest.odd);
        let mut mine = Vec::new();
        for (key, odd) in all {
            match key.2 <= segment.to.get(key.1 as usize).copied().unwrap_or(0) {
                true => mine.push((key, odd)),
                false => _ = digest.odd.insert(key, odd),
            }
        }
        let copies = mine.iter().map(|(_, odd)| odd.copies.len()).sum();
        self.digest.let_go(copies);
        mine
    }

    /// (missing, overdue) in mode `digest`: regular messages and retried ones that open
    /// windows owe and that have not come; and those of them settled before the last cut
    /// older than `late_after`.
    pub(super) fn owed_in_digest(&self, now: Time) -> (u64, u64) {
        let age = self.plan.late_after.max(std::time::Duration::from_secs(1));
        let (mut missing, mut overdue) = (0, 0);
        for (index, group) in self.groups.iter().enumerate() {
            let digest = &self.digest.groups[index];
            let settled: Vec<u32> = group.streams.iter().map(|s| s.settled).collect();
            missing += self.missing_up_to(index, &settled, u32::MAX);
            let old = digest.cuts.partition_point(|cut| cut.at + age <= now);
            if let Some(cut) = old.checked_sub(1).and_then(|at| digest.cuts.get(at)) {
                let to: Vec<u32> = (0..group.streams.len())
                    .map(|at| cut.of(at).max(group.streams[at].horizon))
                    .collect();
                // A cut is made every five seconds.
                overdue += self.missing_up_to(index, &to, digest.first + old as u32 - 1);
            }
        }
        (missing, overdue)
    }

    fn missing_up_to(&self, index: usize, to: &[u32], last: u32) -> u64 {
        let group = &self.groups[index];
        let mut memo = Memo::default();
        let mut odd: FxHashMap<(u32, u32), u64> = FxHashMap::default();
        for ((member, stream, seq), one) in &self.digest.groups[index].odd {
            if let Some(window) = one.owed_in
                && *seq <= to[*stream as usize]
            {
                *odd.entry((*member, window)).or_default() += 1;
            }
        }
        let mut missing = 0;
        for member in &group.members {
            let judged = Judged::new(self, group, *member);
            let (base, _) = self.base(&judged, group, to, None, &mut memo);
            let tallies = self.digest.members.get(*member as usize);
            let waited_for = |b: Bucket| b.is_open() || b == Bucket::Unverified;
            let mut here = 0;
            for owed in base.windows.iter().filter(|owed| waited_for(owed.missing)) {
                let ordinal = judged.membership.windows[owed.place].ordinal;
                let got = tallies.map_or(0, |m| {
                    let mine = m.tallies.iter();
                    mine.filter(|t| t.window == ordinal && t.segment <= last)
                        .map(|t| t.sum.count)
                        .sum()
                });
                here += owed.sum.count.saturating_sub(got);
            }
            let window = judged.membership.latest().map_or(0, |w| w.ordinal);
            let came = odd.get(&(*member, window)).copied().unwrap_or(0);
            let blind = self.digest.is_blind(*member);
            here += base.odd.open().saturating_sub(came);
            missing += if blind { 0 } else { here };
        }
        missing
    }

    /// The message of a segment whose hash is `wanted`: when one is missing, or one came
    /// again, the difference of the sums names it.
    pub(super) fn named_by(&self, segment: &Segment<'_>, wanted: u64) -> Option<(StreamId, u32)> {
        let group = &self.groups[segment.group];
        group
            .streams
            .iter()
            .zip(segment.to)
            .find_map(|(stream, to)| {
                let publisher = stream.publisher;
                let seq = (stream.horizon + 1..=*to)
                    .find(|seq| hash(self.plan.run, publisher.0, *seq) == wanted)?;
                // At most 2^24 groups.
                let group = crate::base::GroupId(segment.group as u32);
                Some((StreamId { publisher, group }, seq))
            })
    }
}
