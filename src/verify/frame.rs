//! What a data frame means: the steps of the hot path, in order. No allocation per sound
//! frame.
//!
//! 1. sequence id: fresh, replayed or repeated (S1, S2). 2. identity and envelope (I1, I2,
//! D7). 3. membership and echo (D5, D5b, D6). 4. a replay must hold known messages (S3).
//! 5. the pair (D4, O1; what is missing is judged in `judge`).

use super::connection::{Link, Sight};
use super::duplicate::Waiting;
use super::events::FrameVerdict;
use super::incident::Subject;
use super::judge::Bucket;
use super::kinds::{Permitted, Unknown, Violation};
use super::ledger::Property;
use super::membership::{Membership, SEQ_MAX};
use super::pairs::{Arrival, Order, PairKey, Placed};
use super::plan::{Mode, Promise};
use super::recorder::FrameRecord;
use super::shard::{Gap, Shard};
use crate::base::{Slot, Time};
use crate::payload::{BodyError, Identity, read};
use crate::wire::{DataMessage, MessageFrom};

/// How far above the last known seq of another shard's stream a message is believed at
/// once: facts lag by 250 ms, and no publisher sends this much in a few seconds.
pub(super) const AHEAD: u32 = 65_536;
/// Messages further ahead that are set aside until facts tell; more are inconclusive.
pub(super) const WAITING_MAX: usize = 65_536;
/// Tables grow by this many streams at a time.
const GROWTH: usize = 16;
/// Stamps within this of each other may be rounded apart, µs.
const ROUNDING_US: u64 = 1000;

/// A group message on its way through the steps.
struct Step<'m> {
    index: usize,
    slot: Slot,
    epoch: u16,
    transport: u16,
    id: u64,
    sight: Sight,
    message: &'m DataMessage<'m>,
    group: &'m str,
    from_user_id: Option<&'m str>,
    now: Time,
}

impl Shard {
    /// Takes a data frame, after the whole of it was parsed.
    pub fn frame(&mut self, slot: Slot, message: &DataMessage<'_>, now: Time) -> FrameVerdict {
        self.frames.taken += 1;
        let Some(index) = self.local(slot) else {
            return self.stray();
        };
        match &self.receivers[index].conn {
            None => return self.stray(),
            // A frame proves that the recovery worked.
            Some(conn) if conn.link == Link::Opened => self.confirm(index, now),
            Some(_) => {}
        }
        let reliable = self.plan.slots[slot.index()].reliable;
        let Some(conn) = self.receivers[index].conn.as_mut() else {
            return self.stray();
        };
        conn.heard(message.data.as_bytes().len(), now);
        let id = message.sequence_id.map_or(0, |id| id.0);
        let sight = match message.sequence_id {
            Some(id) if reliable => conn.sight(id.0),
            _ => Sight::Fresh { missing: 0 },
        };
        let (epoch, transport) = (conn.epoch, conn.transport);
        if let Sight::Fresh { missing } = sight
            && missing > 0
        {
            let gap = self.gaps.entry((slot.0, epoch)).or_insert(Gap {
                missing: 0,
                before: id,
                at: now,
            });
            gap.missing = gap.missing.saturating_add(missing);
        }
        let (group, from_user_id) = match &message.from {
            MessageFrom::Group {
                group,
                from_user_id,
            } => (group.as_ref(), from_user_id.as_deref()),
            MessageFrom::Server => {
                self.record(index, id, epoch, None, now);
                return self.server(slot, message, id, sight, now);
            }
        };
        let step = Step {
            index,
            slot,
            epoch,
            transport,
            id,
            sight,
            message,
            group,
            from_user_id,
            now,
        };
        if reliable && message.sequence_id.is_none() {
            self.envelope_wrong(&step, None, || {
                "no sequenceId on a reliable connection".into()
            });
        }
        if self.plan.mode == Mode::Counts {
            self.record(index, id, epoch, None, now);
            return self.unread(&step);
        }
        match read(&message.data) {
            Ok(identity) => {
                self.record(index, id, epoch, Some(&identity), now);
                let fresh = self.sound(&step, &identity);
                FrameVerdict {
                    identity: Some(identity),
                    fresh,
                }
            }
            Err(error) => {
                self.record(index, id, epoch, None, now);
                match error {
                    BodyError::Foreign => self.shapeless(&step),
                    BodyError::Corrupted(fields) => self.corrupted(&step, fields),
                }
                NOTHING
            }
        }
    }

    fn stray(&mut self) -> FrameVerdict {
        self.frames.stray += 1;
        self.misuse
            .note(|| "a data frame came for a slot without a connection".into());
        NOTHING
    }

    fn record(
        &mut self,
        index: usize,
        id: u64,
        epoch: u16,
        identity: Option<&Identity>,
        now: Time,
    ) {
        self.receivers[index].frames.push(FrameRecord {
            at: now,
            id,
            publisher: identity.map_or(0, |i| i.publisher.0),
            group: identity.map_or(0, |i| i.group.0),
            seq: identity.map_or(0, |i| i.seq),
            tx: identity.map_or(0, |i| i.tx),
            epoch,
            attempt: identity.map_or(0, |i| i.attempt),
        });
    }

    /// A message of the service itself: only its sequence id is judged.
    fn server(
        &mut self,
        slot: Slot,
        message: &DataMessage<'_>,
        id: u64,
        sight: Sight,
        now: Time,
    ) -> FrameVerdict {
        self.frames.server += 1;
        if sight == Sight::Stale {
            self.repeated(slot, id, now);
        }
        FrameVerdict {
            identity: read(&message.data).ok(),
            fresh: matches!(sight, Sight::Fresh { .. }),
        }
    }

    /// Payloads are not read: the pair stays unverified.
    fn unread(&mut self, step: &Step<'_>) -> FrameVerdict {
        match step.sight {
            Sight::Fresh { .. } => self.frames.blind += 1,
            Sight::Replay => self.frames.replay += 1,
            Sight::Stale => {
                self.frames.replay += 1;
                self.repeated(step.slot, step.id, step.now);
            }
        }
        FrameVerdict {
            identity: None,
            fresh: matches!(step.sight, Sight::Fresh { .. }),
        }
    }

    /// A frame whose identity is whole. True when it is a fresh delivery.
    fn sound(&mut self, step: &Step<'_>, identity: &Identity) -> bool {
        if let Some(why) = self.invented(identity) {
            if step.sight == Sight::Stale {
                self.repeated(step.slot, step.id, step.now);
            }
            if !matches!(step.sight, Sight::Fresh { .. }) {
                self.frames.replay += 1;
            } else if identity.run != self.plan.run && !self.plan.exclusive {
                self.frames.foreign += 1;
                self.unknown.add(Unknown::Foreign, 1);
            } else {
                self.frames.fabricated += 1;
                self.violations.add(Violation::Fabricated, 1);
                self.about(step, Some(identity), Violation::Fabricated, || why.into());
            }
            return false;
        }
        if !matches!(step.sight, Sight::Fresh { .. }) {
            self.replayed(step, identity);
            return false;
        }
        self.check_envelope(step, identity);
        self.check_causality(step, identity);
        self.deliver(step, identity)
    }

    /// Why nobody can have sent this, if nobody can.
    fn invented(&self, identity: &Identity) -> Option<&'static str> {
        if identity.run != self.plan.run {
            return Some("a message of another run");
        }
        let publishes = self
            .plan
            .slot(identity.publisher)
            .is_some_and(|slot| slot.data_type.is_some());
        if !publishes || identity.group.index() >= self.plan.groups.len() {
            return Some("a message of a publisher or group that is not in the plan");
        }
        if identity.seq == 0 || identity.seq > SEQ_MAX {
            return Some("a message with a number that is never used");
        }
        let ours = self.slots.contains(&identity.publisher.0);
        if ours && identity.seq > self.outbox.invoked(identity.stream()) {
            return Some("a message that its publisher has not sent");
        }
        None
    }

    /// Steps 3 and 5 for a fresh frame.
    fn deliver(&mut self, step: &Step<'_>, identity: &Identity) -> bool {
        let Some(member) = self.receivers[step.index].member(identity.group) else {
            self.misdelivered(step, identity);
            return false;
        };
        let membership = &mut self.members[member as usize];
        let (window, must) = match membership.may(step.epoch) {
            Some(window) => (window.ordinal, window.must()),
            None => match membership.left_at(step.epoch) {
                Some(left) => {
                    let window = membership.latest().map_or(0, |w| w.ordinal);
                    self.after_leave(step, identity, left);
                    (window, false)
                }
                None => {
                    self.misdelivered(step, identity);
                    return false;
                }
            },
        };
        self.members[member as usize].heard_since_recovery = true;
        if self.is_spared(step, identity) {
            self.echo(step, identity);
            return false;
        }
        let arrival = Arrival {
            at: step.now,
            epoch: step.epoch,
            transport: step.transport,
            window,
            must,
            id: step.id,
        };
        self.into_pair(member, identity, &arrival)
    }

    /// Step 5. True when the receiver did not have the message.
    pub(super) fn into_pair(
        &mut self,
        member: u32,
        identity: &Identity,
        arrival: &Arrival,
    ) -> bool {
        let group = &mut self.groups[identity.group.index()];
        let stream = group.stream_of(identity.publisher);
        let known = group.streams[stream as usize].invoked;
        let horizon = group.streams[stream as usize].horizon;
        let streams = group.streams.len();
        let ours = self.slots.contains(&identity.publisher.0);
        if !ours && identity.seq > known.saturating_add(AHEAD) {
            self.set_aside(member, identity, arrival);
            return false;
        }
        let key = PairKey::new(member, stream);
        if stream as usize >= self.members[member as usize].tracked() {
            self.grow(member, streams);
        }
        let membership = &mut self.members[member as usize];
        match self.pairs.place(membership, key, identity, arrival) {
            Placed::First => self.frames.first += 1,
            Placed::Fill(order) => {
                self.frames.fill += 1;
                if identity.seq <= horizon {
                    self.found_again(identity, stream);
                }
                self.judge_order(
                    membership_slot(&self.members, member),
                    identity,
                    order,
                    arrival,
                );
            }
            Placed::Again => {
                self.frames.again += 1;
                return self.again(key, identity, arrival, horizon);
            }
            Placed::Blind => {
                self.frames.blind += 1;
                return true;
            }
        }
        let late_after = self.plan.late_after.as_micros();
        let intended = identity.unwrap_intended(arrival.at.as_micros());
        if u128::from(arrival.at.as_micros().saturating_sub(intended)) > late_after {
            self.late += 1;
        }
        true
    }

    /// A message counted as open below the horizon has come after all.
    fn found_again(&mut self, identity: &Identity, stream: u32) {
        self.ledgers[identity.group.index()].add(Bucket::Delivered, 1);
        let stream = &mut self.groups[identity.group.index()].streams[stream as usize];
        let seq = identity.seq;
        if let Some(at) = stream
            .unreached
            .iter()
            .position(|(a, b)| *a <= seq && seq <= *b)
        {
            let (first, last) = stream.unreached.remove(at);
            if seq < last {
                stream.unreached.insert(at, (seq + 1, last));
            }
            if first < seq {
                stream.unreached.insert(at, (first, seq - 1));
            }
        }
    }

    fn judge_order(&mut self, slot: Slot, identity: &Identity, order: Order, arrival: &Arrival) {
        match order {
            Order::Fine => {}
            Order::ByRetry => self.permitted.add(Permitted::ReorderedByRetry, 1),
            Order::Reordered { overtaken_by } => {
                self.violations.add(Violation::Reordered, 1);
                let subject = Subject {
                    receiver: Some(slot.0),
                    stream: Some(identity.stream()),
                    seq: Some(identity.seq),
                };
                let text = format!(
                    "slot {slot} got {} after seq {overtaken_by} of the same publisher transport",
                    self.message_name(identity.stream(), identity.seq)
                );
                let evidence = vec![format!(
                    "sent as tx {} on epoch {} transport {}, cause {:?}; arrived {} under sequenceId {}",
                    identity.tx,
                    identity.epoch,
                    identity.transport,
                    identity.cause,
                    arrival.at,
                    arrival.id
                )];
                self.incident(Violation::Reordered, subject, arrival.at, text, evidence);
            }
        }
    }

    /// Makes room for the streams of a group, unless the budget refuses.
    fn grow(&mut self, member: u32, streams: usize) {
        let membership = &self.members[member as usize];
        let wanted = streams.next_multiple_of(GROWTH);
        let more = Membership::bytes_for(wanted) - Membership::bytes_for(membership.tracked());
        if membership.blind
            || self.pressure >= 2
            || self.bytes_peak.saturating_add(more) > self.plan.memory_budget
        {
            self.members[member as usize].blind = true;
            return;
        }
        self.bytes_peak += more;
        self.pairs_held += (wanted - membership.tracked()) as u64;
        self.members[member as usize].grow(wanted);
    }

    fn set_aside(&mut self, member: u32, identity: &Identity, arrival: &Arrival) {
        self.frames.set_aside += 1;
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(Waiting {
                member,
                identity: *identity,
                arrival: *arrival,
            });
        } else {
            self.misuse.note(|| {
                format!("more than {WAITING_MAX} messages were numbered beyond what was sent")
            });
        }
    }

    /// Places what was set aside, as far as facts now cover it.
    pub(super) fn place_waiting(&mut self) {
        let mut at = 0;
        while at < self.waiting.len() {
            let Waiting {
                member,
                identity,
                arrival,
            } = self.waiting[at];
            let group = &self.groups[identity.group.index()];
            let known = group
                .find_stream(identity.publisher)
                .map_or(0, |stream| group.streams[stream as usize].invoked);
            if identity.seq <= known.saturating_add(AHEAD) {
                self.waiting.swap_remove(at);
                self.frames.set_aside -= 1;
                self.into_pair(member, &identity, &arrival);
            } else {
                at += 1;
            }
        }
    }

    /// Step 4: a frame that is not fresh must hold what the receiver has.
    fn replayed(&mut self, step: &Step<'_>, identity: &Identity) {
        let known = self.knows(step, identity);
        match (step.sight, known) {
            (Sight::Replay, true) => {
                self.permitted.add(Permitted::ReplayOverlap, 1);
                self.frames.replay += 1;
            }
            (_, true) => {
                self.frames.replay += 1;
                self.repeated(step.slot, step.id, step.now);
            }
            (sight, false) => {
                if sight == Sight::Replay {
                    let (slot, epoch, transport) = (step.slot, step.epoch, step.transport);
                    let (stream, seq, id) = (identity.stream(), identity.seq, step.id);
                    let name = self.message_name(stream, seq);
                    self.recovery_broken(slot, epoch, transport, step.now, || {
                        format!("replayed {name}, never seen before, under the old sequenceId {id}")
                    });
                } else {
                    self.violations.add(Violation::SequenceReused, 1);
                    self.about(step, Some(identity), Violation::SequenceReused, || {
                        "a new message under an old sequenceId: the client must drop it".into()
                    });
                }
                self.spoil(step, identity);
            }
        }
        self.exercised.add(Property::S3, 1);
    }

    /// A message of the receiver's own of a stream that it is spared: it is owed none of
    /// them, though some retry may have forgotten to ask.
    fn is_spared(&self, step: &Step<'_>, identity: &Identity) -> bool {
        identity.publisher == step.slot
            && (identity.no_echo || self.plan.slots[step.slot.index()].no_echo)
    }

    /// Whether the receiver has this message, or it is of a kind that no pair holds.
    fn knows(&self, step: &Step<'_>, identity: &Identity) -> bool {
        if self.is_spared(step, identity) {
            return true;
        }
        let Some(member) = self.receivers[step.index].member(identity.group) else {
            return true;
        };
        let membership = &self.members[member as usize];
        if membership.may(step.epoch).is_none() && membership.left_at(step.epoch).is_none() {
            return true;
        }
        let Some(stream) = self.groups[identity.group.index()].find_stream(identity.publisher)
        else {
            return false;
        };
        self.pairs
            .has(membership, PairKey::new(member, stream), identity.seq)
            || self.waiting.iter().any(|w| {
                w.member == member
                    && w.identity.stream() == identity.stream()
                    && w.identity.seq == identity.seq
            })
    }

    /// Puts a spoilt message into its pair, if it is what the pair waits for, so that it is
    /// counted once: as what spoilt it, not as lost too.
    fn spoil(&mut self, step: &Step<'_>, identity: &Identity) -> bool {
        let placed = self.spoil_pair(step, identity);
        if placed {
            self.frames.spoilt += 1;
        } else {
            self.frames.unplaced += 1;
        }
        placed
    }

    fn spoil_pair(&mut self, step: &Step<'_>, identity: &Identity) -> bool {
        let Some(member) = self.receivers[step.index].member(identity.group) else {
            return false;
        };
        let group = &mut self.groups[identity.group.index()];
        let stream = group.stream_of(identity.publisher);
        let (streams, horizon) = (group.streams.len(), group.streams[stream as usize].horizon);
        if stream as usize >= self.members[member as usize].tracked() {
            self.grow(member, streams);
        }
        let membership = &mut self.members[member as usize];
        let key = PairKey::new(member, stream);
        let Some((window, must)) = membership.may(step.epoch).map(|w| (w.ordinal, w.must())) else {
            return false;
        };
        if identity.seq <= horizon || !self.pairs.awaits(membership, key, identity.seq) {
            return false;
        }
        let arrival = Arrival {
            at: step.now,
            epoch: step.epoch,
            transport: step.transport,
            window,
            must,
            id: step.id,
        };
        if self.pairs.place(membership, key, identity, &arrival) == Placed::Blind {
            return false;
        }
        self.pairs.faulted.insert((key, identity.seq));
        true
    }

    fn repeated(&mut self, slot: Slot, id: u64, now: Time) {
        self.violations.add(Violation::SequenceRepeated, 1);
        let text = format!("slot {slot} got sequenceId {id} again on the same transport");
        self.about_slot(Violation::SequenceRepeated, slot, now, text);
    }

    fn misdelivered(&mut self, step: &Step<'_>, identity: &Identity) {
        self.frames.misdelivered += 1;
        self.violations.add(Violation::Misdelivered, 1);
        self.about(step, Some(identity), Violation::Misdelivered, || {
            "a message of a group that this connection never joined".into()
        });
    }

    fn echo(&mut self, step: &Step<'_>, identity: &Identity) {
        self.frames.echo += 1;
        if !identity.no_echo {
            self.permitted.add(Permitted::EchoByLostOption, 1);
        } else if identity.epoch == step.epoch {
            self.violations.add(Violation::Echo, 1);
            self.about(step, Some(identity), Violation::Echo, || {
                "its own message, sent with noEcho on this connection".into()
            });
        } else {
            self.permitted.add(Permitted::EchoOnNewConnection, 1);
        }
    }

    /// A frame of a group that was left, with the leave acked.
    fn after_leave(&mut self, step: &Step<'_>, identity: &Identity, left: Time) {
        // `lag` is rounded down, so this is the earliest time of sending.
        let sent = identity.unwrap_intended(step.now.as_micros()) + identity.lag_us;
        if sent <= left.as_micros() {
            self.permitted.add(Permitted::AfterLeaveRace, 1);
        } else if self.plan.promise == Promise::Reference {
            self.violations.add(Violation::DeliveredAfterLeave, 1);
            self.about(step, Some(identity), Violation::DeliveredAfterLeave, || {
                let sent = Time::from_micros(sent);
                format!("sent {sent} or later, after the leave was acked at {left}")
            });
        } else {
            self.unknown.add(Unknown::DeliveredAfterLeave, 1);
        }
    }

    fn check_causality(&mut self, step: &Step<'_>, identity: &Identity) {
        let now = step.now.as_micros();
        if identity.unwrap_intended(now) + identity.lag_us > now + ROUNDING_US {
            self.causality += 1;
        }
    }

    fn check_envelope(&mut self, step: &Step<'_>, identity: &Identity) {
        let plan = &self.plan;
        let Some(publisher) = plan.slots.get(identity.publisher.index()) else {
            return;
        };
        let planned = &*plan.groups[identity.group.index()];
        let data_type = step.message.data.data_type();
        // A hub without the field, or with an empty one, says nothing of the user.
        let user = step.from_user_id.filter(|user| !user.is_empty());
        if step.group != planned {
            self.envelope_wrong(step, Some(identity), || {
                format!("group {:?} in the envelope, sent to another", step.group)
            });
        } else if publisher
            .data_type
            .is_some_and(|planned| planned != data_type)
        {
            self.envelope_wrong(step, Some(identity), || {
                format!("dataType {data_type} in the envelope, sent with another")
            });
        } else if user.is_some() && user != publisher.user_id.as_deref() {
            self.envelope_wrong(step, Some(identity), || {
                format!("fromUserId {user:?} is not the publisher's")
            });
        }
    }

    fn envelope_wrong(
        &mut self,
        step: &Step<'_>,
        identity: Option<&Identity>,
        why: impl FnOnce() -> String,
    ) {
        self.violations.add(Violation::EnvelopeWrong, 1);
        self.about(step, identity, Violation::EnvelopeWrong, why);
    }

    /// A payload that is not of ours at all, as far as can be seen.
    fn shapeless(&mut self, step: &Step<'_>) {
        if !matches!(step.sight, Sight::Fresh { .. }) {
            self.frames.replay += 1;
            if step.sight == Sight::Stale {
                self.repeated(step.slot, step.id, step.now);
            }
        } else if self.plan.exclusive {
            // Invented, or one of ours beyond recognition: decided at the end, when it is
            // known whether one of ours is missing here.
            self.frames.fabricated += 1;
            self.bad
                .entry((step.slot.0, step.epoch))
                .or_default()
                .shapeless += 1;
            self.about(step, None, Violation::Fabricated, || {
                "a payload without an identity of this run".into()
            });
        } else {
            self.frames.foreign += 1;
            self.unknown.add(Unknown::Foreign, 1);
        }
    }

    /// A payload of ours that changed on the way.
    fn corrupted(&mut self, step: &Step<'_>, fields: Option<Identity>) {
        self.violations.add(Violation::Corrupted, 1);
        self.about(step, fields.as_ref(), Violation::Corrupted, || {
            format!(
                "the CRC does not fit {} payload bytes",
                step.message.data.as_bytes().len()
            )
        });
        if !matches!(step.sight, Sight::Fresh { .. }) {
            self.frames.replay += 1;
            return;
        }
        let believable = fields.filter(|identity| self.invented(identity).is_none());
        let placed = match &believable {
            Some(identity) => self.spoil(step, identity),
            None => {
                self.frames.unplaced += 1;
                false
            }
        };
        if !placed {
            self.bad
                .entry((step.slot.0, step.epoch))
                .or_default()
                .corrupted += 1;
        }
    }

    fn about(
        &mut self,
        step: &Step<'_>,
        identity: Option<&Identity>,
        kind: Violation,
        why: impl FnOnce() -> String,
    ) {
        if !self.incidents.wants(kind) {
            return;
        }
        let subject = Subject {
            receiver: Some(step.slot.0),
            stream: identity.map(Identity::stream),
            seq: identity.map(|identity| identity.seq),
        };
        let what = match identity {
            Some(identity) => self.message_name(identity.stream(), identity.seq),
            None => "a frame".into(),
        };
        let text = format!(
            "slot {} got {what} under sequenceId {}: {}",
            step.slot,
            step.id,
            why()
        );
        let mut evidence = Vec::new();
        if let Some(i) = identity {
            evidence.push(format!(
                "frame carries tx {} epoch {} transport {} attempt {} cause {:?}",
                i.tx, i.epoch, i.transport, i.attempt, i.cause
            ));
        }
        self.incident(kind, subject, step.now, text, evidence);
    }
}

const NOTHING: FrameVerdict = FrameVerdict {
    identity: None,
    fresh: false,
};

fn membership_slot(members: &[Membership], member: u32) -> Slot {
    members[member as usize].slot
}
