//! The selftest must be able to fail: a verifier that is off, or blind, or says what it
//! always says.

use std::path::Path;

use super::judge::judge;
use super::rows::rows;
use super::run::{Options, selftest};
use crate::hub::FaultKind;
use crate::report::results::Results;
use crate::report::results::tests::results;
use crate::verify::kinds::{Kind as _, Violation};

fn options(out: &Path, set: &[&str]) -> Options {
    Options {
        short: true,
        churn: false,
        seed: 1,
        only: vec!["drop".into(), "swap".into(), "honest-json".into()],
        at_once: 3,
        out: out.join("rows"),
        set: set.iter().map(|&text| text.to_owned()).collect(),
    }
}

#[test]
fn a_verifier_that_is_switched_off_fails_every_row_and_one_that_works_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    let right = selftest(&options(folder.path(), &[]), &mut out).unwrap();
    let table = String::from_utf8(out).unwrap();
    assert!(right, "{table}");
    assert!(table.contains("3 of 3 rows right"), "{table}");
    let mut out = Vec::new();
    let right = selftest(&options(folder.path(), &["verify.mode=counts"]), &mut out).unwrap();
    let table = String::from_utf8(out).unwrap();
    assert!(!right && table.contains("0 of 3 rows right"), "{table}");
}

/// What a verifier reports that looked at everything and saw no lie, though the hub says
/// that it told one.
fn blind(fault: FaultKind) -> Results {
    let mut results = results();
    let truth = results.hub_truth.as_mut().unwrap();
    truth["faults"] = serde_json::json!({ fault.name(): 1 });
    results
}

#[test]
fn a_verifier_that_sees_nothing_fails_every_row_with_a_violation() {
    for row in rows(true).iter().filter(|row| row.why.is_empty()) {
        let judgement = judge(row, &blind(row.fault.unwrap()));
        assert!(!judgement.wrong.is_empty(), "{}", row.name);
    }
}

#[test]
fn one_violation_too_many_or_of_another_kind_fails_a_row() {
    let rows = rows(true);
    let row = rows.iter().find(|row| row.name == "drop").unwrap();
    let with = |counts: &[(Violation, u64)]| {
        let mut results = blind(FaultKind::Drop);
        results.exit_code = 1;
        results.incidents = vec![Default::default()];
        results.permitted = results
            .permitted
            .iter()
            .map(|(name, _)| (name, 0))
            .collect();
        results.unknown = results.unknown.iter().map(|(name, _)| (name, 0)).collect();
        results.violations = Violation::ALL
            .iter()
            .map(|kind| {
                let found = counts.iter().find(|(k, _)| k == kind);
                (kind.name(), found.map_or(0, |(_, n)| *n))
            })
            .collect();
        judge(row, &results).wrong
    };
    assert_eq!(with(&[(Violation::Lost, 1)]), [""; 0]);
    assert!(!with(&[(Violation::Lost, 2)]).is_empty());
    assert!(!with(&[(Violation::Stalled, 1)]).is_empty());
    assert!(!with(&[(Violation::Lost, 1), (Violation::Echo, 1)]).is_empty());
}
