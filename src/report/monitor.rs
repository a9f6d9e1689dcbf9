//! Thresholds while the run lasts: the worst stretch of each, and whether to give up.
//!
//! A stretch is the difference of two snapshots that lie `over` apart, so that a quantile in
//! it is exact. Bound: [`STEPS`] snapshots of one metric per threshold, whatever its length.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;

use crate::metrics::{LatencyKind, PoolStats, Snapshot};
use crate::scenario::{Comparison, Scenario, Threshold, Unit};

/// Snapshots kept of one stretch: its ends are so many parts of it apart.
const STEPS: u32 = 60;

/// Watches the thresholds that say `over` or `abort`.
#[derive(Debug)]
pub struct Monitor {
    watched: Vec<Watched>,
    thresholds: usize,
}

#[derive(Debug)]
struct Watched {
    /// Its place in the scenario.
    nth: usize,
    threshold: Threshold,
    /// Totals at earlier times, oldest first.
    past: VecDeque<(Duration, Total)>,
    worst: Option<f64>,
}

/// A metric's total since the start.
#[derive(Clone, Debug)]
enum Total {
    Latency(Option<Box<Histogram<u64>>>),
    Count(f64),
}

impl Monitor {
    /// Watches the thresholds of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let thresholds = scenario.thresholds.iter().enumerate();
        let watched = thresholds
            .filter(|(_, one)| one.over.is_some() || one.abort_after.is_some())
            .map(|(nth, threshold)| Watched {
                nth,
                threshold: threshold.clone(),
                past: VecDeque::new(),
                worst: None,
            });
        Monitor {
            watched: watched.collect(),
            thresholds: scenario.thresholds.len(),
        }
    }

    /// Takes the totals `at` so long after the start of the load. Returns why to give the
    /// run up, when a threshold that says `abort` is missed.
    pub fn look(&mut self, at: Duration, snapshot: &Snapshot) -> Option<String> {
        let mut reason = None;
        for watched in &mut self.watched {
            let missed = watched.look(at, snapshot);
            reason = reason.or(missed);
        }
        reason
    }

    /// By threshold, the worst value of a whole stretch; `None` where there was none, or no
    /// data in any.
    pub fn worst(&self) -> Vec<Option<f64>> {
        let mut worst = vec![None; self.thresholds];
        for watched in &self.watched {
            worst[watched.nth] = watched.worst;
        }
        worst
    }
}

impl Watched {
    fn look(&mut self, at: Duration, snapshot: &Snapshot) -> Option<String> {
        let total = total(&self.threshold, snapshot)?;
        let value = match self.threshold.over {
            None => total.since(None, at, &self.threshold),
            Some(over) => {
                let value = self.in_stretch(at, over, &total);
                let newest = self.past.back().map(|(time, _)| *time);
                if newest.is_none_or(|newest| at >= newest + over / STEPS) {
                    self.past.push_back((at, total));
                }
                if let Some(value) = value {
                    self.worst = Some(match (self.worst, self.threshold.comparison) {
                        (None, _) => value,
                        (Some(was), Comparison::Less | Comparison::LessOrEqual) => was.max(value),
                        (Some(was), Comparison::Equal) => {
                            let off = |value: f64| (value - self.threshold.bound).abs();
                            if off(value) > off(was) { value } else { was }
                        }
                        (Some(was), _) => was.min(value),
                    });
                }
                value
            }
        };
        let Threshold {
            comparison,
            bound,
            expr,
            ..
        } = &self.threshold;
        let grace = self.threshold.abort_after?;
        let missed = value.filter(|value| at >= grace && !comparison.holds(*value, *bound))?;
        let over = self.threshold.over.map_or(String::new(), |over| {
            format!(" over {}", crate::base::units::format_duration(over))
        });
        let at = at.as_secs();
        Some(format!(
            "gave up {at}s into the load: {expr} was missed{over} ({missed:.6} against {bound})"
        ))
    }

    /// The metric in the stretch that ends now; `None` while it is not whole, or without
    /// data in it.
    fn in_stretch(&mut self, at: Duration, over: Duration, total: &Total) -> Option<f64> {
        let start = at.checked_sub(over)?;
        // The latest beginning that leaves the stretch whole.
        while self.past.get(1).is_some_and(|(time, _)| *time <= start) {
            self.past.pop_front();
        }
        // Nothing had been counted of the load before its first second.
        let slack = over / STEPS + Duration::from_secs(2);
        let (begin, before) = self.past.front()?;
        (*begin <= start + slack).then_some(())?;
        total.since(Some(before), at - *begin, &self.threshold)
    }
}

impl Total {
    /// The metric's value in what came after `before`, so long ago, in the unit of bounds.
    fn since(&self, before: Option<&Total>, time: Duration, of: &Threshold) -> Option<f64> {
        let value = self.fresh(before, &of.metric)?;
        match of.unit {
            Unit::PerSecond => (!time.is_zero()).then(|| value / time.as_secs_f64()),
            _ => Some(value),
        }
    }

    fn fresh(&self, before: Option<&Total>, metric: &str) -> Option<f64> {
        match (self, before) {
            (Total::Count(now), Some(Total::Count(before))) => Some(now - before),
            (Total::Count(now), _) => Some(*now),
            (Total::Latency(now), before) => {
                let mut fresh = now.as_deref()?.clone();
                if let Some(Total::Latency(Some(before))) = before {
                    // Totals only grow, so what was there before can be taken away.
                    let taken = fresh.subtract(&**before);
                    debug_assert!(taken.is_ok());
                }
                statistic(&fresh, metric.split_once('.')?.1)
            }
        }
    }
}

fn total(threshold: &Threshold, snapshot: &Snapshot) -> Option<Total> {
    let all;
    let stats: &PoolStats = match threshold.pool {
        Some(pool) => snapshot.pools.get(pool)?,
        None => {
            all = snapshot.total();
            &all
        }
    };
    let (group, key) = threshold.metric.split_once('.')?;
    let arrived = &stats.delivery;
    match threshold.metric.as_str() {
        "delivery.received" => return Some(Total::Count(arrived.messages as f64)),
        "delivery.replays" => return Some(Total::Count(arrived.replays as f64)),
        "delivery.bytes" => return Some(Total::Count(arrived.bytes as f64)),
        _ => {}
    }
    let counters = match group {
        "clients" => serde_json::to_value(stats.clients),
        "publish" => serde_json::to_value(stats.publish),
        _ => {
            let kind = LatencyKind::ALL
                .into_iter()
                .find(|kind| kind.name() == group)?;
            let histogram = stats.latency.get(kind);
            return Some(Total::Latency(histogram.cloned().map(Box::new)));
        }
    };
    let value = counters.ok()?.get(key).and_then(Value::as_f64)?;
    Some(Total::Count(value))
}

/// A statistic of a histogram of microseconds: seconds, or a count.
fn statistic(histogram: &Histogram<u64>, name: &str) -> Option<f64> {
    if name == "count" {
        return Some(histogram.len() as f64);
    }
    if histogram.is_empty() {
        return None;
    }
    let quantile = |q| histogram.value_at_quantile(q) as f64;
    let micros = match name {
        "min" => histogram.min() as f64,
        "mean" => histogram.mean(),
        "max" => histogram.max() as f64,
        "p999" => quantile(0.999),
        _ => quantile(name.strip_prefix('p')?.parse::<f64>().ok()? / 100.0),
    };
    Some(micros / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, parse};

    fn monitor(thresholds: &str) -> Monitor {
        let text = format!(
            "duration: 100s\npools: {{a: {{clients: 1}}, b: {{clients: 1}}}}\nthresholds: [{thresholds}]"
        );
        let scenario = parse(&text, "t.yaml", &Overrides::default(), &|_| None);
        Monitor::new(&scenario.unwrap_or_else(|wrong| panic!("{wrong}")))
    }

    /// A message a second of 1 ms, but 500 ms in `slow`; the reason and when.
    fn run(monitor: &mut Monitor, slow: std::ops::Range<u64>) -> Option<(u64, String)> {
        let mut snapshot = Snapshot::new(2);
        for second in 1..=100 {
            let micros = if slow.contains(&second) {
                500_000
            } else {
                1000
            };
            let pool = &mut snapshot.pools[1];
            pool.latency.record(LatencyKind::Ack, micros);
            pool.publish.attempted += 1;
            pool.publish.failed += u64::from(slow.contains(&second));
            if let Some(reason) = monitor.look(Duration::from_secs(second), &snapshot) {
                return Some((second, reason));
            }
        }
        None
    }

    #[test]
    fn a_breach_of_a_minute_aborts_and_a_blip_does_not() {
        let text = "{that: 'ack.p50 < 100ms', over: 20s, abort: true, grace: 5s}";
        assert_eq!(run(&mut monitor(text), 40..45), None, "a blip");
        let (when, reason) = run(&mut monitor(text), 40..80).unwrap();
        assert!((48..=54).contains(&when), "{when}: {reason}");
        assert!(
            reason.contains("ack.p50 < 100ms was missed over 20s"),
            "{reason}"
        );
    }

    #[test]
    fn the_worst_stretch_counts_and_not_the_whole_run() {
        let mut watched = monitor(
            "{that: 'ack.max < 100ms', over: 10s}, {that: 'publish.failed < 3', over: 10s}, ack.p50 < 1s, {that: 'ack.count > 5', over: 10s}, {that: 'ack.p50{pool=a} < 1s', over: 10s}",
        );
        assert_eq!(run(&mut watched, 40..45), None);
        let worst = watched.worst();
        assert!((worst[0].unwrap() - 0.5).abs() < 0.001, "{worst:?}");
        assert_eq!(worst[1], Some(5.0));
        assert_eq!(worst[2], None, "judged at the end");
        assert!((8.0..=10.0).contains(&worst[3].unwrap()), "{worst:?}");
        assert_eq!(worst[4], None, "no data is not a pass");
    }

    #[test]
    fn the_rate_of_the_worst_stretch_counts_and_a_slow_start_can_end_the_run() {
        let mut watched = monitor(
            "{that: publish.failed.rate < 1/s, over: 10s}, {that: 'publish.attempted.rate{pool=b} >= 50/min', over: 10s}, {that: 'publish.attempted.rate{pool=a} >= 1/h', over: 10s}, {that: delivery.bytes.rate < 1KiB/s, over: 5s}",
        );
        assert_eq!(run(&mut watched, 40..45), None);
        let worst = watched.worst();
        assert_eq!(worst[0], Some(0.5), "5 in 10 s, not 5 in 100 s");
        assert_eq!(worst[1], Some(1.0));
        assert_eq!(
            worst[2],
            Some(0.0),
            "a pool that did nothing did it at no rate"
        );
        assert_eq!(worst[3], Some(0.0));
        let text = "{that: publish.attempted.rate >= 2/s, abort: true, grace: 20s}";
        let (when, reason) = run(&mut monitor(text), 0..0).unwrap();
        assert_eq!(when, 20);
        assert!(reason.contains("was missed (1.0"), "{reason}");
    }

    #[test]
    fn nothing_is_given_up_in_the_grace() {
        let text = "{that: 'ack.p50 < 100ms', abort: true, grace: 30s}";
        let (when, _) = run(&mut monitor(text), 0..100).unwrap();
        assert_eq!(when, 30);
    }
}
