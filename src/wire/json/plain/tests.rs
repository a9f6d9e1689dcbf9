use proptest::prelude::*;

use super::super::request::decode_any_request;
use super::super::{decode_any_downstream, encode_downstream, encode_upstream};
use super::*;

const DOWN: [&str; 9] = [
    r#"{"type":"message","sequenceId":7,"from":"group","group":"g-1","fromUserId":"u1","dataType":"text","data":"0123456789012345678901234567890123456789012345678901234567890123456789"}"#,
    r#"{"sequenceId":18446744073709551,"type":"message","from":"group","group":"é","dataType":"json","data":{"v":"abc","p":"","n":12,"deep":{"x":true,"y":{}}}}"#,
    r#"{"type":"message","from":"server","dataType":"json","data":"text"}"#,
    r#"{"type":"message","from":"server","dataType":"json","data":false}"#,
    r#"{"type":"message","from":"server","dataType":"binary","data":"AAEC"}"#,
    r#"{"type":"message","from":"server","dataType":"protobuf","data":"AAECAw=="}"#,
    r#"{"type":"message","sequenceId":0,"group":"g","from":"server","dataType":"text","data":""}"#,
    r#"{"type":"ack","ackId":12,"success":true}"#,
    r#"{"success":false,"ackId":0,"type":"ack"}"#,
];
const UP: [&str; 6] = [
    r#"{"type":"sendToGroup","group":"g-1","ackId":7,"noEcho":false,"dataType":"text","data":"0123456789012345678901234567890123456789"}"#,
    r#"{"type":"sendToGroup","group":"g","data":{"v":"abc","p":"x"},"noEcho":true}"#,
    r#"{"type":"sendToGroup","group":"","dataType":"binary","data":"AAEC"}"#,
    r#"{"type":"event","event":"e","ackId":0,"dataType":"protobuf","data":""}"#,
    r#"{"type":"sequenceAck","sequenceId":18446744073709551}"#,
    r#"{"sequenceId":1,"type":"sequenceAck"}"#,
];

/// Whatever the quick reader reads, serde reads the same.
fn agree(frame: &str) {
    if let Some(quick) = downstream(frame) {
        assert_eq!(Ok(quick), decode_any_downstream(frame), "{frame}");
    }
    if let Some(quick) = request(frame) {
        assert_eq!(Ok(quick), decode_any_request(frame), "{frame}");
    }
}

#[test]
fn what_programs_write_is_read_quickly_and_as_serde_reads_it() {
    for frame in DOWN {
        assert!(downstream(frame).is_some(), "{frame}");
        agree(frame);
    }
    for frame in UP {
        assert!(request(frame).is_some(), "{frame}");
        agree(frame);
    }
}

#[test]
fn what_is_not_plain_is_left_to_serde() {
    for frame in [
        "",
        "{",
        "{}",
        "[]",
        r#"{"type":"ack","ackId":12,"success":true} "#,
        r#"{"type": "ack","ackId":12,"success":true}"#,
        r#"{"type":"ack","ackId":12,"success":true,"new":1}"#,
        r#"{"type":"ack","ackId":12,"success":true,"ackId":12}"#,
        r#"{"type":"ack","ackId":01,"success":true}"#,
        r#"{"type":"ack","ackId":1.0,"success":true}"#,
        r#"{"type":"ack","ackId":1e2,"success":true}"#,
        r#"{"type":"ack","ackId":-1,"success":true}"#,
        r#"{"type":"ack","ackId":99999999999999999999,"success":true}"#,
        r#"{"type":"ack","ackId":,"success":true}"#,
        r#"{"type":"ack","ackId":1,"success":true,}"#,
        r#"{"type":"ack","ackId":1,"success":truest}"#,
        r#"{"type":"ack","success":true}"#,
        r#"{"type":"message","from":"server","dataType":"text","data":1}"#,
        r#"{"type":"message","from":"server","dataType":"text","data":"a\n"}"#,
        r#"{"type":"message","from":"server","dataType":"json","data":{"a":}}"#,
        r#"{"type":"message","from":"server","dataType":"json","data":{"a":1,}}"#,
        r#"{"type":"message","from":"server","dataType":"json","data":01}"#,
        r#"{"type":"message","from":"server","dataType":"binary","data":"*"}"#,
        "{\"type\":\"message\",\"from\":\"server\",\"dataType\":\"text\",\"data\":\"a\nb\"}",
        r#"{"type":"system","event":"connected","connectionId":"c"}"#,
        r#"{"type":"sendToGroup","group":"g","data":null}"#,
        r#"{"type":"sequenceAck","sequenceId":"1"}"#,
    ] {
        assert_eq!(downstream(frame), None, "{frame}");
        assert_eq!(request(frame), None, "{frame}");
    }
    let deep = |levels: usize| {
        let (open, close) = (r#"{"a":"#.repeat(levels), "}".repeat(levels));
        format!(r#"{{"type":"message","from":"server","dataType":"json","data":{open}1{close}}}"#)
    };
    assert!(downstream(&deep(DEPTH_MAX)).is_some());
    assert_eq!(downstream(&deep(DEPTH_MAX + 1)), None);
    agree(&deep(DEPTH_MAX));
}

/// serde refuses a known field that comes twice.
#[test]
fn a_field_that_comes_twice_is_left_to_serde() {
    for frame in DOWN.into_iter().chain(UP) {
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(frame).unwrap();
        let open = frame.strip_suffix('}').unwrap();
        for (name, value) in fields {
            let twice = format!("{open},\"{name}\":{value}}}");
            assert_eq!(
                (downstream(&twice), request(&twice)),
                (None, None),
                "{twice}"
            );
        }
    }
}

/// One byte gone, doubled or another, at every place of every frame.
#[test]
fn a_changed_byte_makes_them_differ_nowhere() {
    let others = "\"\\{}[]:,0159-+.eE tfnaué\u{0}\u{1f}\u{7f}\n";
    for frame in DOWN.into_iter().chain(UP) {
        for (at, there) in frame.char_indices() {
            let (before, after) = (&frame[..at], &frame[at + there.len_utf8()..]);
            agree(&format!("{before}{after}"));
            agree(&format!("{before}{there}{there}{after}"));
            agree(before);
            for other in others.chars() {
                agree(&format!("{before}{other}{after}"));
                agree(&format!("{before}{other}{there}{after}"));
            }
        }
    }
}

/// Every special byte at every place of a text, in the words and in the blocks.
#[test]
fn a_string_ends_where_its_first_special_byte_is() {
    for length in 0..140 {
        for special in [b'"', b'\\', 0, 0x1f] {
            let mut bytes = vec![b' '; 150];
            // Special ones behind it change nothing, nor do bytes beside the special ones.
            bytes[length + 1..].fill(b'"');
            bytes[..length].fill([0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff][length % 8]);
            bytes[length] = special;
            assert_eq!(plain_length(&bytes), Some(length), "{special:#x}");
        }
        assert_eq!(plain_length(&vec![b'a'; length]), None);
    }
}

fn any_data() -> impl Strategy<Value = Data<'static>> {
    let object = |(text, number, truth): (String, u64, bool)| {
        serde_json::json!({"v": text, "deep": {"n": number, "t": truth}}).to_string()
    };
    prop_oneof![
        ".{0,80}".prop_map(|text: String| Data::Text(text.into())),
        ".{0,80}".prop_map(|text: String| Data::Json(serde_json::json!(text).to_string().into())),
        any::<(String, u64, bool)>().prop_map(move |parts| Data::Json(object(parts).into())),
        any::<Vec<u8>>().prop_map(|bytes| Data::Binary(bytes.into())),
        any::<Vec<u8>>().prop_map(|bytes| Data::Protobuf(bytes.into())),
    ]
}

proptest! {
    #[test]
    fn any_message_is_read_alike(
        group in ".{0,12}", user in any::<Option<String>>(), data in any_data(),
        sequence_id in any::<Option<u64>>(),
    ) {
        let from = MessageFrom::Group { group: group.into(), from_user_id: user.map(Into::into) };
        let sequence_id = sequence_id.map(SequenceId);
        let message = DataMessage { sequence_id, from, data, stream: None };
        let mut frame = Vec::new();
        encode_downstream(&Downstream::Data(message), &mut frame);
        agree(std::str::from_utf8(&frame).unwrap());
    }

    #[test]
    fn any_request_is_read_alike(
        name in ".{0,12}", ack_id in any::<Option<u64>>(), no_echo: bool, data in any_data(),
    ) {
        let (name, ack_id) = (std::borrow::Cow::<str>::Owned(name), ack_id.map(AckId));
        let event = Upstream::Event { event: name.clone(), ack_id, data: data.clone() };
        for frame in [Upstream::SendToGroup { group: name, ack_id, no_echo, data }, event] {
            let mut text = Vec::new();
            encode_upstream(&frame, &mut text);
            agree(std::str::from_utf8(&text).unwrap());
        }
    }
}
