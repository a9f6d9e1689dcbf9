use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::{AckId, SequenceId};
use crate::wire::codec::{self, Payload};
use crate::wire::{
    DataMessage, Downstream, EncodeError, Extras, MessageFrom, Metadata, Request, StreamError,
    Subprotocol, Upstream, json, protobuf,
};

fn payload(subprotocol: Subprotocol, bytes: &[u8]) -> Payload<'_> {
    if subprotocol.is_binary() {
        Payload::Binary(bytes)
    } else {
        Payload::Text(std::str::from_utf8(bytes).unwrap())
    }
}

// ---- strategies -------------------------------------------------------------------------

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    ".{1,12}".prop_map(Cow::Owned)
}

fn data() -> impl Strategy<Value = Data<'static>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        ".{0,20}".prop_map(|text| Data::Text(text.into())),
        any::<i64>().prop_map(|n| Data::Json(format!("[{n}]").into())),
        bytes().prop_map(|bytes| Data::Binary(bytes.into())),
    ]
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let idle = prop_oneof![Just(300_000), 1_u64..u64::from(u32::MAX)];
    let error = proptest::option::of(
        (proptest::option::of(text()), proptest::option::of(text()))
            .prop_map(|(message, code)| StreamError { message, code }),
    );
    let part = proptest::option::of((any::<u64>(), data()));
    let extras = (0_u16..=300, "[a-z]{1,5}", "[ -~]{0,9}").prop_map(|(ttl, key, value)| Extras {
        ttl_seconds: Some(ttl),
        metadata: Metadata::checked([(key, value)]).unwrap(),
    });
    prop_oneof![
        (text(), text(), idle, any::<bool>()).prop_map(|(group, stream_id, ms, no_echo)| {
            Request::StartStream {
                group,
                stream_id,
                idle_timeout: Duration::from_millis(ms),
                no_echo,
            }
        }),
        (text(), part).prop_map(|(stream_id, part)| {
            let (sequence_id, data) = part.unzip();
            Request::StreamData {
                stream_id,
                sequence_id,
                data,
            }
        }),
        (text(), error).prop_map(|(stream_id, error)| Request::EndStream { stream_id, error }),
        (text(), any::<u64>(), data(), extras).prop_map(|(group, ack_id, data, extras)| {
            Request::Basic {
                frame: Upstream::SendToGroup {
                    group,
                    ack_id: Some(AckId(ack_id)),
                    no_echo: true,
                    data,
                },
                extras: Some(Box::new(extras)),
            }
        }),
    ]
}

fn invocation() -> impl Strategy<Value = Request<'static>> {
    prop_oneof![
        (text(), text(), data()).prop_map(|(invocation_id, event, data)| Request::Invoke {
            invocation_id,
            event,
            data
        }),
        text().prop_map(|invocation_id| Request::CancelInvocation { invocation_id }),
    ]
}

fn ack_error() -> impl Strategy<Value = AckError<'static>> {
    (text(), text()).prop_map(|(name, message)| AckError { name, message })
}

fn part() -> impl Strategy<Value = StreamPart<'static>> {
    let fault = (
        text(),
        proptest::option::of(text()),
        proptest::option::of(text()),
    )
        .prop_map(|(name, message, code)| StreamFault {
            name,
            message,
            code,
        });
    (
        text(),
        any::<u64>(),
        any::<bool>(),
        proptest::option::of(fault),
    )
        .prop_map(|(stream_id, number, end_of_stream, error)| StreamPart {
            stream_id,
            number,
            end_of_stream,
            error,
        })
}

fn answer() -> impl Strategy<Value = Downstream<'static>> {
    prop_oneof![
        (text(), any::<u64>()).prop_map(|(stream_id, expected)| {
            Downstream::Stream(StreamAnswer::Ack {
                stream_id,
                expected,
            })
        }),
        (text(), any::<u64>(), text(), proptest::option::of(text())).prop_map(
            |(stream_id, expected, name, message)| {
                Downstream::Stream(StreamAnswer::Nack {
                    stream_id,
                    expected,
                    name,
                    message,
                })
            }
        ),
        (text(), proptest::option::of(ack_error())).prop_map(|(stream_id, error)| {
            Downstream::Stream(StreamAnswer::Closed { stream_id, error })
        }),
        (text(), data(), part()).prop_map(|(group, data, part)| {
            Downstream::Data(DataMessage {
                sequence_id: Some(SequenceId(3)),
                from: MessageFrom::Group {
                    group,
                    from_user_id: None,
                },
                data,
                stream: Some(Box::new(part)),
            })
        }),
    ]
}

proptest! {
    #[test]
    fn what_newer_clients_write_a_hub_reads_as_it_was_meant(request in request()) {
        for subprotocol in Subprotocol::ALL {
            let mut bytes = Vec::new();
            codec::encode_request(subprotocol, &request, &mut bytes).unwrap();
            let read = codec::decode_request(subprotocol, payload(subprotocol, &bytes));
            prop_assert_eq!(read.as_ref(), Ok(&request), "{}", subprotocol);
        }
    }

    #[test]
    fn invocations_go_over_json_and_are_refused_for_protobuf(request in invocation()) {
        let mut bytes = Vec::new();
        json::encode_request(&request, &mut bytes);
        let text = std::str::from_utf8(&bytes).unwrap();
        prop_assert_eq!(json::decode_request(text), Ok(request.clone()));
        let mut nothing = Vec::new();
        prop_assert_eq!(
            protobuf::encode_request(&request, &mut nothing),
            Err(EncodeError::NoInvocations)
        );
        prop_assert!(nothing.is_empty());
    }

    #[test]
    fn what_a_hub_tells_newer_clients_they_read_as_it_was_meant(frame in answer()) {
        for subprotocol in Subprotocol::ALL {
            let mut bytes = Vec::new();
            codec::encode_downstream(subprotocol, &frame, &mut bytes);
            let read = codec::decode_downstream(subprotocol, payload(subprotocol, &bytes));
            prop_assert_eq!(read.as_ref(), Ok(&frame), "{}", subprotocol);
        }
    }

    #[test]
    fn an_answer_to_an_invocation_is_read_as_it_was_meant(
        id in text(), success in any::<bool>(),
        data in proptest::option::of(data()), error in proptest::option::of(ack_error()),
    ) {
        let response = InvokeResponse { invocation_id: id, success, data, error };
        let frame = Downstream::InvokeResponse(response);
        let mut bytes = Vec::new();
        json::encode_downstream(&frame, &mut bytes);
        let text = std::str::from_utf8(&bytes).unwrap();
        prop_assert_eq!(json::decode_downstream(text), Ok(frame));
    }
}

#[test]
fn the_frames_look_as_the_official_js_client_writes_them() {
    for text in [
        r#"{"type":"sendToGroup","group":"g","noEcho":false,"stream":{"streamId":"s","idleTimeoutMs":5000}}"#,
        r#"{"type":"streamData","streamId":"s","streamSequenceId":1,"dataType":"text","data":"x"}"#,
        r#"{"type":"streamData","streamId":"s"}"#,
        r#"{"type":"streamEnd","streamId":"s"}"#,
        r#"{"type":"streamEnd","streamId":"s","error":{"message":"m","userErrorCode":"c"}}"#,
        r#"{"type":"invoke","invocationId":"1","target":"event","event":"e","dataType":"json","data":{"a":1}}"#,
        r#"{"type":"cancelInvocation","invocationId":"1"}"#,
    ] {
        let mut bytes = Vec::new();
        json::encode_request(&json::decode_request(text).unwrap(), &mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
}

/// A field of type string, bytes or message whose number is below 16.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, content.len() as u8];
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn streams_have_the_field_numbers_of_the_reference_page() {
    // By hand from the published schema: client and hub share the code under test.
    let number = |number: u8, value: u8| vec![number << 3, value];
    let up = [
        (
            Request::StreamData {
                stream_id: "s".into(),
                sequence_id: Some(2),
                data: Some(Data::Text("t".into())),
            },
            field(
                13,
                &[field(1, b"s"), number(2, 2), field(3, &field(1, b"t"))].concat(),
            ),
        ),
        (
            Request::EndStream {
                stream_id: "s".into(),
                error: Some(StreamError {
                    message: Some("m".into()),
                    code: Some("c".into()),
                }),
            },
            field(
                14,
                &[
                    field(1, b"s"),
                    field(2, &[field(1, b"m"), field(2, b"c")].concat()),
                ]
                .concat(),
            ),
        ),
    ];
    for (request, bytes) in up {
        let mut written = Vec::new();
        protobuf::encode_request(&request, &mut written).unwrap();
        assert_eq!(written, bytes, "{request:?}");
    }
    let down = [
        (
            StreamAnswer::Ack {
                stream_id: "s".into(),
                expected: 2,
            },
            field(6, &[field(1, b"s"), number(2, 2)].concat()),
        ),
        (
            StreamAnswer::Nack {
                stream_id: "s".into(),
                expected: 2,
                name: "n".into(),
                message: Some("m".into()),
            },
            field(
                7,
                &[field(1, b"s"), field(2, b"n"), field(3, b"m"), number(4, 2)].concat(),
            ),
        ),
        (
            StreamAnswer::Closed {
                stream_id: "s".into(),
                error: Some(AckError {
                    name: "n".into(),
                    message: "m".into(),
                }),
            },
            field(
                8,
                &[
                    field(1, b"s"),
                    field(2, &[field(1, b"n"), field(2, b"m")].concat()),
                ]
                .concat(),
            ),
        ),
    ];
    for (answer, bytes) in down {
        let mut written = Vec::new();
        protobuf::encode_downstream(&Downstream::Stream(answer), &mut written);
        assert_eq!(written, bytes);
    }
    let part = StreamPart {
        stream_id: "s".into(),
        number: 2,
        end_of_stream: true,
        error: Some(StreamFault {
            name: "n".into(),
            message: Some("m".into()),
            code: Some("c".into()),
        }),
    };
    let mut written = Vec::new();
    protobuf::add_stream_part(&part, &mut written);
    let error = [field(1, b"n"), field(2, b"m"), field(3, b"c")].concat();
    let info = [field(1, b"s"), number(2, 2), number(3, 1), field(4, &error)].concat();
    assert_eq!(written, field(6, &info));
}

#[test]
fn what_a_client_did_not_ask_for_is_no_error_however_it_looks() {
    // A hub newer than this client must not cost it its connection.
    for text in [
        r#"{"type":"streamAck"}"#,
        r#"{"type":"streamAck","streamId":7,"expectedSequenceId":"x"}"#,
        r#"{"type":"streamNack","streamId":"s","expectedSequenceId":1}"#,
        r#"{"type":"streamClosed","error":"gone"}"#,
        r#"{"type":"invokeResponse","invocationId":"1"}"#,
        r#"{"type":"invokeResponse","invocationId":"1","success":true,"dataType":"cbor","data":"x"}"#,
        r#"{"type":"groupStateSnapshot","group":"g","items":[{"connectionId":"c","updatedAt":1}]}"#,
        r#"{"type":"thingOfTheFuture","group":{"a":1},"ackId":"x","error":7,"data":null}"#,
    ] {
        let frame = json::decode_downstream(text).unwrap();
        assert!(
            matches!(frame, Downstream::Unknown { .. }),
            "{text}: {frame:?}"
        );
    }
    // Known kinds with fields to come are read.
    let text =
        r#"{"type":"streamAck","streamId":"s","expectedSequenceId":2,"windowOfTheFuture":9}"#;
    assert!(matches!(
        json::decode_downstream(text).unwrap(),
        Downstream::Stream(StreamAnswer::Ack { expected: 2, .. })
    ));
    // A mark that cannot be read makes the message a plain one; it still counts.
    let text = r#"{"type":"message","sequenceId":4,"from":"group","group":"g","dataType":"text","data":"x","stream":{"part":1}}"#;
    let Downstream::Data(message) = json::decode_downstream(text).unwrap() else {
        panic!("not a message")
    };
    assert_eq!(
        (message.sequence_id, message.stream),
        (Some(SequenceId(4)), None)
    );
    // In protobuf: a field that nobody knows yet (10), and a stream message without its name.
    for bytes in [field(10, b"x"), field(6, &[16, 2])] {
        let frame = protobuf::decode_downstream(&bytes).unwrap();
        assert!(matches!(frame, Downstream::Unknown { .. }), "{frame:?}");
    }
}

#[test]
fn a_stream_start_that_carries_more_than_it_may_is_refused_in_protobuf_too() {
    let start = |rest: &[u8]| {
        let send = [&field(1, b"g")[..], rest].concat();
        protobuf::decode_request(&field(1, &send))
    };
    let info = field(7, &field(1, b"s"));
    assert!(start(&info).is_ok());
    assert!(start(&[info.clone(), field(3, &field(1, b"t"))].concat()).is_err());
    assert!(start(&[info, vec![16, 1]].concat()).is_err());
    assert!(start(&field(7, b"")).is_err());
    assert!(start(&field(7, &[&field(1, b"s")[..], &[16, 0]].concat())).is_err());
    assert!(protobuf::decode_request(&field(14, b"")).is_err());
    assert!(protobuf::decode_request(&field(13, &field(1, b"s"))).is_ok());
    let unnumbered = [field(1, b"s"), field(3, &field(1, b"t"))].concat();
    assert!(protobuf::decode_request(&field(13, &unnumbered)).is_err());
}
