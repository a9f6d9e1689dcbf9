//! Events that go upstream: in which order, with what, and what their answers do.

use super::*;
use crate::hub::core::Said;
use crate::hub::core::events::{Answer, Call, CallKind, WAITING_EVENTS_MAX};
use crate::wire::Data;

/// The one call that waits to be made.
fn call(world: &mut World) -> Call {
    let mut calls = Vec::new();
    world.core.take_calls(&mut calls);
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

fn no_call(world: &mut World) {
    let mut calls = Vec::new();
    world.core.take_calls(&mut calls);
    assert!(calls.is_empty(), "{calls:?}");
}

fn answer(world: &mut World, call: Call, answer: Result<Answer, ()>) {
    let now = world.now;
    world.core.answered(call.ticket.unwrap(), answer, now);
}

fn said(text: &'static str, state: Option<&str>) -> Result<Answer, ()> {
    Ok(Answer {
        data: (!text.is_empty()).then_some(Data::Text(text.into())),
        said: Said {
            state: state.map(Into::into),
            cookies: Vec::new(),
        },
    })
}

fn world() -> World {
    World::handled()
}

#[test]
fn events_of_one_connection_go_up_one_by_one_and_their_answers_come_before_the_ack() {
    let mut world = world();
    let a = world.client();
    let connected = call(&mut world);
    assert_eq!(connected.kind, CallKind::Connected);
    for n in 1..=3 {
        let event = format!(r#"{{"type":"event","event":"e{n}","ackId":{n},"data":{n}}}"#);
        world.send(a, &event);
    }
    no_call(&mut world);
    answer(&mut world, connected, said("", Some("s1")));
    let first = call(&mut world);
    assert_eq!(first.kind, CallKind::User { name: "e1".into() });
    assert_eq!(first.caller.remembered.state.as_deref(), Some("s1"));
    assert_eq!(first.caller.number, 2);
    no_call(&mut world);
    answer(&mut world, first, said("hello", Some("s2")));
    let seen = world.read(a);
    assert_eq!(
        (&seen[0]["from"], &seen[0]["data"], &seen[1]["ackId"]),
        (&"server".into(), &"hello".into(), &1.into())
    );
    let second = call(&mut world);
    assert_eq!(second.caller.remembered.state.as_deref(), Some("s2"));
    answer(&mut world, second, Err(()));
    assert_eq!(world.acks(a), ["2:InternalServerError"]);
    // One that comes back after its connection is gone does no harm.
    let third = call(&mut world);
    let now = world.now;
    world.core.closed(a, Some(1000), now);
    let end = call(&mut world);
    assert!(matches!(end.kind, CallKind::Disconnected { .. }) && end.ticket.is_none());
    answer(&mut world, third, said("late", None));
    no_call(&mut world);
    let truth = world.core.truth();
    assert_eq!((truth.events_handled, truth.events_failed), (1, 1));
}

#[test]
fn events_wait_for_a_slow_handler_up_to_a_bound() {
    let mut world = world();
    let a = world.client();
    let connected = call(&mut world);
    for n in 0..=WAITING_EVENTS_MAX {
        let event = format!(r#"{{"type":"event","event":"e","ackId":{n},"data":1}}"#);
        world.send(a, &event);
    }
    assert_eq!(world.acks(a), ["1000:InternalServerError"]);
    answer(&mut world, connected, said("", None));
    assert_eq!(call(&mut world).caller.number, 2);
}

#[test]
fn a_handler_hears_once_of_a_connection_however_often_it_recovers() {
    let mut world = world();
    let (link, id, token) = world.recoverable();
    assert_eq!(call(&mut world).kind, CallKind::Connected);
    world.drop_link(link);
    let link = world.recover(&id, &token).unwrap();
    no_call(&mut world);
    world.drop_link(link);
    no_call(&mut world);
    world.wait(31);
    assert!(matches!(
        call(&mut world).kind,
        CallKind::Disconnected { .. }
    ));
}

#[test]
fn a_handler_that_wants_to_know_hears_of_joins_and_leaves_in_their_order() {
    let mut world = World::made(
        &[],
        EventHandler::None,
        Some("joined,left".parse::<SystemEvents>().unwrap()),
    );
    let a = world.client();
    no_call(&mut world);
    for frame in [
        r#"{"type":"joinGroup","group":"g"}"#,
        r#"{"type":"joinGroup","group":"g"}"#,
        r#"{"type":"event","event":"e","ackId":1,"data":1}"#,
        r#"{"type":"leaveGroup","group":"g"}"#,
        r#"{"type":"joinGroup","group":"h"}"#,
    ] {
        world.send(a, frame);
    }
    let told = |call: &Call| {
        let Data::Json(body) = &call.data else {
            panic!("{call:?}");
        };
        format!("{:?} {body}", call.kind)
    };
    // A second join of the same group is none, and nothing overtakes.
    for expected in [
        r#"Joined {"group":"g"}"#,
        r#"User { name: "e" } 1"#,
        r#"Left {"group":"g"}"#,
        r#"Joined {"group":"h"}"#,
    ] {
        let next = call(&mut world);
        assert_eq!(told(&next), expected);
        answer(&mut world, next, said("", None));
    }
    no_call(&mut world);
    let now = world.now;
    world.core.closed(a, Some(1000), now);
    let last = call(&mut world);
    assert_eq!(told(&last), r#"Left {"group":"h"}"#);
    assert_eq!(last.caller.number, 5);
}

#[test]
fn cookies_and_state_of_the_handler_come_back_with_the_next_call() {
    let mut world = world();
    let a = world.client();
    let connected = call(&mut world);
    let mut with_cookie = said("", Some("s"));
    with_cookie.as_mut().unwrap().said.cookies = vec!["arr=1; Path=/".into()];
    answer(&mut world, connected, with_cookie);
    world.send(a, r#"{"type":"event","event":"e","data":1}"#);
    let event = call(&mut world);
    let remembered = &event.caller.remembered;
    assert_eq!(remembered.state.as_deref(), Some("s"));
    assert_eq!(remembered.cookies.header().as_deref(), Some("arr=1"));
}
