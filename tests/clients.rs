//! Whole runs with every kind of client: each subprotocol, each official client's habits.

use std::fs;

use serde_json::Value;

/// Runs a scenario against the embedded hub; its report.
fn run(pools: &str, seed: u32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenario.yaml");
    let text = format!(
        "hubstorm: 1\nseed: {seed}\nduration: 4s\ndrain: 5s\npools:\n{pools}chaos:\n  \
         - {{kind: reset, start: 500ms, every: 500ms, share: 20%}}\n  - {{kind: hub_restart, at: 2s}}\n"
    );
    fs::write(&scenario, text).unwrap();
    let out = folder.path().join("out");
    let output = assert_cmd::Command::cargo_bin("hubstorm")
        .unwrap()
        .arg("run")
        .arg(&scenario)
        .arg("--out")
        .arg(&out)
        .arg("--quiet")
        .output()
        .unwrap();
    let report = fs::read(out.join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(
        report["verdict"],
        "pass",
        "{}\n{}",
        report["reasons"],
        String::from_utf8_lossy(&output.stderr)
    );
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
