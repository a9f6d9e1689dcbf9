//! Between the model and the verifier: every event goes to the shard of its slot and, in
//! full, into the oracle's history.

use std::collections::HashMap;
use std::sync::Arc;

use hubstorm::base::{AckId, GroupId, SequenceId, Slot, Time};
use hubstorm::payload::{Identity, Padding, StreamId, Template};
use hubstorm::verify::{
    Answer, ConnectionEnd, Fate, LossCause, Outcome, Plan, Shard, Verification, conclude,
};
use hubstorm::wire::{DataMessage, DataType, MessageFrom};

use crate::history::{End, Frame, History, Line, Message, Recovery, Window};

#[derive(Default)]
struct Publish {
    answers: Vec<(AckId, Answer)>,
    /// (ackId, epoch) per transmission.
    sent: Vec<(AckId, u16)>,
    outcome: Option<Outcome>,
}

pub(crate) struct Tap {
    pub(crate) plan: Arc<Plan>,
    shards: Vec<Shard>,
    cuts: Vec<u32>,
    pub(crate) history: History,
    publishes: HashMap<(StreamId, u32), Publish>,
    invoked: HashMap<StreamId, u32>,
    settled: HashMap<StreamId, u32>,
    now: u64,
    lost_at: HashMap<Slot, (u64, bool)>,
    epochs: HashMap<Slot, u16>,
    transports: HashMap<Slot, (u16, bool)>,
}

impl Tap {
    pub(crate) fn new(plan: Plan, shards: u32) -> Self {
        let plan = Arc::new(plan);
        let slots = plan.slots.len() as u32;
        let cuts: Vec<u32> = (0..=shards).map(|at| at * slots / shards).collect();
        let mut history = History {
            reliable: plan.slots.iter().map(|s| s.reliable).collect(),
            no_echo: plan.slots.iter().map(|s| s.no_echo).collect(),
            ack_within: plan.ack_within.as_micros() as u64,
            checkpoints: vec![Vec::new(); shards as usize],
            ..History::default()
        };
        for slot in 0..slots {
            let source = cuts.iter().rposition(|cut| *cut <= slot).unwrap();
            history.source_of.insert(Slot(slot), source);
            history.frames.insert(Slot(slot), Vec::new());
        }
        Tap {
            shards: cuts
                .windows(2)
                .map(|cut| Shard::new(plan.clone(), cut[0]..cut[1]))
                .collect(),
            cuts,
            plan,
            history,
            publishes: HashMap::new(),
            invoked: HashMap::new(),
            settled: HashMap::new(),
            now: 0,
            lost_at: HashMap::new(),
            epochs: HashMap::new(),
            transports: HashMap::new(),
        }
    }

    /// A time of its own for every event, at or after `at`.
    pub(crate) fn stamp(&mut self, at: u64) -> u64 {
        self.now = at.max(self.now + 1);
        self.now
    }

    fn shard(&mut self, slot: Slot) -> &mut Shard {
        let at = self.cuts.iter().rposition(|cut| *cut <= slot.0).unwrap();
        &mut self.shards[at]
    }

    pub(crate) fn connected(&mut self, slot: Slot, epoch: u16, at: u64) {
        let now = self.stamp(at);
        self.epochs.insert(slot, epoch);
        self.transports.insert(slot, (0, true));
        self.shard(slot).connected(
            slot,
            epoch,
            &format!("c{slot}-{epoch}"),
            Time::from_micros(now),
        );
    }

    pub(crate) fn join_invoked(&mut self, slot: Slot, group: GroupId, ack: u64, at: u64) {
        let now = self.stamp(at);
        let epoch = self.epochs[&slot];
        let windows = self.history.windows.entry((slot, group)).or_default();
        match windows
            .last_mut()
            .filter(|w| w.epoch == epoch && w.ended.is_none() && w.leave_invoked.is_none())
        {
            Some(window) => window.resent = true,
            None => windows.push(Window {
                epoch,
                join_invoked: now,
                joined: None,
                resent: false,
                leave_invoked: None,
                ended: None,
            }),
        }
        self.requested(slot, AckId(ack), now);
        self.shard(slot)
            .join_invoked(slot, group, AckId(ack), Time::from_micros(now));
    }

    pub(crate) fn join_answered(
        &mut self,
        slot: Slot,
        group: GroupId,
        ack: u64,
        success: bool,
        at: u64,
    ) {
        let now = self.stamp(at);
        if let Some(window) = self
            .history
            .windows
            .get_mut(&(slot, group))
            .and_then(|w| w.last_mut())
            && window.joined.is_none()
            && window.ended.is_none()
        {
            if success {
                window.joined = Some(now);
            } else if !window.resent {
                window.ended = Some((now, End::Refused));
            }
        }
        self.shard(slot)
            .join_answered(slot, group, AckId(ack), success, Time::from_micros(now));
    }

    pub(crate) fn leave_invoked(&mut self, slot: Slot, group: GroupId, ack: u64, at: u64) {
        let now = self.stamp(at);
        if let Some(window) = self
            .history
            .windows
            .get_mut(&(slot, group))
            .and_then(|w| w.last_mut())
            && window.ended.is_none()
            && window.leave_invoked.is_none()
        {
            window.leave_invoked = Some(now);
        }
        self.requested(slot, AckId(ack), now);
        self.shard(slot)
            .leave_invoked(slot, group, AckId(ack), Time::from_micros(now));
    }

    pub(crate) fn leave_answered(&mut self, slot: Slot, group: GroupId, ack: u64, at: u64) {
        let now = self.stamp(at);
        if let Some(window) = self.history.windows.get_mut(&(slot, group)).and_then(|w| {
            w.iter_mut()
                .find(|w| w.ended.is_none() && w.leave_invoked.is_some())
        }) {
            window.ended = Some((now, End::Left));
        }
        self.shard(slot)
            .leave_answered(slot, group, AckId(ack), true, Time::from_micros(now));
    }

    pub(crate) fn lost(&mut self, slot: Slot, at: u64) {
        let now = self.stamp(at);
        self.lost_at.insert(slot, (now, false));
        self.line(slot, now, Line::Over);
        self.shard(slot)
            .transport_lost(slot, LossCause::Injected, None, Time::from_micros(now));
    }

    pub(crate) fn recovery_opened(&mut self, slot: Slot, transport: u16, at: u64) {
        let now = self.stamp(at);
        self.transports.insert(slot, (transport, false));
        self.shard(slot)
            .recovery_opened(slot, transport, Time::from_micros(now));
    }

    pub(crate) fn recovery_confirmed(&mut self, slot: Slot, at: u64) {
        let now = self.stamp(at);
        self.confirm(slot, now);
        self.shard(slot)
            .recovery_confirmed(slot, Time::from_micros(now));
    }

    fn confirm(&mut self, slot: Slot, now: u64) {
        let (transport, confirmed) = self.transports[&slot];
        if confirmed {
            return;
        }
        self.transports.insert(slot, (transport, true));
        let epoch = self.epochs[&slot];
        self.history
            .recoveries
            .entry(slot)
            .or_default()
            .push(Recovery {
                epoch,
                transport,
                lost_at: self.lost_at[&slot].0,
                confirmed_at: now,
            });
    }

    pub(crate) fn refused(&mut self, slot: Slot, at: u64) {
        let now = self.stamp(at);
        self.shard(slot)
            .recovery_refused(slot, Time::from_micros(now));
    }

    pub(crate) fn ended(&mut self, slot: Slot, end: ConnectionEnd, at: u64) {
        let now = self.stamp(at);
        let how = if self.history.reliable[slot.0 as usize] {
            End::Gap
        } else {
            End::Unreliable
        };
        for ((of, _), windows) in &mut self.history.windows {
            if *of == slot {
                for window in windows.iter_mut().filter(|w| w.ended.is_none()) {
                    window.ended = Some((now, how));
                }
            }
        }
        self.shard(slot)
            .connection_ended(slot, end, Time::from_micros(now));
    }

    /// Returns the identity as a receiver would read it.
    pub(crate) fn frame(&mut self, slot: Slot, id: u64, identity: &Identity, at: u64) {
        let now = self.stamp(at);
        self.confirm(slot, now);
        let mut scratch = Vec::new();
        let template = Template {
            data_type: DataType::Binary,
            size: 48,
            padding: Padding::Zeros,
        };
        let data = template.write(identity, &mut scratch);
        let message = DataMessage {
            stream: None,
            sequence_id: (id > 0).then_some(SequenceId(id)),
            from: MessageFrom::Group {
                group: (&*self.plan.groups[identity.group.index()]).into(),
                from_user_id: None,
            },
            data,
        };
        let at = self.cuts.iter().rposition(|cut| *cut <= slot.0).unwrap();
        let verdict = self.shards[at].frame(slot, &message, Time::from_micros(now));
        let identity = verdict.identity.unwrap();
        let epoch = self.epochs[&slot];
        let (transport, _) = self.transports[&slot];
        self.history.frames.get_mut(&slot).unwrap().push(Frame {
            at: now,
            epoch,
            transport,
            id,
            identity,
        });
        self.line(slot, now, Line::Heard);
    }

    fn line(&mut self, slot: Slot, now: u64, what: Line) {
        let lines = self.history.lines.entry(slot).or_default();
        lines.push((now, what));
    }

    /// A request is written; whoever tells of it has its stamp.
    fn requested(&mut self, slot: Slot, ack_id: AckId, now: u64) {
        self.line(slot, now, Line::Asked(ack_id));
        self.shard(slot)
            .request_sent(slot, ack_id, Time::from_micros(now));
    }

    /// The same of one that changes nothing else.
    pub(crate) fn request_sent(&mut self, slot: Slot, ack_id: AckId, at: u64) {
        let now = self.stamp(at);
        self.requested(slot, ack_id, now);
    }

    /// An answer is read, whoever waits for it.
    pub(crate) fn request_answered(&mut self, slot: Slot, ack_id: AckId, at: u64) {
        let now = self.stamp(at);
        self.line(slot, now, Line::Answered(ack_id));
        self.shard(slot)
            .request_answered(slot, ack_id, Time::from_micros(now));
    }

    /// What was read was no data.
    pub(crate) fn heard(&mut self, slot: Slot, at: u64) {
        let now = self.stamp(at);
        self.line(slot, now, Line::Heard);
        self.shard(slot).heard(slot, Time::from_micros(now));
    }

    /// The harness does not listen until then.
    pub(crate) fn disturbed(&mut self, slot: Slot, until: u64, at: u64) {
        let now = self.stamp(at);
        self.line(slot, now, Line::Disturbed(until));
        let (until, now) = (Time::from_micros(until), Time::from_micros(now));
        self.shard(slot).disturbed(slot, until, now);
    }

    pub(crate) fn sequence_acked(&mut self, slot: Slot, id: u64, at: u64) {
        let now = self.stamp(at);
        self.shard(slot)
            .sequence_acked(slot, SequenceId(id), Time::from_micros(now));
    }

    pub(crate) fn transmitted(&mut self, identity: &Identity, ack_id: Option<AckId>, at: u64) {
        assert_eq!(at, self.now);
        let stream = identity.stream();
        let messages = self.history.messages.entry(stream).or_default();
        if identity.seq as usize > messages.len() {
            messages.push(Message {
                epoch: identity.epoch,
                causes: Vec::new(),
                fate: Fate::Unknown,
            });
            self.invoked.insert(stream, identity.seq);
        }
        messages[identity.seq as usize - 1]
            .causes
            .push(identity.cause);
        let publish = self.publishes.entry((stream, identity.seq)).or_default();
        if let Some(ack_id) = ack_id {
            publish.sent.push((ack_id, identity.epoch));
            self.requested(identity.publisher, ack_id, at);
        }
        self.shard(identity.publisher)
            .transmitted(identity, ack_id, Time::from_micros(at));
    }

    pub(crate) fn answered(
        &mut self,
        stream: StreamId,
        seq: u32,
        ack_id: AckId,
        answer: Answer,
        at: u64,
    ) {
        let now = self.stamp(at);
        self.history.saw_error |= answer == Answer::Error;
        let publish = self.publishes.entry((stream, seq)).or_default();
        publish.answers.push((ack_id, answer));
        self.shard(stream.publisher)
            .answered(stream, seq, ack_id, answer, Time::from_micros(now));
    }

    pub(crate) fn settled(&mut self, stream: StreamId, seq: u32, outcome: Outcome, at: u64) {
        let now = self.stamp(at);
        let publish = self.publishes.entry((stream, seq)).or_default();
        publish.outcome = Some(outcome);
        let refused = publish
            .answers
            .iter()
            .filter(|(_, a)| *a == Answer::Forbidden)
            .count();
        let messages = self.history.messages.get_mut(&stream).unwrap();
        let message = &mut messages[seq as usize - 1];
        message.fate = match outcome {
            Outcome::Ok => Fate::Ok,
            Outcome::Unknown => Fate::Unknown,
            Outcome::FireAndForget => Fate::FireAndForget,
            Outcome::Failed if refused >= message.causes.len() => Fate::Forbidden,
            Outcome::Failed => Fate::Failed,
        };
        let settled = self.settled.entry(stream).or_insert(0);
        while self
            .publishes
            .get(&(stream, *settled + 1))
            .is_some_and(|p| p.outcome.is_some())
        {
            *settled += 1;
        }
        self.shard(stream.publisher)
            .settled(stream, seq, outcome, Time::from_micros(now));
    }

    /// One source takes its facts; they reach every shard.
    pub(crate) fn facts(&mut self, source: usize, at: u64) {
        let now = self.stamp(at);
        let Some(facts) = self.shards[source].take_facts(Time::from_micros(now)) else {
            return;
        };
        for shard in &mut self.shards {
            shard.apply_facts(&facts);
        }
        let state = self
            .invoked
            .iter()
            .filter(|(stream, _)| self.history.source_of[&stream.publisher] == source)
            .map(|(stream, invoked)| {
                let settled = self.settled.get(stream).copied().unwrap_or(0);
                (*stream, (*invoked, settled))
            })
            .collect();
        self.history.checkpoints[source].push((now, state));
    }

    pub(crate) fn tick(&mut self, at: u64) {
        let now = Time::from_micros(self.stamp(at));
        self.history.ticks.push(self.now);
        for shard in &mut self.shards {
            shard.tick(now);
        }
    }

    /// Bytes that the verifier holds, by its own accounting.
    pub(crate) fn bytes(&self) -> u64 {
        let now = Time::from_micros(self.now);
        self.shards.iter().map(|s| s.progress(now).bytes).sum()
    }

    pub(crate) fn missing(&mut self, at: u64) -> u64 {
        let now = Time::from_micros(self.stamp(at));
        self.shards.iter().map(|s| s.progress(now).missing).sum()
    }

    pub(crate) fn finish(&mut self, at: u64) -> Verification {
        let now = Time::from_micros(self.stamp(at));
        let outcomes = self.shards.iter_mut().map(|s| s.finish(now)).collect();
        conclude(&self.plan, outcomes)
    }
}
