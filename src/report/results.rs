//! The result of a run, as `report.json` holds it. Source: contract 3.
//!
//! Only the shape lives here; [`super::build`] makes one from a run, [`super::verdict`]
//! decides. Everything a renderer shows must be in here, so that a saved result renders
//! like a fresh one. Counts are integers, durations seconds, latencies microseconds.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::counts::Counts;
use super::latency::LatencyTable;
use super::timeline::TimelinePoint;
use crate::generator::GeneratorFacts;
use crate::metrics::stats::{ClientCounts, DeliveryCounts, PublishCounts};
use crate::verify::{Delivery, Incident, VerifierFacts};

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "hubstorm.report/1";

/// A whole result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Which run.
    pub run: RunInfo,
    /// What it showed.
    pub verdict: Verdict,
    /// The process's exit code. Source: contract 2.
    pub exit_code: u8,
    /// Why the verdict is not a plain pass, one sentence each; empty for a pass.
    pub reasons: Vec<String>,
    /// The scenario's conditions.
    pub thresholds: Vec<ThresholdResult>,
    /// Life of the clients.
    pub clients: Clients,
    /// Publishes.
    pub publish: Publishes,
    /// `published` or `reference`.
    pub promise: String,
    /// The delivery ledger.
    pub delivery: Ledger,
    /// Violations by kind.
    pub violations: Counts,
    /// Permitted sightings by reason.
    pub permitted: Counts,
    /// Unprovable sightings by kind.
    pub unknown: Counts,
    /// What the verifier says of itself.
    pub verifier: Verifier,
    /// Latencies of all pools together.
    pub latency: LatencyTable,
    /// Faults injected by kind, one for each client hit.
    pub chaos: Counts,
    /// What the generator used.
    pub generator: GeneratorFacts,
    /// The run second by second.
    pub timeline: Vec<TimelinePoint>,
    /// The first violations, with their evidence.
    pub incidents: Vec<IncidentRecord>,
    /// The same per pool (beside the contract).
    #[serde(default)]
    pub pools: Vec<PoolResult>,
    /// What the embedded hub says it did (beside the contract).
    #[serde(default)]
    pub hub_truth: Option<Value>,
}

/// Which run this was.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunInfo {
    /// Unique per run.
    pub id: String,
    /// The scenario's name.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// The version of this program.
    pub version: String,
    /// When it started; RFC 3339 in JSON.
    #[serde(with = "rfc3339")]
    pub started_at: SystemTime,
    /// How long it took from first dial to verdict, s.
    pub duration_s: f64,
    /// Scheme, host and hub; never a token.
    pub target: String,
    /// The subprotocols, by their short names.
    pub protocol: String,
    /// `open` when every pool publishes by its schedule, `closed` when each waits for its
    /// acks, `mixed`, or `none` when nobody publishes (beside the contract).
    #[serde(default)]
    pub load: String,
    /// Names the plan of faults; equal for equal plans (beside the contract).
    #[serde(default)]
    pub plan_hash: String,
}

/// What a run showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Verified, no violation, every threshold met.
    Pass,
    /// A violation, a missed threshold or a failure of the run.
    Fail,
    /// Cannot be said.
    Inconclusive,
}

/// A condition and how it came out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// As written.
    pub expr: String,
    /// What was measured, in the unit of the bound (latencies: s); null without data.
    pub actual: Option<f64>,
    /// Whether it was met; never without data.
    pub ok: bool,
    /// The bound, in the same unit (beside the contract).
    #[serde(default)]
    pub bound: f64,
    /// The unit of both (beside the contract).
    #[serde(default)]
    pub unit: Unit,
    /// How far from the bound, as a fraction of it; negative when missed, null without data
    /// or with a bound of zero (beside the contract).
    #[serde(default)]
    pub margin: Option<f64>,
    /// `actual` is the worst of all stretches of so many seconds; null: of the whole run
    /// (beside the contract).
    #[serde(default)]
    pub over_s: Option<f64>,
}

/// The unit of a measured value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A plain number.
    #[default]
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A fraction of 1, written as a percentage.
    Share,
}

/// Life of the clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Clients {
    /// Clients of all pools.
    pub planned: u64,
    /// The most connected at once.
    pub connected_peak: u64,
    /// The counters.
    #[serde(flatten)]
    pub counts: ClientCounts,
}

/// Publishes: `attempted = acked + failed + unknown + unacked + outstanding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Publishes {
    /// The counters.
    #[serde(flatten)]
    pub counts: PublishCounts,
    /// Without an outcome when the run ended (beside the contract).
    #[serde(default)]
    pub outstanding: u64,
}

impl Publishes {
    /// Whether every attempted publish is under exactly one outcome.
    pub fn balances(&self) -> bool {
        let PublishCounts {
            attempted,
            acked,
            failed,
            unknown,
            unacked,
            ..
        } = self.counts;
        attempted == acked + failed + unknown + unacked + self.outstanding
    }
}

/// The delivery ledger, in (message, receiver) pairs. See [`Delivery`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Owed.
    pub expected: u64,
    /// Owed and arrived.
    pub delivered: u64,
    /// Owed, with a definite verdict.
    pub verified: u64,
    /// The rest of the owed.
    pub unverified: u64,
    /// Arrived though nothing owed them.
    pub not_owed: u64,
    /// At a membership edge: owed or not cannot be said.
    pub edge: u64,
    /// Fresh data messages that clients received, whatever they were (beside the contract).
    #[serde(default)]
    pub received: u64,
    /// Replays that clients dropped by their sequence id (beside the contract).
    #[serde(default)]
    pub replays: u64,
    /// Payload bytes of the fresh ones (beside the contract).
    #[serde(default)]
    pub bytes: u64,
}

impl Ledger {
    /// The verifier's ledger and the clients' own counts of what came in.
    pub fn new(ledger: &Delivery, arrived: &DeliveryCounts) -> Self {
        Ledger {
            expected: ledger.expected,
            delivered: ledger.delivered,
            verified: ledger.verified,
            unverified: ledger.unverified,
            not_owed: ledger.not_owed,
            edge: ledger.edge,
            received: arrived.messages,
            replays: arrived.replays,
            bytes: arrived.bytes,
        }
    }

    /// Whether its parts add up.
    pub fn balances(&self) -> bool {
        self.verified.checked_add(self.unverified) == Some(self.expected)
            && self.delivered <= self.expected
    }
}

/// What the verifier says of itself. See [`VerifierFacts`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Verifier {
    /// `full`, `digest` or `counts`.
    pub mode: String,
    /// Pairs (receiver, stream) held.
    pub pairs: u64,
    /// Bytes held at the most.
    pub bytes: u64,
    /// Properties that had no opportunity to fail.
    pub not_exercised: Vec<String>,
    /// `ok`, or what did not balance.
    pub self_check: String,
}

impl From<&VerifierFacts> for Verifier {
    fn from(facts: &VerifierFacts) -> Self {
        Verifier {
            mode: facts.mode.into(),
            pairs: facts.pairs,
            bytes: facts.bytes,
            not_exercised: facts.not_exercised.iter().map(|&p| p.into()).collect(),
            self_check: facts.self_check.clone(),
        }
    }
}

/// One violation with its evidence. See [`Incident`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct IncidentRecord {
    /// The kind of violation.
    pub kind: String,
    /// Seconds after the start of the run at which it was found.
    pub t_s: f64,
    /// One line that says it all.
    pub summary: String,
    /// The property broken and its basis.
    pub rule: String,
    /// Receiver slot.
    pub receiver: Option<u32>,
    /// Publisher slot.
    pub publisher: Option<u32>,
    /// Group name.
    pub group: Option<String>,
    /// The message's number in its stream.
    pub seq: Option<u32>,
    /// The evidence, line by line.
    pub evidence: Vec<String>,
}

impl From<&Incident> for IncidentRecord {
    fn from(incident: &Incident) -> Self {
        IncidentRecord {
            kind: incident.kind.into(),
            t_s: incident.t_s,
            summary: incident.summary.clone(),
            rule: incident.rule.into(),
            receiver: incident.receiver,
            publisher: incident.publisher,
            group: incident.group.clone(),
            seq: incident.seq,
            evidence: incident.evidence.clone(),
        }
    }
}

/// The numbers of one pool.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PoolResult {
    /// Its name.
    pub name: String,
    /// Its clients. The peak is of the whole run only, so it is not repeated here.
    pub clients: PoolClients,
    /// Its publishes.
    pub publish: Publishes,
    /// What arrived at its clients.
    pub delivery: DeliveryCounts,
    /// Its latencies.
    pub latency: LatencyTable,
}

/// Life of the clients of one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolClients {
    /// How many.
    pub planned: u64,
    /// The counters.
    #[serde(flatten)]
    pub counts: ClientCounts,
}

/// Wall-clock times as RFC 3339.
mod rfc3339 {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(d)?;
        humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests;
