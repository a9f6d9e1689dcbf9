//! When each official client tries again, how often, after what, and how it stops. One table
//! for each question, so that a fleet "of JS clients" loads a hub as JS clients do.

use super::*;
use crate::protocol::{Behaviour, StopHabit};

fn config(behaviour: Behaviour) -> SessionConfig {
    SessionConfig::of(behaviour, Subprotocol::JsonReliable)
}

fn up_as(behaviour: Behaviour) -> Rig {
    let mut rig = Rig::with(config(behaviour));
    rig.session.start();
    rig.drain();
    rig.opened();
    rig.connected_as("c1");
    rig
}

/// Waits for the session's own timers until `done`; what it waited for, in milliseconds.
fn pause_until(rig: &mut Rig, done: impl Fn(&Rig) -> bool) -> u64 {
    let from = rig.now;
    for _ in 0..100 {
        if done(rig) {
            break;
        }
        rig.now = rig.session.poll_timeout().expect("a timer").max(rig.now);
        rig.session.handle_timeout(rig.now);
        rig.drain();
    }
    assert!(done(rig), "it never came");
    rig.now.micros_since(from) / 1000
}

/// Answers each try of a publish with `error`; the pauses between the tries.
fn pauses_after(behaviour: Behaviour, error: &'static str) -> (Vec<u64>, Vec<Outcome>) {
    let mut rig = up_as(behaviour);
    rig.publish(1);
    let mut pauses = Vec::new();
    while rig.outcomes().is_empty() {
        let tries = rig.sent.len();
        let ack_id = rig.sent[tries - 1].1.ack_id.unwrap().0;
        rig.answer(ack_id, Some(error));
        if rig.outcomes().is_empty() {
            pauses.push(pause_until(&mut rig, |rig| rig.sent.len() > tries));
        }
    }
    (pauses, rig.outcomes())
}

#[test]
fn who_tries_again_after_which_refusal_and_when() {
    let never: &[u64] = &[];
    let doubling: &[u64] = &[800, 1600, 3200];
    for (behaviour, error, forbidden) in [
        (Behaviour::Spec, doubling, never),
        (Behaviour::Python, doubling, doubling),
        (Behaviour::Js, &[1000, 1000, 1000], &[1000, 1000, 1000]),
        (Behaviour::Dotnet, doubling, doubling),
        (Behaviour::Java, never, never),
    ] {
        let unknown = vec![Outcome::Unknown];
        let failed = vec![Outcome::Failed];
        assert_eq!(
            pauses_after(behaviour, "InternalServerError"),
            (error.to_vec(), unknown),
            "{behaviour:?} after an error"
        );
        for refusal in ["Forbidden", "BadRequest"] {
            assert_eq!(
                pauses_after(behaviour, refusal),
                (forbidden.to_vec(), failed.clone()),
                "{behaviour:?} after {refusal}: it is certain that it was not executed"
            );
        }
    }
}

#[test]
fn a_java_client_tries_again_after_a_drop_with_a_little_jitter() {
    let mut rig = up_as(Behaviour::Java);
    rig.publish(1);
    rig.close(None);
    rig.opened();
    rig.frame(Downstream::Pong);
    let pause = pause_until(&mut rig, |rig| rig.sent.len() > 1);
    assert!((1520..=1680).contains(&pause) && pause != 1600, "{pause}");
    assert_eq!(
        rig.sent[1].1.ack_id,
        Some(AckId(0)),
        "its first ackId, which is 0"
    );
    rig.answer(0, None);
    assert_eq!(rig.outcomes(), [Outcome::Ok]);
}

/// Fails `count` attempts of the present kind; the pauses before the next ones.
fn pauses_between_dials(rig: &mut Rig, count: usize) -> Vec<u64> {
    let mut pauses = Vec::new();
    for _ in 0..count {
        let dials = rig.dials.len();
        rig.session.handle_dial_failed(rig.now, "refused");
        rig.drain();
        pauses.push(pause_until(rig, |rig| rig.dials.len() > dials));
    }
    pauses
}

#[test]
fn pauses_between_recoveries_and_between_reconnects() {
    for behaviour in Behaviour::ALL {
        let mut rig = up_as(behaviour);
        rig.close(None);
        assert!(matches!(rig.dials[1], Dial::Recover { .. }), "at once");
        let recovering = pauses_between_dials(&mut rig, 3);

        let mut rig = up_as(behaviour);
        rig.close(Some(close::POLICY));
        let first = pause_until(&mut rig, |rig| rig.dials.len() > 1);
        let reconnecting = pauses_between_dials(&mut rig, 3);
        match behaviour {
            Behaviour::Java => {
                assert_eq!(first, 1000);
                for pauses in [recovering, reconnecting] {
                    for (pause, base) in pauses.iter().zip([1000, 2000, 4000]) {
                        let half = base / 2;
                        assert!((base - half..=base + half).contains(pause), "{pauses:?}");
                    }
                    assert_ne!(pauses, [1000, 2000, 4000], "with jitter");
                }
            }
            _ => {
                assert_eq!((first, recovering), (0, vec![1000; 3]), "{behaviour:?}");
                let expected = match behaviour {
                    Behaviour::Python => [800, 1600, 3200],
                    Behaviour::Js => [1000, 1000, 1000],
                    _ => [1000, 2000, 4000],
                };
                assert_eq!(reconnecting, expected, "{behaviour:?}");
            }
        }
    }
}

#[test]
fn only_some_give_up_a_hanging_recovery_when_the_window_is_over() {
    for behaviour in Behaviour::ALL {
        let mut rig = up_as(behaviour);
        rig.close(None);
        rig.wait(Duration::from_secs(31));
        let gave_up = rig.dials.last() == Some(&Dial::New) || !rig.session.is_recovering();
        let cuts = matches!(behaviour, Behaviour::Spec | Behaviour::Java);
        assert_eq!(gave_up, cuts, "{behaviour:?}");
        if !cuts {
            // It ends in its own time, and then the window is over.
            rig.session.handle_dial_failed(rig.now, "timed out");
            rig.drain();
            assert_eq!(rig.dials.last(), Some(&Dial::New), "{behaviour:?}");
        }
    }
}

#[test]
fn receipts_come_in_the_clients_own_rhythm() {
    for (behaviour, expected) in [
        (Behaviour::Spec, 200),
        (Behaviour::Python, 1000),
        (Behaviour::Js, 1000),
        (Behaviour::Dotnet, 1000),
        (Behaviour::Java, 5000),
    ] {
        let mut rig = up_as(behaviour);
        let receipt = |rig: &Rig| {
            rig.controls
                .iter()
                .any(|control| matches!(control, Control::SequenceAck(_)))
        };
        rig.data(1);
        assert_eq!(pause_until(&mut rig, receipt), expected, "{behaviour:?}");
        // A thousand at once: only ours does not wait for the timer.
        rig.controls.clear();
        (2..=1000).for_each(|id| {
            rig.data(id);
        });
        assert_eq!(receipt(&rig), behaviour == Behaviour::Spec, "{behaviour:?}");
    }
}

#[test]
fn only_js_sends_pings_of_its_own_and_ours_when_the_hub_is_silent() {
    for behaviour in Behaviour::ALL {
        let mut rig = up_as(behaviour);
        rig.wait(Duration::from_secs(20));
        let pings = rig.controls.contains(&Control::Ping);
        let expected = matches!(behaviour, Behaviour::Spec | Behaviour::Js);
        assert_eq!(pings, expected, "{behaviour:?}");
    }
}

#[test]
fn a_rejoin_that_is_refused_is_tried_once_and_reported_by_all() {
    for behaviour in Behaviour::ALL {
        let mut rig = up_as(behaviour);
        let first = SessionConfig::of(behaviour, Subprotocol::JsonReliable)
            .retry
            .first_ack_id;
        rig.session
            .request(rig.now, Operation::Join("a".into()), true)
            .unwrap();
        rig.drain();
        rig.answer(first, None);
        rig.close(Some(close::POLICY));
        pause_until(&mut rig, |rig| rig.dials.len() > 1);
        rig.opened();
        rig.sent.clear();
        rig.connected_as("c2");
        pause_until(&mut rig, |rig| !rig.sent.is_empty());
        rig.answer(first + 1, Some("Forbidden"));
        rig.wait(Duration::from_secs(10));
        assert_eq!(rig.sent.len(), 1, "{behaviour:?}");
        assert!(
            rig.saw(|event| matches!(event, Event::RejoinFailed { group, .. } if &**group == "a")),
            "{behaviour:?}"
        );
    }
}

#[test]
fn a_rejoin_that_fails_otherwise_is_tried_again_only_by_ours() {
    for behaviour in [Behaviour::Spec, Behaviour::Python, Behaviour::Js] {
        let mut rig = up_as(behaviour);
        rig.session
            .request(rig.now, Operation::Join("a".into()), true)
            .unwrap();
        rig.drain();
        rig.answer(1, None);
        rig.close(Some(close::POLICY));
        rig.opened();
        rig.sent.clear();
        rig.connected_as("c2");
        rig.answer(2, Some("InternalServerError"));
        rig.wait(Duration::from_secs(1));
        let again = rig.sent.len() > 1;
        assert_eq!(again, behaviour == Behaviour::Spec, "{behaviour:?}");
    }
}

#[test]
fn stopping_without_a_transport_is_done_at_once_or_later_or_not_at_all() {
    for behaviour in Behaviour::ALL {
        // Asked while a recovery is being dialled.
        let mut rig = up_as(behaviour);
        rig.close(None);
        rig.session.stop();
        rig.drain();
        let at_once = rig.session.is_stopped();
        rig.closes.clear();
        rig.opened();
        rig.frame(Downstream::Pong);
        let says = rig.closes.last().cloned().flatten().map(|close| close.code);
        let (expected, goodbye) = match config(behaviour).stop {
            StopHabit::AtOnce => (true, None),
            StopHabit::OnceOpen => (false, Some(Some(close::NORMAL))),
            StopHabit::OnlyOpen => (false, None),
        };
        assert_eq!((at_once, says), (expected, goodbye), "{behaviour:?}");
        let came_back = rig.session.is_connected();
        assert_eq!(came_back, behaviour == Behaviour::Js, "{behaviour:?}");

        // Asked in the pause between two attempts.
        let mut rig = up_as(behaviour);
        rig.close(None);
        rig.session.handle_dial_failed(rig.now, "x");
        rig.drain();
        rig.session.stop();
        rig.drain();
        let stopped = rig.session.is_stopped();
        assert_eq!(stopped, behaviour != Behaviour::Js, "{behaviour:?}");
        // Whoever drives it can end it all the same.
        rig.session.end();
        assert!(rig.session.is_stopped());
    }
}

#[test]
fn a_java_client_told_to_stop_gives_up_when_its_attempt_fails() {
    let mut rig = up_as(Behaviour::Java);
    rig.close(None);
    rig.session.stop();
    rig.session.handle_dial_failed(rig.now, "x");
    rig.drain();
    pause_until(&mut rig, |rig| rig.session.is_stopped());
    assert_eq!(rig.dials.len(), 2, "no further attempt");
}

#[test]
fn only_a_java_client_forgets_its_groups_when_it_is_stopped() {
    for behaviour in Behaviour::ALL {
        let mut rig = up_as(behaviour);
        rig.session
            .request(rig.now, Operation::Join("a".into()), true)
            .unwrap();
        rig.drain();
        rig.answer(config(behaviour).retry.first_ack_id, None);
        rig.session.stop();
        rig.drain();
        rig.sent.clear();
        rig.session.start();
        rig.drain();
        rig.opened();
        rig.connected_as("c2");
        rig.wait(Duration::from_millis(100));
        let rejoined = !rig.sent.is_empty();
        assert_eq!(rejoined, behaviour != Behaviour::Java, "{behaviour:?}");
    }
}
