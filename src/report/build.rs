//! From a finished run to its result.

use std::collections::HashSet;

use serde_json::Value;

use super::latency::LatencyTable;
use super::results::{
    Clients, GROUPS_TOLD, GroupResult, IncidentRecord, Ledger, PoolClients, PoolResult, Publishes,
    Results, RunInfo, SCHEMA, Verdict,
};
use super::threshold;
use super::timeline::{TimelinePoint, rss_growth};
use super::verdict::{self, Circumstances};
use crate::generator::GeneratorFacts;
use crate::metrics::{PoolStats, Snapshot};
use crate::scenario::{ChaosKind, Scenario};
use crate::verify::kinds::Kind as _;
use crate::verify::{GroupBooks, Sent, Verification};

/// Everything a run ends with.
#[derive(Debug)]
pub struct RunFacts<'a> {
    /// Which run.
    pub run: RunInfo,
    /// What it was to do.
    pub scenario: &'a Scenario,
    /// The final totals.
    pub snapshot: &'a Snapshot,
    /// The most clients connected at once.
    pub connected_peak: u64,
    /// Clients that were away at the end, though expected back.
    pub away_at_end: u64,
    /// What verification ended with.
    pub verification: &'a Verification,
    /// What the embedded hub says it did.
    pub hub_truth: Option<Value>,
    /// The run second by second.
    pub timeline: Vec<TimelinePoint>,
    /// What the generator used.
    pub generator: GeneratorFacts,
    /// By threshold, the worst of its stretches, see [`super::Monitor`].
    pub windows: Vec<Option<f64>>,
    /// Whether a person ended it early.
    pub interrupted: bool,
    /// Why the target could not be reached, when it could not.
    pub unreachable: Option<String>,
    /// What broke in this program (an actor panicked), one sentence each.
    pub failures: Vec<String>,
}

impl Results {
    /// Puts the result together, checks the thresholds and decides.
    pub fn build(facts: RunFacts<'_>) -> Results {
        let RunFacts {
            scenario,
            snapshot,
            verification,
            ..
        } = facts;
        let total = snapshot.total();
        let incidents = verification.incidents.iter();
        let incidents = incidents
            .map(|i| IncidentRecord::new(i, &facts.run))
            .collect();
        let mut results = Results {
            schema: SCHEMA.into(),
            run: facts.run,
            verdict: Verdict::Inconclusive,
            exit_code: 0,
            reasons: Vec::new(),
            thresholds: Vec::new(),
            clients: Clients {
                planned: scenario.connections().into(),
                visitors: visitors(scenario),
                connected_peak: facts.connected_peak,
                away_at_end: facts.away_at_end,
                counts: total.clients,
            },
            publish: Publishes {
                counts: total.publish,
                outstanding: total.outstanding,
            },
            promise: scenario.promise.name().into(),
            delivery: Ledger::new(&verification.delivery, &total.delivery),
            violations: (&verification.violations).into(),
            permitted: (&verification.permitted).into(),
            unknown: (&verification.unknown).into(),
            measured: verification.measured,
            verifier: (&verification.verifier).into(),
            latency: LatencyTable::of(&total.latency),
            chaos: ChaosKind::ALL
                .iter()
                .zip(snapshot.chaos)
                .map(|(kind, n)| (kind.name(), n))
                .collect(),
            generator: GeneratorFacts {
                rss_growth: rss_growth(&facts.timeline),
                ..facts.generator
            },
            timeline: facts.timeline,
            incidents,
            pools: pools(scenario, snapshot, verification),
            groups: groups(scenario, verification, &total),
            hub_truth: facts.hub_truth,
        };
        results.keep_told_groups();
        results.thresholds = threshold::evaluate(&scenario.thresholds, &results, &facts.windows);
        let decision = verdict::decide(
            &results,
            &Circumstances {
                interrupted: facts.interrupted,
                unreachable: facts.unreachable.as_deref(),
                failures: &facts.failures,
                inconclusive: &verification.inconclusive,
            },
        );
        results.verdict = decision.verdict;
        results.exit_code = decision.exit_code;
        results.reasons = decision.reasons;
        results
    }
}

impl Results {
    /// Keeps of the hub's accounts of groups those that the result tells of by name.
    fn keep_told_groups(&mut self) {
        let rows = self.hub_truth.as_mut().and_then(|t| t.get_mut("groups"));
        let Some(rows) = rows.and_then(Value::as_array_mut) else {
            return;
        };
        let told: HashSet<&str> = self.groups.iter().map(|g| g.name.as_str()).collect();
        rows.retain(|row| {
            let name = row.get("group").and_then(Value::as_str);
            name.is_some_and(|name| told.contains(name))
        });
    }
}

fn visitors(scenario: &Scenario) -> u64 {
    let pools = scenario.pools.iter();
    let visiting = pools.filter(|pool| pool.sessions.is_some());
    visiting.map(|pool| u64::from(pool.clients)).sum()
}

fn pools(scenario: &Scenario, snapshot: &Snapshot, verification: &Verification) -> Vec<PoolResult> {
    scenario
        .pools
        .iter()
        .zip(&snapshot.pools)
        .enumerate()
        .map(|(number, (pool, stats))| PoolResult {
            name: pool.name.clone(),
            clients: PoolClients {
                planned: if pool.server { 0 } else { pool.clients.into() },
                counts: stats.clients,
            },
            publish: Publishes {
                counts: stats.publish,
                outstanding: stats.outstanding,
            },
            delivery: Ledger::new(
                &verification.pools.get(number).copied().unwrap_or_default(),
                &stats.delivery,
            ),
            permitted: verification
                .pool_permitted
                .get(number)
                .into_iter()
                .flat_map(|tally| tally.iter())
                .filter(|(_, n)| *n > 0)
                .map(|(kind, n)| (kind.name(), n))
                .collect(),
            latency: LatencyTable::of(&stats.latency),
        })
        .collect()
}

/// The first groups one by one, and one row with all that is left of the totals.
fn groups(scenario: &Scenario, verification: &Verification, total: &PoolStats) -> Vec<GroupResult> {
    let row = |name: &str, publish, delivery| GroupResult {
        name: name.into(),
        publish,
        delivery,
    };
    let books = scenario.groups.iter().zip(&verification.groups);
    let mut rows: Vec<GroupResult> = books
        .take(GROUPS_TOLD)
        .map(|(name, books)| row(name, books.publish, books.delivery))
        .collect();
    let mut rest = GroupBooks::default();
    for books in verification.groups.iter().skip(rows.len()) {
        rest.delivery.merge(&books.delivery);
    }
    // Counted by the clients: events, and what was never written, go to no group.
    let counts = &total.publish;
    let left = |all: u64, of: fn(&Sent) -> u64| {
        all.saturating_sub(rows.iter().map(|row| of(&row.publish)).sum())
    };
    rest.publish = Sent {
        attempted: left(counts.attempted, |sent| sent.attempted),
        acked: left(counts.acked, |sent| sent.acked),
        failed: left(counts.failed, |sent| sent.failed),
        unknown: left(counts.unknown, |sent| sent.unknown),
        unacked: left(counts.unacked, |sent| sent.unacked),
        outstanding: left(total.outstanding, |sent| sent.outstanding),
    };
    rows.push(row("(rest)", rest.publish, rest.delivery));
    rows
}
