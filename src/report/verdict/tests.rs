use super::*;
use crate::report::RunFacts;
use crate::report::results::tests::{facts, results, scenario, snapshot, verification};
use crate::scenario::Scenario;
use crate::scenario::model::{Comparison, Unit as BoundUnit};
use crate::verify::{Verification, Violation};

/// The result of the healthy run, changed.
fn with(
    change: impl FnOnce(&mut Scenario, &mut crate::metrics::Snapshot, &mut Verification),
) -> Results {
    let (mut scenario, mut snapshot, mut verification) = (scenario(), snapshot(), verification());
    change(&mut scenario, &mut snapshot, &mut verification);
    Results::build(facts(&scenario, &snapshot, &verification))
}

fn decided(results: &Results) -> (u8, Verdict) {
    (results.exit_code, results.verdict)
}

fn lose_one(verification: &mut Verification) {
    verification.violations.add(Violation::Lost, 1);
    for ledger in [
        &mut verification.delivery,
        &mut verification.pools[1],
        &mut verification.groups[0].delivery,
    ] {
        ledger.delivered -= 1;
        ledger.lost += 1;
    }
}

#[test]
fn a_clean_run_passes_without_excuses() {
    let results = results();
    assert_eq!(decided(&results), (EXIT_PASS, Verdict::Pass));
    assert!(results.reasons.is_empty(), "{:?}", results.reasons);
}

#[test]
fn one_violation_fails_the_run() {
    let results = with(|_, _, v| lose_one(v));
    assert_eq!(decided(&results), (EXIT_FAIL, Verdict::Fail));
    assert_eq!(results.reasons, ["1 violation: 1 lost"]);
}

#[test]
fn a_missed_threshold_and_one_without_data_fail_the_run() {
    let results = with(|s, _, _| s.thresholds[0].bound = 0.001);
    assert_eq!(decided(&results), (EXIT_FAIL, Verdict::Fail));
    assert!(results.reasons[0].contains("delivery.p99 < 250ms (was 10.4 ms)"));
    let results = with(|s, _, _| {
        let expr = "reconnect.p95 < 2s";
        let threshold = crate::report::results::tests::threshold;
        s.thresholds
            .push(threshold(expr, Comparison::Less, 2.0, BoundUnit::Seconds));
    });
    assert_eq!(decided(&results), (EXIT_FAIL, Verdict::Fail));
    assert_eq!(
        results.reasons,
        ["threshold missed: reconnect.p95 < 2s (no data)"]
    );
}

#[test]
fn a_violation_outweighs_doubt_and_both_are_said() {
    let results = with(|_, _, v| {
        lose_one(v);
        v.inconclusive.push("one pair is blind".into());
        v.delivery.verified -= 5;
        v.delivery.unverified += 5;
    });
    assert_eq!(decided(&results), (EXIT_FAIL, Verdict::Fail));
    let said = results.reasons.join("\n");
    assert!(said.contains("1 lost") && said.contains("blind"), "{said}");
    // What the verifier has said is not said again in other words.
    assert!(!said.contains("of 20,000 owed"), "{said}");
    let silent = with(|s, _, v| {
        s.thresholds.clear();
        v.delivery.verified -= 5;
        v.delivery.unverified += 5;
    });
    let said = silent.reasons.join("\n");
    assert!(said.contains("5 of 20,000 owed"), "{said}");
    assert_eq!(silent.exit_code, EXIT_INCONCLUSIVE);
}

#[test]
fn a_verifier_whose_books_do_not_balance_proves_nothing() {
    let results = with(|_, _, v| {
        lose_one(v);
        v.verifier.self_check = "frames: 3 read, 2 counted".into();
    });
    assert_eq!(
        decided(&results),
        (EXIT_INCONCLUSIVE, Verdict::Inconclusive)
    );
    assert!(results.reasons[0].contains("1 violation (unproven)"));
    assert!(results.reasons[1].contains("3 read, 2 counted"));
}

#[test]
fn no_evidence_is_never_a_pass() {
    let inconclusive = (EXIT_INCONCLUSIVE, Verdict::Inconclusive);
    let nothing_owed = with(|s, _, v| {
        s.thresholds.clear();
        v.delivery = crate::verify::Delivery::default();
    });
    assert_eq!(decided(&nothing_owed), inconclusive);
    let churn = with(|_, _, v| v.delivery.edge = 1001);
    assert_eq!(decided(&churn), inconclusive);
    let unbalanced = with(|_, _, v| v.delivery.verified -= 1);
    assert!(unbalanced.reasons.iter().any(|r| r.contains("ledger")));
    let publishes = with(|_, s, _| s.pools[0].publish.acked -= 1);
    assert_eq!(decided(&publishes), inconclusive);
    assert_eq!(publishes.reasons, ["the publish ledger does not balance"]);
}

/// The books of a hub that died look well: nothing more was acked, so nothing more is owed.
#[test]
fn clients_that_did_not_come_back_keep_a_run_from_passing() {
    let (scenario, snapshot, verification) = (scenario(), snapshot(), verification());
    let dead = |change: fn(&mut RunFacts<'_>)| {
        let mut snapshot = snapshot.clone();
        let publish = &mut snapshot.pools[0].publish;
        publish.attempted += 429;
        publish.failed += 429;
        let mut verification = verification.clone();
        verification.groups[0].publish.attempted += 429;
        verification.groups[0].publish.failed += 429;
        let mut facts = facts(&scenario, &snapshot, &verification);
        facts.away_at_end = 200;
        change(&mut facts);
        Results::build(facts)
    };
    let results = dead(|_| {});
    assert_eq!(
        decided(&results),
        (EXIT_INCONCLUSIVE, Verdict::Inconclusive)
    );
    assert_eq!(
        results.reasons,
        [
            "200 of 200 clients were away at the end and did not come back; \
             429 of 2,429 publishes failed"
        ]
    );
    assert_eq!(results.clients.away_at_end, 200);
    // Who is interrupted, or breaks, waits for nobody.
    let interrupted = dead(|facts| facts.interrupted = true);
    assert_eq!(interrupted.reasons.len(), 1, "{:?}", interrupted.reasons);
    let broken = dead(|facts| facts.failures.push("client 17 panicked".into()));
    assert_eq!(broken.reasons, ["client 17 panicked"]);
    let one = dead(|facts| facts.away_at_end = 1);
    assert!(one.reasons[0].starts_with("1 of 200 clients was away at the end"));
    assert_eq!(decided(&dead(|facts| facts.away_at_end = 0)).0, EXIT_PASS);
}

#[test]
fn a_slow_generator_is_named() {
    let (scenario, snapshot, verification) = (scenario(), snapshot(), verification());
    let mut facts = facts(&scenario, &snapshot, &verification);
    facts.generator.saturated = true;
    facts.generator.why = "schedule lag p99 300 ms > 250 ms".into();
    let results = Results::build(facts);
    assert_eq!(results.exit_code, EXIT_INCONCLUSIVE);
    assert_eq!(
        results.reasons,
        ["generator limited: schedule lag p99 300 ms > 250 ms"]
    );
}

#[test]
fn nothing_connected_and_interrupts_have_their_own_codes() {
    let refused = with(|_, s, _| {
        for pool in &mut s.pools {
            pool.clients.connects = 0;
            pool.clients.connect_failures = 300;
        }
    });
    assert_eq!(decided(&refused), (EXIT_UNREACHABLE, Verdict::Inconclusive));
    assert_eq!(
        refused.reasons,
        ["none of 200 clients connected (600 attempts failed)"]
    );
    let (scenario, snapshot, mut verification) = (scenario(), snapshot(), verification());
    let mut interrupted = facts(&scenario, &snapshot, &verification);
    interrupted.interrupted = true;
    assert_eq!(
        decided(&Results::build(interrupted)),
        (EXIT_INTERRUPTED, Verdict::Inconclusive)
    );
    lose_one(&mut verification);
    let mut interrupted = facts(&scenario, &snapshot, &verification);
    interrupted.interrupted = true;
    let results = Results::build(interrupted);
    assert_eq!(decided(&results), (EXIT_INTERRUPTED, Verdict::Fail));
}

#[test]
fn a_panic_in_this_program_is_a_failure_even_if_all_numbers_look_well() {
    let (scenario, snapshot, verification) = (scenario(), snapshot(), verification());
    let mut facts = facts(&scenario, &snapshot, &verification);
    facts.failures.push("client 17 panicked".into());
    let results = Results::build(facts);
    assert_eq!(decided(&results), (EXIT_FAIL, Verdict::Fail));
    assert_eq!(results.reasons, ["client 17 panicked"]);
}
