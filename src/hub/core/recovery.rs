//! Recovery: a new transport continues a session. Source: client-spec 1.4.

use super::arena::Key;
use super::outbox::{End, Out};
use super::sessions::connection_text;
use super::state::Core;
use crate::base::Time;
use crate::hub::faults::FaultKind;
use crate::hub::truth::Incident;
use crate::wire::Subprotocol;

/// Why a recovery was refused; the client is told nothing but close 1008.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecoveryRefused {
    UnknownSession,
    BadToken,
    NotReliable,
    Fault,
}

impl RecoveryRefused {
    /// The name in the truth file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            RecoveryRefused::UnknownSession => "unknown_session",
            RecoveryRefused::BadToken => "bad_token",
            RecoveryRefused::NotReliable => "not_reliable",
            RecoveryRefused::Fault => "fault",
        }
    }
}

impl Core {
    /// Continues the session `connection_id` on a new transport: `connected` with a fresh
    /// token, then every unacknowledged message in order, then what is new. A transport
    /// still open is reset: the newcomer wins.
    ///
    /// # Errors
    /// No such session (any more), or not with this token: close the transport with 1008.
    pub(crate) fn recover(
        &mut self,
        connection_id: &str,
        token: &str,
        now: Time,
    ) -> Result<Key, RecoveryRefused> {
        self.now = now;
        let result = self.recoverable(connection_id, token, now);
        let key = match result {
            Ok(key) => key,
            Err(refused) => {
                self.truth.recovery_refused(refused.name());
                return Err(refused);
            }
        };
        let old = self.sessions.get(key).and_then(|session| session.link);
        if let Some(old) = old {
            self.truth.transports_dropped += 1;
            self.end_link(old, End::Reset);
            self.detach(key, now);
        }
        self.truth.recoveries_accepted += 1;
        let Some(session) = self.sessions.get(key) else {
            // recoverable() has just found it.
            return Err(RecoveryRefused::UnknownSession);
        };
        let link = self.attach(key, session.dialect.encoding());
        let Some(session) = self.sessions.get_mut(key) else {
            return Err(RecoveryRefused::UnknownSession);
        };
        session.link = Some(link);
        // A drop later than this one gets its own timer; this one's no longer fits.
        session.drops += 1;
        let mut id = session.id;
        if !self.faults.is_empty() {
            id = self.spoil_recovery(key, now);
        }
        self.send_connected(key, link, id, now);
        if let Some(fired) = self.faults.fires(FaultKind::RecoverySlow, None, now) {
            let wait = self.faults.lasting(fired);
            let incident = Incident {
                connection: Some(connection_text(id)),
                ..Incident::default()
            };
            self.truth.fault(FaultKind::RecoverySlow, now, incident);
            self.stall_link(link, wait);
        }
        self.replay(key, link, now);
        Ok(link)
    }

    /// What a transport's session speaks; `None`: payloads only.
    pub(crate) fn subprotocol_of(&self, link: Key) -> Option<Subprotocol> {
        let session = self.links.get(link)?.session;
        self.sessions.get(session)?.dialect.subprotocol()
    }

    /// The session that may be recovered so.
    fn recoverable(
        &mut self,
        connection_id: &str,
        token: &str,
        now: Time,
    ) -> Result<Key, RecoveryRefused> {
        let id = (connection_id.len() == 32)
            .then(|| u128::from_str_radix(connection_id, 16).ok())
            .flatten()
            .ok_or(RecoveryRefused::UnknownSession)?;
        let key = *self.by_id.get(&id).ok_or(RecoveryRefused::UnknownSession)?;
        let session = self
            .sessions
            .get(key)
            .ok_or(RecoveryRefused::UnknownSession)?;
        if !session.dialect.is_reliable() {
            return Err(RecoveryRefused::NotReliable);
        }
        if !self.tokens.is_valid(token, id, now) {
            return Err(RecoveryRefused::BadToken);
        }
        if self.recovery_fault(FaultKind::RecoveryDeny, id, None, now) {
            let link = self.sessions.get(key).and_then(|session| session.link);
            self.remove_session(key, "the connection was not recovered");
            self.truth.sessions_killed += 1;
            link.into_iter()
                .for_each(|link| self.end_link(link, End::Reset));
            return Err(RecoveryRefused::Fault);
        }
        Ok(key)
    }

    /// Sends what waits, less what has outlived its time to live: that leaves a gap in the
    /// sequence ids, as documented.
    fn replay(&mut self, key: Key, link: Key, now: Time) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let before = session.unacked.len();
        session.unacked.retain(|message| message.tail.expires > now);
        session.unacked_bytes = session.unacked.iter().map(|m| m.tail.len()).sum();
        self.truth.deliveries_expired += (before - session.unacked.len()) as u64;
        let sent_before = session.last_id_at_drop;
        let replay: Vec<_> = session.unacked.iter().cloned().collect();
        for message in replay {
            if message.sequence_id <= sent_before {
                self.truth.deliveries_replayed += 1;
            }
            self.send(
                link,
                Out::Data {
                    sequence_id: message.sequence_id,
                    tail: message.tail,
                },
            );
        }
    }
}
