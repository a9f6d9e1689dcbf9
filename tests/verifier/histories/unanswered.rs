//! Requests without an answer (A4): what the hub owes on a transport that lives, whatever
//! its client waits for, and what it does not.

use std::time::Duration;

use hubstorm::base::{AckId, Slot, Time};
use hubstorm::payload::Cause;
use hubstorm::verify::{Answer, ConnectionEnd, Outcome, Permitted, Verification, Violation};

use crate::world::{Expect, G, PROMISES, Sent, World};

use super::warm;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = hubstorm::verify::ACK_WITHIN;

/// The publisher's transport lives: once a second something is read from it.
fn alive(world: &mut World, seconds: u32) {
    for _ in 0..seconds {
        world.wait(SECOND);
        world.pong(0);
    }
}

/// The same with a pong in the middle alone: its silences are those of an idle client.
fn later(world: &mut World, time: Duration) {
    world.wait(time / 2);
    world.pong(0);
    world.wait(time / 2);
}

/// An answer that comes now is in time, and one that does not is missing after `seconds`, not
/// before.
fn begins_anew(mut world: World, sent: &Sent, answered: bool, seconds: u32) {
    if answered {
        world.ok(sent);
    }
    alive(&mut world, seconds);
    assert_eq!(missing(&world), 0);
    alive(&mut world, 2);
    if !answered {
        give_up(&mut world, sent);
    }
    Expect::default()
        .violation(Violation::AckMissing, u64::from(!answered))
        .of(&world.finish());
}

fn missing(world: &World) -> u64 {
    let now = world.time();
    let all = world.shards.iter().map(|shard| shard.progress(now));
    all.map(|p| p.violations.get(Violation::AckMissing)).sum()
}

/// A publish that stays without an outcome.
fn unanswered(world: &mut World) -> Sent {
    warm(world);
    let sent = world.send(0, G);
    for receiver in 1..=3 {
        world.deliver(&sent, receiver);
    }
    sent
}

fn give_up(world: &mut World, sent: &Sent) {
    world.settle(sent, Outcome::Unknown);
}

fn exercised(v: &Verification) -> u64 {
    let all = &v.verifier.exercised;
    let found = all.iter().find(|(name, _)| name.starts_with("A4 "));
    found.unwrap().1
}

#[test]
fn an_answer_that_never_comes_is_missing_once_its_time_is_over_on_a_transport_that_lives() {
    // A client that waits for ever, as those of JS and .NET do.
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let sent = unanswered(&mut world);
        alive(&mut world, 29);
        assert_eq!(missing(&world), 0, "29 seconds are not 30");
        alive(&mut world, 2);
        assert_eq!(missing(&world), 1);
        alive(&mut world, 60);
        give_up(&mut world, &sent);
        let v = world.finish();
        Expect::default().violation(Violation::AckMissing, 1).of(&v);
        assert!(
            v.incidents[0]
                .summary
                .contains("got no answer to ackId 6 within 30s of "),
            "{}",
            v.incidents[0].summary
        );
    }
}

#[test]
fn a_client_that_gave_up_long_before_is_owed_its_answer_all_the_same() {
    for promise in PROMISES {
        for answered in [true, false] {
            let mut world = World::joined(promise);
            let sent = unanswered(&mut world);
            alive(&mut world, 1);
            give_up(&mut world, &sent);
            alive(&mut world, 20);
            if answered {
                world.ack(0, sent.ack_id);
            }
            alive(&mut world, 20);
            Expect::default()
                .violation(Violation::AckMissing, u64::from(!answered))
                .of(&world.finish());
        }
    }
}

#[test]
fn a_slow_answer_is_none_of_the_hubs_faults_however_impatient_its_client() {
    for promise in PROMISES {
        for cause in [Cause::AfterTimeout, Cause::FreshAckId] {
            let mut world = World::joined(promise);
            let sent = unanswered(&mut world);
            // Its client waits for 300 ms, the hub takes 600 ms for each answer.
            world.wait(Duration::from_millis(300));
            let again = world.resend(&sent, cause);
            world.wait(Duration::from_millis(300));
            world.ok(&sent);
            world.wait(Duration::from_millis(300));
            world.ack(0, again.ack_id);
            alive(&mut world, 60);
            Expect::default().of(&world.finish());
        }
    }
}

#[test]
fn a_transport_that_is_silent_proves_nothing() {
    // Half-open for 45 s, and its client trusts in TCP, as that of Python does.
    for promise in PROMISES {
        for ends in [true, false] {
            let mut world = World::joined(promise);
            let sent = unanswered(&mut world);
            alive(&mut world, 3);
            world.wait(45 * SECOND);
            if ends {
                world.lose(0);
                world.end(0, ConnectionEnd::WindowPassed);
                world.connect(0);
                alive(&mut world, 40);
            }
            give_up(&mut world, &sent);
            Expect::default().of(&world.finish());
        }
    }
}

#[test]
fn a_cut_that_tcp_outlives_accuses_nobody_and_hides_nobody() {
    for promise in PROMISES {
        for answered in [true, false] {
            let mut world = World::joined(promise);
            let sent = unanswered(&mut world);
            alive(&mut world, 1);
            // What waited comes in its order: the answer is not the first.
            world.wait(40 * SECOND);
            world.pong(0);
            world.wait(Duration::from_millis(1));
            if answered {
                world.ack(0, sent.ack_id);
            }
            // Nothing but the pongs of an idle client, each 20 s.
            for _ in 0..4 {
                world.wait(20 * SECOND);
                world.pong(0);
            }
            give_up(&mut world, &sent);
            Expect::default()
                .violation(Violation::AckMissing, u64::from(!answered))
                .of(&world.finish());
        }
    }
}

#[test]
fn what_we_ourselves_did_not_read_is_not_late_but_a_lie_comes_to_light_afterwards() {
    for promise in PROMISES {
        for answered in [true, false] {
            let mut world = World::joined(promise);
            let sent = unanswered(&mut world);
            alive(&mut world, 5);
            let (now, until) = (world.time(), world.time() + 40 * SECOND);
            world.shard(0).disturbed(Slot(0), until, now);
            world.wait(41 * SECOND);
            // The answer waited for us, behind something else.
            world.pong(0);
            world.facts();
            begins_anew(world, &sent, answered, 28);
        }
    }
}

#[test]
fn what_was_missing_before_a_stall_stays_missing() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let sent = unanswered(&mut world);
        later(&mut world, LIMIT);
        world.pong(0);
        // No tick came in between.
        let (now, until) = (world.time(), world.time() + LIMIT);
        world.shard(0).disturbed(Slot(0), until, now);
        world.ok(&sent);
        Expect::default()
            .violation(Violation::AckMissing, 1)
            .of(&world.finish());
    }
}

#[test]
fn an_answer_after_its_time_is_missing_if_something_else_was_read_before_it() {
    for promise in PROMISES {
        for overtaken in [true, false] {
            let mut world = World::joined(promise);
            let sent = unanswered(&mut world);
            later(&mut world, LIMIT);
            if overtaken {
                world.pong(0);
            }
            world.ok(&sent);
            alive(&mut world, 40);
            let v = world.finish();
            Expect::default()
                .violation(Violation::AckMissing, u64::from(overtaken))
                .of(&v);
            // Three joins, five publishes to warm up; the late one only when it was judged.
            assert_eq!(exercised(&v), 8 + u64::from(overtaken));
        }
    }
}

#[test]
fn the_time_runs_from_the_last_transmission_and_each_ack_id_has_its_own() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let sent = unanswered(&mut world);
        alive(&mut world, 20);
        let again = world.resend(&sent, Cause::AfterTimeout);
        alive(&mut world, 25);
        world.ok(&again);
        alive(&mut world, 40);
        Expect::default().of(&world.finish());

        let mut world = World::joined(promise);
        let sent = unanswered(&mut world);
        alive(&mut world, 20);
        let again = world.resend(&sent, Cause::FreshAckId);
        world.ok(&again);
        // Nobody waits for the answer to the first ackId any more.
        alive(&mut world, 20);
        Expect::default()
            .violation(Violation::AckMissing, 1)
            .of(&world.finish());
    }
}

#[test]
fn what_was_asked_on_a_transport_is_owed_on_no_other() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let sent = unanswered(&mut world);
        alive(&mut world, 29);
        world.lose(0);
        world.recover(0);
        alive(&mut world, 60);
        give_up(&mut world, &sent);
        Expect::default().of(&world.finish());
    }
}

#[test]
fn a_recovery_written_to_on_trust_that_failed_owes_nothing() {
    // Official clients write before the hub has said a word: no loss is told of then.
    for promise in PROMISES {
        let mut world = World::joined(promise);
        world.lose(0);
        let now = world.tick();
        world.shard(0).recovery_opened(Slot(0), 1, now);
        let now = world.tick();
        world.shard(0).request_sent(Slot(0), AckId(99), now);
        world.recover(0);
        alive(&mut world, 60);
        Expect::default().of(&world.finish());
    }
}

#[test]
fn joins_and_leaves_are_owed_an_answer_too() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.ask(0, G, true);
        world.ask(0, G, false);
        alive(&mut world, 40);
        let v = world.finish();
        assert_eq!(v.violations.get(Violation::AckMissing), 2);
        assert_eq!(v.violations.total(), 2);
    }
}

#[test]
fn at_the_end_the_old_are_judged_and_the_young_are_not() {
    for promise in PROMISES {
        for (age, read, judged) in [(31, true, 1), (31, false, 0), (20, true, 0)] {
            let mut world = World::joined(promise);
            let sent = unanswered(&mut world);
            give_up(&mut world, &sent);
            later(&mut world, age * SECOND);
            if read {
                world.pong(0);
            }
            let v = world.finish();
            Expect::default()
                .violation(Violation::AckMissing, judged)
                .of(&v);
        }
    }
}

#[test]
fn nobody_is_accused_for_the_time_in_which_this_process_did_not_run() {
    for promise in PROMISES {
        for answered in [true, false] {
            let mut world = World::joined(promise);
            let sent = unanswered(&mut world);
            // Stopped for a minute: no tick, and what came lay in the sockets.
            world.now += 60_000_000;
            world.pong(0);
            begins_anew(world, &sent, answered, 29);
        }
    }
}

#[test]
fn a_property_that_was_not_put_to_the_test_is_not_said_to_hold() {
    for promise in PROMISES {
        let mut plan = crate::world::plan(promise, 5, 2);
        plan.ack_within = SECOND;
        let mut world = World::new(plan);
        world.connect(0);
        let sent = world.send(0, G);
        world.wait(2 * SECOND);
        give_up(&mut world, &sent);
        let v = world.finish();
        assert_eq!((exercised(&v), v.violations.total()), (0, 0));
        let idle = &v.verifier.not_exercised;
        assert!(idle.iter().any(|p| p.starts_with("A4 ")), "{idle:?}");
    }
}

#[test]
fn requests_beyond_those_that_are_followed_are_counted_and_the_verdict_says_so() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let ask = |world: &mut World, ids: std::ops::Range<u64>| {
            for id in ids {
                let now = world.tick();
                world.shard(0).request_sent(Slot(0), AckId(id), now);
            }
        };
        ask(&mut world, 1000..2024);
        let bytes = |world: &World| world.shards[0].progress(world.time()).bytes;
        world.wait(SECOND);
        let full = bytes(&world);
        ask(&mut world, 2024..3024);
        world.wait(SECOND);
        assert!(bytes(&world) < full + 1000, "1000 requests take 16,000");
        (1000..2024).for_each(|id| world.ack(0, AckId(id)));
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!(exercised(&v), 8 + 1024);
        let said = "whether 1000 requests were answered is not known";
        assert!(
            v.inconclusive.iter().any(|why| why.starts_with(said)),
            "{:?}",
            v.inconclusive
        );
    }
}

#[test]
fn an_error_is_an_answer_and_what_went_out_on_no_connection_is_owed_none() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let now = Time::from_micros(world.now);
        world.lose(4);
        world.end(4, ConnectionEnd::WindowPassed);
        world.shard(4).request_sent(Slot(4), AckId(7), now);
        world.connect(4);
        for _ in 0..40 {
            world.wait(SECOND);
            world.pong(4);
        }
        let sent = world.send(0, G);
        world.answer(&sent, Answer::Error);
        give_up(&mut world, &sent);
        alive(&mut world, 40);
        Expect::default()
            .permitted(Permitted::PublishUnknown, 3)
            .of(&world.finish());
    }
}
