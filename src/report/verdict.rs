//! The decision: pass, fail or inconclusive, the exit code, and the reasons in words.
//!
//! Source: contract 2, verification 9. No evidence is never a pass.

use super::format::count;
use super::results::{Results, Unit, Verdict};

/// Edge pairs above this share of the owed ones leave too little to judge.
/// Source: verification 9.
const EDGE_SHARE_MAX: f64 = 0.05;

/// Ran, verified, no violation, every threshold met.
pub const EXIT_PASS: u8 = 0;
/// Ran, but a violation was found or a threshold missed.
pub const EXIT_FAIL: u8 = 1;
/// The target could not be reached or refused every client.
pub const EXIT_UNREACHABLE: u8 = 3;
/// Ran, but the verdict is inconclusive.
pub const EXIT_INCONCLUSIVE: u8 = 4;
/// Interrupted.
pub const EXIT_INTERRUPTED: u8 = 130;

/// What happened around a run that its numbers do not show.
#[derive(Debug, Default)]
pub struct Circumstances<'a> {
    /// Ended early by a person.
    pub interrupted: bool,
    /// Why the target could not be reached.
    pub unreachable: Option<&'a str>,
    /// What broke in this program.
    pub failures: &'a [String],
    /// Why the verifier cannot be trusted.
    pub inconclusive: &'a [String],
}

/// The decision on a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// In one word.
    pub verdict: Verdict,
    /// For the shell.
    pub exit_code: u8,
    /// In sentences, the weightiest first.
    pub reasons: Vec<String>,
}

/// Decides on a result whose numbers and thresholds are filled in.
///
/// In this order: interrupted (130), nothing connected (3), a failure of this program (1),
/// a verifier whose own books do not balance (4, its violations are unproven), a violation
/// or missed threshold (1), anything unverifiable (4), pass (0). All reasons are given,
/// not only the one that decided.
pub fn decide(results: &Results, circumstances: &Circumstances<'_>) -> Decision {
    let self_check_ok = results.verifier.self_check == "ok";
    let failures = circumstances.failures.to_vec();
    let violations = violations(results, self_check_ok);
    let missed = missed_thresholds(results);
    let mut doubts = doubts(results, circumstances.inconclusive, self_check_ok);
    if !circumstances.interrupted && failures.is_empty() {
        // Else nobody gave them the time to come back.
        doubts.extend(away(results));
    }
    let mut reasons = Vec::new();

    let unreachable = match circumstances.unreachable {
        Some(why) => Some(format!("the target could not be reached: {why}")),
        None if results.clients.counts.connects == 0 => Some(format!(
            "none of {} clients connected ({} attempts failed)",
            count(results.clients.planned),
            count(results.clients.counts.connect_failures)
        )),
        None => None,
    };
    let failed = !failures.is_empty() || (self_check_ok && violations.is_some());
    let (verdict, exit_code) = if circumstances.interrupted {
        reasons.push("interrupted: what was seen until then was verified".to_owned());
        let proven = failed || !missed.is_empty();
        let verdict = if proven {
            Verdict::Fail
        } else {
            Verdict::Inconclusive
        };
        (verdict, EXIT_INTERRUPTED)
    } else if unreachable.is_some() {
        (Verdict::Inconclusive, EXIT_UNREACHABLE)
    } else if !failures.is_empty() {
        (Verdict::Fail, EXIT_FAIL)
    } else if !self_check_ok {
        (Verdict::Inconclusive, EXIT_INCONCLUSIVE)
    } else if failed || !missed.is_empty() {
        (Verdict::Fail, EXIT_FAIL)
    } else if !doubts.is_empty() {
        (Verdict::Inconclusive, EXIT_INCONCLUSIVE)
    } else {
        (Verdict::Pass, EXIT_PASS)
    };
    let nothing_connected = unreachable.is_some();
    reasons.extend(unreachable);
    reasons.extend(failures);
    reasons.extend(violations);
    if !nothing_connected {
        // Without a single client these only repeat that there was none.
        reasons.extend(missed);
        reasons.extend(doubts);
    }
    Decision {
        verdict,
        exit_code,
        reasons,
    }
}

fn violations(results: &Results, proven: bool) -> Option<String> {
    let total = results.violations.total();
    if total == 0 {
        return None;
    }
    let kinds: Vec<_> = results
        .violations
        .nonzero()
        .map(|(kind, n)| format!("{} {kind}", count(n)))
        .collect();
    let unproven = if proven { "" } else { " (unproven)" };
    let s = if total == 1 { "" } else { "s" };
    Some(format!(
        "{} violation{s}{unproven}: {}",
        count(total),
        kinds.join(", ")
    ))
}

fn missed_thresholds(results: &Results) -> Vec<String> {
    results
        .thresholds
        .iter()
        .filter(|threshold| !threshold.ok)
        .map(|threshold| match threshold.actual {
            Some(actual) => format!(
                "threshold missed: {} (was {})",
                threshold.expr,
                super::format::measured(actual, threshold.unit)
            ),
            None => format!("threshold missed: {} (no data)", threshold.expr),
        })
        .collect()
}

/// Clients that did not come back: what they would have been owed from then on, nobody sent
/// or nobody counted, so that the books of a hub that died look well.
fn away(results: &Results) -> Option<String> {
    let away = results.clients.away_at_end;
    let publish = &results.publish.counts;
    let failed = match publish.failed {
        0 => String::new(),
        failed => format!(
            "; {} of {} publishes failed",
            count(failed),
            count(publish.attempted)
        ),
    };
    (away > 0).then(|| {
        format!(
            "{} of {} clients {} away at the end and did not come back{failed}",
            count(away),
            count(results.clients.planned),
            if away == 1 { "was" } else { "were" }
        )
    })
}

/// Everything that keeps the numbers from being a proof.
fn doubts(results: &Results, inconclusive: &[String], self_check_ok: bool) -> Vec<String> {
    let mut doubts = inconclusive.to_vec();
    let ledger = &results.delivery;
    // The verifier says each of these itself, and why. Should it have said nothing, it is
    // said here: numbers like these must never pass.
    let silent = inconclusive.is_empty();
    if silent && !self_check_ok {
        doubts.push(format!(
            "the verifier's own books do not balance: {}",
            results.verifier.self_check
        ));
    }
    if silent && ledger.unverified > 0 {
        doubts.push(format!(
            "{} of {} owed deliveries could not be verified",
            count(ledger.unverified),
            count(ledger.expected)
        ));
    }
    if silent && ledger.expected == 0 {
        doubts.push("no delivery was owed to anyone, so nothing was proved".into());
    }
    if silent && ledger.edge as f64 > ledger.expected as f64 * EDGE_SHARE_MAX {
        doubts.push(format!(
            "{} deliveries at a membership edge, over {} of the owed: too much churn to judge",
            count(ledger.edge),
            super::format::measured(EDGE_SHARE_MAX, Unit::Share)
        ));
    }
    if !ledger.balances() {
        doubts.push("the delivery ledger does not balance".into());
    }
    if !results.publish.balances() {
        doubts.push("the publish ledger does not balance".into());
    }
    if ledger.balances() && results.publish.balances() && !results.books_add_up() {
        doubts.push("the books of the pools or groups do not add up to the run's".into());
    }
    doubts.extend(super::agreement::doubt(results));
    if results.generator.saturated {
        doubts.push(format!("generator limited: {}", results.generator.why));
    }
    doubts
}

#[cfg(test)]
mod tests;
