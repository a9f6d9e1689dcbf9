//! Does the embedded hub's own account agree with what the clients saw?
//!
//! Two independent counts of one run: neither side knows the other's. Where every outcome
//! is known the numbers must be equal; where a socket died in between (an answer or a
//! delivery got lost with it) the hub may only have done more than was seen, within a bound.

use serde_json::Value;

use super::results::Results;

/// One number, counted by both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was counted.
    pub what: &'static str,
    /// The least and the most the hub can have counted, given what clients saw.
    pub range: (u64, u64),
    /// What the hub says.
    pub hub: u64,
}

impl Check {
    /// Whether the hub's number is possible.
    pub fn agrees(&self) -> bool {
        (self.range.0..=self.range.1).contains(&self.hub)
    }
}

/// Compares a result with the hub's truth; empty without one (or one without these counts).
pub fn compare(results: &Results) -> Vec<Check> {
    let Some(truth) = &results.hub_truth else {
        return Vec::new();
    };
    let said = |field: &str| truth.get(field).and_then(Value::as_u64);
    let clients = &results.clients.counts;
    let publish = &results.publish.counts;
    let ledger = &results.delivery;
    // What may have been executed without our knowing, retransmissions included.
    let unsure = publish.unknown + publish.unacked + results.publish.outstanding + publish.retries;
    // Without these every (message, receiver) pair is either owed by both accounts or by none.
    let clear = ledger.not_owed + ledger.edge + clients.reconnects + unsure == 0;
    let queued = said("deliveries_numbered")
        .zip(said("deliveries_unnumbered"))
        .map(|(numbered, unnumbered)| numbered + unnumbered);
    [
        (
            "connections",
            said("connections_accepted"),
            (
                clients.connects,
                clients.connects + clients.connect_failures,
            ),
        ),
        (
            "recoveries",
            said("recoveries_accepted"),
            (
                clients.recoveries,
                clients.recoveries.max(clients.disconnects),
            ),
        ),
        (
            "publishes executed",
            said("publishes_executed"),
            (publish.acked, publish.acked + unsure),
        ),
        (
            "deliveries owed",
            said("deliveries_owed"),
            (
                ledger.expected,
                if clear { ledger.expected } else { u64::MAX },
            ),
        ),
        (
            "deliveries made",
            queued,
            (
                ledger.received,
                if clear { ledger.received } else { u64::MAX },
            ),
        ),
    ]
    .into_iter()
    .filter_map(|(what, hub, range)| {
        Some(Check {
            what,
            range,
            hub: hub?,
        })
    })
    .collect()
}
