//! What a frame holds: identities, padding, envelopes (D7, I1, I2).

use hubstorm::base::Slot;
use hubstorm::payload::{Padding, Template};
use hubstorm::verify::{Unknown, Violation};
use hubstorm::wire::{Data, DataType};

use crate::world::{Expect, PROMISES, World, plan, text_of};

use super::warm;

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
            let mut bytes = text_of(&sent).into_bytes();
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
