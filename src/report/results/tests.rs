use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::*;
use crate::base::Seed;
use crate::base::units::Rate;
use crate::metrics::{LatencyKind, Snapshot};
use crate::payload::{Padding, Template};
use crate::report::build::RunFacts;
use crate::scenario::model::{Comparison, Unit as BoundUnit};
use crate::scenario::{
    Arrivals, ChaosEntry, ChaosKind, Destination, Effect, GroupChoice, Mode, Pool, Profile,
    Promise, Publish, Scenario, Share, Sizes, TargetSpec, Threshold, Timing,
};
use crate::verify::{GroupBooks, Measured, Permitted, Sent, Tally, Verification, Violation};
use crate::wire::{DataType, Subprotocol};

/// A threshold; the one place of these tests that knows its fields.
pub(in crate::report) fn threshold(
    expr: &str,
    comparison: Comparison,
    bound: f64,
    unit: BoundUnit,
) -> Threshold {
    Threshold {
        expr: expr.into(),
        metric: expr.split(' ').next().unwrap().into(),
        comparison,
        bound,
        unit,
        pool: None,
        over: None,
        abort_after: None,
    }
}

/// Two pools of 100, two faults, two thresholds.
pub(in crate::report) fn scenario() -> Scenario {
    let groups: Vec<_> = (0..20).map(crate::base::GroupId).collect();
    let pool = |name: &str, first_slot| Pool {
        name: name.into(),
        first_slot,
        server: false,
        clients: 100,
        protocol: Subprotocol::JsonReliable,
        connect: None,
        groups: GroupChoice {
            groups: groups.clone(),
            join: 1,
            ..GroupChoice::default()
        },
        connections_per_user: 1,
        sessions: None,
        churn: None,
        publish: None,
        client: crate::scenario::ClientSpec::of(Default::default(), Subprotocol::JsonReliable),
    };
    let mut talkers = pool("talkers", 0);
    talkers.publish = Some(Publish {
        rate: Rate::per_second(1.0),
        arrivals: Arrivals::Uniform,
        profile: Profile::Constant,
        start: Duration::ZERO,
        stop: None,
        after_ack: None,
        sizes: Sizes::Fixed,
        to: Destination::Joined,
        payload: Template {
            data_type: DataType::Json,
            size: 128,
            padding: Padding::Random,
        },
        ack: true,
        no_echo: false,
    });
    Scenario {
        notes: Vec::new(),
        name: "quickstart".into(),
        seed: Seed(7),
        seed_drawn: false,
        duration: Duration::from_secs(20),
        drain: Duration::from_secs(10),
        mode: Mode::Full,
        promise: Promise::Reference,
        verify_memory: 1 << 30,
        ack_within: crate::verify::ACK_WITHIN,
        target: TargetSpec::Embedded { hub: "chat".into() },
        pools: vec![talkers, pool("listeners", 100)],
        groups: (0..20).map(|n| format!("group-{n}")).collect(),
        chaos: vec![
            ChaosEntry {
                stream: 0,
                kind: ChaosKind::Reset,
                pool: Some(0),
                share: Share::Fraction(0.1),
                timing: Timing::Every {
                    start: Duration::from_secs(5),
                    every: Duration::from_secs(2),
                    until: Duration::from_secs(20),
                },
                lasts: None,
                effect: Effect::Plain,
                rolling: Duration::ZERO,
            },
            ChaosEntry {
                stream: 1,
                kind: ChaosKind::Blackout,
                pool: None,
                share: Share::Count(5),
                timing: Timing::At(Duration::from_secs(12)),
                lasts: Some(Duration::from_secs(35)),
                effect: Effect::Plain,
                rolling: Duration::ZERO,
            },
        ],
        thresholds: vec![
            threshold(
                "delivery.p99 < 250ms",
                Comparison::Less,
                0.25,
                BoundUnit::Seconds,
            ),
            threshold(
                "delivery.verified >= 100%",
                Comparison::GreaterOrEqual,
                1.0,
                BoundUnit::Share,
            ),
        ],
    }
}

/// The totals of a healthy run of [`scenario`].
pub(in crate::report) fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::new(2);
    let talkers = &mut snapshot.pools[0];
    talkers.clients.connect_dials = 100;
    talkers.clients.connects = 100;
    talkers.clients.disconnects = 85;
    talkers.clients.disconnects_injected = 85;
    talkers.clients.recovery_dials = 85;
    talkers.clients.recoveries = 85;
    talkers.publish.attempted = 2000;
    talkers.publish.acked = 2000;
    talkers.publish.retries = 9;
    talkers.publish.duplicate_acks = 4;
    talkers.delivery.messages = 10_000;
    talkers.delivery.replays = 31;
    talkers.delivery.bytes = 1_280_000;
    for n in 0..10_000 {
        talkers.latency.record(LatencyKind::Delivery, 500 + n);
    }
    for n in 0..2000 {
        talkers.latency.record(LatencyKind::Ack, 300 + n);
    }
    for n in 0..85 {
        talkers
            .latency
            .record(LatencyKind::Recovery, 20_000 + n * 1000);
    }
    let listeners = &mut snapshot.pools[1];
    listeners.clients.connect_dials = 100;
    listeners.clients.connects = 100;
    listeners.delivery.messages = 10_000;
    listeners.delivery.bytes = 1_280_000;
    snapshot.chaos[ChaosKind::Reset as usize] = 80;
    snapshot.chaos[ChaosKind::Blackout as usize] = 5;
    snapshot
}

/// The ledger of `n` pairs that all arrived.
fn delivered(n: u64) -> Delivery {
    Delivery {
        expected: n,
        delivered: n,
        verified: n,
        addressed: n,
        ..Delivery::default()
    }
}

/// The verification of a healthy run of [`scenario`].
pub(in crate::report) fn verification() -> Verification {
    let mut permitted = Tally::default();
    permitted.add(Permitted::ReplayOverlap, 31);
    Verification {
        delivery: delivered(20_000),
        pools: vec![delivered(10_000); 2],
        pool_permitted: vec![Tally::default(); 2],
        groups: vec![
            GroupBooks {
                publish: Sent {
                    attempted: 100,
                    acked: 100,
                    ..Sent::default()
                },
                delivery: delivered(1000),
            };
            20
        ],
        violations: Tally::default(),
        permitted,
        unknown: Tally::default(),
        measured: Measured::default(),
        verifier: VerifierFacts {
            mode: "full",
            not_verified: Vec::new(),
            sampled: false,
            pairs: 2000,
            bytes: 90_000,
            not_exercised: vec!["D6 echo"],
            exercised: vec![("D1 nothing is lost", 20_000), ("D6 echo", 0)],
            threads: 1,
            threads_lost: 0,
            exchange: Default::default(),
            self_check: "ok".into(),
        },
        incidents: Vec::new(),
        inconclusive: Vec::new(),
    }
}

/// A hub's account that agrees.
pub(in crate::report) fn truth() -> Value {
    json!({
        "connections_accepted": 200,
        "recoveries_accepted": 85,
        "publishes_executed": 2000,
        "deliveries_owed": 20_000,
        "deliveries_numbered": 20_000,
        "deliveries_unnumbered": 0,
    })
}

/// The facts of a healthy run.
pub(in crate::report) fn facts<'a>(
    scenario: &'a Scenario,
    snapshot: &'a Snapshot,
    verification: &'a Verification,
) -> RunFacts<'a> {
    RunFacts {
        windows: Vec::new(),
        run: RunInfo {
            id: "5f0c".into(),
            name: scenario.name.clone(),
            seed: scenario.seed.0,
            version: "0.1.0".into(),
            started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_250),
            duration_s: 31.5,
            load_s: 20.0,
            target: "embedded hub".into(),
            protocol: "json.reliable".into(),
            load: "open".into(),
            plan_hash: "8a2f3e392db17a4cbbacf539e1172547".into(),
        },
        scenario,
        snapshot,
        connected_peak: 200,
        away_at_end: 0,
        verification,
        hub_truth: Some(truth()),
        timeline: Vec::new(),
        generator: GeneratorFacts {
            cpu_s: 8.25,
            peak_rss_bytes: 41_000_000,
            fds_peak: 431,
            schedule_lag_p99_us: 2100,
            ..GeneratorFacts::default()
        },
        interrupted: false,
        unreachable: None,
        failures: Vec::new(),
    }
}

/// The result of a healthy run.
pub(crate) fn results() -> Results {
    Results::build(facts(&scenario(), &snapshot(), &verification()))
}

#[test]
fn the_json_has_every_field_of_the_contract() {
    let json = serde_json::to_value(results()).unwrap();
    let has = |place: &str, fields: &[&str]| {
        let part = json.pointer(place).unwrap();
        for field in fields {
            assert!(part.get(*field).is_some(), "{place} lacks {field}");
        }
    };
    has(
        "",
        &[
            "schema",
            "run",
            "verdict",
            "exit_code",
            "reasons",
            "thresholds",
            "clients",
            "publish",
            "promise",
            "delivery",
            "violations",
            "permitted",
            "unknown",
            "verifier",
            "latency",
            "chaos",
            "generator",
            "timeline",
            "incidents",
        ],
    );
    has(
        "/run",
        &[
            "id",
            "name",
            "seed",
            "version",
            "started_at",
            "duration_s",
            "target",
            "protocol",
        ],
    );
    has(
        "/clients",
        &[
            "planned",
            "connected_peak",
            "connects",
            "connect_failures",
            "disconnects",
            "recoveries",
            "recovery_failures",
            "reconnects",
            "rejoins",
            "rejoin_failures",
        ],
    );
    has(
        "/publish",
        &[
            "attempted",
            "acked",
            "duplicate_acks",
            "failed",
            "unknown",
            "retries",
        ],
    );
    has(
        "/delivery",
        &[
            "expected",
            "delivered",
            "verified",
            "unverified",
            "not_owed",
            "edge",
        ],
    );
    has(
        "/verifier",
        &["mode", "pairs", "bytes", "not_exercised", "self_check"],
    );
    for kind in LatencyKind::ALL {
        has(
            &format!("/latency/{}", kind.name()),
            &[
                "count", "min", "mean", "p50", "p90", "p99", "p999", "max", "hdr",
            ],
        );
    }
    has(
        "/generator",
        &[
            "cpu_s",
            "peak_rss_bytes",
            "fds_peak",
            "schedule_lag_p99_us",
            "saturated",
            "why",
        ],
    );
    has("/thresholds/0", &["expr", "actual", "ok"]);
    assert_eq!(json["schema"], "hubstorm.report/1");
    assert_eq!(json["run"]["started_at"], "2027-01-15T08:00:00.250Z");
    assert_eq!(json["verdict"], "pass");
    assert_eq!(json["violations"].as_object().unwrap().len(), 23);
    assert_eq!(json["pools"][1]["name"], "listeners");
}

#[test]
fn a_saved_result_reads_back_the_same_and_an_older_one_still_reads() {
    let results = results();
    let text = serde_json::to_string(&results).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
    let mut json = serde_json::to_value(&results).unwrap();
    let object = json.as_object_mut().unwrap();
    object.remove("pools");
    object.remove("hub_truth");
    let mut forget = |part: &str, field| object[part].as_object_mut().unwrap().remove(field);
    forget("delivery", "received");
    forget("clients", "bad_frames");
    let old: Results = serde_json::from_value(json).unwrap();
    assert_eq!((old.exit_code, old.pools.len()), (0, 0));
}

#[test]
fn pools_add_up_to_the_run() {
    let results = results();
    let sum = |of: fn(&PoolResult) -> u64| results.pools.iter().map(of).sum::<u64>();
    assert_eq!(sum(|p| p.clients.planned), results.clients.planned);
    assert_eq!(
        sum(|p| p.publish.counts.acked),
        results.publish.counts.acked
    );
    assert_eq!(sum(|p| p.delivery.received), results.delivery.received);
    assert!(results.books_add_up());
    assert_eq!(results.groups.len(), 21);
    let mut wrong = results.clone();
    wrong.pools[1].delivery.delivered -= 1;
    assert!(!wrong.books_add_up());
    let mut wrong = results.clone();
    wrong.groups[3].publish.acked += 1;
    assert!(!wrong.books_add_up());
    assert_eq!(sum(|p| p.latency.ack.count), results.latency.ack.count);
    assert!(Violation::Lost as usize == 0);
}
