//! Messages of application servers and replies to events: streams whose window is the
//! connection. Publisher 0 is a server or a caller, receivers 1 to 3.

use std::time::Duration;

use hubstorm::base::GroupId;
use hubstorm::payload::{Padding, Template};
use hubstorm::verify::{ConnectionEnd, Permitted, Promise, Violation};
use hubstorm::wire::{Data, DataType, MessageFrom};

use crate::world::{Expect, PROMISES, Sent, World, plan};

/// Beside group 0: everybody, and the connection of slot 1.
const EVERYBODY: GroupId = GroupId(1);
const ONE: GroupId = GroupId(2);

/// A server at slot 0, three clients.
fn world(promise: Promise) -> World {
    let mut plan = plan(promise, 4, 1);
    plan.audiences = vec!["(everybody)".into(), "(connection of slot 1)".into()];
    for slot in 1..=3 {
        plan.slots[slot].hears = vec![EVERYBODY];
    }
    plan.slots[1].hears.push(ONE);
    let mut world = World::new(plan);
    for slot in 1..=3 {
        world.connect(slot);
    }
    world.wait(Duration::from_secs(11));
    world
}

fn text(sent: &Sent, act: impl FnOnce(Data<'_>)) {
    let mut scratch = Vec::new();
    let template = Template {
        data_type: DataType::Text,
        size: 64,
        padding: Padding::Random,
    };
    act(template.write(&sent.identity, &mut scratch));
}

fn arrives(world: &mut World, sent: &Sent, receiver: u32) {
    text(sent, |data| {
        let id = world.next_id(receiver);
        world.frame_from(receiver, id, data, MessageFrom::Server);
    });
}

/// Sent to everybody, acked, delivered to all.
fn broadcast(world: &mut World) {
    let sent = world.send(0, EVERYBODY);
    world.ok(&sent);
    for receiver in 1..=3 {
        arrives(world, &sent, receiver);
    }
}

fn direct(world: &mut World) -> Sent {
    let sent = world.send(0, ONE);
    world.ok(&sent);
    sent
}

#[test]
fn a_broadcast_is_owed_to_every_connection_and_a_direct_message_to_one() {
    for promise in PROMISES {
        let mut world = world(promise);
        for _ in 0..5 {
            broadcast(&mut world);
        }
        let sent = direct(&mut world);
        arrives(&mut world, &sent, 1);
        let v = world.finish();
        Expect::default().of(&v);
        assert_eq!(v.delivery.expected, 16);
        assert_eq!(v.delivery.verified, 16);
        assert_eq!(v.inconclusive, Vec::<String>::new());
    }
}

#[test]
fn a_server_message_withheld_or_repeated_or_sent_elsewhere_is_found() {
    for promise in PROMISES {
        for (copies, elsewhere, kind) in [
            (0, 0, Violation::Lost),
            (2, 0, Violation::Duplicated),
            (1, 1, Violation::Misdelivered),
        ] {
            let mut world = world(promise);
            let before = direct(&mut world);
            arrives(&mut world, &before, 1);
            let sent = direct(&mut world);
            for _ in 0..copies {
                arrives(&mut world, &sent, 1);
            }
            for _ in 0..elsewhere {
                arrives(&mut world, &sent, 2);
            }
            let after = direct(&mut world);
            arrives(&mut world, &after, 1);
            Expect::default().violation(kind, 1).of(&world.finish());
        }
    }
}

#[test]
fn a_server_message_changed_on_its_way_is_found() {
    for (spoil, kind) in [
        (true, Violation::Corrupted),
        // A message to everybody that comes as a group's.
        (false, Violation::EnvelopeWrong),
    ] {
        let mut world = world(Promise::Reference);
        let before = direct(&mut world);
        arrives(&mut world, &before, 1);
        let sent = direct(&mut world);
        text(&sent, |data| {
            let id = world.next_id(1);
            let Data::Text(text) = data else { return };
            let mut text = text.into_owned();
            let from = match spoil {
                true => {
                    // In the padding.
                    let last = if text.ends_with('x') { "y" } else { "x" };
                    text.replace_range(text.len() - 1.., last);
                    MessageFrom::Server
                }
                false => MessageFrom::Group {
                    group: "group-0".into(),
                    from_user_id: None,
                },
            };
            world.frame_from(1, id, Data::Text(text.into()), from);
        });
        let after = direct(&mut world);
        arrives(&mut world, &after, 1);
        Expect::default().violation(kind, 1).of(&world.finish());
    }
}

#[test]
fn order_is_judged_where_the_server_waited_for_it_and_nowhere_else() {
    for (apart, reordered) in [(false, 1), (true, 0)] {
        let mut world = world(Promise::Published);
        let first = direct(&mut world);
        if apart {
            world.on_lane(0, 1);
        }
        let second = direct(&mut world);
        arrives(&mut world, &second, 1);
        arrives(&mut world, &first, 1);
        let mut expect = Expect::default().violation(Violation::Reordered, reordered);
        if apart {
            expect = expect.permitted(Permitted::ReorderedByRetry, 1);
        }
        expect.of(&world.finish());
    }
}

#[test]
fn a_request_overtaken_by_another_is_no_loss_of_a_receiver_that_went_in_between() {
    // Both were under way at once: the hub may carry the first one out after the receiver
    // has gone, though the second arrived.
    let mut world = world(Promise::Published);
    broadcast(&mut world);
    let slow = world.send(0, EVERYBODY);
    world.on_lane(0, 1);
    let quick = world.send(0, EVERYBODY);
    world.ok(&quick);
    for receiver in 1..=3 {
        arrives(&mut world, &quick, receiver);
    }
    world.lose(3);
    world.end(3, ConnectionEnd::WindowPassed);
    world.connect(3);
    world.wait(Duration::from_secs(1));
    world.ok(&slow);
    for receiver in 1..=2 {
        arrives(&mut world, &slow, receiver);
    }
    let v = world.finish();
    Expect::default()
        .permitted(Permitted::LostInReconnectGap, 1)
        .permitted(Permitted::ReorderedByRetry, 2)
        .of(&v);
}

#[test]
fn a_new_connection_hears_from_its_beginning_on_and_is_owed_nothing_before() {
    for promise in PROMISES {
        let mut world = world(promise);
        broadcast(&mut world);
        world.lose(1);
        world.end(1, ConnectionEnd::WindowPassed);
        let missed = direct(&mut world);
        assert_eq!(missed.identity.seq, 1);
        world.wait(Duration::from_secs(1));
        world.connect(1);
        world.wait(Duration::from_secs(11));
        broadcast(&mut world);
        let v = world.finish();
        assert_eq!(v.violations.total(), 0, "{v:#?}");
        assert_eq!(v.unknown.total(), 0, "{v:#?}");
        assert_eq!(v.delivery.expected, 6);
    }
}
