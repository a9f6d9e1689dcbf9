//! Whole runs with every kind of client: each subprotocol, each official client's habits.

#[allow(
    dead_code,
    reason = "each of the test programs that run it uses a part of it"
)]
mod program;

use program::{Bench, pool};
use serde_json::Value;

/// Runs a scenario against the embedded hub; its report.
fn run(pools: &str, seed: u32) -> Value {
    let bench = Bench::new(&format!(
        "hubstorm: 1\nseed: {seed}\nduration: 4s\ndrain: 10s\npools:\n{pools}chaos:\n  \
         - {{kind: reset, start: 500ms, every: 500ms, share: 20%}}\n  - {{kind: hub_restart, at: 2s}}\n"
    ));
    let (_, report) = bench.pass(&[]);
    for (kind, count) in report["violations"].as_object().unwrap() {
        assert_eq!(count, 0, "{kind}");
    }
    report
}

#[test]
fn clients_of_all_four_subprotocols_meet_in_the_same_groups() {
    let mut pools = String::new();
    for (name, protocol) in [
        ("a", "json.reliable"),
        ("b", "json"),
        ("c", "protobuf.reliable"),
        ("d", "protobuf"),
    ] {
        pools += &format!(
            "  {name}: {{clients: 5, protocol: {protocol}, groups: {{names: [g, h], join: all}}, \
             publish: {{rate: 4/s, payload: {{type: json, size: 128B}}}}}}\n"
        );
    }
    let report = run(&pools, 3);
    // Twenty clients, each a member of both groups, some 320 publishes.
    assert!(
        report["delivery"]["delivered"].as_u64().unwrap() > 2000,
        "{report}"
    );
    assert!(report["clients"]["recoveries"].as_u64().unwrap() > 0);
}

#[test]
fn fleets_with_the_habits_of_each_official_client_are_judged_rightly() {
    let mut pools = String::new();
    for name in ["spec", "python", "js", "dotnet", "java"] {
        pools += &format!(
            "  {name}: {{clients: 6, groups: {{names: [g, h], join: all}}, \
             publish: {{rate: 4/s, no_echo: true}}, client: {{behaves_like: {name}}}}}\n"
        );
    }
    let report = run(&pools, 5);
    assert!(report["clients"]["recoveries"].as_u64().unwrap() > 0);
    assert!(report["clients"]["rejoins"].as_u64().unwrap() > 0);
}

#[test]
fn an_eager_a_lazy_and_a_stubborn_client_share_one_run() {
    let client = |name: &str, client: &str| {
        format!(
            "  {name}: {{clients: 6, groups: {{names: [g, h], join: all}}, \
             publish: {{rate: 4/s}}, client: {{{client}}}}}\n"
        )
    };
    let pools = [
        client(
            "eager",
            "retry: {attempts: 8, delay: 50ms, mode: fixed, jitter: 50%}, \
             sequence_ack: {interval: 10ms, every: 1}, reconnect: {delay: 50ms, mode: fixed}, \
             connect_timeout: 2s, idle_timeout: 2s",
        ),
        client(
            "lazy",
            "retry: {attempts: 0}, sequence_ack: {interval: 3s, every: never}, \
             reconnect: {delay: 1s}, idle_timeout: never, auto_rejoin: false, user_ids: none, \
             roles: [webpubsub.joinLeaveGroup, webpubsub.sendToGroup], token_lifetime: 90s",
        ),
        client(
            "stubborn",
            "retry: {refusals: all, ack_timeout: never, fresh_ack_id: true}, \
             reconnect: {attempts: unlimited, delay: 100ms, jitter: 100%}",
        ),
    ]
    .concat();
    let report = run(&pools, 9);
    let count = |name: &str, key: &str| pool(&report, name)["clients"][key].as_u64().unwrap();
    // The hub forgot everything once: each came back, and only who rejoins is a member again.
    for name in ["eager", "lazy", "stubborn"] {
        assert!(count(name, "reconnects") > 0, "{name}");
    }
    assert_eq!(count("lazy", "rejoins"), 0);
    assert!(count("eager", "rejoins") > 0 && count("stubborn", "rejoins") > 0);
    let retries = |name: &str| pool(&report, name)["publish"]["retries"].as_u64().unwrap();
    assert_eq!(retries("lazy"), 0);
}

#[test]
fn clients_that_may_not_reconnect_stop_and_the_others_go_on() {
    let pools = "  stays: {clients: 5, groups: {names: [g], join: all}, publish: {rate: 4/s}}\n  \
                 gone: {clients: 5, groups: {names: [g], join: all}, client: {auto_reconnect: false}}\n";
    let report = run(pools, 11);
    assert_eq!(pool(&report, "gone")["clients"]["reconnects"], 0);
    assert!(
        pool(&report, "stays")["clients"]["reconnects"]
            .as_u64()
            .unwrap()
            > 0
    );
    // Nobody waits a minute for those who will not come back.
    let took = report["run"]["duration_s"].as_f64().unwrap();
    assert!(took < 40.0, "{took} s for 4 s of load and 10 s of drain");
}

#[test]
fn a_log_of_one_client_is_of_that_client_alone() {
    let log = |client: Option<&str>| {
        let bench = Bench::new(
            "hubstorm: 1\nseed: 1\nduration: 1s\npools:\n  p: {clients: 4, groups: {names: [g], join: all}, publish: {rate: 4/s}}\n",
        );
        let mut command =
            bench.command(&["run", "scenario.yaml", "--out", "out", "--log", "trace"]);
        command.env_remove("HUBSTORM_LOG_CLIENT");
        if let Some(client) = client {
            command.env("HUBSTORM_LOG_CLIENT", client);
        }
        let output = command.output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let of = |log: &str, slot: u32| {
        let (frames, states) = (format!("client={slot} "), format!("slot={slot} "));
        let has = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        (has(&frames), has(&states))
    };
    let (all, one) = (log(None), log(Some("2")));
    for slot in 0..4 {
        let (frames, states) = of(&all, slot);
        assert!(
            frames > 5 && states > 2,
            "client {slot}: {frames} frames, {states} states"
        );
        let (frames, states) = of(&one, slot);
        assert_eq!(
            (frames > 5, states > 2),
            (slot == 2, slot == 2),
            "client {slot}"
        );
        assert_eq!(
            (frames == 0, states == 0),
            (slot != 2, slot != 2),
            "client {slot}"
        );
    }
    assert!(!all.contains("access_token=ey"), "a token in the log");
}
