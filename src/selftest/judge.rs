//! Holds a result against its row. Pure.

use serde_json::Value;

use super::rows::{Count, GUESTS, RECEIVERS, Row, Table};
use crate::report::results::Results;
use crate::verify::kinds::{Kind as _, Permitted};

/// What came of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// What had to be counted.
    pub expected: String,
    /// What was counted.
    pub got: String,
    /// What is wrong, one sentence each; empty: the row is right.
    pub wrong: Vec<String>,
}

/// Judges the result of a row of lies or of an honest hub.
pub fn judge(row: &Row, results: &Results) -> Judgement {
    let mut wrong = Vec::new();
    let told = told(row, results, &mut wrong);
    trusted(results, &mut wrong);
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    for (table, counts) in [
        (Table::Violations, &results.violations),
        (Table::Permitted, &results.permitted),
        (Table::Unknown, &results.unknown),
    ] {
        for (kind, n) in counts.iter() {
            let rule = row
                .expected
                .iter()
                .find(|one| one.table == table && one.kind == kind)
                .map(|one| one.count);
            let (least, most) = match row.churn {
                true => under_churn(row, table, kind, rule, told, results),
                false => range(rule, told, results),
            };
            if !(least..=most).contains(&n) {
                wrong.push(format!(
                    "{}{kind} is {n}, must be {}",
                    prefix(table),
                    between(least, most)
                ));
            }
            let shown = !(row.churn && table == Table::Violations);
            if shown
                && rule.is_some_and(|rule| rule != Count::Any)
                && (least, most) != (0, u64::MAX)
            {
                expected.push(format!("{}{kind} {}", prefix(table), between(least, most)));
            }
            if n > 0 {
                got.push(format!("{}{kind} {n}", prefix(table)));
            }
        }
    }
    if row.churn {
        expected.extend(demanded_under_churn(row, told));
    }
    // A table without a kind would be a table that cannot accuse.
    for one in &row.expected {
        let counts = match one.table {
            Table::Violations => &results.violations,
            Table::Permitted => &results.permitted,
            Table::Unknown => &results.unknown,
        };
        if counts.get(one.kind).is_none() {
            wrong.push(format!("the report does not count {}", one.kind));
        }
    }
    seen(row, results, &mut wrong);
    let or_nothing = |texts: Vec<String>| match texts.is_empty() {
        true => "nothing".to_owned(),
        false => texts.join(", "),
    };
    Judgement {
        expected: or_nothing(expected),
        got: or_nothing(got),
        wrong,
    }
}

/// How often the hub says that it told the lie. It must have, and no other but those of the
/// row.
fn told(row: &Row, results: &Results, wrong: &mut Vec<String>) -> u64 {
    let none = serde_json::Map::new();
    let faults = results
        .hub_truth
        .as_ref()
        .and_then(|truth| truth.get("faults"))
        .and_then(Value::as_object);
    if faults.is_none() {
        wrong.push("the hub gave no account of its faults".into());
    }
    for name in faults.unwrap_or(&none).keys() {
        if !row
            .specs
            .iter()
            .any(|spec| spec.split(',').next() == Some(name))
        {
            wrong.push(format!("the hub also told {name}"));
        }
    }
    let Some(fault) = row.fault else {
        return 0;
    };
    let told = faults
        .and_then(|faults| faults.get(fault.name()))
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if told == 0 {
        wrong.push("the hub did not tell this lie: the row's world gives it no opportunity".into());
    }
    told
}

/// A verifier that is off, blind or at odds with itself proves nothing, whatever it counts.
pub(super) fn trusted(results: &Results, wrong: &mut Vec<String>) {
    let (verifier, ledger) = (&results.verifier, &results.delivery);
    if verifier.mode != "full" {
        wrong.push(format!(
            "the verifier's mode is {}, not full",
            verifier.mode
        ));
    }
    if verifier.self_check != "ok" {
        wrong.push(format!("self-check: {}", verifier.self_check));
    }
    if ledger.expected == 0 || ledger.delivered == 0 {
        wrong.push("no delivery was owed and made: nothing was looked at".into());
    }
    if ledger.unverified > 0 {
        wrong.push(format!(
            "{} deliveries were not verified",
            ledger.unverified
        ));
    }
    if !ledger.balances() {
        wrong.push("the delivery ledger does not balance".into());
    }
    if !results.publish.balances() {
        wrong.push("the publish ledger does not balance".into());
    }
    if results.violations.total() > 0 && results.exit_code == 0 {
        wrong.push("violations were counted and the run passed".into());
    }
    if results.violations.total() > 0 && results.incidents.is_empty() {
        wrong.push("violations were counted and no incident tells of one".into());
    }
    if results.exit_code == 130 {
        wrong.push("interrupted".into());
    }
}

fn range(rule: Option<Count>, told: u64, results: &Results) -> (u64, u64) {
    match rule {
        None => (0, 0),
        Some(Count::Each(n)) => (n * told, n * told),
        Some(Count::UpTo(n)) => (1, (n * told).max(1)),
        Some(count @ (Count::Surplus | Count::Deficit | Count::AfterLeave)) => {
            let exactly = by_truth(count, results).max(1);
            (exactly, exactly)
        }
        Some(Count::Some) => (1, u64::MAX),
        Some(Count::Any) => (0, u64::MAX),
    }
}

/// Under churn the lie must still be named, and nothing else, at most as often as it was
/// told; what is permitted or unknown is the churn's affair.
fn under_churn(
    row: &Row,
    table: Table,
    kind: &str,
    rule: Option<Count>,
    told: u64,
    results: &Results,
) -> (u64, u64) {
    if table != Table::Violations {
        return (0, u64::MAX);
    }
    // What the lie was named, under this or another of its names.
    let named = |of: &str| results.violations.get(of).unwrap_or(0);
    let others = row.turns_into.iter().map(|(other, _)| other.name());
    let turned: u64 = others.clone().map(named).sum();
    let each = most_under_churn(row, told);
    let own = row.expected.iter().filter(|one| one.table == table);
    let all: u64 = turned + own.map(|one| named(one.kind)).sum::<u64>();
    // As much as the other names leave over.
    let most = each.map_or(u64::MAX, |most| (most + named(kind)).saturating_sub(all));
    match rule {
        Some(Count::Each(n)) => (n.saturating_sub(turned), most),
        Some(Count::Any) => (0, u64::MAX),
        Some(_) => (1_u64.saturating_sub(turned), most),
        None if others.clone().any(|other| other == kind) => (0, most),
        None => (0, 0),
    }
}

/// How many violations the lie may make at the most, whatever they are called.
fn most_under_churn(row: &Row, told: u64) -> Option<u64> {
    row.expected.iter().find_map(|one| match one.count {
        _ if one.table != Table::Violations || row.spreads => None,
        // Guests may be among those whom it touches.
        Count::Each(RECEIVERS) => Some((RECEIVERS + GUESTS) * told),
        Count::Each(n) => Some(n * told),
        _ => None,
    })
}

/// What [`under_churn`] demands of the violations, in words: the names that the lie may be
/// given share one count.
fn demanded_under_churn(row: &Row, told: u64) -> Vec<String> {
    let most = most_under_churn(row, told).unwrap_or(u64::MAX);
    let others = row.turns_into.iter().map(|(other, _)| other.name());
    let own = row.expected.iter().filter_map(|one| match one.count {
        Count::Any => None,
        _ if one.table != Table::Violations => None,
        Count::Each(n) => Some((one.kind, n)),
        _ => Some((one.kind, 1)),
    });
    own.map(|(kind, least)| {
        let names: Vec<&str> = std::iter::once(kind).chain(others.clone()).collect();
        match names.as_slice() {
            [kind] => format!("{kind} {}", between(least, most)),
            names => format!("{} of {}", between(least, most), names.join(" | ")),
        }
    })
    .collect()
}

/// What the hub's own books say about a count.
fn by_truth(count: Count, results: &Results) -> u64 {
    let said = |field: &str| {
        let truth = results.hub_truth.as_ref();
        let value = truth.and_then(|truth| truth.get(field));
        value.and_then(Value::as_u64).unwrap_or(0)
    };
    let permitted = |kind: Permitted| results.permitted.get(kind.name()).unwrap_or(0);
    let made = said("deliveries_numbered") + said("deliveries_unnumbered");
    match count {
        Count::Deficit => (said("publishes_executed") * RECEIVERS)
            .saturating_sub(made + permitted(Permitted::AtMembershipEdge)),
        Count::AfterLeave => {
            said("deliveries_after_leave").saturating_sub(permitted(Permitted::AfterLeaveRace))
        }
        _ => made.saturating_sub(said("deliveries_owed")),
    }
}

fn prefix(table: Table) -> &'static str {
    match table {
        Table::Violations => "",
        Table::Permitted => "permitted ",
        Table::Unknown => "unknown ",
    }
}

fn between(least: u64, most: u64) -> String {
    match (least, most) {
        (a, b) if a == b => a.to_string(),
        (a, u64::MAX) => format!("{a} or more"),
        (a, b) => format!("{a} to {b}"),
    }
}

fn seen(row: &Row, results: &Results, wrong: &mut Vec<String>) {
    let Ok(report) = serde_json::to_value(results) else {
        wrong.push("the report cannot be written as JSON".into());
        return;
    };
    for (pointer, least) in &row.seen {
        let value = report.pointer(pointer).and_then(Value::as_u64);
        if value.is_none_or(|value| value < *least) {
            let value = value.map_or("missing".to_owned(), |value| value.to_string());
            wrong.push(format!("{pointer} is {value}, must be {least} or more"));
        }
    }
}
