//! From pairs to verdicts: folding what is long over into counters, the live count of
//! what is owed, and the end of the run.

use std::time::Duration;

use smallvec::SmallVec;

use super::group::{Group, Stream};
use super::judge::{Bucket, Piece};
use super::judged::Judged;
use super::marks::Mark;
use super::membership::Membership;
use super::pairs::PairKey;
use super::plan::Mode;
use super::shard::Shard;
use super::told::Told;
use crate::base::Time;

/// Messages are folded into counters this long after they were settled.
const FOLD_AFTER: Duration = Duration::from_secs(60);
/// How often that is done.
const FOLD_EVERY: Duration = Duration::from_secs(5);
/// A recovery explains losses judged until this long after the transport was lost: the
/// receiver is away for half a minute at the most, and what was sent meanwhile is settled
/// within a minute and folded a minute after that. Checkpoints are kept as long.
const RECOVERY_REMEMBERED: Duration = Duration::from_secs(160);
/// Recorders shrink to this under memory pressure.
const RECORDER_UNDER_PRESSURE: usize = 8;

impl Shard {
    /// Folds what was settled a minute ago, every five seconds.
    pub(super) fn fold_old(&mut self, now: Time) {
        if now.since(self.last_fold) < FOLD_EVERY {
            return;
        }
        self.last_fold = now;
        for index in 0..self.groups.len() {
            if self.is_digest() {
                self.cut_digest(index, now);
                self.judge_cuts(index, now.saturating_sub(FOLD_AFTER));
                self.forget(index, now);
                continue;
            }
            let targets: Vec<u32> = self.groups[index]
                .streams
                .iter()
                .map(|stream| {
                    let old =
                        self.groups[index].settled_before(stream, &self.told, now, FOLD_AFTER);
                    old.max(stream.horizon)
                })
                .collect();
            let moves = self.groups[index]
                .streams
                .iter()
                .zip(&targets)
                .any(|(stream, target)| *target > stream.horizon);
            if moves {
                self.judge_group(index, &targets, None);
            }
            self.forget(index, now);
        }
        self.forget_messages();
        for receiver in &mut self.receivers {
            receiver.forget_recoveries(now, RECOVERY_REMEMBERED);
        }
    }

    /// Drops what no later judgement of a group needs.
    fn forget(&mut self, index: usize, now: Time) {
        let group = &self.groups[index];
        let mut oldest = now.saturating_sub(RECOVERY_REMEMBERED);
        let mut passed = Vec::new();
        for member in &group.members {
            let membership = &self.members[*member as usize];
            if !membership.is_plain() {
                let at = passed_windows(membership, group, &self.told);
                passed.push((*member, at, windows_over(membership, group, &self.told)));
            }
        }
        for (member, at, over) in passed {
            let at = at.map(|at| self.tell_holes(member, at));
            let membership = &mut self.members[member as usize];
            if let Some(at) = at {
                membership.drop_windows(at);
            }
            membership.close_windows(&over[at.unwrap_or(0)..]);
        }
        let group = &self.groups[index];
        for member in &group.members {
            oldest = oldest.min(self.members[*member as usize].needs_from());
        }
        let group = &mut self.groups[index];
        for stream in &mut group.streams {
            stream.forget_below_horizon();
        }
        group.forget_before(oldest, &self.told);
    }

    /// Tells the holes that are kept below the horizon how the windows before the one at
    /// `at` ended, which are about to be forgotten.
    fn tell_holes(&mut self, member: u32, at: usize) -> usize {
        let membership = &self.members[member as usize];
        // At most 2^24 streams.
        let streams = if at == 0 {
            0
        } else {
            membership.tracked() as u32
        };
        for stream in 0..streams {
            if !membership.frontier(stream).1 {
                continue;
            }
            for window in &membership.windows[..at] {
                if let Some(end) = window.end() {
                    let key = PairKey::new(member, stream);
                    self.pairs.window_ended(key, window.ordinal, end);
                }
            }
        }
        at
    }

    /// Drops what was noted of single messages that are folded now.
    fn forget_messages(&mut self) {
        let (groups, members) = (&self.groups, &self.members);
        let folded = |key: &PairKey, seq: u32| {
            let group = &groups[members[key.member() as usize].group.index()];
            group.streams[key.stream() as usize].horizon >= seq
        };
        self.pairs
            .repeated
            .retain(|(key, seq), _| !folded(key, *seq));
        // Spoilt deliveries were taken out of the ledger when they were judged.
        self.pairs.faulted.retain(|(key, seq)| !folded(key, *seq));
    }

    /// (missing, overdue): pairs that would count as lost if the run ended now and may still
    /// come, because the membership is open; and those
    /// of them settled for longer than `late_after`.
    pub(super) fn owed_now(&self, now: Time) -> (u64, u64) {
        if self.is_digest() {
            return self.owed_in_digest(now);
        }
        let (mut missing, mut overdue) = (0, 0);
        self.each_owed(now, &mut |_, _, piece, old| {
            missing += piece.len();
            overdue += u64::from((old.min(piece.last) + 1).saturating_sub(piece.first));
        });
        self.pins.overdue.set(overdue);
        (missing, overdue)
    }

    /// Calls `sink` with each piece that would count as lost now and may still come: its
    /// pair, its stream, and the highest seq of the stream settled so long ago that it is
    /// overdue.
    pub(super) fn each_owed(&self, now: Time, sink: &mut impl FnMut(PairKey, &Stream, Piece, u32)) {
        if self.plan.mode != Mode::Full {
            return;
        }
        let age = self.plan.late_after.max(Duration::from_secs(1));
        let mut marks = SmallVec::new();
        for group in &self.groups {
            for member in &group.members {
                let membership = &self.members[*member as usize];
                // Nearly always everything has come: then nothing more is looked at.
                let waits = |at: usize, stream: &Stream| {
                    let (next, holes) = membership.frontier(at as u32);
                    next <= stream.settled || holes
                };
                let mut streams = group.streams.iter().enumerate();
                if !streams.any(|(at, stream)| waits(at, stream)) {
                    continue;
                }
                let judged = Judged::new(self, group, *member);
                for (at, stream) in group.streams.iter().enumerate() {
                    let (next, holes) = judged.membership.frontier(at as u32);
                    if !waits(at, stream) || judged.spared(stream) {
                        continue;
                    }
                    judged.resolved.marks(stream, &mut marks);
                    let key = PairKey::new(*member, at as u32);
                    let view = judged.view(key, stream, &marks);
                    let old = group.settled_before(stream, &self.told, now, age);
                    let open = view.holes.first().map_or(next, |hole| hole.first);
                    // What is folded is no longer waited for, unless it is kept as a hole.
                    let from = if holes {
                        open
                    } else {
                        open.max(stream.horizon + 1)
                    };
                    view.judge(from, stream.settled, &mut |piece| {
                        let open = piece.bucket.is_open()
                            || (piece.bucket == Bucket::Unverified
                                && piece.first < view.blind_from);
                        if open {
                            sink(key, stream, piece, old);
                        }
                    });
                }
            }
        }
    }

    /// Bytes held, by own accounting.
    pub(super) fn bytes(&self) -> u64 {
        let groups: u64 = self.groups.iter().map(Group::bytes).sum();
        let members: u64 = self.members.iter().map(Membership::bytes).sum();
        let receivers: u64 = self.receivers.iter().map(|r| r.bytes()).sum();
        let faults = self.gaps.len() * 40 + self.bad.len() * 32 + self.broken.len() * 16;
        let open = (self.candidates.len() * 112 + self.waiting.len() * 96 + faults) as u64;
        let told: u64 = self.told.iter().map(Told::bytes).sum();
        groups
            + told
            + (self.asking.len() * 8) as u64
            + members
            + receivers
            + self.recorder.bytes()
            + open
            + self.pairs.bytes()
            + self.digest.bytes()
            + self.outbox.bytes()
            + self.pins.bytes()
            + self.observer.bytes()
            + self.unsure.bytes()
            + self.unanswered.bytes()
    }

    /// Keeps within the budget: first the recorders shrink, then nothing new is tracked.
    pub(super) fn keep_budget(&mut self) {
        let mut bytes = self.bytes();
        if bytes > self.plan.memory_budget && self.pressure == 0 {
            self.pressure = 1;
            self.shrink_recorders(RECORDER_UNDER_PRESSURE);
            bytes = self.bytes();
        }
        if bytes > self.plan.memory_budget && self.pressure == 1 {
            self.pressure = 2;
            self.pairs.holes_max = 0;
        }
        self.bytes_now = bytes;
        self.bytes_peak = self.bytes_peak.max(bytes);
    }
}

/// The place of the newest window that alone rules everything above the horizon.
fn passed_windows(membership: &Membership, group: &Group, told: &[Told]) -> Option<usize> {
    let resolved = membership.resolve(group, told);
    let mut marks: SmallVec<[Mark; 4]> = SmallVec::new();
    let begun = |stream: &&Stream| group.source_of(stream).is_some();
    if !group.streams.iter().any(|stream| begun(&stream)) {
        return (0..membership.windows.len())
            .rev()
            .find(|at| membership.windows[*at].joined.is_some() && resolved.is_visible(*at));
    }
    let mut newest = membership.windows.len();
    // A stream of which only a delivery told, perhaps an invented one, has no facts to wait
    // for: when its publisher begins it, that is after these windows.
    for stream in group.streams.iter().filter(begun) {
        resolved.marks(stream, &mut marks);
        let at = marks.iter().rposition(|mark| {
            mark.floor <= stream.horizon + 1 && mark.grace <= stream.horizon + 1
        })?;
        newest = newest.min(at);
    }
    Some(newest)
}

/// By window: whether it is over and everything that it could receive is folded.
fn windows_over(membership: &Membership, group: &Group, told: &[Told]) -> SmallVec<[bool; 4]> {
    let ended = membership.windows.iter().map(|w| w.ended.is_some());
    let mut over: SmallVec<[bool; 4]> = ended.collect();
    if !over.contains(&true) {
        return over;
    }
    let resolved = membership.resolve(group, told);
    let mut marks: SmallVec<[Mark; 4]> = SmallVec::new();
    let begun = |stream: &&Stream| group.source_of(stream).is_some();
    for stream in group.streams.iter().filter(begun) {
        resolved.marks(stream, &mut marks);
        for (over, mark) in over.iter_mut().zip(&marks) {
            *over &= mark.may_to <= stream.horizon;
        }
    }
    over
}
