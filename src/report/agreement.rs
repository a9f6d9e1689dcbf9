//! Does the embedded hub's own account agree with what the clients saw?
//!
//! Two independent counts of one run: neither side knows the other's. Where every outcome
//! is known the numbers must be equal; where a socket died in between (an answer or a
//! delivery got lost with it) the hub may only have done more than was seen, within a bound.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;

use super::format::count;
use super::results::{GROUPS_TOLD, GroupResult, Results};

/// One number, counted by both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was counted.
    pub what: &'static str,
    /// Of which group; `None`: of the whole run.
    pub group: Option<String>,
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
    // A dial whose socket died before the answer came may have been granted. Results of
    // versions that did not count dials have the looser bounds of then.
    let dialled = |dials: u64, otherwise: u64| match dials {
        0 => otherwise,
        dials => dials,
    };
    // Without these every (message, receiver) pair is either owed by both accounts or by none.
    let clear = ledger.not_owed + ledger.edge + unsure == 0 && all_stayed(results);
    // Everything that a publish can be to the hub.
    let also = ["service_sends", "events_handled"].map(|field| said(field).unwrap_or(0));
    let executed = said("publishes_executed").map(|n| n + also.iter().sum::<u64>());
    // Answers to events that expect none are owed by the hub alone; those that are expected
    // are measured when they come. A hub that does not tell answers apart says nothing.
    let answers = said("answers_owed").or((also == [0, 0]).then_some(0));
    let owed = said("deliveries_owed").filter(|_| answers.is_some());
    let unasked = answers
        .unwrap_or(0)
        .saturating_sub(results.latency.reply.count);
    let queued = said("deliveries_numbered")
        .zip(said("deliveries_unnumbered"))
        .map(|(numbered, unnumbered)| numbered + unnumbered);
    [
        (
            "connections",
            said("connections_accepted"),
            (
                clients.connects,
                dialled(
                    clients.connect_dials,
                    clients.connects + clients.connect_failures,
                ),
            ),
        ),
        (
            "recoveries",
            said("recoveries_accepted"),
            (
                clients.recoveries,
                dialled(
                    clients.recovery_dials,
                    clients.recoveries.max(clients.disconnects),
                ),
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
            // What is not verified is not known to be owed after a session ended.
            (
                ledger.expected.saturating_sub(ledger.unverified),
                match clear {
                    true => ledger.expected + unasked,
                    false => u64::MAX,
                },
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
            group: None,
            range,
            hub: hub?,
        })
    })
    .collect()
}

/// The same for every group that both sides tell of by name: publishes and sends to it,
/// deliveries owed and made. Empty without such accounts.
pub fn compare_groups(results: &Results) -> Vec<Check> {
    let rows = results
        .hub_truth
        .as_ref()
        .and_then(|truth| truth.get("groups"));
    let Some(rows) = rows.and_then(Value::as_array) else {
        return Vec::new();
    };
    // Names of hubs do not matter: a run has one.
    let by_name: HashMap<&str, &Value> = rows
        .iter()
        .filter_map(|row| Some((row.get("group")?.as_str()?, row)))
        .collect();
    let mut checks = Vec::new();
    // The last row is what is left over.
    let told = results.groups.len().saturating_sub(1).min(GROUPS_TOLD);
    for group in &results.groups[..told] {
        if let Some(row) = by_name.get(group.name.as_str()) {
            checks.extend(of_group(results, group, row));
        }
    }
    checks
}

fn of_group(results: &Results, group: &GroupResult, row: &Value) -> [Check; 3] {
    let said = |field: &str| row.get(field).and_then(Value::as_u64).unwrap_or(0);
    let (sent, ledger) = (&group.publish, &group.delivery);
    // Retransmissions are not told by group.
    let unsure = sent.unknown + sent.unacked + sent.outstanding + results.publish.counts.retries;
    let clear = ledger.not_owed + ledger.edge + unsure == 0 && all_stayed(results);
    // A fault may queue more than is owed.
    let exact = |n: u64, clear| (n, if clear { n } else { u64::MAX });
    let check = |what, range, hub| Check {
        what,
        group: Some(group.name.clone()),
        range,
        hub,
    };
    [
        check(
            "publishes executed",
            (sent.acked, sent.acked + unsure),
            said("publishes_executed") + said("service_sends"),
        ),
        check(
            "deliveries owed",
            (
                ledger.expected.saturating_sub(ledger.unverified),
                exact(ledger.expected, clear).1,
            ),
            said("deliveries_owed"),
        ),
        check(
            "deliveries made",
            exact(
                ledger.delivered + ledger.not_owed,
                clear && faults(results) == 0 && ledger.unverified == 0,
            ),
            said("deliveries_made"),
        ),
    ]
}

/// Whether every session lasted to the end: the hub owes to one that the client has given up
/// or left, for as long as it has not noticed.
fn all_stayed(results: &Results) -> bool {
    let clients = &results.clients.counts;
    let ended = clients.reconnects + clients.recovery_failures + clients.leaves;
    ended + results.clients.visitors == 0
}

/// Lies that the hub says it told.
fn faults(results: &Results) -> u64 {
    let told = results
        .hub_truth
        .as_ref()
        .and_then(|truth| truth.get("faults"));
    let told = told.and_then(Value::as_object);
    told.map_or(0, |faults| faults.values().filter_map(Value::as_u64).sum())
}

/// Why the two accounts cannot both be right, in one sentence; `None` when they can. A hub
/// that was told to lie need not agree.
pub fn doubt(results: &Results) -> Option<String> {
    if faults(results) > 0 {
        return None;
    }
    let all = compare(results).into_iter().chain(compare_groups(results));
    let wrong: Vec<_> = all.filter(|check| !check.agrees()).collect();
    let first = wrong.first()?;
    Some(format!(
        "the embedded hub's own account disagrees in {} of its counts, first: {first}",
        wrong.len()
    ))
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(group) = &self.group {
            write!(f, "group {group}: ")?;
        }
        let least = count(self.range.0);
        write!(f, "{} {}, expected {least} ", self.what, count(self.hub))?;
        match self.range.1 {
            u64::MAX => f.write_str("or more"),
            most => write!(f, "to {}", count(most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::Clients;
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
            ("recoveries_accepted", "recoveries"),
        ] {
            for off_by in [-1, 1] {
                let mut results = clear();
                let said = &mut results.hub_truth.as_mut().unwrap()[field];
                *said = (said.as_i64().unwrap() + off_by).into();
                assert_eq!(disagreements(&results), [what], "{off_by}");
            }
        }
    }

    /// A flapping client: recoveries that the hub granted on sockets that were torn before
    /// anything of it came back. Each took a dial of its own.
    #[test]
    fn a_dial_that_died_before_its_answer_may_have_been_granted() {
        let mut results = clear();
        let said = |results: &mut Results, field: &str, more: u64| {
            let value = &mut results.hub_truth.as_mut().unwrap()[field];
            *value = (value.as_u64().unwrap() + more).into();
        };
        results.clients.counts.recovery_dials += 3;
        results.clients.counts.connect_dials += 2;
        said(&mut results, "recoveries_accepted", 3);
        said(&mut results, "connections_accepted", 2);
        assert!(disagreements(&results).is_empty());
        said(&mut results, "recoveries_accepted", 1);
        assert_eq!(disagreements(&results), ["recoveries"]);
        said(&mut results, "connections_accepted", 1);
        assert_eq!(disagreements(&results), ["connections", "recoveries"]);
    }

    #[test]
    fn a_result_from_before_dials_were_counted_is_held_against_what_it_has() {
        let mut results = clear();
        results.clients.counts.recovery_dials = 0;
        results.clients.counts.connect_dials = 0;
        results.clients.counts.disconnects = 86;
        results.clients.counts.connect_failures = 1;
        let truth = results.hub_truth.as_mut().unwrap();
        truth["recoveries_accepted"] = 86.into();
        truth["connections_accepted"] = 201.into();
        assert!(disagreements(&results).is_empty());
        results.hub_truth.as_mut().unwrap()["recoveries_accepted"] = 87.into();
        assert_eq!(disagreements(&results), ["recoveries"]);
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

    /// The healthy run with an account of each of its groups.
    fn grouped() -> Results {
        let mut results = clear();
        let rows: Vec<_> = results
            .groups
            .iter()
            .take(GROUPS_TOLD)
            .filter(|group| group.name != "(rest)")
            .map(|group| {
                serde_json::json!({
                    "hub": "chat",
                    "group": group.name,
                    "publishes_executed": group.publish.acked,
                    "service_sends": 0,
                    "deliveries_owed": group.delivery.expected,
                    "deliveries_made": group.delivery.delivered,
                })
            })
            .collect();
        assert_eq!(rows.len(), 20);
        results.hub_truth.as_mut().unwrap()["groups"] = rows.into();
        results
    }

    #[test]
    fn a_group_whose_account_is_off_by_one_is_named_and_in_doubt() {
        let honest = grouped();
        assert_eq!(compare_groups(&honest).len(), 60);
        assert_eq!(doubt(&honest), None);
        for (field, what) in [
            ("publishes_executed", "publishes executed"),
            ("deliveries_owed", "deliveries owed"),
            ("deliveries_made", "deliveries made"),
        ] {
            for off_by in [-1, 1] {
                let mut results = grouped();
                let row = &mut results.hub_truth.as_mut().unwrap()["groups"][3];
                let name = row["group"].as_str().unwrap().to_owned();
                row[field] = (row[field].as_i64().unwrap() + off_by).into();
                let checks = compare_groups(&results);
                let wrong: Vec<_> = checks.iter().filter(|check| !check.agrees()).collect();
                assert_eq!(wrong.len(), 1, "{field} {off_by}");
                assert_eq!(
                    (wrong[0].what, wrong[0].group.as_deref()),
                    (what, Some(&*name))
                );
                let why = doubt(&results).unwrap();
                assert!(why.contains(&format!("group {name}: {what}")), "{why}");
                // A hub that was told to lie says so; its account explains itself.
                results.hub_truth.as_mut().unwrap()["faults"] = serde_json::json!({"drop": 1});
                assert_eq!(doubt(&results), None);
            }
        }
    }

    /// The hub owes to a session that has left, or was given up, until it notices.
    #[test]
    fn who_goes_may_be_owed_more_than_it_stayed_for_but_not_less() {
        let gone: [fn(&mut Clients); 4] = [
            |clients| clients.visitors = 1,
            |clients| clients.counts.leaves = 1,
            |clients| clients.counts.reconnects = 1,
            |clients| clients.counts.recovery_failures = 1,
        ];
        for go in gone {
            for (more, agrees) in [(2, true), (-1, false)] {
                let mut results = grouped();
                go(&mut results.clients);
                let truth = results.hub_truth.as_mut().unwrap();
                let add = |value: &mut Value| *value = (value.as_i64().unwrap() + more).into();
                add(&mut truth["deliveries_owed"]);
                add(&mut truth["deliveries_numbered"]);
                add(&mut truth["groups"][3]["deliveries_owed"]);
                add(&mut truth["groups"][3]["deliveries_made"]);
                assert_eq!(doubt(&results).is_none(), agrees, "{more}");
            }
        }
    }

    #[test]
    fn answers_that_nobody_expects_are_owed_by_the_hub_alone() {
        let mut results = clear();
        let truth = results.hub_truth.as_mut().unwrap();
        truth["events_handled"] = 5.into();
        truth["publishes_executed"] = (truth["publishes_executed"].as_u64().unwrap() - 5).into();
        assert_eq!(compare(&results).len(), 4, "answers are not told apart");
        let truth = results.hub_truth.as_mut().unwrap();
        truth["answers_owed"] = 5.into();
        truth["deliveries_owed"] = 20_003.into();
        results.latency.reply.count = 2;
        assert!(
            disagreements(&results).is_empty(),
            "three were not asked for"
        );
        results.hub_truth.as_mut().unwrap()["deliveries_owed"] = 20_004.into();
        assert_eq!(disagreements(&results), ["deliveries owed"]);
    }

    #[test]
    fn a_target_without_an_account_is_not_compared() {
        let mut results = clear();
        results.hub_truth = None;
        assert!(compare(&results).is_empty());
    }
}
