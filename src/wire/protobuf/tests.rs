use proptest::prelude::*;

use super::*;

fn up(frame: &Upstream<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_upstream(frame, &mut out);
    out
}

fn down(frame: &Downstream<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_downstream(frame, &mut out);
    out
}

/// A field of type string, bytes or message, written by hand: number and length fit one
/// byte each.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, content.len() as u8];
    bytes.extend_from_slice(content);
    bytes
}

/// A field of a number type below 128.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

#[test]
fn requests_have_the_field_numbers_of_the_official_schema() {
    // Written out by hand from the schema: client and hub share the code under test, so a
    // wrong number would go unnoticed between them.
    let cases = [
        (
            Upstream::SendToGroup {
                group: "g".into(),
                ack_id: Some(AckId(3)),
                no_echo: true,
                data: Data::Json("{}".into()),
            },
            field(
                1,
                &[
                    field(1, b"g"),
                    number(2, 3),
                    field(3, &field(4, b"{}")),
                    number(4, 1),
                ]
                .concat(),
            ),
        ),
        (
            Upstream::Event {
                event: "e".into(),
                ack_id: None,
                data: Data::Text("t".into()),
            },
            field(5, &[field(1, b"e"), field(2, &field(1, b"t"))].concat()),
        ),
        (
            Upstream::Event {
                event: "e".into(),
                ack_id: Some(AckId(0)),
                data: Data::Binary(vec![0xff].into()),
            },
            field(
                5,
                &[field(1, b"e"), field(2, &field(2, &[0xff])), number(3, 0)].concat(),
            ),
        ),
        (
            Upstream::JoinGroup {
                group: "g".into(),
                ack_id: Some(AckId(1)),
            },
            field(6, &[field(1, b"g"), number(2, 1)].concat()),
        ),
        (
            Upstream::LeaveGroup {
                group: "g".into(),
                ack_id: None,
            },
            field(7, &field(1, b"g")),
        ),
        (
            Upstream::SequenceAck {
                sequence_id: SequenceId(7),
            },
            field(8, &number(1, 7)),
        ),
        (Upstream::Ping, field(9, b"")),
    ];
    for (frame, bytes) in cases {
        assert_eq!(up(&frame), bytes, "{frame:?}");
        assert_eq!(decode_upstream(&bytes).unwrap(), frame);
    }
}

#[test]
fn answers_have_the_field_numbers_of_the_official_schema() {
    let any = field(1, b"type.googleapis.com/x");
    let cases = [
        (
            Downstream::Ack(Ack {
                ack_id: AckId(5),
                success: false,
                error: Some(AckError {
                    name: "Duplicate".into(),
                    message: "m".into(),
                }),
            }),
            field(
                1,
                &[
                    number(1, 5),
                    field(3, &[field(1, b"Duplicate"), field(2, b"m")].concat()),
                ]
                .concat(),
            ),
        ),
        (
            Downstream::Ack(Ack {
                ack_id: AckId(0),
                success: true,
                error: None,
            }),
            field(1, &number(2, 1)),
        ),
        (
            Downstream::Data(DataMessage {
                stream: None,
                sequence_id: Some(SequenceId(9)),
                from: MessageFrom::Group {
                    group: "g".into(),
                    from_user_id: None,
                },
                data: Data::Protobuf(any.clone().into()),
            }),
            field(
                2,
                &[
                    field(1, b"group"),
                    field(2, b"g"),
                    field(3, &field(3, &any)),
                    number(4, 9),
                ]
                .concat(),
            ),
        ),
        (
            Downstream::Data(DataMessage {
                stream: None,
                sequence_id: None,
                from: MessageFrom::Server,
                data: Data::Text("".into()),
            }),
            field(2, &[field(1, b"server"), field(3, &field(1, b""))].concat()),
        ),
        (
            Downstream::Connected(Connected {
                connection_id: "c".into(),
                user_id: Some("u".into()),
                reconnection_token: Some("t".into()),
            }),
            field(
                3,
                &field(
                    1,
                    &[field(1, b"c"), field(2, b"u"), field(3, b"t")].concat(),
                ),
            ),
        ),
        (
            Downstream::Disconnected {
                message: Some("bye".into()),
            },
            field(3, &field(2, &field(2, b"bye"))),
        ),
        (Downstream::Pong, field(4, b"")),
    ];
    for (frame, bytes) in cases {
        assert_eq!(down(&frame), bytes, "{frame:?}");
        assert_eq!(decode_downstream(&bytes).unwrap(), frame);
    }
}

#[test]
fn json_delivered_as_text_is_read_too() {
    // As an old documentation page describes it.
    let bytes = field(
        2,
        &[
            field(1, b"group"),
            field(2, b"g"),
            field(3, &field(1, b"{\"a\":1}")),
        ]
        .concat(),
    );
    let Downstream::Data(message) = decode_downstream(&bytes).unwrap() else {
        panic!("not a data message")
    };
    assert_eq!(message.data, Data::Text("{\"a\":1}".into()));
}

#[test]
fn unknown_kinds_and_fields_do_not_break_a_client() {
    for bytes in [vec![], field(15, b"new"), field(3, &field(9, b"new"))] {
        assert!(
            matches!(decode_downstream(&bytes), Ok(Downstream::Unknown { .. })),
            "{bytes:?}"
        );
    }
    // Metadata (field 5 of a message) and fields yet to come.
    let extra = [
        field(1, b"server"),
        field(3, &field(1, b"t")),
        field(5, b"\x0a\x01k\x12\x01v"),
        number(14, 1),
    ]
    .concat();
    assert!(matches!(
        decode_downstream(&field(2, &extra)),
        Ok(Downstream::Data(_))
    ));
}

#[test]
fn a_hub_refuses_what_is_no_request_and_says_why() {
    let send = |data: Vec<u8>| field(1, &[field(1, b"g"), data].concat());
    for (bytes, says) in [
        (b"\xff\xff".to_vec(), "not a frame"),
        (field(1, b"\x0a\x7f"), "not a frame"),
        (field(1, &field(1, b"\xff")), "UTF-8"),
        (vec![], "unknown frame type"),
        (field(4, b""), "unknown frame type"),
        (field(6, b""), "`group`"),
        (field(5, &field(2, &field(1, b"t"))), "`event`"),
        (send(vec![]), "`data`"),
        (send(field(3, b"")), "`data`"),
        (send(field(3, &field(4, b"{"))), "json_data"),
        (send(field(3, &field(3, b"\xff"))), "protobuf_data"),
    ] {
        let error = decode_upstream(&bytes).unwrap_err().to_string();
        assert!(error.contains(says), "{bytes:?}: {error}");
    }
}

#[test]
fn a_client_names_what_a_message_of_the_hub_lacks() {
    let message = |fields: &[Vec<u8>]| field(2, &fields.concat());
    let data = || field(3, &field(1, b"t"));
    for (bytes, says) in [
        (message(&[data()]), "`from`"),
        (message(&[field(1, b"moon"), data()]), "moon"),
        (message(&[field(1, b"group"), data()]), "`group`"),
        (message(&[field(1, b"server")]), "`data`"),
        (field(3, &field(1, b"")), "`connection_id`"),
    ] {
        let error = decode_downstream(&bytes).unwrap_err().to_string();
        assert!(error.contains(says), "{bytes:?}: {error}");
    }
}

fn any_data() -> impl Strategy<Value = Data<'static>> {
    prop_oneof![
        ".*".prop_map(|text: String| Data::Text(text.into())),
        any::<Vec<u8>>().prop_map(|bytes| Data::Binary(bytes.into())),
        ("[a-z/.]{0,20}", any::<Vec<u8>>()).prop_map(|(type_url, value)| {
            Data::Protobuf(Any { type_url, value }.encode_to_vec().into())
        }),
        ".*".prop_map(|text: String| Data::Json(serde_json::to_string(&[text]).unwrap().into())),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(group in ".{1,40}", ack in any::<Option<u64>>(), no_echo: bool, data in any_data(), sequence in any::<Option<u64>>()) {
        let ack_id = ack.map(AckId);
        let send = Upstream::SendToGroup { group: group.clone().into(), ack_id, no_echo, data: data.clone() };
        prop_assert_eq!(decode_upstream(&up(&send)).unwrap(), send);
        let event = Upstream::Event { event: group.clone().into(), ack_id, data: data.clone() };
        prop_assert_eq!(decode_upstream(&up(&event)).unwrap(), event);
        let join = Upstream::JoinGroup { group: group.clone().into(), ack_id };
        prop_assert_eq!(decode_upstream(&up(&join)).unwrap(), join);
        let message = Downstream::Data(DataMessage {
 stream: None,
            sequence_id: sequence.map(SequenceId),
            from: MessageFrom::Group { group: group.into(), from_user_id: None },
            data,
        });
        let frame = down(&message);
        prop_assert_eq!(decode_downstream(&frame).unwrap(), message);
    }

    #[test]
    fn a_body_shared_between_receivers_is_the_message_prost_would_write(
        group in ".{1,300}", data in any_data(), sequence in any::<Option<u64>>(),
    ) {
        let from = MessageFrom::Group { group: group.clone().into(), from_user_id: None };
        let mut body = Vec::new();
        message_body(&from, &data, Metadata::EMPTY, &mut body);
        let mut shared = Vec::new();
        message_frame(sequence.map(SequenceId), &body, &mut shared);
        let whole = DownstreamMessage {
            answer: Some(Answer::Data(WireData {
 stream: None,
                from: "group".into(),
                group: Some(group),
                data: Some(message_data(&data)),
                sequence_id: sequence,
                metadata: BTreeMap::new(),
            })),
        };
        prop_assert_eq!(shared, whole.encode_to_vec());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>(), cut in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>()) {
        let _ = decode_downstream(&bytes);
        let _ = decode_upstream(&bytes);
        // And damaged frames, which get further than noise.
        let mut frame = down(&Downstream::Data(DataMessage {
 stream: None,
            sequence_id: Some(SequenceId(300)),
            from: MessageFrom::Group { group: "group".into(), from_user_id: None },
            data: Data::Binary(bytes.into()),
        }));
        let (place, bits) = flip;
        let place = place.index(frame.len());
        frame[place] ^= bits;
        frame.truncate(cut.index(frame.len() + 1));
        let _ = decode_downstream(&frame);
        let _ = decode_upstream(&frame);
    }
}

proptest! {
    /// The quick reader must never see in a frame what the full one does not: clients and
    /// verifier would judge a message that was not sent.
    #[test]
    fn reading_in_place_says_what_the_full_decoder_says(
        group in "[a-z]{0,3}",
        id in proptest::option::of(0_u8..128),
        payload in proptest::collection::vec(any::<u8>(), 0..8),
        kind in 0_u8..6,
        extra in proptest::collection::vec((1_u8..7, proptest::collection::vec(any::<u8>(), 0..4)), 0..2),
        damage in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
    ) {
        let mut body = [field(1, b"group"), field(2, group.as_bytes()), field(3, &field(kind, &payload))].concat();
        body.extend(id.map(|id| number(4, id)).unwrap_or_default());
        for (tag, bytes) in &extra {
            body.extend(field(*tag, bytes));
        }
        let mut frame = field(2, &body);
        if let Some((at, byte)) = damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Some(message) = super::borrowed::data_message(&frame) {
            prop_assert_eq!(super::decode_whole(&frame), Ok(Downstream::Data(message)));
        } else if extra.is_empty() && damage.is_none() && (1..=4).contains(&kind) {
            prop_assert!(super::decode_whole(&frame).is_err());
        }
    }
}
