//! The faults of connections and of time: each does what it says, and is counted.

use super::*;
use crate::hub::FaultKind;
use crate::hub::core::connection_faults::ConnectFault;

/// A publisher and one member of `g`, with a fault armed.
fn pair(fault: &str) -> (World, Key, Key) {
    let mut world = World::faulty(fault);
    let (publisher, member) = (world.client(), world.member());
    (world, publisher, member)
}

fn count(world: &World, kind: FaultKind) -> u64 {
    let truth = world.core.truth();
    assert_eq!(truth.faults.values().sum::<u64>(), truth.fault_count(kind));
    truth.fault_count(kind)
}

#[test]
fn delayed_acks_and_deliveries_come_in_the_end() {
    let (mut world, a, b) = pair("delay_ack,for=2s");
    world.publish(a, 1, "m1");
    world.publish(a, 2, "m2");
    assert_eq!(world.acks(a), ["2"]);
    assert_eq!(world.data(b), ["1:m1", "2:m2"]);
    world.wait(2);
    assert_eq!(world.acks(a), ["1"]);
    assert_eq!(count(&world, FaultKind::DelayAck), 1);

    let (mut world, a, b) = pair("delay_delivery,for=2s");
    world.publish(a, 1, "m1");
    world.publish(a, 2, "m2");
    assert_eq!(world.data(b), ["1:m2"]);
    world.wait(2);
    assert_eq!(world.data(b), ["2:m1"]);
    assert_eq!(count(&world, FaultKind::DelayDelivery), 1);
}

#[test]
fn joins_come_into_force_late_or_twice() {
    let (mut world, a, b) = pair("join_late,for=3s");
    world.publish(a, 1, "lost at join");
    assert!(world.data(b).is_empty());
    world.wait(3);
    world.publish(a, 2, "m2");
    assert_eq!(world.data(b), ["1:m2"]);
    assert_eq!(count(&world, FaultKind::JoinLate), 1);

    // Who leaves before is no member afterwards.
    let (mut world, a, b) = pair("join_late,for=3s");
    world.send(b, r#"{"type":"leaveGroup","group":"g","ackId":7}"#);
    world.wait(3);
    world.publish(a, 1, "m1");
    assert!(world.data(b).is_empty());

    let (mut world, a, b) = pair("double_join");
    world.publish(a, 1, "m1");
    assert_eq!(world.data(b), ["1:m1", "2:m1"]);
    assert_eq!(count(&world, FaultKind::DoubleJoin), 1);
}

#[test]
fn a_leave_cuts_what_was_acknowledged_before_it_or_nothing_is_lost() {
    let (mut world, a, b) = pair("leave_cut,for=2s");
    world.publish(a, 1, "m1");
    world.publish(a, 2, "m2");
    assert_eq!(world.acks(a), ["1", "2"]);
    world.send(b, r#"{"type":"leaveGroup","group":"g","ackId":1}"#);
    assert_eq!(world.acks(b), ["1"]);
    world.wait(9);
    assert!(world.data(b).is_empty());
    assert_eq!(count(&world, FaultKind::LeaveCut), 2);

    let (mut world, a, b) = pair("leave_cut,for=2s");
    world.publish(a, 1, "m1");
    world.publish(a, 2, "m2");
    assert!(world.data(b).is_empty());
    world.wait(2);
    assert_eq!(world.data(b), ["1:m1", "2:m2"]);
    assert_eq!(count(&world, FaultKind::LeaveCut), 0);
}

#[test]
fn a_rejoin_on_a_new_connection_is_denied_but_not_a_first_join() {
    let mut world = World::faulty("deny_rejoin");
    let first = world.client();
    let join = r#"{"type":"joinGroup","group":"g","ackId":1}"#;
    world.send(first, join);
    assert_eq!(world.acks(first), ["1"]);
    let second = world.client();
    world.send(second, r#"{"type":"joinGroup","group":"other","ackId":1}"#);
    world.send(second, r#"{"type":"joinGroup","group":"g","ackId":2}"#);
    assert_eq!(world.acks(second), ["1", "2:Forbidden"]);
    assert_eq!(count(&world, FaultKind::DenyRejoin), 1);
}

#[test]
fn a_stalled_connection_gets_everything_later() {
    let (mut world, a, b) = pair("stall,for=5s");
    world.publish(a, 1, "m1");
    world.publish(a, 2, "m2");
    assert!(world.data(b).is_empty());
    world.wait(4);
    assert!(world.data(b).is_empty());
    world.wait(1);
    assert_eq!(world.data(b), ["1:m1", "2:m2"]);
    assert_eq!(count(&world, FaultKind::Stall), 1);
}

#[test]
fn a_frozen_connection_gets_no_group_message_any_more_and_is_answered_all_the_same() {
    let (mut world, a, b) = pair("freeze,count=1");
    for n in 1..=4 {
        world.publish(a, n, &format!("m{n}"));
    }
    assert_eq!(world.data(b), ["1:m1"]);
    world.wait(60);
    assert!(world.data(b).is_empty());
    world.send(b, r#"{"type":"joinGroup","group":"h","ackId":7}"#);
    assert_eq!(world.acks(b), ["7"]);
    assert_eq!(count(&world, FaultKind::Freeze), 1);
}

#[test]
fn connections_are_reset_or_closed_and_the_session_kept_unless_the_code_is_final() {
    let (mut world, a, b) = pair("reset");
    world.publish(a, 1, "m1");
    assert_eq!(world.read_all(b).end, Some(End::Reset));
    assert_eq!(count(&world, FaultKind::Reset), 1);

    for (fault, code, sessions) in [
        ("close", 1001, 2),
        ("close,code=4321", 4321, 2),
        ("close,code=1008", 1008, 1),
    ] {
        let (mut world, a, b) = pair(fault);
        world.publish(a, 1, "m1");
        let seen = world.read_all(b);
        assert!(
            matches!(seen.end, Some(End::Close { code: got, .. }) if got == code),
            "{fault}: {:?}",
            seen.end
        );
        assert_eq!(world.core.sessions.len(), sessions, "{fault}");
        assert_eq!(count(&world, FaultKind::Close), 1);
    }
}

#[test]
fn a_half_open_connection_is_silent_until_it_is_replaced() {
    let mut world = World::faulty("half_open");
    let publisher = world.client();
    let (link, id, token) = world.recoverable();
    world.publish(publisher, 1, "m1");
    world.publish(publisher, 2, "m2");
    let seen = world.read_all(link);
    assert!(seen.frames.is_empty() && seen.end.is_none());
    assert!(world.core.is_mute(link));
    let link = world.recover(&id, &token).unwrap();
    assert_eq!(world.data(link), ["1:m1", "2:m2"]);
    assert_eq!(count(&world, FaultKind::HalfOpen), 1);
}

#[test]
fn garbage_and_oversized_frames_come_beside_the_delivery() {
    for (fault, least) in [("garbage", 1), ("oversized", 2 << 20)] {
        let (mut world, a, b) = pair(fault);
        world.publish(a, 1, "m1");
        let mut bytes = Vec::new();
        world.core.drain(b, &mut bytes, usize::MAX, world.now);
        let whole = String::from_utf8_lossy(&bytes);
        assert!(whole.contains(r#""data":"m1""#));
        if fault == "garbage" {
            assert!(whole.contains("{this is no frame"));
        }
        assert!(bytes.len() > least, "{fault}");
        assert_eq!(world.core.truth().faults[fault], 1);
    }
}

#[test]
fn connect_requests_meet_their_faults_once() {
    for (fault, wanted) in [
        ("refuse_connect", ConnectFault::Refuse),
        (
            "hang_connect,for=3s",
            ConnectFault::Hang(Duration::from_secs(3)),
        ),
        ("http_401", ConnectFault::Status(401)),
        ("http_429", ConnectFault::Status(429)),
        ("http_503", ConnectFault::Status(503)),
        ("token_expired", ConnectFault::TokenExpired),
    ] {
        let mut world = World::faulty(fault);
        let (wait, got) = world.core.connect_faults(true, Time::ZERO);
        assert_eq!((wait, got), (Duration::ZERO, Some(wanted)), "{fault}");
        assert_eq!(world.core.connect_faults(true, Time::ZERO).1, None);
        assert_eq!(world.core.truth().faults.values().sum::<u64>(), 1);
    }
    let mut world = World::faulty("delay_connect");
    let (wait, got) = world.core.connect_faults(true, Time::ZERO);
    assert_eq!((wait, got), (Duration::from_secs(1), None));
    let mut world = World::faulty("token_expired");
    assert_eq!(world.core.connect_faults(false, Time::ZERO).1, None);
}

#[test]
fn a_slow_recovery_loses_nothing() {
    let mut world = World::faulty("recovery_slow");
    let publisher = world.client();
    let (link, id, token) = world.recoverable();
    world.drop_link(link);
    world.publish(publisher, 1, "m1");
    let link = world.recover(&id, &token).unwrap();
    assert!(world.read(link).is_empty());
    world.wait(3);
    assert_eq!(world.data(link), ["1:m1"]);
    assert_eq!(count(&world, FaultKind::RecoverySlow), 1);
}

#[test]
fn a_restart_comes_at_its_time_or_at_a_publish() {
    let mut world = World::faulty("restart,at=5s");
    world.client();
    world.wait(4);
    assert!(!world.core.take_restart());
    world.wait(1);
    assert!(world.core.take_restart() && !world.core.take_restart());
    assert_eq!(count(&world, FaultKind::Restart), 1);
    let (mut world, a, _) = pair("restart,every=2");
    world.publish(a, 1, "m1");
    assert!(!world.core.take_restart());
    world.publish(a, 2, "m2");
    assert!(world.core.take_restart());
}
