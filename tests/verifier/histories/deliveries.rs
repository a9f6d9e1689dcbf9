//! Deliveries on a connection that lives: losses, repetitions, sequence ids (D1, D4, S1 to S3).

use std::time::Duration;

use hubstorm::verify::{Permitted, Promise, Unknown, Violation};
use hubstorm::wire::Data;

use crate::world::{Expect, G, PROMISES, World, plan, text_of};

use super::warm;

#[test]
fn a_clean_run_owes_what_it_delivers_and_verifies_all() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        for _ in 0..20 {
            world.publish_to_all(0);
        }
        world.lose(2);
        let missed = world.publish(0);
        world.deliver(&missed, 1);
        world.deliver(&missed, 3);
        world.recover(2);
        world.deliver(&missed, 2);
        warm(&mut world);
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!(v.delivery.expected, 26 * 3);
        assert_eq!(v.delivery.delivered, v.delivery.expected);
        assert_eq!(v.delivery.verified, v.delivery.expected);
        assert_eq!(
            v.delivery.unverified + v.delivery.edge + v.delivery.not_owed,
            0
        );
        assert_eq!(v.inconclusive, Vec::<String>::new());
    }
}

#[test]
fn a_withheld_delivery_is_lost_once() {
    for promise in PROMISES {
        for last in [false, true] {
            let mut world = World::joined(promise);
            warm(&mut world);
            let sent = world.publish(0);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
            if !last {
                warm(&mut world);
            }
            let v = world.finish();
            Expect::default().violation(Violation::Lost, 1).of(&v);
            assert_eq!(v.delivery.expected, v.delivery.delivered + 1);
            assert_eq!(v.delivery.verified, v.delivery.expected);
            assert_eq!(v.incidents[0].receiver, Some(3));
            assert_eq!(v.incidents[0].seq, Some(sent.identity.seq));
            assert!(
                v.incidents[0]
                    .evidence
                    .iter()
                    .any(|line| line.contains("Success"))
            );
        }
    }
}

#[test]
fn a_delivery_withheld_after_numbering_is_one_fault_not_two() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        world.skip_id(3);
        warm(&mut world);
        Expect::default()
            .violation(Violation::Lost, 1)
            .of(&world.finish());
    }
}

#[test]
fn a_skipped_sequence_id_alone_is_a_gap() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.skip_id(2);
        warm(&mut world);
        match promise {
            Promise::Reference => Expect::default().violation(Violation::SequenceGap, 1),
            Promise::Published => Expect::default().unknown(Unknown::SequenceGap, 1),
        }
        .of(&world.finish());
    }
}

#[test]
fn the_same_message_under_a_new_id_is_duplicated() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish_to_all(0);
        assert!(!world.deliver(&sent, 2).fresh);
        world.deliver(&sent, 2);
        Expect::default()
            .violation(Violation::Duplicated, 2)
            .of(&world.finish());
    }
}

#[test]
fn the_same_frame_twice_repeats_its_id_or_without_ids_duplicates() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish_to_all(0);
        let id = world.last_id(2);
        world.deliver_as(&sent, 2, id);
        Expect::default()
            .violation(Violation::SequenceRepeated, 1)
            .of(&world.finish());

        let mut unreliable = plan(promise, 5, 1);
        unreliable.slots[2].reliable = false;
        let mut world = World::joined_with(unreliable);
        warm(&mut world);
        let sent = world.publish_to_all(0);
        world.deliver(&sent, 2);
        Expect::default()
            .violation(Violation::Duplicated, 1)
            .of(&world.finish());
    }
}

#[test]
fn a_new_message_under_an_old_id_is_reused_and_not_also_lost() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        let id = world.last_id(3);
        assert!(!world.deliver_as(&sent, 3, id).fresh);
        warm(&mut world);
        let v = world.finish();
        Expect::default()
            .violation(Violation::SequenceReused, 1)
            .of(&v);
        assert_eq!(v.delivery.delivered + 1, v.delivery.expected);
        assert_eq!(v.delivery.verified, v.delivery.expected);
    }
}

/// The hub spoils a message once and keeps it so for the replay: one fault, not two.
#[test]
fn a_spoilt_frame_that_is_replayed_is_corrupted_once() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        let mut bytes = text_of(&sent).into_bytes();
        bytes[56] ^= 1;
        let text = String::from_utf8(bytes).unwrap();
        let id = world.next_id(3);
        world.frame(3, id, Data::Text(text.as_str().into()), "group-0", 0);
        world.lose(3);
        world.recover(3);
        world.frame(3, id, Data::Text(text.as_str().into()), "group-0", 0);
        warm(&mut world);
        Expect::default()
            .violation(Violation::Corrupted, 1)
            .permitted(Permitted::ReplayOverlap, 1)
            .of(&world.finish());
    }
}

/// Right after a join nothing tells where its stream is: the message would be lost, too.
#[test]
fn a_reused_id_on_the_first_message_of_a_membership_is_one_fault() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.leave(3, G);
        for _ in 0..3 {
            let sent = world.publish(0);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
        }
        world.join(3, G);
        world.wait(Duration::from_secs(1));
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        let old = world.last_id(3);
        world.deliver_as(&sent, 3, old);
        warm(&mut world);
        Expect::default()
            .violation(Violation::SequenceReused, 1)
            .permitted(Permitted::AtMembershipEdge, 3)
            .of(&world.finish());
    }
}

#[test]
fn a_message_of_the_service_is_numbered_and_nothing_else() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        for receiver in 1..=3 {
            let id = world.next_id(receiver);
            assert!(world.server_frame(receiver, id).fresh);
        }
        warm(&mut world);
        let id = world.last_id(1);
        assert!(!world.server_frame(1, id).fresh);
        Expect::default()
            .violation(Violation::SequenceRepeated, 1)
            .of(&world.finish());
    }
}

#[test]
fn a_reliable_connection_numbers_every_message() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        world.unnumbered(&sent, 3);
        Expect::default()
            .violation(Violation::EnvelopeWrong, 1)
            .of(&world.finish());
    }
}
