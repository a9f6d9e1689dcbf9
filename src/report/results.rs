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
use crate::verify::{Delivery, ExchangeCounts, Incident, Measured, Sent, VerifierFacts};

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "hubstorm.report/1";

pub use crate::verify::GROUPS_TOLD;

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
    /// What nobody promises: measured, not judged (beside the contract).
    #[serde(default)]
    pub measured: Measured,
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
    /// The books of the first [`GROUPS_TOLD`] groups, then one row named `(rest)`: all other
    /// groups, and publishes that go to no group or were never written. The rows add up to
    /// the run's totals (beside the contract).
    #[serde(default)]
    pub groups: Vec<GroupResult>,
    /// What the embedded hub says it did (beside the contract).
    #[serde(default)]
    pub hub_truth: Option<Value>,
}

impl Results {
    /// Whether every pool and group balances, and all of them add up to the run's totals.
    /// A result of a version without books by group says nothing.
    pub fn books_add_up(&self) -> bool {
        type Books = ([u64; 6], [u64; 8]);
        let books = |publish: [u64; 6], of: &Delivery| -> Books {
            let delivery = [
                of.expected,
                of.delivered,
                of.unverified,
                of.not_owed,
                of.lost,
                of.permitted,
                of.unknown,
                of.addressed,
            ];
            (publish, delivery)
        };
        fn sum(all: impl Iterator<Item = Books>) -> Books {
            all.fold(Books::default(), |mut sum, one| {
                sum.0.iter_mut().zip(one.0).for_each(|(sum, n)| *sum += n);
                sum.1.iter_mut().zip(one.1).for_each(|(sum, n)| *sum += n);
                sum
            })
        }
        let of_pool = |publish: &Publishes, ledger: &Ledger| {
            let counts = &publish.counts;
            let sent = [
                counts.attempted,
                counts.acked,
                counts.failed,
                counts.unknown,
                counts.unacked,
                publish.outstanding,
            ];
            books(sent, &ledger.pairs())
        };
        let of_group = |group: &GroupResult| {
            let Sent {
                attempted,
                acked,
                failed,
                unknown,
                unacked,
                outstanding,
            } = group.publish;
            let sent = [attempted, acked, failed, unknown, unacked, outstanding];
            books(sent, &group.delivery)
        };
        let total = of_pool(&self.publish, &self.delivery);
        let pools = self.pools.iter().map(|p| of_pool(&p.publish, &p.delivery));
        let balanced = self.pools.iter().all(|pool| pool.publish.balances());
        let groups = self.groups.iter().map(of_group);
        self.groups.is_empty() || (balanced && sum(pools) == total && sum(groups) == total)
    }
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
    /// How long the load lasted, s: what rates are by (beside the contract).
    #[serde(default)]
    pub load_s: f64,
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
#[serde(rename_all = "snake_case")]
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
    /// Events by the second.
    PerSecond,
    /// Bytes by the second.
    BytesPerSecond,
}

/// Life of the clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Clients {
    /// Clients of all pools.
    pub planned: u64,
    /// Of these, visitors: each comes, stays and goes (beside the contract).
    #[serde(default)]
    pub visitors: u64,
    /// The most connected at once.
    pub connected_peak: u64,
    /// Clients that were away at the end and had not stopped by plan or policy (beside the
    /// contract).
    #[serde(default)]
    pub away_at_end: u64,
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
    /// Owed, and did not arrive whole (this and the next four beside the contract).
    #[serde(default)]
    pub lost: u64,
    /// Did not arrive, and need not have, for a reason of `permitted`.
    #[serde(default)]
    pub permitted: u64,
    /// Did not arrive, and cannot be laid to anyone under the promise.
    #[serde(default)]
    pub unknown: u64,
    /// Of receivers that were no members at that time, or asked to be spared.
    #[serde(default)]
    pub outside: u64,
    /// All of them: messages sent, for each client that ever was to be a member.
    #[serde(default)]
    pub addressed: u64,
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
            lost: ledger.lost,
            permitted: ledger.permitted,
            unknown: ledger.unknown,
            outside: ledger.outside,
            addressed: ledger.addressed,
            received: arrived.messages,
            replays: arrived.replays,
            bytes: arrived.bytes,
        }
    }

    /// The verifier's part of it.
    fn pairs(&self) -> Delivery {
        Delivery {
            expected: self.expected,
            delivered: self.delivered,
            verified: self.verified,
            unverified: self.unverified,
            not_owed: self.not_owed,
            edge: self.edge,
            lost: self.lost,
            permitted: self.permitted,
            unknown: self.unknown,
            outside: self.outside,
            addressed: self.addressed,
        }
    }

    /// Whether its parts add up: `expected = delivered + lost + unverified`,
    /// `addressed = expected + not_owed + permitted + unknown + outside`. Results of versions
    /// that did not say `addressed` are held to what they say.
    pub fn balances(&self) -> bool {
        let sum = |of: &[u64]| of.iter().try_fold(0_u64, |sum, n| sum.checked_add(*n));
        let owed = sum(&[self.verified, self.unverified]) == Some(self.expected)
            && self.delivered <= self.expected;
        let all = [self.not_owed, self.permitted, self.unknown, self.outside];
        owed && (self.addressed == 0
            || (sum(&[self.delivered, self.lost, self.unverified]) == Some(self.expected)
                && sum(&all).and_then(|n| n.checked_add(self.expected)) == Some(self.addressed)))
    }
}

/// What the verifier says of itself. See [`VerifierFacts`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Verifier {
    /// How deep was looked: `full`, `digest` or `counts`.
    pub mode: String,
    /// Kinds of violation that the mode cannot see: a 0 of theirs says nothing, and a
    /// threshold on one has no data (beside the contract).
    #[serde(default)]
    pub not_verified: Vec<String>,
    /// Whether only a sample of the pairs was judged: never (beside the contract).
    #[serde(default)]
    pub sampled: bool,
    /// Pairs (receiver, stream) held.
    pub pairs: u64,
    /// Bytes held at the most.
    pub bytes: u64,
    /// Properties that had no opportunity to fail.
    pub not_exercised: Vec<String>,
    /// Every property with its opportunities to fail (beside the contract).
    #[serde(default)]
    pub exercised: Counts,
    /// Threads that drove clients, and those of them that ended before the run (both beside
    /// the contract).
    #[serde(default)]
    pub threads: u32,
    /// See `threads`.
    #[serde(default)]
    pub threads_lost: u32,
    /// What the exchange of facts between threads had to bear (beside the contract).
    #[serde(default)]
    pub exchange: ExchangeCounts,
    /// `ok`, or what did not balance.
    pub self_check: String,
}

impl From<&VerifierFacts> for Verifier {
    fn from(facts: &VerifierFacts) -> Self {
        Verifier {
            mode: facts.mode.into(),
            not_verified: facts.not_verified.iter().map(|&k| k.into()).collect(),
            sampled: facts.sampled,
            pairs: facts.pairs,
            bytes: facts.bytes,
            not_exercised: facts.not_exercised.iter().map(|&p| p.into()).collect(),
            exercised: facts.exercised.iter().copied().collect(),
            threads: facts.threads,
            threads_lost: facts.threads_lost,
            exchange: facts.exchange,
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
    /// When the message was first sent, as far as is recorded, s after the start of the run;
    /// when its last answer came; and when the frame came that this is about: the wrong one,
    /// or for a loss the first that overtook the message. (These, the sequence id of that
    /// frame and the next three are beside the contract.)
    #[serde(default)]
    pub sent_s: Option<f64>,
    /// See `sent_s`.
    #[serde(default)]
    pub answered_s: Option<f64>,
    /// See `sent_s`.
    #[serde(default)]
    pub frame_s: Option<f64>,
    /// The sequence id of that frame.
    #[serde(default)]
    pub sequence_id: Option<u64>,
    /// The receiver's connection, then those that the publisher sent the message on.
    #[serde(default)]
    pub connections: Vec<String>,
    /// The run's id, so that an incident can be handed on by itself.
    #[serde(default)]
    pub run: String,
    /// The run's seed.
    #[serde(default)]
    pub seed: u64,
    /// The evidence, line by line.
    pub evidence: Vec<String>,
}

impl IncidentRecord {
    /// The incident of a run.
    pub fn new(incident: &Incident, run: &RunInfo) -> Self {
        IncidentRecord {
            connections: incident.connections.clone(),
            run: run.id.clone(),
            seed: run.seed,
            kind: incident.kind.into(),
            t_s: incident.t_s,
            summary: incident.summary.clone(),
            rule: incident.rule.into(),
            receiver: incident.receiver,
            publisher: incident.publisher,
            group: incident.group.clone(),
            seq: incident.seq,
            sent_s: incident.sent_s,
            answered_s: incident.answered_s,
            frame_s: incident.frame_s,
            sequence_id: incident.sequence_id,
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
    /// What was owed to its clients, and what arrived.
    pub delivery: Ledger,
    /// What its clients need not have got, by reason, zeros left out; together
    /// `delivery.permitted`.
    #[serde(default)]
    pub permitted: Counts,
    /// Its latencies.
    pub latency: LatencyTable,
}

/// The books of one group.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct GroupResult {
    /// Its name; `(rest)` for the last row.
    pub name: String,
    /// What was published to it.
    pub publish: Sent,
    /// What was owed to its members, and what arrived.
    pub delivery: Delivery,
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
