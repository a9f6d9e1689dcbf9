//! What is measured and not judged, end to end: the real program against the embedded hub,
//! which swaps messages of different publishers or does not.

use std::fs;
use std::process::Command;

use serde_json::Value;

/// Six members of two groups, who all publish to both.
const SCENARIO: &str = "
hubstorm: 1
name: measured
seed: 7
duration: 2s
drain: 5s
pools:
  talkers:
    clients: 6
    groups: {count: 2, join: all}
    publish: {rate: 40/s, payload: {type: json, size: 128B}}
thresholds:
  - measured.pairs_compared > 1000
  - measured.inversions <= 50%
  - measured.late <= 100%
";

fn run(args: &[&str]) -> (String, Value) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("s.yaml"), SCENARIO).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hubstorm"))
        .current_dir(dir.path())
        .env_remove("WEBPUBSUB_CONNECTION_STRING")
        .args(["run", "s.yaml", "--out", "out", "--quiet"])
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report = fs::read(dir.path().join("out/report.json")).unwrap();
    (text, serde_json::from_slice(&report).unwrap())
}

#[test]
fn a_hub_that_swaps_publishers_shows_and_one_that_does_not_shows_nothing() {
    let (text, honest) = run(&[]);
    let n = |report: &Value, key: &str| report["measured"][key].as_u64().unwrap();
    assert!(n(&honest, "pairs_compared") > 1000, "{text}");
    assert!(n(&honest, "publisher_pairs_compared") > 1000, "{text}");
    assert_eq!(n(&honest, "inversions"), 0, "{text}");
    assert_eq!(n(&honest, "publisher_inversions"), 0, "{text}");
    assert!(!text.contains("sampled pairs"), "{text}");
    let (text, swapped) = run(&["--hub-fault", "swap_publishers,every=20"]);
    let told = swapped["hub_truth"]["faults"]["swap_publishers"].as_u64();
    assert!(told > Some(0), "{text}");
    assert!(n(&swapped, "inversions") > 0, "{text}");
    assert!(text.contains("sampled pairs in another order"), "{text}");
    // Nobody promises that order: no violation, and everything is verified.
    assert_eq!(swapped["verdict"], "pass", "{text}");
    assert_eq!(swapped["verifier"]["sampled"], false);
}
