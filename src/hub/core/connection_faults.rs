//! Faults of connections: how they are made, how they end, what they suffer meanwhile.

use std::time::Duration;

use super::arena::Key;
use super::outbox::{End, Out};
use super::publish::Publication;
use super::requests::Source;
use super::state::Core;
use crate::base::Time;
use crate::hub::faults::FaultKind;
use crate::hub::truth::Incident;
use crate::wire::close;

/// Memberships remembered for `deny_rejoin`; joins beyond are never taken for rejoins.
const PAST_MEMBERS_MAX: usize = 100_000;
/// A frame of the fault `oversized` has so many bytes of padding, above every limit.
const OVERSIZED_BYTES: usize = 2 << 20;

/// What a connect request meets with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnectFault {
    /// The TCP connection is closed without an answer.
    Refuse,
    /// The same after a while.
    Hang(Duration),
    /// The request is answered with this status.
    Status(u16),
    /// Its token is taken for an expired one.
    TokenExpired,
}

impl Core {
    /// A connect request is an opportunity for these. Gives how long to wait before the
    /// request is looked at, and what to do wrong then.
    pub(crate) fn connect_faults(
        &mut self,
        has_token: bool,
        now: Time,
    ) -> (Duration, Option<ConnectFault>) {
        self.now = now;
        let mut wait = Duration::ZERO;
        if self.faults.is_empty() {
            return (wait, None);
        }
        if let Some(lasting) = self.connect_fault(FaultKind::DelayConnect) {
            wait = lasting;
        }
        for (kind, fault) in [
            (FaultKind::RefuseConnect, Some(ConnectFault::Refuse)),
            (FaultKind::HangConnect, None),
            (FaultKind::Http401, Some(ConnectFault::Status(401))),
            (FaultKind::Http429, Some(ConnectFault::Status(429))),
            (FaultKind::Http503, Some(ConnectFault::Status(503))),
        ] {
            if let Some(lasting) = self.connect_fault(kind) {
                return (wait, Some(fault.unwrap_or(ConnectFault::Hang(lasting))));
            }
        }
        if has_token && self.connect_fault(FaultKind::TokenExpired).is_some() {
            return (wait, Some(ConnectFault::TokenExpired));
        }
        (wait, None)
    }

    fn connect_fault(&mut self, kind: FaultKind) -> Option<Duration> {
        let fired = self.faults.fires(kind, None, self.now)?;
        self.truth.fault(kind, self.now, Incident::default());
        Some(self.faults.lasting(fired))
    }

    /// Whether a join is one that the user made on an earlier connection, and shall fail.
    /// Remembers it otherwise. Only users with an id can be recognised.
    pub(super) fn denies_rejoin(&mut self, from: Source, group: &str) -> bool {
        if !self.faults.has(FaultKind::DenyRejoin) {
            return false;
        }
        let Some(session) = self.sessions.get(from.session) else {
            return false;
        };
        let Some(user) = session.user.clone().filter(|user| !user.is_empty()) else {
            return false;
        };
        let is_member = self
            .groups
            .find(session.hub, group)
            .is_some_and(|group| session.groups.iter().any(|m| m.group == group));
        let key = (user, Box::from(group));
        if !is_member
            && self.past_members.contains(&key)
            && self
                .faults
                .fires(FaultKind::DenyRejoin, Some(group), self.now)
                .is_some()
        {
            return true;
        }
        if self.past_members.len() < PAST_MEMBERS_MAX {
            self.past_members.insert(key);
        }
        false
    }

    /// After each delivery to a member: what its connection suffers.
    pub(super) fn hurt_connection(&mut self, publication: &Publication<'_>, member: Key) {
        let Some(link) = self.sessions.get(member).and_then(|session| session.link) else {
            return;
        };
        // That of the delivery just made.
        let id = self
            .sessions
            .get(member)
            .map(|session| session.last_id)
            .filter(|&id| id > 0);
        if self.fault(FaultKind::Garbage, publication, member, id) {
            let frame = Out::Frame {
                binary: false,
                bytes: b"\x7bthis is no frame"[..].into(),
            };
            self.send(link, frame);
        }
        if self.fault(FaultKind::Oversized, publication, member, id) {
            let mut text = br#"{"type":"oversized","padding":""#.to_vec();
            text.resize(text.len() + OVERSIZED_BYTES, b'x');
            text.extend_from_slice(b"\"}");
            let frame = Out::Frame {
                binary: false,
                bytes: text.into(),
            };
            self.send(link, frame);
        }
        let group = publication.group;
        if let Some(fired) = self.faults.fires(FaultKind::Stall, group, self.now) {
            self.book(FaultKind::Stall, publication, member, id);
            let wait = self.faults.lasting(fired);
            self.stall_link(link, wait);
        }
        if self.fault(FaultKind::Freeze, publication, member, id)
            && let Some(session) = self.sessions.get_mut(member)
        {
            session.fault_state.get_or_insert_default().frozen = true;
        }
        if self.fault(FaultKind::HalfOpen, publication, member, id)
            && let Some(state) = self.links.get_mut(link)
        {
            state.mute = true;
            state.outbox.clear();
        }
        if self.fault(FaultKind::Reset, publication, member, id) {
            self.end_link(link, End::Reset);
        }
        if let Some(fired) = self.faults.fires(FaultKind::Close, group, self.now) {
            self.book(FaultKind::Close, publication, member, id);
            let code = self.faults.code(fired);
            if matches!(code, close::NORMAL | close::POLICY) {
                self.doomed.push(member);
            }
            let reason = "closed by a fault".into();
            self.end_link(link, End::Close { code, reason });
        }
    }

    /// Ends the sessions that a `close` with a final code has doomed; after the fan-out,
    /// because memberships change.
    pub(super) fn end_doomed(&mut self) {
        while let Some(key) = self.doomed.pop() {
            if self.remove_session(key, "closed by a fault") {
                self.truth.sessions_killed += 1;
            }
        }
    }

    /// Whether a transport is half-open by a fault: what comes from it is not heard.
    pub(crate) fn is_mute(&self, link: Key) -> bool {
        self.links.get(link).is_some_and(|link| link.mute)
    }
}
