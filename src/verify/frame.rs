//! What a data frame means: the steps of the hot path, in order. No allocation per sound
//! frame.
//!
//! 1. sequence id: fresh, replayed or repeated (S1, S2);
//! 2. identity and envelope (I1, I2, D7);
//! 3. membership and echo (D5, D5b, D6);
//! 4. a replay must hold known messages (S3);
//! 5. the pair (D4, O1; what is missing is judged in `judge`).

use super::connection::{Link, Receiver, Sight};
use super::events::FrameVerdict;
use super::incident::Subject;
use super::kinds::{Permitted, Unknown, Violation};
use super::membership::SEQ_MAX;
use super::pairs::Arrival;
use super::plan::{Mode, Promise};
use super::recorder::FrameRecord;
use super::shard::{Gap, Shard};
use crate::base::{Slot, Time};
use crate::payload::{BodyError, Identity, read, read_as_other};
use crate::wire::{Data, DataMessage, MessageFrom};

/// Stamps within this of each other may be rounded apart, µs.
const ROUNDING_US: u64 = 1000;

/// A group message on its way through the steps.
pub(super) struct Step<'m> {
    pub(super) index: usize,
    pub(super) slot: Slot,
    pub(super) epoch: u16,
    pub(super) transport: u16,
    pub(super) id: u64,
    pub(super) sight: Sight,
    pub(super) message: &'m DataMessage<'m>,
    /// As the envelope says; `None`: a message of the server.
    pub(super) group: Option<&'m str>,
    pub(super) from_user_id: Option<&'m str>,
    pub(super) now: Time,
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
        let Receiver { conn, reliable, .. } = &mut self.receivers[index];
        let reliable = *reliable;
        let Some(conn) = conn.as_mut() else {
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
            } => (Some(group.as_ref()), from_user_id.as_deref()),
            MessageFrom::Server if self.owes_nothing(message) => {
                self.record(index, id, epoch, None, now);
                return self.server(slot, message, id, sight, now);
            }
            MessageFrom::Server => (None, None),
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
        let body =
            read(&message.data).or_else(|error| self.read_misnamed(&message.data).ok_or(error));
        match body {
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

    /// A payload under another type's name than its publisher's is whole; its envelope is
    /// what is wrong.
    fn read_misnamed(&self, data: &Data<'_>) -> Option<Identity> {
        let identity = read_as_other(data)?;
        let planned = self.plan.slot(identity.publisher)?.data_type?;
        (planned != data.data_type()).then_some(identity)
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
        let frame = FrameRecord {
            at: now,
            id,
            publisher: identity.map_or(0, |i| i.publisher.0),
            group: identity.map_or(0, |i| i.group.0),
            seq: identity.map_or(0, |i| i.seq),
            tx: identity.map_or(0, |i| i.tx),
            epoch,
            attempt: identity.map_or(0, |i| i.attempt),
        };
        self.recorder.push(index, frame);
    }

    /// Whether a message of the service belongs to no stream of the plan, such as the
    /// answer to an event of which no reply is expected.
    fn owes_nothing(&self, message: &DataMessage<'_>) -> bool {
        if self.plan.audiences.is_empty() || self.plan.mode == Mode::Counts {
            return true;
        }
        read(&message.data).is_ok_and(|identity| {
            identity.run == self.plan.run && self.plan.name(identity.group).is_none()
        })
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
    pub(super) fn invented(&self, identity: &Identity) -> Option<&'static str> {
        if identity.run != self.plan.run {
            return Some("a message of another run");
        }
        let publishes = self
            .plan
            .slot(identity.publisher)
            .is_some_and(|slot| slot.data_type.is_some());
        if !publishes || self.plan.name(identity.group).is_none() {
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
        if self.members[member as usize].silent_since.is_some() {
            // What was replayed says nothing of the membership: it may have been queued
            // before it was forgotten.
            let confirmed = self.receivers[step.index].recoveries.last();
            let sent = identity.unwrap_intended(step.now.as_micros()) + identity.lag_us;
            if confirmed.is_none_or(|recovery| sent > recovery.confirmed_at.as_micros()) {
                self.members[member as usize].silent_since = None;
            }
        }
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
            sound: true,
            id: step.id,
        };
        self.place_delivery(member, identity, &arrival)
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
        let addressed = plan.name(identity.group);
        let by_server = plan.is_audience(identity.group);
        let data_type = step.message.data.data_type();
        // A hub without the field, or with an empty one, says nothing of the user.
        let user = step.from_user_id.filter(|user| !user.is_empty());
        if by_server && let Some(group) = step.group {
            self.envelope_wrong(step, Some(identity), || {
                format!("group {group:?} in the envelope of a server message")
            });
        } else if !by_server && step.group.is_none() {
            self.envelope_wrong(step, Some(identity), || {
                "sent to a group, and came as a server message".into()
            });
        } else if !by_server && step.group != addressed {
            self.envelope_wrong(step, Some(identity), || {
                let group = step.group.unwrap_or_default();
                format!("group {group:?} in the envelope, sent to another")
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

    pub(super) fn about(
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
            frame: Some((step.now, step.id)),
            ..Subject::default()
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
        if matches!(kind, Violation::Corrupted | Violation::Fabricated) {
            super::evidence::payload_story(&step.message.data, identity, &mut evidence);
        }
        self.incident(kind, subject, step.now, text, evidence);
    }
}

const NOTHING: FrameVerdict = FrameVerdict {
    identity: None,
    fresh: false,
};
