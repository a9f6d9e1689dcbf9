//! Mode `digest`: the accounts of one receiver and segment settled, and what does not match
//! told. Read `tallied` for what was owed.

use smallvec::SmallVec;

use super::digest::{Copy, Odd, Sum};
use super::duplicate::{Meaning, Relation, meaning, relate_to};
use super::facts::Causes;
use super::incident::{INCIDENTS_PER_KIND, Subject};
use super::judge::Bucket;
use super::judged::Judged;
use super::kinds::{Permitted, Violation};
use super::ledger::Ledger;
use super::outcome::Suspect;
use super::pairs::Seen;
use super::shard::Shard;
use super::tallied::{Base, OddSlice, Owed, Segment, Verdict, Views, is_violation};
use crate::base::{GroupId, Slot, Time};
use crate::payload::StreamId;

/// The publisher of nothing in particular: slots have 24 bits.
const NOBODY: Slot = Slot(u32::MAX);

/// What is missing for good in one window, under one verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    slot: Slot,
    group: GroupId,
    epoch: u16,
    bucket: Bucket,
    owed: u64,
    missing: u64,
    /// Its messages were settled between these.
    from: Time,
    until: Time,
    /// The one message that is missing, as the difference of the sums tells.
    named: Option<(StreamId, u32)>,
}

/// An odd delivery with its verdict.
struct Found<'o> {
    stream: StreamId,
    seq: u32,
    odd: &'o Odd,
    verdict: Verdict,
    causes: Causes,
    /// By copy: the floor of the window that it came in.
    floors: SmallVec<[u32; 1]>,
}

impl Shard {
    /// Puts every pair of a receiver and a segment under its verdict.
    pub(super) fn settle_accounts(
        &mut self,
        segment: &Segment<'_>,
        member: u32,
        base: Base,
        odd: OddSlice<'_>,
    ) -> Ledger {
        let mine = self.digest.member(member);
        let blind = mine.blind;
        let mut got: SmallVec<[(u32, Sum); 2]> = SmallVec::new();
        mine.tallies.retain(|tally| {
            let here = tally.segment <= segment.number;
            if here {
                got.push((tally.window, tally.sum));
            }
            !here
        });
        let mut ledger = base.odd;
        if blind {
            let copies: usize = odd.iter().map(|(_, odd)| odd.copies.len()).sum();
            let came = got.iter().map(|(_, sum)| sum.count).sum::<u64>() + copies as u64;
            self.frames.first -= came;
            self.frames.blind += came;
            return ledger;
        }
        let found = self.find(segment, member, odd);
        for one in found.iter().filter(|one| one.verdict.regular.is_none()) {
            ledger.take(one.verdict.gone, 1);
            ledger.add(one.verdict.came, 1);
            if one.verdict.came == Bucket::Forbidden {
                let slot = self.members[member as usize].slot;
                self.forbidden_incident(slot, one.stream, one.seq);
            }
            self.extra_copies(member, one, 1);
        }
        self.odd_shorts(segment, member, &ledger);
        for place in 0..self.members[member as usize].windows.len() {
            let ordinal = self.members[member as usize].windows[place].ordinal;
            let nothing = Owed {
                place,
                sum: Sum::default(),
                missing: Bucket::Unverified,
            };
            let owed = base.windows.iter().find(|owed| owed.place == place);
            let owed = owed.copied().unwrap_or(nothing);
            let came = got.iter().filter(|(window, _)| *window == ordinal);
            let came = came.fold(Sum::default(), |mut sum, (_, more)| {
                sum.merge(*more);
                sum
            });
            let moved: Vec<&Found<'_>> = found
                .iter()
                .filter(|one| one.verdict.regular == Some(place))
                .collect();
            if owed.sum.count > 0 || came.count > 0 || !moved.is_empty() {
                self.settle_window(segment, member, owed, came, &moved, &mut ledger);
            }
        }
        ledger
    }

    /// Looks up the verdicts on odd deliveries.
    fn find<'o>(&self, segment: &Segment<'_>, member: u32, odd: OddSlice<'o>) -> Vec<Found<'o>> {
        if odd.is_empty() {
            return Vec::new();
        }
        let group = &self.groups[segment.group];
        let judged = Judged::new(self, group, member);
        let mut marks = SmallVec::new();
        odd.iter()
            .map(|((_, stream, seq), odd)| {
                let stream = &group.streams[*stream as usize];
                judged.resolved.marks(stream, &mut marks);
                let floor = |copy: &Copy| {
                    let mark = marks.iter().find(|mark| mark.ordinal == copy.window);
                    mark.map_or(0, |mark| mark.floor)
                };
                let exception = stream.exceptions_in(*seq, *seq).first();
                Found {
                    stream: StreamId {
                        publisher: stream.publisher,
                        group: judged.membership.group,
                    },
                    seq: *seq,
                    odd,
                    verdict: Views::new(&judged, stream, &marks, false).of(*seq),
                    causes: exception.map_or(Causes::default(), |e| e.causes),
                    floors: odd.copies.iter().map(floor).collect(),
                }
            })
            .collect()
    }

    /// Compares what a window owes of a segment with what came in it.
    fn settle_window(
        &mut self,
        segment: &Segment<'_>,
        member: u32,
        owed: Owed,
        came: Sum,
        moved: &[&Found<'_>],
        ledger: &mut Ledger,
    ) {
        let epoch = self.members[member as usize].windows[owed.place].epoch;
        let n = owed.sum.count;
        if came == owed.sum {
            ledger.add(Bucket::Delivered, n);
            for one in moved {
                self.come_again(member, one, epoch);
            }
            return;
        }
        let mut with_moved = came;
        for one in moved {
            with_moved.add(super::digest::hash(
                self.plan.run,
                one.stream.publisher.0,
                one.seq,
            ));
        }
        if with_moved == owed.sum {
            ledger.add(Bucket::Delivered, n);
            moved
                .iter()
                .for_each(|one| self.extra_copies(member, one, 1));
            return;
        }
        // All that came was of what is owed, so this many came again, at the least.
        let again = match came.count >= n {
            true => (came.count - n).max(1),
            false => 0,
        };
        let missing = (n + again).saturating_sub(came.count);
        if again > 0 {
            self.told_again(segment, member, owed, came, again);
        }
        if moved.is_empty() && is_violation(owed.missing, self.plan.promise) {
            ledger.add(Bucket::Delivered, n - missing);
            ledger.add(owed.missing, missing);
            self.frames.first -= again;
            self.frames.again += again;
            if missing > 0 {
                self.fall_short(segment, member, owed, missing, came);
            }
            return;
        }
        // What is missing may be permitted: then nothing of the set is known to have come.
        ledger.add(Bucket::Unverified, n);
        let copies: usize = moved.iter().map(|one| one.odd.copies.len()).sum();
        self.frames.first -= came.count + copies as u64;
        self.frames.blind += came.count + copies as u64;
        let slot = self.members[member as usize].slot;
        if self.gaps.contains_key(&(slot.0, epoch)) {
            let owed = Owed {
                missing: Bucket::Unverified,
                ..owed
            };
            self.fall_short(segment, member, owed, missing, came);
        }
    }

    /// A message that came in its own window, and in a later one too.
    fn come_again(&mut self, member: u32, one: &Found<'_>, epoch: u16) {
        for copy in &one.odd.copies {
            self.frames.first -= 1;
            self.frames.again += 1;
            if copy.epoch == epoch {
                self.count_again(member, one, Meaning::Violation(Violation::Duplicated));
            } else {
                let across = Permitted::DuplicatedAcrossConnections;
                self.count_again(member, one, Meaning::Permitted(across));
            }
        }
    }

    /// The copies of a message kept by message, after the first `from`.
    fn extra_copies(&mut self, member: u32, one: &Found<'_>, from: usize) {
        let reconnected = self.members[member as usize].reconnected;
        let copies = &one.odd.copies;
        for at in from..copies.len() {
            let seen: SmallVec<[Seen; 2]> = copies[..at].iter().map(Copy::seen).collect();
            let relation: Relation = relate_to(&seen, copies[at].seen());
            let same = copies[..at].iter().any(|c| c.epoch == copies[at].epoch);
            let across = reconnected && !same && one.seq < one.floors[at];
            let meaning = meaning(relation, across, one.causes, self.plan.promise);
            self.frames.first -= 1;
            self.frames.again += 1;
            self.count_again(member, one, meaning);
        }
    }

    fn count_again(&mut self, member: u32, one: &Found<'_>, meaning: Meaning) {
        let kind = match meaning {
            Meaning::Permitted(kind) => return self.permitted.add(kind, 1),
            Meaning::Unknown(kind) => return self.unknown.add(kind, 1),
            Meaning::Violation(Violation::DedupeBroken) => {
                self.dedupe_broken += 1;
                Violation::DedupeBroken
            }
            Meaning::Violation(kind) => {
                self.violations.add(kind, 1);
                kind
            }
        };
        let slot = self.members[member as usize].slot;
        let subject = Subject {
            receiver: Some(slot.0),
            stream: Some(one.stream),
            seq: Some(one.seq),
            ..Subject::default()
        };
        let name = self.message_name(one.stream, one.seq);
        let copies = one.odd.copies.iter();
        let evidence = copies
            .map(|c| {
                format!(
                    "a copy came on epoch {}: tx {} attempt {} cause {:?}",
                    c.epoch, c.tx, c.attempt, c.cause
                )
            })
            .collect();
        let text = format!("slot {slot} got {name} more than once");
        self.incident(kind, subject, self.last_fold, text, evidence);
    }

    /// More came in a window than it owes, or the same number of others.
    fn told_again(
        &mut self,
        segment: &Segment<'_>,
        member: u32,
        owed: Owed,
        came: Sum,
        again: u64,
    ) {
        self.violations.add(Violation::Duplicated, again);
        if !self.incidents.wants(Violation::Duplicated) {
            return;
        }
        let membership = &self.members[member as usize];
        let (slot, epoch) = (membership.slot, membership.windows[owed.place].epoch);
        // At most 2^24 groups.
        let group = GroupId(segment.group as u32);
        let text = format!(
            "slot {slot} (epoch {epoch}) got {} deliveries of {} messages of {} settled between {} and {}: {again} at least came again; mode digest does not tell which",
            came.count,
            owed.sum.count,
            self.plan.name(group).unwrap_or("?"),
            segment.from,
            segment.until,
        );
        let mut evidence = Vec::new();
        let more = came.hashes.wrapping_sub(owed.sum.hashes);
        if came.count == owed.sum.count + 1
            && let Some((stream, seq)) = self.named_by(segment, more)
        {
            let name = self.message_name(stream, seq);
            evidence.push(format!("the sums differ by the hash of {name}"));
        }
        self.digest_incident(
            Violation::Duplicated,
            slot,
            group,
            segment.until,
            text,
            evidence,
        );
    }

    /// Fewer came in a window than it owes.
    fn fall_short(
        &mut self,
        segment: &Segment<'_>,
        member: u32,
        owed: Owed,
        missing: u64,
        came: Sum,
    ) {
        let less = owed.sum.hashes.wrapping_sub(came.hashes);
        let early = self.digest.short.len() < INCIDENTS_PER_KIND;
        let named = match missing == 1 && came.count + 1 == owed.sum.count && early {
            true => self.named_by(segment, less),
            false => None,
        };
        let short = self.short_of(segment, member, owed.place, owed.missing);
        short.named = named.filter(|_| short.missing == 0);
        short.owed += owed.sum.count;
        short.missing += missing;
    }

    /// Odd messages that were owed and have not come.
    fn odd_shorts(&mut self, segment: &Segment<'_>, member: u32, odd: &Ledger) {
        for bucket in [Bucket::Lost, Bucket::LostAtJoin, Bucket::LostAtLeave] {
            let n = odd.get(bucket);
            let windows = self.members[member as usize].windows.len();
            if n > 0 && windows > 0 && is_violation(bucket, self.plan.promise) {
                let short = self.short_of(segment, member, windows - 1, bucket);
                short.named = None;
                short.owed += n;
                short.missing += n;
            }
        }
    }

    fn short_of(
        &mut self,
        segment: &Segment<'_>,
        member: u32,
        place: usize,
        bucket: Bucket,
    ) -> &mut Short {
        let membership = &self.members[member as usize];
        let window = &membership.windows[place];
        let key = (member, window.ordinal, bucket as u8);
        let short = self.digest.short.entry(key).or_insert(Short {
            slot: membership.slot,
            group: membership.group,
            epoch: window.epoch,
            bucket,
            owed: 0,
            missing: 0,
            from: segment.from,
            until: segment.until,
            named: None,
        });
        short.until = segment.until;
        short
    }

    /// What is missing, as suspects of no stream in particular: their seqs only count.
    pub(super) fn short_suspects(&self) -> Vec<Suspect> {
        let mut all: Vec<_> = self.digest.short.iter().collect();
        all.sort_unstable_by_key(|(key, _)| **key);
        let mut suspects = Vec::new();
        for ((member, ..), short) in all {
            let mut rest = short.missing;
            while rest > 0 {
                let n = rest.min(u64::from(u32::MAX - 1));
                rest -= n;
                suspects.push(Suspect {
                    member: *member,
                    slot: short.slot.0,
                    stream: StreamId {
                        publisher: NOBODY,
                        group: short.group,
                    },
                    first: 1,
                    // At most `u32::MAX - 1`.
                    last: n as u32,
                    kind: violation_of(short.bucket),
                    epoch: short.epoch,
                    recovery: None,
                    overtaken: None,
                    stalled: false,
                });
            }
        }
        suspects
    }

    /// The incident of a shortfall.
    pub(super) fn short_incident(&mut self, suspect: &Suspect, now: Time) {
        let Some(kind) = suspect.kind.filter(|kind| self.incidents.wants(*kind)) else {
            return;
        };
        let shorts = self.digest.short.iter();
        let mine = shorts
            .filter(|((member, ..), short)| {
                *member == suspect.member
                    && short.epoch == suspect.epoch
                    && violation_of(short.bucket) == Some(kind)
            })
            .min_by_key(|(key, _)| **key);
        let Some((_, short)) = mine.map(|(key, short)| (*key, *short)) else {
            return;
        };
        let text = format!(
            "slot {} (epoch {}) was owed {} messages of {} settled between {} and {}, and {} of them never came, not within the drain of {:?} either; mode digest does not tell which",
            short.slot,
            short.epoch,
            short.owed,
            self.plan.name(short.group).unwrap_or("?"),
            short.from,
            short.until,
            suspect.len(),
            self.plan.drain
        );
        let mut evidence = Vec::new();
        if let Some((stream, seq)) = short.named {
            let name = self.message_name(stream, seq);
            evidence.push(format!("the sums differ by the hash of {name}"));
        }
        self.membership_story(suspect, &mut evidence);
        self.digest_incident(kind, short.slot, short.group, now, text, evidence);
    }

    fn digest_incident(
        &mut self,
        kind: Violation,
        slot: Slot,
        group: GroupId,
        now: Time,
        text: String,
        evidence: Vec<String>,
    ) {
        let subject = Subject {
            receiver: Some(slot.0),
            ..Subject::default()
        };
        self.incident(kind, subject, now, text, evidence);
        let name = self.plan.name(group).map(str::to_owned);
        if let Some(kept) = self.incidents.kept.last_mut() {
            kept.incident.group = name;
        }
    }
}

impl Copy {
    fn seen(&self) -> Seen {
        Seen {
            tx: self.tx,
            attempt: self.attempt,
            cause: self.cause,
        }
    }
}

/// The violation that a missing message is under this verdict.
fn violation_of(bucket: Bucket) -> Option<Violation> {
    match bucket {
        Bucket::Lost => Some(Violation::Lost),
        Bucket::LostAtJoin => Some(Violation::LostAtJoin),
        Bucket::LostAtLeave => Some(Violation::LostAtLeave),
        _ => None,
    }
}
