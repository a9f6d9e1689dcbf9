//! Group streams and invocations at their edges: recovery, silence, bounds, lost roles,
//! protobuf. Their usual course is in `dialects.rs`.

use super::*;
use crate::hub::core::events::{Answer, Call};
use crate::hub::core::service::Choice;
use crate::hub::core::streams::STREAMS_MAX;
use crate::hub::core::{Action, Said, Target};
use crate::wire::{Data, Downstream, Request, StreamAnswer, StreamPart, codec, protobuf};

const START: &str = r#"{"type":"sendToGroup","group":"g","stream":{"streamId":"s"}}"#;

fn start(id: &str, idle_ms: u64) -> String {
    format!(
        r#"{{"type":"sendToGroup","group":"g","stream":{{"streamId":"{id}","idleTimeoutMs":{idle_ms}}}}}"#
    )
}

fn part(n: u64) -> String {
    format!(
        r#"{{"type":"streamData","streamId":"s","streamSequenceId":{n},"dataType":"text","data":"p{n}"}}"#
    )
}

/// The stream parts since the last look, as `number:payload`, an end as `number!error`.
fn parts(world: &mut World, link: Key) -> Vec<String> {
    let shown = |frame: &Value| {
        let stream = &frame["stream"];
        let number = &stream["streamSequenceId"];
        if stream["endOfStream"] == true {
            let error = stream["error"]["name"].as_str().unwrap_or_default();
            format!("{number}!{error}")
        } else {
            format!("{number}:{}", frame["data"].as_str().unwrap())
        }
    };
    let frames = world.read(link);
    frames
        .iter()
        .filter(|f| f["stream"].is_object())
        .map(shown)
        .collect()
}

/// What a publisher was told since the last look, in short.
fn told(world: &mut World, link: Key) -> Vec<String> {
    let shown = |frame: &Value| {
        let kind = frame["type"].as_str().unwrap();
        match kind {
            "streamAck" => format!("ack {}", frame["expectedSequenceId"]),
            "streamNack" => format!("nack {}", frame["expectedSequenceId"]),
            "streamClosed" => {
                let error = frame["error"]["name"].as_str().unwrap_or("well");
                format!("closed {error}")
            }
            other => other.to_owned(),
        }
    };
    world.read(link).iter().map(shown).collect()
}

#[test]
fn a_publisher_goes_on_after_a_recovery_and_no_part_is_published_twice() {
    let mut world = World::new();
    let (a, id, token) = world.recoverable();
    let b = world.member();
    world.send(a, START);
    world.send(a, &part(1));
    world.send(a, &part(2));
    // Both acks are lost with the transport.
    world.drop_link(a);
    world.wait(5);
    let a = world.recover(&id, &token).unwrap();
    let told_first = told(&mut world, a);
    assert_eq!(
        told_first[0], "system",
        "receipts are not replayed: {told_first:?}"
    );
    for n in 1..=3 {
        world.send(a, &part(n));
    }
    let acks: Vec<_> = told(&mut world, a)
        .into_iter()
        .filter(|told| told.starts_with("ack"))
        .collect();
    // A repeated part is answered with what is expected now.
    assert_eq!(acks, ["ack 3", "ack 3", "ack 4"]);
    assert_eq!(parts(&mut world, b), ["1:p1", "2:p2", "3:p3"]);
    let streams = &world.core.truth().streams;
    assert_eq!((streams.parts, streams.repeated, streams.opened), (3, 2, 1));
}

#[test]
fn a_stream_that_is_silent_while_its_publisher_is_away_is_over_when_it_returns() {
    let mut world = World::new();
    let (a, id, token) = world.recoverable();
    let b = world.member();
    world.send(a, &start("s", 3000));
    world.drop_link(a);
    world.wait(4);
    assert_eq!(parts(&mut world, b), ["1!IdleTimeout"]);
    let a = world.recover(&id, &token).unwrap();
    told(&mut world, a);
    world.send(a, &part(1));
    assert_eq!(told(&mut world, a), ["closed StreamNotFound"]);
    assert_eq!(world.core.truth().streams.idle, 1);
}

#[test]
fn a_publisher_that_does_not_come_back_cancels_its_streams_for_the_members() {
    let mut world = World::new();
    let (a, ..) = world.recoverable();
    let b = world.member();
    world.send(a, START);
    world.send(a, &part(1));
    world.drop_link(a);
    assert_eq!(parts(&mut world, b), ["1:p1"]);
    world.wait(31);
    assert_eq!(parts(&mut world, b), ["2!Cancelled"]);
}

#[test]
fn keep_alives_keep_a_stream_and_reach_nobody() {
    let mut world = World::new();
    let (a, b) = (world.client(), world.member());
    world.send(a, &start("s", 3000));
    for _ in 0..4 {
        world.wait(2);
        world.send(a, r#"{"type":"streamData","streamId":"s"}"#);
    }
    assert_eq!(told(&mut world, a), ["ack 1"]);
    assert!(parts(&mut world, b).is_empty());
    world.wait(3);
    assert_eq!(told(&mut world, a), ["closed IdleTimeout"]);
    assert_eq!(parts(&mut world, b), ["1!IdleTimeout"]);
    world.send(a, r#"{"type":"streamData","streamId":"s"}"#);
    world.send(a, r#"{"type":"streamEnd","streamId":"s"}"#);
    let not_found = "closed StreamNotFound";
    assert_eq!(told(&mut world, a), [not_found, not_found]);
}

#[test]
fn streams_are_bounded_and_their_starts_checked() {
    let mut world = World::new();
    let a = world.client();
    for n in 0..STREAMS_MAX {
        world.send(a, &start(&format!("s{n}"), 60_000));
    }
    assert!(told(&mut world, a).iter().all(|told| told == "ack 1"));
    world.send(a, &start("one more", 60_000));
    world.send(
        a,
        r#"{"type":"sendToGroup","group":" ","stream":{"streamId":"x"}}"#,
    );
    assert_eq!(told(&mut world, a), ["closed BadRequest"; 2]);
    let roleless = world.open_as(Subprotocol::Json, None, Some(&["webpubsub.joinLeaveGroup"]));
    world.read(roleless);
    world.send(roleless, START);
    assert_eq!(told(&mut world, roleless), ["closed Forbidden"]);
    let streams = &world.core.truth().streams;
    assert_eq!((streams.opened, streams.refused), (STREAMS_MAX as u64, 3));
    // Another connection has streams of its own, under the same names.
    let b = world.client();
    world.send(b, &start("s1", 60_000));
    assert_eq!(told(&mut world, b), ["ack 1"]);
    let now = world.now;
    world
        .core
        .service_close("chat", Target::All, &Choice::default(), "", now);
    let streams = &world.core.truth().streams;
    assert_eq!(streams.ended, streams.opened);
}

#[test]
fn a_role_that_is_taken_back_ends_the_stream_for_everyone() {
    let mut world = World::new();
    let a = world.open_as(Subprotocol::Json, None, Some(&["webpubsub.sendToGroup.g"]));
    let id = world.read(a)[0]["connectionId"]
        .as_str()
        .unwrap()
        .to_owned();
    let b = world.member();
    world.send(a, START);
    world.send(a, &part(1));
    world
        .core
        .grant("chat", &id, Action::Send, Some("g"), false);
    world.send(a, &part(2));
    assert_eq!(told(&mut world, a), ["ack 1", "ack 2", "closed Forbidden"]);
    assert_eq!(parts(&mut world, b), ["1:p1", "2!Forbidden"]);
}

#[test]
fn streams_run_whole_in_protobuf_and_across_encodings() {
    let mut world = World::new();
    let a = world.open_as(Subprotocol::ProtobufReliable, Some("p"), None);
    let (b, c) = (
        world.member(),
        world.open_as(Subprotocol::Protobuf, None, None),
    );
    let now = world.now;
    let ask = |world: &mut World, link: Key, request: &Request<'_>| {
        let mut bytes = Vec::new();
        codec::encode_request(Subprotocol::Protobuf, request, &mut bytes).unwrap();
        let request = protobuf::decode_request(&bytes).unwrap();
        world.core.frame(link, request, now);
    };
    let frames = |world: &mut World, link: Key| -> Vec<Downstream<'static>> {
        let (frames, _) = world.raw(link);
        let read = |(opcode, bytes): (u8, Vec<u8>)| {
            assert_eq!(opcode, 2);
            // A few bytes, kept for the test's frames to point into.
            protobuf::decode_downstream(bytes.leak()).unwrap()
        };
        frames.into_iter().map(read).collect()
    };
    world
        .core
        .service_join("chat", Target::All, &Choice::default(), &["g".into()]);
    frames(&mut world, a);
    frames(&mut world, c);
    ask(
        &mut world,
        a,
        &Request::StartStream {
            group: "g".into(),
            stream_id: "s".into(),
            idle_timeout: Duration::from_secs(9),
            no_echo: true,
        },
    );
    let data = |sequence_id, data| Request::StreamData {
        stream_id: "s".into(),
        sequence_id,
        data,
    };
    ask(&mut world, a, &data(Some(1), Some(Data::Text("x".into()))));
    ask(&mut world, a, &data(Some(3), Some(Data::Text("z".into()))));
    ask(&mut world, a, &data(None, None));
    ask(
        &mut world,
        a,
        &Request::EndStream {
            stream_id: "s".into(),
            error: None,
        },
    );
    let answers = frames(&mut world, a);
    let stream_id = || "s".into();
    let ack = |expected| {
        Downstream::Stream(StreamAnswer::Ack {
            stream_id: stream_id(),
            expected,
        })
    };
    assert_eq!(answers[..2], [ack(1), ack(2)]);
    assert!(matches!(
        &answers[2],
        Downstream::Stream(StreamAnswer::Nack { expected: 2, name, .. }) if name == "InvalidSequenceId"
    ));
    assert_eq!(
        answers[3..],
        [Downstream::Stream(StreamAnswer::Closed {
            stream_id: stream_id(),
            error: None
        })]
    );
    assert_eq!(parts(&mut world, b), ["1:x", "2!"]);
    let seen: Vec<_> = frames(&mut world, c)
        .into_iter()
        .filter_map(|frame| match frame {
            Downstream::Data(message) => message.stream,
            _ => None,
        })
        .collect();
    let wanted = |number, end_of_stream| {
        Box::new(StreamPart {
            stream_id: stream_id(),
            number,
            end_of_stream,
            error: None,
        })
    };
    assert_eq!(seen, [wanted(1, false), wanted(2, true)]);
}

// ---- invocations ------------------------------------------------------------------------

fn invoke(id: &str) -> String {
    format!(r#"{{"type":"invoke","invocationId":"{id}","target":"event","event":"e","data":1}}"#)
}

fn cancel(id: &str) -> String {
    format!(r#"{{"type":"cancelInvocation","invocationId":"{id}"}}"#)
}

fn call(world: &mut World) -> Option<Call> {
    let mut calls = Vec::new();
    world.core.take_calls(&mut calls);
    assert!(calls.len() <= 1, "{calls:?}");
    calls.pop()
}

fn answer(world: &mut World, call: Call) {
    let (now, data) = (world.now, Some(Data::Text("done".into())));
    let said = Said::default();
    let answer = Answer { data, said };
    world.core.answered(call.ticket.unwrap(), Ok(answer), now);
}

#[test]
fn a_cancelled_invocation_is_not_answered_and_one_that_waits_is_not_even_made() {
    let mut world = World::handled();
    let a = world.client();
    let connected = call(&mut world).unwrap();
    answer(&mut world, connected);
    for id in ["1", "2", "3"] {
        world.send(a, &invoke(id));
    }
    let first = call(&mut world).unwrap();
    world.send(a, &cancel("1"));
    world.send(a, &cancel("2"));
    world.send(a, &cancel("unknown"));
    answer(&mut world, first);
    assert!(world.read(a).is_empty(), "the first was cancelled");
    let third = call(&mut world).unwrap();
    answer(&mut world, third);
    let seen = world.read(a);
    assert_eq!(
        (&seen[0]["invocationId"], &seen[0]["data"]),
        (&"3".into(), &"done".into())
    );
    assert!(call(&mut world).is_none());
    assert_eq!(world.core.truth().invocations_cancelled, 2);
}

#[test]
fn an_invocation_under_a_pending_id_is_refused_and_a_bad_event_name_too() {
    let mut world = World::handled();
    let a = world.client();
    let connected = call(&mut world).unwrap();
    answer(&mut world, connected);
    world.send(a, &invoke("1"));
    world.send(a, &invoke("1"));
    world.send(a, &invoke("9").replace(r#""event":"e""#, r#""event":"1e""#));
    let seen = world.read(a);
    assert_eq!(seen.len(), 2);
    for refused in &seen {
        assert_eq!(
            (&refused["success"], &refused["error"]["name"]),
            (&false.into(), &"BadRequest".into())
        );
    }
    let first = call(&mut world).unwrap();
    answer(&mut world, first);
    assert_eq!(world.read(a)[0]["success"], true);
    // The id is free again.
    world.send(a, &invoke("1"));
    assert!(call(&mut world).is_some());
}

#[test]
fn the_answer_to_an_invocation_is_lost_with_its_transport() {
    let mut world = World::handled();
    let (a, id, token) = world.recoverable();
    let connected = call(&mut world).unwrap();
    answer(&mut world, connected);
    world.send(a, &invoke("1"));
    let made = call(&mut world).unwrap();
    world.drop_link(a);
    let a = world.recover(&id, &token).unwrap();
    world.read(a);
    answer(&mut world, made);
    assert!(world.read(a).is_empty(), "its client has given it up");
    world.send(a, &invoke("1"));
    let again = call(&mut world).unwrap();
    answer(&mut world, again);
    assert_eq!(world.read(a)[0]["data"], "done");
}
