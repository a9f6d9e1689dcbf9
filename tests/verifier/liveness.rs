//! Liveness and full queues: who waits for what when a connection falls silent, and what a
//! hub that drops messages of a full queue is called.

use std::time::Duration;

use hubstorm::base::{SequenceId, Slot};
use hubstorm::verify::{ConnectionEnd, Permitted, Verification, Violation};

use crate::world::{Expect, PROMISES, World};

const STEP: Duration = Duration::from_millis(250);

/// Five seconds of messages, four a second, to all but receiver 3.
fn five_seconds_without_slot_3(world: &mut World, publishers: &[u32]) {
    for _ in 0..20 {
        for publisher in publishers {
            let sent = world.publish(*publisher);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
        }
        world.wait(STEP);
    }
}

fn incidents<'v>(v: &'v Verification, kind: &str) -> Vec<&'v str> {
    let all = v.incidents.iter().filter(|i| i.kind == kind);
    all.map(|i| i.summary.as_str()).collect()
}

#[test]
fn a_connection_that_is_up_and_silent_is_stalled_once_and_says_who_waits_for_what() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        for _ in 0..4 {
            world.publish_to_all(0);
            world.publish_to_all(4);
            world.wait(STEP);
        }
        five_seconds_without_slot_3(&mut world, &[0, 4]);
        // It lives: it answers.
        let now = world.tick();
        world.shard(3).heard(Slot(3), now);
        world.wait(Duration::from_secs(10));
        let v = world.finish();
        Expect::default().violation(Violation::Stalled, 1).of(&v);
        let told = incidents(&v, "stalled");
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("slot 3 waits for 40 messages on connection conn-3-0"));
        let evidence = v.incidents[0].evidence.join("\n");
        assert!(
            evidence.contains("waits for message 0/group-0#5"),
            "{evidence}"
        );
        assert!(
            evidence.contains("waits for message 4/group-0#5"),
            "{evidence}"
        );
        assert!(evidence.contains("and the 19 after it"), "{evidence}");
        assert_eq!(v.delivery.expected - v.delivery.delivered, 40);
    }
}

#[test]
fn losses_while_deliveries_go_on_or_of_the_last_message_are_losses_not_stalls() {
    for promise in PROMISES {
        // One publisher's messages are lost, another's arrive.
        let mut world = World::joined(promise);
        world.publish_to_all(0);
        for _ in 0..20 {
            let sent = world.publish(0);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
            world.publish_to_all(4);
            world.wait(STEP);
        }
        let v = world.finish();
        Expect::default().violation(Violation::Lost, 20).of(&v);
        // The last message before the drain.
        let mut world = World::joined(promise);
        five_seconds_without_slot_3_but_one(&mut world);
        let v = world.finish();
        Expect::default().violation(Violation::Lost, 1).of(&v);
        assert_eq!(incidents(&v, "lost").len(), 1);
    }
}

fn five_seconds_without_slot_3_but_one(world: &mut World) {
    for _ in 0..20 {
        world.publish_to_all(0);
        world.wait(STEP);
    }
    let sent = world.publish(0);
    world.deliver(&sent, 1);
    world.deliver(&sent, 2);
    world.wait(Duration::from_secs(10));
}

#[test]
fn a_connection_that_comes_back_after_a_silence_was_late_and_not_stalled() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        world.publish_to_all(0);
        let mut held = Vec::new();
        for _ in 0..20 {
            let sent = world.publish(0);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
            held.push(sent);
            world.wait(STEP);
        }
        for sent in &held {
            world.deliver(sent, 3);
        }
        Expect::default().of(&world.finish());
    }
}

#[test]
fn a_connection_that_ended_or_is_away_waits_for_nothing() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        world.publish_to_all(0);
        five_seconds_without_slot_3(&mut world, &[0]);
        world.lose(3);
        world.end(3, ConnectionEnd::WindowPassed);
        Expect::default()
            .permitted(Permitted::LostInReconnectGap, 20)
            .of(&world.finish());
        let mut world = World::joined(promise);
        world.publish_to_all(0);
        five_seconds_without_slot_3(&mut world, &[0]);
        world.lose(3);
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!(v.delivery.unverified, 20);
    }
}

#[test]
fn a_hub_that_drops_the_oldest_of_a_full_queue_and_goes_on_lost_them_by_overflow() {
    for promise in PROMISES {
        for sent_meanwhile in [900, 1100] {
            let mut world = World::joined(promise);
            world.publish_to_all(0);
            world.facts();
            world.lose(3);
            let held: Vec<_> = (0..sent_meanwhile)
                .map(|_| {
                    let sent = world.publish(0);
                    world.deliver(&sent, 1);
                    world.deliver(&sent, 2);
                    sent
                })
                .collect();
            world.wait(Duration::from_secs(1));
            world.recover(3);
            for sent in &held[100..] {
                world.deliver(sent, 3);
            }
            world.publish_to_all(0);
            let v = world.finish();
            match sent_meanwhile {
                // It had to hold them, or to end the session.
                1100 => Expect::default().violation(Violation::LostOverflow, 100),
                _ => Expect::default().violation(Violation::RecoveryBroken, 1),
            }
            .of(&v);
        }
    }
}

#[test]
fn a_queue_that_overflowed_while_we_acked_late_is_our_own_doing_unless_planned() {
    for planned in [false, true] {
        for late in [false, true] {
            let mut plan = crate::world::plan(hubstorm::verify::Promise::Reference, 5, 2);
            plan.slots[3].withholds_acks = planned;
            let mut world = World::joined_with(plan);
            world.publish_to_all(0);
            if !late {
                let (now, id) = (world.tick(), world.last_id(3));
                world.shard(3).sequence_acked(Slot(3), SequenceId(id), now);
            }
            for _ in 0..1100 {
                let sent = world.publish(0);
                world.deliver(&sent, 1);
                world.deliver(&sent, 2);
            }
            world.wait(Duration::from_secs(2));
            let now = world.tick();
            let cause = hubstorm::verify::LossCause::Hub;
            world
                .shard(3)
                .transport_lost(Slot(3), cause, Some(1008), now);
            world.end(3, ConnectionEnd::Refused);
            let v = world.finish();
            Expect::default()
                .permitted(Permitted::LostOverflow, 1100)
                .of(&v);
            let ours = v
                .inconclusive
                .iter()
                .any(|why| why.contains("sequence acks"));
            assert_eq!(ours, late && !planned, "{:?}", v.inconclusive);
        }
    }
}

#[test]
fn a_stall_behind_a_recovery_is_laid_to_the_recovery() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        world.publish_to_all(0);
        world.lose(3);
        world.recover(3);
        five_seconds_without_slot_3(&mut world, &[0]);
        let v = world.finish();
        Expect::default()
            .violation(Violation::RecoveryBroken, 1)
            .of(&v);
        assert_eq!(v.incidents[0].group.as_deref(), Some("group-0"));
    }
}

#[test]
fn the_evidence_of_a_loss_of_long_ago_was_kept_when_it_was_found() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        world.publish_to_all(0);
        // Publisher and receiver are of different shards.
        let lost = world.publish(0);
        let sent_at = hubstorm::base::Time::from_micros(lost.identity.intended);
        world.deliver(&lost, 1);
        world.deliver(&lost, 2);
        for _ in 0..1000 {
            world.publish_to_all(0);
            world.wait(STEP);
            // As a run does, several times a second.
            let now = world.time();
            world
                .shards
                .iter()
                .for_each(|shard| _ = shard.progress(now));
        }
        let v = world.finish();
        Expect::default().violation(Violation::Lost, 1).of(&v);
        let incident = &v.incidents[0];
        assert_eq!(incident.connections, ["conn-3-0", "conn-0-0"]);
        let told = incident.evidence.join("\n");
        let sent = format!("publisher connection conn-0-0: sent {sent_at} tx 2");
        assert!(
            told.contains(&sent) && told.contains("-> Success"),
            "{told}"
        );
        // The frames around it, though thousands came since.
        assert!(
            told.contains("around it: frame") && told.contains("sequenceId 2 0/group#0 seq 3"),
            "{told}"
        );
        assert!(
            told.contains("found overdue") && told.contains(" seq 1 "),
            "{told}"
        );
        assert!(
            told.contains(" seq 3 (tx 3") && !told.contains(" seq 2 "),
            "{told}"
        );
    }
}
