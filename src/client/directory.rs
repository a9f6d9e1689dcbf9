//! Which connection each client has now, for servers that send to connections: the service
//! API knows them by the hub's ids. Shared by all arbiters of a run; written when a
//! connection begins, read once for each message to one.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::Slot;
use crate::scenario::{Destination, Scenario};

/// The connection ids of the pools that servers send to.
#[derive(Debug, Default)]
pub struct Directory {
    /// By pool: its slots, and an entry for each.
    pools: Vec<(Range<u32>, Entries)>,
}

type Entries = Mutex<Vec<Option<Arc<str>>>>;

impl Directory {
    /// An empty one for the pools that a scenario's servers send to.
    pub fn new(scenario: &Scenario) -> Self {
        let mut pools: Vec<(Range<u32>, Entries)> = Vec::new();
        for publish in scenario
            .pools
            .iter()
            .filter_map(|pool| pool.publish.as_ref())
        {
            if let Destination::Connection(of) = publish.to {
                let slots = scenario.pools[of].slots();
                if pools.iter().all(|(known, _)| *known != slots) {
                    let entries = vec![None; slots.len()];
                    pools.push((slots, Mutex::new(entries)));
                }
            }
        }
        Directory { pools }
    }

    /// Enters a new connection. Returns whether anybody may look it up.
    pub(super) fn enter(&self, slot: Slot, connection_id: &str) -> bool {
        let Some((slots, entries)) = self.of(slot) else {
            return false;
        };
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries[(slot.0 - slots.start) as usize] = Some(connection_id.into());
        true
    }

    /// The newest connection of a slot; `None` until it has one.
    pub(super) fn find(&self, slot: Slot) -> Option<Arc<str>> {
        let (slots, entries) = self.of(slot)?;
        let entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries[(slot.0 - slots.start) as usize].clone()
    }

    fn of(&self, slot: Slot) -> Option<&(Range<u32>, Entries)> {
        self.pools.iter().find(|(slots, _)| slots.contains(&slot.0))
    }
}
