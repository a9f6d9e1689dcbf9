//! The request to publish: judged, executed, answered; and what faults make of it.

use super::outbox::Out;
use super::publish::Publication;
use super::requests::{BAD_GROUP, DUPLICATE, FAILED, FORBIDDEN, Source};
use super::sessions::is_group_name;
use super::state::Core;
use crate::base::AckId;
use crate::hub::faults::FaultKind;

impl Core {
    /// A `sendToGroup`. Its deliveries are queued before its ack, so the sender's own echo
    /// comes first. Source: the official emulator.
    pub(super) fn send_to_group(&mut self, from: Source, publication: &Publication<'_>) {
        let ack_id = publication.ack_id;
        if !self.faults.is_empty() {
            self.send_faulty(from, publication);
        } else if !self.is_send_answered(from, publication) {
            self.publish(publication);
            self.succeed(from, ack_id);
        }
    }

    /// Answers a publish that needs no execution.
    fn is_send_answered(&mut self, from: Source, publication: &Publication<'_>) -> bool {
        let &Publication { group, ack_id, .. } = publication;
        let group = group.unwrap_or_default();
        let named = is_group_name(group).then_some(()).ok_or(BAD_GROUP);
        let allowed = self
            .sessions
            .get(from.session)
            .is_some_and(|session| session.permissions.may_send(group));
        self.is_answered(from, ack_id, named, allowed)
    }

    /// The same with faults armed. Each is asked only where it could be seen: those of
    /// acks only for publishes that want one.
    fn send_faulty(&mut self, from: Source, publication: &Publication<'_>) {
        let ack_id = publication.ack_id;
        if self.was_executed(from, ack_id) && self.fires(FaultKind::IgnoreDedupe, from, publication)
        {
            self.publish(publication);
            self.succeed(from, ack_id);
            return;
        }
        if self.is_send_answered(from, publication) {
            return;
        }
        if self.fires(FaultKind::Refuse, from, publication) {
            self.nack(from, ack_id, FAILED);
            return;
        }
        let Some(id) = ack_id else {
            self.publish(publication);
            return;
        };
        if self.fires(FaultKind::FalseDuplicate, from, publication) {
            self.nack(from, ack_id, DUPLICATE);
            return;
        }
        if self.fires(FaultKind::AckLie, from, publication) {
            self.succeed(from, ack_id);
            return;
        }
        self.publish(publication);
        if self.fires(FaultKind::RefuseExecuted, from, publication) {
            self.nack(from, ack_id, FAILED);
        } else if self.fires(FaultKind::ForbidExecuted, from, publication) {
            self.nack(from, ack_id, FORBIDDEN);
        } else if self.fires(FaultKind::LoseAck, from, publication) {
            self.remember(from, id);
        } else {
            self.succeed(from, ack_id);
            self.acknowledge_nothing(from, id, publication);
        }
    }

    /// The fault `ack_unsolicited`: an ack for an id far from every one that a counting
    /// client reaches.
    fn acknowledge_nothing(&mut self, from: Source, id: AckId, publication: &Publication<'_>) {
        let nothing = AckId(id.0.wrapping_add(1 << 62));
        let publication = Publication {
            ack_id: Some(nothing),
            ..*publication
        };
        if self.fires(FaultKind::AckUnsolicited, from, &publication) {
            self.send(from.link, Out::Ack(nothing));
        }
    }

    /// Takes an opportunity for a fault of a publish and books it if it fires.
    fn fires(&mut self, kind: FaultKind, from: Source, publication: &Publication<'_>) -> bool {
        let fired = self
            .faults
            .fires(kind, publication.group, publication.now)
            .is_some();
        if fired {
            let (group, now) = (publication.group, publication.now);
            self.request_incident(kind, from, group, publication.ack_id, now);
        }
        fired
    }
}
