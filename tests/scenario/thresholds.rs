//! Conditions by pool, over stretches, and such as end the run.

use std::time::Duration;

use hubstorm::scenario::{self, Unit};

use super::parse;

fn text(threshold: &str) -> String {
    format!(
        "seed: 1\nduration: 60s\npools: {{talkers: {{clients: 1}}}}\nthresholds:\n  - {threshold}\n"
    )
}

#[test]
fn conditions_resolve_and_survive_being_written_out() {
    let all = [
        "ack.p99{pool=talkers} < 200ms",
        "{that: ack.p99 < 200ms, over: 30s, abort: true, grace: 10s}",
        "{that: 'publish.failed{pool=talkers} == 0', abort: true}",
        "publish.acked.rate >= 500/s",
        "delivery.delivered.rate{pool=talkers} > 0.5/s",
        "{that: 'clients.recoveries.rate{pool=talkers} < 12/min', over: 60s}",
        "{that: delivery.bytes.rate >= 10KiB/s, over: 5s, abort: true}",
        "delivery.verified{pool=talkers} >= 100%",
        "reply.count.rate < 3/h",
    ];
    for threshold in all {
        let scenario = parse(&text(threshold)).unwrap_or_else(|wrong| panic!("{wrong}"));
        let written = scenario::to_yaml(&scenario);
        let again = parse(&written).unwrap_or_else(|wrong| panic!("{written}\n{wrong}"));
        assert_eq!(scenario.thresholds, again.thresholds);
    }
    let scenario = parse(&text(all[1])).unwrap();
    assert_eq!(scenario.thresholds[0].over, Some(Duration::from_secs(30)));
    assert_eq!(
        scenario.thresholds[0].abort_after,
        Some(Duration::from_secs(10))
    );
    let scenario = parse(&text(all[0])).unwrap();
    assert_eq!(scenario.thresholds[0].pool, Some(0));
    assert_eq!(scenario.thresholds[0].metric, "ack.p99");
    for (nth, metric, bound) in [
        (3, "publish.acked", 500.0),
        (5, "clients.recoveries", 0.2),
        (6, "delivery.bytes", 10_240.0),
    ] {
        let threshold = &parse(&text(all[nth])).unwrap().thresholds[0];
        assert_eq!(threshold.metric, metric);
        assert_eq!(threshold.unit, Unit::PerSecond);
        assert!((threshold.bound - bound).abs() < 1e-9, "{}", all[nth]);
    }
}

#[test]
fn conditions_that_nobody_can_judge_are_refused() {
    for (threshold, told) in [
        ("ack.p99{pool=talker} < 200ms", "did you mean `talkers`?"),
        ("ack.p99{talkers} < 200ms", "METRIC{pool=NAME}"),
        ("ack.p99{pool=talkers < 200ms", "METRIC{pool=NAME}"),
        (
            "violations.total{pool=talkers} == 0",
            "is not counted by pool",
        ),
        ("ack.p99.rate < 5/s", "has no rate"),
        (
            "{that: delivery.delivered.rate > 1/s, over: 10s}",
            "not known second by second",
        ),
        ("{that: ack.p99 < 1s, over: 90s}", "longer than the load"),
        ("{that: ack.p99 < 1s, over: 10ms}", "too short"),
        (
            "{that: violations.total == 0, over: 10s}",
            "not known second by second",
        ),
        (
            "{that: delivery.verified >= 100%, abort: true}",
            "known only at the end",
        ),
        ("{that: ack.p99 < 1s, grace: 5s}", "without `abort: true`"),
        ("{over: 5s}", "`that` is missing"),
    ] {
        let found = parse(&text(threshold)).unwrap_err().to_string();
        assert!(found.contains(told), "{threshold}: {found}");
    }
}
