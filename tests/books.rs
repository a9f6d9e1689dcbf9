//! One ledger in four places: the report by pool and by group, the metrics page, and the
//! account that the embedded hub keeps without knowing of any of them.

use std::fs;
use std::process::Command;

use serde_json::Value;

/// Groups that clients and servers publish to, server messages, events with replies and
/// without. Nothing breaks, so that all accounts must be equal to the message.
const SCENARIO: &str = "
hubstorm: 1
name: books
seed: 5
duration: 2s
drain: 8s
pools:
  people: {clients: 12, groups: {count: 4}}
  plain: {clients: 4, protocol: json, groups: {count: 4}}
  talkers: {clients: 4, groups: {count: 4}, publish: {rate: 10/s}}
  callers: {clients: 3, publish: {rate: 5/s, to: {event: ping, reply: echo}}}
  tellers: {clients: 2, publish: {rate: 5/s, to: {event: pong}}}
  rooms: {servers: 1, publish: {rate: 20/s, to: random, payload: {type: text, size: 200B}}}
  sky: {servers: 1, publish: {rate: 5/s, to: everybody}}
";

fn n(of: &Value, pointer: &str) -> u64 {
    let found = of.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no {pointer} in {of}"))
}

#[test]
fn the_report_the_metrics_and_the_hub_tell_of_each_group_the_same_to_the_message() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("s.yaml"), SCENARIO).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hubstorm"))
        .current_dir(dir.path())
        .env_remove("WEBPUBSUB_CONNECTION_STRING")
        .args(["run", "s.yaml", "--out", "out", "--quiet"])
        .args(["--metrics", "127.0.0.1:0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report = fs::read(dir.path().join("out/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let page = fs::read_to_string(dir.path().join("out/metrics.prom")).unwrap();
    let truth = &report["hub_truth"];
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 5, "four, and the rest");
    let mut published = 0;
    for group in &groups[..4] {
        let name = group["name"].as_str().unwrap();
        let mut accounts = truth["groups"].as_array().unwrap().iter();
        let account = accounts.find(|row| row["group"] == name).unwrap();
        let sent = n(group, "/publish/acked");
        assert!(sent > 10, "{name}: {sent}");
        assert_eq!(sent, n(group, "/publish/attempted"));
        let executed = n(account, "/publishes_executed") + n(account, "/service_sends");
        assert_eq!(executed, sent, "{name}");
        assert!(n(account, "/service_sends") > 0, "{name}");
        let owed = n(group, "/delivery/expected");
        // Three people, one of them plain, and a talker are in each group.
        assert_eq!(owed, 5 * sent, "{name}");
        assert_eq!(n(account, "/deliveries_owed"), owed, "{name}");
        assert_eq!(n(account, "/deliveries_made"), owed, "{name}");
        assert_eq!(n(group, "/delivery/delivered"), owed, "{name}");
        for (family, label, value) in [
            ("hubstorm_group_publishes", "outcome=\"acked\"", sent),
            ("hubstorm_group_delivery_pairs", "state=\"expected\"", owed),
            ("hubstorm_group_delivery_pairs", "state=\"delivered\"", owed),
        ] {
            let line = format!("{family}{{group=\"{name}\",{label}}} {value}");
            assert!(page.lines().any(|found| found == line), "no {line}");
        }
        published += sent;
    }
    // The rest: events and broadcasts.
    assert_eq!(
        n(&groups[4], "/publish/acked"),
        n(&report, "/publish/acked") - published
    );
    // The whole run, with server messages and answers.
    let replies = n(&report, "/latency/reply/count");
    assert!(replies > 20, "{replies}");
    let unasked = n(truth, "/answers_owed") - replies;
    assert!(unasked > 10, "{unasked} answers that nobody expected");
    assert_eq!(
        n(truth, "/deliveries_owed"),
        n(&report, "/delivery/expected") + unasked
    );
    assert!(text.contains("each of 4 groups"), "{text}");
    assert!(!text.contains("NO: "), "{text}");
}
