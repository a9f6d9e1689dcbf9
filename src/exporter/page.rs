//! The metrics endpoint's content: the latest numbers of the run as Prometheus text 0.0.4.
//!
//! The coordinator replaces the numbers in [`ExporterState`] once a second; a scrape only
//! reads them. Every label combination exists from the start with value 0, or `increase()`
//! would miss the first event; but gauges that are only known at the end
//! ([`names::AT_THE_END`]) appear then. [`super::names`] is the table of families, [`serve()`](super::serve())
//! the HTTP server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::names::{self, Metric};
use crate::generator::Sample;
use crate::metrics::{LatencyKind, PoolStats, Snapshot};
use crate::scenario::{ChaosKind, Scenario};
use crate::verify::kinds::Kind;
use crate::verify::{
    Delivery, GROUPS_TOLD, GroupBooks, Measured, Permitted, Tally, Unknown, Violation,
};

/// Upper bounds of the histogram buckets, s. Fixed, so that runs and workers can be added.
pub const BUCKETS_S: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// What a scrape shows. Held in a [`SharedState`]; replaced once a second.
#[derive(Clone, Debug)]
pub struct ExporterState {
    /// The run's id.
    pub run_id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The run's seed.
    pub seed: u64,
    /// Name and planned clients of each pool, in the order of [`Snapshot::pools`].
    pub pools: Vec<(String, u32)>,
    /// The merged numbers of all arbiters.
    pub snapshot: Snapshot,
    /// The run is over: what is only known then ([`names::AT_THE_END`]) is shown.
    pub over: bool,
    /// Owed deliveries that should have come by now and have not.
    pub overdue: u64,
    /// The delivery ledger, in the order of [`Snapshot::pools`]; at the end.
    pub delivery: Vec<Delivery>,
    /// The books of the first groups by name, then those of all others; at the end.
    pub groups: Vec<(String, GroupBooks)>,
    /// Violations so far.
    pub violations: Tally<Violation>,
    /// Permitted sightings so far.
    pub permitted: Tally<Permitted>,
    /// Unprovable sightings so far.
    pub unknown: Tally<Unknown>,
    /// What is measured and not judged, so far.
    pub measured: Measured,
    /// The last look at the process.
    pub process: Sample,
    /// What its threads used.
    pub threads: Vec<crate::generator::ThreadUse>,
    /// Whether the generator is the bottleneck.
    pub saturated: bool,
    /// Lines that did not fit into `events.jsonl`.
    pub events_dropped: u64,
    /// Connections to the endpoint turned away; counted by the server.
    pub scrapes_refused: u64,
}

/// The state shared by the coordinator, which writes, and the endpoint, which reads.
pub type SharedState = Arc<Mutex<ExporterState>>;

impl ExporterState {
    /// The state of a run that has not started: everything at 0.
    pub fn new(run_id: impl Into<String>, scenario: &Scenario) -> Self {
        ExporterState {
            run_id: run_id.into(),
            scenario: scenario.name.clone(),
            seed: scenario.seed.0,
            pools: scenario
                .pools
                .iter()
                .map(|pool| {
                    (
                        pool.name.clone(),
                        if pool.server { 0 } else { pool.clients },
                    )
                })
                .collect(),
            snapshot: Snapshot::new(scenario.pools.len()),
            over: false,
            overdue: 0,
            delivery: vec![Delivery::default(); scenario.pools.len()],
            groups: scenario
                .groups
                .iter()
                .take(GROUPS_TOLD)
                .map(String::as_str)
                .chain(["(rest)"])
                .map(|name| (name.to_owned(), GroupBooks::default()))
                .collect(),
            violations: Tally::default(),
            permitted: Tally::default(),
            unknown: Tally::default(),
            measured: Measured::default(),
            process: Sample::default(),
            // The main thread, so that the series is there from the start.
            threads: vec![crate::generator::ThreadUse {
                name: "hubstorm".into(),
                ..Default::default()
            }],
            saturated: false,
            events_dropped: 0,
            scrapes_refused: 0,
        }
    }

    /// The same, to be shared.
    pub fn shared(self) -> SharedState {
        Arc::new(Mutex::new(self))
    }
}

/// The page a scrape gets now, in Prometheus text format 0.0.4.
///
/// # Errors
/// The families break the format's rules (a label twice, a family without samples), which
/// names of pools cannot cause.
pub fn render(state: &SharedState) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(RunCollector(Arc::clone(state))))?;
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// Makes the families from the shared state at each gathering.
struct RunCollector(SharedState);

impl Collector for RunCollector {
    fn desc(&self) -> Vec<&Desc> {
        // Only used to keep collectors of one registry apart; this one is alone.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A panic elsewhere while the numbers were replaced leaves them whole or old.
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = Page::default();
        run_families(&mut page, &state);
        for ((name, planned), stats) in state.pools.iter().zip(&state.snapshot.pools) {
            page.set(names::CLIENTS_PLANNED, &[name], *planned);
            pool_families(&mut page, name, stats);
        }
        verdict_families(&mut page, &state);
        measured_families(&mut page, &state.measured);
        if state.over {
            final_families(&mut page, &state);
        }
        generator_families(&mut page, &state);
        page.families()
    }
}

/// Families under construction.
#[derive(Default)]
struct Page {
    samples: HashMap<&'static str, Vec<proto::Metric>>,
}

impl Page {
    /// Adds a sample of a counter or gauge.
    fn set(&mut self, metric: Metric, labels: &[&str], value: impl IntoF64) {
        let mut sample = labelled(metric, labels);
        if metric.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value.into_f64());
            sample.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value.into_f64());
            sample.set_gauge(gauge);
        }
        self.samples.entry(metric.name).or_default().push(sample);
    }

    /// Adds a histogram of microseconds; nothing recorded gives all buckets at 0.
    fn observe(&mut self, metric: Metric, labels: &[&str], recorded: Option<&Histogram<u64>>) {
        let mut sample = labelled(metric, labels);
        sample.set_histogram(classic(recorded));
        self.samples.entry(metric.name).or_default().push(sample);
    }

    /// All families, in the order of the table.
    fn families(mut self) -> Vec<MetricFamily> {
        names::ALL
            .iter()
            .filter_map(|metric| {
                let samples = self.samples.remove(metric.name)?;
                let mut family = MetricFamily::default();
                family.set_name(metric.name.to_owned());
                family.set_help(metric.help.to_owned());
                family.set_field_type(metric.kind);
                family.set_metric(samples);
                Some(family)
            })
            .collect()
    }
}

/// Numbers that a sample can show. Counts are exact up to 2^53.
trait IntoF64 {
    fn into_f64(self) -> f64;
}
impl IntoF64 for u64 {
    fn into_f64(self) -> f64 {
        self as f64
    }
}
impl IntoF64 for u32 {
    fn into_f64(self) -> f64 {
        f64::from(self)
    }
}
impl IntoF64 for f64 {
    fn into_f64(self) -> f64 {
        self
    }
}

fn labelled(metric: Metric, values: &[&str]) -> proto::Metric {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    proto::Metric::from_label(pairs.collect())
}

/// A classic histogram in seconds from one in microseconds. A value belongs to a bucket
/// when the lowest value that HdrHistogram cannot tell from it does, so that exactly 250 ms
/// count as `le="0.25"`; the error is at most 0.1 %. Count, sum and buckets are of the same
/// moment, so they agree.
fn classic(recorded: Option<&Histogram<u64>>) -> proto::Histogram {
    let mut counts = [0_u64; BUCKETS_S.len()];
    let (mut count, mut sum_us) = (0_u64, 0.0);
    if let Some(recorded) = recorded {
        for step in recorded.iter_recorded() {
            let value = step.value_iterated_to();
            let n = step.count_at_value();
            count += n;
            sum_us += recorded.median_equivalent(value) as f64 * n as f64;
            let seconds = recorded.lowest_equivalent(value) as f64 / 1e6;
            if let Some(bucket) = BUCKETS_S.iter().position(|bound| seconds <= *bound) {
                counts[bucket] += n;
            }
        }
    }
    let mut cumulative = 0;
    let buckets = BUCKETS_S.iter().zip(counts).map(|(bound, n)| {
        cumulative += n;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum_us / 1e6);
    histogram
}

fn run_families(page: &mut Page, state: &ExporterState) {
    page.set(names::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1_u64);
    let seed = state.seed.to_string();
    page.set(
        names::RUN_INFO,
        &[&state.run_id, &state.scenario, &seed],
        1_u64,
    );
    for (kind, n) in ChaosKind::ALL.iter().zip(state.snapshot.chaos) {
        page.set(names::CHAOS_INJECTIONS, &[kind.name()], n);
    }
}

fn pool_families(page: &mut Page, pool: &str, stats: &PoolStats) {
    let PoolStats {
        connections,
        clients,
        publish,
        outstanding,
        delivery,
        latency,
    } = stats;
    for (state, n) in [
        ("disconnected", connections.disconnected),
        ("connecting", connections.connecting),
        ("connected", connections.connected),
        ("recovering", connections.recovering),
        ("stopped", connections.stopped),
    ] {
        page.set(names::CONNECTIONS, &[pool, state], n);
    }
    for (metric, label, n) in [
        (names::CONNECTS, "ok", clients.connects),
        (names::CONNECTS, "failed", clients.connect_failures),
        (names::DIALS, "connect", clients.connect_dials),
        (names::DIALS, "recover", clients.recovery_dials),
        (names::DISCONNECTS, "injected", clients.disconnects_injected),
        (names::DISCONNECTS, "hub", clients.disconnects_hub),
        (names::DISCONNECTS, "harness", clients.disconnects_harness),
        (names::RECOVERIES, "ok", clients.recoveries),
        (names::RECOVERIES, "failed", clients.recovery_failures),
        (names::JOINS, "ok", clients.joins),
        (names::JOINS, "failed", clients.join_failures),
        (names::REJOINS, "ok", clients.rejoins),
        (names::REJOINS, "failed", clients.rejoin_failures),
        (names::PUBLISHES, "acked", publish.acked),
        (names::PUBLISHES, "failed", publish.failed),
        (names::PUBLISHES, "unknown", publish.unknown),
        (names::PUBLISHES, "unacked", publish.unacked),
    ] {
        page.set(metric, &[pool, label], n);
    }
    for (metric, n) in [
        (names::RECONNECTS, clients.reconnects),
        (names::BAD_FRAMES, clients.bad_frames),
        (names::PUBLISHES_ATTEMPTED, publish.attempted),
        (names::PUBLISH_RETRIES, publish.retries),
        (names::DUPLICATE_ACKS, publish.duplicate_acks),
        (names::OUTSTANDING_PUBLISHES, *outstanding),
        (names::DELIVERIES, delivery.messages),
        (names::DELIVERED_BYTES, delivery.bytes),
        (names::REPLAYS, delivery.replays),
    ] {
        page.set(metric, &[pool], n);
    }
    for (metric, kind) in [
        (names::CONNECT_LATENCY, LatencyKind::Connect),
        (names::ACK_LATENCY, LatencyKind::Ack),
        (names::DELIVERY_LATENCY, LatencyKind::Delivery),
        (names::RECOVERY_DURATION, LatencyKind::Recovery),
        (names::RECONNECT_DURATION, LatencyKind::Reconnect),
        (names::REPLY_LATENCY, LatencyKind::Reply),
    ] {
        page.observe(metric, &[pool], latency.get(kind));
    }
}

fn verdict_families(page: &mut Page, state: &ExporterState) {
    fn tally<K: Kind>(page: &mut Page, metric: Metric, tally: &Tally<K>) {
        for (kind, n) in tally.iter() {
            page.set(metric, &[kind.name()], n);
        }
    }
    tally(page, names::VIOLATIONS, &state.violations);
    tally(page, names::PERMITTED, &state.permitted);
    tally(page, names::UNKNOWN, &state.unknown);
    page.set(names::OVERDUE, &[], state.overdue);
}

/// What is only known when the run is over. A 0 until then would stand beside what has
/// come and say that nothing is owed.
fn final_families(page: &mut Page, state: &ExporterState) {
    for ((pool, _), ledger) in state.pools.iter().zip(&state.delivery) {
        for (label, n) in pairs(ledger) {
            page.set(names::DELIVERY_PAIRS, &[pool, label], n);
        }
    }
    group_families(page, &state.groups);
    unsure_families(page, &state.measured);
}

/// The ledger by the state of its pairs.
fn pairs(ledger: &Delivery) -> [(&'static str, u64); 11] {
    [
        ("expected", ledger.expected),
        ("delivered", ledger.delivered),
        ("verified", ledger.verified),
        ("unverified", ledger.unverified),
        ("not_owed", ledger.not_owed),
        ("edge", ledger.edge),
        ("lost", ledger.lost),
        ("permitted", ledger.permitted),
        ("unknown", ledger.unknown),
        ("outside", ledger.outside),
        ("addressed", ledger.addressed),
    ]
}

fn group_families(page: &mut Page, groups: &[(String, GroupBooks)]) {
    for (group, books) in groups {
        let sent = &books.publish;
        for (outcome, n) in [
            ("attempted", sent.attempted),
            ("acked", sent.acked),
            ("failed", sent.failed),
            ("unknown", sent.unknown),
            ("unacked", sent.unacked),
            ("outstanding", sent.outstanding),
        ] {
            page.set(names::GROUP_PUBLISHES, &[group, outcome], n);
        }
        for (state, n) in pairs(&books.delivery) {
            page.set(names::GROUP_PAIRS, &[group, state], n);
        }
    }
}

fn measured_families(page: &mut Page, measured: &Measured) {
    let Measured {
        late,
        pairs_compared,
        inversions,
        publisher_pairs_compared,
        publisher_inversions,
        windows: _,
        noted,
        not_noted,
        // See `unsure_families`.
        unknown_to_all: _,
        unknown_to_some: _,
        unknown_to_none: _,
        unacked_to_all: _,
        unacked_to_some: _,
        unacked_to_none: _,
        unknown_untold: _,
    } = *measured;
    page.set(names::LATE, &[], late);
    for (metric, label, n) in [
        (names::ORDER_COMPARED, "publishers", pairs_compared),
        (names::ORDER_COMPARED, "groups", publisher_pairs_compared),
        (names::ORDER_INVERSIONS, "publishers", inversions),
        (names::ORDER_INVERSIONS, "groups", publisher_inversions),
        (names::ORDER_NOTES, "noted", noted),
        (names::ORDER_NOTES, "no_room", not_noted),
    ] {
        page.set(metric, &[label], n);
    }
}

fn unsure_families(page: &mut Page, measured: &Measured) {
    for (outcome, reached, n) in [
        ("unknown", "all", measured.unknown_to_all),
        ("unknown", "some", measured.unknown_to_some),
        ("unknown", "none", measured.unknown_to_none),
        ("unacked", "all", measured.unacked_to_all),
        ("unacked", "some", measured.unacked_to_some),
        ("unacked", "none", measured.unacked_to_none),
    ] {
        page.set(names::UNSURE_PUBLISHES, &[outcome, reached], n);
    }
}

fn generator_families(page: &mut Page, state: &ExporterState) {
    let Sample {
        cpu_s,
        cpu_cores,
        cores_allowed,
        run_delay_s,
        rss_bytes,
        virtual_bytes,
        fds,
        fds_max,
        threads,
        start_time_s,
        busiest_cores,
        tcp_retransmits,
        ..
    } = state.process;
    for (metric, value) in [
        (names::GENERATOR_CPU_CORES, cpu_cores),
        (names::GENERATOR_CORES_ALLOWED, cores_allowed),
        (names::GENERATOR_RUN_DELAY, run_delay_s),
        (names::GENERATOR_BUSIEST, busiest_cores),
        (names::PROCESS_CPU, cpu_s),
        (names::PROCESS_START, start_time_s),
    ] {
        page.set(metric, &[], value);
    }
    let snapshot = &state.snapshot;
    let clipped: u64 = snapshot.pools.iter().map(|p| p.latency.clipped).sum();
    for (metric, value) in [
        (names::GENERATOR_SATURATED, u64::from(state.saturated)),
        (names::LATENCIES_CLIPPED, clipped),
        (names::GENERATOR_RETRANSMITS, tcp_retransmits),
        (names::READS, snapshot.reads.reads),
        (names::READ_BYTES, snapshot.reads.bytes),
        (names::READS_FULL, snapshot.reads.full),
        (names::READ_PEAK, snapshot.reads.peak_bytes),
        (names::WRITES_HELD, snapshot.writes_held),
        (names::UNSENT_PEAK, snapshot.unsent_peak_bytes),
        (names::EVENTS_DROPPED, state.events_dropped),
        (names::SCRAPES_REFUSED, state.scrapes_refused),
        (names::PROCESS_RESIDENT, rss_bytes),
        (names::PROCESS_VIRTUAL, virtual_bytes),
        (names::PROCESS_FDS, fds),
        (names::PROCESS_FDS_MAX, fds_max),
        (names::PROCESS_THREADS, threads),
    ] {
        page.set(metric, &[], value);
    }
    // Threads of one name are one series.
    let mut by_name = std::collections::BTreeMap::<&str, f64>::new();
    for thread in &state.threads {
        *by_name.entry(&thread.name).or_default() += thread.cpu_s;
    }
    for (name, cpu_s) in by_name {
        page.set(names::GENERATOR_THREAD_CPU, &[name], cpu_s);
    }
    page.observe(names::SCHEDULE_LAG, &[], snapshot.schedule_lag.as_deref());
    page.observe(names::LOOP_LAG, &[], snapshot.loop_lag.as_deref());
}

#[cfg(test)]
pub(super) mod tests;
