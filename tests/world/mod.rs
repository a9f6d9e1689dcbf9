//! The client's session against the hub's core on a virtual clock: lines that delay, break,
//! lose frames one way or both and go dark at random, programs that stop and start, a hub
//! that forgets everything, and what must hold all the same. In scripted worlds the line
//! breaks at every single frame in turn.
//!
//! Compiled into the crate's unit tests (`src/lib.rs`), because both sides are private. A
//! case that fails prints itself; put it into `FAILED_ONCE`. `HUBSTORM_WORLDS=N` runs N
//! seeds for each behaviour instead of the default. Read `net` for the events, `lines` and
//! `hub` for what lines do, `app` for what programs do, `check` for the invariants.

mod app;
mod check;
mod hub;
mod lines;
mod net;

use crate::hub::faults::FaultSpec;
use crate::protocol::{Behaviour, SessionConfig};
use crate::wire::Subprotocol;
use check::Totals;
use lines::{Cuts, Point, Way};
use net::World;

/// Seeds for each behaviour when nobody asks for more.
const WORLDS: u64 = 1000;

/// Everything that makes one world different from another.
#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    behaviour: Behaviour,
    subprotocol: Subprotocol,
    /// The hub forgets everything once.
    restarts: bool,
}

impl Case {
    /// What the seed says about the rest: reliable subprotocols mostly, restarts in a third.
    fn of(seed: u64, behaviour: Behaviour) -> Self {
        let subprotocol = match seed % 8 {
            0..=3 => Subprotocol::JsonReliable,
            4..=5 => Subprotocol::ProtobufReliable,
            6 => Subprotocol::Json,
            _ => Subprotocol::Protobuf,
        };
        Case {
            seed,
            behaviour,
            subprotocol,
            restarts: seed.is_multiple_of(3),
        }
    }
}

impl Case {
    /// In some worlds the hub executes and does not answer. Clients that wait for ever for
    /// an answer would never come to rest.
    fn honest_faults(&self) -> Vec<FaultSpec> {
        let config = SessionConfig::of(self.behaviour, self.subprotocol);
        let loses = self.seed % 5 == 1 && config.retry.ack_timeout.is_some();
        let fault = "lose_ack,p=0.1".parse().unwrap();
        loses.then_some(fault).into_iter().collect()
    }
}

/// Runs one world to its end and checks it; `Err` says what is broken.
fn run(case: Case, faults: &[FaultSpec]) -> Result<Totals, String> {
    let mut world = World::new(case, faults.to_vec());
    world.run()?;
    check::all(&world)
}

fn run_many(behaviour: Behaviour) {
    let asked = std::env::var("HUBSTORM_WORLDS").ok();
    let worlds = asked.map_or(WORLDS, |count| {
        count.parse().expect("HUBSTORM_WORLDS: a number")
    });
    let mut totals = Totals::default();
    for seed in 0..worlds {
        let case = Case::of(seed, behaviour);
        match run(case, &case.honest_faults()) {
            Ok(one) => totals.add(one),
            Err(broken) => panic!("{case:?}: {broken}"),
        }
    }
    // Worlds in which nothing goes wrong would prove nothing.
    let worlds = worlds as u32;
    assert!(totals.recovered > worlds, "{totals:?}");
    assert!(totals.lost_sessions > worlds, "{totals:?}");
    assert!(totals.resent > worlds, "{totals:?}");
    assert!(totals.refused > worlds, "{totals:?}");
    assert!(totals.delivered > 10 * worlds as usize, "{totals:?}");
}

#[test]
fn a_client_to_the_letter_loses_and_doubles_nothing_and_ends_every_request() {
    run_many(Behaviour::Spec);
}

#[test]
fn a_python_client_loses_and_doubles_nothing_and_ends_every_request() {
    run_many(Behaviour::Python);
}

#[test]
fn a_js_client_loses_and_doubles_nothing_and_ends_every_request() {
    run_many(Behaviour::Js);
}

#[test]
fn a_dotnet_client_loses_and_doubles_nothing_and_ends_every_request() {
    run_many(Behaviour::Dotnet);
}

#[test]
fn a_java_client_loses_and_doubles_nothing_and_ends_every_request() {
    run_many(Behaviour::Java);
}

/// Runs the script with the line broken at these places; what has passed in the end.
fn run_script(case: Case, points: &[Point]) -> Cuts {
    let mut world = World::new(case, Vec::new());
    world.cuts = Some(Cuts {
        points: points.to_vec(),
        ..Cuts::default()
    });
    let ended = world.run().and_then(|()| check::all(&world));
    if let Err(broken) = ended {
        panic!("{case:?} {points:?}: {broken}");
    }
    world.cuts.unwrap()
}

/// Every frame and every dial of client 0 in turn, lost with the line or read before it
/// breaks; then again with a second break a few frames later.
fn cut_everywhere(subprotocol: Subprotocol, gaps: &[u32]) {
    let mut worlds = 0;
    for behaviour in Behaviour::ALL {
        let case = Case {
            seed: 1,
            behaviour,
            subprotocol,
            restarts: false,
        };
        let whole = run_script(case, &[]);
        for way in [Way::Up, Way::Down, Way::Dial] {
            for nth in 1..=whole.passed[way as usize] {
                for arrives in [false, true] {
                    let first = Point { way, nth, arrives };
                    let passed = run_script(case, &[first]).passed;
                    worlds += 1;
                    for gap in gaps {
                        let second = Point {
                            nth: nth + gap,
                            ..first
                        };
                        if passed[way as usize] >= second.nth {
                            run_script(case, &[first, second]);
                            worlds += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(worlds > 300, "{worlds} worlds: the script is too short");
}

#[test]
fn a_line_that_breaks_at_any_single_json_frame_harms_nothing() {
    cut_everywhere(Subprotocol::JsonReliable, &[1, 2, 3, 5, 8]);
}

#[test]
fn a_line_that_breaks_at_any_single_protobuf_frame_harms_nothing() {
    cut_everywhere(Subprotocol::ProtobufReliable, &[1, 4]);
}

/// The invariants can fail: a hub that lies breaks each of them.
#[test]
fn a_hub_that_lies_is_noticed() {
    for (fault, complaint) in [
        ("omit", "is number"),
        ("recovery_lose", "is number"),
        ("duplicate_new_id", "was delivered twice"),
        ("ignore_dedupe", "was delivered twice"),
        ("ack_lie", "ended Ok and was executed 0 times"),
        ("forbid_executed", "ended Failed and was executed"),
    ] {
        let faults = [format!("{fault},p=0.5").parse::<FaultSpec>().unwrap()];
        let mut complaints = (0..40).filter_map(|seed| {
            let mut case = Case::of(8 * seed, Behaviour::Spec);
            case.restarts = false;
            run(case, &faults).err()
        });
        assert!(
            complaints.any(|text| text.contains(complaint)),
            "nobody noticed {fault}"
        );
    }
}

#[test]
fn cases_that_failed_once_stay_right() {
    for case in FAILED_ONCE {
        if let Err(broken) = run(*case, &case.honest_faults()) {
            panic!("{case:?}: {broken}");
        }
    }
}

/// Cases that showed a mistake, in the hub, the session or this model.
const FAILED_ONCE: &[Case] = &[Case {
    seed: 0,
    behaviour: Behaviour::Spec,
    subprotocol: Subprotocol::JsonReliable,
    restarts: false,
}];
