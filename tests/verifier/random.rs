//! Random runs of the model: an honest hub is never accused, and the streaming verdict is
//! the oracle's, counter by counter. `HUBSTORM_SEEDS=first..last` runs other seeds.

use hubstorm::verify::{Delivery, Measured, Promise, Verification, Violation};

use crate::model::{Config, FAULTS, Fault, Model};
use crate::oracle::{self, Verdict};

/// The variable that names other seeds.
pub(crate) const SEEDS: &str = "HUBSTORM_SEEDS";

pub(crate) fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var(SEEDS) else {
        return default;
    };
    let (first, last) = text.split_once("..").expect("HUBSTORM_SEEDS=first..last");
    first.parse().unwrap()..last.parse().unwrap()
}

pub(crate) fn run(config: &Config) -> (Verification, Verdict, Model, u64) {
    let mut model = Model::new(config.clone());
    let (found, missing) = model.run();
    let expected = oracle::judge(&model.tap.history, config.promise);
    (found, expected, model, missing)
}

fn differences(found: &Verification, expected: &Verdict) -> Vec<String> {
    let mut wrong = Vec::new();
    if found.violations != expected.violations {
        wrong.push(format!(
            "violations {:?}, oracle {:?}",
            found.violations, expected.violations
        ));
    }
    if found.permitted != expected.permitted {
        wrong.push(format!(
            "permitted {:?}, oracle {:?}",
            found.permitted, expected.permitted
        ));
    }
    if found.unknown != expected.unknown {
        wrong.push(format!(
            "unknown {:?}, oracle {:?}",
            found.unknown, expected.unknown
        ));
    }
    if found.delivery != expected.delivery {
        wrong.push(format!(
            "delivery {:?}, oracle {:?}",
            found.delivery, expected.delivery
        ));
    }
    if found.measured != expected.measured {
        wrong.push(format!(
            "measured {:?}, oracle {:?}",
            found.measured, expected.measured
        ));
    }
    let (mut by_pool, mut by_group) = (Delivery::default(), Delivery::default());
    found.pools.iter().for_each(|pool| by_pool.merge(pool));
    let groups = found.groups.iter().map(|group| &group.delivery);
    groups.for_each(|group| by_group.merge(group));
    if by_pool != found.delivery || by_group != found.delivery || !by_pool.balances() {
        wrong.push(format!("pools {by_pool:?}, groups {by_group:?}"));
    }
    for (pool, permitted) in found.pools.iter().zip(&found.pool_permitted) {
        if permitted.total() != pool.permitted {
            wrong.push(format!("{permitted:?} of a pool with {pool:?}"));
        }
    }
    for (kind, n) in found.permitted.iter() {
        let by_pool: u64 = found.pool_permitted.iter().map(|pool| pool.get(kind)).sum();
        if by_pool > 0 && by_pool != n {
            wrong.push(format!("{kind:?}: {n}, by pool {by_pool}"));
        }
    }
    for sent in found.groups.iter().map(|group| &group.publish) {
        let settled = sent.acked + sent.failed + sent.unknown + sent.unacked;
        if sent.attempted != settled || sent.outstanding != 0 {
            wrong.push(format!("publishes {sent:?}"));
        }
    }
    if found.verifier.self_check != "ok" {
        wrong.push(format!("self-check: {}", found.verifier.self_check));
    }
    wrong
}

#[test]
fn an_honest_hub_is_never_accused_and_the_oracle_agrees() {
    let mut owed = 0;
    let mut measured = Measured::default();
    for seed in seeds(0..100) {
        for promise in [Promise::Reference, Promise::Published] {
            let config = Config::random(seed, promise, None);
            let (found, expected, model, missing) = run(&config);
            let mut wrong = differences(&found, &expected);
            // Known limit of `reference`: when the only error answers of a run are all lost
            // in drops, an execution that ended in one of them looks like an ackId executed
            // twice. `published` says unknown then.
            let reference = promise == Promise::Reference;
            let unseen = reference && config.errors && !model.tap.history.saw_error;
            let excused = match unseen {
                true => found.violations.get(Violation::DedupeBroken),
                false => 0,
            };
            if found.violations.total() > excused {
                wrong.push(format!(
                    "accused: {:?} {:#?}",
                    found.violations, found.incidents
                ));
            }
            if missing > 0 && promise == Promise::Reference {
                wrong.push(format!("{missing} thought missing at the end"));
            }
            assert!(
                wrong.is_empty(),
                "seed {seed}: {config:?}\n{}",
                wrong.join("\n")
            );
            owed += found.delivery.expected;
            measured.merge(&found.measured);
        }
    }
    assert!(
        owed > 10_000 || std::env::var(SEEDS).is_ok(),
        "hardly anything was owed: {owed}"
    );
    // What was compared with the oracle was there to be compared.
    assert!(
        measured.inversions > 0
            && measured.publisher_pairs_compared > 1000
            && measured.windows > 300
            && measured.late > 0
            && measured.unknown_to_all > 0
            && measured.unknown_to_none > 0
            && measured.unacked_to_some > 0
            || std::env::var(SEEDS).is_ok(),
        "hardly anything was measured: {measured:?}"
    );
}

#[test]
fn a_lying_hub_is_found_as_the_oracle_finds_it() {
    let mut measured = Measured::default();
    for fault in FAULTS {
        let mut lies = 0;
        let mut named = 0;
        for seed in seeds(0..12) {
            for promise in [Promise::Reference, Promise::Published] {
                let config = Config::random(seed, promise, Some(fault));
                let (found, expected, model, _) = run(&config);
                let wrong = differences(&found, &expected);
                assert!(
                    wrong.is_empty(),
                    "seed {seed}: {config:?}\n{}",
                    wrong.join("\n")
                );
                lies += model.lies;
                named += found.violations.total();
                measured.merge(&found.measured);
                if promise == Promise::Published
                    && matches!(fault, Fault::SkipId | Fault::ForgetAckIds)
                {
                    named += found.unknown.total();
                }
            }
        }
        if std::env::var(SEEDS).is_ok() {
            continue;
        }
        assert!(lies > 0, "{fault:?} was never committed");
        assert!(
            named > 0,
            "{fault:?} was committed {lies} times and never named"
        );
    }
    assert!(
        measured.publisher_inversions > 0 || std::env::var(SEEDS).is_ok(),
        "a swap across groups was never measured: {measured:?}"
    );
}

#[test]
fn memory_is_flat_under_drops_retries_failures_joins_and_leaves() {
    for promise in [Promise::Reference, Promise::Published] {
        let config = Config {
            // Half an hour; times are remembered for two minutes. What chance makes of it is
            // a few per cent.
            load: 1_800_000_000,
            late: false,
            drops: 5_000_000,
            errors: true,
            slots: 6,
            groups: 2,
            ..Config::random(11, promise, None)
        };
        let mut model = Model::new(config);
        let (found, _) = model.run();
        assert_eq!(found.violations.get(Violation::Lost), 0);
        let mean = |of: &[u64]| of.iter().sum::<u64>() / of.len() as u64;
        let (n, all) = (model.bytes.len(), &model.bytes);
        let (early, late) = (mean(&all[n / 6..n / 2]), mean(&all[n * 2 / 3..]));
        assert!(
            late <= early + early / 12,
            "{promise:?}: {early} bytes on average, then {late} of {n}: {:?}",
            all.chunks(12).map(mean).collect::<Vec<_>>()
        );
    }
}
