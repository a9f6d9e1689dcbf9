//! Flags override the file, and are checked as the file is.

use std::time::Duration;

use hubstorm::base::Seed;
use hubstorm::scenario::{self, Overrides, Promise, Scenario, Share, TargetSpec, Timing};
use secrecy::{ExposeSecret, SecretString};

use super::no_env;

const FILE: &str = "
name: flags
seed: 1
duration: 20s
target: {endpoint: http://file, hub: chat, access_key: ${HUB_KEY}}
pools:
  talkers: {clients: 10, groups: {count: 2}, publish: {rate: 1/s}}
  listeners: {clients: 5, groups: {names: [group-0]}}
chaos:
  - {kind: reset, start: 5s, every: 2s, until: 18s, share: 10%}
  - {kind: stall, pool: talkers, at: 3s, count: 8, for: 1s}
thresholds:
  - ack.p99 < 1s
";

fn env(name: &str) -> Option<String> {
    (name == "HUB_KEY").then(|| "key".to_owned())
}

fn with(overrides: &Overrides) -> Scenario {
    scenario::parse(FILE, "flags.yaml", overrides, &env).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn wrong(overrides: &Overrides) -> String {
    scenario::parse(FILE, "flags.yaml", overrides, &env)
        .unwrap_err()
        .to_string()
}

fn set(values: &[&str]) -> Overrides {
    Overrides {
        set: values.iter().map(|value| (*value).to_owned()).collect(),
        ..Overrides::default()
    }
}

#[test]
fn set_reaches_every_field_by_its_dotted_path() {
    let scenario = with(&set(&[
        "pools.talkers.clients=7",
        "pools.listeners.publish={rate: 2/s, to: group-1}",
        "pools.new.clients=3",
        "chaos.0.share=5%",
        "chaos.2.kind=drop",
        "chaos.2.at=4s",
        "chaos.2.count=1",
        "thresholds.0=delivery.p50 < 2s",
        "thresholds.1=violations.total == 0",
        "verify.mode=digest",
        "chaos.1.count=2",
        "name=other",
    ]));
    assert_eq!(scenario.name, "other");
    assert_eq!(scenario.clients(), 7 + 5 + 3);
    assert!(scenario.pools[1].publish.is_some());
    assert_eq!(scenario.chaos[0].share, Share::Fraction(0.05));
    assert_eq!(scenario.chaos[2].timing, Timing::At(Duration::from_secs(4)));
    let exprs: Vec<_> = scenario.thresholds.iter().map(|one| &*one.expr).collect();
    assert_eq!(exprs, ["delivery.p50 < 2s", "violations.total == 0"]);
}

#[test]
fn set_to_nothing_leaves_a_section_out() {
    let scenario = with(&set(&["chaos=", "target=", "thresholds="]));
    assert!(scenario.chaos.is_empty() && scenario.thresholds.is_empty());
    assert!(matches!(scenario.target, TargetSpec::Embedded { .. }));
    // What is left out needs no environment either.
    scenario::parse(FILE, "flags.yaml", &set(&["target="]), &no_env).unwrap();
}

#[test]
fn set_s_mistakes_have_their_place_in_the_flag() {
    let told = wrong(&set(&["pools.talkers.clients=1O"]));
    assert!(
        told.contains("--set:1:23: `1O` is not a number of clients"),
        "{told}"
    );
    let told = wrong(&set(&["pools.talkers.clinets=10"]));
    assert!(told.contains("--set:1:15: unknown key `clinets`"), "{told}");
    let told = wrong(&set(&["nothing"]));
    assert!(
        told.contains("--set:1:1: `--set` needs a key and a value"),
        "{told}"
    );
    let told = wrong(&set(&["chaos.7.kind=drop"]));
    assert!(
        told.contains("--set:1:7: `7` is no place in a list of 2"),
        "{told}"
    );
    let told = wrong(&set(&["seed.x=1", "pools..x=1", "pools.talkers=[1"]));
    assert!(told.contains("path leads into a single value"), "{told}");
    assert!(told.contains("--set:1:7: an empty name"), "{told}");
    assert!(told.contains("not valid YAML"), "{told}");
}

#[test]
fn named_flags_win_over_file_and_set() {
    let scenario = with(&Overrides {
        set: vec!["seed=5".into()],
        seed: Some("9".into()),
        duration: Some("15s".into()),
        promise: Some("reference".into()),
        verify_memory: Some("2MiB".into()),
        hub: Some("lobby".into()),
        ..Overrides::default()
    });
    assert_eq!(scenario.seed, Seed(9));
    assert_eq!(scenario.duration, Duration::from_secs(15));
    assert_eq!(scenario.promise, Promise::Reference);
    assert_eq!(scenario.verify_memory, 2 << 20);
    // A shorter load ends faults that go on until later.
    let Timing::Every { until, .. } = scenario.chaos[0].timing else {
        panic!("{:?}", scenario.chaos)
    };
    assert_eq!(until, Duration::from_secs(15));
    let TargetSpec::Endpoint { hub, .. } = &scenario.target else {
        panic!("{:?}", scenario.target)
    };
    assert_eq!(hub, "lobby");
    let told = wrong(&Overrides {
        duration: Some("30".into()),
        ..Overrides::default()
    });
    assert!(
        told.contains("--duration:1:1: `30` is not a duration"),
        "{told}"
    );
    assert!(told.contains("did you mean `30s`?"), "{told}");
}

#[test]
fn target_replaces_the_endpoint_and_keeps_hub_and_key() {
    let scenario = with(&Overrides {
        target: Some(SecretString::from("ws://flag:81")),
        ..Overrides::default()
    });
    let TargetSpec::Endpoint {
        url,
        hub,
        access_key: Some(key),
    } = &scenario.target
    else {
        panic!("{:?}", scenario.target)
    };
    assert_eq!(
        (&**url, &**hub, key.expose_secret()),
        ("ws://flag:81", "chat", "key")
    );
    assert_eq!(scenario.promise, Promise::Published);
}

#[test]
fn a_client_access_url_and_a_connection_string_replace_the_target() {
    let scenario = with(&Overrides {
        target: Some(SecretString::from("wss://h/client/hubs/x?access_token=t")),
        ..Overrides::default()
    });
    assert!(matches!(scenario.target, TargetSpec::ClientAccessUrl(_)));
    let scenario = with(&Overrides {
        connection_string: Some(SecretString::from("Endpoint=https://h;AccessKey=k;")),
        ..Overrides::default()
    });
    let TargetSpec::ConnectionString { hub, .. } = &scenario.target else {
        panic!("{:?}", scenario.target)
    };
    assert_eq!(hub, "chat");
}

#[test]
fn scale_multiplies_clients_and_keeps_at_least_one() {
    let scaled = |factor: &str| {
        let scenario = with(&Overrides {
            scale: Some(factor.into()),
            ..Overrides::default()
        });
        let clients: Vec<_> = scenario.pools.iter().map(|pool| pool.slots()).collect();
        clients
    };
    assert_eq!(scaled("2"), [0..20, 20..30]);
    // The fault's count of 8 was checked against the file's 10 clients, and hits all that
    // are left.
    assert_eq!(scaled("0.01"), [0..1, 1..2]);
    for factor in ["0", "-1", "x", "NaN", "inf", ""] {
        let told = wrong(&Overrides {
            scale: Some(factor.into()),
            ..Overrides::default()
        });
        assert!(told.contains("is not a factor"), "{told}");
    }
}

#[test]
fn a_load_made_shorter_by_a_flag_leaves_out_later_faults_and_says_so() {
    // Whoever shortens a run wants to see it run, as with k6 and Artillery; a file that
    // itself plans a fault after its end is wrong (broken/chaos-after-the-end.yaml).
    let text = "seed: 7\nduration: 60s\npools:\n  a: {clients: 20, groups: {count: 1}}\n  talk: {clients: 1, publish: {rate: 1/s, to: group-0}}\n  b: {clients: 2, groups: {count: 1}, publish: {rate: 1/s, start: 30s}}\n  sky: {servers: 1, publish: {rate: 1/s, to: everybody, start: 20s}}\nchaos:\n  - {kind: reset, at: 40s, count: 3}\n  - {kind: drop, start: 2s, every: 4s, share: 20%}\n  - {kind: flap, start: 9s, every: 9s, until: 50s, count: 1}\n";
    let short = Overrides {
        duration: Some("8s".into()),
        ..Overrides::default()
    };
    let whole = scenario::parse(text, "t.yaml", &Overrides::default(), &no_env).unwrap();
    let cut = scenario::parse(text, "t.yaml", &short, &no_env).unwrap();
    assert!(whole.notes.is_empty());
    assert_eq!(
        cut.notes,
        [
            "chaos.0 (reset from 40s on) is left out: the load is over before",
            "chaos.2 (flap from 9s on) is left out: the load is over before",
            "pool b publishes nothing: it would start at 30s, and the load is over before",
            "pool sky publishes nothing: it would start at 20s, and the load is over before",
        ]
    );
    // What is left is what it was: the same clients at the same times.
    let hits = |scenario: &scenario::Scenario| -> Vec<_> {
        let plan = hubstorm::chaos::plan(scenario).injections;
        let drops = plan.into_iter().filter(|one| one.kind.name() == "drop");
        drops.take(2).map(|one| (one.at, one.slots)).collect()
    };
    assert_eq!(hits(&whole), hits(&cut));
    // And so is the file that the run writes.
    let written = scenario::to_yaml(&cut);
    assert!(written.contains("{kind: drop, stream: 1"), "{written}");
    let again = scenario::parse(&written, "t.yaml", &Overrides::default(), &no_env);
    let again = again.unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(hits(&again), hits(&cut));
}
