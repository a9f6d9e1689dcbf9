//! Conditions by pool, over stretches, and such as end the run.

use std::time::Duration;

use hubstorm::scenario;

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
