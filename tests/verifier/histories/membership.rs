//! Joins and leaves: which windows owe what (D2, D3, D5, D6).

use std::time::Duration;

use hubstorm::base::{AckId, Slot};
use hubstorm::verify::{ConnectionEnd, Permitted, Promise, Unknown, Violation};

use crate::world::{Expect, G, PROMISES, World, plan};

use super::warm;

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
