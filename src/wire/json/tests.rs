use proptest::prelude::*;

use super::*;

fn up(frame: &Upstream<'_>) -> String {
    let mut out = Vec::new();
    encode_upstream(frame, &mut out);
    String::from_utf8(out).unwrap()
}

fn down(frame: &Downstream<'_>) -> String {
    let mut out = Vec::new();
    encode_downstream(frame, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn requests_are_written_as_the_official_js_client_writes_them() {
    let join = Upstream::JoinGroup {
        group: "g".into(),
        ack_id: Some(AckId(1)),
    };
    assert_eq!(up(&join), r#"{"type":"joinGroup","group":"g","ackId":1}"#);
    let send = Upstream::SendToGroup {
        group: "g".into(),
        ack_id: Some(AckId(2)),
        no_echo: false,
        data: Data::Text("hi".into()),
    };
    assert_eq!(
        up(&send),
        r#"{"type":"sendToGroup","group":"g","ackId":2,"noEcho":false,"dataType":"text","data":"hi"}"#
    );
    let ack = Upstream::SequenceAck {
        sequence_id: SequenceId(7),
    };
    assert_eq!(up(&ack), r#"{"type":"sequenceAck","sequenceId":7}"#);
}

#[test]
fn frames_of_the_documentation_are_read() {
    let connected = r#"{"type":"system","event":"connected","userId":"u1","connectionId":"c1","reconnectionToken":"t1"}"#;
    assert_eq!(
        decode_downstream(connected).unwrap(),
        Downstream::Connected(Connected {
            connection_id: "c1".into(),
            user_id: Some("u1".into()),
            reconnection_token: Some("t1".into()),
        })
    );
    let message = r#"{"sequenceId":1,"type":"message","from":"group","group":"g","dataType":"text","data":"h\"i","fromUserId":"abc"}"#;
    assert_eq!(
        decode_downstream(message).unwrap(),
        Downstream::Data(DataMessage {
            stream: None,
            sequence_id: Some(SequenceId(1)),
            from: MessageFrom::Group {
                group: "g".into(),
                from_user_id: Some("abc".into())
            },
            data: Data::Text("h\"i".into()),
        })
    );
    let nack =
        r#"{"type":"ack","ackId":7,"success":false,"error":{"name":"Forbidden","message":"no"}}"#;
    let Downstream::Ack(ack) = decode_downstream(nack).unwrap() else {
        panic!("not an ack")
    };
    assert_eq!(
        (ack.ack_id, ack.success, ack.error.unwrap().name.as_ref()),
        (AckId(7), false, "Forbidden")
    );
    assert_eq!(
        decode_upstream(r#"{"type":"sequenceAck","sequenceId":"12"}"#).unwrap(),
        Upstream::SequenceAck {
            sequence_id: SequenceId(12)
        }
    );
}

#[test]
fn unknown_kinds_and_fields_do_not_break_a_client() {
    for frame in [
        r#"{"type":"groupStateUpdate","group":"g","items":[]}"#,
        r#"{"type":"system","event":"somethingNew"}"#,
    ] {
        assert!(
            matches!(decode_downstream(frame), Ok(Downstream::Unknown { .. })),
            "{frame}"
        );
    }
    let extra = r#"{"type":"ack","ackId":1,"success":true,"new":{"deep":[1,2]}}"#;
    assert!(matches!(decode_downstream(extra), Ok(Downstream::Ack(_))));
}

#[test]
fn a_hub_refuses_what_is_no_request_and_says_why() {
    for (frame, says) in [
        ("", "EOF"),
        ("[]", "not a frame"),
        (r#"{"type":"nonsense"}"#, "nonsense"),
        (r#"{"type":"joinGroup"}"#, "`group`"),
        (r#"{"type":"joinGroup","group":7}"#, "not a frame"),
        (r#"{"type":"sendToGroup","group":"g"}"#, "`data`"),
        (
            r#"{"type":"sendToGroup","group":"g","dataType":"binary","data":"***"}"#,
            "base64",
        ),
        (
            r#"{"type":"sendToGroup","group":"g","dataType":"smell","data":"x"}"#,
            "smell",
        ),
        (r#"{"type":"sequenceAck","sequenceId":-1}"#, "not a frame"),
    ] {
        let error = decode_upstream(frame).unwrap_err().to_string();
        assert!(error.contains(says), "{frame}: {error}");
    }
}

fn any_data() -> impl Strategy<Value = Data<'static>> {
    prop_oneof![
        ".*".prop_map(|text: String| Data::Text(text.into())),
        any::<Vec<u8>>().prop_map(|bytes| Data::Binary(bytes.into())),
        any::<Vec<u8>>().prop_map(|bytes| Data::Protobuf(bytes.into())),
        ".*".prop_map(|text: String| Data::Json(serde_json::to_string(&[text]).unwrap().into())),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(group in ".{1,40}", ack in any::<Option<u64>>(), no_echo: bool, data in any_data(), sequence in 1u64.., user in any::<Option<String>>()) {
        let send = Upstream::SendToGroup { group: group.clone().into(), ack_id: ack.map(AckId), no_echo, data: data.clone() };
        let text = up(&send);
        prop_assert_eq!(decode_upstream(&text).unwrap(), send);
        let event = Upstream::Event { event: group.clone().into(), ack_id: ack.map(AckId), data: data.clone() };
        let text = up(&event);
        prop_assert_eq!(decode_upstream(&text).unwrap(), event);
        let message = Downstream::Data(DataMessage {
 stream: None,
            sequence_id: Some(SequenceId(sequence)),
            from: MessageFrom::Group { group: group.into(), from_user_id: user.map(Into::into) },
            data,
        });
        let text = down(&message);
        prop_assert_eq!(decode_downstream(&text).unwrap(), message);
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".*", json in "\\{\"type\":\"(message|ack|system|event)\"(,\"[a-zA-Z]{1,8}\":(1|\"x\"|\\[\\]|null)){0,6}\\}") {
        let _ = decode_downstream(&text);
        let _ = decode_upstream(&text);
        let _ = decode_downstream(&json);
        let _ = decode_upstream(&json);
    }
}
