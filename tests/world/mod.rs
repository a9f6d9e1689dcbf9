//! The client's session against the hub's core on a virtual clock: lines that delay, cut and
//! black out at random, a hub that forgets everything, and what must hold all the same.
//!
//! Compiled into the crate's unit tests (`src/lib.rs`), because both sides are private. A
//! seed that fails prints itself; put it into [`seeds_that_failed_once_stay_right`]. Read
//! `net` for the lines and `check` for the invariants.

mod check;
mod net;

use crate::base::Seed;
use crate::protocol::Behaviour;
use net::World;

/// Runs one world to its end and checks it; `Err` says what is broken.
fn run(seed: u64, behaviour: Behaviour, restarts: bool) -> Result<check::Totals, String> {
    let mut world = World::new(Seed(seed), behaviour, restarts);
    world.run()?;
    check::all(&world)
}

fn run_many(seeds: std::ops::Range<u64>, behaviour: Behaviour, restarts: bool) {
    let mut totals = check::Totals::default();
    for seed in seeds {
        match run(seed, behaviour, restarts) {
            Ok(one) => totals.add(one),
            Err(broken) => panic!("seed {seed} {behaviour:?} restarts={restarts}: {broken}"),
        }
    }
    // A world in which nothing goes wrong would prove nothing.
    assert!(totals.recovered > 100, "{totals:?}");
    assert!(totals.lost_sessions > 100, "{totals:?}");
    assert!(totals.resent > 100, "{totals:?}");
    assert!(totals.delivered > 10_000, "{totals:?}");
}

#[test]
fn nothing_is_lost_or_doubled_while_sessions_live_and_every_request_ends() {
    run_many(0..2000, Behaviour::Spec, false);
}

#[test]
fn the_same_with_a_hub_that_forgets_everything_now_and_then() {
    run_many(2000..3000, Behaviour::Spec, true);
}

#[test]
fn clients_with_the_habits_of_java_keep_the_promises_too() {
    // Java is the one official client that keeps its ackIds.
    run_many(3000..3500, Behaviour::Java, false);
}

#[test]
fn seeds_that_failed_once_stay_right() {
    for (seed, behaviour, restarts) in FAILED_ONCE {
        if let Err(broken) = run(*seed, *behaviour, *restarts) {
            panic!("seed {seed}: {broken}");
        }
    }
}

/// Seeds that showed a mistake, in the hub, the session or this model.
const FAILED_ONCE: &[(u64, Behaviour, bool)] = &[(0, Behaviour::Spec, false)];
