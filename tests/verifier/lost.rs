//! A thread that is gone: what its receivers were owed is unverified to the pair, what its
//! publishers sent beyond its last word is nobody's fault, and all others are judged as ever.

use std::time::Duration;

use hubstorm::verify::{ConnectionEnd, Promise, Unknown, Violation};

use crate::world::{Expect, G, PROMISES, World};

/// Receivers 1 (first thread), 2 and 3 (second thread); 3 leaves for a while. Gives the
/// pairs that each was owed.
fn coming_and_going(world: &mut World, lost: bool) -> [u64; 3] {
    let pause = Duration::from_secs(1);
    for _ in 0..5 {
        world.publish_to_all(0);
    }
    world.wait(pause);
    world.leave(3, G);
    world.wait(pause);
    for _ in 0..4 {
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
    }
    world.wait(pause);
    world.join(3, G);
    world.wait(Duration::from_secs(11));
    for _ in 0..3 {
        world.publish_to_all(0);
    }
    world.wait(pause);
    if lost {
        world.lose_thread(1);
    }
    for _ in 0..2 {
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        if !lost {
            world.deliver(&sent, 2);
            world.deliver(&sent, 3);
        }
    }
    [5 + 4 + 3 + 2, 5 + 4 + 3 + 2, 5 + 3 + 2]
}

/// A mirror that counted too few would call the rest of a run verified, one that counted too
/// many would owe what nobody was.
#[test]
fn the_receivers_of_a_lost_thread_are_owed_what_they_would_have_been() {
    for promise in PROMISES {
        let mut alive = World::mirrored(promise);
        let owed = coming_and_going(&mut alive, false);
        let v = alive.finish();
        Expect::default().of(&v);
        assert_eq!(v.delivery.expected, owed.iter().sum::<u64>());
        assert_eq!((v.verifier.threads, v.verifier.threads_lost), (2, 0));

        let mut world = World::mirrored(promise);
        coming_and_going(&mut world, true);
        let v = world.finish();
        Expect::default().of(&v);
        assert!(v.delivery.balances());
        assert_eq!(v.delivery.expected, owed.iter().sum::<u64>());
        assert_eq!(v.delivery.delivered, owed[0]);
        assert_eq!(v.delivery.unverified, owed[1] + owed[2]);
        assert_eq!((v.verifier.threads, v.verifier.threads_lost), (2, 1));
        let why = v.inconclusive.join("; ");
        assert!(why.contains("slots 2 to 4 is gone"), "{why}");
    }
}

/// Minutes later everything is folded into counters: the number must not change with it.
#[test]
fn what_was_folded_long_ago_is_still_counted() {
    let mut world = World::mirrored(Promise::Published);
    let owed = coming_and_going(&mut world, false);
    world.wait(Duration::from_secs(200));
    world.reconnect(2, ConnectionEnd::WindowPassed);
    world.wait(Duration::from_secs(200));
    world.lose_thread(1);
    let sent = world.publish(0);
    world.deliver(&sent, 1);
    let v = world.finish();
    Expect::default().of(&v);
    // Slot 2 came back without joining: what followed its end counts too, as nobody else
    // knows whether it was permitted to miss it.
    assert_eq!(v.delivery.unverified, owed[1] + owed[2] + 2);
}

/// The hub delivered what a thread published in its last moments. No facts tell of it, and
/// without them it looks invented.
#[test]
fn what_a_lost_publisher_sent_beyond_its_last_word_is_not_fabricated() {
    for promise in PROMISES {
        let mut world = World::mirrored(promise);
        for _ in 0..3 {
            world.publish_to_all(0);
        }
        world.facts();
        for _ in 0..2 {
            let sent = world.publish(0);
            world.deliver(&sent, 2);
            world.deliver(&sent, 3);
        }
        // Of a living publisher the same is a lie as ever.
        let mut forged = world.publish(4);
        for receiver in [2, 3] {
            world.deliver(&forged, receiver);
        }
        forged.identity.seq += 7;
        forged.identity.tx += 7;
        world.deliver(&forged, 2);
        world.lose_thread(0);
        let v = world.finish();
        Expect::default()
            .violation(Violation::Fabricated, 1)
            .unknown(Unknown::BeyondLastFacts, 4)
            .of(&v);
        assert!(v.delivery.balances());
        // Slot 1 was owed three of publisher 0 and one of publisher 4.
        assert_eq!(v.delivery.unverified, 4);
        assert_eq!(v.delivery.delivered, 3 * 2 + 2);
    }
}

/// That nobody got an acked message can only be said of receivers that somebody heard.
#[test]
fn a_lost_thread_may_have_got_what_no_other_did() {
    let mut world = World::mirrored(Promise::Published);
    for _ in 0..2 {
        world.publish_to_all(0);
    }
    world.publish(0);
    world.publish_to_all(0);
    world.facts();
    world.lose_thread(0);
    let v = world.finish();
    Expect::default().violation(Violation::Lost, 2).of(&v);
    assert_eq!(v.delivery.unverified, 4);
}
