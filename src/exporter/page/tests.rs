use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::Time;

/// A state with one pool, nothing counted.
pub(in crate::exporter) fn state() -> ExporterState {
    ExporterState {
        run_id: "01".into(),
        scenario: "quick \"start\"".into(),
        seed: 7,
        pools: vec![("talkers".into(), 100)],
        snapshot: Snapshot::new(1),
        over: true,
        overdue: 0,
        delivery: vec![Delivery::default(); 2],
        groups: vec![("room \"1\"".into(), GroupBooks::default())],
        violations: Tally::default(),
        permitted: Tally::default(),
        unknown: Tally::default(),
        measured: Measured::default(),
        process: Sample {
            at: Time::ZERO,
            ..Sample::default()
        },
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

/// Samples of a page by series, e.g. `hubstorm_connects_total{outcome="ok",pool="a"}`.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series, value.parse().unwrap()))
        .collect()
}

/// The families on a page.
fn families(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect()
}

/// "0 expected" beside ten thousand that came would be believed.
#[test]
fn what_is_only_known_at_the_end_is_not_shown_as_0_before() {
    let mut state = state();
    state.over = false;
    let page = render(&state.shared()).unwrap();
    let table: BTreeSet<_> = names::ALL.iter().map(|metric| metric.name).collect();
    let missing: BTreeSet<_> = table.difference(&families(&page)).copied().collect();
    assert_eq!(missing, names::AT_THE_END.map(|metric| metric.name).into());
    for metric in names::AT_THE_END {
        assert_eq!(metric.kind, MetricType::GAUGE, "{}", metric.name);
        assert!(metric.help.contains("appears when the run is over"));
    }
}

#[test]
fn every_metric_of_the_table_is_there_with_its_labels() {
    let page = render(&state().shared()).unwrap();
    let typed = families(&page);
    let table: BTreeSet<_> = names::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(typed, table);
    for metric in names::ALL {
        let of_family = page.lines().filter(|line| {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = match metric.kind {
                MetricType::HISTOGRAM => name.trim_end_matches("_count"),
                _ => name,
            };
            base == metric.name && !line.starts_with('#')
        });
        let lines: Vec<_> = of_family.collect();
        assert!(!lines.is_empty(), "{} has no sample", metric.name);
        for line in lines {
            for label in metric.labels {
                assert!(
                    line.contains(&format!("{label}=\"")),
                    "{line} lacks {label}"
                );
            }
        }
    }
    for kind in Violation::ALL {
        let series = format!("hubstorm_violations_total{{kind=\"{}\"}}", kind.name());
        assert_eq!(samples(&page)[series.as_str()], 0.0);
    }
}

#[test]
fn buckets_count_and_sum_tell_one_story() {
    let mut state = state();
    let latency = &mut state.snapshot.pools[0].latency;
    for micros in [400, 250_000, 250_000, 3_000_000, 100_000_000] {
        latency.record(LatencyKind::Delivery, micros);
    }
    let page = render(&state.shared()).unwrap();
    let samples = samples(&page);
    let at = |le: &str| {
        let series =
            format!("hubstorm_delivery_latency_seconds_bucket{{pool=\"talkers\",le=\"{le}\"}}");
        samples[series.as_str()]
    };
    assert_eq!(
        [
            at("0.0005"),
            at("0.1"),
            at("0.25"),
            at("5"),
            at("60"),
            at("+Inf")
        ],
        [1.0, 1.0, 3.0, 4.0, 4.0, 5.0],
        "exactly 250 ms belong to le=0.25"
    );
    let count = samples["hubstorm_delivery_latency_seconds_count{pool=\"talkers\"}"];
    let sum = samples["hubstorm_delivery_latency_seconds_sum{pool=\"talkers\"}"];
    assert_eq!(count, 5.0);
    assert!((sum / 103.5004 - 1.0).abs() < 1e-3, "{sum}");
}

#[test]
fn a_number_counted_is_the_number_shown() {
    let mut state = state();
    let pool = &mut state.snapshot.pools[0];
    pool.connections.recovering = 3;
    pool.clients.disconnects_injected = 12;
    pool.clients.join_failures = 2;
    pool.outstanding = 5;
    state.snapshot.chaos[ChaosKind::Reset as usize] = 12;
    state.violations.add(Violation::Lost, 2);
    state.unknown.add(Unknown::Foreign, 1);
    state.measured.late = 4;
    state.overdue = 9;
    state.groups[0].1.publish.acked = 11;
    state.groups[0].1.delivery.lost = 13;
    state.measured.publisher_inversions = 6;
    state.measured.unacked_to_some = 8;
    state.delivery[0].expected = 9_007_199_254_740_991;
    let page = render(&state.shared()).unwrap();
    let samples = samples(&page);
    for (series, value) in [
        (
            r#"hubstorm_connections{pool="talkers",state="recovering"}"#,
            3.0,
        ),
        (
            r#"hubstorm_disconnects_total{cause="injected",pool="talkers"}"#,
            12.0,
        ),
        (
            r#"hubstorm_joins_total{outcome="failed",pool="talkers"}"#,
            2.0,
        ),
        (r#"hubstorm_outstanding_publishes{pool="talkers"}"#, 5.0),
        (r#"hubstorm_chaos_injections_total{kind="reset"}"#, 12.0),
        (r#"hubstorm_violations_total{kind="lost"}"#, 2.0),
        (r#"hubstorm_unknown_total{kind="foreign"}"#, 1.0),
        ("hubstorm_late_deliveries_total", 4.0),
        ("hubstorm_overdue_deliveries", 9.0),
        (
            r#"hubstorm_group_publishes{group="room \"1\"",outcome="acked"}"#,
            11.0,
        ),
        (
            r#"hubstorm_group_delivery_pairs{group="room \"1\"",state="lost"}"#,
            13.0,
        ),
        (r#"hubstorm_order_inversions_total{across="groups"}"#, 6.0),
        (
            r#"hubstorm_unsure_publishes{outcome="unacked",reached="some"}"#,
            8.0,
        ),
        (
            r#"hubstorm_delivery_pairs{pool="talkers",state="expected"}"#,
            9_007_199_254_740_991.0,
        ),
        (
            r#"hubstorm_run_info{run_id="01",scenario="quick \"start\"",seed="7"}"#,
            1.0,
        ),
    ] {
        // Labels keep the order of the table.
        let series = series.to_owned();
        let found = samples.iter().find(|(name, _)| same_series(name, &series));
        assert_eq!(found.map(|(_, v)| *v), Some(value), "{series}");
    }
}

/// A generator at its limit must be seen while the run lasts, not in the report alone: each
/// signal of it has a series, and the series its own number.
#[test]
fn every_signal_of_the_generators_health_has_its_own_series() {
    let mut state = state();
    let ms = |micros| {
        let mut lag = crate::metrics::LatencyHistogram::default();
        lag.record(micros);
        Some(lag)
    };
    state.process.busiest_cores = 0.97;
    state.process.cpu_cores = 1.5;
    state.process.rss_bytes = 1 << 20;
    state.process.fds = 17;
    state.process.tcp_retransmits = 3;
    state.threads[0].cpu_s = 2.5;
    state.snapshot.schedule_lag = ms(2_000);
    state.snapshot.loop_lag = ms(4_000);
    state.snapshot.reads.full = 5;
    state.snapshot.reads.peak_bytes = 65_536;
    state.snapshot.writes_held = 7;
    state.snapshot.unsent_peak_bytes = 262_144;
    let page = render(&state.shared()).unwrap();
    let samples = samples(&page);
    for (series, value) in [
        ("hubstorm_generator_busiest_thread_cores", 0.97),
        ("hubstorm_generator_cpu_cores", 1.5),
        (
            "hubstorm_generator_thread_cpu_seconds_total{thread=\"hubstorm\"}",
            2.5,
        ),
        ("hubstorm_schedule_lag_seconds_sum", 0.002),
        ("hubstorm_loop_lag_seconds_sum", 0.004),
        ("hubstorm_generator_reads_full_total", 5.0),
        ("hubstorm_generator_read_peak_bytes", 65_536.0),
        ("hubstorm_generator_writes_held_total", 7.0),
        ("hubstorm_generator_unsent_peak_bytes", 262_144.0),
        ("process_resident_memory_bytes", 1_048_576.0),
        ("process_open_fds", 17.0),
        ("hubstorm_generator_tcp_retransmits_total", 3.0),
    ] {
        let found = samples.get(series).copied().unwrap_or(f64::NAN);
        assert!((found - value).abs() <= value * 1e-2, "{series}: {found}");
    }
}

/// Whether two series have the same name and labels, whatever their order.
fn same_series(one: &str, other: &str) -> bool {
    let parts = |series: &str| -> BTreeSet<String> {
        series.split(['{', '}', ',']).map(str::to_owned).collect()
    };
    parts(one) == parts(other)
}
