//! A session that publishes streams and makes invocations against the hub's core, on a
//! virtual clock, over a line that delays, cuts and blacks out at random; and a member that
//! hears what the hub publishes.
//!
//! Compiled into the crate's unit tests (`src/lib.rs`), because both sides are private. A
//! seed that fails prints itself. Read `net` for the line and the program.

mod net;

use crate::protocol::StreamOutcome;
use crate::wire::Subprotocol;
use net::{Invoked, World};

/// What happened in all worlds of a test: proof that the checks had something to check.
#[derive(Default, Debug)]
struct Totals {
    ended: u32,
    lost: u32,
    closed: u32,
    parts: usize,
    resent: u64,
    recovered: u32,
    answered: u32,
    failed: u32,
    cancelled: u32,
}

fn run(seed: u64, subprotocol: Subprotocol, fault: Option<&str>) -> Result<World, String> {
    let mut world = World::new(seed, subprotocol, fault);
    world.run()?;
    Ok(world)
}

/// What a member heard of each stream is its beginning without gap or repeat, and what its
/// publisher is told of it is true.
fn streams_are_true(world: &World, totals: &mut Totals) -> Result<(), String> {
    for (id, asked) in &world.asked {
        let broken = |what: String| Err(format!("stream {id}: {what}: {asked:?}"));
        let heard = world.heard.get(id).map(Vec::as_slice).unwrap_or_default();
        let mut parts = 0;
        for (expected, (number, text)) in (1..).zip(heard) {
            if *number != expected {
                return broken(format!("part {number} came as number {expected}"));
            }
            match text {
                Some(text) if *text != number.to_string() => {
                    return broken(format!("part {number} is {text}"));
                }
                Some(_) => parts = expected,
                None if expected as usize != heard.len() => {
                    return broken("something came after the end".into());
                }
                None => {}
            }
        }
        let [(outcome, accepted, unknown)] = asked.over.as_slice() else {
            return broken(format!("{} last words", asked.over.len()));
        };
        if parts < *accepted || parts > accepted + unknown {
            return broken(format!("the member heard {parts} parts"));
        }
        let ended = heard.last().is_some_and(|(_, text)| text.is_none());
        match outcome {
            StreamOutcome::Ended if parts == asked.written && ended => totals.ended += 1,
            StreamOutcome::Ended => return broken("ended, but not whole".into()),
            StreamOutcome::Lost => totals.lost += 1,
            StreamOutcome::Closed { .. } => totals.closed += 1,
            StreamOutcome::NoProgress => {}
            StreamOutcome::ProtocolViolation => return broken("the two disagree".into()),
        }
        totals.parts += heard.len();
    }
    Ok(())
}

fn invocations_end(world: &World, totals: &mut Totals) -> Result<(), String> {
    for (id, ends) in &world.invoked {
        match ends.as_slice() {
            [Invoked::Answered] => totals.answered += 1,
            [Invoked::Failed] => totals.failed += 1,
            [Invoked::Cancelled] => totals.cancelled += 1,
            ends => return Err(format!("invocation {id:?} ended as {ends:?}")),
        }
    }
    Ok(())
}

fn check(world: &World, totals: &mut Totals) -> Result<(), String> {
    streams_are_true(world, totals)?;
    invocations_end(world, totals)?;
    let (streams, invocations) = (
        world.session.open_streams(),
        world.session.pending_invocations(),
    );
    if streams + invocations > 0 {
        return Err(format!("{streams} streams, {invocations} invocations left"));
    }
    totals.resent += world.session.newer_counts().parts_resent;
    totals.recovered += world.recovered;
    Ok(())
}

fn run_many(seeds: std::ops::Range<u64>, subprotocol: Subprotocol, fault: Option<&str>) -> Totals {
    let mut totals = Totals::default();
    for seed in seeds {
        let checked = run(seed, subprotocol, fault).and_then(|world| check(&world, &mut totals));
        if let Err(broken) = checked {
            panic!("seed {seed} {subprotocol} {fault:?}: {broken}");
        }
    }
    // Worlds in which nothing goes wrong would prove nothing.
    assert!(totals.ended > 100 && totals.lost > 50, "{totals:?}");
    assert!(totals.resent > 100 && totals.parts > 2000, "{totals:?}");
    totals
}

#[test]
fn streams_have_no_gap_and_every_invocation_ends_whatever_the_line_does() {
    let totals = run_many(0..400, Subprotocol::JsonReliable, None);
    assert!(totals.recovered > 200, "{totals:?}");
    let invoked = [totals.answered, totals.failed, totals.cancelled];
    assert!(invoked.iter().all(|&n| n > 50), "{totals:?}");
}

#[test]
fn the_same_in_protobuf() {
    run_many(400..600, Subprotocol::ProtobufReliable, None);
}

#[test]
fn the_same_with_a_hub_that_forgets_everything_now_and_then() {
    run_many(600..800, Subprotocol::JsonReliable, Some("restart,p=0.002"));
}
