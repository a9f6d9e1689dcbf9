//! The verifier of one thread: takes the events of its slots, as receivers and as
//! publishers, and gives its verdict on them.
//!
//! No locks: shards only exchange [`Facts`]. Connections and memberships are handled here;
//! read `frame` for data frames, `settle` for the end, `conclude` for the merge.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::connection::Receiver;
use super::digest::{self, Digest};
use super::duplicate::{Candidate, Waiting};
use super::events::{Answer, Outcome, Progress};
use super::facts::{Facts, MemberEvent, StreamFacts};
use super::group::Group;
use super::incident::{Incidents, Subject};
use super::judge::Bucket;
use super::kinds::{Permitted, Tally, Unknown, Violation};
use super::ledger::{Exercised, FrameCounts, Ledger};
use super::membership::Membership;
use super::observer::Observer;
use super::outbox::Outbox;
use super::outcome::Measured;
use super::pairs::Pairs;
use super::pins::Pins;
use super::plan::{Mode, Plan};
use super::recorder::FrameRecorder;
use super::told::Told;
use super::unanswered::Unanswered;
use super::unsure::Unsure;
use crate::base::{AckId, GroupId, Slot, Time};
use crate::payload::{Identity, StreamId};

/// Open holes that a shard follows unless told otherwise; beyond, pairs go unverified.
pub const HOLES_MAX: u64 = 1_000_000;
/// How often the bytes held are counted; what is added in between is counted as it is added.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// The verifier of one thread's slots.
#[derive(Debug)]
pub struct Shard {
    pub(super) plan: Arc<Plan>,
    pub(super) slots: Range<u32>,
    pub(super) receivers: Vec<Receiver>,
    pub(super) recorder: FrameRecorder,
    pub(super) members: Vec<Membership>,
    /// By group id.
    pub(super) groups: Vec<Group>,
    /// Pairs by verdict, by group id.
    pub(super) ledgers: Vec<Ledger>,
    /// The same by the receiver's pool.
    pub(super) pools: Vec<Ledger>,
    sources: Vec<Source>,
    /// What each source told, in the same order.
    pub(super) told: Vec<Told>,
    /// Groups that ask for checkpoints; see [`Group::asks`].
    pub(super) asking: FxHashSet<usize>,
    /// Shards that are gone.
    pub(super) lost_sources: Vec<Range<u32>>,
    /// Changes of memberships that no facts have told yet; `None`: nobody wants them.
    pub(super) member_events: Option<Vec<MemberEvent>>,
    /// False for the ghost of a shard: what is owed to it is unverified.
    pub(super) sees_frames: bool,
    pub(super) outbox: Outbox,
    pub(super) pairs: Pairs,
    pub(super) digest: Digest,
    pub(super) candidates: Vec<Candidate>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) frames: FrameCounts,
    /// Frames that the sockets' side counted, if it did.
    pub(super) socket_frames: Option<u64>,
    /// What nobody promises: late deliveries, and orders on samples.
    pub(super) measured: Measured,
    pub(super) observer: Observer,
    /// How far publishes without a known outcome came.
    pub(super) unsure: Unsure,
    /// Requests without an answer.
    pub(super) unanswered: Unanswered,
    pub(super) violations: Tally<Violation>,
    /// Pairs executed twice under one ackId; a violation unless errors were answered.
    pub(super) dedupe_broken: u64,
    pub(super) permitted: Tally<Permitted>,
    pub(super) unknown: Tally<Unknown>,
    pub(super) exercised: Exercised,
    pub(super) incidents: Incidents,
    pub(super) pins: Pins,
    /// Recoveries found broken: (slot, epoch, transport).
    pub(super) broken: FxHashSet<(u32, u16, u16)>,
    /// Of the recoveries: those of a queue that must have been over the hub's limit.
    pub(super) overfull: FxHashSet<(u32, u16, u16)>,
    pub(super) slow_overflows: u64,
    /// Skipped sequence ids by connection.
    pub(super) gaps: FxHashMap<(u32, u16), Gap>,
    /// Spoilt frames that fitted no pair, by connection.
    pub(super) bad: FxHashMap<(u32, u16), Bad>,
    /// Frames counted as corrupted, (slot, epoch, sequence id): a replay brings them again.
    pub(super) corrupt_ids: FxHashSet<(u32, u16, u64)>,
    pub(super) saw_error: bool,
    pub(super) last_fold: Time,
    /// When the bytes held were counted.
    last_count: Option<Time>,
    /// The budget was passed: 1 recorders shrunk, 2 nothing new is tracked.
    pub(super) pressure: u8,
    /// Somebody was not tracked for want of room.
    pub(super) no_room: bool,
    /// Bytes held at the last count, and what was added since; and the most ever.
    pub(super) bytes_now: u64,
    pub(super) bytes_peak: u64,
    pub(super) pairs_held: u64,
    pub(super) causality: u64,
    pub(super) misuse: super::outbox::Mismatches,
}

/// Memberships of a receiver that are worth having near.
const TOUCHED_MAX: usize = 2;

/// A shard that publishes, as this one hears it.
#[derive(Debug)]
struct Source {
    slots: Range<u32>,
    serial: u64,
    /// It has publishers; others only ask for evidence.
    publishes: bool,
}

/// Skipped sequence ids of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) missing: u64,
    pub(super) before: u64,
    pub(super) at: Time,
}

/// Spoilt frames of a connection that fitted no pair.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bad {
    /// Counted as corrupted.
    pub(super) corrupted: u64,
    /// No identity at all; on an exclusive hub that is corruption or invention.
    pub(super) shapeless: u64,
}

impl Shard {
    /// The verifier of `slots` under `plan`.
    pub fn new(plan: Arc<Plan>, slots: Range<u32>) -> Self {
        let groups = plan.addresses();
        let is_digest = plan.mode == Mode::Digest;
        let reliable = |slot| plan.slot(Slot(slot)).is_some_and(|slot| slot.reliable);
        let digested = if is_digest { groups } else { 0 };
        let mut shard = Shard {
            receivers: slots.clone().map(reliable).map(Receiver::new).collect(),
            recorder: FrameRecorder::new(slots.len()),
            members: Vec::new(),
            groups: (0..groups).map(|_| Group::default()).collect(),
            ledgers: vec![Ledger::default(); groups],
            pools: vec![Ledger::default(); plan.pools()],
            sources: Vec::new(),
            told: Vec::new(),
            asking: FxHashSet::default(),
            lost_sources: Vec::new(),
            member_events: None,
            sees_frames: true,
            outbox: Outbox::new(groups),
            pairs: Pairs::new(HOLES_MAX),
            digest: Digest::new(digested),
            candidates: Vec::new(),
            waiting: Vec::new(),
            frames: FrameCounts::default(),
            socket_frames: None,
            measured: Measured::default(),
            observer: Observer::default(),
            unsure: Unsure::default(),
            unanswered: Unanswered::new(plan.ack_within),
            violations: Tally::default(),
            dedupe_broken: 0,
            permitted: Tally::default(),
            unknown: Tally::default(),
            exercised: Exercised::default(),
            incidents: Incidents::default(),
            pins: Pins::default(),
            broken: FxHashSet::default(),
            overfull: FxHashSet::default(),
            slow_overflows: 0,
            gaps: FxHashMap::default(),
            bad: FxHashMap::default(),
            corrupt_ids: FxHashSet::default(),
            saw_error: false,
            last_fold: Time::ZERO,
            last_count: None,
            pressure: 0,
            no_room: false,
            bytes_now: 0,
            bytes_peak: 0,
            pairs_held: 0,
            causality: 0,
            misuse: super::outbox::Mismatches::default(),
            plan,
            slots,
        };
        if is_digest {
            shard.shrink_recorders(digest::RECORDED);
        }
        shard
    }

    /// Reads a little of all that a frame for this slot will need, so that it is near then.
    pub fn touch(&self, slot: Slot) {
        let Some(receiver) = self.local(slot).map(|index| &self.receivers[index]) else {
            return;
        };
        receiver.touch();
        // A frame is of one group: of many it is not known which.
        for (group, member) in receiver.members.iter().take(TOUCHED_MAX) {
            let member = self.members.get(*member as usize);
            member.into_iter().for_each(Membership::touch);
            black_box(
                self.groups
                    .get(group.index())
                    .map(|group| group.streams.len()),
            );
        }
    }

    /// Follows at most `max` open holes; beyond, pairs are given up as unverified.
    pub fn limit_holes(&mut self, max: u64) {
        self.pairs.holes_max = max;
    }

    /// In mode `digest`: keeps at most `max` deliveries by message; receivers of more are
    /// given up as unverified.
    pub fn limit_held(&mut self, max: usize) {
        self.digest.held_max = max;
    }

    /// Keeps less for evidence.
    pub(super) fn shrink_recorders(&mut self, kept: usize) {
        for receiver in &mut self.receivers {
            receiver.control.shrink(kept);
        }
        self.recorder.shrink(kept);
        self.outbox.shrink_recorders(kept);
    }

    /// `n` more data frames were read from the sockets of this shard, counted where they
    /// are read: the channel between socket and verifier is checked against it.
    pub fn frames_from_socket(&mut self, n: u64) {
        *self.socket_frames.get_or_insert(0) += n;
    }

    /// A publish is about to be written; once per writing, first or repeated.
    pub fn transmitted(&mut self, identity: &Identity, ack_id: Option<AckId>, now: Time) {
        self.outbox.transmitted(identity, ack_id, now);
        let publisher = identity.publisher;
        if self.outbox.is_new_connection(publisher, identity.epoch)
            && let Some(index) = self.local(publisher)
            && let Some(conn) = &self.receivers[index].conn
        {
            let id = conn.id.clone();
            self.outbox.name_connection(publisher, identity.epoch, id);
        }
    }

    /// An answer to a publish whose outcome is open.
    pub fn answered(
        &mut self,
        stream: StreamId,
        seq: u32,
        ack_id: AckId,
        answer: Answer,
        now: Time,
    ) {
        if self.outbox.answered(stream, seq, ack_id, answer, now) {
            self.violations.add(Violation::AckFalseDuplicate, 1);
            let subject = Subject {
                receiver: None,
                stream: Some(stream),
                seq: Some(seq),
                ..Subject::default()
            };
            let text = format!(
                "the first transmission of {} was answered Duplicate (ackId {ack_id})",
                self.message_name(stream, seq)
            );
            self.incident(Violation::AckFalseDuplicate, subject, now, text, Vec::new());
        }
    }

    /// The outcome of a publish is final; exactly once per message.
    pub fn settled(&mut self, stream: StreamId, seq: u32, outcome: Outcome, _now: Time) {
        self.outbox.settled(stream, seq, outcome);
    }

    /// An answer to an ackId that was never sent on this connection.
    pub fn unsolicited_ack(&mut self, slot: Slot, ack_id: AckId, now: Time) {
        self.violations.add(Violation::AckUnsolicited, 1);
        let text = format!("slot {slot} got an answer to ackId {ack_id}, which it never sent");
        self.about_slot(Violation::AckUnsolicited, slot, now, text);
    }

    /// The facts since the last ones, for all other shards; this shard has applied them
    /// itself. Every 250 ms, and once more after the last publish is settled. `None` when
    /// none of its slots publishes and there is nothing else to tell.
    pub fn take_facts(&mut self, now: Time) -> Option<Facts> {
        let planned = self.slots.clone().any(|slot| {
            self.plan
                .slot(Slot(slot))
                .is_some_and(|s| s.data_type.is_some())
        });
        // A mirror waits for every shard's word, be it that nothing happened.
        let mirrored = self.member_events.is_some();
        let speaks = planned || mirrored || self.pins.has_wanted();
        let mut facts = self.outbox.take(self.slots.clone(), speaks, now)?;
        facts.members = (self.member_events.as_mut()).map_or(Vec::new(), std::mem::take);
        facts.pins = self.pins.take_wanted();
        self.apply_facts(&facts);
        Some(facts)
    }

    /// Takes facts of any shard, in the order in which it took them. Facts applied already
    /// (its own, repeated ones) change nothing.
    pub fn apply_facts(&mut self, facts: &Facts) {
        let source = match self.sources.iter().position(|s| s.slots == facts.source) {
            Some(at) => at,
            None => {
                let publishes = |slot| {
                    self.plan
                        .slot(Slot(slot))
                        .is_some_and(|s| s.data_type.is_some())
                };
                self.sources.push(Source {
                    slots: facts.source.clone(),
                    serial: 0,
                    publishes: facts.source.clone().any(publishes),
                });
                self.told.push(Told::default());
                self.sources.len() - 1
            }
        };
        let known = &mut self.sources[source];
        if facts.serial <= known.serial {
            return;
        }
        if facts.serial != known.serial + 1 {
            let (from, last, got) = (known.slots.clone(), known.serial, facts.serial);
            self.misuse.note(|| {
                format!("facts of slots {from:?} came as number {got} after number {last}")
            });
        }
        known.serial = facts.serial;
        let publishes = known.publishes || !facts.streams.is_empty();
        self.keep_pinned(&facts.pins);
        if !publishes {
            return;
        }
        self.saw_error |= facts.saw_error;
        let mut by_group: FxHashMap<usize, Vec<&StreamFacts>> = FxHashMap::default();
        let planned = |s: &&StreamFacts| s.stream.group.index() < self.groups.len();
        for stream in facts.streams.iter().filter(planned) {
            by_group
                .entry(stream.stream.group.index())
                .or_default()
                .push(stream);
        }
        let told = &self.told[source];
        let groups = &mut self.groups;
        let all = 0..groups.len();
        let mut apply = |index: usize| {
            let streams = by_group.get(&index).map_or(&[][..], Vec::as_slice);
            groups[index].apply(source, told, facts.at, streams.iter().copied());
        };
        let is_first_word = !told.has_spoken();
        if !is_first_word {
            // What is told of others changes nothing for a group that asks for nothing.
            let touched = by_group
                .keys()
                .filter(|index| !self.asking.contains(*index));
            touched.chain(&self.asking).for_each(|index| apply(*index));
        } else {
            all.for_each(apply);
        }
        self.told[source].applied(facts.at);
        let (groups, told) = (&self.groups, &self.told);
        if is_first_word {
            // It may be behind what all others have passed: then groups ask again.
            self.asking.extend(0..groups.len());
        }
        self.asking.retain(|index| groups[*index].asks(told));
        self.pin_forbidden(&facts.streams);
        self.file_settled(false);
        self.place_waiting();
    }

    /// Periodic work: resolves repetitions, judges requests without an answer, folds what is
    /// long over, keeps the budget.
    /// Call it at least once a second.
    pub fn tick(&mut self, now: Time) {
        self.resolve_candidates(false, now);
        self.judge_requests(now);
        self.pin_overdue(now);
        self.fold_old(now);
        self.observe(now);
        // Counting looks at every receiver and pair: not at each of four ticks a second.
        if self
            .last_count
            .is_none_or(|last| now.since(last) >= COUNT_EVERY)
        {
            self.last_count = Some(now);
            self.keep_budget();
        }
    }

    /// How verification stands.
    pub fn progress(&self, now: Time) -> Progress {
        let (missing, overdue) = self.owed_now(now);
        let mut violations = self.violations.clone();
        if !self.saw_error {
            violations.add(Violation::DedupeBroken, self.dedupe_broken);
        }
        let mut permitted = self.permitted.clone();
        let mut unknown = self.unknown.clone();
        let forbidden: u64 = self.ledgers.iter().map(|l| l.get(Bucket::Forbidden)).sum();
        violations.add(Violation::AckForbiddenDelivered, forbidden);
        if self.saw_error {
            unknown.add(Unknown::DuplicatedAfterLostAnswer, self.dedupe_broken);
        }
        for ledger in &self.ledgers {
            ledger.permitted(&mut permitted);
            ledger.unknown(self.plan.promise, &mut unknown);
        }
        Progress {
            deliveries: self.frames.first + self.frames.fill,
            missing,
            overdue,
            measured: self.measured,
            violations,
            permitted,
            unknown,
            pairs: self.pairs_held,
            bytes: match self.last_count {
                Some(_) => self.bytes_now,
                None => self.bytes(),
            },
        }
    }

    /// The slots of this shard.
    pub fn slots(&self) -> &Range<u32> {
        &self.slots
    }

    /// The index of a slot of this shard.
    pub(super) fn local(&self, slot: Slot) -> Option<usize> {
        self.slots
            .contains(&slot.0)
            .then(|| (slot.0 - self.slots.start) as usize)
    }

    /// Asks a group for the first checkpoint at or after `time`.
    pub(super) fn ask_after(&mut self, group: GroupId, time: Time) {
        self.groups[group.index()].need_after(time, &self.told);
        self.asking.insert(group.index());
    }

    /// Asks a group for the last checkpoint at or before `time`.
    pub(super) fn ask_before(&mut self, group: GroupId, time: Time) {
        self.groups[group.index()].need_before(time);
        self.asking.insert(group.index());
    }

    /// The last facts heard of each source.
    pub(super) fn heard_facts(&self) -> Vec<(Range<u32>, u64)> {
        self.sources
            .iter()
            .map(|s| (s.slots.clone(), s.serial))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::Snapshot;
    use super::super::plan::{Promise, SlotPlan};
    use super::*;
    use crate::wire::DataType;

    /// A source whose first words were long under way is behind what others have passed:
    /// each of its words counts all the same for a group that asked meanwhile.
    #[test]
    fn a_source_that_speaks_late_keeps_what_was_asked_before() {
        let at = Time::from_millis;
        let publisher = SlotPlan {
            data_type: Some(DataType::Text),
            ..SlotPlan::default()
        };
        let plan = Plan {
            run: 1,
            promise: Promise::Reference,
            mode: Mode::Full,
            memory_budget: 1 << 20,
            drain: Duration::from_secs(10),
            late_after: Duration::from_secs(10),
            ack_within: Duration::from_secs(30),
            exclusive: true,
            groups: vec!["g".into()],
            audiences: Vec::new(),
            slots: vec![SlotPlan::default(), publisher.clone(), publisher],
        };
        let mut shard = Shard::new(Arc::new(plan), 0..1);
        let word = |slot, serial, millis| Facts {
            source: slot..slot + 1,
            serial,
            at: at(millis),
            saw_error: false,
            pins: Vec::new(),
            streams: Vec::new(),
            members: Vec::new(),
        };
        shard.apply_facts(&word(1, 1, 1_000));
        shard.ask_before(GroupId(0), at(1_500));
        shard.apply_facts(&word(1, 2, 2_000));
        assert!(shard.asking.is_empty(), "all that have spoken are past it");
        // The second source: at 250 ms, and on.
        for serial in 1..=8 {
            shard.apply_facts(&word(2, serial, serial * 250));
        }
        let kept = |source| shard.groups[0].before(source, &shard.told, at(1_500));
        for (source, last) in [(0, 1_000), (1, 1_500)] {
            let is_kept = matches!(kept(source), Snapshot::At(_));
            assert!(is_kept, "{source}: {:?}", kept(source));
            assert_eq!(kept(source).identity(), at(last).as_micros() + 2);
        }
        assert!(shard.asking.is_empty());
    }
}
