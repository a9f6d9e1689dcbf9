//! Right scenarios mean what they say.

use std::collections::BTreeSet;
use std::time::Duration;

use hubstorm::base::units::{ByteSize, Rate};
use hubstorm::base::{GroupId, Seed, Slot};
use hubstorm::scenario::{
    self, Arrivals, ChaosKind, Comparison, Destination, Mode, Overrides, Promise, Share,
    TargetSpec, Timing, Unit,
};
use hubstorm::wire::{DataType, Subprotocol};
use proptest::prelude::*;

use super::{no_env, parse};

/// Section 6 of the contract, to the letter.
const CONTRACT: &str = include_str!("contract.yaml");

#[test]
fn the_contract_s_example_works_as_written() {
    let scenario = parse(CONTRACT).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(scenario.name, "chat-rooms");
    assert_eq!((scenario.seed, scenario.seed_drawn), (Seed(7), false));
    assert_eq!(scenario.duration, Duration::from_secs(20));
    assert_eq!(scenario.drain, Duration::from_secs(10));
    assert_eq!(scenario.mode, Mode::Full);
    assert_eq!(scenario.promise, Promise::Reference);
    let TargetSpec::Endpoint {
        url,
        hub,
        access_key: None,
    } = &scenario.target
    else {
        panic!("{:?}", scenario.target)
    };
    assert_eq!(
        (url.as_str(), hub.as_str()),
        ("http://127.0.0.1:8080", "chat")
    );
    assert_eq!(scenario.clients(), 120);
    assert_eq!(scenario.groups.len(), 10);
    assert_eq!(scenario.groups[9], "group-9");
    assert_eq!(scenario.thresholds.len(), 4);
}

#[test]
fn the_contract_s_pools_are_resolved() {
    let scenario = parse(CONTRACT).unwrap();
    let [talkers, listeners] = &scenario.pools[..] else {
        panic!("{:?}", scenario.pools)
    };
    assert_eq!(talkers.protocol, Subprotocol::JsonReliable);
    assert_eq!(talkers.connect, Some(Rate::per_second(50.0)));
    assert_eq!(scenario.groups_of(Slot(23)), [GroupId(3)]);
    assert_eq!(listeners.slots(), 100..120);
    assert_eq!(scenario.groups_of(Slot(107)).len(), 2);
    let groups: BTreeSet<_> = scenario.groups_of(Slot(107)).into_iter().collect();
    assert_eq!(groups, BTreeSet::from([GroupId(0), GroupId(1)]));
    assert!(listeners.publish.is_none());
    let publish = talkers.publish.as_ref().unwrap();
    assert_eq!(publish.rate, Rate::per_second(1.0));
    assert_eq!(publish.arrivals, Arrivals::Uniform);
    assert_eq!(publish.to, Destination::Joined);
    assert_eq!(publish.payload.data_type, DataType::Json);
    assert_eq!(publish.payload.size, 128);
    assert!(publish.ack && !publish.no_echo);
}

#[test]
fn the_contract_s_chaos_and_thresholds_are_resolved() {
    let scenario = parse(CONTRACT).unwrap();
    let [reset, blackout] = &scenario.chaos[..] else {
        panic!("{:?}", scenario.chaos)
    };
    assert_eq!((reset.kind, reset.pool), (ChaosKind::Reset, Some(0)));
    assert_eq!(reset.share, Share::Fraction(0.1));
    assert_eq!(
        reset.timing,
        Timing::Every {
            start: Duration::from_secs(5),
            every: Duration::from_secs(2),
            until: Duration::from_secs(20)
        }
    );
    assert_eq!(blackout.timing, Timing::At(Duration::from_secs(12)));
    // Longer than the load: the run goes on until it has healed.
    assert_eq!(blackout.lasts, Some(Duration::from_secs(35)));
    let bounds: Vec<_> = scenario
        .thresholds
        .iter()
        .map(|one| (one.metric.as_str(), one.comparison, one.bound, one.unit))
        .collect();
    assert_eq!(
        bounds,
        [
            ("delivery.p99", Comparison::Less, 0.25, Unit::Seconds),
            ("ack.p99", Comparison::Less, 0.25, Unit::Seconds),
            ("recovery.p95", Comparison::Less, 2.0, Unit::Seconds),
            (
                "delivery.verified",
                Comparison::GreaterOrEqual,
                1.0,
                Unit::Share
            ),
        ]
    );
    assert_eq!(scenario.thresholds[0].expr, "delivery.p99 < 250ms");
}

#[test]
fn the_least_scenario_has_sensible_defaults() {
    let scenario = parse("pools: {idlers: {clients: 1}}").unwrap();
    assert_eq!(scenario.name, "test");
    assert!(scenario.seed_drawn);
    assert_eq!(scenario.duration, Duration::from_secs(30));
    assert_eq!(scenario.drain, Duration::from_secs(10));
    assert_eq!(scenario.promise, Promise::Reference);
    assert!(matches!(scenario.target, TargetSpec::Embedded { .. }));
    assert_eq!(scenario.verify_memory, 1 << 30);
    assert!(scenario.pools[0].groups.groups.is_empty());
    let published = parse("{target: {endpoint: 'ws://h'}, pools: {a: {clients: 1}}}").unwrap();
    assert_eq!(published.promise, Promise::Published);
}

#[test]
fn sections_that_are_empty_count_as_left_out() {
    let text = "pools:\n  a:\n    clients: 1\n    publish:\nchaos:\nthresholds: ~\ntarget:\n";
    let scenario = parse(text).unwrap();
    assert!(scenario.pools[0].publish.is_none());
}

#[test]
fn every_form_of_groups_and_destination_is_understood() {
    let scenario = parse(
        "
pools:
  a: {clients: 4, groups: {count: 3, prefix: room/, join: all}}
  b: {clients: 2, groups: {names: [room/1, 'other one'], join: 1}}
  c: {clients: 1, groups: {names: [room/2]}, publish: {rate: 12/min, to: other one, no_echo: true, ack: false}}
  d: {clients: 1, protocol: json, publish: {rate: 1/h, to: {event: ping}, arrivals: poisson, payload: {type: binary, size: 1KiB, padding: zeros}}}
",
    )
    .unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(scenario.groups, ["room/0", "room/1", "room/2", "other one"]);
    assert_eq!(scenario.members(), [4, 5, 5, 1]);
    let c = scenario.pools[2].publish.as_ref().unwrap();
    assert_eq!(c.to, Destination::Group(GroupId(3)));
    let d = scenario.pools[3].publish.as_ref().unwrap();
    assert_eq!(
        d.to,
        Destination::Event {
            name: "ping".into(),
            reply: false
        }
    );
    assert_eq!(d.payload.size, 1024);
    let offered = hubstorm::load::offered(&scenario);
    assert!((offered.publishes_per_s - (0.2 + 1.0 / 3600.0)).abs() < 1e-9);
    assert!((offered.deliveries_per_s - 0.2).abs() < 1e-9, "{offered:?}");
}

#[test]
fn offered_deliveries_count_members_and_spare_the_sender() {
    let deliveries = |no_echo: bool| {
        let text = format!(
            "pools: {{a: {{clients: 100, groups: {{count: 10, join: 2}}, publish: {{rate: 3/s, no_echo: {no_echo}}}}}, b: {{clients: 5, groups: {{names: [group-0]}}}}}}"
        );
        hubstorm::load::offered(&parse(&text).unwrap()).deliveries_per_s
    };
    // 300 msg/s to groups of 20; group-0, a tenth of them, has five listeners more.
    assert!((deliveries(false) - (300.0 * 20.0 + 30.0 * 5.0)).abs() < 1e-6);
    assert!((deliveries(true) - (300.0 * 19.0 + 30.0 * 5.0)).abs() < 1e-6);
}

#[test]
fn anchors_save_typing() {
    let scenario = parse(
        "pools:\n  a: &pool\n    clients: 2\n    groups: {count: 1}\n    publish: {rate: 1/s}\n  b: *pool\n",
    )
    .unwrap();
    assert_eq!(scenario.pools[1].slots(), 2..4);
}

#[test]
fn the_environment_fills_scalars_and_never_adds_yaml() {
    let env = |name: &str| match name {
        "N" => Some("3".to_owned()),
        "EVIL" => Some("x\npools: {}\n# {".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let text = r#"
pools:
  a: {clients: ${N}, groups: {names: [${EVIL}, "${EVIL}-2", '${NONE:-a, b: c}', "$${N}"]}, connect: "${EMPTY:-4/s}"}
"#;
    let scenario = scenario::parse(text, "t.yaml", &Overrides::default(), &env)
        .unwrap_err()
        .to_string();
    // A line break in a group's name is refused, and not shown.
    assert!(scenario.contains("cannot name a group") && !scenario.contains("pools: {}"));
    let env = |name: &str| env(name).map(|value| value.replace('\n', " "));
    let scenario = scenario::parse(text, "t.yaml", &Overrides::default(), &env)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(scenario.clients(), 3);
    assert_eq!(
        scenario.groups,
        ["x pools: {} # {", "x pools: {} # {-2", "a, b: c", "${N}"]
    );
    assert_eq!(scenario.pools[0].connect, Some(Rate::per_second(4.0)));
}

#[test]
fn every_file_of_the_library_resolves_and_says_what_it_asks() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let scenario = scenario::load(&path, &Overrides::default(), &no_env)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{path:?} does not say its question");
        assert!(text.contains("# Expected verdict: "), "{path:?}");
        assert_eq!(
            path.file_stem().unwrap().to_str().unwrap(),
            scenario.name,
            "the name of the file is the name of the run"
        );
        let yaml = scenario::to_yaml(&scenario);
        let again = scenario::parse(&yaml, "again.yaml", &Overrides::default(), &no_env)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(format!("{scenario:?}"), format!("{again:?}"));
        seen += 1;
    }
    assert!(seen >= 6, "only {seen} files in {folder}");
}

#[test]
fn a_written_scenario_is_read_back_to_the_same() {
    let text = "
name: t.1
seed: 18446744073709551615
duration: 1h2m3s
drain: 0s
verify: {mode: digest, promise: published, memory: 3MiB}
target: {hub: a_b}
pools:
  null: {clients: 3, connect: 1/min, groups: {names: ['a: b', '${X:-}$${Y}', '#', \"\\u2028é\"], join: 2}, publish: {rate: 0.3/s, to: '#'}}
  x-2: {clients: 3, protocol: protobuf, groups: {count: 2, prefix: 'p '}, publish: {rate: 7/h, payload: {type: text, size: 48B, padding: unicode}}}
  idle: {clients: 1}
chaos:
  - {kind: flap, every: 1.5s, share: 0.7%}
  - {kind: half_open, pool: x-2, at: 100us, count: 2}
  - {kind: stall, start: 1m, every: 1m, until: 30m, count: 2, for: 2.5s}
  - {kind: hub_restart, at: 20s}
thresholds: ['ack.count > 5', generator.peak_rss_bytes<1.5GiB, 'violations.total == 0', publish.retries <= 0.5]
";
    let text = text.replace("${X:-}", "");
    let first = parse(&text).unwrap_or_else(|wrong| panic!("{wrong}"));
    let yaml = scenario::to_yaml(&first);
    let again = parse(&yaml).unwrap_or_else(|wrong| panic!("{wrong}\n{yaml}"));
    assert_eq!(format!("{first:?}"), format!("{again:?}"), "{yaml}");
    assert_eq!(ByteSize(first.verify_memory).to_string(), "3MiB");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,300}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(
        lines in prop::collection::vec(
            "( {0,6})(- )?(pools|target|chaos|kind|clients|groups|publish|to|rate|at|every|x|<<|\"a)?(: |:)?(\\{|\\[|&a |\\*a|!t |\\||>|'|\\$\\{N:-|[0-9]{1,20}(s|/s|%|B)?|\t|\\}|\\]|,|joined|all|# c|---|delivery.p99 < )*",
            0..20,
        )
    ) {
        let text = lines.join("\n");
        let wrong = parse(&text);
        if let Err(wrong) = wrong {
            prop_assert!(!wrong.list.is_empty());
            let _ = wrong.to_string();
        }
    }

    #[test]
    fn no_mutation_of_a_right_file_makes_it_panic(cut in 0usize..2000, put in "[ -~\n\t\u{e9}]{0,3}", skip in 0usize..20) {
        let chars: Vec<char> = CONTRACT.chars().collect();
        let at = cut.min(chars.len());
        let rest = (at + skip).min(chars.len());
        let text: String = chars[..at].iter().copied().chain(put.chars()).chain(chars[rest..].iter().copied()).collect();
        if let Err(wrong) = parse(&text) {
            prop_assert!(!wrong.list.is_empty());
            let _ = wrong.to_string();
        }
    }

    #[test]
    fn no_override_makes_it_panic(set in "[a-z.0-9=:{}\\[\\]$ -]{0,40}", scale in ".{0,6}") {
        let overrides = Overrides { set: vec![set], scale: Some(scale), ..Overrides::default() };
        let _ = scenario::parse(CONTRACT, "t.yaml", &overrides, &no_env);
    }
}

#[test]
fn a_pool_that_nothing_uses_is_told() {
    // Most often a slip in a group's name: the run would measure less than meant.
    let text = "seed: 1\npools:\n  talk: {clients: 2, groups: {count: 2}, publish: {rate: 1/s}}\n  hear: {clients: 2, groups: {names: [group-1]}}\n  deaf: {clients: 2, groups: {names: [grup-1]}}\n  bare: {clients: 2}\n  named: {clients: 2}\n  post: {servers: 1, publish: {rate: 1/s, to: {user: named}}}\n";
    let notes = parse(text).unwrap().notes;
    let of = |name: &str| notes.iter().filter(|note| note.contains(name)).count();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!((of("pool deaf only"), of("pool bare only")), (1, 1));
    let broadcast = format!("{text}  sky: {{servers: 1, publish: {{rate: 1/s, to: everybody}}}}\n");
    assert!(parse(&broadcast).unwrap().notes.is_empty());
}
