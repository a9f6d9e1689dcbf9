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
    // Everything that a publish can be to the hub.
    let also = ["service_sends", "events_handled"].map(|field| said(field).unwrap_or(0));
    let executed = said("publishes_executed").map(|n| n + also.iter().sum::<u64>());
    // Answers to events that expect none are owed by the hub alone.
    let owed = said("deliveries_owed").filter(|_| also == [0, 0]);
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
            executed,
            (publish.acked, publish.acked + unsure),
        ),
        (
            "deliveries owed",
            owed,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::tests::results;

    /// The healthy run without the retransmissions that make it a little unclear.
    fn clear() -> Results {
        let mut results = results();
        results.publish.counts.retries = 0;
        results
    }

    fn disagreements(results: &Results) -> Vec<&'static str> {
        let checks = compare(results);
        assert_eq!(checks.len(), 5);
        let wrong = checks.into_iter().filter(|check| !check.agrees());
        wrong.map(|check| check.what).collect()
    }

    #[test]
    fn when_nothing_was_out_of_sight_both_books_are_equal_to_the_message() {
        assert!(disagreements(&clear()).is_empty());
        for (field, what) in [
            ("publishes_executed", "publishes executed"),
            ("deliveries_owed", "deliveries owed"),
            ("deliveries_numbered", "deliveries made"),
            ("connections_accepted", "connections"),
        ] {
            for off_by in [-1, 1] {
                let mut results = clear();
                let said = &mut results.hub_truth.as_mut().unwrap()[field];
                *said = (said.as_i64().unwrap() + off_by).into();
                assert_eq!(disagreements(&results), [what], "{off_by}");
            }
        }
    }

    #[test]
    fn what_died_with_a_socket_may_have_been_done_but_nothing_seen_was_invented() {
        let mut results = clear();
        results.publish.counts.acked -= 3;
        results.publish.counts.unknown = 3;
        results.delivery.expected -= 30;
        results.delivery.received -= 2;
        assert!(disagreements(&results).is_empty());
        results.publish.counts.unknown = 2;
        assert_eq!(disagreements(&results), ["publishes executed"]);
        results.publish.counts.unknown = 3;
        results.delivery.received = 20_001;
        assert_eq!(disagreements(&results), ["deliveries made"]);
    }

    #[test]
    fn a_target_without_an_account_is_not_compared() {
        let mut results = clear();
        results.hub_truth = None;
        assert!(compare(&results).is_empty());
    }
}
