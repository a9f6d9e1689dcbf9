//! The run second by second: what happened between two snapshots.
//!
//! Bound: [`POINTS_MAX`] points. Beyond it neighbours are merged and every later point
//! covers twice the time, so a run of days keeps a timeline of its whole length.

use serde::{Deserialize, Serialize};

use crate::metrics::{LatencyHistogram, LatencyKind, PoolStats, Snapshot};

/// The most points a timeline holds.
pub const POINTS_MAX: usize = 3600;
/// The fewest points from which growth of memory is told.
pub const GROWTH_POINTS_MIN: usize = 30;

/// What happened in the interval that ends at `t_s`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// The interval's end, s after the start of the run.
    pub t_s: f64,
    /// When its counts were read, s after the start of the run: somewhat before `t_s`. Rates
    /// are taken between two of these.
    #[serde(default)]
    pub as_of_s: f64,
    /// Clients connected at its end.
    pub connected: u64,
    /// Publishes attempted in it.
    pub published: u64,
    /// Fresh data messages received in it.
    pub delivered: u64,
    /// Median delivery latency in it, µs; null when nothing came. In merged points the
    /// larger of the two.
    pub delivery_p50: Option<u64>,
    /// 99th percentile of delivery latency in it, µs, likewise.
    pub delivery_p99: Option<u64>,
    /// Violations found in it; those that only the end of the run proved are in the last one.
    pub violations: u64,
    /// Owed deliveries that had not come at its end, over a second after they were due. In
    /// merged points the larger of the two.
    #[serde(default)]
    pub overdue: u64,
    /// Faults injected in it, one for each client hit.
    pub chaos: u64,
    /// Resident memory of the process at its end, bytes; 0 where it cannot be read. In
    /// merged points the larger of the two.
    #[serde(default)]
    pub rss_bytes: u64,
    /// What the verifier held at its end, bytes, by its own accounting, likewise.
    #[serde(default)]
    pub verifier_bytes: u64,
    /// CPU time that the process had used at its end, s; 0 where it cannot be read.
    #[serde(default)]
    pub cpu_s: f64,
}

impl TimelinePoint {
    /// Joins this point with the one after it.
    pub(super) fn join(&mut self, later: &TimelinePoint) {
        self.t_s = later.t_s;
        self.as_of_s = later.as_of_s;
        self.connected = later.connected;
        self.published += later.published;
        self.delivered += later.delivered;
        // `None` is below every number.
        self.delivery_p50 = self.delivery_p50.max(later.delivery_p50);
        self.delivery_p99 = self.delivery_p99.max(later.delivery_p99);
        self.violations += later.violations;
        self.overdue = self.overdue.max(later.overdue);
        self.chaos += later.chaos;
        self.rss_bytes = self.rss_bytes.max(later.rss_bytes);
        self.verifier_bytes = self.verifier_bytes.max(later.verifier_bytes);
        self.cpu_s = later.cpu_s;
    }
}

/// How things stood at a moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Held {
    /// Resident memory, bytes; 0 where it cannot be read.
    pub rss_bytes: u64,
    /// The verifier's own accounting, bytes.
    pub verifier_bytes: u64,
    /// CPU time since the process started, s; 0 where it cannot be read.
    pub cpu_s: f64,
    /// Owed deliveries that should have come by then.
    pub overdue: u64,
}

/// Makes points from snapshots. Feed it once a second.
#[derive(Debug)]
pub struct Timeline {
    points: Vec<TimelinePoint>,
    /// How many intervals a stored point covers: a power of two.
    stride: u32,
    /// The point being filled, and how many intervals it has.
    open: Option<(TimelinePoint, u32)>,
    published: u64,
    delivered: u64,
    violations: u64,
    chaos: u64,
    latency: Option<LatencyHistogram>,
    connected_peak: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline {
            points: Vec::new(),
            stride: 1,
            open: None,
            published: 0,
            delivered: 0,
            violations: 0,
            chaos: 0,
            latency: None,
            connected_peak: 0,
        }
    }
}

impl Timeline {
    /// Takes the totals at `t_s` seconds after the start and returns what happened since
    /// the call before.
    pub fn push(
        &mut self,
        t_s: f64,
        snapshot: &Snapshot,
        violations: u64,
        held: Held,
    ) -> TimelinePoint {
        let chaos = snapshot.chaos.iter().sum();
        let count = |of: fn(&PoolStats) -> u64| snapshot.pools.iter().map(of).sum();
        let latest = snapshot.latency(LatencyKind::Delivery);
        let fresh = latest.clone().map(|mut fresh| {
            if let Some(before) = &self.latency {
                fresh.subtract(before);
            }
            fresh
        });
        let quantile = |q| {
            fresh
                .as_ref()
                .filter(|fresh| !fresh.is_empty())
                .map(|fresh| fresh.value_at_quantile(q))
        };
        let since = |total: u64, before: &mut u64| {
            let gained = total.saturating_sub(*before);
            *before = total;
            gained
        };
        let point = TimelinePoint {
            t_s,
            as_of_s: snapshot.taken.as_secs_f64(),
            connected: snapshot.connections().connected,
            published: since(count(|pool| pool.publish.attempted), &mut self.published),
            delivered: since(count(|pool| pool.delivery.messages), &mut self.delivered),
            delivery_p50: quantile(0.5),
            delivery_p99: quantile(0.99),
            violations: since(violations, &mut self.violations),
            overdue: held.overdue,
            chaos: since(chaos, &mut self.chaos),
            rss_bytes: held.rss_bytes,
            verifier_bytes: held.verifier_bytes,
            cpu_s: held.cpu_s,
        };
        self.latency = latest;
        self.connected_peak = self.connected_peak.max(point.connected);
        self.store(&point);
        point
    }

    /// The most clients seen connected at once.
    pub fn connected_peak(&self) -> u64 {
        self.connected_peak
    }

    /// All points, the last perhaps shorter than the others. `violations` are those of the
    /// whole run: what only its end proved, as every loss, is laid to the last point.
    pub fn finish(mut self, violations: u64) -> Vec<TimelinePoint> {
        self.points.extend(self.open.take().map(|(point, _)| point));
        if let Some(last) = self.points.last_mut() {
            last.violations += violations.saturating_sub(self.violations);
        }
        self.points
    }

    fn store(&mut self, point: &TimelinePoint) {
        let (mut open, mut intervals) = self.open.take().unwrap_or_default();
        open.join(point);
        intervals += 1;
        if intervals < self.stride {
            self.open = Some((open, intervals));
            return;
        }
        self.points.push(open);
        if self.points.len() >= POINTS_MAX {
            self.points = self
                .points
                .chunks(2)
                .map(|pair| {
                    let mut joined = pair[0];
                    pair[1..].iter().for_each(|later| joined.join(later));
                    joined
                })
                .collect();
            self.stride *= 2;
        }
    }
}

/// By how much resident memory grew over the last half of a run, as a share of its mean
/// there: a straight line is laid through the points, so that neither a single peak nor the
/// start decides. Negative when it shrank; `None` with fewer than [`GROWTH_POINTS_MIN`]
/// points in that half, which say nothing about wear.
pub fn rss_growth(points: &[TimelinePoint]) -> Option<f64> {
    let end = points.last()?.t_s;
    let half: Vec<(f64, f64)> = points
        .iter()
        .filter(|point| point.t_s >= end / 2.0 && point.rss_bytes > 0)
        .map(|point| (point.t_s, point.rss_bytes as f64))
        .collect();
    if half.len() < GROWTH_POINTS_MIN {
        return None;
    }
    let n = half.len() as f64;
    let mean_t = half.iter().map(|(t, _)| t).sum::<f64>() / n;
    let mean = half.iter().map(|(_, rss)| rss).sum::<f64>() / n;
    let along: f64 = half
        .iter()
        .map(|(t, rss)| (t - mean_t) * (rss - mean))
        .sum();
    let spread: f64 = half.iter().map(|(t, _)| (t - mean_t).powi(2)).sum();
    let span = half[half.len() - 1].0 - half[0].0;
    Some(along / spread * span / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(t_s: f64, mib: f64) -> TimelinePoint {
        TimelinePoint {
            t_s,
            rss_bytes: (mib * 1048576.0) as u64,
            ..TimelinePoint::default()
        }
    }

    #[test]
    fn a_leak_shows_and_a_start_or_a_peak_does_not() {
        let run = |at: fn(f64) -> f64| -> Vec<TimelinePoint> {
            (1..=1800).map(|t| memory(t.into(), at(t.into()))).collect()
        };
        // Warming up in the first half is not wear.
        let flat = rss_growth(&run(|t| if t < 600.0 { t / 20.0 } else { 30.0 }));
        assert!(flat.unwrap().abs() < 1e-9, "{flat:?}");
        let peak = rss_growth(&run(|t| if t == 1350.0 { 60.0 } else { 30.0 }));
        assert!(peak.unwrap().abs() < 0.001, "{peak:?}");
        // 30 MiB and 1 MiB more every 10 minutes: 1.5 MiB over the last half, of 32.25.
        let leak = rss_growth(&run(|t| 30.0 + t / 600.0)).unwrap();
        assert!((leak - 1.5 / 32.25).abs() < 0.001, "{leak}");
        assert_eq!(rss_growth(&run(|t| t)[..20]), None, "too short to say");
        assert_eq!(rss_growth(&[]), None);
    }

    #[test]
    fn a_point_shows_its_own_second_and_not_the_run_so_far() {
        let mut timeline = Timeline::default();
        let mut snapshot = Snapshot::new(1);
        let count = |snapshot: &mut Snapshot, micros| {
            let pool = &mut snapshot.pools[0];
            pool.publish.attempted += 1;
            pool.delivery.messages += 2;
            pool.latency.record(LatencyKind::Delivery, micros);
        };
        snapshot.pools[0].connections.connected = 9;
        count(&mut snapshot, 50_000);
        timeline.push(1.0, &snapshot, 0, Held::default());
        snapshot.pools[0].connections.connected = 7;
        count(&mut snapshot, 900);
        let second = timeline.push(2.0, &snapshot, 3, Held::default());
        assert_eq!(
            (second.published, second.delivered, second.violations),
            (1, 2, 3)
        );
        assert_eq!(
            second.delivery_p99,
            Some(900),
            "the slow one was a second ago"
        );
        assert_eq!(
            timeline
                .push(3.0, &snapshot, 3, Held::default())
                .delivery_p50,
            None
        );
        assert_eq!(timeline.connected_peak(), 9);
        // Two losses more, which nobody could call so before the end.
        let points = timeline.finish(5);
        let found: Vec<_> = points.iter().map(|point| point.violations).collect();
        assert_eq!(found, [0, 3, 2]);
    }

    #[test]
    fn a_run_of_days_keeps_every_message_in_a_bounded_timeline() {
        let mut timeline = Timeline::default();
        let mut snapshot = Snapshot::new(1);
        let seconds = 3 * POINTS_MAX as u64 + 17;
        for t in 1..=seconds {
            snapshot.pools[0].publish.attempted += 1;
            timeline.push(t as f64, &snapshot, 0, Held::default());
        }
        let points = timeline.finish(0);
        assert!(points.len() <= POINTS_MAX, "{}", points.len());
        assert_eq!(points.iter().map(|p| p.published).sum::<u64>(), seconds);
        assert_eq!(points.last().unwrap().t_s, seconds as f64);
        assert!(points.windows(2).all(|pair| pair[0].t_s < pair[1].t_s));
    }
}
