//! Mode `digest` against the oracle on random runs of the model, and its memory.

use std::time::Duration;

use hubstorm::verify::kinds::Kind;
use hubstorm::verify::{Mode, Plan, Promise, Tally, Verification, Violation};

use crate::model::{Config, FAULTS, Fault, Model};
use crate::oracle::Verdict;
use crate::random::{SEEDS, run, seeds};
use crate::world::{Expect, G, PROMISES, World, plan};

/// Against the oracle on random runs: what both can say is equal, and what the digest
/// leaves open it calls unverified.
#[track_caller]
fn agrees(found: &Verification, expected: &Verdict, what: &str) {
    let (d, o) = (&found.delivery, &expected.delivery);
    assert_eq!(found.verifier.self_check, "ok", "{what}");
    assert!(d.balances(), "{what}: {d:?}");
    assert_eq!(d.addressed, o.addressed, "{what}");
    assert_eq!(d.outside, o.outside, "{what}: {d:?} {o:?}");
    // Nothing overtakes in a digest, so a loss before a leave that was not surely acked before
    // it is an edge.
    let proven = d.edge.checked_sub(o.edge);
    assert!(
        proven.is_some_and(|more| more <= o.lost + o.unknown),
        "{what}: {d:?} {o:?}"
    );
    assert_eq!(d.not_owed, o.not_owed, "{what}: {d:?} {o:?}");
    assert!(d.lost <= o.lost, "{what}: {d:?} {o:?}");
    assert!(d.delivered <= o.delivered, "{what}: {d:?} {o:?}");
    assert!(
        d.delivered + d.unverified >= o.delivered,
        "{what}: {d:?} {o:?}"
    );
    for (kind, n) in found.violations.iter() {
        let of_oracle = expected.violations.get(kind);
        match kind {
            // Counted under whatever kind the oracle has for them; pairs are compared above.
            Violation::Lost | Violation::LostAtJoin | Violation::LostAtLeave => {}
            Violation::SequenceGap => assert!(n <= of_oracle, "{what}: {n} {}", kind_name(kind)),
            Violation::Duplicated | Violation::RecoveryBroken => {
                assert!(n <= of_oracle, "{what}: {n} {}", kind_name(kind));
            }
            Violation::AckLie | Violation::Reordered | Violation::Stalled => {
                assert_eq!(n, 0, "{what}: {}", kind_name(kind));
            }
            _ => assert_eq!(n, of_oracle, "{what}: {}", kind_name(kind)),
        }
    }
}

fn kind_name(kind: Violation) -> &'static str {
    kind.name()
}

#[test]
fn an_honest_hub_is_never_accused_by_a_digest() {
    let (mut verified, mut owed) = (0, 0);
    for seed in seeds(0..60) {
        for promise in PROMISES {
            let config = Config {
                mode: Mode::Digest,
                ..Config::random(seed, promise, None)
            };
            let (found, expected, model, missing) = run(&config);
            let what = format!("seed {seed}: {config:?} {:#?}", found.incidents);
            agrees(&found, &expected, &what);
            let unseen = config.errors && !model.tap.history.saw_error;
            let excused = match unseen {
                true => found.violations.get(Violation::DedupeBroken),
                false => 0,
            };
            assert!(
                found.violations.total() <= excused,
                "{what} {:?}",
                found.violations
            );
            if promise == Promise::Reference {
                assert_eq!(missing, 0, "{what}");
            }
            verified += found.delivery.verified;
            owed += found.delivery.expected;
        }
    }
    println!("{verified} of {owed} pairs verified");
    // Nearly all that is not are pairs of sessions that ended unrecovered.
    assert!(
        verified * 2 > owed || std::env::var(SEEDS).is_ok(),
        "{verified} of {owed}"
    );
}

#[test]
fn a_lying_hub_is_seen_by_a_digest() {
    for fault in FAULTS {
        let (mut lies, mut named) = (0, 0);
        for seed in seeds(0..12) {
            for promise in PROMISES {
                let config = Config {
                    mode: Mode::Digest,
                    ..Config::random(seed, promise, Some(fault))
                };
                let (found, expected, model, _) = run(&config);
                let what = format!("seed {seed}: {config:?}");
                if fault == Fault::LoseAck {
                    // Of pairs whose join or publish waits long for its answer a digest puts
                    // a few at the edge that the oracle has in a gap; the answers are exact.
                    let of = |tally: &Tally<Violation>| tally.get(Violation::AckMissing);
                    assert_eq!(of(&found.violations), of(&expected.violations), "{what}");
                } else {
                    agrees(&found, &expected, &what);
                }
                lies += model.lies;
                named += found.violations.total();
                if matches!(fault, Fault::SkipId | Fault::ForgetAckIds) {
                    named += found.unknown.total();
                }
            }
        }
        println!("{fault:?}: {lies} lies, {named} seen");
        if std::env::var(SEEDS).is_ok() {
            continue;
        }
        assert!(lies > 0, "{fault:?} was never committed");
        // Order is what a digest does not see.
        let seen = named > 0 || fault == Fault::Swap;
        assert!(seen, "{fault:?}: {lies} times, and never seen");
    }
}

#[test]
fn memory_is_flat_under_drops_retries_failures_joins_and_leaves_in_digest() {
    let config = Config {
        load: 1_200_000_000,
        late: false,
        drops: 5_000_000,
        errors: true,
        slots: 6,
        groups: 2,
        mode: Mode::Digest,
        ..Config::random(11, Promise::Published, None)
    };
    let mut model = Model::new(config);
    let (found, _) = model.run();
    assert_eq!(found.violations.total(), 0);
    let mean = |of: &[u64]| of.iter().sum::<u64>() / of.len() as u64;
    let (n, all) = (model.bytes.len(), &model.bytes);
    let (early, late) = (mean(&all[n / 6..n / 2]), mean(&all[n * 2 / 3..]));
    assert!(
        late <= early + early / 12,
        "{early} bytes on average, then {late}"
    );
}

/// The figures of docs/verification.md. Prints them: `--nocapture`.
#[test]
fn ten_thousand_receivers_of_ten_thousand_publishers_fit() {
    let slots = 10_000_u32;
    let mut world = World::new(Plan {
        mode: Mode::Digest,
        ..plan(Promise::Reference, slots as usize, 1)
    });
    for slot in 0..slots {
        world.connect(slot);
        world.join(slot, G);
    }
    world.facts();
    // Everybody publishes. A delivery takes a debug build some microseconds, so that only
    // each 500th message is owed to all; nobody asked for an answer to the others.
    let mut owed = Vec::new();
    for publisher in 0..slots {
        match publisher % 500 {
            0 => owed.push(world.publish(publisher)),
            _ => _ = world.shout(publisher, G),
        }
    }
    for sent in &owed[..10] {
        (0..slots).for_each(|receiver| _ = world.deliver(sent, receiver));
    }
    world.facts();
    // A minute and more, until as much is forgotten as is added.
    for sent in &owed[10..] {
        (0..slots).for_each(|receiver| _ = world.deliver(sent, receiver));
    }
    for _ in 0..10 {
        let sent = world.publish(0);
        (0..slots).for_each(|receiver| _ = world.deliver(&sent, receiver));
        world.wait(Duration::from_secs(8));
    }
    let now = world.time();
    let held: u64 = world.shards.iter().map(|s| s.progress(now).bytes).sum();
    let v = world.finish();
    Expect::default()
        .permitted(
            hubstorm::verify::Permitted::FireAndForget,
            u64::from(slots) * u64::from(slots - 20),
        )
        .of(&v);
    assert_eq!(v.delivery.delivered, 30 * u64::from(slots));
    assert_eq!(v.delivery.unverified, 0);
    let pairs = u64::from(slots) * u64::from(slots);
    println!(
        "{pairs} pairs by digest: {:.1} MB at most, {:.1} MB after a minute and more; a table of them takes {:.0} MB at 4 1/8 bytes a pair",
        v.verifier.bytes as f64 / 1e6,
        held as f64 / 1e6,
        pairs as f64 * 4.125 / 1e6
    );
    assert!(v.verifier.bytes < 64 << 20, "{} bytes", v.verifier.bytes);
}
