//! Every kind of fault, as files write it: what is right resolves, and comes out of the
//! written scenario as it went in; what makes no sense is refused.

use std::time::Duration;

use hubstorm::chaos::plan;
use hubstorm::scenario::{self, ChaosKind, Effect, Scenario, Share};

use super::parse;

fn text(entry: &str) -> String {
    format!(
        "seed: 7\nduration: 60s\npools:\n  a: {{clients: 100}}\n  b: {{clients: 5, protocol: json}}\nchaos:\n  - {{{entry}}}\n"
    )
}

fn with(entry: &str) -> Scenario {
    parse(&text(entry)).unwrap_or_else(|wrong| panic!("{entry}: {wrong}"))
}

#[test]
fn every_kind_resolves_and_survives_being_written_out() {
    let entries = [
        "kind: close, at: 5s, count: 3",
        "kind: drop, at: 5s, count: 3",
        "kind: reset, start: 1s, every: 2s, until: 9s, share: 10%",
        "kind: half_open, at: 5s, count: 3",
        "kind: stall, at: 5s, count: 3, for: 2s",
        "kind: blackout, at: 5s, zones: 4, for: 2s",
        "kind: no_sequence_ack, at: 5s, count: 3, for: 2s",
        "kind: storm, at: 5s, share: 100%",
        "kind: flap, at: 5s, count: 3",
        "kind: bad_token, at: 5s, count: 3",
        "kind: hub_restart, at: 5s",
        "kind: latency, at: 5s, share: 50%, for: 9s, delay: 200ms, jitter: 50ms",
        "kind: throttle, at: 5s, share: 50%, for: 9s, rate: 10KiB/s",
        "kind: slice, at: 5s, share: 50%, for: 9s, size: 16B",
        "kind: mid_frame, at: 5s, share: 50%, rolling: 10s",
        "kind: handshake_hang, at: 5s, share: 50%, for: 9s",
        "kind: refuse, at: 5s, share: 50%, for: 9s",
        "kind: slow_consumer, at: 5s, pool: b, share: 50%, for: 9s, rate: 2KiB/s",
        "kind: expire_tokens, at: 5s, share: 50%, for: 9s",
        "kind: recover_late, at: 5s, share: 50%, window: inside",
        "kind: recover_late, at: 5s, share: 50%, window: outside",
    ];
    let mut kinds: Vec<ChaosKind> = Vec::new();
    for entry in entries {
        let scenario = with(entry);
        let planned = plan(&scenario);
        assert!(!planned.injections.is_empty(), "{entry}");
        let written = scenario::to_yaml(&scenario);
        let again = parse(&written).unwrap_or_else(|wrong| panic!("{written}\n{wrong}"));
        assert_eq!(plan(&again), planned, "{entry}");
        kinds.push(scenario.chaos[0].kind);
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), ChaosKind::ALL.len(), "a kind is not tried");
}

#[test]
fn measures_are_what_the_file_says() {
    let delay = with("kind: latency, at: 5s, share: 50%, for: 9s, delay: 200ms, jitter: 50ms");
    assert_eq!(
        delay.chaos[0].effect,
        Effect::Delay {
            delay: Duration::from_millis(200),
            jitter: Duration::from_millis(50)
        }
    );
    let narrow = with("kind: throttle, at: 5s, share: 50%, for: 9s, rate: 10KiB/s");
    assert_eq!(narrow.chaos[0].effect, Effect::BytesPerSecond(10_240));
    let zones = with("kind: blackout, at: 5s, zones: 4, for: 2s");
    assert_eq!(zones.chaos[0].share, Share::Zones(4));
    let late = with("kind: recover_late, at: 5s, share: 100%, window: inside");
    assert!(late.chaos[0].lasts.unwrap() < Duration::from_secs(30));
    // Only sessions that can be recovered can be recovered late.
    assert_eq!(plan(&late).injections[0].slots.len(), 100);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    for (entry, told) in [
        (
            "kind: latency, at: 5s, share: 50%, for: 9s",
            "`delay` is missing",
        ),
        (
            "kind: latency, at: 5s, share: 50%, for: 9s, delay: 0s",
            "no such delay",
        ),
        (
            "kind: latency, at: 5s, share: 50%, for: 9s, delay: 5m",
            "no such delay",
        ),
        (
            "kind: latency, at: 5s, share: 50%, delay: 1s",
            "how long the latency lasts",
        ),
        (
            "kind: throttle, at: 5s, share: 50%, for: 9s, rate: 10",
            "no such rate",
        ),
        (
            "kind: throttle, at: 5s, share: 50%, for: 9s, rate: 0B/s",
            "no such rate",
        ),
        (
            "kind: slice, at: 5s, share: 50%, for: 9s, size: 0B",
            "no such piece",
        ),
        (
            "kind: reset, at: 5s, share: 50%, delay: 9s",
            "a reset has no `delay`",
        ),
        (
            "kind: mid_frame, at: 5s, share: 50%, for: 9s",
            "has no `for`",
        ),
        (
            "kind: recover_late, at: 5s, share: 50%",
            "`window` is missing",
        ),
        (
            "kind: recover_late, at: 5s, share: 50%, window: near",
            "not a side of",
        ),
        (
            "kind: recover_late, at: 5s, share: 50%, window: inside, for: 1s",
            "has no `for`",
        ),
        (
            "kind: recover_late, pool: b, at: 5s, share: 50%, window: inside",
            "be recovered",
        ),
        (
            "kind: reset, at: 5s, share: 50%, zones: 2",
            "cannot stand beside `share`",
        ),
        ("kind: reset, at: 5s, zones: 0", "is not a number of zones"),
        (
            "kind: reset, at: 55s, share: 50%, rolling: 10s",
            "rolls on beyond the load",
        ),
        (
            "kind: hub_restart, at: 55s, rolling: 1s",
            "has no `rolling`",
        ),
    ] {
        let found = parse(&text(entry)).unwrap_err().to_string();
        assert!(found.contains(told), "{entry}: {found}");
    }
}
