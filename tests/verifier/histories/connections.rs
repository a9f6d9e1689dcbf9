//! Recoveries, sessions that end, subprotocols, several connections (R1, R2, F3, F6).

use std::time::Duration;

use hubstorm::base::Slot;
use hubstorm::payload::Cause;
use hubstorm::verify::{ConnectionEnd, LossCause, Outcome, Permitted, Promise, Unknown, Violation};

use crate::world::{Expect, G, PROMISES, World, plan};

use super::warm;

#[test]
fn a_replay_of_known_messages_is_permitted() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let (a, b) = (world.publish_to_all(0), world.publish_to_all(0));
        let id = world.last_id(2);
        world.lose(2);
        let missed = world.publish(0);
        world.deliver(&missed, 1);
        world.deliver(&missed, 3);
        world.recover(2);
        world.deliver_as(&a, 2, id - 1);
        world.deliver_as(&b, 2, id);
        world.deliver(&missed, 2);
        warm(&mut world);
        Expect::default()
            .permitted(Permitted::ReplayOverlap, 2)
            .of(&world.finish());
    }
}

#[test]
fn a_recovery_that_omits_renames_forgets_or_renumbers_is_broken_once() {
    for promise in PROMISES {
        for how in [
            "omits",
            "omits inside",
            "renames",
            "forgets",
            "forgets after the replay",
            "renumbers",
        ] {
            let mut world = World::joined(promise);
            warm(&mut world);
            world.lose(3);
            let mut missed = Vec::new();
            for _ in 0..3 {
                let sent = world.publish(0);
                world.deliver(&sent, 1);
                world.deliver(&sent, 2);
                missed.push(sent);
                world.wait(Duration::from_millis(300));
            }
            world.recover(3);
            match how {
                "omits" => {
                    world.deliver(&missed[1], 3);
                    world.deliver(&missed[2], 3);
                }
                "omits inside" => {
                    world.deliver(&missed[0], 3);
                    world.skip_id(3);
                    world.deliver(&missed[2], 3);
                }
                "renames" => {
                    let now = world.tick();
                    world
                        .shard(3)
                        .recovered_connection_id(Slot(3), "another", now);
                    for sent in &missed {
                        world.deliver(sent, 3);
                    }
                }
                "renumbers" => {
                    for (at, sent) in missed.iter().enumerate() {
                        assert!(!world.deliver_as(sent, 3, at as u64 + 1).fresh);
                    }
                }
                // What was queued while it was away comes, and then nothing any more.
                "forgets after the replay" => {
                    for sent in &missed {
                        assert!(world.deliver(sent, 3).fresh);
                    }
                }
                _ => {}
            }
            if how.starts_with("forgets") {
                for _ in 0..4 {
                    world.wait(Duration::from_secs(1));
                    let sent = world.publish(0);
                    world.deliver(&sent, 1);
                    world.deliver(&sent, 2);
                }
            } else {
                warm(&mut world);
            }
            let v = world.finish();
            Expect::default()
                .violation(Violation::RecoveryBroken, 1)
                .of(&v);
            assert_eq!(v.delivery.verified, v.delivery.expected, "{how}");
        }
    }
}

#[test]
fn a_recovery_refused_early_is_unknown_and_its_losses_permitted() {
    for promise in PROMISES {
        for (end, after, early) in [
            (ConnectionEnd::Refused, 5, 1),
            (ConnectionEnd::Refused, 29, 0),
            (ConnectionEnd::HubRestart, 5, 0),
            (ConnectionEnd::WindowPassed, 31, 0),
        ] {
            let mut world = World::joined(promise);
            warm(&mut world);
            world.lose(3);
            for _ in 0..4 {
                let sent = world.publish(0);
                world.deliver(&sent, 1);
                world.deliver(&sent, 2);
            }
            world.wait(Duration::from_secs(after));
            let now = world.tick();
            world.shard(3).recovery_refused(Slot(3), now);
            world.end(3, end);
            world.connect(3);
            world.join(3, G);
            world.wait(Duration::from_secs(1));
            warm(&mut world);
            Expect::default()
                .permitted(Permitted::LostInReconnectGap, 4)
                .unknown(Unknown::RecoveryRefusedEarly, early)
                .of(&world.finish());
        }
    }
}

#[test]
fn a_full_queue_excuses_the_hub() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.lose(3);
        for _ in 0..1001 {
            let sent = world.publish(0);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
        }
        world.wait(Duration::from_secs(1));
        let now = world.tick();
        world.shard(3).recovery_refused(Slot(3), now);
        world.end(3, ConnectionEnd::Refused);
        Expect::default()
            .permitted(Permitted::LostOverflow, 1001)
            .of(&world.finish());
    }
}

#[test]
fn a_loss_on_a_connection_that_ended_is_permitted_only_after_its_last_delivery() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let interior = world.publish(0);
        let seen = world.publish(0);
        let gone = world.publish(0);
        for sent in [&interior, &seen, &gone] {
            world.deliver(sent, 1);
            world.deliver(sent, 2);
        }
        world.deliver(&seen, 3);
        world.reconnect(3, ConnectionEnd::WindowPassed);
        world.wait(Duration::from_secs(1));
        warm(&mut world);
        Expect::default()
            .violation(Violation::Lost, 1)
            .permitted(Permitted::LostInReconnectGap, 1)
            .of(&world.finish());
    }
}

#[test]
fn without_the_same_publisher_connection_nothing_proves_an_interior_loss() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let before = world.publish(0);
        world.deliver(&before, 1);
        world.deliver(&before, 2);
        world.lose(0);
        world.end(0, ConnectionEnd::WindowPassed);
        world.connect(0);
        world.publish_to_all(0);
        world.reconnect(3, ConnectionEnd::WindowPassed);
        world.wait(Duration::from_secs(1));
        warm(&mut world);
        Expect::default()
            .permitted(Permitted::LostInReconnectGap, 1)
            .of(&world.finish());
    }
}

#[test]
fn a_retried_message_proves_nothing_on_a_connection_that_ended() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let lost = world.send(0, G);
        world.publish_to_all(0);
        world.reconnect(3, ConnectionEnd::WindowPassed);
        let again = world.resend(&lost, Cause::AfterTimeout);
        world.ok(&again);
        world.deliver(&again, 1);
        world.deliver(&again, 2);
        world.wait(Duration::from_secs(1));
        Expect::default()
            .permitted(Permitted::LostInReconnectGap, 1)
            .permitted(Permitted::ReorderedByRetry, 2)
            .of(&world.finish());
    }
}

#[test]
fn the_same_message_on_the_old_and_the_new_connection_is_permitted() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish_to_all(0);
        world.reconnect(3, ConnectionEnd::WindowPassed);
        world.deliver(&sent, 3);
        Expect::default()
            .permitted(Permitted::DuplicatedAcrossConnections, 1)
            .of(&world.finish());

        // Both copies on the new connection are no such case.
        let mut world = World::joined(promise);
        warm(&mut world);
        world.reconnect(3, ConnectionEnd::WindowPassed);
        let sent = world.publish_to_all(0);
        world.deliver(&sent, 3);
        Expect::default()
            .violation(Violation::Duplicated, 1)
            .of(&world.finish());

        // Not even when no record of the first copy is left: it was sent after the join.
        let mut world = World::joined(promise);
        warm(&mut world);
        world.reconnect(3, ConnectionEnd::WindowPassed);
        world.wait(Duration::from_secs(1));
        let sent = world.publish_to_all(0);
        for _ in 0..200 {
            world.publish_to_all(0);
        }
        world.deliver(&sent, 3);
        Expect::default()
            .violation(Violation::Duplicated, 1)
            .of(&world.finish());
    }
}

#[test]
fn without_recovery_a_drop_excuses_and_a_live_socket_depends_on_the_promise() {
    for promise in PROMISES {
        let mut unreliable = plan(promise, 5, 1);
        unreliable.slots[3].reliable = false;
        let mut world = World::joined_with(unreliable.clone());
        warm(&mut world);
        world.lose(3);
        world.end(3, ConnectionEnd::NotRecoverable);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        world.connect(3);
        world.join(3, G);
        world.wait(Duration::from_secs(1));
        warm(&mut world);
        Expect::default()
            .permitted(Permitted::LostUnreliable, 1)
            .of(&world.finish());

        let mut world = World::joined_with(unreliable);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        warm(&mut world);
        match promise {
            Promise::Reference => Expect::default().violation(Violation::Lost, 1),
            Promise::Published => Expect::default().unknown(Unknown::LostUnreliableConnected, 1),
        }
        .of(&world.finish());
    }
}

#[test]
fn a_hub_restart_excuses_every_connection() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        for slot in 0..5 {
            let now = world.tick();
            world
                .shard(slot)
                .transport_lost(Slot(slot), LossCause::Injected, Some(1006), now);
            world.shard(slot).recovery_refused(Slot(slot), now);
            world.end(slot, ConnectionEnd::HubRestart);
        }
        let sent = world.send(0, G);
        world.settle(&sent, Outcome::Unknown);
        for slot in 0..5 {
            world.connect(slot);
        }
        for slot in 1..=3 {
            world.join(slot, G);
        }
        world.wait(Duration::from_secs(1));
        warm(&mut world);
        Expect::default()
            .permitted(Permitted::PublishUnknown, 3)
            .of(&world.finish());
    }
}

#[test]
fn two_connections_of_one_user_are_owed_a_copy_each() {
    for promise in PROMISES {
        let mut twins = plan(promise, 5, 1);
        twins.slots[2].user_id = Some("user-1".into());
        let mut world = World::joined_with(twins);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 3);
        let v = world.finish();
        Expect::default().violation(Violation::Lost, 1).of(&v);
        assert_eq!(v.incidents[0].receiver, Some(2));
    }
}
