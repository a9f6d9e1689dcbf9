//! Thresholds: looking a metric up by its dotted name in a result, and judging it.
//!
//! The names come from the result's own field names and tallies plus latency statistics;
//! [`metric_names`] lists them all. A metric without data does not meet its threshold.

use serde_json::Value;

use super::latency::LatencyTable;
use super::results::{PoolResult, Results, ThresholdResult, Unit};
use crate::metrics::LatencyKind;
use crate::metrics::stats::{ClientCounts, PublishCounts};
use crate::scenario::model::Unit as BoundUnit;
use crate::scenario::{ChaosKind, Comparison, Threshold};
use crate::verify::kinds::Kind;
use crate::verify::{self, Permitted, Unknown, Violation};

/// The statistics of a latency: its name and, for quantiles, which.
const LATENCY_STATS: [(&str, Option<f64>); 10] = [
    ("count", None),
    ("min", None),
    ("mean", None),
    ("p50", Some(0.50)),
    ("p75", Some(0.75)),
    ("p90", Some(0.90)),
    ("p95", Some(0.95)),
    ("p99", Some(0.99)),
    ("p999", Some(0.999)),
    ("max", None),
];

/// The counts of the delivery ledger.
const LEDGER: [&str; 9] = [
    "expected",
    "delivered",
    "verified",
    "unverified",
    "not_owed",
    "edge",
    "received",
    "replays",
    "bytes",
];

/// The generator's numbers: field, unit of a bound, and the factor from field to bound.
const GENERATOR: [(&str, Unit, f64); 7] = [
    ("cpu_s", Unit::Seconds, 1.0),
    ("peak_rss_bytes", Unit::Bytes, 1.0),
    ("fds_peak", Unit::Count, 1.0),
    ("schedule_lag_p99_us", Unit::Seconds, 1e-6),
    ("loop_lag_p99_us", Unit::Seconds, 1e-6),
    ("run_delay_s", Unit::Seconds, 1.0),
    ("rss_growth", Unit::Share, 1.0),
];

/// What a lookup found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// The value in its unit; `None` when there is no data.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: Unit,
}

/// Every valid metric name, grouped as in the result.
pub fn metric_names() -> Vec<String> {
    let mut names = Vec::new();
    for kind in LatencyKind::ALL {
        names.extend(LATENCY_STATS.map(|(stat, _)| format!("{}.{stat}", kind.name())));
    }
    names.extend(LEDGER.map(|field| format!("delivery.{field}")));
    names.extend(["planned", "connected_peak", "away_at_end"].map(|n| format!("clients.{n}")));
    names.extend(fields("clients", &ClientCounts::default()));
    names.extend(fields("publish", &PublishCounts::default()));
    names.push("publish.outstanding".into());
    names.extend(fields("measured", &verify::Measured::default()));
    tally::<Violation>("violations", &mut names);
    tally::<Permitted>("permitted", &mut names);
    tally::<Unknown>("unknown", &mut names);
    names.extend(ChaosKind::ALL.map(|kind| format!("chaos.{}", kind.name())));
    names.push("chaos.total".into());
    names.extend(GENERATOR.map(|(field, ..)| format!("generator.{field}")));
    names
}

fn fields(group: &str, counters: &impl serde::Serialize) -> Vec<String> {
    match serde_json::to_value(counters) {
        Ok(Value::Object(object)) => object.keys().map(|k| format!("{group}.{k}")).collect(),
        _ => Vec::new(),
    }
}

fn tally<K: Kind>(group: &str, names: &mut Vec<String>) {
    names.extend(K::ALL.iter().map(|kind| format!("{group}.{}", kind.name())));
    names.push(format!("{group}.total"));
}

/// Looks a metric up; `None` when there is no such metric.
pub fn lookup(results: &Results, metric: &str) -> Option<Measured> {
    let (group, name) = metric.split_once('.')?;
    let counted = |n: u64| Measured {
        value: Some(n as f64),
        unit: Unit::Count,
    };
    match group {
        "violations" | "permitted" | "unknown" | "chaos" => {
            let counts = match group {
                "violations" => &results.violations,
                "permitted" => &results.permitted,
                "unknown" => &results.unknown,
                _ => &results.chaos,
            };
            let blind = &results.verifier.not_verified;
            match name {
                "total" => Some(counted(counts.total())),
                // Seen or not: the mode does not look for it.
                _ if group == "violations" && blind.iter().any(|kind| kind == name) => {
                    Some(Measured {
                        value: None,
                        unit: Unit::Count,
                    })
                }
                _ => counts.get(name).map(counted),
            }
        }
        "clients" => field(&results.clients, name).map(count_of),
        "publish" => field(&results.publish, name).map(count_of),
        "measured" => field(&results.measured, name).map(count_of),
        "generator" => {
            let (source, unit, factor) = GENERATOR.iter().find(|(field, ..)| *field == name)?;
            Some(Measured {
                value: field(&results.generator, source).map(|value| value * factor),
                unit: *unit,
            })
        }
        "delivery" if LEDGER.contains(&name) => field(&results.delivery, name).map(count_of),
        _ => latency(&results.latency, group, name),
    }
}

fn count_of(value: f64) -> Measured {
    Measured {
        value: Some(value),
        unit: Unit::Count,
    }
}

/// A number of a part of the result, by its field name.
fn field(part: &impl serde::Serialize, name: &str) -> Option<f64> {
    serde_json::to_value(part).ok()?.get(name)?.as_f64()
}

/// Looks up a metric of one pool; `None` when there is none by pool.
fn lookup_pool(pool: &PoolResult, metric: &str) -> Option<Measured> {
    let (group, name) = metric.split_once('.')?;
    match group {
        "clients" => field(&pool.clients, name).map(count_of),
        "publish" => field(&pool.publish, name).map(count_of),
        "delivery" if LEDGER.contains(&name) => field(&pool.delivery, name).map(count_of),
        _ => latency(&pool.latency, group, name),
    }
}

fn latency(table: &LatencyTable, group: &str, name: &str) -> Option<Measured> {
    let kind = LatencyKind::ALL
        .into_iter()
        .find(|kind| kind.name() == group)?;
    let (_, quantile) = LATENCY_STATS.iter().find(|(stat, _)| *stat == name)?;
    let summary = table.get(kind);
    if name == "count" {
        return Some(count_of(summary.count as f64));
    }
    let micros = match (name, quantile) {
        ("min", _) => Some(summary.min),
        ("mean", _) => Some(summary.mean),
        ("max", _) => Some(summary.max),
        (_, quantile) => {
            // A damaged histogram is no data.
            let histogram = summary.histogram().ok().flatten();
            histogram
                .zip(*quantile)
                .map(|(h, q)| h.value_at_quantile(q))
        }
    };
    Some(Measured {
        value: micros
            .filter(|_| summary.count > 0)
            .map(|micros| micros as f64 / 1e6),
        unit: Unit::Seconds,
    })
}

/// What a percentage of this metric is a percentage of; `None` for metrics without a whole.
/// `delivery.verified >= 100%` speaks of all owed deliveries, or of those owed to a pool;
/// inversions of the pairs compared, late deliveries of those that came; growth is a share
/// already.
fn whole(results: &Results, threshold: &Threshold) -> Option<f64> {
    let metric = &threshold.metric;
    if metric == "generator.rss_growth" {
        return Some(1.0);
    }
    let measured = match metric.as_str() {
        "measured.late" => results.delivery.delivered + results.delivery.not_owed,
        "measured.inversions" => results.measured.pairs_compared,
        "measured.publisher_inversions" => results.measured.publisher_pairs_compared,
        _ => 0,
    };
    if metric.starts_with("measured.") {
        return (measured > 0).then_some(measured as f64);
    }
    let owed = match threshold.pool {
        Some(pool) => results.pools.get(pool)?.delivery.expected,
        None => results.delivery.expected,
    };
    (metric.starts_with("delivery.") && owed > 0).then_some(owed as f64)
}

/// Judges every threshold against the result's numbers; those of stretches against the
/// worst one, by threshold in `windows`.
pub fn evaluate(
    thresholds: &[Threshold],
    results: &Results,
    windows: &[Option<f64>],
) -> Vec<ThresholdResult> {
    thresholds
        .iter()
        .enumerate()
        .map(|(nth, threshold)| {
            let found = match threshold.pool {
                Some(pool) => {
                    let pool = results.pools.get(pool);
                    pool.and_then(|pool| lookup_pool(pool, &threshold.metric))
                }
                None => lookup(results, &threshold.metric),
            };
            let mut found = found.unwrap_or(Measured {
                value: None,
                unit: Unit::Count,
            });
            if threshold.unit == BoundUnit::PerSecond {
                found = by_the_second(found, threshold, results.run.load_s);
            }
            if threshold.over.is_some() {
                found.value = windows.get(nth).copied().flatten();
            }
            if threshold.unit == BoundUnit::Share {
                let whole = whole(results, threshold);
                found = Measured {
                    value: found.value.zip(whole).map(|(part, whole)| part / whole),
                    unit: Unit::Share,
                };
            }
            let met = |actual| threshold.comparison.holds(actual, threshold.bound);
            ThresholdResult {
                expr: threshold.expr.clone(),
                actual: found.value,
                ok: found.value.is_some_and(met),
                bound: threshold.bound,
                unit: found.unit,
                margin: found.value.and_then(|actual| margin(threshold, actual)),
                over_s: threshold.over.map(|over| over.as_secs_f64()),
            }
        })
        .collect()
}

/// A count by the second of the load. What connecting and draining added is in it: a
/// message that was published in the load is delivered by it, however late.
fn by_the_second(count: Measured, threshold: &Threshold, load_s: f64) -> Measured {
    Measured {
        value: count
            .value
            .filter(|_| load_s > 0.0)
            .map(|count| count / load_s),
        unit: match threshold.metric.as_str() {
            "delivery.bytes" => Unit::BytesPerSecond,
            _ => Unit::PerSecond,
        },
    }
}

/// How far from the bound, as a fraction of it; negative when missed.
fn margin(threshold: &Threshold, actual: f64) -> Option<f64> {
    let bound = threshold.bound;
    let room = match threshold.comparison {
        Comparison::Less | Comparison::LessOrEqual => bound - actual,
        Comparison::Greater | Comparison::GreaterOrEqual => actual - bound,
        Comparison::Equal => -(actual - bound).abs(),
    };
    (bound > 0.0).then(|| room / bound)
}

#[cfg(test)]
mod tests;
