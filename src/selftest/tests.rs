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

/// A slip of the pen is no verdict on the verifier.
#[test]
fn what_is_mistyped_is_said_before_any_row_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |options: &Options| {
        let mut out = Vec::new();
        let error = selftest(options, &mut out).unwrap_err().to_string();
        assert!(out.is_empty(), "{}", String::from_utf8_lossy(&out));
        error
    };
    let error = refused(&options(folder.path(), &["verify=counts"]));
    assert!(error.starts_with("--set does not fit row"), "{error}");
    assert!(error.contains("verify should be a mapping"), "{error}");
    let mut options = options(folder.path(), &[]);
    options.only = vec!["onest-jsn".into()];
    let error = refused(&options);
    for name in ["did you mean `honest-json`", " drop, ", " own-"] {
        assert!(error.contains(name), "{error}");
    }
}

/// A reset, a retry or a join around a lie hides it, or an innocent hub is accused of more.
#[test]
fn a_lie_under_churn_is_still_named_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), &[]);
    options.churn = true;
    options.only = vec!["duplicate_new_id".into(), "reset".into()];
    let mut out = Vec::new();
    let right = selftest(&options, &mut out).unwrap();
    let table = String::from_utf8(out).unwrap();
    assert!(right && table.contains("duplicate_new_id+churn"), "{table}");
    assert!(table.contains("2 of 2 rows right"), "{table}");
}

/// A harness that loses frames, lies about its clock or loses a thread passes its own runs.
#[test]
fn what_the_harness_does_wrong_itself_never_passes() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), &[]);
    let own = super::own::own();
    options.only = own.iter().map(|row| row.name.to_owned()).collect();
    options.at_once = own.len();
    let mut out = Vec::new();
    let right = selftest(&options, &mut out).unwrap();
    let table = String::from_utf8(out).unwrap();
    assert!(right && table.contains("9 of 9 rows right"), "{table}");
}

/// Without the sabotage the rows of our own side must all be wrong but the one that asks
/// for no change: else they prove nothing.
#[test]
fn a_row_of_our_own_side_is_wrong_when_nothing_was_noticed() {
    let mut unnoticed = results();
    unnoticed.verifier.self_check = "ok".into();
    unnoticed.exit_code = 0;
    unnoticed.delivery.unverified = 0;
    unnoticed.verifier.exchange.repeated = 1;
    for row in super::own::own() {
        let own = row.own.unwrap();
        let judged = |without| super::own::judge(own, &unnoticed, without).wrong;
        match own.comes {
            super::own::Comes::Nothing => assert_eq!(judged(Some(&unnoticed)), [""; 0]),
            _ => assert!(!judged(None).is_empty(), "{}", row.name),
        }
    }
}

/// One message more or less than without it is a change, wherever it is counted.
#[test]
fn a_control_message_that_changes_one_counter_fails_its_row() {
    let without = results();
    let nothing = |row: &super::rows::Row| row.own.unwrap().comes == super::own::Comes::Nothing;
    let row = super::own::own().into_iter().find(nothing).unwrap();
    let wrong = |change: &dyn Fn(&mut Results)| {
        let mut results = results();
        results.verifier.exchange.again = 1;
        change(&mut results);
        super::own::judge(row.own.unwrap(), &results, Some(&without)).wrong
    };
    assert!(wrong(&|r| r.publish.counts.retries += 1)[0].starts_with("/publish/"));
    assert!(wrong(&|r| r.groups[0].delivery.not_owed += 1)[0].starts_with("/groups/0/"));
    assert!(!wrong(&|r| r.groups.clear()).is_empty());
    let idle = wrong(&|r| r.verifier.exchange.again = 0);
    assert!(idle[0].contains("nothing to bear"), "{idle:?}");
    let none = super::own::judge(row.own.unwrap(), &results(), None).wrong;
    assert!(none.iter().any(|why| why.contains("no run without it")));
}

#[test]
fn under_churn_a_lie_unnamed_or_another_violation_fails_a_row() {
    let rows = super::rows::churned();
    let row = rows.iter().find(|row| row.name == "drop").unwrap();
    let with = |counts: &[(Violation, u64)]| {
        let mut results = blind(FaultKind::Drop);
        results.exit_code = 1;
        results.incidents = vec![Default::default()];
        results.violations = Violation::ALL
            .iter()
            .map(|kind| {
                let found = counts.iter().find(|(k, _)| k == kind);
                (kind.name(), found.map_or(0, |(_, n)| *n))
            })
            .collect();
        judge(row, &results)
    };
    // What is demanded does not depend on what came.
    for kind in [Violation::Lost, Violation::RecoveryBroken] {
        let judgement = with(&[(kind, 1)]);
        let demanded = "1 of lost | recovery_broken";
        assert!(judgement.expected.contains(demanded), "{judgement:?}");
    }
    let with = |counts: &[(Violation, u64)]| with(counts).wrong;
    assert_eq!(with(&[(Violation::Lost, 1)]), [""; 0]);
    assert_eq!(with(&[(Violation::RecoveryBroken, 1)]), [""; 0]);
    assert!(!with(&[]).is_empty());
    assert!(!with(&[(Violation::Lost, 1), (Violation::Echo, 1)]).is_empty());
    // It was told once.
    assert!(!with(&[(Violation::Lost, 2)]).is_empty());
    assert!(!with(&[(Violation::Lost, 1), (Violation::RecoveryBroken, 1)]).is_empty());
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
