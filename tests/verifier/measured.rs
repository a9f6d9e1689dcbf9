//! What is measured and not judged: orders at two receivers and across groups, how far
//! publishes without an outcome came, late deliveries. Exact figures on small histories.

use std::time::Duration;

use hubstorm::base::GroupId;
use hubstorm::verify::{Answer, ConnectionEnd, Measured, Outcome, Promise, Violation};

use crate::world::{Expect, G, Sent, World, plan};

/// Slots 0 to 3 publish, 4 to 9 receive, all in one thread; everybody knows.
fn world(receivers: u32, groups: u32) -> World {
    // Slots below the cut are the other thread's.
    let mut world = World::new(plan(Promise::Reference, 20, groups as usize));
    for slot in 0..4 {
        world.connect(slot);
    }
    for slot in 10..10 + receivers {
        world.connect(slot);
        for group in 0..groups {
            world.join(slot, GroupId(group));
        }
    }
    world.wait(Duration::from_secs(11));
    world
}

fn deliver(world: &mut World, receiver: u32, messages: &[Sent]) {
    for message in messages {
        world.deliver(message, receiver);
    }
}

fn honest(world: World) -> Measured {
    let verification = world.finish();
    Expect::default().of(&verification);
    assert!(!verification.verifier.sampled, "every pair is judged");
    verification.measured
}

/// Two messages of different publishers that two receivers get in different orders are no
/// fault, and must be seen all the same.
#[test]
fn two_orders_at_two_receivers_are_measured_and_not_judged() {
    let mut world = world(3, 1);
    let [a, b, c] = [0, 1, 0].map(|publisher| world.publish(publisher));
    deliver(&mut world, 10, &[a, b, c]);
    deliver(&mut world, 11, &[a, b, c]);
    deliver(&mut world, 12, &[b, a, c]);
    let measured = honest(world);
    // Three pairs of receivers; of three pairs of messages two are of different publishers.
    assert_eq!(measured.pairs_compared, 6);
    assert_eq!(measured.inversions, 2, "12 against 10 and 11");
    assert_eq!(
        (measured.windows, measured.noted, measured.not_noted),
        (1, 9, 0)
    );
    assert_eq!(measured.publisher_pairs_compared, 0);
}

/// One publisher's messages in the wrong order are a violation, and no inversion beside it.
#[test]
fn the_order_of_one_publisher_is_judged_and_not_measured() {
    let mut world = world(2, 1);
    let [a, b] = [0, 0].map(|publisher| world.publish(publisher));
    deliver(&mut world, 10, &[a, b]);
    deliver(&mut world, 11, &[b, a]);
    let verification = world.finish();
    let measured = verification.measured;
    Expect::default()
        .violation(Violation::Reordered, 1)
        .of(&verification);
    assert_eq!((measured.pairs_compared, measured.inversions), (0, 0));
}

/// The fifth member and what one witness alone has seen compare with nothing.
#[test]
fn four_members_of_a_group_are_witnesses_and_only_what_both_saw_counts() {
    let mut world = world(6, 1);
    let [a, b, c] = [0, 1, 2].map(|publisher| world.publish(publisher));
    deliver(&mut world, 10, &[a, b, c]);
    for slot in 11..14 {
        deliver(&mut world, slot, &[a, b, c]);
    }
    for slot in 14..16 {
        deliver(&mut world, slot, &[c, b, a]);
    }
    let d = world.send(3, G);
    world.settle(&d, Outcome::Unknown);
    world.deliver(&d, 10);
    let verification = world.finish();
    let measured = verification.measured;
    assert_eq!(measured.noted, 4 * 3 + 1);
    assert_eq!(measured.pairs_compared, 6 * 3);
    assert_eq!(
        measured.inversions, 0,
        "the fifth and sixth are no witnesses"
    );
}

/// A window lasts a second and comes back after thirty, with the next four members.
#[test]
fn a_second_in_every_thirty_is_looked_at_by_other_members_each_time() {
    let mut world = world(6, 1);
    let round = |world: &mut World, swapped: u32| {
        let [a, b] = [0, 1].map(|publisher| world.publish(publisher));
        for slot in 10..16 {
            match slot == swapped {
                true => deliver(world, slot, &[b, a]),
                false => deliver(world, slot, &[a, b]),
            }
        }
    };
    round(&mut world, 15);
    world.wait(Duration::from_millis(1500));
    round(&mut world, 10);
    world.wait(Duration::from_secs(5));
    let progress = |world: &mut World| {
        let now = world.time();
        world.shards[1].progress(now).measured
    };
    let first = progress(&mut world);
    assert_eq!((first.windows, first.noted), (1, 8));
    assert_eq!((first.pairs_compared, first.inversions), (6, 0));
    // The window that begins 30 s after the first: members 14, 15, 10 and 11.
    world.wait(Duration::from_millis(23_600));
    round(&mut world, 15);
    world.wait(Duration::from_secs(2));
    let second = progress(&mut world);
    assert_eq!((second.windows, second.noted), (2, 16));
    assert_eq!((second.pairs_compared, second.inversions), (12, 3));
    assert_eq!(
        honest(world),
        second,
        "nothing was noted outside of the windows"
    );
}

/// A receiver in two groups of one publisher may get them against the order of sending.
#[test]
fn the_order_of_one_publisher_across_groups_is_measured_by_transport() {
    let mut world = world(1, 3);
    let [a, b, c] = [0, 1, 0].map(|group| {
        let sent = world.send(0, GroupId(group));
        world.ok(&sent);
        sent
    });
    // Another connection of the publisher: nothing orders the two.
    world.on_lane(0, 1);
    let d = world.send(0, GroupId(2));
    world.ok(&d);
    let other = world.publish(1);
    for sent in [b, a, d, other, c] {
        let group = format!("group-{}", sent.identity.group);
        world.deliver_in(&sent, 10, &group);
    }
    let measured = honest(world);
    assert_eq!(measured.publisher_pairs_compared, 2, "a and b, b and c");
    assert_eq!(measured.publisher_inversions, 1);
    assert_eq!(
        measured.pairs_compared, 0,
        "one receiver compares with nobody"
    );
}

/// More than is noted in a window is told, and everything is judged all the same.
#[test]
fn what_does_not_fit_into_a_window_is_counted() {
    let mut world = world(2, 1);
    let notes_max = 16_384;
    let mut sent = 0;
    // 10 µs each: they all fit into the second.
    for _ in 0..notes_max / 2 + 7 {
        let message = world.publish(0);
        world.deliver(&message, 10);
        world.deliver(&message, 11);
        sent += 2;
    }
    let measured = honest(world);
    assert_eq!(measured.noted, notes_max);
    assert_eq!(measured.not_noted, sent - notes_max);
}

/// The notes are memory of the verifier's, and given back.
#[test]
fn notes_are_counted_as_memory_and_kept_out_of_a_full_budget() {
    let mut world = world(2, 1);
    let held = |world: &mut World| {
        let now = world.time();
        world.shards[1].tick(now);
        world.shards[1].progress(now).bytes
    };
    world.wait(Duration::from_secs(1));
    let before = held(&mut world);
    let message = world.publish(0);
    deliver(&mut world, 10, &[message]);
    deliver(&mut world, 11, &[message]);
    let now = world.tick();
    let during = world.shards[1].progress(now).bytes;
    assert!(during >= before + 16_384 * 24, "{before} then {during}");
    world.wait(Duration::from_secs(3));
    let after = held(&mut world);
    assert!(after < before + 4096, "{before} then {after}");
    // With no room in the budget nothing is noted, and everything is judged.
    let mut tight = plan(Promise::Reference, 20, 1);
    tight.memory_budget = before + 100_000;
    let mut world = World::new(tight);
    for slot in [0, 10, 11] {
        world.connect(slot);
    }
    world.join(10, G);
    world.join(11, G);
    world.wait(Duration::from_secs(11));
    let message = world.publish(0);
    deliver(&mut world, 10, &[message]);
    deliver(&mut world, 11, &[message]);
    let measured = honest(world);
    assert_eq!((measured.noted, measured.not_noted), (0, 2));
}

/// A publish that nobody knows the outcome of may have come to all, some or none of those
/// that a success would have been owed to; receivers of both threads count.
#[test]
fn publishes_of_unknown_outcome_are_told_by_how_far_they_came() {
    let mut world = World::new(plan(Promise::Reference, 6, 2));
    for slot in 0..6 {
        world.connect(slot);
    }
    // 1 and 2 in one thread, 3 and 4 in the other.
    for slot in 1..=4 {
        world.join(slot, G);
    }
    world.wait(Duration::from_secs(11));
    let unknown = |world: &mut World, to: &[u32]| {
        let sent = world.send(0, G);
        for receiver in to {
            world.deliver(&sent, *receiver);
        }
        world.answer(&sent, Answer::Error);
        world.settle(&sent, Outcome::Unknown);
    };
    unknown(&mut world, &[1, 2, 3, 4]);
    unknown(&mut world, &[1, 2]);
    unknown(&mut world, &[3, 4]);
    unknown(&mut world, &[]);
    unknown(&mut world, &[]);
    // Owed to nobody: in no class.
    let nobody = world.send(0, GroupId(1));
    world.answer(&nobody, Answer::Error);
    world.settle(&nobody, Outcome::Unknown);
    // Without an answer asked for, and a success between.
    let unasked = world.shout(0, G);
    world.deliver(&unasked, 4);
    let ok = world.publish(0);
    deliver(&mut world, 1, &[ok]);
    for receiver in [2, 3, 4] {
        world.deliver(&ok, receiver);
    }
    // Folded long before the end, and one more at the end.
    world.wait(Duration::from_secs(80));
    unknown(&mut world, &[2]);
    let verification = world.finish();
    let measured = verification.measured;
    assert_eq!(measured.unknown_to_all, 1);
    assert_eq!(measured.unknown_to_some, 3);
    assert_eq!(measured.unknown_to_none, 2);
    let unasked = [
        measured.unacked_to_all,
        measured.unacked_to_some,
        measured.unacked_to_none,
    ];
    assert_eq!(unasked, [0, 1, 0]);
    assert_eq!(measured.unknown_untold, 0);
    assert_eq!(
        verification.violations.total(),
        0,
        "no verdict on any of it"
    );
}

/// Who was away, or had not surely joined, would not have been owed it: not a receiver that
/// an unknown publish passed by.
#[test]
fn a_receiver_that_was_owed_nothing_does_not_make_some_of_all() {
    let mut world = World::joined(Promise::Reference);
    let sent = world.send(0, G);
    for receiver in 1..=2 {
        world.deliver(&sent, receiver);
    }
    world.settle(&sent, Outcome::Unknown);
    world.wait(Duration::from_millis(500));
    // Receiver 3's session ends: what came after its last delivery is permitted to be lost.
    world.reconnect(3, ConnectionEnd::Refused);
    world.wait(Duration::from_secs(1));
    let verification = world.finish();
    assert_eq!(verification.measured.unknown_to_all, 1);
    assert_eq!(verification.measured.unknown_to_some, 0);
}

/// A delivery later than the limit is late, and nothing else.
#[test]
fn late_is_counted_from_the_intended_time_and_is_no_fault() {
    let mut world = World::joined(Promise::Reference);
    let sent = world.publish(0);
    world.deliver(&sent, 1);
    // The plan's limit is 2 s.
    world.now = sent.identity.intended + 2_000_000 - 10;
    world.deliver(&sent, 2);
    world.deliver(&sent, 3);
    let measured = honest(world);
    assert_eq!(
        measured.late, 1,
        "receiver 2 got it after 2 s to the microsecond"
    );
}
