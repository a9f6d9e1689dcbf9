//! Whatever a hub sends: no panic, no unbounded memory, no dead end. Frames that are almost
//! right find more than noise, so most inputs are good frames with something changed.
//!
//! Failures are kept in `tests/proptest-regressions` by proptest.

use std::sync::Arc;
use std::time::Duration;

use hubstorm::base::{Seed, Time};
use hubstorm::protocol::{Behaviour, Operation, Session, SessionConfig, Transmit};
use hubstorm::wire::codec::{Payload, decode_downstream, decode_request, encode_downstream};
use hubstorm::wire::{Downstream, Subprotocol};
use proptest::prelude::*;

/// Frames of every kind that a hub may send, the newer ones too.
const FRAMES: &[&str] = &[
    r#"{"type":"system","event":"connected","userId":"u","connectionId":"c1","reconnectionToken":"t"}"#,
    r#"{"type":"system","event":"disconnected","message":"bye"}"#,
    r#"{"type":"ack","ackId":1,"success":true}"#,
    r#"{"type":"ack","ackId":1,"success":false,"error":{"name":"Forbidden","message":"no"}}"#,
    r#"{"type":"message","from":"group","group":"g","dataType":"text","data":"x","sequenceId":1}"#,
    r#"{"type":"message","from":"server","dataType":"binary","data":"AAE=","sequenceId":2}"#,
    r#"{"type":"message","from":"group","group":"g","dataType":"json","data":{"a":[null]},"metadata":{"k":"v"}}"#,
    r#"{"type":"message","from":"group","group":"g","sequenceId":3,"stream":{"streamId":"s","streamSequenceId":4,"endOfStream":true}}"#,
    r#"{"type":"streamAck","streamId":"s","expectedSequenceId":1}"#,
    r#"{"type":"streamNack","streamId":"s","expectedSequenceId":1,"name":"TransientError"}"#,
    r#"{"type":"streamClosed","streamId":"s","error":{"name":"IdleTimeout"}}"#,
    r#"{"type":"invokeResponse","invocationId":"1","success":true,"dataType":"text","data":"x"}"#,
    r#"{"type":"groupStateSnapshot","group":"g","items":[{"connectionId":"c","state":{"a":"b"},"updatedAt":1}]}"#,
    r#"{"type":"groupStateUpdate","group":"g","items":[]}"#,
    r#"{"type":"pong"}"#,
    r#"{"type":"system","event":"something new"}"#,
];

/// A session that is up, and fed what `feed` says; it must still end everything it has.
fn survives(behaviour: Behaviour, subprotocol: Subprotocol, inputs: &[Vec<u8>]) {
    let config = SessionConfig::of(behaviour, subprotocol);
    let mut session: Session<u8> = Session::new(Arc::new(config), Seed(1));
    let mut now = Time::from_secs(1);
    session.start();
    for input in inputs {
        now += Duration::from_millis(700);
        session.handle_opened(now);
        // Refused once 256 have no outcome.
        let _ = session.request(now, Operation::Join("g".into()), true);
        let payload = match std::str::from_utf8(input) {
            Ok(text) if !subprotocol.is_binary() => Payload::Text(text),
            _ => Payload::Binary(input),
        };
        match decode_downstream(subprotocol, payload) {
            Ok(frame) => {
                session.handle_frame(now, frame);
            }
            Err(error) => session.handle_bad_frame(now, &error.to_string()),
        }
        session.handle_timeout(now);
        let mut outputs = 0;
        while session.poll_output().is_some() {
            outputs += 1;
        }
        assert!(outputs < 2000, "one frame gave {outputs} outputs");
        let mut frames = 0;
        while let Some(transmit) = session.poll_transmit(now) {
            if let Transmit::Request { .. } = transmit {
                frames += 1;
            }
        }
        assert!(frames < 1000 && session.outstanding() <= 1000);
    }
    session.end();
    assert_eq!(session.outstanding(), 0);
}

/// A good frame of a subprotocol, changed in a few places.
fn changed(subprotocol: Subprotocol) -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (proptest::sample::select(FRAMES), edits, any::<bool>()).prop_map(move |(text, edits, cut)| {
        let mut bytes = Vec::new();
        if subprotocol.is_binary() {
            let frame = hubstorm::wire::json::decode_downstream(text).unwrap();
            encode_downstream(subprotocol, &frame, &mut bytes);
        } else {
            bytes.extend_from_slice(text.as_bytes());
        }
        for (at, byte) in &edits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                if cut && *byte < 16 {
                    bytes.truncate(at);
                } else {
                    bytes[at] = *byte;
                }
            }
        }
        bytes
    })
}

#[test]
fn frames_newer_than_this_client_do_not_break_it() {
    for text in FRAMES {
        let frame = hubstorm::wire::json::decode_downstream(text);
        let frame = frame.unwrap_or_else(|error| panic!("{text}: {error}"));
        let is = |kinds: &[&str]| {
            let mut kinds = kinds.iter();
            kinds.any(|kind| text.starts_with(&format!(r#"{{"type":"{kind}"#)))
        };
        let asked_for = matches!(frame, Downstream::Stream(_) | Downstream::InvokeResponse(_));
        assert_eq!(is(&["stream", "invoke"]), asked_for, "{text}");
        let passed_over = matches!(frame, Downstream::Unknown { .. }) && !text.contains("system");
        assert_eq!(is(&["groupState"]), passed_over, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn noise_breaks_no_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for subprotocol in Subprotocol::ALL {
            let text = String::from_utf8_lossy(&bytes);
            for payload in [Payload::Binary(&bytes), Payload::Text(&text)] {
                // Errors are as good as frames; only a panic is not.
                let _ = decode_downstream(subprotocol, payload);
                let _ = decode_request(subprotocol, payload);
            }
        }
    }

    #[test]
    fn frames_that_are_almost_right_break_no_json_session(
        inputs in proptest::collection::vec(changed(Subprotocol::JsonReliable), 1..40),
        behaviour in proptest::sample::select(&Behaviour::ALL[..]),
    ) {
        survives(behaviour, Subprotocol::JsonReliable, &inputs);
    }

    #[test]
    fn frames_that_are_almost_right_break_no_protobuf_session(
        inputs in proptest::collection::vec(changed(Subprotocol::ProtobufReliable), 1..40),
        behaviour in proptest::sample::select(&Behaviour::ALL[..]),
    ) {
        survives(behaviour, Subprotocol::ProtobufReliable, &inputs);
    }
}
