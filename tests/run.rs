//! The real program, end to end: exit codes, verdicts, reports, secrets.
//!
//! Each test runs `hubstorm` as a user would, against the embedded hub on a port of the
//! system's choosing, in a folder of its own.

#[allow(
    dead_code,
    reason = "each of the test programs that run it uses a part of it"
)]
mod program;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use program::{Bench, Running, assert_passed, code, count, start_hub, start_hub_at, text};
use serde_json::Value;

/// 40 clients in 4 groups for 4 s, with drops all the time.
const STORMY: &str = "
hubstorm: 1
name: stormy
seed: 11
duration: 4s
pools:
  all: {clients: 40, groups: {count: 4}, publish: {rate: 5/s, payload: {type: text, size: 100B}}}
chaos:
  - {kind: reset, start: 500ms, every: 500ms, share: 10%}
  - {kind: drop, start: 700ms, every: 500ms, share: 10%}
  - {kind: close, start: 900ms, every: 1s, share: 10%}
  - {kind: storm, at: 2s, share: 50%}
  - {kind: stall, at: 1s, share: 10%, for: 1s}
  - {kind: flap, at: 2500ms, share: 10%}
thresholds:
  - delivery.verified >= 100%
";

/// The same clients without faults of ours.
const CALM: &str = "
hubstorm: 1
name: calm
seed: 11
duration: 3s
pools:
  all: {clients: 12, groups: {count: 3}, publish: {rate: 5/s, payload: {type: json, size: 100B}}}
";

#[test]
fn an_honest_hub_is_not_accused_however_often_connections_break() {
    let bench = Bench::new(STORMY);
    let (_, report) = bench.pass(&[]);
    assert!(
        count(&report, "/clients/disconnects") >= 40,
        "{}",
        report["clients"]
    );
    assert!(count(&report, "/clients/recoveries") > 0);
    let expected = count(&report, "/delivery/expected");
    assert!(expected > 0);
    assert_eq!(count(&report, "/delivery/verified"), expected);
    assert_eq!(count(&report, "/delivery/delivered"), expected);
    assert_eq!(report["verifier"]["self_check"], "ok");
    // The hub keeps books of its own, and they agree. It may have granted a recovery whose
    // socket died before the client heard of it: clients flap.
    executed_what_was_acked(&report["hub_truth"], &report);
    let granted = count(&report, "/hub_truth/recoveries_accepted");
    let heard = count(&report, "/clients/recoveries");
    let dialled = count(&report, "/clients/recovery_dials");
    assert!(
        (heard..=dialled).contains(&granted),
        "{granted} of {heard} to {dialled}"
    );
    in_order(&bench);
    // The story of each client is whole, without an incident.
    let mut told = [0; 3];
    for slot in 0..40 {
        let slot = slot.to_string();
        let story = bench
            .command(&["report", "out", "--client", &slot])
            .output();
        let story = text(&story.unwrap());
        for (n, what) in ["  transport lost (", "  recovered\n", "  rejoined\n"]
            .iter()
            .enumerate()
        {
            told[n] += story.matches(what).count() as u64;
        }
    }
    let counted = ["disconnects", "recoveries", "reconnects"];
    let counted = counted.map(|name| count(&report, &format!("/clients/{name}")));
    assert_eq!(told, counted);
    for name in ["scenario.yaml", "events.jsonl"] {
        assert!(bench.path("out").join(name).exists(), "{name}");
    }
}

/// A publish without an outcome may have been executed; no other but those that were acked.
fn executed_what_was_acked(truth: &Value, report: &Value) {
    let executed = count(truth, "/publishes_executed");
    let (acked, unknown) = (
        count(report, "/publish/acked"),
        count(report, "/publish/unknown"),
    );
    assert!(
        (acked..=acked + unknown).contains(&executed),
        "{executed} executed, {acked} acked, {unknown} unknown"
    );
}

/// The event log is sorted, and a phase stands there at the time at which it began: the load
/// lasts as long as it lasts, and the faults are counted from its beginning.
fn in_order(bench: &Bench) {
    let events = fs::read_to_string(bench.path("out/events.jsonl")).unwrap();
    let events: Vec<Value> = (events.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let times: Vec<_> = events.iter().map(|e| e["at_s"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let began = |name: &str| {
        let phase = |e: &&Value| e["event"] == "phase" && e["name"] == name;
        let phase = events.iter().find(phase).unwrap();
        phase["at_s"].as_f64().unwrap()
    };
    let load = program::report_in(&bench.path("out"), "")["run"]["load_s"]
        .as_f64()
        .unwrap();
    let lasted = began("drain") - began("load");
    assert!((lasted - load).abs() < 0.005, "{lasted} s and not {load}");
    assert!(began("connect") < began("load") && began("drain") < began("settle"));
    let first = events.iter().find(|e| e["event"] == "chaos").unwrap();
    let first = first["at_s"].as_f64().unwrap() - began("load");
    assert!(
        (first - 0.5).abs() < 1e-6,
        "the first fault {first} s after the load began"
    );
}

#[test]
fn after_a_hub_restart_recovery_is_refused_once_and_clients_reconnect_and_rejoin() {
    let bench = Bench::new(&format!(
        "{CALM}chaos:\n  - {{kind: hub_restart, at: 1s}}\n"
    ));
    let (text, report) = bench.pass(&[]);
    for (path, wanted) in [
        ("/clients/recoveries", 0),
        ("/clients/recovery_failures", 12),
        ("/clients/reconnects", 12),
        ("/clients/rejoins", 12),
        // One refusal is enough: 1008 is final.
        ("/hub_truth/recoveries_refused/unknown_session", 12),
        ("/violations/lost", 0),
        ("/unknown/recovery_refused_early", 0),
    ] {
        assert_eq!(count(&report, path), wanted, "{path}: {text}");
    }
}

#[test]
fn a_planted_fault_is_found_with_its_name_and_its_count() {
    for (fault, kind) in [
        ("drop,at=2500ms,count=1", "lost"),
        ("duplicate_new_id,at=2500ms,count=1", "duplicated"),
        ("swap,at=2500ms,count=1", "reordered"),
    ] {
        // The hub's clock runs ahead of the load's. On a slow machine by a second, and each
        // publisher must have been heard before: what is lost first may be lost at its join.
        let bench = Bench::new(&CALM.replace("duration: 3s", "duration: 4s"));
        let output = bench.run(&["--hub-fault", fault]);
        assert_eq!(code(&output), 1, "{fault}: {}", text(&output));
        let report = bench.report(&output);
        for (name, n) in report["violations"].as_object().unwrap() {
            assert_eq!(n.as_u64(), Some(u64::from(name == kind)), "{fault}: {name}");
        }
        let incident = &report["incidents"][0];
        assert_eq!(incident["kind"], kind);
        let evidence = incident.to_string();
        for word in ["sequenceId", "connection"] {
            assert!(evidence.contains(word), "{fault}: no {word} in {evidence}");
        }
        // The saved result says the same, and the receiver's story has the incident.
        let again = bench
            .command(&["report", "out", "--no-color"])
            .output()
            .unwrap();
        assert_eq!((code(&again), again.stdout), (0, saved(&output.stdout)));
        let receiver = incident["receiver"].to_string();
        let story = bench
            .command(&["report", "out/report.json", "--client", &receiver])
            .output()
            .unwrap();
        let story = text(&story);
        let run = report["run"]["id"].as_str().unwrap();
        for word in [run, &kind.to_uppercase(), "phase load", "sequenceId"] {
            assert!(story.contains(word), "{fault}: no {word} in {story}");
        }
        let nobody = bench.command(&["report", "out", "--client", "12"]).output();
        let nobody = nobody.unwrap();
        assert_eq!(code(&nobody), 2);
        assert!(text(&nobody).contains("0 to 11"), "{}", text(&nobody));
    }
}

/// A summary as `report` prints it: the run is repeated from the saved scenario.
fn saved(summary: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(summary.to_vec()).unwrap();
    let at = text.find("hubstorm run ").unwrap();
    let end = at + text[at..].find('\n').unwrap();
    let again = "hubstorm run out/scenario.yaml --seed 11";
    format!("{}{again}{}", &text[..at], &text[end..]).into_bytes()
}

#[test]
fn one_seed_gives_one_plan_and_another_seed_another() {
    let plan = |scenario: &str| {
        let bench = Bench::new(scenario);
        let output = bench
            .command(&["check", "scenario.yaml", "--plan"])
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output));
        text(&output)
    };
    assert_eq!(plan(STORMY), plan(STORMY));
    assert_ne!(plan(STORMY), plan(&STORMY.replace("seed: 11", "seed: 12")));
}

#[test]
fn a_dead_target_ends_with_3_and_says_what_was_tried() {
    let bench = Bench::new(CALM);
    // A port that was free a moment ago and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let output = bench.run(&[
        "--target",
        &format!("http://127.0.0.1:{port}"),
        "--hub",
        "h",
    ]);
    assert_eq!(code(&output), 3, "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("refused") && said.contains("is the hub running there?"),
        "{said}"
    );
    assert_eq!(bench.report(&output)["exit_code"], 3);
    // A hub that is there and refuses is not asked for.
    let key = "a-key-of-32-bytes-0123456789-0123";
    let (_hub, url) = start_hub(&bench.path(""), &["--access-key", key]);
    let output = bench.run(&["--target", &url, "--hub", "h"]);
    assert_eq!(code(&output), 3, "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("401") && said.contains("--connection-string"),
        "{said}"
    );
    assert!(!said.contains("is the hub running"), "{said}");
}

#[test]
fn mistakes_end_with_2_before_anything_is_started() {
    let bench = Bench::new("hubstorm: 1\npools:\n  a: {clents: 3}\n");
    let output = bench.run(&[]);
    assert_eq!(code(&output), 2);
    assert!(
        text(&output).contains("scenario.yaml:3:7") && text(&output).contains("clients"),
        "{}",
        text(&output)
    );
    assert!(!bench.path("out").exists());
    for args in [
        &["run"][..],
        &["run", "scenario.yaml", "--nonsense"],
        &["run", "absent.yaml"],
        &["hub", "--fault", "drp"],
    ] {
        let output = bench.command(args).output().unwrap();
        assert_eq!(code(&output), 2, "{args:?}: {}", text(&output));
    }
    let calm = Bench::new(CALM);
    for (sources, says) in [
        ("192.0.2.7", "192.0.2.7 cannot be connected from"),
        (
            "lo,no-such-0",
            "\"no-such-0\" is neither an IP address nor an interface of this machine (lo",
        ),
    ] {
        let output = calm.run(&["--source-addresses", sources]);
        assert_eq!(code(&output), 2, "{}", text(&output));
        assert!(text(&output).contains(says), "{}", text(&output));
        assert!(!calm.path("out").exists());
    }
    let exposed = bench
        .command(&["hub", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(code(&exposed), 2);
    assert!(text(&exposed).contains("--expose"));
}

#[test]
fn a_hub_of_its_own_is_verified_and_gives_account() {
    let bench = Bench::new(STORMY);
    let key = "c4n4ry-key-0123456789-0123456789-0123456789";
    let (mut hub, url) = start_hub(
        &bench.path(""),
        &["--truth", "truth.json", "--access-key", key],
    );
    let connection = format!("Endpoint={url};AccessKey={key};Version=1.0;");
    let output = bench
        .command(&[
            "run",
            "scenario.yaml",
            "--out",
            "out",
            "--hub",
            "chat",
            "--promise",
            "reference",
            "--log",
            "trace",
        ])
        .env("WEBPUBSUB_CONNECTION_STRING", &connection)
        .output()
        .unwrap();
    let report = bench.report(&output);
    assert_passed(&output, &report);
    hub.signal("-INT");
    assert!(hub.0.wait().unwrap().success());
    let truth: Value =
        serde_json::from_slice(&fs::read(bench.path("truth.json")).unwrap()).unwrap();
    executed_what_was_acked(&truth, &report);
    // The key is nowhere: not in what was printed or logged, not in any file.
    assert!(!text(&output).contains("c4n4ry"));
    for entry in fs::read_dir(bench.path("out")).unwrap() {
        let path = entry.unwrap().path();
        let mut content = String::new();
        fs::File::open(&path)
            .unwrap()
            .read_to_string(&mut content)
            .unwrap();
        assert!(!content.contains("c4n4ry"), "{}", path.display());
        assert!(!content.contains("access_token="), "{}", path.display());
    }
}

/// What is lost is called so when the run is over. Until then it is overdue, and that shows.
#[test]
fn a_loss_shows_while_the_run_lasts() {
    let bench = Bench::new(&CALM.replace("pools:", "drain: 8s\npools:"));
    let (mut running, mut lines) = bench.narrated(&[
        "--hub-fault",
        "drop,at=1s,count=1",
        "--metrics",
        "127.0.0.1:0",
    ]);
    let addr = (lines.by_ref())
        .find_map(|line| Some(line.split_once("http://")?.1.split_once('/')?.0.to_owned()))
        .unwrap();
    assert!(lines.any(|line| line.ends_with(" overdue=1 violations=0")));
    let mut page = String::new();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.contains("\nhubstorm_overdue_deliveries 1\n"), "{page}");
    // Nobody knows yet how much is owed.
    assert!(!page.contains("hubstorm_delivery_pairs"), "{page}");
    lines.for_each(drop);
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
    let report = program::report_in(&bench.path("out"), "");
    let timeline = report["timeline"].as_array().unwrap();
    let last = timeline.last().unwrap();
    assert_eq!(
        (count(last, "/overdue"), count(last, "/violations")),
        (1, 1)
    );
    let page = fs::read_to_string(bench.path("out/metrics.prom")).unwrap();
    assert!(page.contains("\nhubstorm_overdue_deliveries 0\n"), "{page}");
    assert!(page.contains("hubstorm_delivery_pairs{"), "{page}");
}

/// A hub that is killed leaves books that look well: what nobody acked any more nobody owes.
/// One is never started again, the other comes back with room for half of the clients.
#[test]
fn a_hub_that_dies_in_mid_run_is_no_pass() {
    let scenario = CALM.replace("duration: 3s", "duration: 6s\ndrain: 1s");
    let start = |again: Option<&'static str>| {
        let bench = Bench::new(&scenario);
        let (hub, url) = start_hub(&bench.path(""), &[]);
        let mut command = bench.command(&["run", "scenario.yaml", "--out", "out", "--quiet"]);
        command.args(["--target", &url, "--hub", "chat"]);
        let run = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        (bench, hub, url, run, again)
    };
    // Both at once: most of the time goes into waiting for clients.
    let mut started = [start(None), start(Some("6"))];
    for (bench, hub, url, run, again) in &mut started {
        let loads = || {
            let events = fs::read_to_string(bench.path("out/events.jsonl"));
            events.is_ok_and(|events| events.contains("\"load\""))
        };
        while !loads() {
            assert!(run.0.try_wait().unwrap().is_none(), "over before its load");
            std::thread::sleep(Duration::from_millis(20));
        }
        hub.signal("-KILL");
        hub.0.wait().unwrap();
        if let Some(room) = again {
            let listen = url.trim_start_matches("http://");
            *hub = start_hub_at(&bench.path(""), listen, &["--max-connections", room]).0;
        }
    }
    for (bench, _hub, _, run, again) in &mut started {
        let mut text = String::new();
        let mut stdout = run.0.stdout.take().unwrap();
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(run.0.wait().unwrap().code(), Some(4), "{text}");
        assert!(text.starts_with("INCONCLUSIVE"), "{text}");
        let away = if again.is_some() { 6 } else { 12 };
        let reason = format!("{away} of 12 clients were away at the end and did not come back");
        assert!(text.contains(&reason), "{text}");
        let report = program::report_in(&bench.path("out"), &text);
        assert_eq!(count(&report, "/clients/away_at_end"), away);
    }
}

#[test]
fn an_interrupted_run_reports_what_it_has_seen() {
    let bench = Bench::new(&CALM.replace("duration: 3s", "duration: 1h"));
    let (mut running, mut lines) = bench.narrated(&[]);
    // The first progress line of the load is the sign that it runs.
    assert!(lines.any(|line| line.contains("phase=load")));
    running.signal("-INT");
    // Whoever sees nothing happen must know for how long.
    let said = "interrupted: draining up to 1m10s; press ctrl-C again to leave at once";
    assert!(lines.any(|line| line == said));
    lines.for_each(drop);
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
    let report = fs::read(bench.path("out/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["exit_code"], 130);
    assert!(count(&report, "/delivery/verified") > 0);
}

/// A run that is given up must not sit out a fault of ten minutes.
#[test]
fn a_run_that_a_threshold_ends_ends_its_faults_too() {
    let bench = Bench::new(
        "seed: 1\nduration: 20m\ndrain: 10s\npools:\n  a: {clients: 10, groups: {count: 1}, publish: {rate: 2/s}}\nchaos:\n  - {kind: blackout, at: 1s, share: 50%, for: 10m}\n  - {kind: handshake_hang, at: 1s, share: 20%, for: 10m}\n  - {kind: half_open, at: 1s, share: 20%, for: 10m}\n  - {kind: throttle, at: 1s, share: 20%, for: 10m, rate: 1KiB/s}\nthresholds:\n  - {that: clients.disconnects <= 0, abort: true, grace: 2s}\n",
    );
    let output = bench.run(&["--quiet"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let report = bench.report(&output);
    let lasted = report["run"]["duration_s"].as_f64().unwrap();
    assert!(lasted < 120.0, "{lasted} s\n{text}");
    assert_eq!(report["violations"]["lost"], 0, "{text}");
    assert_eq!(report["delivery"]["unverified"], 0, "{text}");
}

/// A group that outgrows the verifier's memory while the run goes on: a thousand receivers,
/// and publishers that come late.
const GROWING: &str = "
hubstorm: 1
name: growing
seed: 11
duration: 4s
drain: 10s
pools:
  readers: {clients: 900, groups: {names: [room], join: all}}
  early: {clients: 8, publish: {rate: 1/s, to: room}}
  late: {clients: 60, publish: {rate: 20/min, to: room, start: 2s}}
";

#[test]
fn a_run_over_the_memory_budget_says_what_it_does_not_verify_and_ends_with_4() {
    let bench = Bench::new(GROWING);
    let output = bench.run(&["--verify-memory", "1MiB"]);
    assert_eq!(code(&output), 4, "{}", text(&output));
    let report = bench.report(&output);
    assert_eq!(report["verdict"], "inconclusive");
    let reasons = report["reasons"].to_string();
    // How far it had to go depends on what was held when it looked, once a second.
    assert!(
        reasons.contains("memory budget of 1048576 bytes was passed"),
        "{reasons}"
    );
    let unverified = count(&report, "/delivery/unverified");
    assert!(unverified > 0 && count(&report, "/violations/lost") == 0);
    assert_eq!(
        count(&report, "/delivery/verified") + unverified,
        count(&report, "/delivery/expected")
    );
    assert_eq!(report["verifier"]["sampled"], false);
    // With room for it, the same run is verified whole.
    let output = bench
        .command(&["run", "scenario.yaml", "--out", "enough"])
        .output()
        .unwrap();
    let enough = program::report(&bench.path("enough"), &output);
    assert_eq!(
        count(&enough, "/delivery/unverified"),
        0,
        "{}",
        text(&output)
    );
}

/// In a closed loop the hub paces its clients: each message follows the answer to the one
/// before and a pause. An open loop would send at its own pace, and hide behind that name.
#[test]
fn a_closed_loop_waits_for_each_ack_and_is_called_so() {
    let bench = Bench::new(
        "seed: 1\nduration: 4s\npools:\n  a: {clients: 3, groups: {count: 1}, publish: {next: after_ack, pause: 100ms}}\n",
    );
    let (text, report) = bench.pass(&["--hub-fault", "delay_ack,every=1,for=300ms"]);
    assert_eq!(report["run"]["load"], "closed", "{text}");
    let attempted = report["publish"]["attempted"].as_u64().unwrap();
    // Each takes 400 ms or more: at most ten and the first, of three clients.
    assert!((3..=33).contains(&attempted), "{attempted}\n{text}");
    assert_eq!(report["publish"]["acked"], attempted, "{text}");
}
