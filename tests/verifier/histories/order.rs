//! Order: O1.

use hubstorm::payload::Cause;
use hubstorm::verify::{Answer, ConnectionEnd, Outcome, Permitted, Violation};
use hubstorm::wire::Data;

use crate::world::{Expect, G, PROMISES, World, text_of};

use super::warm;

#[test]
fn two_of_one_publisher_swapped_are_reordered_of_two_publishers_not() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let (a, b) = (world.publish(0), world.publish(0));
        for receiver in [1, 2] {
            world.deliver(&a, receiver);
            world.deliver(&b, receiver);
        }
        world.deliver(&b, 3);
        assert!(world.deliver(&a, 3).fresh);
        Expect::default()
            .violation(Violation::Reordered, 1)
            .of(&world.finish());

        let mut world = World::joined(promise);
        warm(&mut world);
        let (a, b) = (world.publish(0), world.publish(4));
        for receiver in [1, 2] {
            world.deliver(&a, receiver);
            world.deliver(&b, receiver);
        }
        world.deliver(&b, 3);
        world.deliver(&a, 3);
        Expect::default().of(&world.finish());
    }
}

/// A hub that holds a message back until its publisher has recovered gets away with it.
#[test]
fn a_message_overtaken_by_its_own_transport_and_then_by_newer_ones_is_reordered() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let (late, next) = (world.publish(0), world.publish(0));
        world.deliver(&next, 3);
        world.lose(0);
        world.recover(0);
        let recovered = world.publish(0);
        world.deliver(&recovered, 3);
        world.lose(0);
        world.end(0, ConnectionEnd::WindowPassed);
        world.connect(0);
        let reconnected = world.publish(0);
        world.deliver(&reconnected, 3);
        world.deliver(&late, 3);
        for receiver in [1, 2] {
            for sent in [&late, &next, &recovered, &reconnected] {
                world.deliver(sent, receiver);
            }
        }
        Expect::default()
            .violation(Violation::Reordered, 1)
            .of(&world.finish());
    }
}

/// A repetition is a delivery too: what it overtakes on its own transport was swapped.
#[test]
fn a_message_overtaken_by_a_repetition_of_its_own_transport_is_reordered() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let (late, next) = (world.send(0, G), world.send(0, G));
        world.deliver(&next, 3);
        world.lose(0);
        world.end(0, ConnectionEnd::WindowPassed);
        world.connect(0);
        let late = world.resend(&late, Cause::NewConnection);
        let again = world.resend(&next, Cause::NewConnection);
        world.ok(&late);
        world.ok(&again);
        world.deliver(&again, 3);
        world.deliver(&late, 3);
        for receiver in [1, 2] {
            for sent in [&late, &again] {
                world.deliver(sent, receiver);
            }
        }
        Expect::default()
            .violation(Violation::Reordered, 1)
            .permitted(Permitted::DuplicatedByRetryOnNewConnection, 1)
            .of(&world.finish());
    }
}

/// A byte flipped in a tx would make a permitted order look like the hub's doing.
#[test]
fn what_a_spoilt_identity_says_of_its_transmission_convicts_nobody() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let late = world.send(0, G);
        world.answer(&late, Answer::Error);
        let (next, spoilt) = (world.publish_to_all(0), world.publish(0));
        let again = world.resend(&late, Cause::AfterError);
        world.ok(&again);
        for receiver in [1, 2] {
            world.deliver(&spoilt, receiver);
            world.deliver(&again, receiver);
        }
        assert!(next.identity.tx < again.identity.tx);
        // In the middle of its tx, which becomes greater than that of whatever comes.
        let mut bytes = text_of(&spoilt).into_bytes();
        bytes[22] = b'x';
        let text = String::from_utf8(bytes).unwrap();
        let id = world.next_id(3);
        world.frame(3, id, Data::Text(text.into()), "group-0", 0);
        world.deliver(&again, 3);
        Expect::default()
            .violation(Violation::Corrupted, 1)
            .permitted(Permitted::ReorderedByRetry, 3)
            .of(&world.finish());
    }
}

#[test]
fn a_frame_of_a_dead_transport_executed_late_is_no_reordering() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let late = world.send(0, G);
        world.lose(0);
        world.recover(0);
        let next = world.publish_to_all(0);
        let again = world.resend(&late, Cause::AfterRecovery);
        for receiver in 1..=3 {
            world.deliver(&late, receiver);
        }
        world.answer(&again, Answer::Duplicate);
        world.settle(&again, Outcome::Ok);
        assert!(next.identity.tx > late.identity.tx);
        Expect::default()
            .permitted(Permitted::ReorderedByRetry, 3)
            .of(&world.finish());
    }
}

#[test]
fn a_retried_message_after_its_successors_is_permitted() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let refused = world.send(0, G);
        world.answer(&refused, Answer::Error);
        world.publish_to_all(0);
        let again = world.resend(&refused, Cause::AfterError);
        world.ok(&again);
        for receiver in 1..=3 {
            world.deliver(&again, receiver);
        }
        Expect::default()
            .permitted(Permitted::ReorderedByRetry, 3)
            .of(&world.finish());
    }
}
