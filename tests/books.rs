//! One ledger in four places: the report by pool and by group, the metrics page, and the
//! account that the embedded hub keeps without knowing of any of them.

#[allow(
    dead_code,
    reason = "each of the test programs that run it uses a part of it"
)]
mod program;

use std::fs;

use program::{Bench, count};

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

#[test]
fn the_report_the_metrics_and_the_hub_tell_of_each_group_the_same_to_the_message() {
    let bench = Bench::new(SCENARIO);
    let (text, report) = bench.pass(&["--metrics", "127.0.0.1:0"]);
    let page = fs::read_to_string(bench.path("out/metrics.prom")).unwrap();
    let truth = &report["hub_truth"];
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 5, "four, and the rest");
    let mut published = 0;
    for group in &groups[..4] {
        let name = group["name"].as_str().unwrap();
        let mut accounts = truth["groups"].as_array().unwrap().iter();
        let account = accounts.find(|row| row["group"] == name).unwrap();
        let sent = count(group, "/publish/acked");
        assert!(sent > 10, "{name}: {sent}");
        assert_eq!(sent, count(group, "/publish/attempted"));
        let executed = count(account, "/publishes_executed") + count(account, "/service_sends");
        assert_eq!(executed, sent, "{name}");
        assert!(count(account, "/service_sends") > 0, "{name}");
        let owed = count(group, "/delivery/expected");
        // Three people, one of them plain, and a talker are in each group.
        assert_eq!(owed, 5 * sent, "{name}");
        assert_eq!(count(account, "/deliveries_owed"), owed, "{name}");
        assert_eq!(count(account, "/deliveries_made"), owed, "{name}");
        assert_eq!(count(group, "/delivery/delivered"), owed, "{name}");
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
        count(&groups[4], "/publish/acked"),
        count(&report, "/publish/acked") - published
    );
    // The whole run, with server messages and answers.
    let replies = count(&report, "/latency/reply/count");
    assert!(replies > 20, "{replies}");
    let unasked = count(truth, "/answers_owed") - replies;
    assert!(unasked > 10, "{unasked} answers that nobody expected");
    assert_eq!(
        count(truth, "/deliveries_owed"),
        count(&report, "/delivery/expected") + unasked
    );
    assert!(text.contains("each of 4 groups"), "{text}");
    assert!(!text.contains("NO: "), "{text}");
}
