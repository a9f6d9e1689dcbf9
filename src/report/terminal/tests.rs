use std::path::Path;

use super::*;
use crate::report::results::tests::{facts, results, scenario, snapshot, verification};
use crate::report::terminal::{Banner, banner};
use crate::verify::{Incident, Violation};

fn shown(results: &Results) -> String {
    let again = Again {
        command: "hubstorm run scenarios/quickstart.yaml --seed 7",
        report: Path::new("results/quickstart/report.json"),
    };
    summary(results, &again, Paint::PLAIN)
}

/// A run that lost one delivery, with its incident.
fn failed() -> Results {
    let (scenario, snapshot, mut verification) = (scenario(), snapshot(), verification());
    verification.violations.add(Violation::Lost, 1);
    for ledger in [
        &mut verification.delivery,
        &mut verification.pools[1],
        &mut verification.groups[0].delivery,
    ] {
        ledger.delivered -= 1;
        ledger.lost += 1;
        // The edge pairs are permitted losses.
        ledger.permitted += 12;
        ledger.addressed += 12;
    }
    verification.delivery.edge = 12;
    verification.incidents.push(Incident {
        kind: "lost",
        t_s: 30.2,
        summary: "message 7/group-3#1841 never reached slot 12 in 10.2 s after its ack".into(),
        rule: "D1 (how-to \"reliable clients\")",
        receiver: Some(12),
        publisher: Some(7),
        group: Some("group-3".into()),
        seq: Some(1841),
        connections: vec!["3kdZ".into(), "9fA".into()],
        evidence: vec![
            "publisher connection 9fA epoch 0: sent 12.204 s, success 12.209 s".into(),
            "frames    seqId 88 7#1840 | 89 7#1842\u{1b}[31m".into(),
        ],
        ..Incident::default()
    });
    Results::build(facts(&scenario, &snapshot, &verification))
}

#[test]
fn a_pass_reads_well() {
    insta::assert_snapshot!(shown(&results()));
}

#[test]
fn a_failure_says_what_where_and_how_to_see_it_again() {
    insta::assert_snapshot!(shown(&failed()));
}

#[test]
fn a_run_that_reached_nothing_still_has_a_summary() {
    let (scenario, verification) = (scenario(), verification());
    let snapshot = crate::metrics::Snapshot::new(2);
    let mut facts = facts(&scenario, &snapshot, &verification);
    facts.unreachable = Some("connection refused: 127.0.0.1:1".into());
    facts.hub_truth = None;
    let text = shown(&Results::build(facts));
    assert!(text.starts_with("UNREACHABLE"), "{text}");
    assert!(text.contains("  - the target could not be reached: connection refused"));
}

/// In mode counts everything came and nobody looked: that is not "100 % missing".
#[test]
fn what_nobody_looked_at_is_not_called_missing() {
    let (scenario, snapshot, mut verification) = (scenario(), snapshot(), verification());
    let ledger = &mut verification.delivery;
    (ledger.delivered, ledger.lost, ledger.unverified) = (4_999, 1, 15_000);
    ledger.verified = 5_000;
    let text = shown(&Results::build(facts(&scenario, &snapshot, &verification)));
    let row = |name: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(name));
        line.unwrap().split_whitespace().rev().nth(1).unwrap()
    };
    assert_eq!(
        [row("owed"), row("arrived"), row("missing")],
        ["owed", "4,999", "1"],
        "{text}"
    );
    assert_eq!([row("not looked at"), row("verified")], ["15,000", "5,000"]);
    let line = text.lines().next().unwrap();
    assert!(
        line.contains("4,999 of 20,000 owed deliveries seen, 15,000 not looked at, 25% verified"),
        "{line}"
    );
}

/// A hub that lets nobody into a group owes nobody anything: that must not look like health.
#[test]
fn refused_joins_are_seen() {
    let mut results = results();
    results.clients.counts.join_failures = 3;
    let text = shown(&results);
    let line = text.lines().next().unwrap();
    assert!(line.contains(" | joins refused: 3 | "), "{line}");
    assert!(
        text.contains("3 joins were refused: nothing is owed"),
        "{text}"
    );
}

#[test]
fn clients_that_stayed_away_are_seen() {
    let mut results = results();
    assert!(!shown(&results).contains("away"));
    results.clients.away_at_end = 17;
    assert!(shown(&results).contains("17 were away at the end"));
}

#[test]
fn the_banner_says_what_is_about_to_happen() {
    let facts = Banner {
        target: "embedded hub",
        lies: vec!["drop,at=8s,count=1".into()],
        out: Path::new("results/quickstart"),
        metrics: Some("127.0.0.1:9464".parse().unwrap()),
        forecast: crate::generator::Forecast::of(&scenario()),
    };
    insta::assert_snapshot!(banner(&scenario(), &facts, Paint::PLAIN));
}

#[test]
fn lines_fit_a_terminal_and_evidence_cannot_drive_it() {
    let text = shown(&failed());
    assert!(
        !text.contains('\u{1b}'),
        "escape sequences of a hub reach the terminal"
    );
    for line in text.lines().skip(2).filter(|line| !line.starts_with("  ")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_hub_that_disagrees_is_seen() {
    let mut results = results();
    results.hub_truth.as_mut().unwrap()["publishes_executed"] = 1999.into();
    let text = shown(&results);
    assert!(
        text.contains("NO: publishes executed 1,999, expected 2,000"),
        "{text}"
    );
}

/// A result that was spoilt on purpose must not be taken for one of an honest hub.
#[test]
fn what_the_hub_was_told_to_do_wrong_is_said() {
    let mut results = results();
    assert!(!shown(&results).contains("hub lies"));
    results.hub_truth.as_mut().unwrap()["faults"] = serde_json::json!({"drop": 1, "swap": 2000});
    let text = shown(&results);
    assert!(
        text.contains("hub lies      1 drop, 2,000 swap\n"),
        "{text}"
    );
}

#[test]
fn one_group_is_one() {
    assert_eq!(each_of(1), "each of 1 group");
    assert_eq!(each_of(1200), "each of 1,200 groups");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let plain = verdict_line(&results(), Paint::PLAIN);
    let coloured = verdict_line(&results(), Paint::COLOURS);
    assert!(plain.starts_with("PASS  0 violations | 20,000 of 20,000 owed"));
    assert!(coloured.starts_with("\u{1b}[32mPASS\u{1b}[0m"));
    assert_eq!(Paint::detect(true, true), Paint::PLAIN);
    assert_eq!(Paint::detect(false, false), Paint::PLAIN);
}

/// Whoever reads one line must see that it is about a part of the run.
#[test]
fn the_verdict_names_its_coverage_when_a_thread_is_gone() {
    let mut part = results();
    assert!(!verdict_line(&part, Paint::PLAIN).contains("coverage"));
    (part.verifier.threads, part.verifier.threads_lost) = (8, 1);
    let line = verdict_line(&part, Paint::PLAIN);
    assert!(line.contains("| coverage: 7 of 8 threads |"), "{line}");
}
