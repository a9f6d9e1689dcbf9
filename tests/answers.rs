//! Whole runs in which answers stay away: a client's impatience, and what the harness does to
//! its own connections, is never the hub's fault; a hub that does not answer is found out
//! whatever its clients wait for.

#[allow(
    dead_code,
    reason = "each of the test programs that run it uses a part of it"
)]
mod program;

use program::{Bench, count};
use serde_json::Value;

/// Runs a scenario against an embedded hub with a fault; its report.
fn run(scenario: &str, fault: &str) -> Value {
    let bench = Bench::new(scenario);
    let output = bench.run(&["--quiet", "--hub-fault", fault]);
    bench.report(&output)
}

/// Members with several ways of waiting for answers: hardly, and for ever.
fn pools(hasty: &str) -> String {
    let pool = |name: &str, client: &str| {
        format!(
            "  {name}: {{clients: 4, groups: {{names: [g], join: all}}, \
             publish: {{rate: 8/s, payload: {{type: json, size: 128B}}}}, client: {{{client}}}}}\n"
        )
    };
    [
        pool("hasty", &format!("retry: {{{hasty}}}")),
        pool("js", "behaves_like: js"),
        pool("dotnet", "behaves_like: dotnet"),
    ]
    .concat()
}

#[test]
fn neither_impatience_nor_a_silence_of_our_own_accuses_a_hub_that_answers() {
    // Each fifth answer takes longer than the hasty wait, and the stalls take longer than
    // the hub has.
    let text = format!(
        "hubstorm: 1\nseed: 3\nduration: 6s\ndrain: 5s\nverify: {{ack_within: 2s}}\npools:\n{}chaos:\n  \
         - {{kind: stall, at: 500ms, share: 40%, for: 3s}}\n  \
         - {{kind: half_open, at: 1s, share: 30%, for: 3s}}\n  \
         - {{kind: latency, at: 2s, share: 20%, for: 2s, delay: 2500ms}}\n",
        pools("ack_timeout: 300ms")
    );
    let report = run(&text, "delay_ack,every=5,for=600ms");
    for (kind, n) in report["violations"].as_object().unwrap() {
        assert_eq!(n, 0, "{kind}: {}", report["incidents"]);
    }
    assert!(count(&report, "/publish/retries") > 0, "nobody was hasty");
    assert!(count(&report, "/hub_truth/faults/delay_ack") > 10);
    assert!(count(&report, "/verifier/exercised/A4 every request is answered") > 100);
}

#[test]
fn a_hub_that_does_not_answer_is_found_out_by_those_who_wait_for_ever_and_those_who_gave_up() {
    let text = format!(
        "hubstorm: 1\nseed: 3\nduration: 5s\ndrain: 2s\nverify: {{ack_within: 2s}}\npools:\n{}chaos:\n  \
         - {{kind: reset, at: 4500ms, share: 100%}}\n",
        pools("ack_timeout: 300ms, attempts: 0")
    );
    // All of it in the first two seconds. The reset lets those who wait for ever try again,
    // or the drain would last as long as they do.
    let report = run(&text, "lose_ack,every=7,count=20");
    let lost = count(&report, "/hub_truth/faults/lose_ack");
    assert_eq!(lost, 20);
    assert_eq!(count(&report, "/violations/ack_missing"), lost);
    let violations = report["violations"].as_object().unwrap();
    let all: u64 = violations.values().filter_map(Value::as_u64).sum();
    assert_eq!(all, lost, "{violations:?}");
    assert_eq!(report["verdict"], "fail");
}
