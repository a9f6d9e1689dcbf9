mod behaviour;
mod habits;
mod newer;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::{AckId, Cause, SequenceId};
use crate::protocol::{Dial, Outcome, Received, RecoveryFailure, Transmission};
use crate::wire::{
    Ack, AckError, Connected, Data, DataMessage, Downstream, MessageFrom, Subprotocol, close, json,
};

/// A session with what it asked for, driven by hand.
struct Rig {
    session: Session<u32>,
    now: Time,
    dials: Vec<Dial>,
    events: Vec<Event<u32>>,
    sent: Vec<(Operation<u32>, Transmission)>,
    controls: Vec<Control>,
    closes: Vec<Option<Close>>,
    /// Frames of streams and invocations, in JSON.
    newer: Vec<String>,
}

impl Rig {
    fn new() -> Self {
        Self::with(SessionConfig::spec(Subprotocol::JsonReliable))
    }

    fn with(config: SessionConfig) -> Self {
        Rig {
            session: Session::new(Arc::new(config), Seed(1)),
            now: Time::from_secs(1),
            dials: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
            controls: Vec::new(),
            closes: Vec::new(),
            newer: Vec::new(),
        }
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Dial(dial) => self.dials.push(dial),
                    Output::CloseTransport(close) => self.closes.push(close),
                    Output::Event(event) => self.events.push(event),
                }
            }
            match self.session.poll_transmit(self.now) {
                Some(Transmit::Control(control)) => self.controls.push(control),
                Some(Transmit::Newer(frame)) => {
                    let data = |content: &u32| Data::Json(content.to_string().into());
                    let mut bytes = Vec::new();
                    json::encode_request(&frame.into_request(data), &mut bytes);
                    self.newer.push(String::from_utf8(bytes).unwrap());
                }
                Some(Transmit::Request {
                    operation,
                    transmission,
                }) => self.sent.push((operation.clone(), transmission)),
                None => {
                    if !self.session.has_output() {
                        return;
                    }
                }
            }
        }
    }

    fn connected_as(&mut self, id: &'static str) {
        self.frame(Downstream::Connected(Connected {
            connection_id: id.into(),
            user_id: None,
            reconnection_token: Some("token".into()),
        }));
    }

    fn up() -> Self {
        let mut rig = Self::new();
        rig.session.start();
        rig.drain();
        rig.session.handle_opened(rig.now);
        rig.connected_as("c1");
        rig
    }

    fn frame(&mut self, frame: Downstream<'_>) {
        self.session.handle_frame(self.now, frame);
        self.drain();
    }

    fn answer(&mut self, ack_id: u64, error: Option<&'static str>) {
        self.frame(Downstream::Ack(Ack {
            ack_id: AckId(ack_id),
            success: error.is_none(),
            error: error.map(|name| AckError {
                name: name.into(),
                message: "".into(),
            }),
        }));
    }

    fn data(&mut self, id: u64) -> bool {
        let message = DataMessage {
            stream: None,
            sequence_id: Some(SequenceId(id)),
            from: MessageFrom::Server,
            data: Data::Text("x".into()),
        };
        let received = self
            .session
            .handle_frame(self.now, Downstream::Data(message));
        let Received::Data { fresh, .. } = received else {
            return false;
        };
        self.drain();
        fresh
    }

    fn publish(&mut self, content: u32) {
        let operation = Operation::Send {
            group: "g".into(),
            no_echo: false,
            content,
        };
        self.session.request(self.now, operation, true).unwrap();
        self.drain();
    }

    fn close(&mut self, code: Option<u16>) {
        self.session.handle_closed(
            self.now,
            Close {
                code,
                reason: String::new(),
            },
        );
        self.drain();
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
        self.drain();
    }

    fn opened(&mut self) {
        self.session.handle_opened(self.now);
        self.drain();
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let settled = |event: &Event<u32>| match event {
            Event::Settled(settled) => Some(settled.outcome),
            _ => None,
        };
        self.events.iter().filter_map(settled).collect()
    }

    fn saw(&self, wanted: impl Fn(&Event<u32>) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}

/// Ten thousand idle sessions pay for whatever room a connect and a publish leave behind.
#[test]
fn an_idle_session_keeps_little_room() {
    let mut rig = Rig::up();
    rig.publish(1);
    rig.answer(1, None);
    assert!(rig.session.outputs.capacity() <= OUTPUTS_KEPT);
    assert!(size_of::<Session<u32>>() <= 448);
}

#[test]
fn a_new_connection_is_announced_once_and_a_refreshed_token_is_not() {
    let mut rig = Rig::up();
    rig.connected_as("c1");
    let announced = rig
        .events
        .iter()
        .filter(|event| matches!(event, Event::Connected { .. }))
        .count();
    assert_eq!((announced, rig.dials.as_slice()), (1, &[Dial::New][..]));
}

#[test]
fn a_drop_is_recovered_on_the_same_connection_without_a_connected_event() {
    let mut rig = Rig::up();
    rig.close(None);
    assert_eq!(
        rig.dials[1],
        Dial::Recover {
            connection_id: "c1".into(),
            token: "token".into()
        }
    );
    rig.opened();
    assert!(
        !rig.session.is_connected(),
        "open is not recovered: a refusal comes after the upgrade"
    );
    assert_eq!(
        rig.controls,
        [Control::Ping],
        "the pong proves that the hub took us back"
    );
    rig.frame(Downstream::Pong);
    assert!(rig.session.is_connected());
    assert!(rig.saw(|event| matches!(event, Event::RecoveryConfirmed)));
    assert_eq!(
        rig.events
            .iter()
            .filter(|event| matches!(event, Event::Connected { .. }))
            .count(),
        1
    );
}

#[test]
fn a_refusal_with_1008_ends_recovery_and_leads_to_a_new_connection() {
    let mut rig = Rig::up();
    rig.close(None);
    rig.opened();
    rig.close(Some(close::POLICY));
    assert!(rig.saw(|event| *event == Event::RecoveryFailed(RecoveryFailure::Refused)));
    assert_eq!(rig.dials.last(), Some(&Dial::New));
    rig.opened();
    rig.connected_as("c2");
    assert_eq!(rig.session.epoch(), Some(1));
}

#[test]
fn other_failures_are_tried_again_each_second_until_30_seconds_are_over() {
    let mut rig = Rig::up();
    rig.close(None);
    let mut attempts = 0;
    while rig.session.is_recovering() {
        attempts += 1;
        rig.session.handle_dial_failed(rig.now, "502");
        rig.drain();
        rig.wait(Duration::from_secs(1));
    }
    assert_eq!(attempts, 30);
    assert!(rig.saw(|event| *event == Event::RecoveryFailed(RecoveryFailure::WindowPassed)));
    assert_eq!(rig.dials.last(), Some(&Dial::New));
}

#[test]
fn a_hanging_recovery_dial_is_cut_when_the_window_is_over() {
    let mut rig = Rig::up();
    rig.close(None);
    rig.wait(Duration::from_secs(30));
    assert_eq!(rig.closes, [None]);
    assert_eq!(rig.dials.last(), Some(&Dial::New));
}

#[test]
fn without_a_token_a_reliable_protocol_or_after_1008_nothing_is_recovered() {
    for (subprotocol, token, code) in [
        (Subprotocol::Json, Some("t"), None),
        (Subprotocol::JsonReliable, None, None),
        (Subprotocol::JsonReliable, Some("t"), Some(close::POLICY)),
    ] {
        let mut rig = Rig::with(SessionConfig::spec(subprotocol));
        rig.session.start();
        rig.opened();
        rig.frame(Downstream::Connected(Connected {
            connection_id: "c1".into(),
            user_id: None,
            reconnection_token: token.map(Into::into),
        }));
        rig.close(code);
        assert!(rig.saw(|event| matches!(event, Event::NotRecoverable(_))));
        assert_eq!(rig.dials.last(), Some(&Dial::New));
    }
}

#[test]
fn an_unanswered_publish_is_resent_with_its_ack_id_after_recovery_and_duplicate_is_success() {
    let mut rig = Rig::up();
    rig.publish(7);
    rig.close(None);
    rig.opened();
    rig.frame(Downstream::Pong);
    rig.wait(Duration::from_millis(800));
    let (_, again) = rig.sent[1].clone();
    assert_eq!(
        (again.ack_id, again.cause, again.transport),
        (Some(AckId(1)), Cause::AfterRecovery, 1)
    );
    rig.answer(1, Some("Duplicate"));
    assert_eq!(rig.outcomes(), [Outcome::Ok]);
}

#[test]
fn an_official_client_takes_a_fresh_ack_id_for_the_resend() {
    let mut config = SessionConfig::spec(Subprotocol::JsonReliable);
    config.retry.fresh_ack_id = true;
    let mut rig = Rig::with(config);
    rig.session.start();
    rig.opened();
    rig.connected_as("c1");
    rig.publish(7);
    rig.close(None);
    rig.opened();
    rig.frame(Downstream::Pong);
    rig.wait(Duration::from_millis(800));
    let (_, again) = rig.sent[1].clone();
    assert_eq!(
        (again.ack_id, again.cause),
        (Some(AckId(2)), Cause::FreshAckId)
    );
}

#[test]
fn outcomes_are_told_apart() {
    // Refused each time: failed. An error: unknown in the end. Duplicate to a first
    // transmission: nobody knows.
    let mut rig = Rig::up();
    rig.publish(1);
    rig.answer(1, Some("Forbidden"));
    rig.publish(2);
    rig.answer(2, Some("Duplicate"));
    rig.publish(3);
    for pause in [800, 1600, 3200] {
        rig.answer(3, Some("InternalServerError"));
        rig.wait(Duration::from_millis(pause));
    }
    rig.answer(3, Some("InternalServerError"));
    assert_eq!(
        rig.outcomes(),
        [Outcome::Failed, Outcome::Unknown, Outcome::Unknown]
    );
    assert_eq!(rig.sent.len(), 6);
}

#[test]
fn a_publish_that_never_found_a_transport_failed_and_one_that_did_is_unknown() {
    let mut rig = Rig::up();
    rig.publish(1);
    rig.close(None);
    rig.publish(2);
    for pause in [800, 1600, 3200] {
        rig.wait(Duration::from_millis(pause));
    }
    assert_eq!(rig.outcomes(), [Outcome::Unknown, Outcome::Failed]);
}

#[test]
fn late_and_unsolicited_answers_are_told_apart() {
    let mut rig = Rig::up();
    rig.publish(1);
    rig.answer(1, None);
    rig.answer(1, None);
    rig.answer(99, None);
    assert!(rig.saw(|event| *event == Event::LateAck(AckId(1))));
    assert!(rig.saw(|event| *event == Event::UnsolicitedAck(AckId(99))));
}

#[test]
fn groups_joined_and_not_left_are_rejoined_on_a_new_connection() {
    let mut rig = Rig::up();
    for (ack_id, group) in [(1, "a"), (2, "b"), (3, "c")] {
        rig.session
            .request(rig.now, Operation::Join(group.into()), true)
            .unwrap();
        rig.drain();
        rig.answer(ack_id, None);
    }
    rig.session
        .request(rig.now, Operation::Leave("b".into()), true)
        .unwrap();
    rig.drain();
    rig.answer(4, None);
    rig.close(Some(close::POLICY));
    rig.opened();
    rig.sent.clear();
    rig.connected_as("c2");
    let rejoined: Vec<_> = rig
        .sent
        .iter()
        .map(|(operation, _)| operation.clone())
        .collect();
    assert_eq!(
        rejoined,
        [Operation::Join("a".into()), Operation::Join("c".into())]
    );
    rig.answer(5, None);
    rig.answer(6, Some("Forbidden"));
    assert!(rig.saw(|event| matches!(event, Event::RejoinFailed { group, .. } if &**group == "c")));
    assert!(rig.saw(|event| *event
        == Event::RejoinDone {
            joined: 1,
            failed: 1
        }));
}

#[test]
fn replays_are_dropped_and_acknowledged_and_a_new_connection_numbers_anew() {
    let mut rig = Rig::up();
    assert!(rig.data(1) && rig.data(2));
    rig.close(None);
    rig.opened();
    assert!(!rig.data(2), "a replay");
    assert!(rig.data(3));
    rig.wait(Duration::from_millis(200));
    assert_eq!(
        rig.controls.last(),
        Some(&Control::SequenceAck(SequenceId(3)))
    );
    rig.close(Some(close::POLICY));
    rig.opened();
    rig.connected_as("c2");
    assert!(rig.data(1), "of another connection");
}

#[test]
fn a_silent_hub_is_pinged_and_then_dropped() {
    let mut rig = Rig::up();
    rig.wait(Duration::from_secs(15));
    assert_eq!(rig.controls, [Control::Ping]);
    rig.wait(Duration::from_secs(10));
    assert!(rig.saw(|event| *event == Event::IdleTimeout));
    assert!(rig.session.is_recovering());
}

#[test]
fn one_client_has_a_bounded_number_of_requests() {
    let mut rig = Rig::up();
    (0..256).for_each(|n| rig.publish(n));
    let one_more = Operation::Send {
        group: "g".into(),
        no_echo: false,
        content: 256,
    };
    assert_eq!(
        rig.session.request(rig.now, one_more.clone(), true),
        Err(one_more)
    );
}

#[test]
fn fire_and_forget_has_its_outcome_as_soon_as_it_is_written() {
    let mut rig = Rig::up();
    let operation = Operation::Send {
        group: "g".into(),
        no_echo: false,
        content: 1,
    };
    rig.session.request(rig.now, operation, false).unwrap();
    rig.drain();
    assert_eq!(
        (rig.outcomes(), rig.sent[0].1.ack_id),
        (vec![Outcome::FireAndForget], None)
    );
}

#[derive(Clone, Debug)]
enum Input {
    Opened,
    DialFailed,
    Closed(Option<u16>),
    Connected,
    Data(u64),
    Ack(u64, bool),
    Publish(bool),
    Join,
    Wait(u64),
    Stop,
    Start,
    Bad,
    Pong,
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => Just(Input::Opened),
        1 => Just(Input::DialFailed),
        2 => prop_oneof![Just(None), Just(Some(1000)), Just(Some(1001)), Just(Some(1008))].prop_map(Input::Closed),
        3 => Just(Input::Connected),
        3 => (1u64..20).prop_map(Input::Data),
        3 => (1u64..30, any::<bool>()).prop_map(|(id, ok)| Input::Ack(id, ok)),
        3 => any::<bool>().prop_map(Input::Publish),
        1 => Just(Input::Join),
        4 => (0u64..40_000).prop_map(Input::Wait),
        1 => Just(Input::Stop),
        1 => Just(Input::Start),
        1 => Just(Input::Bad),
        2 => Just(Input::Pong),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes in whatever order: no panic, no state without a way out, and every
    /// request ends with exactly one outcome.
    #[test]
    fn every_request_ends_once_and_no_state_is_a_dead_end(behaviour in proptest::sample::select(&crate::protocol::Behaviour::ALL[..]), inputs in proptest::collection::vec(any_input(), 0..80)) {
        let mut rig = Rig::with(SessionConfig::of(behaviour, Subprotocol::JsonReliable));
        rig.session.start();
        rig.drain();
        let mut asked = 0;
        for input in inputs {
            match input {
                Input::Opened => rig.opened(),
                Input::DialFailed => { rig.session.handle_dial_failed(rig.now, "x"); rig.drain(); }
                Input::Closed(code) => rig.close(code),
                Input::Connected => rig.connected_as("c"),
                Input::Data(id) => { rig.data(id); }
                Input::Ack(id, ok) => rig.answer(id, (!ok).then_some("InternalServerError")),
                Input::Publish(acked) => {
                    let operation = Operation::Send { group: "g".into(), no_echo: false, content: 0 };
                    asked += usize::from(rig.session.request(rig.now, operation, acked).is_ok());
                    rig.drain();
                }
                Input::Join => {
                    asked += usize::from(rig.session.request(rig.now, Operation::Join("g".into()), true).is_ok());
                    rig.drain();
                }
                Input::Wait(ms) => rig.wait(Duration::from_millis(ms)),
                Input::Stop => { rig.session.stop(); rig.drain(); }
                Input::Start => { rig.session.start(); rig.drain(); }
                Input::Bad => { rig.session.handle_bad_frame(rig.now, "x"); rig.drain(); }
                Input::Pong => rig.frame(Downstream::Pong),
            }
            // Clients that trust TCP wait for the transport alone, and a dial always ends.
            let trusts = behaviour != crate::protocol::Behaviour::Spec && rig.session.is_connected();
            let dials = matches!(rig.session.state, State::Dialing | State::Recovering { step: RecoveryStep::Dialing, .. });
            if !rig.session.is_stopped() && !dials && !trusts {
                prop_assert!(rig.session.poll_timeout().is_some(), "no timer leaves {:?}", rig.session.state);
            }
        }
        rig.session.end();
        rig.drain();
        let ended = rig.events.iter().filter(|event| matches!(event, Event::Settled(settled) if !settled.rejoin)).count();
        prop_assert_eq!(ended, asked);
        prop_assert_eq!(rig.session.outstanding(), 0);
    }
}
