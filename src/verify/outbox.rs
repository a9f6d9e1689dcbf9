//! The publishers' side: what each stream has sent, which answers came, what is settled.
//!
//! Produces [`Facts`]. Nothing of receivers here; read `group` for who uses the facts.

use std::collections::VecDeque;
use std::ops::Range;

use rustc_hash::FxHashMap;

use super::events::{Answer, Outcome};
use super::facts::{Facts, StreamFacts};
use super::membership::SEQ_MAX;
use super::outcome::Sent;
use super::recorder::{PUBLISHES_KEPT, PublishRecord, PublisherTrace};
use super::sending::{Open, OutStream};
use crate::base::{AckId, Slot, Time};
use crate::payload::{Identity, StreamId};

/// Connections of a publisher whose ids are remembered.
const CONNECTIONS_NAMED: usize = 4;
/// How far back an answer is matched to the recorder's publishes.
const ANSWER_SEARCH: usize = 32;

/// All streams of a shard's publishers.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    streams: Vec<OutStream>,
    by_id: FxHashMap<StreamId, u32>,
    changed: Vec<u32>,
    serial: u64,
    saw_error: bool,
    publishers: FxHashMap<u32, PublisherTrace>,
    /// Publishes recorded of each.
    recorded: usize,
    /// What the client told that cannot be: the harness contradicts itself.
    pub(super) mismatches: Mismatches,
    pub(super) totals: PublishTotals,
    /// By group id.
    sent: Vec<Sent>,
}

/// Contradictions within the harness, counted, with the first one's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Mismatches {
    pub(super) count: u64,
    pub(super) first: Option<String>,
}

impl Mismatches {
    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(text());
        }
    }
}

/// Messages by outcome, counted at the publishers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PublishTotals {
    pub(super) invoked: u64,
    pub(super) settled: u64,
    pub(super) ok: u64,
    pub(super) duplicates: u64,
    pub(super) forbidden: u64,
    pub(super) retransmissions: u64,
}

impl Outbox {
    /// Nothing sent yet to any of `groups` groups.
    pub(super) fn new(groups: usize) -> Self {
        Outbox {
            sent: vec![Sent::default(); groups],
            recorded: PUBLISHES_KEPT,
            ..Outbox::default()
        }
    }

    /// What was sent, by group.
    pub(super) fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    pub(super) fn transmitted(&mut self, identity: &Identity, ack_id: Option<AckId>, now: Time) {
        let id = identity.stream();
        let index = self.stream_index(id);
        let stream = &mut self.streams[index as usize];
        let seq = identity.seq;
        if seq > stream.invoked {
            if seq != stream.invoked + 1 || seq > SEQ_MAX {
                let last = stream.invoked;
                self.mismatches
                    .note(|| format!("publisher {} went from seq {last} to {seq}", id.publisher));
                return;
            }
            self.totals.invoked += 1;
            if let Some(sent) = self.sent.get_mut(id.group.index()) {
                sent.attempted += 1;
                sent.outstanding += 1;
            }
            stream.invoked = seq;
            stream.open.push_back(Open::default());
            if stream.epoch != Some(identity.epoch) {
                stream.epoch = Some(identity.epoch);
                stream.epochs.push((seq, identity.epoch));
            }
        } else {
            self.totals.retransmissions += 1;
        }
        match stream.open_mut(seq) {
            Some(open) => {
                if let Some(wrong) = open.transmitted(identity, ack_id) {
                    self.mismatches
                        .note(|| format!("publisher {} sent seq {seq} {wrong}", id.publisher));
                }
            }
            None => self.mismatches.note(|| {
                format!(
                    "publisher {} sent seq {seq} again after it was settled",
                    id.publisher
                )
            }),
        }
        self.touch(index);
        self.publishers
            .entry(id.publisher.0)
            .or_insert_with(|| PublisherTrace::new(id.publisher, self.recorded))
            .publishes
            .push(PublishRecord {
                at: now,
                group: id.group,
                seq,
                tx: identity.tx,
                epoch: identity.epoch,
                transport: identity.transport,
                cause: identity.cause,
                attempt: identity.attempt,
                ack_id,
                answer: None,
            });
    }

    /// Takes an answer; true when it is `Duplicate` to a first transmission (A2 broken).
    pub(super) fn answered(
        &mut self,
        id: StreamId,
        seq: u32,
        ack_id: AckId,
        answer: Answer,
        now: Time,
    ) -> bool {
        if let Some(record) = self.publishers.get_mut(&id.publisher.0).and_then(|trace| {
            trace
                .publishes
                .newest_mut()
                .take(ANSWER_SEARCH)
                .find(|record| record.seq == seq && record.group == id.group)
        }) {
            record.answer = Some((answer, now));
        }
        match answer {
            Answer::Error => self.saw_error = true,
            Answer::Duplicate => self.totals.duplicates += 1,
            Answer::Forbidden => self.totals.forbidden += 1,
            Answer::Success | Answer::Refused => {}
        }
        let Some(open) = self
            .by_id
            .get(&id)
            .and_then(|index| self.streams[*index as usize].open_mut(seq))
        else {
            // An answer after the outcome was settled: late, and settled is final.
            return false;
        };
        match answer {
            Answer::Success => open.success = true,
            Answer::Forbidden => open.forbidden += 1,
            Answer::Duplicate => {
                let times = open.ids.iter().rev().find(|(id, ..)| *id == ack_id);
                if times.is_some_and(|(_, _, times)| *times > 1) {
                    open.repeated = true;
                } else {
                    open.false_duplicate = true;
                    return true;
                }
            }
            Answer::Refused | Answer::Error => {}
        }
        false
    }

    pub(super) fn settled(&mut self, id: StreamId, seq: u32, outcome: Outcome) {
        let Some(index) = self.by_id.get(&id).copied() else {
            self.mismatches.note(|| {
                format!(
                    "publisher {} settled seq {seq} of a stream it never used",
                    id.publisher
                )
            });
            return;
        };
        let stream = &mut self.streams[index as usize];
        match stream.open_mut(seq) {
            Some(open) if open.outcome.is_none() => {
                open.outcome = Some(outcome);
                if let Some(sent) = self.sent.get_mut(id.group.index()) {
                    sent.outstanding -= 1;
                    match outcome {
                        Outcome::Ok => sent.acked += 1,
                        Outcome::Failed => sent.failed += 1,
                        Outcome::Unknown => sent.unknown += 1,
                        Outcome::FireAndForget => sent.unacked += 1,
                    }
                }
                if outcome == Outcome::Ok
                    && !(open.success || open.repeated || open.false_duplicate)
                {
                    self.mismatches.note(|| {
                        format!(
                            "publisher {} settled seq {seq} as ok without an answer",
                            id.publisher
                        )
                    });
                }
                if outcome != Outcome::Ok && open.success {
                    self.mismatches.note(|| {
                        format!(
                            "publisher {} settled seq {seq} as {outcome:?} after a success",
                            id.publisher
                        )
                    });
                }
            }
            _ => self.mismatches.note(|| {
                format!(
                    "publisher {} settled seq {seq} twice, or never sent it",
                    id.publisher
                )
            }),
        }
        let (settled, ok) = stream.advance();
        self.totals.settled += settled;
        self.totals.ok += ok;
        self.touch(index);
    }

    /// The facts since the last ones; `None` while no publisher has sent anything and none
    /// is `planned` to.
    pub(super) fn take(&mut self, source: Range<u32>, planned: bool, now: Time) -> Option<Facts> {
        if !planned && self.streams.is_empty() {
            return None;
        }
        self.serial += 1;
        let changed = std::mem::take(&mut self.changed);
        let streams = changed
            .iter()
            .map(|index| {
                let stream = &mut self.streams[*index as usize];
                stream.told = true;
                StreamFacts {
                    stream: stream.id,
                    invoked: stream.invoked,
                    settled: stream.settled,
                    exceptions: std::mem::take(&mut stream.exceptions),
                    epochs: std::mem::take(&mut stream.epochs),
                }
            })
            .collect();
        Some(Facts {
            source,
            serial: self.serial,
            at: now,
            saw_error: self.saw_error,
            pins: Vec::new(),
            streams,
            members: Vec::new(),
        })
    }

    /// The highest seq sent in a stream of this shard.
    pub(super) fn invoked(&self, id: StreamId) -> u32 {
        self.by_id
            .get(&id)
            .map_or(0, |index| self.streams[*index as usize].invoked)
    }

    /// Whether something was sent or settled that no facts have told yet.
    pub(super) fn has_untold(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The number of the last facts taken.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn take_traces(&mut self) -> FxHashMap<u32, PublisherTrace> {
        std::mem::take(&mut self.publishers)
    }

    pub(super) fn shrink_recorders(&mut self, cap: usize) {
        self.recorded = self.recorded.min(cap);
        for trace in self.publishers.values_mut() {
            trace.publishes.shrink(cap);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let traces = self.publishers.values();
        let recorders: u64 = traces.map(|trace| trace.publishes.bytes()).sum();
        let open: usize = self.streams.iter().map(|s| s.open.capacity()).sum();
        let streams = self.streams.len() * size_of::<OutStream>() + open * size_of::<Open>();
        streams as u64 + recorders
    }

    /// What is recorded of the transmissions of one message.
    pub(super) fn recorded(&self, id: StreamId, seq: u32) -> Vec<PublishRecord> {
        let trace = self.publishers.get(&id.publisher.0);
        trace.map_or(Vec::new(), |trace| {
            trace.of(id, seq).into_iter().copied().collect()
        })
    }

    /// Whether a publisher's connection of that ordinal has no name here yet.
    pub(super) fn is_new_connection(&self, publisher: Slot, epoch: u16) -> bool {
        let trace = self.publishers.get(&publisher.0);
        trace.is_some_and(|trace| {
            trace
                .connections
                .last()
                .is_none_or(|(last, _)| *last != epoch)
        })
    }

    /// Names a publisher's connection, for its incidents.
    pub(super) fn name_connection(&mut self, publisher: Slot, epoch: u16, id: Box<str>) {
        if let Some(trace) = self.publishers.get_mut(&publisher.0) {
            if trace.connections.len() >= CONNECTIONS_NAMED {
                trace.connections.remove(0);
            }
            trace.connections.push((epoch, id));
        }
    }

    fn stream_index(&mut self, id: StreamId) -> u32 {
        *self.by_id.entry(id).or_insert_with(|| {
            self.streams.push(OutStream {
                id,
                invoked: 0,
                settled: 0,
                open: VecDeque::new(),
                exceptions: Vec::new(),
                epochs: Vec::new(),
                epoch: None,
                told: true,
            });
            // Slots and groups are 24 bits each, streams of one shard are far below 2^32.
            (self.streams.len() - 1) as u32
        })
    }

    fn touch(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        if stream.told {
            stream.told = false;
            self.changed.push(index);
        }
    }
}

impl PublisherTrace {
    /// The transmissions of one message that are still recorded, oldest first.
    pub(super) fn of(&self, id: StreamId, seq: u32) -> Vec<&PublishRecord> {
        let mut found: Vec<_> = self
            .publishes
            .newest()
            .filter(|record| {
                record.seq == seq && record.group == id.group && self.slot == id.publisher
            })
            .collect();
        found.reverse();
        found
    }
}
