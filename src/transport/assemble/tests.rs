use actix_http::ws::{CloseReason, OpCode, Parser};
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1000;

/// A frame as a hub writes it.
fn frame(kind: OpCode, last: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Parser::write_message(&mut out, payload, kind, last, false);
    out.to_vec()
}

/// What came out of `bytes`, given in the pieces that end at `cuts`.
fn read(bytes: &[u8], cuts: &[usize]) -> Result<Vec<String>, Violation> {
    let mut assembler = Assembler::new(LIMIT);
    let mut buffer = BytesMut::new();
    let mut seen = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        buffer.extend_from_slice(&bytes[from..to]);
        from = to;
        let flow = assembler.feed(&mut buffer, &mut |message| {
            seen.push(format!("{message:?}"));
            ControlFlow::Continue(())
        })?;
        assert_eq!(flow, ControlFlow::Continue(()));
    }
    Ok(seen)
}

fn violation(bytes: &[u8]) -> u16 {
    read(bytes, &[]).unwrap_err().code
}

#[test]
fn fragments_of_a_message_would_otherwise_be_taken_for_messages() {
    let bytes = [
        frame(OpCode::Text, false, "ä".as_bytes()[..1].as_ref()),
        frame(OpCode::Ping, true, b"between"),
        frame(OpCode::Continue, false, "ä".as_bytes()[1..].as_ref()),
        frame(OpCode::Continue, true, b"b"),
        frame(OpCode::Binary, false, b""),
        frame(OpCode::Continue, true, b"x"),
        frame(OpCode::Text, true, b""),
    ]
    .concat();
    let seen = read(&bytes, &[]).unwrap();
    let ping = format!("{:?}", Incoming::Ping(b"between"));
    let binary = format!("{:?}", Incoming::Binary(b"x"));
    assert_eq!(
        seen,
        [&ping, "Text(\"äb\")", &binary, "Text(\"\")"].map(str::to_owned)
    );
}

#[test]
fn text_that_is_not_utf8_never_reaches_the_frame_decoder() {
    assert_eq!(violation(&frame(OpCode::Text, true, b"\xff")), 1007);
    let torn = [
        frame(OpCode::Text, false, b"a\xc3"),
        frame(OpCode::Continue, true, b"a"),
    ];
    assert_eq!(violation(&torn.concat()), 1007);
}

#[test]
fn a_hub_cannot_make_a_client_hold_more_than_one_message_of_the_limit() {
    assert_eq!(
        violation(&frame(OpCode::Text, true, &[b'a'; LIMIT + 1])),
        1009
    );
    assert!(read(&frame(OpCode::Text, true, &[b'a'; LIMIT]), &[]).is_ok());
    let halves = [
        frame(OpCode::Text, false, &[b'a'; LIMIT]),
        frame(OpCode::Continue, true, b"a"),
    ];
    assert_eq!(violation(&halves.concat()), 1009);
    // A header that claims an exabyte, and then bytes without end.
    let mut endless = vec![0x82, 127];
    endless.extend_from_slice(&(1u64 << 60).to_be_bytes());
    endless.extend_from_slice(&[0; LIMIT + 1]);
    assert_eq!(violation(&endless), 1009);
}

/// Lengths on both sides of each form of the header, short messages and those for the codec.
#[test]
fn every_form_of_the_length_is_read() {
    for length in [0, 1, 125, 126, 127, 300, LIMIT] {
        let message = frame(OpCode::Binary, true, &vec![7; length]);
        let twice = [message.clone(), message.clone()].concat();
        assert_eq!(read(&twice, &[]).unwrap().len(), 2, "{length}");
        // Cut inside the header, at its end and inside the message.
        let mut cuts = [1, 2, 3, 4, message.len() - 1, message.len() + 1];
        cuts.sort_unstable();
        assert_eq!(read(&twice, &cuts).unwrap().len(), 2, "{length}");
    }
    let assembler = Assembler::new(LIMIT);
    for (bytes, is_short) in [
        (frame(OpCode::Text, true, b"x"), true),
        (frame(OpCode::Binary, true, &[7; LIMIT]), true),
        (frame(OpCode::Binary, true, &[7; LIMIT + 1]), false),
        (frame(OpCode::Text, false, b"x"), false),
        (frame(OpCode::Continue, true, b"x"), false),
        (frame(OpCode::Ping, true, b"x"), true),
        (frame(OpCode::Pong, true, &[7; 125]), true),
        (frame(OpCode::Ping, true, &[7; 126]), false),
        (frame(OpCode::Ping, false, b"x"), false),
        (frame(OpCode::Close, true, b""), false),
    ] {
        assert_eq!(
            assembler.short_message(&bytes).is_some(),
            is_short,
            "{bytes:?}"
        );
    }
    let long = vec![b'x'; usize::from(u16::MAX) + 1];
    let mut assembler = Assembler::new(long.len());
    for length in [long.len() - 1, long.len()] {
        let mut bytes = BytesMut::from(&frame(OpCode::Text, true, &long[..length])[..]);
        let mut seen = 0;
        let turn = assembler.feed(&mut bytes, &mut |incoming| {
            if let Incoming::Text(text) = incoming {
                seen += text.len();
            }
            ControlFlow::Continue(())
        });
        assert_eq!((turn, seen), (Ok(ControlFlow::Continue(())), length));
    }
}

#[test]
fn broken_frames_are_protocol_errors() {
    for bytes in [
        vec![0xf1, 0],                                      // reserved bits
        vec![0x83, 0],                                      // unknown opcode
        vec![0x81, 0x80, 0, 0, 0, 0],                       // masked by the server
        frame(OpCode::Continue, true, b"x"),                // nothing to continue
        frame(OpCode::Close, true, b"\x03"),                // half a close code
        frame(OpCode::Close, true, &1005u16.to_be_bytes()), // a code never sent
        frame(OpCode::Ping, true, &[0; 126]),               // a control frame too long
        [
            frame(OpCode::Text, false, b"a"),
            frame(OpCode::Text, true, b"b"),
        ]
        .concat(),
    ] {
        assert_eq!(violation(&bytes), 1002, "{bytes:?}");
    }
}

#[test]
fn nothing_counts_after_the_close_frame() {
    let mut bytes = BytesMut::new();
    let reason = CloseReason {
        code: 1008.into(),
        description: Some("no".into()),
    };
    Parser::write_close(&mut bytes, Some(reason), false);
    bytes.extend_from_slice(&frame(OpCode::Text, true, b"late"));
    bytes.extend_from_slice(b"\xff\xff\xff");
    let close = format!("{:?}", Incoming::Close(Close::with_code(1008, "no")));
    assert_eq!(read(&bytes, &[]).unwrap(), [close]);
    let empty = format!("{:?}", Incoming::Close(Close::default()));
    assert_eq!(
        read(&frame(OpCode::Close, true, b""), &[]).unwrap(),
        [empty]
    );
}

#[test]
fn a_break_keeps_the_rest_for_later() {
    let mut bytes = BytesMut::from(
        &[
            frame(OpCode::Text, true, b"a"),
            frame(OpCode::Text, true, b"b"),
        ]
        .concat()[..],
    );
    let mut assembler = Assembler::new(LIMIT);
    let mut seen = 0;
    for expected in [ControlFlow::Break(()), ControlFlow::Break(())] {
        let flow = assembler.feed(&mut bytes, &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!(flow, Ok(expected));
    }
    assert_eq!(seen, 2);
    assert!(bytes.is_empty());
}

/// A message, and how it is cut into fragments.
fn message() -> impl Strategy<Value = (bool, String, usize)> {
    (any::<bool>(), "\\PC{0,80}", 1usize..50)
}

proptest! {
    #[test]
    fn how_the_network_cuts_the_stream_changes_nothing(
        messages in prop::collection::vec(message(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (is_text, text, fragment) in &messages {
            let kind = if *is_text { OpCode::Text } else { OpCode::Binary };
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(*fragment).collect();
            if chunks.is_empty() {
                bytes.extend(frame(kind, true, b""));
            }
            for (index, chunk) in chunks.iter().enumerate() {
                let kind = if index == 0 { kind } else { OpCode::Continue };
                bytes.extend(frame(kind, index + 1 == chunks.len(), chunk));
            }
            expected.push(if *is_text {
                format!("{:?}", Incoming::Text(text))
            } else {
                format!("{:?}", Incoming::Binary(text.as_bytes()))
            });
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(read(&bytes, &cuts).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes, &[]);
    }
}
