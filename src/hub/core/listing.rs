//! What the core holds, counted and listed for the shell's pages.

use serde_json::{Value, json};

use super::sessions::connection_text;
use super::state::Core;

/// How much the core holds.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Load {
    pub(crate) connected: u64,
    pub(crate) recoverable: u64,
    pub(crate) groups: u64,
    pub(crate) unacked_messages: u64,
    pub(crate) unacked_bytes: u64,
    pub(crate) unacked_max: u64,
    pub(crate) frames_waiting: u64,
}

impl Core {
    /// Counts what is held: a walk over all sessions, for a page now and then.
    pub(crate) fn load(&self) -> Load {
        let mut load = Load {
            groups: self.groups.count() as u64,
            ..Load::default()
        };
        for session in self
            .sessions
            .keys()
            .filter_map(|key| self.sessions.get(key))
        {
            match session.link {
                Some(_) => load.connected += 1,
                None => load.recoverable += 1,
            }
            let unacked = session.unacked.len() as u64;
            load.unacked_messages += unacked;
            load.unacked_bytes += session.unacked_bytes as u64;
            load.unacked_max = load.unacked_max.max(unacked);
        }
        for link in self.links.keys() {
            load.frames_waiting += self.waiting(link) as u64;
        }
        load
    }

    /// The first `limit` sessions.
    pub(crate) fn list_sessions(&self, limit: usize) -> Vec<Value> {
        self.sessions
            .keys()
            .filter_map(|key| self.sessions.get(key))
            .take(limit)
            .map(|session| {
                let groups: Vec<&str> = session
                    .groups
                    .iter()
                    .filter_map(|membership| self.groups.name(membership.group))
                    .map(|name| &**name)
                    .collect();
                json!({
                    "connectionId": connection_text(session.id),
                    "hub": &*self.groups.hub_name(session.hub),
                    "userId": session.user.as_deref(),
                    "protocol": session.dialect.name(),
                    "connected": session.link.is_some(),
                    "drops": session.drops,
                    "groups": groups,
                    "lastSequenceId": session.last_id,
                    "unacked": session.unacked.len(),
                })
            })
            .collect()
    }
}
