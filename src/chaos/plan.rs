//! The chaos plan: which fault hits which clients at which time.
//!
//! A pure function of the seed and the scenario: no clock, no I/O, and each entry draws from
//! a stream of its own, so that an entry added at the end, or one that names its stream,
//! never moves the others. Bounds are checked where scenarios are read ([`crate::scenario::HITS_MAX`]).

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};

use crate::base::Slot;
use crate::scenario::{ChaosEntry, ChaosKind, Effect, Scenario, Share};

/// Steps of a rolling wave; more clients than that are hit in groups.
const ROLL_STEPS_MAX: usize = 100;

/// Every fault of a run, in order of time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Sorted by `at`, then by `entry`.
    pub injections: Vec<Injection>,
    /// Names the plan: 32 hexadecimal digits, equal for equal plans.
    pub hash: String,
}

/// One fault at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Injection {
    /// When, from the start of the load.
    pub at: Duration,
    /// Which entry of the scenario's chaos list it comes from.
    pub entry: usize,
    /// What happens.
    pub kind: ChaosKind,
    /// To whom, ascending, each once; empty for `hub_restart`.
    pub slots: Vec<Slot>,
    /// How long it lasts, for kinds that last.
    pub lasts: Option<Duration>,
    /// For `flap`: when each drop comes, from `at`, ascending, the first at once. Empty for
    /// other kinds.
    pub drops: Vec<Duration>,
    /// How much, for kinds that have a measure.
    pub effect: Effect,
}

/// Lays out every fault of a scenario.
pub fn plan(scenario: &Scenario) -> Plan {
    let mut injections = Vec::new();
    for (entry, fault) in scenario.chaos.iter().enumerate() {
        let mut rng = scenario.seed.stream("chaos", u64::from(fault.stream));
        let candidates = scenario.candidates(fault);
        for at in fault.timing.times() {
            let whole = inject(at, entry, fault, &candidates, &mut rng);
            roll(whole, fault.rolling, &mut injections);
        }
    }
    // A wave that rolls on beyond the load ends with it.
    injections.retain(|injection| injection.at < scenario.duration);
    injections.sort_by_key(|injection| (injection.at, injection.entry));
    let hash = hash(&injections);
    Plan { injections, hash }
}

/// Spreads an injection over time, its clients in slot order.
fn roll(whole: Injection, over: Duration, out: &mut Vec<Injection>) {
    let steps = whole.slots.len().min(ROLL_STEPS_MAX);
    if over.is_zero() || steps < 2 {
        return out.push(whole);
    }
    for (nth, slots) in (0u32..).zip(whole.slots.chunks(whole.slots.len().div_ceil(steps))) {
        out.push(Injection {
            // At most ROLL_STEPS_MAX.
            at: whole.at + over * nth / steps as u32,
            slots: slots.to_vec(),
            drops: whole.drops.clone(),
            ..whole
        });
    }
}

fn inject(
    at: Duration,
    entry: usize,
    fault: &ChaosEntry,
    candidates: &[Range<u32>],
    rng: &mut ChaCha8Rng,
) -> Injection {
    Injection {
        at,
        entry,
        kind: fault.kind,
        slots: choose(fault, candidates, rng),
        lasts: fault.lasts,
        drops: match fault.kind {
            ChaosKind::Flap => drops(rng),
            _ => Vec::new(),
        },
        effect: fault.effect,
    }
}

/// Draws the clients that one injection hits: each set of the right size equally likely
/// (Floyd's sampling: time and memory by the number chosen, not by the number of clients).
fn choose(fault: &ChaosEntry, candidates: &[Range<u32>], rng: &mut ChaCha8Rng) -> Vec<Slot> {
    let all: u32 = candidates.iter().map(|range| range.end - range.start).sum();
    if all == 0 {
        return Vec::new();
    }
    if let Share::Zones(zones) = fault.share {
        let zone = u64::from(below(rng, zones));
        let cut = |zone: u64| (u64::from(all) * zone / u64::from(zones)) as u32;
        let members = cut(zone)..cut(zone + 1);
        return members.map(|nth| slot(candidates, nth)).collect();
    }
    let wanted = fault.share.of(all);
    let mut chosen = FxHashSet::default();
    for last in all - wanted..all {
        let drawn = below(rng, last + 1);
        if !chosen.insert(drawn) {
            chosen.insert(last);
        }
    }
    let mut slots: Vec<Slot> = chosen
        .into_iter()
        .map(|nth| slot(candidates, nth))
        .collect();
    slots.sort_unstable();
    slots
}

/// A number below `end` (above 0), as even as 64 bits allow. Spelt out here because a saved
/// seed must give the same plan whatever a later `rand` does.
fn below(rng: &mut ChaCha8Rng, end: u32) -> u32 {
    // The high half of a 64 x 32 bit product is below `end`.
    ((u128::from(rng.random::<u64>()) * u128::from(end)) >> 64) as u32
}

/// The slot at place `nth` of the candidates, counted over all ranges.
fn slot(candidates: &[Range<u32>], mut nth: u32) -> Slot {
    for range in candidates {
        let length = range.end - range.start;
        if nth < length {
            return Slot(range.start + nth);
        }
        nth -= length;
    }
    unreachable!("drawn below the sum of the ranges' lengths")
}

/// Three to five drops: some a few milliseconds after the last, so that they hit the
/// recovery, the others far enough apart that it may finish.
fn drops(rng: &mut ChaCha8Rng) -> Vec<Duration> {
    let count = 3 + below(rng, 3);
    let mut at = Duration::ZERO;
    let mut drops = vec![at];
    for nth in 1..count {
        // The second is always close, so that no flap spares the recovery.
        let close = nth == 1 || below(rng, 2) == 0;
        let gap_ms = if close {
            1 + below(rng, 40)
        } else {
            300 + below(rng, 600)
        };
        at += Duration::from_millis(u64::from(gap_ms));
        drops.push(at);
    }
    drops
}

/// Digests every field in a fixed order.
fn hash(injections: &[Injection]) -> String {
    let mut digest = Sha256::new();
    let mut line = String::new();
    for injection in injections {
        line.clear();
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "{} {} {} {:?}",
            injection.at.as_nanos(),
            injection.entry,
            injection.kind.name(),
            injection.lasts.map(|lasts| lasts.as_nanos()),
        );
        // Absent from kinds without, so that old plans keep their names.
        if injection.effect != Effect::Plain {
            let _ = write!(line, " {:?}", injection.effect);
        }
        for drop in &injection.drops {
            let _ = write!(line, " +{}", drop.as_nanos());
        }
        for slot in &injection.slots {
            let _ = write!(line, " {slot}");
        }
        line.push('\n');
        digest.update(line.as_bytes());
    }
    let mut hex = String::new();
    for byte in &digest.finalize()[..16] {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, parse};

    fn scenario(seed: u64, chaos: &str) -> Scenario {
        let text = format!(
            "seed: {seed}\nduration: 20s\npools:\n  a: {{clients: 100}}\n  b: {{clients: 50, protocol: json}}\nchaos:\n{chaos}"
        );
        parse(&text, "plan.yaml", &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn planned(seed: u64, chaos: &str) -> Plan {
        plan(&scenario(seed, chaos))
    }

    const RESETS: &str = "  - {kind: reset, pool: a, start: 5s, every: 2s, share: 10%}\n";
    const STALL: &str = "  - {kind: stall, at: 7s, count: 3, for: 1s}\n";

    #[test]
    fn the_same_seed_gives_the_same_plan_for_ever() {
        let plan = planned(7, &format!("{RESETS}{STALL}"));
        assert_eq!(plan, planned(7, &format!("{RESETS}{STALL}")));
        assert_ne!(plan.hash, planned(8, &format!("{RESETS}{STALL}")).hash);
        // A golden value: a saved seed must give the same faults in every later version.
        assert_eq!(plan.hash, "8a2f3e392db17a4cbbacf539e1172547");
    }

    #[test]
    fn an_entry_added_does_not_move_the_others() {
        let alone = planned(7, RESETS);
        let both = planned(7, &format!("{RESETS}{STALL}"));
        let resets = both.injections.into_iter().filter(|one| one.entry == 0);
        assert_eq!(resets.collect::<Vec<_>>(), alone.injections);
    }

    #[test]
    fn injections_come_in_order_with_the_right_clients() {
        let plan = planned(7, &format!("{RESETS}{STALL}"));
        let times = plan.injections.iter().map(|one| one.at.as_secs());
        assert_eq!(times.collect::<Vec<_>>(), [5, 7, 7, 9, 11, 13, 15, 17, 19]);
        for injection in &plan.injections {
            assert!(injection.slots.is_sorted_by(|a, b| a < b));
            assert!(injection.drops.is_empty());
            match injection.kind {
                ChaosKind::Reset => {
                    assert_eq!(injection.slots.len(), 10);
                    assert!(injection.slots.iter().all(|slot| slot.0 < 100));
                    assert_eq!(injection.lasts, None);
                }
                _ => {
                    assert_eq!(injection.slots.len(), 3);
                    assert_eq!(injection.lasts, Some(Duration::from_secs(1)));
                }
            }
        }
        assert_ne!(plan.injections[0].slots, plan.injections[3].slots);
    }

    #[test]
    fn every_client_is_hit_sooner_or_later() {
        // A draw that spares some clients would leave them untested in every run.
        let plan = planned(3, "  - {kind: drop, every: 10ms, count: 2}\n");
        let mut hits = [0; 150];
        for slot in plan.injections.iter().flat_map(|one| &one.slots) {
            hits[slot.index()] += 1;
        }
        // 4,000 hits over 150 clients: 27 each, deviation 5.
        assert!(hits.iter().all(|n| (5..60).contains(n)), "{hits:?}");
    }

    #[test]
    fn a_storm_takes_its_share_of_all_clients_and_a_restart_names_none() {
        let plan = planned(
            1,
            "  - {kind: storm, at: 1s, share: 100%}\n  - {kind: hub_restart, at: 2s}\n",
        );
        assert_eq!(plan.injections[0].slots.len(), 150);
        assert!(plan.injections[1].slots.is_empty());
    }

    #[test]
    fn only_clients_that_send_sequence_acks_withhold_them() {
        let plan = planned(
            1,
            "  - {kind: no_sequence_ack, at: 1s, share: 100%, for: 1s}\n",
        );
        assert_eq!(plan.injections[0].slots.len(), 100);
    }

    #[test]
    fn a_flap_drops_again_inside_the_recovery() {
        let plan = planned(1, "  - {kind: flap, every: 100ms, share: 1%}\n");
        for injection in &plan.injections {
            let drops = &injection.drops;
            assert!((3..=5).contains(&drops.len()), "{drops:?}");
            assert_eq!(drops[0], Duration::ZERO);
            assert!(drops.is_sorted_by(|a, b| a < b));
            assert!(drops[1] <= Duration::from_millis(40), "{drops:?}");
            assert!(drops[drops.len() - 1] < Duration::from_secs(4));
        }
    }

    #[test]
    fn a_zone_stands_together_and_every_zone_has_its_turn() {
        let plan = planned(5, "  - {kind: reset, every: 1s, zones: 5}\n");
        let mut first = std::collections::BTreeSet::new();
        for injection in &plan.injections {
            let slots: Vec<u32> = injection.slots.iter().map(|slot| slot.0).collect();
            assert_eq!(slots.len(), 30);
            assert!(slots.windows(2).all(|pair| pair[1] == pair[0] + 1));
            first.insert(slots[0]);
        }
        assert!(first.len() >= 4, "{first:?}");
        assert!(first.iter().all(|slot| slot % 30 == 0));
    }

    #[test]
    fn a_wave_rolls_over_all_its_clients_in_its_time() {
        let plan = planned(
            5,
            "  - {kind: drop, pool: b, at: 2s, share: 100%, rolling: 10s}\n",
        );
        assert_eq!(plan.injections.len(), 50);
        let slots = plan.injections.iter().flat_map(|one| &one.slots);
        assert_eq!(
            slots.map(|slot| slot.0).collect::<Vec<_>>(),
            (100..150).collect::<Vec<_>>()
        );
        assert_eq!(plan.injections[25].at, Duration::from_secs(7));
        let beyond = planned(
            5,
            "  - {kind: drop, start: 8s, every: 10s, share: 100%, rolling: 10s}\n",
        );
        assert!(
            beyond
                .injections
                .iter()
                .all(|one| one.at < Duration::from_secs(20))
        );
    }
}
