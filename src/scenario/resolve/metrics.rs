//! The one table of metrics that thresholds can name.

use crate::scenario::model::ChaosKind;
use crate::verify::kinds::{Kind as _, Permitted, Unknown, Violation};

/// What a metric is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// A plain number.
    Count,
    /// A duration: `250ms`.
    Duration,
    /// A size: `2GiB`.
    Bytes,
    /// A plain number, or a percentage: of `delivery.expected`, of what was compared, or of
    /// the mean.
    CountOrShare,
}

pub(super) const LATENCIES: [&str; 6] = [
    "connect",
    "ack",
    "delivery",
    "recovery",
    "reconnect",
    "reply",
];
pub(super) const STATISTICS: [&str; 9] = [
    "min", "mean", "p50", "p75", "p90", "p95", "p99", "p999", "max",
];
const CLIENTS: [&str; 20] = [
    "planned",
    "connected_peak",
    "away_at_end",
    "connect_dials",
    "connects",
    "connect_failures",
    "disconnects",
    "disconnects_injected",
    "disconnects_hub",
    "disconnects_harness",
    "recovery_dials",
    "recoveries",
    "recovery_failures",
    "reconnects",
    "joins",
    "join_failures",
    "rejoins",
    "rejoin_failures",
    "leaves",
    "bad_frames",
];
const PUBLISH: [&str; 9] = [
    "attempted",
    "acked",
    "duplicate_acks",
    "failed",
    "unknown",
    "unacked",
    "retries",
    "overflow",
    "outstanding",
];
const DELIVERY: [(&str, Measure); 9] = [
    ("expected", Measure::Count),
    ("delivered", Measure::Count),
    ("verified", Measure::CountOrShare),
    ("unverified", Measure::Count),
    ("not_owed", Measure::Count),
    ("edge", Measure::Count),
    ("received", Measure::Count),
    ("replays", Measure::Count),
    ("bytes", Measure::Bytes),
];
const MEASURED: [(&str, Measure); 15] = [
    ("late", Measure::CountOrShare),
    ("pairs_compared", Measure::Count),
    ("inversions", Measure::CountOrShare),
    ("publisher_pairs_compared", Measure::Count),
    ("publisher_inversions", Measure::CountOrShare),
    ("windows", Measure::Count),
    ("noted", Measure::Count),
    ("not_noted", Measure::Count),
    ("unknown_to_all", Measure::Count),
    ("unknown_to_some", Measure::Count),
    ("unknown_to_none", Measure::Count),
    ("unacked_to_all", Measure::Count),
    ("unacked_to_some", Measure::Count),
    ("unacked_to_none", Measure::Count),
    ("unknown_untold", Measure::Count),
];
const GENERATOR: [(&str, Measure); 7] = [
    ("cpu_s", Measure::Duration),
    ("peak_rss_bytes", Measure::Bytes),
    ("fds_peak", Measure::Count),
    ("schedule_lag_p99_us", Measure::Duration),
    ("loop_lag_p99_us", Measure::Duration),
    ("run_delay_s", Measure::Duration),
    ("rss_growth", Measure::CountOrShare),
];

/// Every metric that a threshold can name, with its measure.
pub fn metrics() -> Vec<(String, Measure)> {
    let mut metrics = Vec::new();
    for kind in LATENCIES {
        for statistic in STATISTICS {
            metrics.push((format!("{kind}.{statistic}"), Measure::Duration));
        }
        metrics.push((format!("{kind}.count"), Measure::Count));
    }
    let mut section = |name: &str, keys: &mut dyn Iterator<Item = (&str, Measure)>| {
        metrics.extend(keys.map(|(key, measure)| (format!("{name}.{key}"), measure)));
    };
    let counts = |key| (key, Measure::Count);
    section("delivery", &mut DELIVERY.into_iter());
    section("clients", &mut CLIENTS.into_iter().map(counts));
    section("publish", &mut PUBLISH.into_iter().map(counts));
    section("measured", &mut MEASURED.into_iter());
    section("generator", &mut GENERATOR.into_iter());
    let total = || std::iter::once("total");
    let violations = Violation::ALL.iter().map(|kind| kind.name());
    section("violations", &mut violations.chain(total()).map(counts));
    let permitted = Permitted::ALL.iter().map(|kind| kind.name());
    section("permitted", &mut permitted.chain(total()).map(counts));
    let unknown = Unknown::ALL.iter().map(|kind| kind.name());
    section("unknown", &mut unknown.chain(total()).map(counts));
    let faults = ChaosKind::ALL.iter().map(|kind| kind.name());
    section("chaos", &mut faults.chain(total()).map(counts));
    metrics
}

pub(super) const LIVE: &str =
    "a latency, a count of clients or publish, or delivery.received, replays or bytes";

/// Whether a metric is counted while the run lasts, for each pool.
pub(super) fn is_live(metric: &str) -> bool {
    let (section, key) = metric.split_once('.').unwrap_or((metric, ""));
    let latency = LATENCIES.contains(&section) && (section != "delivery" || !is_ledger(key));
    let counted = matches!(section, "clients" | "publish") && !WHOLE.contains(&key);
    latency || counted || section == "delivery" && ARRIVED.contains(&key)
}

pub(super) const OF_POOLS: &str = "a latency, or a count of delivery, clients or publish";

/// Whether a metric is known for each pool when the run is over.
pub(super) fn is_by_pool(metric: &str) -> bool {
    let ledger = metric.strip_prefix("delivery.").is_some_and(is_ledger);
    is_live(metric) || ledger || matches!(metric, "clients.planned" | "publish.outstanding")
}

/// Ends the name of a count to mean it by the second.
pub(super) const RATE: &str = ".rate";

/// Whether a metric only grows as the run goes on, so that it has a rate.
pub(super) fn has_rate(metric: &str, measure: Measure) -> bool {
    let (section, key) = metric.split_once('.').unwrap_or((metric, ""));
    measure != Measure::Duration && section != "generator" && !WHOLE.contains(&key)
}

fn is_ledger(key: &str) -> bool {
    DELIVERY.iter().any(|(name, _)| *name == key)
}

/// What the clients themselves count of deliveries; the rest of the ledger is the
/// verifier's, which closes it at the end.
const ARRIVED: [&str; 3] = ["received", "replays", "bytes"];

/// Counts of clients and publishes that are not counters.
const WHOLE: [&str; 4] = ["planned", "connected_peak", "away_at_end", "outstanding"];
