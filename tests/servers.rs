//! Server messages and replies to events, end to end: the real program against the embedded
//! hub, and against a hub of its own with an access key.

#[allow(
    dead_code,
    reason = "each of the test programs that run it uses a part of it"
)]
mod program;

use program::{Bench, code, count, pool, start_hub, text};

/// Every address that a server can send to, beside events with replies, under drops.
const SCENARIO: &str = "
hubstorm: 1
name: servers
seed: 5
duration: 4s
drain: 10s
pools:
  people: {clients: 20, connections_per_user: 2, groups: {count: 4}}
  plain: {clients: 5, protocol: json, groups: {count: 4}}
  callers: {clients: 8, protocol: protobuf.reliable, publish: {rate: 5/s, to: {event: ping, reply: echo}}}
  sky: {servers: 1, publish: {rate: 5/s, to: everybody}}
  rooms: {servers: 2, publish: {pool_rate: 40/s, to: random, payload: {type: text, padding: unicode, size: 300B}}}
  post: {servers: 1, publish: {rate: 40/s, to: {user: people}, payload: {type: binary, size: 1KiB}}}
  wire: {servers: 1, publish: {rate: 40/s, to: {connection: people}}}
chaos:
  - {kind: reset, start: 500ms, every: 300ms, share: 10%}
  - {kind: expire_tokens, at: 1s, share: 10%, for: 500ms}
  - {kind: storm, at: 2s, share: 50%}
thresholds:
  - reply.count > 100
  - reply.max < 30s
  - ack.count{pool=sky} >= 19
";

#[test]
fn everything_that_servers_send_and_that_events_answer_is_owed_and_verified_under_drops() {
    let (text, report) = Bench::new(SCENARIO).pass(&[]);
    assert!(count(&report, "/delivery/expected") > 1500, "{text}");
    assert_eq!(count(&report, "/delivery/unverified"), 0);
    // 4 s of 5, 40, 40 and 40 a second, and 8 callers with 5 each.
    assert!(count(&report, "/publish/attempted") >= 640, "{text}");
    assert_eq!(count(&report, "/hub_truth/service_refused"), 0);
    assert!(count(&report, "/hub_truth/service_sends") >= 480);
    // The other side counted the same.
    assert!(!text.contains("NO: "), "{text}");
    // Servers are no clients.
    assert_eq!(count(&report, "/clients/planned"), 33);
    for name in ["sky", "rooms", "post", "wire"] {
        let of = |key: &str| count(pool(&report, name), key);
        assert_eq!(of("/publish/attempted"), of("/publish/acked"), "{name}");
        assert_eq!(of("/clients/connects"), 0, "{name}");
    }
}

/// Servers alone publish, each pool to one kind of address; and callers whose events answer.
const QUIET: &str = "
hubstorm: 1
name: quiet
seed: 5
duration: 4s
drain: 10s
pools:
  people: {clients: 6, groups: {count: 2}}
  callers: {clients: 2, publish: {rate: 10/s, to: {event: ping, reply: echo}}}
  sky: {servers: 1, publish: {rate: 20/s, to: everybody}}
  post: {servers: 1, publish: {rate: 20/s, to: {user: people}}}
  wire: {servers: 1, publish: {rate: 20/s, to: {connection: people}}}
";

/// One pool alone publishes, so that the fault can hit nothing but its messages.
fn only(pool: &str) -> Vec<String> {
    ["callers", "sky", "post", "wire"]
        .into_iter()
        .filter(|other| *other != pool)
        .flat_map(|other| ["--set".to_owned(), format!("pools.{other}.publish=none")])
        .collect()
}

#[test]
fn what_a_lying_hub_does_to_server_messages_and_to_answers_is_found() {
    // The hub's clock runs ahead of the load's, on a slow machine by a second: each address
    // must have been heard of by then, since what is lost first may be lost at its join.
    let lies = [
        ("sky", "drop,at=2500ms,count=1", "lost"),
        ("post", "drop,at=2500ms,count=1", "lost"),
        ("wire", "omit,at=2500ms,count=1", "lost"),
        ("callers", "drop,at=2500ms,count=1", "lost"),
        ("sky", "duplicate_new_id,at=2500ms,count=1", "duplicated"),
        ("callers", "corrupt,at=2500ms,count=1", "corrupted"),
    ];
    // Side by side: they mostly wait.
    std::thread::scope(|scope| {
        for (pool, fault, violation) in lies {
            scope.spawn(move || lie(pool, fault, violation));
        }
    });
}

fn lie(pool: &str, fault: &str, violation: &str) {
    let mut args = only(pool);
    args.extend(["--hub-fault".to_owned(), fault.to_owned()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let bench = Bench::new(QUIET);
    let output = bench.run(&args);
    assert_eq!(code(&output), 1, "{pool}, {fault}: {}", text(&output));
    let report = bench.report(&output);
    let incidents = report["hub_truth"]["incidents"].as_array().map(Vec::len);
    assert_eq!(incidents, Some(1), "{pool}, {fault}");
    let found = &report["violations"];
    assert_eq!(found[violation], 1, "{pool}, {fault}: {found}");
}

#[test]
fn a_service_that_refuses_is_reported_and_nothing_is_counted_as_delivered() {
    // The hub of this target wants another key than the one that signs: every request is
    // refused with 401, and so is every client, so that the run cannot pass.
    let dir = tempfile::tempdir().unwrap();
    let right = "0123456789abcdef0123456789abcdef";
    let (_hub, address) = start_hub(dir.path(), &["--access-key", right]);
    for (key, is_right) in [(right, true), ("wrong", false)] {
        let scenario = format!(
            "seed: 1\nduration: 1s\ndrain: 10s\ntarget: {{endpoint: '{address}', hub: chat, access_key: {key}}}\npools:\n  people: {{clients: 4}}\n  sky: {{servers: 1, publish: {{rate: 20/s, to: everybody}}}}\n"
        );
        let bench = Bench::new(&scenario);
        let text = if is_right {
            let (text, report) = bench.pass(&[]);
            assert_eq!(count(&report, "/delivery/expected"), 80, "{text}");
            text
        } else {
            let output = bench.run(&[]);
            assert_eq!(code(&output), 3, "{}", text(&output));
            text(&output)
        };
        assert!(!text.contains(key), "a key is shown");
    }
}
