//! What the run showed: verdict first, then the ledgers that prove it.

use std::path::Path;

use serde_json::Value;

use super::measured::lines as measured_lines;
use super::table::{columns, section, wrapped};
use super::{Paint, incidents};
use crate::metrics::LatencyKind;
use crate::report::agreement;
use crate::report::counts::Counts;
use crate::report::format::{bytes, count, duration, measured, micros, share};
use crate::report::results::{Results, ThresholdResult, Verdict};
use crate::verify::kinds::{Kind, Permitted, Unknown};

/// Counts of groups told one by one when the hub disagrees.
const GROUPS_SAID: usize = 3;

/// How to come back to this run.
#[derive(Debug)]
pub struct Again<'a> {
    /// The command that repeats it, seed included, secrets left out.
    pub command: &'a str,
    /// Where the report lies.
    pub report: &'a Path,
}

/// The summary printed after a run, or of a saved result.
pub fn summary(results: &Results, again: &Again<'_>, paint: Paint) -> String {
    let mut out = verdict_line(results, paint);
    out.push('\n');
    for reason in &results.reasons {
        out.push_str(&format!("  - {reason}\n"));
    }
    out.push('\n');
    // Nothing came to pass: tables of zeros would hide why.
    if results.exit_code == 3 {
        section(&mut out, paint, "clients", &clients(results)[..1]);
        return ending(out, results, again, paint);
    }
    section(&mut out, paint, "deliveries", &deliveries(results, paint));
    section(&mut out, paint, "publishes", &publishes(results));
    section(&mut out, paint, "clients", &clients(results));
    section(&mut out, paint, "faults", &faults(results));
    section(&mut out, paint, "hub lies", &lies(results));
    out.push('\n');
    section(&mut out, paint, "latency", &latencies(results, paint));
    let thresholds: Vec<_> = results
        .thresholds
        .iter()
        .map(|threshold| threshold_line(threshold, paint))
        .collect();
    if !thresholds.is_empty() {
        out.push('\n');
        section(&mut out, paint, "thresholds", &thresholds);
    }
    out.push('\n');
    section(&mut out, paint, "hub agrees", &truth(results, paint));
    section(&mut out, paint, "verifier", &verifier(results));
    section(&mut out, paint, "generator", &generator(results, paint));
    if !results.incidents.is_empty() {
        out.push('\n');
        incidents::incidents(&mut out, &results.incidents, paint);
    }
    ending(out, results, again, paint)
}

/// How to come back to this run.
fn ending(mut out: String, results: &Results, again: &Again<'_>, paint: Paint) -> String {
    out.push('\n');
    let seed = results.run.seed.to_string();
    section(&mut out, paint, "seed", &[seed]);
    section(&mut out, paint, "again", &[again.command.to_owned()]);
    section(
        &mut out,
        paint,
        "report",
        &[again.report.display().to_string()],
    );
    out
}

/// The verdict in one line: word, violations, ledger, promise, what is unknown and
/// permitted. Source: verification 10.
pub fn verdict_line(results: &Results, paint: Paint) -> String {
    let word = match (results.verdict, results.exit_code) {
        (_, 130) => paint.doubt("INTERRUPTED"),
        (_, 3) => paint.bad("UNREACHABLE"),
        (Verdict::Pass, _) => paint.good("PASS"),
        (Verdict::Fail, _) => paint.bad("FAIL"),
        (Verdict::Inconclusive, _) => paint.doubt("INCONCLUSIVE"),
    };
    let ledger = &results.delivery;
    let mut parts = vec![match results.violations.total() {
        0 => "0 violations".to_owned(),
        _ => listed(&results.violations).join(", "),
    }];
    let unseen = match ledger.unverified {
        0 => String::new(),
        // They may all have come: nobody looked.
        n => format!("{} not looked at, ", count(n)),
    };
    let mut owed = format!(
        "{} of {} owed deliveries seen, {unseen}{} verified",
        count(ledger.delivered),
        count(ledger.expected),
        share(ledger.verified, ledger.expected)
    );
    if ledger.edge > 0 {
        owed.push_str(&format!(
            ", {} edge ({})",
            count(ledger.edge),
            share(ledger.edge, ledger.expected)
        ));
    }
    parts.push(owed);
    if results.verifier.mode != "full" {
        parts.push(format!(
            "mode: {} (order not verified)",
            results.verifier.mode
        ));
    }
    let (threads, lost) = (results.verifier.threads, results.verifier.threads_lost);
    if lost > 0 {
        parts.push(format!(
            "coverage: {} of {threads} threads",
            threads.saturating_sub(lost)
        ));
    }
    // What is owed falls by it, in silence.
    if results.clients.counts.join_failures > 0 {
        let refused = count(results.clients.counts.join_failures);
        parts.push(format!("joins refused: {refused}"));
    }
    parts.push(format!("promise: {}", results.promise));
    for (name, counts) in [
        ("unknown", &results.unknown),
        ("permitted", &results.permitted),
    ] {
        if counts.total() > 0 {
            parts.push(format!("{name}: {}", listed(counts).join(", ")));
        }
    }
    format!("{word}  {}", parts.join(" | "))
}

/// `3 lost`, `1 recovery_broken`: the counts above zero.
fn listed(counts: &Counts) -> Vec<String> {
    counts
        .nonzero()
        .map(|(kind, n)| format!("{} {kind}", count(n)))
        .collect()
}

fn deliveries(results: &Results, paint: Paint) -> Vec<String> {
    let ledger = &results.delivery;
    let row = |name: &str, n: u64, share: String| vec![name.to_owned(), count(n), share];
    let of_owed = |n| share(n, ledger.expected);
    // Of what was not looked at, nobody knows whether it came.
    let known = ledger.delivered + ledger.unverified;
    let missing = ledger.expected.saturating_sub(known);
    let mut lines = columns(
        paint,
        &["(message, receiver) pairs", "pairs", "of owed"],
        &[
            row("owed", ledger.expected, String::new()),
            row("  arrived", ledger.delivered, of_owed(ledger.delivered)),
            row("  missing", missing, of_owed(missing)),
            row(
                "  not looked at",
                ledger.unverified,
                of_owed(ledger.unverified),
            ),
            row("verified", ledger.verified, of_owed(ledger.verified)),
        ],
    );
    let explained = ledger.delivered + ledger.not_owed;
    let (sign, other) = if ledger.received >= explained {
        ("+", ledger.received - explained)
    } else {
        ("-", explained - ledger.received)
    };
    lines.push(format!(
        "received {} = {} owed + {} not owed {sign} {} other ({}, {} replays dropped)",
        count(ledger.received),
        count(ledger.delivered),
        count(ledger.not_owed),
        count(other),
        bytes(ledger.bytes),
        count(ledger.replays)
    ));
    lines.extend(explained_kinds::<Permitted>(
        "permitted",
        &results.permitted,
    ));
    lines.extend(explained_kinds::<Unknown>("unknown", &results.unknown));
    lines.extend(measured_lines(results));
    lines
}

/// A line for each kind that was seen, with what it means.
fn explained_kinds<K: Kind>(class: &str, counts: &Counts) -> Vec<String> {
    let seen = |kind: &&K| counts.get(kind.name()).unwrap_or(0) > 0;
    let line = |kind: &K| {
        let n = count(counts.get(kind.name()).unwrap_or(0));
        format!(
            "{class} {n} {}: {}",
            kind.name(),
            kind.meaning().trim_end_matches('.')
        )
    };
    K::ALL.iter().filter(seen).map(line).collect()
}

fn publishes(results: &Results) -> Vec<String> {
    let publish = &results.publish.counts;
    let mut parts = vec![
        format!("{} acked", count(publish.acked)),
        format!("{} failed", count(publish.failed)),
        format!("{} unknown", count(publish.unknown)),
    ];
    if publish.unacked > 0 {
        parts.push(format!("{} without ack", count(publish.unacked)));
    }
    if results.publish.outstanding > 0 {
        parts.push(format!(
            "{} outstanding",
            count(results.publish.outstanding)
        ));
    }
    let mut lines = vec![format!(
        "{} = {}; {} retries, {} duplicate acks",
        count(publish.attempted),
        parts.join(" + "),
        count(publish.retries),
        count(publish.duplicate_acks)
    )];
    if matches!(results.run.load.as_str(), "closed" | "mixed") {
        lines.push(format!(
            "{} loop: clients wait for their acks, so a slow hub gets less to do",
            results.run.load
        ));
    }
    if publish.overflow > 0 {
        lines.push(format!(
            "{} of the failed were turned away: too many in flight on one client",
            count(publish.overflow)
        ));
    }
    lines
}

fn clients(results: &Results) -> Vec<String> {
    let clients = &results.clients.counts;
    let mut lines = vec![
        format!(
            "{} planned, {} connected at the peak; {} connects, {} failed",
            count(results.clients.planned),
            count(results.clients.connected_peak),
            count(clients.connects),
            count(clients.connect_failures)
        ),
        format!(
            "{} disconnects = {} injected + {} by hub or network + {} by harness",
            count(clients.disconnects),
            count(clients.disconnects_injected),
            count(clients.disconnects_hub),
            count(clients.disconnects_harness)
        ),
        format!(
            "{} recoveries, {} given up; {} reconnects; {} rejoins, {} failed",
            count(clients.recoveries),
            count(clients.recovery_failures),
            count(clients.reconnects),
            count(clients.rejoins),
            count(clients.rejoin_failures)
        ),
    ];
    if clients.join_failures > 0 {
        lines.push(format!(
            "{} joins were refused: nothing is owed to these clients in these groups",
            count(clients.join_failures)
        ));
    }
    if results.clients.away_at_end > 0 {
        lines.push(format!(
            "{} were away at the end",
            count(results.clients.away_at_end)
        ));
    }
    if clients.bad_frames > 0 {
        lines.push(format!(
            "{} frames could not be read",
            count(clients.bad_frames)
        ));
    }
    lines
}

fn faults(results: &Results) -> Vec<String> {
    let items = listed(&results.chaos);
    match items.is_empty() {
        true => vec!["none injected".into()],
        false => {
            let mut lines = wrapped(&items, ", ");
            if let Some(last) = lines.last_mut() {
                last.push_str(&format!(" (clients hit: {})", count(results.chaos.total())));
            }
            lines
        }
    }
}

/// What the embedded hub was told to do wrong, as often as it did; nothing of an honest hub.
fn lies(results: &Results) -> Vec<String> {
    let told = results.hub_truth.as_ref().and_then(|t| t.get("faults"));
    let told = told.and_then(Value::as_object).into_iter().flatten();
    let told = told.filter_map(|(kind, n)| Some((kind, n.as_u64().filter(|n| *n > 0)?)));
    let items: Vec<_> = told
        .map(|(kind, n)| format!("{} {kind}", count(n)))
        .collect();
    match items.is_empty() {
        true => Vec::new(),
        false => wrapped(&items, ", "),
    }
}

fn latencies(results: &Results, paint: Paint) -> Vec<String> {
    let rows: Vec<_> = LatencyKind::ALL
        .into_iter()
        .map(|kind| (kind.name(), results.latency.get(kind)))
        .filter(|(_, summary)| summary.count > 0)
        .map(|(name, summary)| {
            let mut row = vec![name.to_owned(), count(summary.count)];
            row.extend(
                [
                    summary.p50,
                    summary.p90,
                    summary.p99,
                    summary.p999,
                    summary.max,
                ]
                .map(micros),
            );
            row
        })
        .collect();
    if rows.is_empty() {
        return vec!["nothing measured".into()];
    }
    columns(
        paint,
        &["", "count", "p50", "p90", "p99", "p99.9", "max"],
        &rows,
    )
}

fn threshold_line(threshold: &ThresholdResult, paint: Paint) -> String {
    let mark = match threshold.ok {
        true => paint.good("met   "),
        false => paint.bad("MISSED"),
    };
    let actual = match threshold.actual {
        None => "no data".to_owned(),
        Some(actual) => {
            let mut text = measured(actual, threshold.unit);
            if let Some(over) = threshold.over_s {
                text.push_str(&format!(" in the worst {over}s"));
            }
            // A bound of a hundredth of the value has no margin worth a number.
            match threshold.margin.map(|margin| margin * 100.0) {
                Some(margin) if margin.abs() < 1000.0 => {
                    text.push_str(&format!(" (margin {margin:+.0}%)"));
                }
                _ => {}
            }
            text
        }
    };
    format!("{mark}  {:<32}  {actual}", threshold.expr)
}

/// Whether the embedded hub's own account agrees.
fn truth(results: &Results, paint: Paint) -> Vec<String> {
    let checks = agreement::compare(results);
    if checks.is_empty() {
        return vec!["not asked: the target keeps no account for us".into()];
    }
    let mut items: Vec<_> = checks
        .iter()
        .map(|check| {
            let hub = count(check.hub);
            let what = check.what;
            if !check.agrees() {
                paint.bad(&format!("NO: {check}"))
            } else if check.hub == check.range.0 {
                format!("{what} {hub}")
            } else {
                format!("{what} {hub} (seen: {})", count(check.range.0))
            }
        })
        .collect();
    let groups = agreement::compare_groups(results);
    let wrong = groups.iter().filter(|check| !check.agrees());
    match wrong.clone().count() {
        0 if groups.is_empty() => {}
        0 => items.push(each_of(groups.len() as u64 / 3)),
        _ => items.extend(
            wrong
                .take(GROUPS_SAID)
                .map(|check| paint.bad(&format!("NO: {check}"))),
        ),
    }
    wrapped(&items, ", ")
}

fn each_of(groups: u64) -> String {
    let s = if groups == 1 { "" } else { "s" };
    format!("each of {} group{s}", count(groups))
}

fn verifier(results: &Results) -> Vec<String> {
    let verifier = &results.verifier;
    let mut lines = vec![format!(
        "mode {}, {} in {}, self-check {}",
        verifier.mode,
        match verifier.mode.as_str() {
            "digest" => "counts and sums of hashes".to_owned(),
            _ => format!("{} pairs", count(verifier.pairs)),
        },
        bytes(verifier.bytes),
        verifier.self_check
    )];
    if !verifier.not_verified.is_empty() {
        let wrapped = wrapped(&verifier.not_verified, ", ");
        lines.push(format!("not verified: {}", wrapped[0]));
        lines.extend(wrapped[1..].iter().map(|line| format!("  {line}")));
    }
    if !verifier.not_exercised.is_empty() {
        let wrapped = wrapped(&verifier.not_exercised, ", ");
        lines.push(format!("not exercised: {}", wrapped[0]));
        lines.extend(wrapped[1..].iter().map(|line| format!("  {line}")));
    }
    lines
}

fn generator(results: &Results, paint: Paint) -> Vec<String> {
    let facts = &results.generator;
    let mut lines = vec![format!(
        "{:.1} s CPU in {}, {} memory at the peak{}, {} files, schedule lag p99 {}",
        facts.cpu_s,
        duration(std::time::Duration::from_secs_f64(
            results.run.duration_s.clamp(0.0, 1e9)
        )),
        bytes(facts.peak_rss_bytes),
        facts.rss_growth.map_or(String::new(), |growth| format!(
            " ({:+.1} % over the last half)",
            growth * 100.0
        )),
        count(facts.fds_peak),
        micros(facts.schedule_lag_p99_us)
    )];
    if let Some(forecast) = facts.forecast.filter(|f| f.deliveries > 0) {
        lines.push(format!(
            "forecast {:.1} s CPU, {} memory, {} files; {} deliveries, of which {} came",
            forecast.cpu_s,
            bytes(forecast.memory_bytes),
            count(forecast.fds),
            count(forecast.deliveries),
            count(results.delivery.received)
        ));
    }
    if let Some(busiest) = facts.threads.first() {
        lines.push(format!(
            "busiest thread {}: {:.1} s CPU, at the most {:.2} of a core; {} segments sent again by the machine",
            busiest.name,
            busiest.cpu_s,
            busiest.peak_cores,
            count(facts.tcp_retransmits)
        ));
    }
    if facts.saturated {
        lines.push(paint.doubt(&format!("limited: {}", facts.why)));
    }
    if facts.latencies_clipped > 0 {
        lines.push(format!(
            "{} latencies over an hour were recorded as one hour",
            count(facts.latencies_clipped)
        ));
    }
    lines
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
