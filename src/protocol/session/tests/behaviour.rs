//! What each official client does where client-spec leaves it open. Each fact is one that a
//! fleet "of Python clients" would get wrong without it.

use super::*;
use crate::protocol::{Behaviour, RequestOptions};

fn up_as(behaviour: Behaviour) -> Rig {
    let mut rig = Rig::with(SessionConfig::of(behaviour, Subprotocol::JsonReliable));
    rig.session.start();
    rig.drain();
    rig.opened();
    rig.connected_as("c1");
    rig
}

fn join(rig: &mut Rig, ack_id: u64, group: &str) {
    rig.session
        .request(rig.now, Operation::Join(group.into()), true)
        .unwrap();
    rig.drain();
    rig.answer(ack_id, None);
}

/// A send with a caller's ackId and noEcho, then a drop and a recovery: its second writing.
fn second_writing(behaviour: Behaviour, ack_id: Option<u64>, acked: bool) -> (bool, Option<u64>) {
    let mut rig = up_as(behaviour);
    let operation = Operation::Send {
        group: "g".into(),
        no_echo: true,
        content: 1,
    };
    if !acked {
        // Fire and forget is tried again when it could not be written: so lose the transport.
        rig.close(None);
    }
    let options = RequestOptions {
        acked,
        ack_id: ack_id.map(AckId),
        retried: true,
    };
    rig.session
        .request_with(rig.now, operation, options)
        .unwrap();
    rig.drain();
    if acked {
        let first = SessionConfig::of(behaviour, Subprotocol::JsonReliable)
            .retry
            .first_ack_id;
        assert_eq!(rig.sent[0].1.ack_id, Some(AckId(ack_id.unwrap_or(first))));
        rig.close(None);
    }
    rig.opened();
    rig.frame(Downstream::Pong);
    rig.wait(Duration::from_secs(2));
    let (operation, transmission) = rig.sent.last().unwrap();
    let Operation::Send { no_echo, .. } = operation else {
        panic!("{operation:?}")
    };
    (*no_echo, transmission.ack_id.map(|id| id.0))
}

#[test]
fn what_a_retry_keeps_of_its_options() {
    for (behaviour, own, given, unacked) in [
        (
            Behaviour::Spec,
            (true, Some(1)),
            (true, Some(777)),
            (true, None),
        ),
        (
            Behaviour::Python,
            (false, Some(2)),
            (false, Some(1)),
            (false, Some(1)),
        ),
        (
            Behaviour::Js,
            (true, Some(2)),
            (true, Some(777)),
            (true, None),
        ),
        (
            Behaviour::Dotnet,
            (true, Some(2)),
            (true, Some(777)),
            (true, None),
        ),
        (
            Behaviour::Java,
            (true, Some(0)),
            (true, Some(777)),
            (true, None),
        ),
    ] {
        assert_eq!(second_writing(behaviour, None, true), own, "{behaviour:?}");
        assert_eq!(
            second_writing(behaviour, Some(777), true),
            given,
            "{behaviour:?} with the caller's ackId"
        );
        assert_eq!(
            second_writing(behaviour, None, false),
            unacked,
            "{behaviour:?} fire and forget"
        );
    }
}

#[test]
fn a_try_without_a_connection_uses_up_an_ack_id_in_official_clients() {
    for (behaviour, expected) in [(Behaviour::Spec, 1), (Behaviour::Js, 2)] {
        let mut rig = up_as(behaviour);
        rig.close(None);
        rig.publish(1);
        rig.opened();
        rig.frame(Downstream::Pong);
        rig.wait(Duration::from_secs(1));
        assert_eq!(rig.sent[0].1.ack_id, Some(AckId(expected)), "{behaviour:?}");
    }
}

#[test]
fn only_python_and_java_stop_waiting_for_an_answer() {
    for behaviour in Behaviour::ALL {
        let mut rig = up_as(behaviour);
        rig.publish(1);
        for _ in 0..4 {
            rig.wait(Duration::from_secs(10));
            // Keeps the probing client's transport alive.
            rig.frame(Downstream::Pong);
        }
        assert_eq!(
            rig.sent.len() > 1,
            !matches!(behaviour, Behaviour::Js | Behaviour::Dotnet),
            "{behaviour:?}"
        );
    }
}

#[test]
fn official_clients_write_as_soon_as_the_recovery_socket_is_open() {
    for behaviour in Behaviour::ALL {
        let mut rig = up_as(behaviour);
        rig.close(None);
        rig.opened();
        rig.publish(1);
        let wrote = !rig.sent.is_empty();
        assert_eq!(wrote, behaviour != Behaviour::Spec, "{behaviour:?}");
        rig.close(Some(close::POLICY));
        assert!(rig.saw(|event| *event == Event::RecoveryFailed(RecoveryFailure::Refused)));
        assert!(!rig.saw(|event| *event == Event::RecoveryConfirmed));
    }
}

#[test]
fn an_official_client_whose_recovered_socket_drops_tries_again_at_once() {
    let mut rig = up_as(Behaviour::Js);
    rig.close(None);
    rig.opened();
    rig.close(None);
    assert_eq!(rig.dials.len(), 3);
    assert!(matches!(rig.dials[2], Dial::Recover { .. }));
}

#[test]
fn groups_are_rejoined_in_the_clients_own_order() {
    for (behaviour, at_once) in [
        (Behaviour::Spec, 2),
        (Behaviour::Python, 2),
        (Behaviour::Js, 2),
        (Behaviour::Dotnet, 1),
        (Behaviour::Java, 0),
    ] {
        let mut rig = up_as(behaviour);
        let first = SessionConfig::of(behaviour, Subprotocol::JsonReliable)
            .retry
            .first_ack_id;
        join(&mut rig, first, "a");
        join(&mut rig, first + 1, "b");
        rig.sent.clear();
        rig.close(Some(close::POLICY));
        if behaviour == Behaviour::Java {
            rig.wait(Duration::from_secs(1));
        }
        rig.opened();
        rig.connected_as("c2");
        assert_eq!(rig.sent.len(), at_once, "{behaviour:?}");
        rig.wait(Duration::from_millis(100));
        rig.answer(first + 2, None);
        rig.answer(first + 3, None);
        assert!(
            rig.saw(|event| *event
                == Event::RejoinDone {
                    joined: 2,
                    failed: 0
                }),
            "{behaviour:?}"
        );
    }
}

#[test]
fn java_joins_again_after_a_recovery_too() {
    for behaviour in [Behaviour::Python, Behaviour::Java] {
        let mut rig = up_as(behaviour);
        join(&mut rig, u64::from(behaviour != Behaviour::Java), "a");
        rig.sent.clear();
        rig.close(None);
        rig.opened();
        rig.frame(Downstream::Pong);
        rig.wait(Duration::from_millis(100));
        assert_eq!(rig.sent.len(), usize::from(behaviour == Behaviour::Java));
    }
}

#[test]
fn a_js_client_pings_in_a_rhythm_and_notices_silence_only_when_it_looks() {
    let mut rig = up_as(Behaviour::Js);
    assert!(rig.controls.is_empty(), "the first one after a period");
    for _ in 0..6 {
        rig.wait(Duration::from_secs(20));
    }
    assert_eq!(rig.controls.len(), 6);
    assert!(
        rig.session.is_connected(),
        "120 s of silence are allowed, not exceeded"
    );
    rig.wait(Duration::from_secs(20));
    assert!(
        rig.session.is_connected(),
        "140 s are not looked at before 160 s"
    );
    rig.wait(Duration::from_secs(20));
    assert!(rig.session.is_recovering());
}

#[test]
fn only_the_js_client_leaves_without_a_close_code() {
    for behaviour in Behaviour::ALL {
        let mut rig = up_as(behaviour);
        rig.session.stop();
        rig.drain();
        let code = rig.closes.last().unwrap().as_ref().unwrap().code;
        assert_eq!(
            code,
            (behaviour != Behaviour::Js).then_some(close::NORMAL),
            "{behaviour:?}"
        );
    }
}

#[test]
fn a_python_client_gives_up_after_four_failed_reconnects_and_nobody_retries_the_start() {
    let mut rig = up_as(Behaviour::Python);
    rig.close(Some(close::POLICY));
    for pause in [800, 1600, 3200] {
        rig.session.handle_dial_failed(rig.now, "x");
        rig.drain();
        assert!(!rig.session.is_stopped());
        rig.wait(Duration::from_millis(pause));
    }
    rig.session.handle_dial_failed(rig.now, "x");
    rig.drain();
    assert!(rig.session.is_stopped());

    for behaviour in Behaviour::ALL {
        let mut rig = Rig::with(SessionConfig::of(behaviour, Subprotocol::JsonReliable));
        rig.session.start();
        rig.session.handle_dial_failed(rig.now, "x");
        rig.drain();
        assert_eq!(
            rig.session.is_stopped(),
            behaviour != Behaviour::Spec,
            "{behaviour:?}"
        );
    }
}

#[test]
fn a_cancelled_request_is_not_tried_again_and_its_answer_is_late() {
    let mut rig = Rig::up();
    let operation = Operation::Join("g".into());
    let request = rig.session.request(rig.now, operation.clone(), true);
    rig.drain();
    assert_eq!(rig.session.cancel(request.unwrap()), Some(operation));
    rig.answer(1, None);
    assert!(rig.saw(|event| *event == Event::LateAck(AckId(1))));
    assert!(rig.outcomes().is_empty());
    rig.wait(Duration::from_secs(5));
    assert_eq!(rig.sent.len(), 1);
}

#[test]
fn a_session_started_again_joins_its_groups() {
    let mut rig = Rig::up();
    join(&mut rig, 1, "a");
    rig.session.stop();
    rig.drain();
    rig.sent.clear();
    rig.session.start();
    rig.drain();
    rig.opened();
    rig.connected_as("c2");
    assert_eq!(rig.sent[0].0, Operation::Join("a".into()));
}
