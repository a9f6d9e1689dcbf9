//! An honest hub.

use super::*;

#[test]
fn the_first_frame_says_who_one_is_and_how_to_come_back() {
    let mut world = World::new();
    let reliable = world.open_as(Subprotocol::JsonReliable, Some("u1"), None);
    let frame = world.read(reliable).remove(0);
    assert_eq!(
        (&frame["type"], &frame["event"], &frame["userId"]),
        (&"system".into(), &"connected".into(), &"u1".into())
    );
    assert_eq!(frame["connectionId"].as_str().unwrap().len(), 32);
    assert!(frame["reconnectionToken"].is_string());
    let plain = world.open_as(Subprotocol::Json, None, None);
    let frame = world.read(plain).remove(0);
    assert_eq!(frame["userId"], "");
    assert!(frame["reconnectionToken"].is_null());
}

#[test]
fn every_member_gets_each_message_once_numbered_without_gap() {
    let mut world = World::new();
    let (a, b, outsider) = (world.member(), world.member(), world.client());
    let plain = world.open_as(Subprotocol::Json, None, None);
    world.send(plain, r#"{"type":"joinGroup","group":"g"}"#);
    world.send(b, r#"{"type":"joinGroup","group":"g"}"#);
    for n in 1..=50 {
        world.publish(a, n, &format!("m{n}"));
    }
    let numbered: Vec<_> = (1..=50).map(|n| format!("{n}:m{n}")).collect();
    let seen = world.read(a);
    let data: Vec<_> = seen
        .iter()
        .filter(|f| f["type"] == "message")
        .map(shown)
        .collect();
    assert_eq!(data, numbered, "the publisher's own");
    assert_eq!(seen.iter().filter(|f| f["type"] == "ack").count(), 50);
    assert_eq!(seen[0]["fromUserId"], "u1");
    assert_eq!(world.data(b), numbered, "a double join is one membership");
    assert_eq!(world.data(plain).len(), 50);
    assert!(world.read(outsider).is_empty());
    let truth = world.core.truth();
    assert_eq!((truth.publishes_executed, truth.deliveries_owed), (50, 150));
    assert_eq!(
        (truth.deliveries_numbered, truth.deliveries_unnumbered),
        (100, 50)
    );
}

#[test]
fn leaving_ends_delivery_and_an_empty_group_vanishes() {
    let mut world = World::new();
    let links: Vec<_> = (0..5).map(|_| world.member()).collect();
    for (at, &link) in links.iter().enumerate() {
        world.send(link, r#"{"type":"leaveGroup","group":"g","ackId":9}"#);
        world.send(link, r#"{"type":"leaveGroup","group":"never","ackId":10}"#);
        assert_eq!(world.acks(link), ["9", "10"]);
        world.publish(link, 11, "x");
        let got = links
            .iter()
            .filter(|&&link| !world.data(link).is_empty())
            .count();
        assert_eq!(got, 4 - at);
    }
}

#[test]
fn no_echo_spares_the_sending_connection_only() {
    let mut world = World::new();
    let (a, b) = (world.member(), world.member());
    world.send(
        a,
        r#"{"type":"sendToGroup","group":"g","noEcho":true,"data":1}"#,
    );
    assert!(world.data(a).is_empty());
    assert_eq!(world.data(b), ["1:1"]);
    assert_eq!(world.core.truth().deliveries_owed, 1);
}

#[test]
fn a_repeated_ack_id_is_not_executed_again_but_a_failed_one_is() {
    let mut world = World::new();
    let a = world.member();
    world.publish(a, 5, "x");
    world.publish(a, 5, "x");
    assert_eq!(world.acks(a), ["5", "5:Duplicate"]);
    world.send(a, r#"{"type":"joinGroup","group":" ","ackId":6}"#);
    world.send(a, r#"{"type":"joinGroup","group":"h","ackId":6}"#);
    assert_eq!(world.acks(a), ["6:BadRequest", "6"]);
    let truth = world.core.truth();
    assert_eq!(
        (
            truth.publishes_executed,
            truth.duplicates_answered,
            truth.bad_requests
        ),
        (1, 1, 1)
    );
}

#[test]
fn roles_rule_joins_and_sends() {
    let mut world = World::new();
    let a = world.open_as(
        Subprotocol::JsonReliable,
        None,
        Some(&["webpubsub.joinLeaveGroup.g"]),
    );
    world.send(a, r#"{"type":"joinGroup","group":"g","ackId":1}"#);
    world.send(a, r#"{"type":"joinGroup","group":"h","ackId":2}"#);
    world.send(a, r#"{"type":"leaveGroup","group":"h","ackId":3}"#);
    world.publish(a, 4, "x");
    world.send(a, r#"{"type":"sendToGroup","group":"g","data":1}"#);
    assert_eq!(
        world.acks(a),
        ["1", "2:Forbidden", "3:Forbidden", "4:Forbidden"]
    );
    let truth = world.core.truth();
    assert_eq!((truth.forbidden, truth.publishes_executed), (4, 0));
}

#[test]
fn events_are_echoed_before_their_ack_or_refused_without_handler() {
    let mut world = World::new();
    let a = world.client();
    world.send(
        a,
        r#"{"type":"event","event":"e1","ackId":1,"data":{"k":[1]}}"#,
    );
    let frames = world.read(a);
    assert_eq!(
        (
            &frames[0]["from"],
            &frames[0]["data"]["k"][0],
            &frames[0]["sequenceId"]
        ),
        (&"server".into(), &1.into(), &1.into())
    );
    assert_eq!(frames[1]["success"], true);
    world.send(a, r#"{"type":"event","event":"1e","ackId":2,"data":1}"#);
    assert_eq!(world.acks(a), ["2:BadRequest"]);
    world.send(a, r#"{"type":"ping"}"#);
    assert_eq!(world.read(a)[0]["type"], "pong");
    let mut silent = World::with(&[], EventHandler::None);
    let b = silent.client();
    silent.send(b, r#"{"type":"event","event":"e1","ackId":1,"data":1}"#);
    assert_eq!(silent.acks(b), ["1:InternalServerError"]);
}

#[test]
fn a_drop_in_time_loses_nothing() {
    let mut world = World::new();
    let publisher = world.client();
    let (link, id, token) = world.recoverable();
    for n in 1..=3 {
        world.publish(publisher, n, &format!("m{n}"));
    }
    assert_eq!(world.data(link), ["1:m1", "2:m2", "3:m3"]);
    world.send(link, r#"{"type":"sequenceAck","sequenceId":1}"#);
    world.send(
        link,
        r#"{"type":"sendToGroup","group":"other","ackId":77,"data":1}"#,
    );
    world.drop_link(link);
    world.wait(29);
    world.publish(publisher, 4, "m4");
    let again = world.recover(&id, &token).unwrap();
    world.publish(publisher, 5, "m5");
    // The ack of 77 died with its transport; the same id tells that it was executed.
    world.send(
        again,
        r#"{"type":"sendToGroup","group":"other","ackId":77,"data":1}"#,
    );
    let frames = world.read(again);
    assert_eq!(
        (&frames[0]["event"], &frames[0]["connectionId"]),
        (&"connected".into(), &id.as_str().into())
    );
    let data: Vec<_> = frames
        .iter()
        .filter(|f| f["type"] == "message")
        .map(shown)
        .collect();
    assert_eq!(data, ["2:m2", "3:m3", "4:m4", "5:m5"]);
    assert_eq!(frames.last().unwrap()["error"]["name"], "Duplicate");
    // The window starts anew with each drop, and an old drop's timer means nothing.
    world.wait(29);
    world.drop_link(again);
    world.wait(29);
    let new_token = frames[0]["reconnectionToken"].as_str().unwrap();
    assert!(world.recover(&id, new_token).is_ok());
    let truth = world.core.truth();
    assert_eq!(
        (truth.recoveries_accepted, truth.transports_dropped),
        (2, 2)
    );
    assert_eq!(truth.deliveries_replayed, 2 + 4);
    assert_eq!(truth.deliveries_numbered, 5);
}

#[test]
fn a_session_is_gone_when_its_window_is_over() {
    let mut world = World::new();
    let (link, id, token) = world.recoverable();
    world.drop_link(link);
    world.wait(30);
    assert_eq!(
        world.recover(&id, &token),
        Err(RecoveryRefused::UnknownSession)
    );
    let publisher = world.client();
    world.publish(publisher, 1, "x");
    let truth = world.core.truth();
    assert_eq!((truth.sessions_expired, truth.deliveries_owed), (1, 0));
    assert_eq!(truth.recoveries_refused["unknown_session"], 1);
}

#[test]
fn recovery_needs_the_right_token_and_a_session_that_was_not_ended() {
    let mut world = World::new();
    let (link, id, token) = world.recoverable();
    let (_, _, other_token) = world.recoverable();
    world.drop_link(link);
    assert_eq!(
        world.recover(&id, &other_token),
        Err(RecoveryRefused::BadToken)
    );
    assert_eq!(world.recover(&id, ""), Err(RecoveryRefused::BadToken));
    assert_eq!(
        world.recover("nonsense", &token),
        Err(RecoveryRefused::UnknownSession)
    );
    let link = world.recover(&id, &token).unwrap();
    let now = world.now;
    world.core.closed(link, Some(1000), now);
    assert_eq!(
        world.recover(&id, &token),
        Err(RecoveryRefused::UnknownSession)
    );
    assert_eq!(world.core.truth().sessions_ended_by_client, 1);
}

#[test]
fn a_newcomer_wins_over_a_half_open_transport() {
    let mut world = World::new();
    let (old, id, token) = world.recoverable();
    let new = world.recover(&id, &token).unwrap();
    assert_eq!(world.read_all(old).end, Some(End::Reset));
    world.publish(new, 1, "x");
    assert_eq!(world.data(new), ["1:x"]);
    // Frames of the fenced transport are no longer executed, and its end changes nothing.
    world.publish(old, 2, "late");
    world.drop_link(old);
    world.publish(new, 3, "y");
    assert_eq!(world.data(new), ["2:y"]);
}

#[test]
fn a_thousand_unacknowledged_messages_are_kept_and_not_one_more() {
    let mut world = World::new();
    let publisher = world.client();
    let (link, id, token) = world.recoverable();
    for n in 0..1000 {
        world.publish(publisher, n, "x");
    }
    assert_eq!(world.data(link).len(), 1000);
    assert_eq!(world.core.truth().sessions_overflowed, 0);
    world.publish(publisher, 1000, "x");
    let seen = world.read_all(link);
    assert!(seen.frames.is_empty() && matches!(seen.end, Some(End::Close { code: 1008, .. })));
    assert_eq!(
        world.recover(&id, &token),
        Err(RecoveryRefused::UnknownSession)
    );
    let truth = world.core.truth();
    assert_eq!(
        (truth.sessions_overflowed, truth.deliveries_numbered),
        (1, 1000)
    );
}

#[test]
fn bytes_are_bounded_too_also_while_the_client_is_away() {
    let mut world = World::new();
    let publisher = world.client();
    let (link, _, _) = world.recoverable();
    world.drop_link(link);
    let big = "x".repeat(1_000_000);
    for n in 0..16 {
        world.publish(publisher, n, &big);
    }
    assert_eq!(world.core.truth().sessions_overflowed, 0);
    world.publish(publisher, 16, &big);
    assert_eq!(world.core.truth().sessions_overflowed, 1);
}

#[test]
fn acknowledged_messages_make_room() {
    let mut world = World::new();
    let publisher = world.client();
    let (link, ..) = world.recoverable();
    for n in 0..5000_u64 {
        world.publish(publisher, n, "x");
        if n % 900 == 899 {
            world.send(
                link,
                &format!(r#"{{"type":"sequenceAck","sequenceId":{}}}"#, n + 1),
            );
        }
    }
    assert_eq!(world.data(link).last().unwrap(), "5000:x");
    assert_eq!(world.core.truth().sessions_overflowed, 0);
}

#[test]
fn a_client_without_sequence_ids_that_never_reads_is_cut_off() {
    let mut world = World::new();
    let publisher = world.client();
    let plain = world.open_as(Subprotocol::Json, None, None);
    world.send(plain, r#"{"type":"joinGroup","group":"g"}"#);
    for n in 0..10_001 {
        world.publish(publisher, n, "x");
    }
    let seen = world.read_all(plain);
    assert!(seen.frames.is_empty() && seen.end == Some(End::Reset));
    assert_eq!(world.core.truth().sessions_slow, 1);
}

#[test]
fn a_restart_forgets_everything_and_resets_everyone() {
    let mut world = World::new();
    let (link, id, token) = world.recoverable();
    world.core.restart();
    assert_eq!(world.read_all(link).end, Some(End::Reset));
    world.drop_link(link);
    assert_eq!(
        world.recover(&id, &token),
        Err(RecoveryRefused::UnknownSession)
    );
    let (_, new_id, _) = world.recoverable();
    assert_ne!(new_id, id);
    assert_eq!(
        (
            world.core.truth().restarts,
            world.core.truth().sessions_killed
        ),
        (1, 1)
    );
}

#[test]
fn a_stopping_hub_says_goodbye() {
    let mut world = World::new();
    let a = world.client();
    world.core.shut_down();
    let seen = world.read_all(a);
    assert_eq!(seen.frames[0]["event"], "disconnected");
    assert!(matches!(seen.end, Some(End::Close { code: 1001, .. })));
}

#[test]
fn hubs_do_not_see_each_other_and_their_names_ignore_case() {
    let mut world = World::new();
    let a = world.member();
    let mut enter = |hub: &str| {
        let identity = Identity {
            remembered: crate::hub::core::Remembered::default(),
            hub: hub.into(),
            user: None,
            permissions: Permissions::all(),
            groups: vec!["g".into()],
            token_lifetime: crate::hub::core::TOKEN_LIFETIME_MAX,
        };
        world
            .core
            .open(identity, Subprotocol::JsonReliable, Time::ZERO)
    };
    let (same, other) = (enter("CHAT"), enter("other"));
    world.publish(a, 1, "x");
    assert_eq!(world.data(same), ["1:x"]);
    assert!(world.data(other).is_empty());
}

#[test]
fn a_broken_protocol_ends_the_session_for_good() {
    let mut world = World::new();
    let (link, id, token) = world.recoverable();
    world.core.violated(link, 1007, "bad frame");
    world.publish(link, 1, "ignored");
    assert!(matches!(
        world.read_all(link).end,
        Some(End::Close { code: 1007, .. })
    ));
    assert_eq!(
        world.recover(&id, &token),
        Err(RecoveryRefused::UnknownSession)
    );
    let truth = world.core.truth();
    assert_eq!((truth.sessions_violated, truth.publishes_executed), (1, 0));
}

#[test]
fn a_silent_peer_loses_its_transport_but_not_its_session() {
    let mut world = World::new();
    let (link, id, token) = world.recoverable();
    let now = world.now;
    world.core.ping_timeout(link, now);
    assert_eq!(world.read_all(link).end, Some(End::Reset));
    world.drop_link(link);
    assert!(world.recover(&id, &token).is_ok());
    assert_eq!(
        (
            world.core.truth().ping_timeouts,
            world.core.truth().transports_dropped
        ),
        (1, 1)
    );
}

#[test]
fn a_token_is_refreshed_on_the_live_connection_before_it_ends() {
    // In this world tokens live for 100 s.
    let mut world = World::new();
    let (link, id, first) = world.recoverable();
    world.read(link);
    let ping = |world: &mut World| {
        let now = world.now;
        world.core.ping(link, now);
        world.read(link)
    };
    world.wait(49);
    assert!(ping(&mut world).is_empty(), "too early");
    world.wait(1);
    let refreshed = ping(&mut world);
    assert_eq!(
        (&refreshed[0]["event"], &refreshed[0]["connectionId"]),
        (&"connected".into(), &id.as_str().into())
    );
    assert!(ping(&mut world).is_empty(), "once");
    assert_eq!(world.core.truth().tokens_refreshed, 1);
    // The old token ends, the new one opens.
    world.wait(51);
    let second = refreshed[0]["reconnectionToken"].as_str().unwrap();
    assert_eq!(world.recover(&id, &first), Err(RecoveryRefused::BadToken));
    assert!(world.recover(&id, second).is_ok());
}

#[test]
fn clients_without_tokens_are_sent_no_refresh() {
    let mut world = World::new();
    let link = world.open_as(Subprotocol::Json, None, None);
    world.read(link);
    world.wait(8 * 24 * 3600);
    let now = world.now;
    world.core.ping(link, now);
    assert!(world.read(link).is_empty());
}
