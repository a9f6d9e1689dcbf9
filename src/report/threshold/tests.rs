use super::*;
use crate::report::results::tests::{results, threshold};
use crate::scenario::model::Comparison;

#[test]
fn everything_in_the_report_can_stand_in_a_threshold_and_nothing_else() {
    // A count that no scenario can name is one that no build can be failed by.
    let mut there = metric_names();
    let mut named: Vec<String> = crate::scenario::metrics()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    there.sort();
    named.sort();
    assert_eq!(there, named);
}

#[test]
fn every_listed_metric_can_be_looked_up_and_no_other() {
    let results = results();
    let names = metric_names();
    for name in &names {
        assert!(lookup(&results, name).is_some(), "{name}");
    }
    for name in [
        "delivery",
        "delivery.p98",
        "delivery.lost",
        "deliveries.p99",
        "clients.joined",
        "violations.losts",
        "generator.why",
        "generator.saturated",
        "ack.hdr",
        ".",
        "",
    ] {
        assert!(!names.iter().any(|n| n == name));
        assert_eq!(lookup(&results, name), None, "{name}");
    }
}

#[test]
fn latencies_are_seconds_and_every_quantile_comes_from_the_histogram() {
    let results = results();
    let seconds = |name: &str| lookup(&results, name).unwrap().value.unwrap();
    // 500 µs to 10,499 µs, evenly.
    assert!((seconds("delivery.p75") / 0.008 - 1.0).abs() < 0.01);
    assert!((seconds("delivery.p95") / 0.010 - 1.0).abs() < 0.01);
    assert_eq!(
        seconds("delivery.p99"),
        results.latency.delivery.p99 as f64 / 1e6
    );
    assert_eq!(
        lookup(&results, "delivery.count").unwrap().value,
        Some(10_000.0)
    );
    assert_eq!(
        lookup(&results, "reconnect.p50").unwrap().value,
        None,
        "no data"
    );
    assert_eq!(
        lookup(&results, "reconnect.count").unwrap().value,
        Some(0.0)
    );
    assert!((seconds("generator.schedule_lag_p99_us") - 0.0021).abs() < 1e-9);
}

#[test]
fn a_percentage_is_of_what_was_owed_and_a_plain_bound_is_a_count() {
    let mut results = results();
    results.delivery.verified = 19_999;
    let judge = |expr: &str, bound, unit| {
        let threshold = threshold(expr, Comparison::GreaterOrEqual, bound, unit);
        evaluate(&[threshold], &results, &[]).remove(0)
    };
    let all = judge("delivery.verified >= 100%", 1.0, BoundUnit::Share);
    assert!(!all.ok, "one unverified is not 100%");
    assert_eq!((all.actual, all.unit), (Some(0.99995), Unit::Share));
    assert!(judge("delivery.verified >= 99.9%", 0.999, BoundUnit::Share).ok);
    assert!(judge("delivery.verified >= 19999", 19_999.0, BoundUnit::Number).ok);
    results.delivery.expected = 0;
    let none = evaluate(
        &[threshold(
            "delivery.verified >= 0%",
            Comparison::GreaterOrEqual,
            0.0,
            BoundUnit::Share,
        )],
        &results,
        &[],
    );
    assert!(!none[0].ok && none[0].actual.is_none(), "0 of 0 is no data");
}

#[test]
fn a_rate_is_by_the_second_of_the_load_and_of_its_pool() {
    let mut results = results();
    results.run.load_s = 20.0;
    results.publish.counts.acked = 10_000;
    results.pools[1].publish.counts.acked = 4_000;
    results.pools[1].delivery.bytes = 40_960;
    results.pools[1].delivery.expected = 100;
    results.pools[1].delivery.verified = 99;
    let rate = |metric: &str, bound, pool| Threshold {
        pool,
        ..threshold(
            metric,
            Comparison::GreaterOrEqual,
            bound,
            BoundUnit::PerSecond,
        )
    };
    let share = Threshold {
        unit: BoundUnit::Share,
        ..rate("delivery.verified", 1.0, Some(1))
    };
    let all = [
        rate("publish.acked", 500.0, None),
        rate("publish.acked", 201.0, Some(1)),
        rate("delivery.bytes", 2048.0, Some(1)),
        share,
    ];
    let found = evaluate(&all, &results, &[]);
    let told: Vec<_> = found
        .iter()
        .map(|one| (one.actual, one.unit, one.ok))
        .collect();
    assert_eq!(
        told,
        [
            (Some(500.0), Unit::PerSecond, true),
            (Some(200.0), Unit::PerSecond, false),
            (Some(2048.0), Unit::BytesPerSecond, true),
            (Some(0.99), Unit::Share, false),
        ]
    );
    assert_eq!(found[0].margin, Some(0.0));
    results.run.load_s = 0.0;
    let none = evaluate(&all, &results, &[]).remove(0);
    assert!(
        !none.ok && none.actual.is_none(),
        "without a load there is no rate"
    );
}
