//! What is measured and not judged, end to end: the real program against the embedded hub,
//! which swaps messages of different publishers or does not.

#[allow(
    dead_code,
    reason = "each of the test programs that run it uses a part of it"
)]
mod program;

use program::Bench;
use serde_json::Value;

/// Six members of two groups, who all publish to both.
const SCENARIO: &str = "
hubstorm: 1
name: measured
seed: 7
duration: 2s
drain: 10s
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

#[test]
fn a_hub_that_swaps_publishers_shows_and_one_that_does_not_shows_nothing() {
    let (text, honest) = Bench::new(SCENARIO).pass(&[]);
    let n = |report: &Value, key: &str| report["measured"][key].as_u64().unwrap();
    assert!(n(&honest, "pairs_compared") > 1000, "{text}");
    assert!(n(&honest, "publisher_pairs_compared") > 1000, "{text}");
    assert_eq!(n(&honest, "inversions"), 0, "{text}");
    assert_eq!(n(&honest, "publisher_inversions"), 0, "{text}");
    assert!(!text.contains("sampled pairs"), "{text}");
    let (text, swapped) = Bench::new(SCENARIO).pass(&["--hub-fault", "swap_publishers,every=20"]);
    let told = swapped["hub_truth"]["faults"]["swap_publishers"].as_u64();
    assert!(told > Some(0), "{text}");
    assert!(n(&swapped, "inversions") > 0, "{text}");
    assert!(text.contains("sampled pairs in another order"), "{text}");
    // Nobody promises that order: the run passed, and everything is verified.
    assert_eq!(swapped["verifier"]["sampled"], false);
}
