//! One hand-written history per anomaly and per permitted case: the named counter moves,
//! and no other. Publisher 0, receivers 1 to 3, outsider 4, everybody in one group.

use std::time::Duration;

use hubstorm::base::{AckId, Slot};
use hubstorm::payload::{Cause, Padding, Template};
use hubstorm::verify::{
    Answer, ConnectionEnd, LossCause, Outcome, Permitted, Promise, Unknown, Violation,
};
use hubstorm::wire::{Data, DataType};

use crate::world::{Expect, G, PROMISES, World, plan};

/// Traffic before and after, so that every anomaly has neighbours.
fn warm(world: &mut World) {
    for _ in 0..5 {
        world.publish_to_all(0);
    }
    world.wait(Duration::from_secs(1));
}

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
        let template = Template {
            data_type: DataType::Text,
            size: 64,
            padding: Padding::Random,
        };
        let mut scratch = Vec::new();
        let Data::Text(text) = template.write(&sent.identity, &mut scratch) else {
            panic!("not text")
        };
        let mut bytes = text.into_owned().into_bytes();
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
        let template = Template {
            data_type: DataType::Text,
            size: 64,
            padding: Padding::Random,
        };
        let mut scratch = Vec::new();
        let Data::Text(text) = template.write(&spoilt.identity, &mut scratch) else {
            panic!("not text")
        };
        // In the middle of its tx, which becomes greater than that of whatever comes.
        let mut bytes = text.into_owned().into_bytes();
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

#[test]
fn the_outsider_gets_nothing() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish_to_all(0);
        assert!(!world.deliver(&sent, 4).fresh);
        Expect::default()
            .violation(Violation::Misdelivered, 1)
            .of(&world.finish());
    }
}

#[test]
fn membership_does_not_survive_a_new_connection() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.lose(3);
        world.end(3, ConnectionEnd::WindowPassed);
        world.connect(3);
        let sent = world.publish_to_all(0);
        assert_eq!(sent.identity.seq, 6);
        Expect::default()
            .violation(Violation::Misdelivered, 1)
            .permitted(Permitted::LostInReconnectGap, 1)
            .of(&world.finish());
    }
}

/// The races of publishes, each under its own name: a retry with the same ackId racing a
/// recovery (`a_retry_racing_a_recovery_may_be_answered_twice`), a delivery before the
/// publisher's ack (`a_delivery_may_come_before_its_publishers_answer`), a join's ack after
/// the first delivery (here), a leave with messages in flight (here), a duplicate join
/// (`a_duplicate_join_and_a_leave_make_one_window`).
#[test]
fn a_delivery_may_come_before_the_answer_to_its_receivers_join() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let now = world.tick();
        world.shard(4).join_invoked(Slot(4), G, AckId(1), now);
        let early = world.publish_to_all(0);
        assert!(world.deliver(&early, 4).fresh);
        let now = world.tick();
        world
            .shard(4)
            .join_answered(Slot(4), G, AckId(1), true, now);
        world.wait(Duration::from_secs(1));
        let owed = world.publish_to_all(0);
        world.deliver(&owed, 4);
        let v = world.finish();
        Expect::default().of(&v);
        // It was welcome, and nobody owed it.
        assert_eq!(v.delivery.not_owed, 1);
    }
}

#[test]
fn a_leave_with_messages_in_flight_neither_owes_them_nor_minds_them() {
    for promise in PROMISES {
        for arrives in [false, true] {
            let mut world = World::joined(promise);
            warm(&mut world);
            let now = world.tick();
            world.shard(3).leave_invoked(Slot(3), G, AckId(1), now);
            let flying = world.publish(0);
            world.deliver(&flying, 1);
            world.deliver(&flying, 2);
            let now = world.tick();
            world
                .shard(3)
                .leave_answered(Slot(3), G, AckId(1), true, now);
            let expect = match arrives {
                true => {
                    assert!(world.deliver(&flying, 3).fresh);
                    Expect::default().permitted(Permitted::AfterLeaveRace, 1)
                }
                false => Expect::default().permitted(Permitted::AtMembershipEdge, 1),
            };
            let v = world.finish();
            expect.of(&v);
            assert_eq!(v.delivery.not_owed, u64::from(arrives));
        }
    }
}

#[test]
fn what_is_sent_after_a_leave_stays_away() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let racing = world.publish(0);
        world.deliver(&racing, 1);
        world.deliver(&racing, 2);
        world.leave(3, G);
        world.deliver(&racing, 3);
        world.wait(Duration::from_secs(1));
        let late = world.publish_to_all(0);
        let expect = Expect::default().permitted(Permitted::AfterLeaveRace, 1);
        match promise {
            Promise::Reference => expect.violation(Violation::DeliveredAfterLeave, 1),
            Promise::Published => expect.unknown(Unknown::DeliveredAfterLeave, 1),
        }
        .of(&world.finish());
        assert!(late.identity.seq > racing.identity.seq);
    }
}

#[test]
fn a_leave_that_cuts_what_was_acked_before_it() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        world.wait(Duration::from_secs(1));
        world.leave(3, G);
        match promise {
            Promise::Reference => Expect::default().violation(Violation::LostAtLeave, 1),
            Promise::Published => Expect::default().unknown(Unknown::LostAtLeave, 1),
        }
        .of(&world.finish());
    }
}

#[test]
fn a_loss_before_a_later_delivery_counts_though_the_receiver_left() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        world.publish_to_all(0);
        world.leave(3, G);
        world.wait(Duration::from_secs(1));
        Expect::default()
            .violation(Violation::Lost, 1)
            .of(&world.finish());
    }
}

#[test]
fn a_join_in_force_late_is_lost_at_join_and_after_ten_seconds_lost() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.join(4, G);
        world.wait(Duration::from_millis(300));
        world.publish_to_all(0);
        world.wait(Duration::from_millis(700));
        let sent = world.publish_to_all(0);
        world.deliver(&sent, 4);
        match promise {
            Promise::Reference => Expect::default().violation(Violation::LostAtJoin, 1),
            Promise::Published => Expect::default().unknown(Unknown::LostAtJoin, 1),
        }
        .of(&world.finish());

        let mut world = World::joined(promise);
        warm(&mut world);
        world.join(4, G);
        world.wait(Duration::from_secs(12));
        world.publish_to_all(0);
        Expect::default()
            .violation(Violation::Lost, 1)
            .of(&world.finish());
    }
}

#[test]
fn a_message_racing_a_join_is_an_edge_either_way() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let now = world.tick();
        world.shard(4).join_invoked(Slot(4), G, AckId(1), now);
        let first = world.publish_to_all(0);
        world.deliver(&first, 4);
        world.publish_to_all(0);
        let now = world.tick();
        world
            .shard(4)
            .join_answered(Slot(4), G, AckId(1), true, now);
        world.wait(Duration::from_secs(1));
        let v = world.finish();
        Expect::default()
            .permitted(Permitted::AtMembershipEdge, 1)
            .of(&v);
        assert_eq!((v.delivery.edge, v.delivery.not_owed), (1, 1));
    }
}

#[test]
fn a_duplicate_join_and_a_leave_make_one_window() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        world.join(1, G);
        warm(&mut world);
        world.leave(1, G);
        world.wait(Duration::from_secs(1));
        let sent = world.publish(0);
        world.deliver(&sent, 2);
        world.deliver(&sent, 3);
        Expect::default().of(&world.finish());
    }
}

/// The hub says `Duplicate` to a join that it executed before the leave: an innocent hub is
/// accused of everything until the next join.
#[test]
fn a_join_sent_again_after_a_later_leave_owes_nothing_until_the_next() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.leave(3, G);
        let unheard = world.ask(3, G, true);
        world.leave(3, G);
        world.lose(3);
        world.recover(3);
        world.join(3, G);
        world.leave(3, G);
        world.ask_as(3, G, true, unheard);
        world.told(3, G, true, unheard);
        world.wait(Duration::from_secs(1));
        for _ in 0..2 {
            let sent = world.publish(0);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
            world.wait(Duration::from_secs(1));
        }
        world.join(3, G);
        world.wait(Duration::from_secs(11));
        warm(&mut world);
        let withheld = world.publish(0);
        world.deliver(&withheld, 1);
        world.deliver(&withheld, 2);
        warm(&mut world);
        let v = world.finish();
        let edge = v.permitted.get(Permitted::AtMembershipEdge);
        Expect::default()
            .violation(Violation::Lost, 1)
            .permitted(Permitted::AtMembershipEdge, edge)
            .of(&v);
    }
}

/// The answer to an earlier join says nothing of the next, which may still be on its way.
#[test]
fn a_late_answer_to_a_join_that_was_left_does_not_open_the_next() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.leave(3, G);
        let late = world.ask(3, G, true);
        world.leave(3, G);
        let next = world.ask(3, G, true);
        world.told(3, G, true, late);
        world.wait(Duration::from_secs(1));
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        world.wait(Duration::from_secs(1));
        world.told(3, G, true, next);
        world.wait(Duration::from_secs(1));
        warm(&mut world);
        Expect::default()
            .permitted(Permitted::AtMembershipEdge, 1)
            .of(&world.finish());
    }
}

/// A leave that is heard of late ends its own membership, not the one after it.
#[test]
fn a_late_answer_to_a_leave_does_not_end_the_next_membership() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let late = world.ask(3, G, false);
        world.told(3, G, false, late);
        world.join(3, G);
        let leave = world.ask(3, G, false);
        world.told(3, G, false, late);
        world.wait(Duration::from_secs(1));
        // Sent while the second leave is on its way: it may still come.
        world.publish_to_all(0);
        world.told(3, G, false, leave);
        Expect::default().of(&world.finish());
    }
}

#[test]
fn a_refused_join_owes_nothing_and_receives_nothing() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let now = world.tick();
        world.shard(4).join_invoked(Slot(4), G, AckId(1), now);
        let now = world.tick();
        world
            .shard(4)
            .join_answered(Slot(4), G, AckId(1), false, now);
        world.wait(Duration::from_secs(1));
        warm(&mut world);
        Expect::default().of(&world.finish());
    }
}

#[test]
fn no_echo_is_kept_per_connection_and_its_absence_owes_an_echo() {
    for promise in PROMISES {
        let mut silent = plan(promise, 5, 1);
        silent.slots[1].no_echo = true;
        let mut world = World::joined_with(silent.clone());
        let sent = world.publish(1);
        world.deliver(&sent, 2);
        world.deliver(&sent, 3);
        assert!(!world.deliver(&sent, 1).fresh);
        Expect::default()
            .violation(Violation::Echo, 1)
            .of(&world.finish());

        let mut world = World::joined_with(silent);
        let sent = world.publish(1);
        world.deliver(&sent, 2);
        world.deliver(&sent, 3);
        world.reconnect(1, ConnectionEnd::WindowPassed);
        world.deliver(&sent, 1);
        Expect::default()
            .permitted(Permitted::EchoOnNewConnection, 1)
            .of(&world.finish());

        let mut world = World::joined(promise);
        world.publish_to_all(1);
        let sent = world.publish(1);
        world.deliver(&sent, 2);
        world.deliver(&sent, 3);
        Expect::default()
            .violation(Violation::Lost, 1)
            .of(&world.finish());
    }
}

#[test]
fn what_nobody_sent_is_fabricated() {
    for promise in PROMISES {
        for (far, tampered) in [(1, true), (1_000_000, true), (0, false)] {
            let mut world = World::joined(promise);
            warm(&mut world);
            let mut forged = world.publish_to_all(0);
            forged.identity.seq += far;
            if !tampered {
                forged.identity.publisher = Slot(77);
            }
            world.deliver(&forged, 3);
            let v = world.finish();
            Expect::default().violation(Violation::Fabricated, 1).of(&v);
            assert_eq!(v.delivery.delivered, v.delivery.expected);
        }
    }
}

#[test]
fn other_peoples_traffic_is_fabricated_only_on_a_hub_of_our_own() {
    for promise in PROMISES {
        for exclusive in [true, false] {
            for ours in [true, false] {
                let mut plan = plan(promise, 5, 1);
                plan.exclusive = exclusive;
                let mut world = World::joined_with(plan);
                warm(&mut world);
                let mut sent = world.publish_to_all(0);
                if ours {
                    sent.identity.run ^= 1;
                    world.deliver(&sent, 3);
                } else {
                    let id = world.next_id(3);
                    world.frame(3, id, Data::Text("hello".into()), "group-0", 0);
                }
                match exclusive {
                    true => Expect::default().violation(Violation::Fabricated, 1),
                    false => Expect::default().unknown(Unknown::Foreign, 1),
                }
                .of(&world.finish());
            }
        }
    }
}

#[test]
fn a_spoilt_payload_is_corrupted_once_wherever_it_is_hit() {
    for promise in PROMISES {
        // Padding, sequence number, publisher, magic, run; and a cut tail.
        for at in [56, 17, 9, 0, 4, usize::MAX] {
            let mut world = World::joined(promise);
            warm(&mut world);
            let sent = world.publish(0);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
            let template = Template {
                data_type: DataType::Text,
                size: 64,
                padding: Padding::Random,
            };
            let mut scratch = Vec::new();
            let Data::Text(text) = template.write(&sent.identity, &mut scratch) else {
                panic!("not text")
            };
            let mut bytes = text.into_owned().into_bytes();
            match bytes.get_mut(at) {
                Some(byte) => *byte = if *byte == b'x' { b'y' } else { b'x' },
                None => bytes.truncate(60),
            }
            let text = String::from_utf8(bytes).unwrap();
            let id = world.next_id(3);
            let verdict = world.frame(3, id, Data::Text(text.into()), "group-0", 0);
            assert_eq!(verdict.identity, None);
            warm(&mut world);
            let v = world.finish();
            Expect::default().violation(Violation::Corrupted, 1).of(&v);
            assert_eq!(v.delivery.delivered + 1, v.delivery.expected, "byte {at}");
            assert_eq!(v.delivery.verified, v.delivery.expected);
        }
    }
}

#[test]
fn a_wrong_envelope_is_named() {
    for promise in PROMISES {
        for wrong in ["group", "type", "user"] {
            let mut world = World::joined(promise);
            warm(&mut world);
            let sent = world.publish(0);
            world.deliver(&sent, 1);
            world.deliver(&sent, 2);
            let template = Template {
                data_type: if wrong == "type" {
                    DataType::Json
                } else {
                    DataType::Text
                },
                size: 64,
                padding: Padding::Random,
            };
            let mut scratch = Vec::new();
            let data = template.write(&sent.identity, &mut scratch).into_owned();
            let id = world.next_id(3);
            let group = if wrong == "group" {
                "group-1"
            } else {
                "group-0"
            };
            let from = u32::from(wrong == "user");
            assert!(world.frame(3, id, data, group, from).fresh);
            warm(&mut world);
            let v = world.finish();
            Expect::default()
                .violation(Violation::EnvelopeWrong, 1)
                .of(&v);
            assert_eq!(v.delivery.delivered, v.delivery.expected);
        }
    }
}

#[test]
fn success_and_nobody_served_is_a_lie_of_the_ack_two_of_three_is_a_loss() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        world.publish(0);
        warm(&mut world);
        let v = world.finish();
        Expect::default().violation(Violation::AckLie, 1).of(&v);
        assert_eq!(v.delivery.delivered + 3, v.delivery.expected);

        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 2);
        warm(&mut world);
        Expect::default()
            .violation(Violation::Lost, 2)
            .of(&world.finish());
    }
}

#[test]
fn a_resend_with_the_same_ack_id_executed_again_breaks_dedupe() {
    for promise in PROMISES {
        for cause in [Cause::AfterRecovery, Cause::AfterTimeout] {
            for errors in [false, true] {
                let mut world = World::joined(promise);
                warm(&mut world);
                if errors {
                    let refused = world.send(0, G);
                    world.answer(&refused, Answer::Error);
                    world.settle(&refused, Outcome::Unknown);
                }
                let sent = world.send(0, G);
                for receiver in 1..=3 {
                    world.deliver(&sent, receiver);
                }
                let again = world.resend(&sent, cause);
                world.ok(&again);
                for receiver in 1..=3 {
                    assert!(!world.deliver(&again, receiver).fresh);
                }
                // The lost answer may have been an error, and those are not remembered. On
                // a live transport no answer is lost, and only `reference` says that a hub
                // that answered no error so far answered none in a drop either.
                let lost = cause == Cause::AfterRecovery && promise == Promise::Published;
                let expect = match errors || lost {
                    false => Expect::default().violation(Violation::DedupeBroken, 3),
                    true => Expect::default().unknown(Unknown::DuplicatedAfterLostAnswer, 3),
                };
                let open = if errors { 3 } else { 0 };
                expect
                    .permitted(Permitted::PublishUnknown, open)
                    .of(&world.finish());
            }
        }
    }
}

#[test]
fn repetitions_that_the_protocol_permits_are_labelled_by_their_cause() {
    for promise in PROMISES {
        for (cause, label) in [
            (
                Cause::NewConnection,
                Permitted::DuplicatedByRetryOnNewConnection,
            ),
            (Cause::FreshAckId, Permitted::DuplicatedByRetryWithNewAckId),
            (Cause::AfterError, Permitted::DuplicatedByRetryAfterError),
        ] {
            let mut world = World::joined(promise);
            warm(&mut world);
            let sent = world.send(0, G);
            for receiver in 1..=3 {
                world.deliver(&sent, receiver);
            }
            if cause == Cause::AfterError {
                world.answer(&sent, Answer::Error);
            }
            let again = world.resend(&sent, cause);
            world.ok(&again);
            for receiver in 1..=3 {
                world.deliver(&again, receiver);
            }
            Expect::default().permitted(label, 3).of(&world.finish());
        }
    }
}

#[test]
fn one_execution_of_a_retried_message_delivered_twice_is_duplicated() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.send(0, G);
        let again = world.resend(&sent, Cause::NewConnection);
        world.ok(&again);
        for receiver in 1..=3 {
            world.deliver(&again, receiver);
        }
        world.deliver(&again, 2);
        Expect::default()
            .violation(Violation::Duplicated, 1)
            .of(&world.finish());
    }
}

#[test]
fn duplicate_to_a_first_transmission_proves_nothing() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.send(0, G);
        world.answer(&sent, Answer::Duplicate);
        world.settle(&sent, Outcome::Ok);
        warm(&mut world);
        Expect::default()
            .violation(Violation::AckFalseDuplicate, 1)
            .permitted(Permitted::PublishUnknown, 3)
            .of(&world.finish());
    }
}

#[test]
fn forbidden_and_delivered_all_the_same() {
    for promise in PROMISES {
        for delivered in [true, false] {
            let mut world = World::joined(promise);
            warm(&mut world);
            let sent = world.send(0, G);
            world.answer(&sent, Answer::Forbidden);
            world.settle(&sent, Outcome::Failed);
            if delivered {
                for receiver in 1..=3 {
                    world.deliver(&sent, receiver);
                }
            }
            warm(&mut world);
            let v = world.finish();
            match delivered {
                true => Expect::default().violation(Violation::AckForbiddenDelivered, 3),
                false => Expect::default().permitted(Permitted::PublishFailed, 3),
            }
            .of(&v);
            assert_eq!(v.delivery.expected, 30);
        }
    }
}

#[test]
fn answers_missing_and_answers_to_nothing_are_counted() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let now = world.tick();
        world.shard(0).ack_missing(Slot(0), AckId(3), now);
        Expect::default()
            .violation(Violation::AckMissing, 1)
            .of(&world.finish());

        let mut world = World::joined(promise);
        warm(&mut world);
        let now = world.tick();
        world.shard(0).unsolicited_ack(Slot(0), AckId(99), now);
        world.shard(0).late_ack(Slot(0), AckId(1), now);
        Expect::default()
            .violation(Violation::AckUnsolicited, 1)
            .of(&world.finish());
    }
}

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
fn what_nobody_asked_an_answer_for_may_be_lost_but_not_doubled() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.send(0, G);
        world.settle(&sent, Outcome::FireAndForget);
        world.deliver(&sent, 1);
        world.deliver(&sent, 1);
        let v = world.finish();
        Expect::default()
            .violation(Violation::Duplicated, 1)
            .permitted(Permitted::FireAndForget, 2)
            .of(&v);
        assert_eq!(v.delivery.not_owed, 1);
    }
}

#[test]
fn an_unanswered_leave_owes_nothing_and_may_still_receive() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let now = world.tick();
        world.shard(3).leave_invoked(Slot(3), G, AckId(1), now);
        let (a, b) = (world.publish(0), world.publish(0));
        for sent in [&a, &b] {
            world.deliver(sent, 1);
            world.deliver(sent, 2);
        }
        world.deliver(&a, 3);
        let v = world.finish();
        Expect::default()
            .permitted(Permitted::AtMembershipEdge, 1)
            .of(&v);
        assert_eq!(v.delivery.not_owed, 1);
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
fn a_retry_racing_a_recovery_may_be_answered_twice() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.send(0, G);
        world.lose(0);
        world.recover(0);
        let again = world.resend(&sent, Cause::AfterRecovery);
        for receiver in 1..=3 {
            world.deliver(&sent, receiver);
        }
        world.answer(&again, Answer::Duplicate);
        world.settle(&again, Outcome::Ok);
        // The first transmission's answer comes last: the outcome is final.
        world.answer(&sent, Answer::Success);
        let now = world.tick();
        world.shard(0).late_ack(Slot(0), sent.ack_id, now);
        Expect::default().of(&world.finish());
    }
}

#[test]
fn a_delivery_may_come_before_its_publishers_answer() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let sent = world.send(0, G);
        for receiver in 1..=3 {
            assert!(world.deliver(&sent, receiver).fresh);
        }
        world.wait(Duration::from_secs(2));
        world.ok(&sent);
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!(v.delivery.delivered, 3);
    }
}

#[test]
fn a_late_answer_does_not_turn_an_unknown_outcome_into_a_loss() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let sent = world.send(0, G);
        world.settle(&sent, Outcome::Unknown);
        world.wait(Duration::from_secs(1));
        world.answer(&sent, Answer::Success);
        warm(&mut world);
        Expect::default()
            .permitted(Permitted::PublishUnknown, 3)
            .of(&world.finish());
    }
}

#[test]
fn a_join_refused_after_a_resend_may_have_been_executed_all_the_same() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        let now = world.tick();
        world.shard(4).join_invoked(Slot(4), G, AckId(1), now);
        world.lose(4);
        world.recover(4);
        let now = world.tick();
        world.shard(4).join_invoked(Slot(4), G, AckId(1), now);
        let now = world.tick();
        world
            .shard(4)
            .join_answered(Slot(4), G, AckId(1), false, now);
        let sent = world.publish_to_all(0);
        world.deliver(&sent, 4);
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!(v.delivery.not_owed, 1);
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
