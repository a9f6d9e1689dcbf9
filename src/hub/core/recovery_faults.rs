//! Recoveries with faults armed: what goes wrong between the new transport and the replay.

use super::arena::Key;
use super::sessions::connection_text;
use super::state::Core;
use crate::base::Time;
use crate::hub::faults::FaultKind;
use crate::hub::truth::Incident;

/// Messages that a recovery with the fault `recovery_repeat` sends again.
pub(crate) const REPEATED_MAX: usize = 3;

impl Core {
    /// Commits the recovery faults that are due; returns the connectionId to announce.
    pub(super) fn spoil_recovery(&mut self, key: Key, now: Time) -> u128 {
        let Some(id) = self.sessions.get(key).map(|session| session.id) else {
            return 0;
        };
        self.lose_one(key, id, now);
        self.repeat_some(key, id, now);
        self.forget_groups(key, id, now);
        self.renumber(key, id, now);
        if self.recovery_fault(FaultKind::RecoveryOtherId, id, None, now) {
            return id ^ 1;
        }
        id
    }

    /// An opportunity to lose is a message that was certainly never sent.
    fn lose_one(&mut self, key: Key, id: u128, now: Time) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let Some(at) = session
            .unacked
            .iter()
            .position(|message| message.sequence_id > session.last_id_at_drop)
        else {
            return;
        };
        let sequence_id = session.unacked[at].sequence_id;
        if self.recovery_fault(FaultKind::RecoveryLose, id, Some(sequence_id), now)
            && let Some(session) = self.sessions.get_mut(key)
            && let Some(lost) = session.unacked.remove(at)
        {
            session.unacked_bytes -= lost.tail.len();
        }
    }

    fn repeat_some(&mut self, key: Key, id: u128, now: Time) {
        let acked = self
            .sessions
            .get_mut(key)
            .and_then(|session| session.fault_state.as_deref_mut())
            .map(|state| std::mem::take(&mut state.acked))
            .unwrap_or_default();
        let first = acked.front().map(|message| message.sequence_id);
        if first.is_some()
            && self.recovery_fault(FaultKind::RecoveryRepeat, id, first, now)
            && let Some(session) = self.sessions.get_mut(key)
        {
            for message in acked.into_iter().rev() {
                session.unacked_bytes += message.tail.len();
                session.unacked.push_front(message);
            }
        }
    }

    fn forget_groups(&mut self, key: Key, id: u128, now: Time) {
        let first_group = |core: &Core| {
            let session = core.sessions.get(key)?;
            session.groups.last().map(|membership| membership.group)
        };
        if first_group(self).is_some()
            && self.recovery_fault(FaultKind::RecoveryForgetGroups, id, None, now)
        {
            while let Some(group) = first_group(self) {
                self.groups.leave(&mut self.sessions, key, group);
            }
        }
    }

    fn renumber(&mut self, key: Key, id: u128, now: Time) {
        if self
            .sessions
            .get(key)
            .is_some_and(|session| session.last_id > 0)
            && self.recovery_fault(FaultKind::RecoveryRenumber, id, Some(1), now)
            && let Some(session) = self.sessions.get_mut(key)
        {
            for (message, number) in session.unacked.iter_mut().zip(1..) {
                message.sequence_id = number;
            }
            session.last_id = session.unacked.len() as u64;
        }
    }

    /// Takes an opportunity for a fault of a recovery and books it if it fires.
    pub(super) fn recovery_fault(
        &mut self,
        kind: FaultKind,
        id: u128,
        sequence_id: Option<u64>,
        now: Time,
    ) -> bool {
        let fired = self.faults.fires(kind, None, now).is_some();
        if fired {
            let incident = Incident {
                connection: Some(connection_text(id)),
                sequence_id,
                ..Incident::default()
            };
            self.truth.fault(kind, now, incident);
        }
        fired
    }
}
