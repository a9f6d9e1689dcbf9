//! What the hub really did: counted where it happens, written as the truth file.
//!
//! Field names are stable: scripts and the selftest read them. Counters start at 0 with
//! the hub and go on across [`crate::hub::Hub::restart`].

use std::collections::{BTreeMap, HashMap};

use serde::{Serialize, Serializer};

use super::faults::FaultKind;
use crate::base::Time;

/// Fault incidents kept in detail; later ones are only counted.
pub const INCIDENTS_MAX: usize = 10_000;

/// Groups whose account is kept one by one; what goes to more is in one row, `(rest)`.
pub const GROUPS_MAX: usize = 10_000;

/// The hub's own account of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Truth {
    /// Always `hubstorm.truth/1`.
    pub schema: &'static str,
    /// The seed of ids and faults.
    pub seed: u64,
    /// New sessions opened (a WebSocket with a new connectionId).
    pub connections_accepted: u64,
    /// Connect requests refused, by HTTP status.
    pub connections_refused: BTreeMap<u16, u64>,
    /// Reconnection tokens refreshed on a live connection.
    pub tokens_refreshed: u64,
    /// Recoveries that continued a session.
    pub recoveries_accepted: u64,
    /// Recoveries answered with close 1008, by reason: `unknown_session`, `bad_token`,
    /// `not_reliable`, `fault`.
    pub recoveries_refused: BTreeMap<&'static str, u64>,
    /// Transports that ended without ending their session (it stayed recoverable).
    pub transports_dropped: u64,
    /// Transports cut because their peer was silent for two keep-alive periods.
    pub ping_timeouts: u64,
    /// Sessions whose recovery window ran out.
    pub sessions_expired: u64,
    /// Sessions ended because 1000 messages or 16 MiB waited for their sequenceAck.
    pub sessions_overflowed: u64,
    /// Non-reliable sessions ended because their transport was too slow.
    pub sessions_slow: u64,
    /// Sessions ended by the hub for a protocol violation of the client.
    pub sessions_violated: u64,
    /// Sessions ended by the client: close 1000, or any drop when not reliable.
    pub sessions_ended_by_client: u64,
    /// Sessions ended by a restart, a stop or a recovery fault.
    pub sessions_killed: u64,
    /// Sessions closed through the service API.
    pub sessions_closed_by_service: u64,
    /// Sends through the service API.
    pub service_sends: u64,
    /// Requests to the service API that were refused.
    pub service_refused: u64,
    /// Connections closed at once because too many were in their handshake.
    pub handshakes_shed: u64,
    /// Times that all state was thrown away.
    pub restarts: u64,
    /// Frames received, by kind.
    pub requests: Requests,
    /// Publishes fanned out, also to no member at all.
    pub publishes_executed: u64,
    /// Requests answered with `Duplicate` because they had been executed.
    pub duplicates_answered: u64,
    /// Requests refused for want of a role.
    pub forbidden: u64,
    /// Requests refused with `BadRequest` for a bad name.
    pub bad_requests: u64,
    /// Events and invocations that a handler took, the built-in echo included.
    pub events_handled: u64,
    /// Calls upstream that failed.
    pub events_failed: u64,
    /// Cookies of the handler upstream for which there was no room.
    pub cookies_dropped: u64,
    /// Events that no handler took.
    pub events_unhandled: u64,
    /// Invocations that were cancelled before their answer.
    pub invocations_cancelled: u64,
    /// Group streams.
    pub streams: Streams,
    /// Deliveries an honest hub makes for the executed publishes: per publish its group's
    /// members, less the sender with noEcho; per server message or answer to an event its
    /// connections.
    pub deliveries_owed: u64,
    /// Of these, answers to events.
    pub answers_owed: u64,
    /// Data messages given a sequence id and queued to a session; faults included.
    pub deliveries_numbered: u64,
    /// Data messages queued to sessions without sequence ids.
    pub deliveries_unnumbered: u64,
    /// Of all deliveries, those to connections whose leave was acknowledged and ignored.
    pub deliveries_after_leave: u64,
    /// Data messages dropped because their time to live ran out before they were delivered.
    pub deliveries_expired: u64,
    /// Data messages sent again by recoveries.
    pub deliveries_replayed: u64,
    /// WebSocket messages handed to transports: data, acks, system, pongs.
    pub frames_sent: u64,
    /// Of these, acks.
    pub acks_sent: u64,
    /// What was published to each group, and what came of it.
    pub groups: GroupAccounts,
    /// Faults committed, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The first [`INCIDENTS_MAX`] faults in detail.
    pub incidents: Vec<Incident>,
    /// Faults beyond these, counted only.
    pub incidents_not_kept: u64,
}

/// Frames received, by kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Requests {
    /// `joinGroup`.
    pub join_group: u64,
    /// `leaveGroup`.
    pub leave_group: u64,
    /// `sendToGroup`.
    pub send_to_group: u64,
    /// `event`.
    pub event: u64,
    /// `sequenceAck`.
    pub sequence_ack: u64,
    /// `ping` frames (not WebSocket pings).
    pub ping: u64,
    /// `invoke`, `cancelInvocation`, stream starts, `streamData` and `streamEnd`.
    pub newer: u64,
    /// Frames that were none of these; each ended its session.
    pub malformed: u64,
}

/// Group streams: how they began, went on and ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Streams {
    /// Starts that were accepted.
    pub opened: u64,
    /// Starts that were refused: bad or taken name, no role, 100 open.
    pub refused: u64,
    /// Parts published; the ends not counted.
    pub parts: u64,
    /// Parts that had been accepted before: answered, not published again.
    pub repeated: u64,
    /// Parts refused because one before them is missing.
    pub nacked: u64,
    /// Streams that ended, for whatever reason.
    pub ended: u64,
    /// Of these, silent for too long.
    pub idle: u64,
}

/// The account of one group, in all its lives: a group without members is forgotten, its
/// account is not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct GroupTruth {
    /// The hub, in lower case.
    pub hub: String,
    /// The group; `(rest)` for all beyond [`GROUPS_MAX`].
    pub group: String,
    /// Publishes of clients fanned out.
    pub publishes_executed: u64,
    /// Sends to it through the service API.
    pub service_sends: u64,
    /// Deliveries an honest hub makes for both.
    pub deliveries_owed: u64,
    /// Data messages queued to sessions for both; delayed ones are in no account.
    pub deliveries_made: u64,
}

/// The accounts of the groups, in the order of the first message to each. In JSON a list.
#[derive(Clone, Debug, Default)]
pub struct GroupAccounts {
    rows: Vec<GroupTruth>,
    by_name: HashMap<String, HashMap<String, usize>>,
}

impl Serialize for GroupAccounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl GroupAccounts {
    /// Every account.
    pub fn rows(&self) -> &[GroupTruth] {
        &self.rows
    }

    /// The place of a group's account, which stays.
    pub(crate) fn place(&mut self, hub: &str, group: &str) -> usize {
        if let Some(known) = self.by_name.get(hub).and_then(|groups| groups.get(group)) {
            return *known;
        }
        if self.rows.len() > GROUPS_MAX {
            return GROUPS_MAX;
        }
        let at = self.rows.len();
        let (hub, group) = match at < GROUPS_MAX {
            true => {
                let groups = self.by_name.entry(hub.into()).or_default();
                groups.insert(group.into(), at);
                (hub, group)
            }
            false => ("", "(rest)"),
        };
        self.rows.push(GroupTruth {
            hub: hub.into(),
            group: group.into(),
            ..GroupTruth::default()
        });
        at
    }
}

/// One committed fault.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Incident {
    /// The fault's name.
    pub kind: &'static str,
    /// Microseconds since the hub's clock origin.
    pub time_us: u64,
    /// The connection that suffered it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The group of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The sequence id that was misused, or that carried the fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_id: Option<u64>,
    /// The connection that published the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// The ackId of the publish or other request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_id: Option<u64>,
}

impl Truth {
    /// The counters of a hub that has done nothing yet.
    pub(crate) fn new(seed: u64) -> Self {
        Truth {
            schema: "hubstorm.truth/1",
            seed,
            ..Truth::default()
        }
    }

    /// Data messages queued to sessions so far: owed ones, and made ones.
    pub(crate) fn queued(&self) -> (u64, u64) {
        let made = self.deliveries_numbered + self.deliveries_unnumbered;
        (self.deliveries_owed, made)
    }

    /// Books what was queued since `before` to the group's account at `place`.
    pub(crate) fn book(&mut self, place: usize, before: (u64, u64)) {
        let (owed, made) = self.queued();
        if let Some(row) = self.groups.rows.get_mut(place) {
            row.deliveries_owed += owed - before.0;
            row.deliveries_made += made - before.1;
        }
    }

    /// Books a publish, or a send of the service, to the group's account at `place`.
    pub(crate) fn executed(&mut self, place: usize, by_service: bool) {
        if let Some(row) = self.groups.rows.get_mut(place) {
            match by_service {
                true => row.service_sends += 1,
                false => row.publishes_executed += 1,
            }
        }
    }

    /// How often the hub committed `kind`.
    pub fn fault_count(&self, kind: FaultKind) -> u64 {
        self.faults.get(kind.name()).copied().unwrap_or(0)
    }

    /// Books a committed fault.
    pub(crate) fn fault(&mut self, kind: FaultKind, now: Time, incident: Incident) {
        *self.faults.entry(kind.name()).or_default() += 1;
        if self.incidents.len() < INCIDENTS_MAX {
            self.incidents.push(Incident {
                kind: kind.name(),
                time_us: now.as_micros(),
                ..incident
            });
        } else {
            self.incidents_not_kept += 1;
        }
    }

    /// Books a refused connect request.
    pub(crate) fn refused(&mut self, status: u16) {
        *self.connections_refused.entry(status).or_default() += 1;
    }

    /// Books a refused recovery.
    pub(crate) fn recovery_refused(&mut self, reason: &'static str) {
        *self.recoveries_refused.entry(reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_beyond_the_bound_go_to_one_row_and_known_ones_stay() {
        let mut accounts = GroupAccounts::default();
        for n in 0..GROUPS_MAX + 3 {
            accounts.place("chat", &format!("g{n}"));
        }
        assert_eq!(accounts.rows().len(), GROUPS_MAX + 1);
        assert_eq!(accounts.place("chat", "g0"), 0);
        assert_eq!(accounts.place("other", "g0"), GROUPS_MAX);
        assert_eq!(accounts.rows()[GROUPS_MAX].group, "(rest)");
    }
}
