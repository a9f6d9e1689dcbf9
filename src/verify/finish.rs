//! The end of a shard: every pair judged, every balance checked.

use rustc_hash::FxHashMap;

use super::duplicate::Waiting;
use super::incident::Subject;
use super::judge::Bucket;
use super::kinds::{Permitted, Tally, Unknown, Violation};
use super::ledger::{Ledger, Property};
use super::outcome::{ShardOutcome, Suspect};
use super::pairs::PairKey;
use super::plan::{Mode, Promise};
use super::shard::{Bad, Shard};
use crate::base::{GroupId, Slot, Time};
use crate::payload::StreamId;

impl Shard {
    /// Judges everything. Call it once, after the drain: every publish settled, the final
    /// facts of all shards applied, no client stopped yet. Later events change nothing.
    pub fn finish(&mut self, now: Time) -> ShardOutcome {
        self.refuse_waiting();
        self.cut_forged();
        self.resolve_candidates(true, now);
        self.judge_last_requests(now);
        let mut suspects = Vec::new();
        if self.is_digest() {
            self.finish_digests(now);
            suspects = self.short_suspects();
        } else {
            for index in 0..self.groups.len() {
                let streams = self.groups[index].streams.iter();
                let targets: Vec<u32> = streams.map(|s| s.invoked).collect();
                self.judge_group(index, &targets, Some(&mut suspects));
            }
        }
        self.link_spoilt(&mut suspects);
        let stalls = self.find_stalls(&mut suspects);
        self.net_gaps(&suspects, now);
        let self_check = self.balance();
        for suspect in suspects.iter().filter(|suspect| !suspect.stalled) {
            match self.is_digest() {
                true => self.short_incident(suspect, now),
                false => self.loss_incident(suspect, now),
            }
        }
        for stall in &stalls {
            self.stall_incident(stall, &suspects, now);
        }
        self.compare_notes();
        self.count_exercised();
        self.outcome(suspects, self_check)
    }

    /// What is still numbered beyond everything sent was sent by nobody.
    fn refuse_waiting(&mut self) {
        for Waiting {
            member,
            identity,
            arrival,
        } in std::mem::take(&mut self.waiting)
        {
            self.frames.set_aside -= 1;
            if self.is_lost(identity.publisher) {
                self.beyond_facts(1);
                continue;
            }
            self.frames.fabricated += 1;
            self.violations.add(Violation::Fabricated, 1);
            let slot = self.members[member as usize].slot;
            self.fabricated(slot, identity.stream(), identity.seq, arrival.at);
        }
    }

    /// D7 is off for what publishers of a thread that is gone sent after its last word.
    fn beyond_facts(&mut self, n: u64) {
        self.frames.foreign += n;
        self.unknown.add(Unknown::BeyondLastFacts, n);
    }

    fn fabricated(&mut self, slot: Slot, stream: StreamId, seq: u32, now: Time) {
        let subject = Subject {
            receiver: Some(slot.0),
            stream: Some(stream),
            seq: Some(seq),
            ..Subject::default()
        };
        let text = format!(
            "slot {slot} got {}, which its publisher never sent",
            self.message_name(stream, seq)
        );
        self.incident(Violation::Fabricated, subject, now, text, Vec::new());
    }

    /// Cuts pairs back to what was sent; what lay above is fabricated.
    fn cut_forged(&mut self) {
        for (slot, stream, seq) in self.cut_forged_digests() {
            self.fabricated(slot, stream, seq, Time::ZERO);
        }
        let mut forged = Vec::new();
        for group in &self.groups {
            for member in &group.members {
                for (at, stream) in group.streams.iter().enumerate() {
                    let (next, _) = self.members[*member as usize].frontier(at as u32);
                    if next > stream.invoked + 1 {
                        forged.push((
                            PairKey::new(*member, at as u32),
                            stream.publisher,
                            stream.invoked,
                        ));
                    }
                }
            }
        }
        for (key, publisher, invoked) in forged {
            let membership = &mut self.members[key.member() as usize];
            let (next, _) = membership.frontier(key.stream());
            let mut above = u64::from(next - 1 - invoked);
            let mut holes = smallvec::SmallVec::new();
            for hole in self.pairs.holes(key) {
                if hole.last > invoked {
                    above -= u64::from(hole.last - hole.first.max(invoked + 1)) + 1;
                }
                if hole.first <= invoked {
                    let mut hole = hole.clone();
                    hole.last = hole.last.min(invoked);
                    holes.push(hole);
                }
            }
            membership.set_frontier(key.stream(), invoked + 1, !holes.is_empty());
            let (slot, group) = (membership.slot, membership.group);
            self.pairs.set_holes(key, holes);
            let spoilt = self
                .pairs
                .faulted
                .range((key, invoked + 1)..=(key, u32::MAX))
                .count() as u64;
            self.pairs
                .faulted
                .retain(|(k, seq)| *k != key || *seq <= invoked);
            // Spoilt ones are counted as what spoilt them already.
            self.frames.spoilt -= spoilt;
            self.frames.unplaced += spoilt;
            let above = above - spoilt;
            let first = above.min(self.frames.first);
            self.frames.first -= first;
            self.frames.fill -= above - first;
            if self.is_lost(publisher) {
                self.beyond_facts(above);
                continue;
            }
            self.frames.fabricated += above;
            self.violations.add(Violation::Fabricated, above);
            if above > 0 {
                let stream = StreamId { publisher, group };
                self.fabricated(slot, stream, next - 1, Time::ZERO);
            }
        }
    }

    /// A spoilt frame that fitted no pair explains one loss on its connection: one fault,
    /// counted once.
    fn link_spoilt(&mut self, suspects: &mut Vec<Suspect>) {
        let mut bad: FxHashMap<(u32, u16), Bad> = std::mem::take(&mut self.bad);
        if bad.is_empty() {
            return;
        }
        for suspect in suspects.iter_mut() {
            let Some(kind) = suspect.kind else { continue };
            let Some(bad) = bad.get_mut(&(suspect.slot, suspect.epoch)) else {
                continue;
            };
            let corrupted = bad.corrupted.min(suspect.len());
            let shapeless = bad.shapeless.min(suspect.len() - corrupted);
            bad.corrupted -= corrupted;
            bad.shapeless -= shapeless;
            self.violations.add(Violation::Corrupted, shapeless);
            let linked = corrupted + shapeless;
            let bucket = match kind {
                Violation::LostAtJoin => Bucket::LostAtJoin,
                Violation::LostAtLeave => Bucket::LostAtLeave,
                _ => Bucket::Lost,
            };
            self.ledgers[suspect.stream.group.index()].excuse(bucket, linked);
            self.pools[self.plan.pool_of(Slot(suspect.slot))].excuse(bucket, linked);
            if shapeless > 0 {
                self.rename_shapeless(suspect.slot);
            }
            if linked == suspect.len() {
                suspect.first = u32::MAX;
            } else {
                // `linked` is below the length, a u32.
                suspect.first += linked as u32;
            }
        }
        suspects.retain(|suspect| suspect.first != u32::MAX);
        let invented = bad.values().map(|bad| bad.shapeless).sum();
        self.violations.add(Violation::Fabricated, invented);
    }

    /// A payload without identity turned out to be one of ours, spoilt beyond recognition.
    fn rename_shapeless(&mut self, slot: u32) {
        for kept in &mut self.incidents.kept {
            if kept.kind == Violation::Fabricated
                && kept.subject.receiver == Some(slot)
                && kept.subject.stream.is_none()
            {
                kept.kind = Violation::Corrupted;
                kept.incident.kind = "corrupted";
                kept.incident.rule = super::incident::rule(Violation::Corrupted);
            }
        }
    }

    /// Skipped sequence ids beyond the losses on the same connection (S2).
    fn net_gaps(&mut self, suspects: &[Suspect], now: Time) {
        let mut lost: FxHashMap<(u32, u16), u64> = FxHashMap::default();
        for suspect in suspects {
            *lost.entry((suspect.slot, suspect.epoch)).or_default() += suspect.len();
        }
        let mut gaps: Vec<_> = self.gaps.drain().collect();
        gaps.sort_unstable_by_key(|(key, _)| *key);
        for ((slot, epoch), gap) in gaps {
            let explained = lost.get(&(slot, epoch)).copied().unwrap_or(0);
            let net = gap.missing.saturating_sub(explained);
            if net == 0 {
                continue;
            }
            if self.plan.promise == Promise::Published {
                self.unknown.add(Unknown::SequenceGap, net);
                continue;
            }
            self.violations.add(Violation::SequenceGap, net);
            let text = format!(
                "slot {slot} epoch {epoch}: {net} sequence ids were skipped and nothing is missing; the first gap was before sequenceId {} at {}",
                gap.before, gap.at
            );
            self.about_slot(Violation::SequenceGap, Slot(slot), now, text);
        }
    }

    /// Everything that does not balance; empty when all does.
    fn balance(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (what, found) in [
            ("client", &self.misuse),
            ("publisher", &self.outbox.mismatches),
        ] {
            if let Some(first) = &found.first {
                wrong.push(format!(
                    "{what} events contradict each other ({} times): {first}",
                    found.count
                ));
            }
        }
        let frames = &self.frames;
        if frames.taken != frames.accounted() {
            wrong.push(format!(
                "{} data frames taken, {} accounted for",
                frames.taken,
                frames.accounted()
            ));
        }
        if let Some(read) = self.socket_frames
            && read != frames.taken
        {
            wrong.push(format!(
                "{read} data frames read from sockets, {} reached the verifier",
                frames.taken
            ));
        }
        if self.causality > 0 {
            wrong.push(format!(
                "{} frames arrived before they were sent: a clock is wrong",
                self.causality
            ));
        }
        if self.outbox.has_untold() {
            wrong.push("publishes went on after the final facts".into());
        }
        self.balance_pairs(&mut wrong);
        wrong
    }

    /// Receivers times publishes, from publishers alone, against the verdicts; and pairs
    /// judged as arrived against arrivals counted one by one.
    fn balance_pairs(&self, wrong: &mut Vec<String>) {
        let mut arrived = 0;
        for (index, group) in self.groups.iter().enumerate() {
            let invoked: u64 = group.streams.iter().map(|s| u64::from(s.invoked)).sum();
            let owed = invoked * group.members.len() as u64;
            let judged = self.ledgers[index].total();
            if owed != judged {
                wrong.push(format!(
                    "group {}: {owed} pairs by its publishers, {judged} judged at its receivers",
                    self.plan.name(GroupId(index as u32)).unwrap_or("?")
                ));
            }
            arrived += self.ledgers[index].arrived();
        }
        let mut by_pool = Ledger::default();
        self.pools.iter().for_each(|pool| by_pool.merge(pool));
        if by_pool != self.total_ledger() {
            wrong.push("the books by pool and by group do not add up to the same".into());
        }
        let placed = self.frames.placed();
        if arrived != placed && self.plan.mode != Mode::Counts {
            wrong.push(format!(
                "{arrived} pairs judged as arrived, {placed} arrivals counted"
            ));
        }
    }

    fn count_exercised(&mut self) {
        let frames = self.frames;
        let numbered =
            (self.slots.clone()).any(|slot| self.plan.slot(Slot(slot)).is_some_and(|s| s.reliable));
        let ledger = self.total_ledger();
        let owed = ledger.delivery(self.plan.promise).expected;
        let totals = self.outbox.totals;
        let read = frames.taken - frames.blind - frames.server - frames.stray;
        for (property, n) in [
            (Property::S1, if numbered { frames.taken } else { 0 }),
            (Property::S2, if numbered { frames.taken } else { 0 }),
            (Property::D1, owed),
            (Property::D2, owed),
            (Property::D3, self.exercised.get(Property::D5b)),
            (Property::D4, frames.placed()),
            (Property::D5, read),
            (Property::D6, ledger.no_echo),
            (Property::D7, read),
            (
                Property::O1,
                if self.is_digest() { 0 } else { frames.placed() },
            ),
            (Property::I1, read),
            (Property::I2, frames.placed()),
            (Property::A1, if self.is_digest() { 0 } else { totals.ok }),
            (Property::A2, totals.duplicates),
            (Property::A3, totals.forbidden),
            (Property::Channel, self.socket_frames.unwrap_or(0)),
        ] {
            self.exercised.add(property, n);
        }
    }

    fn total_ledger(&self) -> Ledger {
        let mut total = Ledger::default();
        for ledger in &self.ledgers {
            total.merge(ledger);
        }
        total
    }

    fn outcome(&mut self, suspects: Vec<Suspect>, self_check: Vec<String>) -> ShardOutcome {
        let ledger = self.total_ledger();
        let mut unreached = FxHashMap::default();
        let mut groups = rustc_hash::FxHashSet::default();
        for (index, group) in self.groups.iter_mut().enumerate() {
            if group.members.is_empty() {
                continue;
            }
            // At most 2^24 groups.
            groups.insert(index as u32);
            for stream in &mut group.streams {
                let id = StreamId {
                    publisher: stream.publisher,
                    group: crate::base::GroupId(index as u32),
                };
                unreached.insert(id, std::mem::take(&mut stream.unreached));
            }
        }
        let mut limits = Vec::new();
        // Room may be refused to one receiver before anything else gives way.
        let untracked = self.pressure > 1 || self.no_room;
        let gave_way = match (self.pressure > 0, untracked) {
            (true, true) => Some("recorders were shortened, then nothing new was tracked"),
            (true, false) => Some("recorders were shortened"),
            (false, true) => Some("nothing new was tracked"),
            (false, false) => None,
        };
        limits.extend(gave_way.map(|what| {
            let budget = self.plan.memory_budget;
            format!("the memory budget of {budget} bytes was passed: {what}")
        }));
        let stopped = self.receivers.iter().filter(|r| r.stopped).count() as u64;
        let mut permitted: Tally<Permitted> = std::mem::take(&mut self.permitted);
        let mut unknown: Tally<Unknown> = std::mem::take(&mut self.unknown);
        ledger.permitted(&mut permitted);
        ledger.unknown(self.plan.promise, &mut unknown);
        ShardOutcome {
            slots: self.slots.clone(),
            ledgers: std::mem::take(&mut self.ledgers),
            pools: std::mem::take(&mut self.pools),
            sent: self.outbox.take_sent(),
            suspects,
            unreached,
            groups,
            violations: std::mem::take(&mut self.violations),
            dedupe_broken: self.dedupe_broken,
            saw_error: self.saw_error,
            permitted,
            unknown,
            measured: self.measured,
            unsure: std::mem::take(&mut self.unsure),
            broken: std::mem::take(&mut self.broken),
            overfull: std::mem::take(&mut self.overfull),
            slow_overflows: self.slow_overflows,
            exercised: self.exercised,
            incidents: std::mem::take(&mut self.incidents.kept),
            traces: self.outbox.take_traces(),
            pinned: self.pins.take_kept(),
            totals: self.outbox.totals,
            pairs: self.pairs_held,
            bytes: self.bytes_peak.max(self.bytes()),
            self_check,
            limits,
            serial: self.outbox.serial(),
            heard: self.heard_facts(),
            stopped,
            unfollowed: self.unanswered.unfollowed,
            lost: false,
        }
    }
}
