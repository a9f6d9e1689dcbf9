//! What is not plain JSON: simple clients, protobuf, metadata, time to live, streams,
//! invocations, and what the service API does.

use super::*;
use crate::hub::core::service::{Choice, Target};
use crate::hub::core::{Action, Dialect, RawMode};
use crate::hub::filter::Filter;
use crate::wire::{AckError, Data, Downstream, Upstream, codec, protobuf};

impl World {
    fn simple(&mut self, mode: RawMode, roles: &[&str]) -> Key {
        let identity = Identity {
            hub: "chat".into(),
            user: None,
            permissions: Permissions::from_roles(roles.iter().copied()),
            remembered: crate::hub::core::Remembered::default(),
            groups: vec!["g".into()],
            token_lifetime: crate::hub::core::TOKEN_LIFETIME_MAX,
        };
        self.core
            .open(identity, Dialect::Raw(Box::new(mode)), self.now)
    }

    /// What a transport wrote, as (opcode, payload).
    pub(super) fn raw(&mut self, link: Key) -> (Vec<(u8, Vec<u8>)>, Option<End>) {
        let mut bytes = Vec::new();
        let end = self.core.drain(link, &mut bytes, usize::MAX, self.now);
        let (mut frames, mut rest) = (Vec::new(), bytes.as_slice());
        while let [opcode, length, tail @ ..] = rest {
            let (length, tail) = match length {
                126 => (
                    usize::from(u16::from_be_bytes([tail[0], tail[1]])),
                    &tail[2..],
                ),
                short => (usize::from(*short), tail),
            };
            frames.push((opcode & 15, tail[..length].to_vec()));
            rest = &tail[length..];
        }
        (frames, end)
    }
}

#[test]
fn a_simple_client_gets_payloads_only_and_is_closed_when_it_may_not_send() {
    let mut world = World::new();
    let publish = RawMode::SendToGroup {
        group: "g".into(),
        no_echo: true,
    };
    let sender = world.simple(publish.clone(), &["webpubsub.sendToGroup"]);
    let receiver = world.simple(RawMode::SendEvent, &[]);
    let member = world.member();
    let now = world.now;
    world
        .core
        .simple_frame(sender, &Data::Text("hi".into()), now);
    world
        .core
        .simple_frame(sender, &Data::Binary(vec![1, 2].into()), now);
    assert!(world.raw(sender).0.is_empty());
    let (frames, _) = world.raw(receiver);
    assert_eq!(frames, [(1, b"hi".to_vec()), (2, vec![1, 2])]);
    assert_eq!(world.data(member), ["1:hi", "2:AQI="]);
    world.send(
        member,
        r#"{"type":"sendToGroup","group":"g","data":{"a":[1]}}"#,
    );
    assert_eq!(world.raw(receiver).0, [(1, br#"{"a":[1]}"#.to_vec())]);
    // The default handler echoes its events.
    world
        .core
        .simple_frame(receiver, &Data::Text("e".into()), now);
    assert_eq!(world.raw(receiver).0, [(1, b"e".to_vec())]);

    let forbidden = world.simple(publish, &[]);
    world
        .core
        .simple_frame(forbidden, &Data::Text("x".into()), now);
    assert!(matches!(
        world.raw(forbidden).1,
        Some(End::Close { code: 1008, .. })
    ));
    let mut world = World::with(&[], EventHandler::None);
    let unheard = world.simple(RawMode::SendEvent, &[]);
    world
        .core
        .simple_frame(unheard, &Data::Text("x".into()), now);
    assert!(matches!(
        world.raw(unheard).1,
        Some(End::Close { code: 1011, .. })
    ));
}

#[test]
fn json_and_protobuf_members_of_a_group_get_the_same_message() {
    let mut world = World::new();
    let json_member = world.member();
    let link = world.open_as(Subprotocol::ProtobufReliable, Some("p"), None);
    let binary = |world: &mut World| -> Vec<Downstream<'static>> {
        let (frames, _) = world.raw(link);
        let read = |(opcode, bytes): (u8, Vec<u8>)| {
            assert_eq!(opcode, 2);
            // A few bytes, kept for the test's frames to point into.
            protobuf::decode_downstream(bytes.leak()).unwrap()
        };
        frames.into_iter().map(read).collect()
    };
    let Downstream::Connected(connected) = binary(&mut world).remove(0) else {
        panic!("not connected")
    };
    assert!(connected.reconnection_token.is_some());
    let now = world.now;
    let ask = |world: &mut World, frame: Upstream<'_>| {
        let mut bytes = Vec::new();
        codec::encode_upstream(Subprotocol::ProtobufReliable, &frame, &mut bytes);
        let request = protobuf::decode_request(&bytes).unwrap();
        world.core.frame(link, request, now);
    };
    let join = Upstream::JoinGroup {
        group: "g".into(),
        ack_id: Some(crate::base::AckId(1)),
    };
    ask(&mut world, join.clone());
    ask(&mut world, join);
    ask(&mut world, Upstream::Ping);
    world.publish(json_member, 1, "hi");
    let seen = binary(&mut world);
    assert!(matches!(&seen[0], Downstream::Ack(ack) if ack.success));
    assert!(
        matches!(&seen[1], Downstream::Ack(ack) if matches!(&ack.error, Some(AckError { name, .. }) if name == "Duplicate"))
    );
    assert_eq!(seen[2], Downstream::Pong);
    let Downstream::Data(message) = &seen[3] else {
        panic!("{seen:?}")
    };
    assert_eq!(message.data, Data::Text("hi".into()));
    assert_eq!(message.sequence_id.map(|id| id.0), Some(1));
    // It is replayed in protobuf after a drop.
    world.drop_link(link);
    let recovered = world
        .recover(
            &connected.connection_id,
            &connected.reconnection_token.unwrap(),
        )
        .unwrap();
    let (frames, _) = world.raw(recovered);
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|(opcode, _)| *opcode == 2));
}

#[test]
fn metadata_travels_and_time_to_live_ends_a_wait() {
    let mut world = World::new();
    let a = world.member();
    let (link, id, token) = world.recoverable();
    world.send(
        a,
        r#"{"type":"sendToGroup","group":"g","data":1,"metadata":{"k":"v"},"ttlSeconds":5}"#,
    );
    assert_eq!(world.read(link)[0]["metadata"]["k"], "v");
    world.drop_link(link);
    world.send(
        a,
        r#"{"type":"sendToGroup","group":"g","data":2,"ttlSeconds":0}"#,
    );
    world.wait(6);
    let link = world.recover(&id, &token).unwrap();
    assert_eq!(world.data(link), ["2:2"]);
    assert_eq!(world.core.truth().deliveries_expired, 1);
}

#[test]
fn a_stream_is_numbered_acknowledged_and_ended() {
    let mut world = World::new();
    let (a, b) = (world.client(), world.member());
    let mut step = |frame: &str| {
        world.send(a, frame);
        (world.read(a), world.read(b))
    };
    let start =
        r#"{"type":"sendToGroup","group":"g","stream":{"streamId":"s","idleTimeoutMs":4000}}"#;
    assert_eq!(step(start).0[0]["expectedSequenceId"], 1);
    assert_eq!(step(start).0[0]["error"]["name"], "BadRequest");
    let part = |n: u64| {
        format!(
            r#"{{"type":"streamData","streamId":"s","streamSequenceId":{n},"dataType":"text","data":"p{n}"}}"#
        )
    };
    let (acks, seen) = step(&part(1));
    assert_eq!(
        (&acks[0]["type"], &acks[0]["expectedSequenceId"]),
        (&"streamAck".into(), &2.into())
    );
    assert_eq!(
        (&seen[0]["stream"]["streamSequenceId"], &seen[0]["data"]),
        (&1.into(), &"p1".into())
    );
    assert!(step(&part(1)).1.is_empty(), "published again");
    assert_eq!(step(&part(5)).0[0]["name"], "InvalidSequenceId");
    let (closed, seen) =
        step(r#"{"type":"streamEnd","streamId":"s","error":{"message":"m","userErrorCode":"c"}}"#);
    assert_eq!(closed[0]["type"], "streamClosed");
    assert!(closed[0]["error"].is_null());
    let stream = &seen[0]["stream"];
    assert_eq!(
        (&stream["endOfStream"], &stream["streamSequenceId"]),
        (&true.into(), &2.into())
    );
    assert_eq!(
        (&stream["error"]["name"], &stream["error"]["userErrorCode"]),
        (&"UserError".into(), &"c".into())
    );
    assert_eq!(step(&part(2)).0[0]["error"]["name"], "StreamNotFound");

    assert_eq!(step(start).0[0]["expectedSequenceId"], 1);
    world.wait(4);
    assert_eq!(world.read(a)[0]["error"]["name"], "IdleTimeout");
    assert_eq!(world.read(b)[0]["stream"]["error"]["name"], "IdleTimeout");
    world.send(a, start);
    let now = world.now;
    world.core.closed(a, Some(1000), now);
    assert_eq!(world.read(b)[0]["stream"]["error"]["name"], "Cancelled");
}

#[test]
fn an_invocation_is_answered_under_its_id() {
    let invoke = r#"{"type":"invoke","invocationId":"7","target":"event","event":"e","dataType":"json","data":[1]}"#;
    let mut world = World::new();
    let a = world.client();
    world.send(a, invoke);
    let answer = world.read(a).remove(0);
    assert_eq!(
        (&answer["invocationId"], &answer["success"]),
        (&"7".into(), &true.into())
    );
    assert_eq!(answer["data"][0], 1);
    let mut world = World::with(&[], EventHandler::None);
    let a = world.client();
    world.send(a, invoke);
    assert_eq!(world.read(a)[0]["error"]["name"], "InternalServerError");
}

#[test]
fn the_service_sends_to_whom_it_names_and_closes_for_good() {
    let mut world = World::new();
    let (link, id, token) = world.recoverable();
    let other = world.member();
    let ann = world.open_as(Subprotocol::Json, Some("ann"), None);
    world.read(ann);
    let now = world.now;
    let send = |world: &mut World, target, choice: &Choice<'_>| {
        let data = Data::Json("1".into());
        world
            .core
            .service_send("CHAT", target, choice, &data, 0, now);
        [link, other, ann].map(|link| world.read(link).len())
    };
    let all = Choice::default();
    assert_eq!(send(&mut world, Target::All, &all), [1, 1, 1]);
    assert_eq!(send(&mut world, Target::Group("g"), &all), [1, 1, 0]);
    assert_eq!(send(&mut world, Target::User("ann"), &all), [0, 0, 1]);
    assert_eq!(send(&mut world, Target::Connection(&id), &all), [1, 0, 0]);
    assert_eq!(send(&mut world, Target::Connection("x"), &all), [0, 0, 0]);
    let excluded = [id.clone()];
    let choice = Choice {
        excluded: &excluded,
        filter: None,
    };
    assert_eq!(send(&mut world, Target::All, &choice), [0, 1, 1]);
    let filter = Filter::parse("'g' in groups and userId ne null").unwrap();
    let choice = Choice {
        excluded: &[],
        filter: Some(&filter),
    };
    assert_eq!(send(&mut world, Target::All, &choice), [0, 1, 0]);
    assert!(world.core.exists("chat", Target::User("ann")));
    assert!(!world.core.exists("other", Target::All));
    world
        .core
        .service_join("chat", Target::User("ann"), &all, &["g".into()]);
    assert_eq!(send(&mut world, Target::Group("g"), &all), [1, 1, 1]);
    world.core.service_leave("chat", Target::All, &all, None);
    assert_eq!(send(&mut world, Target::Group("g"), &all), [0, 0, 0]);
    world
        .core
        .service_close("chat", Target::Connection(&id), &all, "why", now);
    let seen = world.read_all(link);
    assert_eq!(seen.frames[0]["message"], "why");
    assert!(matches!(seen.end, Some(End::Close { code: 1000, .. })));
    assert_eq!(
        world.recover(&id, &token),
        Err(RecoveryRefused::UnknownSession)
    );
}

#[test]
fn permissions_can_be_granted_and_taken_back_while_connected() {
    let mut world = World::new();
    let link = world.open_as(Subprotocol::Json, None, Some(&[]));
    let id = world.read(link)[0]["connectionId"]
        .as_str()
        .unwrap()
        .to_owned();
    let join = |world: &mut World, n: u64| {
        world.send(
            link,
            &format!(r#"{{"type":"joinGroup","group":"g","ackId":{n}}}"#),
        );
        world.acks(link).remove(0)
    };
    assert_eq!(join(&mut world, 1), "1:Forbidden");
    assert!(world.core.grant("chat", &id, Action::Join, Some("g"), true));
    assert_eq!(join(&mut world, 2), "2");
    assert!(world.core.is_granted("chat", &id, Action::Join, Some("g")));
    assert!(!world.core.is_granted("chat", &id, Action::Join, None));
    world
        .core
        .grant("chat", &id, Action::Join, Some("g"), false);
    assert_eq!(join(&mut world, 3), "3:Forbidden");
    let (listed, more) = world.core.list_group("chat", "g", None, 10);
    assert_eq!((listed.len(), more), (1, false));
    assert!(!world.core.grant("chat", "nobody", Action::Join, None, true));
}

#[test]
fn time_to_live_ends_a_wait_in_a_slow_sockets_queue_too() {
    let mut world = World::new();
    let publisher = world.client();
    let slow = world.member();
    world.read(slow);
    for (ttl, text) in [(5, "short"), (60, "long"), (5, "short too")] {
        let frame = format!(
            r#"{{"type":"sendToGroup","group":"g","ttlSeconds":{ttl},"dataType":"text","data":"{text}"}}"#
        );
        world.send(publisher, &frame);
    }
    // The socket takes nothing for ten seconds.
    world.wait(10);
    assert_eq!(world.data(slow), ["2:long"]);
    let truth = world.core.truth();
    assert_eq!(
        (truth.deliveries_expired, truth.deliveries_numbered),
        (2, 3)
    );
    // What expired waits for no sequenceAck either.
    assert_eq!(world.core.load().unacked_messages, 1);
}

#[test]
fn a_json_client_may_send_what_protobuf_clients_send_among_themselves() {
    let mut world = World::new();
    let member = world.member();
    world.send(
        member,
        r#"{"type":"sendToGroup","group":"g","dataType":"protobuf","data":"CgA="}"#,
    );
    let frames = world.read(member);
    assert_eq!(
        (&frames[0]["dataType"], &frames[0]["data"]),
        (&"protobuf".into(), &"CgA=".into())
    );
}
