//! The judgement: was this process itself the bottleneck?
//!
//! Only what falsifies a measurement counts: work taken up late, or one thread that had no
//! time left for most of the run. High CPU use of the whole process alone does not, because
//! with the embedded hub it serves both sides and may well use every core and still be on
//! time. Retransmits and full reads are shown and not judged: the network and the hub have
//! their part in them. Bounds are wide enough for a busy two-core CI machine; a
//! scenario that wants better says so with a threshold on `generator.*`.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::forecast::Forecast;
use super::sample::{Sampler, ThreadUse};
use crate::metrics::Snapshot;

/// The 99th percentile of schedule lag (intended minus actual send time) above which
/// latencies say more about this process than about the hub, µs.
pub const SCHEDULE_LAG_P99_MAX_US: u64 = 250_000;
/// The 99th percentile of loop lag (overshoot of a short sleep on an arbiter) above which
/// clients read and answer too late to be judged, µs.
pub const LOOP_LAG_P99_MAX_US: u64 = 500_000;
/// The share of the open-files limit above which new connections fail for our own reasons.
pub const FDS_SHARE_MAX: f64 = 0.98;
/// The share of due publishes above which those that were dropped (too many in flight on
/// their client, or its mailbox full) mean that the load was not the one asked for.
pub const DROPPED_SHARE_MAX: f64 = 0.01;
/// The share of seconds with a thread at its limit above which latencies are of our making.
pub const BUSY_SHARE_MAX: f64 = 0.5;
/// Fewer seconds than this are a burst, not a state.
pub const BUSY_SECONDS_MIN: u64 = 10;
/// Fewer samples than this say nothing about a 99th percentile.
pub const LAG_SAMPLES_MIN: u64 = 100;

/// What the generator used, and whether it was the bottleneck.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct GeneratorFacts {
    /// CPU time used, s.
    pub cpu_s: f64,
    /// The most resident memory, bytes.
    pub peak_rss_bytes: u64,
    /// The most open files.
    pub fds_peak: u64,
    /// 99th percentile of schedule lag, µs; 0 when nothing was scheduled.
    pub schedule_lag_p99_us: u64,
    /// Whether the generator itself was the bottleneck.
    pub saturated: bool,
    /// The signals that say so, each with value and bound; empty when not saturated.
    pub why: String,
    /// 99th percentile of loop lag over all arbiters, µs; 0 when it was not measured.
    #[serde(default)]
    pub loop_lag_p99_us: u64,
    /// Time that threads waited for a core, summed over all threads, s.
    #[serde(default)]
    pub run_delay_s: f64,
    /// Cores the process was allowed to use.
    #[serde(default)]
    pub cores_allowed: f64,
    /// Latencies too long for the histograms (over one hour), recorded as one hour.
    #[serde(default)]
    pub latencies_clipped: u64,
    /// By how much resident memory grew over the last half of the run, as a share of its
    /// mean there (0.01 is 1 %); null for runs too short to say.
    #[serde(default)]
    pub rss_growth: Option<f64>,
    /// What each thread used, the busiest first.
    #[serde(default)]
    pub threads: Vec<ThreadUse>,
    /// The share of seconds in which one thread used a whole core.
    #[serde(default)]
    pub busy_share: f64,
    /// TCP segments that this machine sent again during the run, all processes.
    #[serde(default)]
    pub tcp_retransmits: u64,
    /// Reads from sockets, and the share of them that filled the read buffer.
    #[serde(default)]
    pub reads: u64,
    /// See `reads`.
    #[serde(default)]
    pub reads_full_share: f64,
    /// The most that one read brought, bytes.
    #[serde(default)]
    pub read_peak_bytes: u64,
    /// Turns of a client that ended at its bound of unsent bytes: the hub reads too slowly.
    #[serde(default)]
    pub writes_held: u64,
    /// The most bytes that waited to be written to one socket.
    #[serde(default)]
    pub unsent_peak_bytes: u64,
    /// From the start to the last join, s; 0 when the load never began.
    #[serde(default)]
    pub joined_s: f64,
    /// What was expected of this process, when it was said.
    #[serde(default)]
    pub forecast: Option<Forecast>,
}

impl GeneratorFacts {
    /// Judges a run, or the part of it so far, from the samples and the merged numbers.
    /// Without samples (no procfs) only the lags are judged.
    pub fn judge(sampler: Option<&Sampler>, snapshot: &Snapshot) -> Self {
        let schedule = p99(snapshot.schedule_lag.as_deref());
        let loop_lag = p99(snapshot.loop_lag.as_deref());
        let mut facts = GeneratorFacts {
            schedule_lag_p99_us: schedule.unwrap_or(0),
            loop_lag_p99_us: loop_lag.unwrap_or(0),
            latencies_clipped: snapshot.pools.iter().map(|pool| pool.latency.clipped).sum(),
            reads: snapshot.reads.reads,
            reads_full_share: snapshot.reads.full as f64 / snapshot.reads.reads.max(1) as f64,
            read_peak_bytes: snapshot.reads.peak_bytes,
            writes_held: snapshot.writes_held,
            unsent_peak_bytes: snapshot.unsent_peak_bytes,
            ..GeneratorFacts::default()
        };
        let mut why = Vec::new();
        lag_over(
            &mut why,
            "schedule lag",
            snapshot.schedule_lag.as_deref(),
            SCHEDULE_LAG_P99_MAX_US,
        );
        lag_over(
            &mut why,
            "loop lag",
            snapshot.loop_lag.as_deref(),
            LOOP_LAG_P99_MAX_US,
        );
        why.extend(dropped_over(snapshot));
        if let Some((sampler, last)) = sampler.and_then(|s| Some((s, s.last()?))) {
            facts.cpu_s = last.cpu_s;
            facts.peak_rss_bytes = last.peak_rss_bytes;
            facts.run_delay_s = last.run_delay_s;
            facts.cores_allowed = last.cores_allowed;
            facts.fds_peak = sampler.fds_peak();
            facts.threads = sampler.threads();
            facts.tcp_retransmits = last.tcp_retransmits;
            let (seconds, busy) = sampler.busy();
            facts.busy_share = busy as f64 / seconds.max(1) as f64;
            if seconds >= BUSY_SECONDS_MIN && facts.busy_share > BUSY_SHARE_MAX {
                why.push(format!(
                    "one thread used a whole core in {:.0} % of the seconds",
                    facts.busy_share * 100.0
                ));
            }
            why.extend(files_over(facts.fds_peak, last.fds_max));
        }
        facts.saturated = !why.is_empty();
        facts.why = why.join("; ");
        facts
    }
}

/// The 99th percentile of a lag histogram, if there is one with samples.
fn p99(lag: Option<&Histogram<u64>>) -> Option<u64> {
    lag.filter(|lag| !lag.is_empty())
        .map(|lag| lag.value_at_quantile(0.99))
}

/// Says so when the limit of open files was all but reached.
fn files_over(peak: u64, max: u64) -> Option<String> {
    (peak as f64 > max as f64 * FDS_SHARE_MAX)
        .then(|| format!("open files {peak} of {max} allowed"))
}

/// Says so when too many of the publishes that came due were dropped.
fn dropped_over(snapshot: &Snapshot) -> Option<String> {
    let attempted: u64 = snapshot.pools.iter().map(|p| p.publish.attempted).sum();
    let dropped: u64 = snapshot.pools.iter().map(|p| p.publish.overflow).sum();
    (dropped as f64 > attempted as f64 * DROPPED_SHARE_MAX).then(|| {
        format!(
            "{dropped} of {attempted} publishes dropped > {:.0} %",
            DROPPED_SHARE_MAX * 100.0
        )
    })
}

/// Adds a line when enough samples show a 99th percentile over its bound.
fn lag_over(why: &mut Vec<String>, name: &str, lag: Option<&Histogram<u64>>, bound_us: u64) {
    if let Some(lag) = lag
        && lag.len() >= LAG_SAMPLES_MIN
        && lag.value_at_quantile(0.99) > bound_us
    {
        why.push(format!(
            "{name} p99 {:.0} ms > {:.0} ms",
            lag.value_at_quantile(0.99) as f64 / 1e3,
            bound_us as f64 / 1e3
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::LatencyHistogram;

    fn lag(micros: u64, samples: u64) -> Option<LatencyHistogram> {
        let mut lag = LatencyHistogram::default();
        (0..samples).for_each(|_| lag.record(micros));
        Some(lag)
    }

    #[test]
    fn a_generator_behind_its_schedule_is_named_with_value_and_bound() {
        let mut snapshot = Snapshot::new(1);
        snapshot.schedule_lag = lag(300_000, 1000);
        let facts = GeneratorFacts::judge(None, &snapshot);
        assert!(facts.saturated);
        assert_eq!(facts.why, "schedule lag p99 300 ms > 250 ms");
    }

    #[test]
    fn clients_that_read_too_late_and_files_that_ran_out_are_named() {
        let mut snapshot = Snapshot::new(1);
        snapshot.loop_lag = lag(600_000, 1000);
        let facts = GeneratorFacts::judge(None, &snapshot);
        assert!(facts.saturated);
        assert_eq!(facts.why, "loop lag p99 600 ms > 500 ms");
        assert_eq!(files_over(979, 1000), None);
        assert_eq!(
            files_over(981, 1000).as_deref(),
            Some("open files 981 of 1000 allowed")
        );
    }

    #[test]
    fn publishes_that_were_dropped_are_named_above_one_in_a_hundred() {
        let mut snapshot = Snapshot::new(2);
        snapshot.pools[0].publish.attempted = 900;
        snapshot.pools[1].publish.attempted = 100;
        snapshot.pools[1].publish.overflow = 10;
        assert!(!GeneratorFacts::judge(None, &snapshot).saturated);
        snapshot.pools[0].publish.overflow = 1;
        let facts = GeneratorFacts::judge(None, &snapshot);
        assert!(facts.saturated);
        assert_eq!(facts.why, "11 of 1000 publishes dropped > 1 %");
    }

    #[test]
    fn a_healthy_or_hardly_measured_run_is_not_accused() {
        let mut snapshot = Snapshot::new(1);
        snapshot.schedule_lag = lag(20_000, 1000);
        snapshot.loop_lag = lag(900_000, 10);
        let facts = GeneratorFacts::judge(None, &snapshot);
        assert!(!facts.saturated && facts.why.is_empty(), "{facts:?}");
        assert!(facts.schedule_lag_p99_us.abs_diff(20_000) < 100);
    }

    #[test]
    fn what_the_process_used_comes_from_its_samples() {
        let mut sampler = Sampler::new().unwrap();
        sampler.sample(crate::base::Time::ZERO).unwrap();
        let facts = GeneratorFacts::judge(Some(&sampler), &Snapshot::new(1));
        assert!(facts.peak_rss_bytes > 100_000 && facts.fds_peak > 0);
        assert!(facts.cores_allowed >= 1.0 && !facts.saturated);
    }
}
