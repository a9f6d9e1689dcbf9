//! What happens when the first messages were folded long ago: a minute after they were
//! settled their holes, windows and checkpoints are forgotten, and the verdict must not be.

use std::time::Duration;

use hubstorm::base::{GroupId, Slot};
use hubstorm::verify::{
    Answer, ConnectionEnd, Mode, Outcome, Permitted, Promise, Unknown, Violation,
};
use hubstorm::wire::Data;

use crate::world::{Expect, G, World, plan, text_of};

use super::warm;

/// Until everything that was sent is folded.
const FOLDED: Duration = Duration::from_secs(90);
const SECOND: Duration = Duration::from_secs(1);

/// A visitor, or a client that connects late: what came before it was not for it.
#[test]
fn who_joins_first_when_much_is_folded_has_missed_nothing() {
    for mode in [Mode::Full, Mode::Digest, Mode::Counts] {
        for spared in [false, true] {
            let mut plan = plan(Promise::Reference, 5, 2);
            plan.mode = mode;
            plan.slots[4].no_echo = spared;
            let mut world = World::joined_with(plan);
            for _ in 0..10 {
                world.publish_to_all(0);
            }
            world.publish_to_all(4);
            world.wait(FOLDED);
            world.join(4, G);
            world.wait(15 * SECOND);
            for _ in 0..5 {
                let sent = world.publish_to_all(0);
                world.deliver(&sent, 4);
            }
            let v = world.finish();
            assert_eq!(v.verifier.self_check, "ok", "{mode:?}");
            assert_eq!(v.violations.total(), 0, "{mode:?}: {:?}", v.violations);
            assert!(
                v.delivery.balances() && v.delivery.outside >= 10,
                "{mode:?}"
            );
            assert_eq!(v.pools[0], v.delivery, "{mode:?}");
        }
    }
}

/// The books of a thread that is gone are made by another hand, and must know it too.
#[test]
fn the_mirror_of_a_lost_thread_knows_who_came_late() {
    let mut world = World::mirrored(Promise::Reference);
    for _ in 0..10 {
        world.publish_to_all(0);
    }
    world.wait(FOLDED);
    world.join(4, G);
    world.wait(15 * SECOND);
    for _ in 0..5 {
        let sent = world.publish_to_all(0);
        world.deliver(&sent, 4);
    }
    world.wait(SECOND);
    world.lose_thread(1);
    world.wait(SECOND);
    let v = world.finish();
    assert_eq!(v.verifier.self_check, "ok");
    // Slots 2 and 3 were owed all fifteen, slot 4 the last five.
    assert_eq!(v.delivery.unverified, 35);
}

/// A table that begins to be kept inside a fold begins above what that fold judges.
#[test]
fn a_table_that_is_made_while_messages_are_folded_accuses_nobody() {
    for phase in 0..20 {
        let mut world = World::joined(Promise::Published);
        world.publish_to_all(0);
        world.wait(Duration::from_millis(250 * phase));
        world.join(4, G);
        world.wait(Duration::from_millis(9_500));
        // Not visible on every node yet: honest.
        let missed = world.publish(1);
        for slot in 1..=3 {
            world.deliver(&missed, slot);
        }
        world.wait(Duration::from_millis(1_500));
        for _ in 0..10 {
            let sent = world.send(0, G);
            world.answer(&sent, Answer::Error);
            world.settle(&sent, Outcome::Unknown);
        }
        world.wait(FOLDED);
        for _ in 0..3 {
            let sent = world.publish_to_all(0);
            world.deliver(&sent, 4);
        }
        let v = world.finish();
        assert_eq!(v.verifier.self_check, "ok", "phase {phase}");
        assert_eq!(v.violations.total(), 0, "phase {phase}: {:?}", v.violations);
        assert_eq!(v.unknown.get(Unknown::LostAtJoin), 1, "phase {phase}");
    }
}

/// However long a message has been missing: what it is laid to follows from how the
/// membership goes on.
#[test]
fn a_loss_is_judged_by_how_its_window_ended_however_much_later() {
    for proven in [false, true] {
        for end in ["stays", "leaves", "leaves and joins", "drops"] {
            let mut world = World::joined(Promise::Reference);
            warm(&mut world);
            world.wait(10 * SECOND);
            let missed = world.publish(0);
            world.deliver(&missed, 1);
            world.deliver(&missed, 2);
            world.wait(FOLDED);
            if proven {
                world.publish_to_all(0);
            }
            world.wait(5 * SECOND);
            match end {
                "stays" => {}
                "drops" => world.reconnect(3, ConnectionEnd::WindowPassed),
                _ => {
                    world.leave(3, G);
                    world.wait(SECOND);
                }
            }
            if end == "leaves and joins" {
                // The window of the loss is forgotten when the next one alone rules.
                for _ in 0..4 {
                    world.join(3, G);
                    world.wait(12 * SECOND);
                    world.publish_to_all(0);
                    world.leave(3, G);
                    world.wait(FOLDED);
                    let sent = world.publish(0);
                    world.deliver(&sent, 1);
                    world.deliver(&sent, 2);
                    world.wait(SECOND);
                }
            }
            world.wait(FOLDED);
            let expected = match (proven, end) {
                (_, "stays") | (true, _) => Expect::default().violation(Violation::Lost, 1),
                (false, "drops") => Expect::default().permitted(Permitted::LostInReconnectGap, 1),
                (false, _) => Expect::default().violation(Violation::LostAtLeave, 1),
            };
            println!("{end}, proven {proven}");
            expected.of(&world.finish());
        }
    }
}

/// The publisher of a long run has been through more connections than a hole looks back on.
#[test]
fn a_loss_of_a_late_connection_of_its_publisher_is_proven_like_any_other() {
    for epoch in [0, 41] {
        let mut world = World::joined(Promise::Reference);
        world.on_lane(0, epoch);
        world.publish_to_all(0);
        world.wait(5 * SECOND);
        let missed = world.publish(0);
        world.deliver(&missed, 1);
        world.deliver(&missed, 2);
        world.wait(FOLDED);
        world.publish_to_all(0);
        world.wait(2 * SECOND);
        world.reconnect(3, ConnectionEnd::WindowPassed);
        world.wait(SECOND);
        Expect::default()
            .violation(Violation::Lost, 1)
            .of(&world.finish());
    }
}

/// One recovery forgot one of two groups: one fault, however long the run goes on.
#[test]
fn a_group_that_a_recovery_forgot_is_one_broken_recovery_minutes_later_too() {
    let other = GroupId(1);
    for seconds in [10, 100, 300] {
        for later in [false, true] {
            let mut world = World::joined(Promise::Reference);
            world.join(3, other);
            world.wait(11 * SECOND);
            let both = |world: &mut World, all: bool| {
                let sent = world.publish(0);
                for slot in 1..=if all { 3 } else { 2 } {
                    world.deliver(&sent, slot);
                }
                let sent = world.send(0, other);
                world.ok(&sent);
                world.deliver_in(&sent, 3, "group-1");
            };
            (0..5).for_each(|_| both(&mut world, true));
            world.lose(3);
            world.recover(3);
            for _ in 0..seconds {
                both(&mut world, false);
                world.wait(SECOND);
            }
            if later {
                // It remembers after all: then each message is a loss of its own, but for the
                // one that may have been sent before the recovery was over.
                both(&mut world, true);
            }
            let expected = match later {
                false => Expect::default().violation(Violation::RecoveryBroken, 1),
                true => Expect::default()
                    .violation(Violation::Lost, seconds - 1)
                    .violation(Violation::RecoveryBroken, 1),
            };
            println!("{seconds} s, later {later}");
            expected.of(&world.finish());
        }
    }
}

/// What came spoilt and comes whole in a replay: the client drops it, and it is one fault.
#[test]
fn a_spoilt_frame_that_a_recovery_replays_whole_is_counted_once() {
    // In the identity, and in the padding.
    for at in [11, 60] {
        let mut world = World::joined(Promise::Reference);
        warm(&mut world);
        let sent = world.publish(0);
        world.deliver(&sent, 1);
        world.deliver(&sent, 2);
        let mut text = text_of(&sent);
        let other = if text.as_bytes()[at] == b'x' {
            "y"
        } else {
            "x"
        };
        text.replace_range(at..=at, other);
        let id = world.next_id(3);
        world.frame(3, id, Data::Text(text.into()), "group-0", 0);
        world.publish_to_all(0);
        world.lose(3);
        world.recover(3);
        world.deliver_as(&sent, 3, id);
        Expect::default()
            .violation(Violation::Corrupted, 1)
            .permitted(Permitted::ReplayOverlap, 1)
            .of(&world.finish());
    }
}

/// The verifier's bytes after each minute while `slot` comes and goes.
fn churned(world: &mut World, slot: u32, minutes: usize, each: impl Fn(&mut World)) -> Vec<u64> {
    (0..minutes)
        .map(|_| {
            for _ in 0..20 {
                world.leave(slot, G);
                world.wait(SECOND);
                world.join(slot, G);
                world.wait(2 * SECOND);
                each(world);
            }
            let now = world.time();
            world.shards[0].progress(now).bytes
        })
        .collect()
}

/// A soak's memory is flat: of the last minutes none holds more than one of the first that
/// were whole.
#[track_caller]
fn is_flat(bytes: &[u64]) {
    let (first, last) = (
        bytes[..4].iter().max(),
        bytes[bytes.len() - 3..].iter().max(),
    );
    let (first, last) = (
        *first.expect("minutes") as f64,
        *last.expect("minutes") as f64,
    );
    assert!(last < first * 1.02, "{bytes:?}");
}

#[test]
fn one_message_that_never_comes_does_not_keep_every_later_window() {
    let mut plan = plan(Promise::Published, 204, 1);
    plan.memory_budget = 1 << 40;
    let mut world = World::new(plan);
    (0..204).for_each(|slot| world.connect(slot));
    (1..=3).for_each(|slot| world.join(slot, G));
    world.wait(SECOND);
    // Slot 3 is a member everywhere a little later: honest, and never to come.
    let missed = world.publish(0);
    world.deliver(&missed, 1);
    world.deliver(&missed, 2);
    for slot in 4..204 {
        world.publish_to_all(slot);
    }
    let bytes = churned(&mut world, 2, 10, |world| {
        world.publish_to_all(0);
    });
    is_flat(&bytes);
    Expect::default()
        .unknown(Unknown::LostAtJoin, 1)
        .of(&world.finish());
}

#[test]
fn a_forged_stream_that_never_begins_does_not_keep_every_later_window() {
    let mut plan = plan(Promise::Published, 104, 1);
    plan.memory_budget = 1 << 40;
    let mut world = World::new(plan);
    (0..104).for_each(|slot| world.connect(slot));
    [1, 2, 3, 60]
        .into_iter()
        .for_each(|slot| world.join(slot, G));
    world.wait(11 * SECOND);
    let to_all = |world: &mut World, publisher| {
        let sent = world.publish_to_all(publisher);
        world.deliver(&sent, 60);
        sent
    };
    for slot in 4..50 {
        to_all(&mut world, slot);
    }
    // Slot 70, of the other shard, never publishes.
    let mut forged = to_all(&mut world, 0);
    forged.identity.publisher = Slot(70);
    world.deliver(&forged, 2);
    let bytes = churned(&mut world, 2, 10, |world| {
        to_all(world, 0);
    });
    is_flat(&bytes);
    assert_eq!(world.finish().violations.get(Violation::Fabricated), 1);
}

#[test]
fn members_who_come_and_go_where_nobody_publishes_leave_nothing_behind() {
    let mut plan = plan(Promise::Published, 6, 1);
    plan.slots.iter_mut().for_each(|slot| slot.data_type = None);
    let mut world = World::new(plan);
    (0..6).for_each(|slot| world.connect(slot));
    (0..6).for_each(|slot| world.join(slot, G));
    let bytes = churned(&mut world, 2, 10, |_| ());
    is_flat(&bytes);
}

/// Repetitions of a message that its publisher never sent wait for facts that never come.
#[test]
fn repetitions_of_what_was_never_sent_are_bounded() {
    const BOUND: u64 = 65_536;
    let mut world = World::joined(Promise::Reference);
    let mut forged = world.publish_to_all(0);
    forged.identity.seq = 500;
    let mut bytes = Vec::new();
    for _ in 0..2 {
        for _ in 0..70_000 {
            world.deliver(&forged, 3);
        }
        // Bytes are counted once a second.
        world.wait(2 * SECOND);
        let now = world.time();
        bytes.push(world.shards[1].progress(now).bytes);
    }
    assert!(bytes[1] < bytes[0] + 10_000, "{bytes:?}");
    let v = world.finish();
    // Beyond the bound they are proven neither way, and counted all the same.
    assert_eq!(v.violations.get(Violation::Duplicated), BOUND);
    assert_eq!(v.unknown.get(Unknown::LateOrDuplicate), 140_000 - 1 - BOUND);
    assert_eq!(v.violations.get(Violation::Fabricated), 1);
}
