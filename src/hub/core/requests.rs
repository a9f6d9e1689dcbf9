//! What each frame of a client does. Source: client-spec 3.

use super::arena::Key;
use super::events::{Event, Reply};
use super::outbox::{Nack, Out};
use super::publish::Publication;
use super::sessions::{connection_text, is_group_name};
use super::state::{Core, Unacked};
use crate::base::{AckId, SequenceId, Time};
use crate::hub::faults::FaultKind;
use crate::hub::truth::Incident;
use crate::wire::{Extras, Metadata, Request, Upstream};

pub(super) const DUPLICATE: &Nack = &Nack {
    name: "Duplicate",
    message: "the request with this ackId has been executed before",
};
pub(super) const FORBIDDEN: &Nack = &Nack {
    name: "Forbidden",
    message: "the connection has no role that allows this",
};
pub(super) const BAD_GROUP: &Nack = &Nack {
    name: "BadRequest",
    message: "a group name has 1 to 1024 characters and is not only white space",
};
pub(super) const FAILED: &Nack = &Nack {
    name: "InternalServerError",
    message: "the request could not be executed",
};

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) link: Key,
    pub(super) session: Key,
}

impl Core {
    /// Executes one frame of a client.
    pub(crate) fn frame(&mut self, link: Key, request: Request<'_>, now: Time) {
        self.now = now;
        let Some(session) = self
            .links
            .get(link)
            .filter(|link| link.end.is_none())
            .map(|link| link.session)
        else {
            return;
        };
        let from = Source { link, session };
        match request {
            Request::Basic { frame, extras } => {
                self.basic_frame(from, frame, extras.as_deref(), now);
            }
            other => self.newer_frame(from, other, now),
        }
        self.end_overflowed();
    }

    /// A frame that every client knows.
    fn basic_frame(
        &mut self,
        from: Source,
        frame: Upstream<'_>,
        extras: Option<&Extras>,
        now: Time,
    ) {
        let Source { link, session } = from;
        match frame {
            Upstream::SendToGroup {
                group,
                ack_id,
                no_echo,
                data,
            } => {
                self.truth.requests.send_to_group += 1;
                let Some(hub) = self.sessions.get(session).map(|session| session.hub) else {
                    return;
                };
                let publication = Publication {
                    publisher: Some(session),
                    no_echo,
                    ack_id,
                    ..Publication::plain(hub, &group, &data, now).with_extras(extras)
                };
                self.send_to_group(from, &publication);
            }
            Upstream::SequenceAck { sequence_id } => {
                self.truth.requests.sequence_ack += 1;
                self.sequence_ack(session, sequence_id);
            }
            Upstream::JoinGroup { group, ack_id } => {
                self.truth.requests.join_group += 1;
                self.join_group(from, &group, ack_id, now);
            }
            Upstream::LeaveGroup { group, ack_id } => {
                self.truth.requests.leave_group += 1;
                self.leave_group(from, &group, ack_id, now);
            }
            Upstream::Event {
                event,
                ack_id,
                data,
            } => {
                self.truth.requests.event += 1;
                let event = Event {
                    name: &event,
                    data: &data,
                    metadata: extras.map_or(Metadata::EMPTY, |extras| &extras.metadata),
                    reply: Reply::Ack(ack_id),
                };
                self.event(from, &event);
            }
            Upstream::Ping => {
                self.truth.requests.ping += 1;
                self.send(link, Out::Pong);
            }
        }
    }

    /// A request without an ackId is answered by nothing, whatever came of it.
    pub(super) fn nack(&mut self, from: Source, ack_id: Option<AckId>, nack: &'static Nack) {
        if let Some(ack_id) = ack_id {
            self.answer(from, Out::Nack(ack_id, nack), ack_id);
        }
    }

    pub(super) fn succeed(&mut self, from: Source, ack_id: Option<AckId>) {
        if let Some(ack_id) = ack_id {
            self.remember(from, ack_id);
            self.answer(from, Out::Ack(ack_id), ack_id);
        }
    }

    pub(super) fn remember(&mut self, from: Source, ack_id: AckId) {
        if let Some(session) = self.sessions.get_mut(from.session) {
            session.acks.remember(ack_id);
        }
    }

    pub(super) fn was_executed(&self, from: Source, ack_id: Option<AckId>) -> bool {
        ack_id.is_some_and(|ack_id| {
            self.sessions
                .get(from.session)
                .is_some_and(|session| session.acks.contains(ack_id))
        })
    }

    /// Answers requests that need no execution: repeated, badly named, or forbidden.
    pub(super) fn is_answered(
        &mut self,
        from: Source,
        ack_id: Option<AckId>,
        is_named: Result<(), &'static Nack>,
        is_allowed: bool,
    ) -> bool {
        if self.was_executed(from, ack_id) {
            self.truth.duplicates_answered += 1;
            self.nack(from, ack_id, DUPLICATE);
        } else if let Err(nack) = is_named {
            self.truth.bad_requests += 1;
            self.nack(from, ack_id, nack);
        } else if !is_allowed {
            self.truth.forbidden += 1;
            self.nack(from, ack_id, FORBIDDEN);
        } else {
            return false;
        }
        true
    }

    fn may_join(&self, from: Source, group: &str) -> bool {
        self.sessions
            .get(from.session)
            .is_some_and(|session| session.permissions.may_join(group))
    }

    fn join_group(&mut self, from: Source, group: &str, ack_id: Option<AckId>, now: Time) {
        let named = is_group_name(group).then_some(()).ok_or(BAD_GROUP);
        let allowed = self.may_join(from, group);
        if self.is_answered(from, ack_id, named, allowed) {
            return;
        }
        if self
            .faults
            .fires(FaultKind::DenyJoin, Some(group), now)
            .is_some()
        {
            self.request_incident(FaultKind::DenyJoin, from, Some(group), ack_id, now);
            self.nack(from, ack_id, FORBIDDEN);
            return;
        }
        if self.denies_rejoin(from, group) {
            self.request_incident(FaultKind::DenyRejoin, from, Some(group), ack_id, now);
            self.nack(from, ack_id, FORBIDDEN);
            return;
        }
        if !self.join_later(from, group, ack_id) {
            self.join(from.session, group);
            self.is_member_again(from.session, group);
            self.join_doubly(from, group, ack_id);
        }
        self.succeed(from, ack_id);
    }

    fn leave_group(&mut self, from: Source, group: &str, ack_id: Option<AckId>, now: Time) {
        let named = is_group_name(group).then_some(()).ok_or(BAD_GROUP);
        let allowed = self.may_join(from, group);
        if self.is_answered(from, ack_id, named, allowed) {
            return;
        }
        self.forget_late_join(from.session, group);
        let group_key = self
            .sessions
            .get(from.session)
            .and_then(|session| self.groups.find(session.hub, group));
        if let Some(group_key) = group_key {
            let is_member = self
                .sessions
                .get(from.session)
                .is_some_and(|session| session.groups.iter().any(|m| m.group == group_key));
            if is_member
                && self
                    .faults
                    .fires(FaultKind::IgnoreLeave, Some(group), now)
                    .is_some()
            {
                self.request_incident(FaultKind::IgnoreLeave, from, Some(group), ack_id, now);
                if let Some(session) = self.sessions.get_mut(from.session) {
                    let left = &mut session.fault_state.get_or_insert_default().left;
                    left.push(group_key);
                }
            } else {
                self.cut_at_leave(from.session, group_key);
                self.leave(from.session, group_key);
                if is_member
                    && self.faults.has(FaultKind::Misdeliver)
                    && let Some(session) = self.sessions.get_mut(from.session)
                {
                    let departed = &mut session.fault_state.get_or_insert_default().departed;
                    if !departed.contains(&group_key) {
                        departed.push(group_key);
                    }
                }
            }
        }
        self.succeed(from, ack_id);
    }

    pub(super) fn request_incident(
        &mut self,
        kind: FaultKind,
        from: Source,
        group: Option<&str>,
        ack_id: Option<AckId>,
        now: Time,
    ) {
        let connection = self
            .sessions
            .get(from.session)
            .map(|session| connection_text(session.id));
        let incident = Incident {
            group: group.map(str::to_owned),
            publisher: connection.clone(),
            connection,
            ack_id: ack_id.map(|id| id.0),
            ..Incident::default()
        };
        self.truth.fault(kind, now, incident);
    }

    /// A join ends what `ignore_leave` did to the membership.
    fn is_member_again(&mut self, session: Key, group: &str) {
        if let Some(session) = self.sessions.get_mut(session)
            && let Some(state) = session.fault_state.as_deref_mut()
            && let Some(group) = self.groups.find(session.hub, group)
        {
            state.left.retain(|left| *left != group);
        }
    }

    /// The fault `double_join`: the session gets what is published to the group twice.
    fn join_doubly(&mut self, from: Source, group: &str, ack_id: Option<AckId>) {
        if !self.faults.has(FaultKind::DoubleJoin)
            || self
                .faults
                .fires(FaultKind::DoubleJoin, Some(group), self.now)
                .is_none()
        {
            return;
        }
        let Some(session) = self.sessions.get_mut(from.session) else {
            return;
        };
        if let Some(key) = self.groups.find(session.hub, group) {
            let state = session.fault_state.get_or_insert_default();
            state.doubled.push(key);
            self.request_incident(FaultKind::DoubleJoin, from, Some(group), ack_id, self.now);
        }
    }

    /// Cumulative: frees everything up to the id; an id not sent yet frees everything, as
    /// the official emulator does. Ignored on subprotocols without sequence ids.
    fn sequence_ack(&mut self, session: Key, up_to: SequenceId) {
        let keep_acked = self.faults.has(FaultKind::RecoveryRepeat);
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        while let Some(first) = session.unacked.front()
            && first.sequence_id <= up_to.0
            && let Some(acked) = session.unacked.pop_front()
        {
            session.unacked_bytes -= acked.tail.len();
            if keep_acked {
                remember_acked(session.fault_state.get_or_insert_default(), acked);
            }
        }
        if session.unacked.is_empty() && session.unacked.capacity() > 64 {
            session.unacked.shrink_to_fit();
        }
    }
}

fn remember_acked(state: &mut super::state::FaultState, acked: Unacked) {
    if state.acked.len() == super::recovery_faults::REPEATED_MAX {
        state.acked.pop_front();
    }
    state.acked.push_back(acked);
}
