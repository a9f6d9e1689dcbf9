//! What pools publish, when, how large and to whom: the file's words mean what they say, and
//! a resolved scenario written out means the same.

use std::time::Duration;

use hubstorm::base::Slot;
use hubstorm::load::{Schedule, offered, offered_at};
use hubstorm::scenario::{self, Arrivals, Destination, Profile, Publish, Scenario, Sizes};

use super::{no_env, parse};

fn with(publish: &str) -> Scenario {
    let text = format!(
        "seed: 7\nduration: 60s\npools:\n  a: {{clients: 10, groups: {{count: 4}}, publish: {{{publish}}}}}\n"
    );
    parse(&text).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn publish(scenario: &Scenario) -> &Publish {
    scenario.pools[0].publish.as_ref().unwrap()
}

fn wrong(publish: &str) -> String {
    let text = format!(
        "duration: 60s\npools: {{a: {{clients: 10, groups: {{count: 4}}, publish: {{{publish}}}}}}}"
    );
    parse(&text).unwrap_err().to_string()
}

fn sent(scenario: &Scenario, from: u64, to: u64) -> usize {
    let times = scenario.pools[0].slots().flat_map(|slot| {
        Schedule::new(
            scenario.seed,
            Slot(slot),
            publish(scenario),
            scenario.duration,
        )
    });
    let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
    times.filter(|at| (from..to).contains(at)).count()
}

#[test]
fn a_pool_s_rate_is_shared_by_its_clients() {
    let scenario = with("pool_rate: 50/s");
    assert_eq!(publish(&scenario).rate.as_per_second(), 5.0);
    assert_eq!(offered(&scenario).publishes_per_s, 50.0);
    assert!(wrong("rate: 1/s, pool_rate: 5/s").contains("cannot stand beside `rate`"));
}

#[test]
fn every_profile_offers_what_it_says() {
    let cases = [
        ("profile: constant", [600, 600, 600]),
        ("profile: {ramp: {over: 60s}}", [100, 300, 500]),
        ("profile: {ramp: {from: 2, to: 0, over: 20s}}", [600, 0, 0]),
        (
            "profile: {steps: [{for: 20s, at: 50%}, {for: 20s, at: 2}, {for: 20s, at: 1}]}",
            [300, 1200, 600],
        ),
        (
            "profile: {stages: [{for: 20s, to: 1}, {for: 20s, to: 1}, {for: 20s, to: 0}]}",
            [300, 600, 300],
        ),
        (
            "profile: {spike: {at: 20s, for: 10s, to: 5}}",
            [600, 1800, 600],
        ),
        (
            "profile: {spike: {at: 5s, for: 5s, every: 20s, to: 3}}",
            [900, 900, 900],
        ),
        ("profile: {pause: {at: 20s, for: 20s}}", [600, 0, 600]),
        (
            "profile: {sine: {period: 20s, low: 0, high: 2}}",
            [600, 600, 600],
        ),
        ("start: 20s, stop: 40s", [0, 600, 0]),
    ];
    for (text, expected) in cases {
        let due = expected.map(|n: i32| f64::from(n));
        let scenario = with(&format!("rate: 3/s, {text}"));
        let told = offered(&scenario).publishes_total as f64;
        assert!(
            (told - due.iter().sum::<f64>()).abs() <= 1.0,
            "{text}: {told}"
        );
        // Written out and read back it is the same.
        let again = scenario::parse(
            &scenario::to_yaml(&scenario),
            "again.yaml",
            &scenario::Overrides::default(),
            &no_env,
        )
        .unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        for scenario in [&scenario, &again] {
            for (third, due) in due.iter().enumerate() {
                let third = third as u64 * 20;
                let sent = sent(scenario, third, third + 20) as f64;
                // A client sends at most one more or less in each part.
                assert!(
                    (sent - due).abs() <= 10.0,
                    "{text}: {sent} of {due} from {third}"
                );
            }
        }
    }
}

#[test]
fn what_is_offered_follows_the_profile() {
    let scenario = with("rate: 3/s, profile: {pause: {at: 20s, for: 20s}}, payload: {size: 1KiB}");
    let at = |secs| offered_at(&scenario, Duration::from_secs(secs));
    assert_eq!(at(30).publishes_per_s, 0.0);
    assert_eq!(at(10).publishes_per_s, 30.0);
    assert_eq!(at(10).bytes_in_per_s, 30.0 * 1024.0);
    // Ten clients in four groups: two groups of three, two of two.
    assert_eq!(at(10).deliveries_per_s, 3.0 * 26.0);
}

#[test]
fn sizes_and_destinations_are_as_written() {
    let scenario = with(
        "rate: 1/s, to: random, arrivals: {burst: 5}, payload: {size: {lognormal: {median: 400B, p99: 4KiB}}}",
    );
    let publish = publish(&scenario);
    assert!(matches!(&publish.to, Destination::Random(groups) if groups.len() == 4));
    assert_eq!(publish.arrivals, Arrivals::Burst(5));
    assert!(matches!(
        publish.sizes,
        Sizes::LogNormal {
            median: 400,
            p99: 4096,
            min: 56,
            ..
        }
    ));
    let scenario = with("rate: 1/s, payload: {size: {min: 100B, max: 4KiB}}");
    assert_eq!(self::publish(&scenario).payload.size, 4096);
    assert!(wrong("rate: 1/s, payload: {size: {min: 5KiB, max: 4KiB}}").contains("below `min`"));
    assert!(wrong("rate: 1/s, payload: {size: {min: 5B, max: 4KiB}}").contains("no room"));
}

#[test]
fn a_closed_loop_is_paced_by_the_hub_alone() {
    let scenario = with("next: after_ack, pause: 100ms");
    let publish = publish(&scenario);
    assert_eq!(publish.after_ack, Some(Duration::from_millis(100)));
    assert_eq!(publish.profile, Profile::Constant);
    assert_eq!(offered(&scenario).closed_loops, 1);
    assert!(wrong("next: after_ack, rate: 1/s").contains("cannot stand beside"));
    assert!(wrong("next: after_ack, ack: false").contains("waits for acks"));
    assert!(wrong("rate: 1/s, pause: 1s").contains("add `next: after_ack`"));
}

#[test]
fn impossible_paces_are_refused() {
    for (text, told) in [
        ("start: 60s", "after the end of the load"),
        ("start: 10s, stop: 5s", "is not after `start`"),
        ("profile: {ramp: {over: 0s}}", "longer than nothing"),
        (
            "profile: {ramp: {over: 5s}, pause: {at: 1s, for: 1s}}",
            "one shape",
        ),
        (
            "profile: {ramp: {from: 0, to: 0, over: 5s}}",
            "nothing is ever published",
        ),
        (
            "profile: {spike: {at: 1s, for: 5s, every: 2s, to: 2}}",
            "longer than `for`",
        ),
        (
            "profile: {spike: {at: 1s, for: 5s, to: -2}}",
            "is not a factor",
        ),
        (
            "profile: {sine: {period: 1s, low: 2, high: 1}}",
            "not below `low`",
        ),
        ("profile: {}", "without a shape"),
        ("profile: {steps: []}", "without a stage"),
        ("profile: flat", "is not a profile"),
        ("arrivals: {burst: 0}", "is not a number of messages"),
    ] {
        let found = wrong(&format!("rate: 1/s, {text}"));
        assert!(found.contains(told), "{text}: {found}");
    }
}
