//! What an incident holds: enough to file a bug at the hub's vendor, also when the frames of
//! then have long left the recorders.

use std::time::Duration;

use hubstorm::verify::{Answer, Incident, Outcome, Promise, Verification};
use hubstorm::wire::Data;

use crate::world::{World, text_of};

use super::warm;

/// The only incident of a kind.
#[track_caller]
fn told<'v>(v: &'v Verification, kind: &str) -> &'v Incident {
    let mut of_kind = v.incidents.iter().filter(|incident| incident.kind == kind);
    let first = of_kind.next().unwrap_or_else(|| panic!("{kind}: {v:#?}"));
    assert!(of_kind.next().is_none(), "{kind}: {:#?}", v.incidents);
    first
}

#[track_caller]
fn says(incident: &Incident, text: &str) {
    let said = incident.evidence.iter().any(|line| line.contains(text));
    assert!(said, "no {text:?} in {incident:#?}");
}

#[test]
fn a_loss_names_times_ids_who_else_lacks_it_and_what_it_is_not() {
    let mut world = World::joined(Promise::Reference);
    warm(&mut world);
    let sent_at = world.time();
    let missed = world.publish(0);
    world.deliver(&missed, 1);
    let id = world.last_id(3);
    world.wait(Duration::from_secs(1));
    world.publish_to_all(0);
    world.wait(Duration::from_secs(1));
    // Two lack it: an incident for each.
    let v = world.finish();
    let incident = v
        .incidents
        .iter()
        .find(|i| i.kind == "lost" && i.receiver == Some(3))
        .expect("a loss");
    let sent_s = incident.sent_s.expect("recorded");
    assert!((sent_s - sent_at.as_secs_f64()).abs() < 0.01, "{sent_s}");
    assert!(
        incident
            .answered_s
            .is_some_and(|answered| answered >= sent_s)
    );
    assert!(incident.frame_s.is_some_and(|frame| frame > sent_s + 0.9));
    assert_eq!(incident.sequence_id, Some(id + 1));
    says(incident, "not so slots 2");
    says(incident, "not: a reconnect gap (no drop of late)");
    says(incident, "a join race");
}

#[test]
fn a_delivery_that_was_refused_keeps_its_frame_although_it_is_judged_at_the_end() {
    let mut world = World::joined(Promise::Reference);
    warm(&mut world);
    let refused = world.send(0, crate::world::G);
    world.deliver(&refused, 2);
    let (at, id) = (world.time(), world.last_id(2));
    world.answer(&refused, Answer::Forbidden);
    world.settle(&refused, Outcome::Failed);
    world.wait(Duration::from_secs(1));
    for _ in 0..300 {
        world.publish_to_all(0);
    }
    let v = world.finish();
    let incident = told(&v, "ack_forbidden_delivered");
    assert_eq!(incident.sequence_id, Some(id));
    let frame_s = incident.frame_s.expect("the frame was kept");
    assert!((frame_s - at.as_secs_f64()).abs() < 0.01, "{frame_s}");
    says(incident, &format!("sequenceId {id} 0/group#0 seq 6"));
}

#[test]
fn an_ack_that_lied_is_told_with_when_and_who_should_have_had_it() {
    let mut world = World::joined(Promise::Reference);
    warm(&mut world);
    world.publish(0);
    world.wait(Duration::from_secs(5));
    world.publish_to_all(0);
    let v = world.finish();
    let incident = told(&v, "ack_lie");
    assert!(
        incident.t_s > 5.0 && incident.sent_s.is_some(),
        "{incident:#?}"
    );
    assert!(incident.receiver.is_some());
    says(incident, "one of those who should have it, slot ");
    says(incident, "still a member");
    says(incident, "-> Success");
    assert!(!v.incidents.iter().any(|incident| incident.kind == "lost"));
}

#[test]
fn a_corruption_says_which_byte_was_sent_and_which_came() {
    let mut world = World::joined(Promise::Reference);
    warm(&mut world);
    let sent = world.publish(0);
    world.deliver(&sent, 1);
    world.deliver(&sent, 2);
    let whole = text_of(&sent);
    let (was, is) = (
        whole.as_bytes()[60],
        if whole.as_bytes()[60] == b'x' {
            b'y'
        } else {
            b'x'
        },
    );
    let mut text = whole.clone();
    text.replace_range(60..=60, std::str::from_utf8(&[is]).expect("a letter"));
    let id = world.next_id(3);
    world.frame(3, id, Data::Text(text.into()), "group-0", 0);
    let v = world.finish();
    let incident = told(&v, "corrupted");
    says(
        incident,
        &format!("byte 60 is {is:#04x}, {was:#04x} was sent; 1 of 64 bytes differ"),
    );
    says(incident, "payload: text of 64 bytes, ");
    assert_eq!(incident.sequence_id, Some(id));
}

#[test]
fn an_invention_shows_its_bytes() {
    let mut world = World::joined(Promise::Reference);
    warm(&mut world);
    let id = world.next_id(3);
    world.frame(3, id, Data::Text("nobody sent this".into()), "group-0", 0);
    let v = world.finish();
    let incident = told(&v, "fabricated");
    // "nobody sent this"
    says(
        incident,
        "text of 16 bytes, 6e6f626f64792073656e742074686973",
    );
}
