//! Answers to publishes, and publishes sent again (D4, A1 to A4; see `unanswered`).

use std::time::Duration;

use hubstorm::base::{AckId, Slot};
use hubstorm::payload::Cause;
use hubstorm::verify::{Answer, Outcome, Permitted, Promise, Unknown, Violation};

use crate::world::{Expect, G, PROMISES, World};

use super::warm;

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
fn answers_to_nothing_are_counted_and_late_ones_are_not() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let now = world.tick();
        world.shard(0).unsolicited_ack(Slot(0), AckId(99), now);
        world.ack(0, AckId(1));
        Expect::default()
            .violation(Violation::AckUnsolicited, 1)
            .of(&world.finish());
    }
}

#[test]
fn what_nobody_asked_an_answer_for_may_be_lost_but_not_doubled() {
    for promise in PROMISES {
        let mut world = World::joined(promise);
        warm(&mut world);
        let sent = world.shout(0, G);
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
