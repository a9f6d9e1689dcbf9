//! Mode `digest`: by counts and sums of hashes alone, what is lost, repeated or invented is
//! seen, an honest hub is never accused, and what cannot be decided is never called verified.

use std::time::Duration;

use hubstorm::base::GroupId;
use hubstorm::payload::Cause;
use hubstorm::verify::{
    Answer, ConnectionEnd, Mode, Outcome, Permitted, Plan, Promise, Unknown, Verification,
    Violation,
};

use crate::world::{Expect, G, PROMISES, World, plan};

fn digest(promise: Promise) -> Plan {
    Plan {
        mode: Mode::Digest,
        ..plan(promise, 5, 2)
    }
}

fn joined(promise: Promise) -> World {
    World::joined_with(digest(promise))
}

/// (expected, delivered, lost, unverified)
fn owed(v: &Verification) -> (u64, u64, u64, u64) {
    let d = &v.delivery;
    assert!(d.balances(), "{d:?}");
    (d.expected, d.delivered, d.lost, d.unverified)
}

#[test]
fn what_came_once_is_verified_and_order_is_not() {
    for promise in PROMISES {
        let mut world = joined(promise);
        for _ in 0..5 {
            world.publish_to_all(0);
        }
        // Out of order: nobody sees it, and nobody says that all was well.
        let (first, second) = (world.publish(0), world.publish(0));
        for receiver in 1..=3 {
            world.deliver(&second, receiver);
            world.deliver(&first, receiver);
        }
        world.wait(Duration::from_secs(200));
        world.publish_to_all(4);
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!(owed(&v), (24, 24, 0, 0));
        assert_eq!(v.verifier.mode, "digest");
        assert!(v.verifier.not_verified.contains(&"reordered"));
        let idle = &v.verifier.not_exercised;
        assert!(idle.iter().any(|p| p.starts_with("O1 ")), "{idle:?}");
        assert_eq!(v.inconclusive, Vec::<String>::new());
    }
}

#[test]
fn a_loss_is_counted_and_its_hash_names_it() {
    for late in [false, true] {
        let mut world = joined(Promise::Published);
        world.publish_to_all(0);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        world.publish_to_all(0);
        if late {
            // Judged before the end: a segment is judged a minute after it was settled.
            world.wait(Duration::from_secs(150));
        }
        world.publish_to_all(0);
        let v = world.finish();
        Expect::default().violation(Violation::Lost, 1).of(&v);
        assert_eq!(owed(&v), (12, 11, 1, 0));
        let incident = &v.incidents[0];
        assert!(incident.summary.contains("slot 3"), "{incident:#?}");
        assert!(incident.summary.contains("does not tell which"));
        assert_eq!(incident.group.as_deref(), Some("group-0"));
        let evidence = incident.evidence.join("\n");
        assert!(
            evidence.contains("hash of message 0/group-0#2"),
            "{evidence}"
        );
    }
}

#[test]
fn a_repetition_is_counted() {
    for promise in PROMISES {
        let mut world = joined(promise);
        let sent = world.publish_to_all(0);
        world.publish_to_all(0);
        world.deliver(&sent, 2);
        world.wait(Duration::from_secs(100));
        world.publish_to_all(0);
        let v = world.finish();
        Expect::default().violation(Violation::Duplicated, 1).of(&v);
        assert_eq!(owed(&v), (9, 9, 0, 0));
        let evidence = v.incidents[0].evidence.join("\n");
        assert!(
            evidence.contains("hash of message 0/group-0#1"),
            "{evidence}"
        );
    }
}

#[test]
fn a_loss_does_not_hide_behind_a_repetition() {
    let mut world = joined(Promise::Published);
    let first = world.publish_to_all(0);
    let second = world.publish(0);
    for receiver in 1..=2 {
        world.deliver(&second, receiver);
    }
    world.deliver(&first, 3);
    let v = world.finish();
    Expect::default()
        .violation(Violation::Lost, 1)
        .violation(Violation::Duplicated, 1)
        .of(&v);
    assert_eq!(owed(&v), (6, 5, 1, 0));
}

#[test]
fn a_message_beyond_the_last_one_sent_is_fabricated() {
    let mut world = joined(Promise::Published);
    let mut sent = world.publish_to_all(0);
    sent.identity.seq = 40;
    // Its publisher is of the other shard, whose facts tell only later how far it went.
    world.deliver(&sent, 3);
    let v = world.finish();
    Expect::default().violation(Violation::Fabricated, 1).of(&v);
    assert_eq!(owed(&v), (3, 3, 0, 0));
}

/// What is not owed may come or not: a digest that cannot set it apart would be wrong by it.
#[test]
fn failed_unknown_unacked_and_retried_publishes_do_not_disturb_the_sums() {
    for promise in PROMISES {
        for came in [false, true] {
            let mut world = joined(promise);
            world.publish_to_all(0);
            for (nth, outcome) in [Outcome::Unknown, Outcome::Failed, Outcome::FireAndForget]
                .into_iter()
                .enumerate()
            {
                let sent = world.send(0, G);
                if came {
                    world.deliver(&sent, nth as u32 + 1);
                }
                world.settle(&sent, outcome);
            }
            let sent = world.send(0, G);
            world.answer(&sent, Answer::Error);
            if came {
                world.deliver(&sent, 1);
            }
            let again = world.resend(&sent, Cause::AfterError);
            world.ok(&again);
            for receiver in 1..=3 {
                world.deliver(&again, receiver);
            }
            world.publish_to_all(0);
            let v = world.finish();
            let n = u64::from(came);
            Expect::default()
                .permitted(Permitted::PublishUnknown, 3 - n)
                .permitted(Permitted::PublishFailed, 3 - n)
                .permitted(Permitted::FireAndForget, 3 - n)
                .permitted(Permitted::DuplicatedByRetryAfterError, n)
                .of(&v);
            assert_eq!(owed(&v), (9, 9, 0, 0));
            assert_eq!(v.delivery.not_owed, 3 * n);
        }
    }
}

#[test]
fn a_forbidden_message_that_came_is_still_named() {
    let mut world = joined(Promise::Published);
    world.publish_to_all(0);
    let sent = world.send(0, G);
    world.answer(&sent, Answer::Forbidden);
    world.deliver(&sent, 2);
    world.settle(&sent, Outcome::Failed);
    let v = world.finish();
    Expect::default()
        .violation(Violation::AckForbiddenDelivered, 1)
        .permitted(Permitted::PublishFailed, 2)
        .of(&v);
}

/// Messages of before the join's floor may come and are not owed.
#[test]
fn what_races_a_join_is_set_apart() {
    for came in [false, true] {
        let mut world = joined(Promise::Reference);
        world.connect(4);
        let ack_id = world.ask(4, G, true);
        let racing = world.publish_to_all(0);
        if came {
            world.deliver(&racing, 4);
        }
        world.told(4, G, true, ack_id);
        world.facts();
        let sent = world.publish_to_all(0);
        world.deliver(&sent, 4);
        let v = world.finish();
        let missed = u64::from(!came);
        Expect::default()
            .permitted(Permitted::AtMembershipEdge, missed)
            .of(&v);
        assert_eq!(owed(&v), (7, 7, 0, 0));
        assert_eq!(v.delivery.not_owed, 1 - missed);
    }
}

#[test]
fn what_a_reconnect_may_have_cost_is_unverified_and_what_came_after_is_not() {
    for missed in [false, true] {
        let mut world = joined(Promise::Published);
        world.publish_to_all(0);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        if !missed {
            world.deliver(&sent, 3);
        }
        world.wait(Duration::from_secs(1));
        world.reconnect(3, ConnectionEnd::WindowPassed);
        world.wait(Duration::from_secs(11));
        for _ in 0..4 {
            world.publish_to_all(0);
        }
        let v = world.finish();
        Expect::default().of(&v);
        // Both messages of the window that ended: one came, but which of them is not known.
        let unverified = if missed { 2 } else { 0 };
        assert_eq!(owed(&v), (18, 18 - unverified, 0, unverified));
        assert_eq!(v.inconclusive.len(), usize::from(missed));
    }
}

#[test]
fn a_copy_on_the_old_and_on_the_new_connection_is_permitted() {
    let mut world = joined(Promise::Published);
    world.publish_to_all(0);
    let sent = world.publish_to_all(0);
    world.reconnect(3, ConnectionEnd::WindowPassed);
    world.deliver(&sent, 3);
    let v = world.finish();
    Expect::default()
        .permitted(Permitted::DuplicatedAcrossConnections, 1)
        .of(&v);
    assert_eq!(owed(&v), (6, 6, 0, 0));
}

#[test]
fn own_messages_sent_with_no_echo_are_not_owed() {
    let mut plan = digest(Promise::Reference);
    plan.slots[1].no_echo = true;
    let mut world = World::joined_with(plan);
    for publisher in [0, 1] {
        let sent = world.publish(publisher);
        for receiver in 1..=3 {
            if receiver != publisher {
                world.deliver(&sent, receiver);
            }
        }
    }
    // Its own message comes back all the same.
    let sent = world.publish(1);
    for receiver in 1..=3 {
        world.deliver(&sent, receiver);
    }
    let v = world.finish();
    Expect::default().violation(Violation::Echo, 1).of(&v);
    assert_eq!(owed(&v), (7, 7, 0, 0));
}

#[test]
fn a_spoilt_payload_is_not_counted_as_lost_too() {
    let mut world = joined(Promise::Published);
    world.publish_to_all(0);
    let sent = world.publish(0);
    world.deliver(&sent, 1);
    world.deliver(&sent, 2);
    let mut scratch = Vec::new();
    let template = hubstorm::payload::Template {
        data_type: hubstorm::wire::DataType::Text,
        size: 64,
        padding: hubstorm::payload::Padding::Random,
    };
    let hubstorm::wire::Data::Text(text) = template.write(&sent.identity, &mut scratch) else {
        unreachable!("a text template writes text");
    };
    let mut text = text.into_owned();
    let last = if text.pop() == Some('x') { 'y' } else { 'x' };
    text.push(last);
    let id = world.next_id(3);
    world.frame(3, id, hubstorm::wire::Data::Text(text.into()), "group-0", 0);
    let v = world.finish();
    Expect::default().violation(Violation::Corrupted, 1).of(&v);
    assert_eq!(owed(&v), (6, 5, 1, 0));
}

#[test]
fn a_receiver_away_at_the_end_and_deliveries_beyond_the_cap_are_unverified() {
    let mut world = joined(Promise::Reference);
    world.publish_to_all(0);
    world.wait(Duration::from_secs(100));
    world.lose(3);
    let sent = world.publish(0);
    world.deliver(&sent, 1);
    world.deliver(&sent, 2);
    let v = world.finish();
    Expect::default().of(&v);
    assert_eq!(owed(&v), (6, 5, 0, 1));

    let mut world = joined(Promise::Reference);
    for shard in &mut world.shards {
        shard.limit_held(2);
    }
    for _ in 0..5 {
        world.publish_to_all(0);
    }
    let v = world.finish();
    Expect::default().of(&v);
    // One of the first shard keeps two deliveries that wait and is blind from the third on.
    assert_eq!(owed(&v), (15, 0, 0, 15));
    assert!(!v.inconclusive.is_empty());
}

#[test]
fn a_copy_of_what_was_judged_long_ago_is_unknown() {
    let mut world = joined(Promise::Published);
    let sent = world.publish_to_all(0);
    world.wait(Duration::from_secs(120));
    assert!(!world.deliver(&sent, 3).fresh);
    let v = world.finish();
    Expect::default()
        .unknown(Unknown::LateOrDuplicate, 1)
        .of(&v);
    assert_eq!(owed(&v), (3, 3, 0, 0));
}

/// The drain ends when nothing is missing: counting too little would end it too early.
#[test]
fn what_is_still_on_its_way_is_missing() {
    let mut world = joined(Promise::Published);
    let missing = |world: &World| -> (u64, u64) {
        let all = world.shards.iter().map(|s| s.progress(world.time()));
        all.fold((0, 0), |sum, p| (sum.0 + p.missing, sum.1 + p.overdue))
    };
    let sent = world.publish(0);
    world.wait(Duration::from_millis(500));
    assert_eq!(missing(&world), (3, 0));
    world.deliver(&sent, 1);
    world.deliver(&sent, 3);
    assert_eq!(missing(&world), (1, 0));
    world.wait(Duration::from_secs(12));
    assert_eq!(missing(&world), (1, 1));
    world.deliver(&sent, 2);
    assert_eq!(missing(&world), (0, 0));
    let first = world.send(0, G);
    let again = world.resend(&first, Cause::AfterTimeout);
    world.ok(&again);
    world.wait(Duration::from_millis(500));
    assert_eq!(missing(&world), (3, 0));
    for receiver in 1..=3 {
        world.deliver(&again, receiver);
    }
    assert_eq!(missing(&world), (0, 0));
    let v = world.finish();
    Expect::default().of(&v);
    assert_eq!(owed(&v), (6, 6, 0, 0));
}

#[test]
fn groups_without_receivers_here_and_streams_that_begin_late_are_in_the_books() {
    let mut world = joined(Promise::Reference);
    for round in 0..30 {
        if round >= 15 {
            world.publish_to_all(4);
        }
        world.publish_to_all(0);
        let sent = world.send(0, GroupId(1));
        world.ok(&sent);
        world.wait(Duration::from_secs(5));
    }
    let v = world.finish();
    Expect::default().of(&v);
    assert_eq!(owed(&v), (135, 135, 0, 0));
}
