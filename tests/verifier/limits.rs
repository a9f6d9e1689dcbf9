//! The verifier's doubts about itself: what it did not see it never calls verified, and
//! what does not balance makes the verdict inconclusive.

use std::time::Duration;

use hubstorm::base::{GroupId, Slot};
use hubstorm::payload::{Padding, Template};
use hubstorm::verify::{ConnectionEnd, Mode, Outcome, Promise, Verification, Violation};
use hubstorm::wire::{Data, DataType};

use crate::world::{Expect, G, World, plan};

#[track_caller]
fn self_check_says(v: &Verification, text: &str) {
    assert!(
        v.verifier.self_check.contains(text),
        "{:?}",
        v.verifier.self_check
    );
    assert!(v.inconclusive.iter().any(|why| why.contains("self-check")));
}

#[test]
fn a_frame_dropped_between_socket_and_verifier_trips_the_self_check() {
    for dropped in [0, 1] {
        let mut world = World::joined(Promise::Reference);
        for _ in 0..10 {
            world.publish_to_all(0);
        }
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        if dropped == 0 {
            world.deliver(&sent, 3);
        } else {
            world.skip_id(3);
        }
        // Slot 1 is of the first shard, slots 2 and 3 of the second: 11 and 22 frames were
        // read from the sockets, whatever came of them.
        world.shard(0).frames_from_socket(11);
        world.shard(4).frames_from_socket(22);
        let v = world.finish();
        if dropped == 0 {
            Expect::default().of(&v);
            let unused = &v.verifier.not_exercised;
            assert!(!unused.iter().any(|p| p.starts_with("channel")));
        } else {
            self_check_says(&v, "22 data frames read from sockets, 21 reached");
        }
    }
}

#[test]
fn a_receiver_still_away_at_the_end_leaves_its_pairs_unverified() {
    for promise in crate::world::PROMISES {
        let mut world = World::joined(promise);
        world.publish_to_all(0);
        world.lose(3);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!((v.delivery.expected, v.delivery.verified), (6, 5));
        assert_eq!(v.delivery.unverified, 1);
        assert!(v.inconclusive.iter().any(|why| why.contains("1 of 6 owed")));
    }
}

#[test]
fn holes_beyond_the_cap_are_unverified_to_the_pair_and_nobody_is_accused() {
    let slots = 54;
    let plan = plan(Promise::Reference, slots, 1);
    let mut world = World::new(plan);
    for slot in 0..slots as u32 {
        world.connect(slot);
        if slot >= 1 {
            world.join(slot, G);
        }
    }
    world.wait(Duration::from_secs(11));
    for shard in &mut world.shards {
        shard.limit_holes(10);
    }
    // Of two messages the first is withheld from everybody else but slot 1: 26 + 26 holes.
    let (first, second) = (world.publish(0), world.publish(0));
    world.deliver(&first, 1);
    for slot in 1..slots as u32 {
        world.deliver(&second, slot);
    }
    let v = world.finish();
    // 25 pairs of the first shard and 27 of the second miss one; ten each are followed.
    assert_eq!(v.violations.get(Violation::Lost), 20);
    assert_eq!(v.delivery.expected, 53 * 2);
    // A pair given up loses sight of both messages.
    assert_eq!(v.delivery.unverified, 32 * 2);
    assert_eq!(
        v.delivery.verified + v.delivery.unverified,
        v.delivery.expected
    );
    assert_eq!(v.verifier.self_check, "ok");
    assert!(!v.inconclusive.is_empty());
}

#[test]
fn a_budget_too_small_stops_tracking_and_says_so() {
    let mut small = plan(Promise::Reference, 5, 1);
    small.memory_budget = 10;
    let mut world = World::joined_with(small);
    for _ in 0..10 {
        world.publish_to_all(0);
    }
    let v = world.finish();
    Expect::default().of(&v);
    assert_eq!(v.delivery.expected, 30);
    assert_eq!(v.delivery.unverified, 30);
    assert!(
        v.inconclusive
            .iter()
            .any(|why| why.contains("memory budget"))
    );
}

/// A receiver that found no room is not followed, also when there is room again by the next
/// count: the reason must be told whichever way it came about.
#[test]
fn whatever_is_not_tracked_for_want_of_room_is_told() {
    let run = |budget: u64| {
        let mut tight = plan(Promise::Reference, 5, 1);
        tight.memory_budget = budget;
        let mut world = World::joined_with(tight);
        for _ in 0..3 {
            world.wait(Duration::from_secs(2));
            world.publish_to_all(0);
        }
        world.finish()
    };
    // What each of the two threads holds when nothing has to give way: about there it is a
    // receiver's own room that does not fit, and not what is held already.
    let each = run(1 << 30).verifier.bytes / 2;
    let (mut refused, mut whole) = (0, 0);
    for budget in (each - 4096..each + 1024).step_by(16) {
        let v = run(budget);
        let why = v.inconclusive.join("; ");
        match v.delivery.unverified {
            0 => whole += 1,
            _ => {
                refused += 1;
                assert!(why.contains("nothing new was tracked"), "{budget}: {why}");
            }
        }
    }
    assert!(refused > 0 && whole > 0, "{refused} and {whole}");
}

#[test]
fn counting_only_verifies_no_delivery() {
    let mut counts = plan(Promise::Reference, 5, 1);
    counts.mode = Mode::Counts;
    let mut world = World::joined_with(counts);
    for _ in 0..4 {
        world.publish_to_all(0);
    }
    let id = world.last_id(2);
    world.frame(2, id, Data::Text("anything".into()), "group-0", 0);
    let v = world.finish();
    Expect::default()
        .violation(Violation::SequenceRepeated, 1)
        .of(&v);
    assert_eq!((v.delivery.expected, v.delivery.unverified), (12, 12));
    assert_eq!(v.delivery.verified, 0);
    assert_eq!(v.verifier.mode, "counts");
    assert!(v.inconclusive.iter().any(|why| why.contains("mode counts")));
}

#[test]
fn nothing_published_and_nothing_owed_are_inconclusive() {
    let v = World::joined(Promise::Reference).finish();
    assert!(
        v.inconclusive
            .iter()
            .any(|why| why.contains("nothing was published"))
    );
    let mut world = World::new(plan(Promise::Reference, 5, 1));
    world.connect(0);
    world.publish(0);
    let v = world.finish();
    assert!(
        v.inconclusive
            .iter()
            .any(|why| why.contains("no delivery was owed"))
    );
}

#[test]
fn a_harness_that_contradicts_itself_is_found_out() {
    let mut world = World::joined(Promise::Reference);
    let sent = world.send(0, G);
    world.settle(&sent, Outcome::Ok);
    self_check_says(&world.finish(), "without an answer");

    let mut world = World::joined(Promise::Reference);
    let sent = world.publish_to_all(0);
    world.settle(&sent, Outcome::Unknown);
    self_check_says(&world.finish(), "twice");

    let mut world = World::joined(Promise::Reference);
    world.publish_to_all(0);
    world.end(3, ConnectionEnd::Stopped);
    let v = world.finish();
    assert!(
        v.inconclusive
            .iter()
            .any(|why| why.contains("1 receivers were stopped"))
    );

    let mut world = World::joined(Promise::Reference);
    let mut early = world.publish(0);
    early.identity.intended += 5_000_000;
    world.deliver(&early, 1);
    self_check_says(&world.finish(), "before they were sent");
}

#[test]
fn facts_that_never_arrived_fail_the_self_check() {
    let mut world = World::joined(Promise::Reference);
    world.publish_to_all(0);
    let now = world.tick();
    let facts = world.shard(0).take_facts(now).unwrap();
    // Repeating facts changes nothing; losing them does.
    world.shard(0).apply_facts(&facts);
    self_check_says(&world.finish(), "after number");
}

#[test]
fn publishing_after_the_final_facts_is_found_out() {
    let mut world = World::joined(Promise::Reference);
    world.publish_to_all(0);
    world.wait(Duration::from_secs(1));
    world.publish_to_all(0);
    let now = world.tick();
    let outcomes = world.shards.iter_mut().map(|s| s.finish(now)).collect();
    self_check_says(
        &hubstorm::verify::conclude(&world.plan, outcomes),
        "after the final facts",
    );
}

#[test]
fn a_frame_for_a_slot_that_is_not_connected_is_the_harness_fault() {
    let mut world = World::joined(Promise::Reference);
    let sent = world.publish_to_all(0);
    world.lose(3);
    world.end(3, ConnectionEnd::WindowPassed);
    world.deliver(&sent, 3);
    self_check_says(&world.finish(), "without a connection");
}

#[test]
fn what_was_not_put_to_the_test_is_listed() {
    let mut world = World::joined(Promise::Reference);
    world.publish_to_all(0);
    let v = world.finish();
    let listed = |id: &str| v.verifier.not_exercised.iter().any(|p| p.starts_with(id));
    assert!(listed("R1 ") && listed("S3 ") && listed("A3 ") && listed("D6 "));
    assert!(!listed("D1 ") && !listed("S1 ") && !listed("A4 "));
    // Each is counted, and those at zero are those listed.
    let zero: Vec<_> = (v.verifier.exercised.iter())
        .filter(|(_, n)| *n == 0)
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(zero, v.verifier.not_exercised);
    let owed = v
        .verifier
        .exercised
        .iter()
        .find(|(p, _)| p.starts_with("D1 "));
    assert_eq!(owed.map(|(_, n)| *n), Some(3));
}

#[test]
fn a_loss_of_long_ago_is_still_counted_and_a_late_delivery_recounted() {
    for late in [false, true] {
        let mut world = World::joined(Promise::Published);
        for _ in 0..3 {
            world.publish_to_all(0);
        }
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        for _ in 0..3 {
            world.publish_to_all(0);
        }
        // Folded into counters twice over.
        world.wait(Duration::from_secs(150));
        let now = world.time();
        assert_eq!(world.shard(3).progress(now).overdue, 1);
        if late {
            assert!(world.deliver(&sent, 3).fresh);
        }
        world.publish_to_all(0);
        let v = world.finish();
        match late {
            // Seen at last, but after its successors: that is an order broken.
            true => Expect::default().violation(Violation::Reordered, 1),
            false => Expect::default().violation(Violation::Lost, 1),
        }
        .of(&v);
        assert_eq!(v.delivery.expected, 24);
        assert_eq!(v.delivery.delivered, 23 + u64::from(late));
    }
}

#[test]
fn memory_is_flat_over_a_long_run() {
    let mut world = World::joined(Promise::Reference);
    let mut early = 0;
    for round in 0..600 {
        world.publish_to_all(0);
        if round % 10 == 5 {
            world.reconnect(3, ConnectionEnd::WindowPassed);
        }
        world.wait(Duration::from_secs(2));
        let now = world.time();
        let bytes: u64 = world.shards.iter().map(|s| s.progress(now).bytes).sum();
        if round == 100 {
            early = bytes;
        }
        assert!(
            round <= 100 || bytes <= early + early / 10,
            "{early} then {bytes}"
        );
    }
    let v = world.finish();
    Expect::default().of(&v);
    assert_eq!(v.delivery.delivered, 1800);
}

#[test]
fn the_receiver_need_not_be_in_the_publishers_shard() {
    let mut world = World::joined(Promise::Reference);
    let template = Template {
        data_type: DataType::Text,
        size: 48,
        padding: Padding::Zeros,
    };
    for publisher in [0, 4] {
        let sent = world.publish_to_all(publisher);
        let mut scratch = Vec::new();
        assert_eq!(
            hubstorm::payload::read(&template.write(&sent.identity, &mut scratch)),
            Ok(sent.identity)
        );
        assert_eq!(sent.identity.publisher, Slot(publisher));
    }
    let v = world.finish();
    Expect::default().of(&v);
    assert_eq!(v.delivery.expected, 6);
}

#[test]
fn what_left_long_ago_and_groups_without_traffic_hold_no_memory() {
    // By then a receiver's flight recorder has all its room.
    const FULL: u32 = 200;
    for (leaver, publisher) in [(Some(2), Some(0)), (None, None)] {
        let mut world = World::joined(Promise::Reference);
        if let Some(slot) = leaver {
            world.leave(slot, G);
            world.wait(Duration::from_secs(1));
        }
        let mut early = 0;
        for round in 0..400 {
            if let Some(publisher) = publisher {
                let sent = world.publish(publisher);
                world.deliver(&sent, 1);
                world.deliver(&sent, 3);
            } else {
                // Only another group is published to.
                let sent = world.send(0, GroupId(1));
                world.ok(&sent);
            }
            world.lose(3);
            world.recover(3);
            world.wait(Duration::from_secs(3));
            let now = world.time();
            let bytes: u64 = world.shards.iter().map(|s| s.progress(now).bytes).sum();
            early = if round == FULL { bytes } else { early };
            assert!(
                round <= FULL || bytes <= early + early / 20,
                "round {round}: {early} then {bytes}"
            );
        }
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!(
            v.delivery.delivered,
            if publisher.is_some() { 800 } else { 0 }
        );
    }
}

/// The figures of verification.md, section 7. Prints them: `--nocapture`.
#[test]
fn a_group_of_ten_thousand_receivers_and_a_hundred_publishers_fits() {
    let (receivers, publishers) = (10_000_u32, 100_u32);
    let slots = receivers + publishers;
    let mut plan = plan(Promise::Reference, slots as usize, 1);
    for slot in &mut plan.slots[..receivers as usize] {
        slot.data_type = None;
    }
    let mut world = World::new(plan);
    for slot in 0..slots {
        world.connect(slot);
    }
    for slot in 0..receivers {
        world.join(slot, G);
    }
    // The membership is visible everywhere, and its times are forgotten.
    world.facts();
    let bytes = |world: &World| -> (u64, u64) {
        let now = world.time();
        let all = world.shards.iter().map(|s| s.progress(now));
        all.fold((0, 0), |sum, p| (sum.0 + p.bytes, sum.1 + p.pairs))
    };
    let sent: Vec<_> = (receivers..slots)
        .map(|publisher| world.send(publisher, G))
        .collect();
    let (before, _) = bytes(&world);
    let open: Vec<_> = (0..255).map(|_| world.send(receivers, G)).collect();
    let in_flight = (bytes(&world).0 - before) / open.len() as u64;
    for sent in sent.iter().chain(&open) {
        world.ok(sent);
    }
    world.facts();
    let (told, _) = bytes(&world);
    // The newest stream first: every table grows to its full size.
    for receiver in 0..receivers {
        world.deliver(&sent[publishers as usize - 1], receiver);
    }
    let (held, pairs) = bytes(&world);
    // The first frame of a receiver also makes its flight recorder, and each shard's part of
    // it has room for frames that are not filed yet.
    let unfiled = world.shards.len() as u64 * 4096 * 48;
    let frames = u64::from(receivers) * 4 * 40 + unfiled;
    // The samples' notes, while their first window is open.
    let notes = 16_384 * 24;
    let each = (held - told - frames - notes) as f64 / pairs as f64;
    println!(
        "{pairs} pairs: {each:.2} bytes each; the rest {:.0} bytes per receiver; {in_flight} bytes per message in flight with its publisher; {:.1} MB in all",
        (held as f64 - each * pairs as f64) / f64::from(receivers),
        held as f64 / 1e6
    );
    assert!(pairs >= u64::from(receivers * publishers));
    // 4 for the frontier, 1/8 each for what came and what is folded, in words of 64 streams;
    // tables grow by 16 streams at a time.
    assert!(each <= 4.4, "{each} bytes per pair");
    assert!(
        in_flight <= 12_000,
        "{in_flight} bytes per message in flight"
    );
    assert!(held < 64 << 20, "{held} bytes");
}
