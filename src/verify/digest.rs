//! Mode `digest`: what a receiver got is kept as a count and a sum of hashes, not by pair.
//!
//! For groups in which everybody publishes to everybody: memory is by receiver and by
//! publisher, never by both. Every five seconds a *cut* notes how far each stream is
//! settled; the messages between two cuts are a *segment*. A delivery waits until its
//! message is settled. Then it is either *regular* - sent once, acked, owed, and come in the
//! window that owes it - and goes into the tally of (receiver, window, segment); or it is
//! *odd* and is kept by message until its segment is judged. Read `tallied` for that.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::group::Group;
use super::judge::{Bucket, PairView, Piece};
use super::kinds::{Unknown, Violation};
use super::marks::Mark;
use super::membership::{Shown, WindowEnd};
use super::pairs::Arrival;
use super::plan::Mode;
use super::shard::Shard;
use super::short::Short;
use crate::base::{Slot, Time};
use crate::payload::{Cause, Identity, StreamId};

/// Deliveries kept by message at once, those that wait and the odd ones; a receiver of more
/// is not verified from there on.
pub(super) const HELD_MAX: usize = 1_000_000;
/// Frames of a receiver and publishes of a publisher kept for evidence.
pub(super) const RECORDED: usize = 16;
/// A frontier above everything: the whole range has come.
pub(super) const ALL_CAME: u32 = u32::MAX;

/// What mode `digest` keeps of a shard's receivers.
#[derive(Debug, Default)]
pub(super) struct Digest {
    /// By group id.
    pub(super) groups: Vec<GroupDigest>,
    /// By membership.
    pub(super) members: Vec<MemberDigest>,
    /// Deliveries kept by message, and how many may be.
    held: usize,
    pub(super) held_max: usize,
    /// What is missing for good, by (membership, window, bucket).
    pub(super) short: FxHashMap<(u32, u32, u8), Short>,
}

/// The deliveries of one group that are kept by message, and its cuts.
#[derive(Debug, Default)]
pub(super) struct GroupDigest {
    /// How far the streams were settled, oldest first.
    pub(super) cuts: VecDeque<Cut>,
    /// The number of the segment that ends at the first cut, and when it began.
    pub(super) first: u32,
    pub(super) since: Time,
    /// Wait for their message to be settled.
    pending: Vec<Entry>,
    /// By (membership, stream, seq).
    pub(super) odd: BTreeMap<(u32, u32, u32), Odd>,
}

/// Where the streams of a group stood at a time, by stream.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) at: Time,
    pub(super) settled: Box<[u32]>,
}

/// What one receiver got in one group.
#[derive(Debug, Default)]
pub(super) struct MemberDigest {
    pub(super) tallies: Vec<Tallied>,
    /// Deliveries that wait.
    waiting: u32,
    /// Some deliveries could not be kept: nothing of it is verified any more.
    pub(super) blind: bool,
}

/// Regular deliveries of one segment in one window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tallied {
    pub(super) segment: u32,
    pub(super) window: u32,
    pub(super) sum: Sum,
}

/// A set of messages, as far as a digest tells: how many, and the sum of their hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) hashes: u64,
}

/// A delivery that waits.
#[derive(Clone, Copy, Debug)]
struct Entry {
    member: u32,
    stream: u32,
    seq: u32,
    copy: Copy,
}

/// The copies of one message that are kept by message.
#[derive(Debug, Default)]
pub(super) struct Odd {
    pub(super) copies: SmallVec<[Copy; 1]>,
    /// The window that owed it and was open then.
    pub(super) owed_in: Option<u32>,
}

/// One delivered copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) tx: u32,
    /// The window and the connection that it came in.
    pub(super) window: u32,
    pub(super) epoch: u16,
    pub(super) attempt: u8,
    pub(super) cause: Cause,
}

impl Sum {
    pub(super) fn add(&mut self, hash: u64) {
        self.count += 1;
        self.hashes = self.hashes.wrapping_add(hash);
    }

    pub(super) fn merge(&mut self, other: Sum) {
        self.count += other.count;
        self.hashes = self.hashes.wrapping_add(other.hashes);
    }

    pub(super) fn take(&mut self, other: Sum) {
        self.count -= other.count;
        self.hashes = self.hashes.wrapping_sub(other.hashes);
    }
}

impl Cut {
    /// How far a stream was settled; not at all when it had not begun.
    pub(super) fn of(&self, stream: usize) -> u32 {
        self.settled.get(stream).copied().unwrap_or(0)
    }
}

impl Digest {
    pub(super) fn new(groups: usize) -> Self {
        Digest {
            groups: (0..groups).map(|_| GroupDigest::default()).collect(),
            held_max: HELD_MAX,
            ..Digest::default()
        }
    }

    pub(super) fn member(&mut self, member: u32) -> &mut MemberDigest {
        let at = member as usize;
        if at >= self.members.len() {
            self.members.resize_with(at + 1, MemberDigest::default);
        }
        &mut self.members[at]
    }

    pub(super) fn is_blind(&self, member: u32) -> bool {
        self.members.get(member as usize).is_some_and(|m| m.blind)
    }

    /// Deliveries kept by message that are judged now.
    pub(super) fn let_go(&mut self, n: usize) {
        self.held -= n;
    }

    pub(super) fn bytes(&self) -> u64 {
        let members: usize = self
            .members
            .iter()
            .map(|m| size_of::<MemberDigest>() + m.tallies.capacity() * size_of::<Tallied>())
            .sum();
        let groups: usize = self
            .groups
            .iter()
            .map(|group| {
                let cuts: usize = group
                    .cuts
                    .iter()
                    .map(|cut| cut.settled.len() * 4 + 32)
                    .sum();
                cuts + group.pending.capacity() * size_of::<Entry>()
                    // A node of the tree is at least half full.
                    + group.odd.len() * (size_of::<Odd>() + 12) * 3 / 2
            })
            .sum();
        (members + groups + self.short.len() * (size_of::<Short>() + 16)) as u64
    }
}

impl GroupDigest {
    /// The segment that a settled message belongs to.
    fn segment(&self, stream: u32, seq: u32) -> u32 {
        let before = |cut: &Cut| cut.of(stream as usize) < seq;
        // A cut is made every five seconds.
        self.first + self.cuts.partition_point(before) as u32
    }
}

/// The hash of a message: splitmix64 of its publisher and number, keyed by the run.
pub(super) fn hash(run: u32, publisher: u32, seq: u32) -> u64 {
    let key = u64::from(run).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut x = (u64::from(publisher) << 32 | u64::from(seq)) ^ key;
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The digest of `first ..= last` of a stream.
pub(super) fn range_sum(run: u32, publisher: u32, first: u32, last: u32) -> Sum {
    let mut sum = Sum::default();
    for seq in first..=last {
        sum.add(hash(run, publisher, seq));
    }
    sum
}

/// The last seq of a piece, judged as come, that goes into a tally; `None`: none does. Only
/// what was sent once is compared by sum, and only what was sent before the window ended.
pub(super) fn regular_to(piece: &Piece, marks: &[Mark]) -> Option<u32> {
    let sent_once = piece.sent.is_some_and(|(_, retried)| !retried);
    let mark = marks.get(piece.window?)?;
    if piece.bucket != Bucket::Delivered || !sent_once {
        return None;
    }
    let last = match mark.end {
        None | Some(WindowEnd::Left) => piece.last,
        Some(_) => piece.last.min(mark.may_to),
    };
    (piece.first <= last).then_some(last)
}

impl Shard {
    pub(super) fn is_digest(&self) -> bool {
        self.plan.mode == Mode::Digest
    }

    /// Step 5 in mode digest. False when the message cannot be told from a repetition.
    pub(super) fn take_digested(
        &mut self,
        member: u32,
        stream: u32,
        identity: &Identity,
        arrival: &Arrival,
    ) -> bool {
        let group = identity.group.index();
        let known = &self.groups[group].streams[stream as usize];
        if self.digest.is_blind(member) {
            self.frames.blind += 1;
            return true;
        }
        if identity.seq <= known.horizon {
            self.frames.again += 1;
            self.unknown.add(Unknown::LateOrDuplicate, 1);
            return false;
        }
        let settled = known.settled;
        self.frames.first += 1;
        let entry = Entry {
            member,
            stream,
            seq: identity.seq,
            copy: Copy {
                tx: identity.tx,
                window: arrival.window,
                epoch: arrival.epoch,
                attempt: identity.attempt,
                cause: identity.cause,
            },
        };
        if identity.seq <= settled {
            self.file(group, entry);
        } else if self.hold(member) {
            self.digest.groups[group].pending.push(entry);
            self.digest.member(member).waiting += 1;
        }
        true
    }

    /// Makes room for one more delivery kept by message; where there is none, its receiver
    /// is not verified from here on.
    fn hold(&mut self, member: u32) -> bool {
        let room = self.digest.held < self.digest.held_max && self.pressure < 2;
        match room {
            true => self.digest.held += 1,
            false => {
                self.digest.member(member).blind = true;
                self.frames.first -= 1;
                self.frames.blind += 1;
            }
        }
        room
    }

    /// Files what waited for the facts that are there now.
    pub(super) fn file_settled(&mut self, last: bool) {
        for group in 0..self.digest.groups.len() {
            let mut pending = std::mem::take(&mut self.digest.groups[group].pending);
            let mut at = 0;
            while let Some(entry) = pending.get(at).copied() {
                if !last && self.groups[group].streams[entry.stream as usize].settled < entry.seq {
                    at += 1;
                    continue;
                }
                pending.swap_remove(at);
                self.digest.let_go(1);
                self.digest.member(entry.member).waiting -= 1;
                self.file(group, entry);
            }
            self.digest.groups[group].pending = pending;
        }
    }

    /// Puts a delivery of a settled message where it is judged.
    fn file(&mut self, group: usize, entry: Entry) {
        let member = entry.member;
        if self.digest.is_blind(member) {
            self.frames.first -= 1;
            self.frames.blind += 1;
            return;
        }
        let (regular, owed_in) = self.sort(group, &entry);
        if !regular {
            if self.hold(member) {
                let key = (member, entry.stream, entry.seq);
                let odd = self.digest.groups[group].odd.entry(key).or_default();
                odd.copies.push(entry.copy);
                odd.owed_in = odd.owed_in.or(owed_in);
            }
            return;
        }
        let publisher = self.groups[group].streams[entry.stream as usize].publisher;
        let hash = hash(self.plan.run, publisher.0, entry.seq);
        let segment = self.digest.groups[group].segment(entry.stream, entry.seq);
        let window = entry.copy.window;
        let tallies = &mut self.digest.member(member).tallies;
        let mine = |t: &&mut Tallied| t.segment == segment && t.window == window;
        match tallies.iter_mut().rev().find(mine) {
            Some(tally) => tally.sum.add(hash),
            None => {
                let mut sum = Sum::default();
                sum.add(hash);
                tallies.push(Tallied {
                    segment,
                    window,
                    sum,
                });
            }
        }
    }

    /// Whether a delivery is regular; and the open window that owes the message.
    ///
    /// The answer stays true: whatever window opens later has its floor above what is
    /// settled now, and a later leave its ceiling.
    fn sort(&self, group: usize, entry: &Entry) -> (bool, Option<u32>) {
        let view = &self.groups[group];
        let stream = &view.streams[entry.stream as usize];
        let membership = &self.members[entry.member as usize];
        let once =
            entry.seq <= stream.settled && stream.exceptions_in(entry.seq, entry.seq).is_empty();
        if once
            && let [window] = membership.windows.as_slice()
            && window.ordinal == entry.copy.window
            && window.must()
            && (window.passed || behind_floor(view, stream, window.joined, entry.seq))
        {
            return (true, Some(window.ordinal));
        }
        let mut marks = SmallVec::new();
        membership
            .resolve(view, &self.told)
            .marks(stream, &mut marks);
        let pair = PairView {
            marks: &marks,
            stream,
            next: ALL_CAME,
            holes: &[],
            shown: Shown::Nothing,
            blind_from: u32::MAX,
            reliable: true,
            promise: self.plan.promise,
            attached: true,
        };
        let (mut regular, mut owed_in) = (false, None);
        pair.judge(entry.seq, entry.seq, &mut |piece| {
            let mark = piece.window.and_then(|at| marks.get(at));
            regular = regular_to(&piece, &marks).is_some()
                && mark.is_some_and(|mark| mark.ordinal == entry.copy.window);
            owed_in = mark
                .filter(|mark| mark.end.is_none() && piece.bucket == Bucket::Delivered)
                .map(|mark| mark.ordinal);
        });
        (regular, owed_in)
    }

    /// Takes out what lies above everything sent: nobody sent it.
    pub(super) fn cut_forged_digests(&mut self) -> Vec<(Slot, StreamId, u32)> {
        let mut forged: Vec<Entry> = Vec::new();
        for (group, digest) in self.groups.iter().zip(&mut self.digest.groups) {
            digest.pending.retain(|entry| {
                let sent = entry.seq <= group.streams[entry.stream as usize].invoked;
                if !sent {
                    forged.push(*entry);
                }
                sent
            });
        }
        let mut named = Vec::new();
        for entry in forged {
            self.digest.let_go(1);
            self.digest.member(entry.member).waiting -= 1;
            self.frames.first -= 1;
            self.frames.fabricated += 1;
            self.violations.add(Violation::Fabricated, 1);
            let membership = &self.members[entry.member as usize];
            let group = membership.group;
            let publisher = self.groups[group.index()].streams[entry.stream as usize].publisher;
            let stream = StreamId { publisher, group };
            named.push((membership.slot, stream, entry.seq));
        }
        named
    }

    /// About how many of the messages `sent` in its latest window a receiver has not got:
    /// what the hub may hold for it.
    pub(super) fn missing_in_digest(&self, member: u32, sent: u64) -> u64 {
        let window = self.members[member as usize].latest().map(|w| w.ordinal);
        let got = self.digest.members.get(member as usize).map_or(0, |m| {
            let tallied = m.tallies.iter().filter(|t| Some(t.window) == window);
            tallied.map(|t| t.sum.count).sum::<u64>() + u64::from(m.waiting)
        });
        sent.saturating_sub(got)
    }

    /// Every five seconds: notes how far the streams are settled.
    pub(super) fn cut_digest(&mut self, index: usize, now: Time) {
        let settled = self.groups[index].streams.iter().map(|s| s.settled);
        let settled = settled.collect();
        self.digest.groups[index]
            .cuts
            .push_back(Cut { at: now, settled });
    }
}

/// Whether `seq` is above the floor of a window that was joined at `joined`, as the newest
/// checkpoint alone can tell.
fn behind_floor(
    group: &Group,
    stream: &super::group::Stream,
    joined: Option<Time>,
    seq: u32,
) -> bool {
    let newest = group
        .source_of(stream)
        .and_then(|source| group.newest(source));
    let (Some((at, snapshot)), Some(joined)) = (newest, joined) else {
        return false;
    };
    at >= joined
        && snapshot
            .of(stream)
            .is_some_and(|(invoked, _)| seq > invoked)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If equal sums could be had from other messages, a loss would hide behind a repetition.
    #[test]
    fn a_lost_message_and_two_copies_of_its_neighbours_do_not_cancel() {
        let owed = range_sum(7, 3, 1, 9);
        let mut got = owed;
        let one = |seq| Sum {
            count: 1,
            hashes: hash(7, 3, seq),
        };
        got.take(one(5));
        assert_ne!(got, owed);
        for other in [1, 4, 6, 9] {
            let mut swapped = got;
            swapped.merge(one(other));
            assert_eq!(swapped.count, owed.count);
            assert_ne!(swapped, owed);
        }
        got.merge(one(5));
        assert_eq!(got, owed);
        assert_ne!(hash(7, 3, 5), hash(8, 3, 5), "two runs share no hashes");
        assert_ne!(hash(7, 5, 3), hash(7, 3, 5));
    }
}
