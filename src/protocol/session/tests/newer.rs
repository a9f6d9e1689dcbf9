//! Streams and invocations of a session, driven by hand.

use super::*;
use crate::protocol::newer::{INVOCATIONS_MAX, PARTS_MAX, STREAM_PROGRESS, STREAMS_MAX};
use crate::protocol::{
    Behaviour, InvocationFailure, InvocationId, InvokeRefused, NewerEvent, StreamOptions,
    StreamOutcome, StreamRefused,
};
use crate::wire::{InvokeResponse, StreamAnswer, StreamError, StreamFault, StreamPart};

fn options(id: &str) -> StreamOptions {
    StreamOptions {
        stream_id: id.into(),
        group: "g".into(),
        idle_timeout: Duration::from_secs(60),
        no_echo: false,
    }
}

impl Rig {
    /// A session with the stream `s` open, and nothing noted yet.
    fn streaming() -> Self {
        let mut rig = Rig::up();
        rig.session.open_stream(options("s")).unwrap();
        rig.drain();
        rig.stream_ack(1);
        rig.newer.clear();
        rig.events.clear();
        rig
    }

    fn stream_ack(&mut self, expected: u64) {
        self.frame(Downstream::Stream(StreamAnswer::Ack {
            stream_id: "s".into(),
            expected,
        }));
    }

    fn stream_nack(&mut self, expected: u64) {
        self.frame(Downstream::Stream(StreamAnswer::Nack {
            stream_id: "s".into(),
            expected,
            name: "InvalidSequenceId".into(),
            message: None,
        }));
    }

    fn stream_closed(&mut self, error: Option<&'static str>) {
        self.frame(Downstream::Stream(StreamAnswer::Closed {
            stream_id: "s".into(),
            error: error.map(|name| AckError {
                name: name.into(),
                message: "m".into(),
            }),
        }));
    }

    fn write(&mut self, parts: std::ops::Range<u32>) {
        for part in parts {
            self.session.write_stream("s", part).unwrap();
        }
        self.drain();
    }

    /// The frames written since the last look, in short.
    fn written(&mut self) -> Vec<String> {
        let short = |text: String| {
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            match frame["type"].as_str().unwrap() {
                "sendToGroup" => "start".into(),
                "streamData" if frame["data"].is_null() => "alive".into(),
                "streamData" => format!("{}={}", frame["streamSequenceId"], frame["data"]),
                "streamEnd" => match frame["error"]["userErrorCode"].as_str() {
                    None => "end".into(),
                    Some(code) => format!("end {code}"),
                },
                "invoke" => format!("invoke {}", frame["invocationId"].as_str().unwrap()),
                _ => format!("cancel {}", frame["invocationId"].as_str().unwrap()),
            }
        };
        std::mem::take(&mut self.newer)
            .into_iter()
            .map(short)
            .collect()
    }

    fn over(&mut self) -> Vec<(StreamOutcome, u64, u64)> {
        let over = |event| match event {
            Event::Newer(NewerEvent::StreamOver {
                outcome,
                accepted,
                unknown,
                ..
            }) => Some((outcome, accepted, unknown)),
            _ => None,
        };
        std::mem::take(&mut self.events)
            .into_iter()
            .filter_map(over)
            .collect()
    }

    /// Loses the transport and gets it back.
    fn lose_and_recover(&mut self) {
        self.close(None);
        self.session.handle_opened(self.now);
        self.drain();
        assert!(
            self.newer.is_empty(),
            "written before the recovery was sure"
        );
        self.frame(Downstream::Pong);
    }
}

#[test]
fn a_stream_waits_for_its_start_then_goes_in_order_and_ends_when_all_is_accepted() {
    let mut rig = Rig::up();
    rig.session.open_stream(options("s")).unwrap();
    rig.write(1..3);
    assert_eq!(rig.written(), ["start"]);
    rig.stream_ack(1);
    assert_eq!(rig.written(), ["1=1", "2=2"]);
    assert!(rig.session.end_stream("s", None));
    rig.drain();
    rig.stream_ack(2);
    assert!(
        rig.written().is_empty(),
        "the end would overtake what may be asked for again"
    );
    rig.stream_ack(3);
    assert_eq!(rig.written(), ["end"]);
    assert_eq!(
        rig.session.write_stream("s", 9),
        Err((9, StreamRefused::NotOpen))
    );
    rig.stream_closed(None);
    assert_eq!(rig.over(), [(StreamOutcome::Ended, 2, 0)]);
    assert_eq!(rig.session.open_streams(), 0);
    // A late receipt is for nobody.
    rig.stream_ack(3);
    assert_eq!(rig.session.newer_counts().stray_receipts, 1);
}

#[test]
fn after_a_recovery_the_parts_without_receipt_go_again_in_order() {
    let mut rig = Rig::streaming();
    rig.write(1..5);
    rig.stream_ack(3);
    rig.written();
    rig.close(None);
    rig.write(5..6);
    rig.session.handle_opened(rig.now);
    rig.drain();
    assert!(rig.newer.is_empty(), "written before the recovery was sure");
    rig.frame(Downstream::Pong);
    assert_eq!(rig.written(), ["3=3", "4=4", "5=5"]);
    assert_eq!(rig.session.newer_counts().parts_resent, 2);
    // With nothing to repeat, it asks whether the stream is still there.
    rig.stream_ack(6);
    rig.lose_and_recover();
    assert_eq!(rig.written(), ["alive"]);
    rig.stream_closed(Some("StreamNotFound"));
    let name = "StreamNotFound".to_owned();
    let message = "m".to_owned();
    assert_eq!(
        rig.over(),
        [(StreamOutcome::Closed { name, message }, 5, 0)]
    );
}

#[test]
fn an_end_whose_answer_was_lost_counts_as_an_end() {
    let mut rig = Rig::streaming();
    rig.session.end_stream("s", None);
    rig.drain();
    assert_eq!(rig.written(), ["end"]);
    rig.lose_and_recover();
    assert_eq!(rig.written(), ["end"]);
    rig.stream_closed(Some("StreamNotFound"));
    assert_eq!(rig.over(), [(StreamOutcome::Ended, 0, 0)]);
}

#[test]
fn a_connection_that_is_lost_for_good_takes_its_streams_with_it() {
    let mut rig = Rig::streaming();
    rig.write(1..4);
    rig.stream_ack(2);
    rig.close(None);
    assert!(rig.over().is_empty(), "it may still be recovered");
    rig.session.handle_opened(rig.now);
    rig.close(Some(1008));
    assert_eq!(rig.over(), [(StreamOutcome::Lost, 1, 2)]);
    // One that the hub had not accepted is lost with the transport.
    let mut rig = Rig::up();
    rig.session.open_stream(options("s")).unwrap();
    rig.drain();
    rig.close(None);
    assert_eq!(rig.over(), [(StreamOutcome::Lost, 0, 0)]);
    assert_eq!(
        rig.session.open_stream(options("s")),
        Err(StreamRefused::NotConnected)
    );
    let mut rig = Rig::streaming();
    rig.session.stop();
    rig.drain();
    assert_eq!(rig.over(), [(StreamOutcome::Lost, 0, 0)]);
}

#[test]
fn nacks_rewind_and_a_burst_of_them_does_not_multiply_the_parts() {
    let mut rig = Rig::streaming();
    rig.write(1..6);
    rig.written();
    rig.stream_nack(2);
    assert_eq!(rig.written(), ["2=2", "3=3", "4=4", "5=5"]);
    for _ in 0..5 {
        rig.stream_nack(2);
    }
    assert!(rig.written().is_empty(), "the next try waits");
    rig.wait(Duration::from_millis(10));
    assert_eq!(rig.written(), ["2=2", "3=3", "4=4", "5=5"]);
    rig.stream_ack(6);
    assert_eq!(rig.session.newer_counts().nacks, 6);
    assert!(rig.over().is_empty());
}

#[test]
fn a_receipt_that_cannot_be_ends_the_stream_and_tells_the_hub() {
    for expected in [0, 1, 5, u64::MAX] {
        let mut rig = Rig::streaming();
        rig.write(1..4);
        rig.stream_ack(2);
        rig.written();
        rig.stream_ack(expected);
        assert_eq!(
            rig.over(),
            [(StreamOutcome::ProtocolViolation, 1, 2)],
            "{expected}"
        );
        assert_eq!(rig.written(), ["end ProtocolViolation"]);
    }
}

#[test]
fn a_stream_is_kept_alive_and_given_up_when_nothing_is_ever_acknowledged() {
    let mut rig = Rig::streaming();
    rig.wait(Duration::from_secs(19));
    assert!(rig.written().is_empty());
    rig.frame(Downstream::Pong);
    for _ in 0..3 {
        rig.wait(Duration::from_secs(20));
        rig.frame(Downstream::Pong);
        assert_eq!(rig.written(), ["alive"]);
    }
    rig.write(1..2);
    let step = Duration::from_secs(5);
    let mut waited = Duration::ZERO;
    while waited + step < STREAM_PROGRESS {
        rig.wait(step);
        rig.frame(Downstream::Pong);
        waited += step;
    }
    assert!(rig.over().is_empty());
    rig.wait(step);
    assert_eq!(rig.over(), [(StreamOutcome::NoProgress, 0, 1)]);
    assert_eq!(rig.written().last().unwrap(), "end NoProgress");
}

#[test]
fn streams_and_their_parts_are_bounded_and_counted() {
    let mut rig = Rig::streaming();
    for part in 0..PARTS_MAX as u32 {
        rig.session.write_stream("s", part).unwrap();
    }
    assert_eq!(
        rig.session.write_stream("s", 7),
        Err((7, StreamRefused::Full))
    );
    rig.drain();
    rig.stream_ack(2);
    assert_eq!(rig.session.write_stream("s", 7), Ok(()));
    for n in 1..STREAMS_MAX {
        rig.session.open_stream(options(&format!("s{n}"))).unwrap();
    }
    let refused = |rig: &mut Rig, options| rig.session.open_stream(options).unwrap_err();
    assert_eq!(
        refused(&mut rig, options("one more")),
        StreamRefused::TooMany
    );
    assert_eq!(refused(&mut rig, options("s")), StreamRefused::BadName);
    assert_eq!(refused(&mut rig, options("")), StreamRefused::BadName);
    let timeless = StreamOptions {
        idle_timeout: Duration::ZERO,
        ..options("t")
    };
    assert_eq!(refused(&mut rig, timeless), StreamRefused::BadIdleTimeout);
    let counts = rig.session.newer_counts();
    assert_eq!((counts.streams_refused, counts.parts_refused), (1, 1));
    // Streams write in turn: each start leaves before the first stream's parts are through.
    rig.newer.clear();
    rig.drain();
    assert_eq!(
        rig.written()
            .iter()
            .filter(|frame| *frame == "start")
            .count(),
        STREAMS_MAX - 1
    );
    let error = StreamError {
        message: None,
        code: Some("c".into()),
    };
    assert!(rig.session.end_stream("s", Some(error)));
    assert!(!rig.session.end_stream("unknown", None));
}

// ---- invocations ------------------------------------------------------------------------

fn response(id: &'static str, error: Option<&'static str>) -> InvokeResponse<'static> {
    InvokeResponse {
        invocation_id: id.into(),
        success: error.is_none(),
        data: error.is_none().then(|| Data::Text("done".into())),
        error: error.map(|name| AckError {
            name: name.into(),
            message: "m".into(),
        }),
    }
}

impl Rig {
    fn invoke(&mut self, within: Option<Duration>) -> InvocationId {
        let id = self
            .session
            .invoke(self.now, "e".into(), 1, within)
            .unwrap();
        self.drain();
        id
    }

    fn failed(&mut self) -> Vec<(InvocationId, InvocationFailure)> {
        let failed = |event| match event {
            Event::Newer(NewerEvent::InvocationFailed { id, failure }) => Some((id, failure)),
            _ => None,
        };
        std::mem::take(&mut self.events)
            .into_iter()
            .filter_map(failed)
            .collect()
    }
}

#[test]
fn an_invocation_gets_its_answer_and_no_other() {
    let mut rig = Rig::up();
    let (one, two) = (rig.invoke(None), rig.invoke(None));
    assert_eq!(rig.written(), ["invoke 1", "invoke 2"]);
    let now = rig.now;
    let mut answer = |id, error| {
        let frame = Downstream::InvokeResponse(response(id, error));
        match rig.session.handle_frame(now, frame) {
            Received::Invoked { id, response } => Some((id, response.success)),
            _ => None,
        }
    };
    assert_eq!(answer("2", None), Some((two, true)));
    assert_eq!(answer("2", None), None);
    assert_eq!(answer("77", None), None);
    assert_eq!(answer("not ours", None), None);
    assert_eq!(answer("1", Some("InternalServerError")), Some((one, false)));
    assert_eq!(rig.session.pending_invocations(), 0);
    assert_eq!(rig.session.newer_counts().late_answers, 3);
}

#[test]
fn a_drop_fails_every_invocation_at_once_and_none_is_tried_again() {
    let mut rig = Rig::up();
    let id = rig.invoke(Some(Duration::from_secs(9)));
    rig.written();
    rig.close(None);
    assert_eq!(rig.failed(), [(id, InvocationFailure::Lost)]);
    let now = rig.now;
    assert_eq!(
        rig.session.invoke(now, "e".into(), 1, None),
        Err(InvokeRefused::NotConnected)
    );
    rig.session.handle_opened(rig.now);
    rig.frame(Downstream::Pong);
    assert!(rig.written().is_empty());
    rig.wait(Duration::from_secs(10));
    assert!(rig.failed().is_empty(), "failed twice");
}

#[test]
fn an_invocation_that_is_late_or_called_off_is_cancelled_at_the_hub() {
    let mut rig = Rig::up();
    let late = rig.invoke(Some(Duration::from_secs(2)));
    let off = rig.invoke(None);
    rig.written();
    assert!(rig.session.cancel_invocation(off));
    assert!(!rig.session.cancel_invocation(off));
    rig.drain();
    assert_eq!(rig.written(), ["cancel 2"]);
    assert_eq!(
        rig.session.poll_timeout(),
        Some(rig.now + Duration::from_secs(2))
    );
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.failed(), [(late, InvocationFailure::TimedOut)]);
    assert_eq!(rig.written(), ["cancel 1"]);
    // One that was never written is not cancelled either.
    let now = rig.now;
    let never = rig.session.invoke(now, "e".into(), 1, None).unwrap();
    rig.session.cancel_invocation(never);
    rig.drain();
    assert!(rig.written().is_empty());
    for _ in 0..INVOCATIONS_MAX {
        rig.invoke(None);
    }
    assert_eq!(
        rig.session.invoke(now, "e".into(), 1, None),
        Err(InvokeRefused::TooMany)
    );
    assert_eq!(rig.session.newer_counts().invocations_refused, 1);
}

#[test]
fn invocations_need_json() {
    let mut rig = Rig::with(SessionConfig::spec(Subprotocol::ProtobufReliable));
    assert_eq!(
        rig.session.invoke(rig.now, "e".into(), 1, None),
        Err(InvokeRefused::NoEncoding)
    );
}

#[test]
fn a_client_without_streams_is_broken_by_none_of_the_newer_frames() {
    let part = StreamPart {
        stream_id: "s".into(),
        number: 1,
        end_of_stream: true,
        error: Some(StreamFault {
            name: "UserError".into(),
            message: None,
            code: None,
        }),
    };
    let stream_id = || "s".into();
    for behaviour in Behaviour::ALL {
        let mut rig = Rig::with(SessionConfig::of(behaviour, Subprotocol::JsonReliable));
        rig.session.start();
        rig.drain();
        rig.session.handle_opened(rig.now);
        rig.connected_as("c1");
        rig.publish(1);
        let answers = [
            StreamAnswer::Ack {
                stream_id: stream_id(),
                expected: 1,
            },
            StreamAnswer::Nack {
                stream_id: stream_id(),
                expected: u64::MAX,
                name: "TransientError".into(),
                message: None,
            },
            StreamAnswer::Closed {
                stream_id: stream_id(),
                error: None,
            },
        ];
        rig.events.clear();
        for answer in answers {
            rig.frame(Downstream::Stream(answer));
        }
        rig.frame(Downstream::InvokeResponse(response("1", None)));
        rig.frame(Downstream::Unknown {
            kind: "type=groupStateUpdate".into(),
        });
        let message = DataMessage {
            sequence_id: Some(SequenceId(1)),
            from: MessageFrom::Group {
                group: "g".into(),
                from_user_id: None,
            },
            data: Data::Text("".into()),
            stream: Some(Box::new(part.clone())),
        };
        let received = rig.session.handle_frame(rig.now, Downstream::Data(message));
        assert!(matches!(received, Received::Data { fresh: true, .. }));
        rig.drain();
        assert!(rig.session.is_connected(), "{behaviour:?}");
        assert!(
            rig.closes.is_empty() && rig.newer.is_empty(),
            "{behaviour:?}"
        );
        assert!(rig.events.is_empty(), "{behaviour:?}: {:?}", rig.events);
        assert_eq!(rig.session.outstanding(), 1);
        let ack_id = rig.sent[0].1.ack_id.unwrap();
        rig.answer(ack_id.0, None);
        assert_eq!(rig.session.outstanding(), 0, "{behaviour:?}");
    }
}
