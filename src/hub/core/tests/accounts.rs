//! Every fault that there is fires in a busy world, and the truth file tells of it what can
//! be told: connection, group, publisher, sequence id, ackId.

use super::*;
use crate::hub::FaultKind;
use crate::hub::core::connection_faults::ConnectFault;
use crate::hub::core::service::{Choice, Target};
use crate::hub::truth::GroupTruth;
use crate::wire::Data;

/// What an incident of a kind must name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Names {
    /// A delivery under a number: all of connection, group, publisher, sequence id.
    Numbered,
    /// A delivery that never got a number, or gets it later.
    Unnumbered,
    /// A request: connection, group, ackId.
    Request,
    /// A join; those of the members had no ackId.
    Join,
    /// An answer: connection and ackId; it may answer any request.
    Answer,
    /// A recovery: the connection.
    Recovery,
    /// A recovery, and the message that it lost, repeated or renumbered.
    Replay,
    /// No connection is there yet, or all are meant.
    Nobody,
}

fn names(kind: FaultKind) -> Names {
    use FaultKind as F;
    match kind {
        F::Omit
        | F::SkipId
        | F::DuplicateNewId
        | F::DuplicateSameId
        | F::ReuseId
        | F::Swap
        | F::SwapPublishers
        | F::Corrupt
        | F::CorruptHead
        | F::CorruptTail
        | F::Truncate
        | F::WrongGroup
        | F::WrongType
        | F::WrongUser
        | F::Misdeliver
        | F::Echo
        | F::Fabricate
        | F::Stall
        | F::Freeze
        | F::Reset
        | F::Close
        | F::HalfOpen
        | F::Garbage
        | F::Oversized => Names::Numbered,
        F::Drop | F::SwallowEcho | F::DelayDelivery | F::LeaveCut => Names::Unnumbered,
        F::IgnoreLeave
        | F::LoseAck
        | F::AckLie
        | F::AckUnsolicited
        | F::Refuse
        | F::RefuseExecuted
        | F::ForbidExecuted
        | F::FalseDuplicate
        | F::IgnoreDedupe => Names::Request,
        F::DenyJoin | F::DenyRejoin | F::DoubleJoin | F::JoinLate => Names::Join,
        F::DelayAck => Names::Answer,
        F::RecoveryDeny | F::RecoveryForgetGroups | F::RecoveryOtherId | F::RecoverySlow => {
            Names::Recovery
        }
        F::RecoveryLose | F::RecoveryRepeat | F::RecoveryRenumber => Names::Replay,
        F::RefuseConnect
        | F::HangConnect
        | F::DelayConnect
        | F::Http401
        | F::Http429
        | F::Http503
        | F::TokenExpired
        | F::Restart => Names::Nobody,
    }
}

/// Everything that clients do, so that every fault has its opportunity.
fn busy(fault: &str) -> World {
    let mut world = World::faulty(fault);
    let now = world.now;
    let _: (_, Option<ConnectFault>) = world.core.connect_faults(true, now);
    let (first, second) = (world.client(), world.client());
    let members = [world.member(), world.member(), world.member()];
    let (link, id, token) = world.recoverable();
    let join = r#"{"type":"joinGroup","group":"g","ackId":900}"#;
    world.send(second, join);
    for n in 1..=6 {
        world.publish(first, n, "mine");
        world.publish(second, n, "yours");
    }
    // The same ackId again, one's own message unwanted, a leave, a rejoin by the same user.
    world.publish(first, 6, "mine");
    world.send(
        second,
        r#"{"type":"sendToGroup","group":"g","ackId":7,"noEcho":true,"data":7}"#,
    );
    world.send(
        members[0],
        r#"{"type":"leaveGroup","group":"g","ackId":901}"#,
    );
    let again = world.client();
    world.send(again, join);
    // Away and back again, with something seen, something acknowledged, something missed.
    world.read(link);
    world.send(link, r#"{"type":"sequenceAck","sequenceId":3}"#);
    world.drop_link(link);
    world.publish(first, 8, "missed");
    // Refused with the fault for that.
    let _ = world.recover(&id, &token);
    world.wait(20);
    world
}

#[test]
fn every_fault_fires_is_counted_and_told_in_full() {
    let mut wrong = Vec::new();
    for &kind in FaultKind::ALL {
        let world = busy(kind.name());
        let truth = world.core.truth();
        let count = truth.fault_count(kind);
        if count == 0 || truth.faults.len() != 1 || truth.incidents.len() as u64 != count {
            wrong.push(format!("{kind} is counted wrongly: {:?}", truth.faults));
        }
        for incident in &truth.incidents {
            assert_eq!(incident.kind, kind.name());
            let told = (
                incident.connection.is_some(),
                incident.group.as_deref() == Some("g"),
                incident.publisher.is_some(),
                incident.sequence_id.is_some(),
                incident.ack_id.is_some(),
            );
            let names = names(kind);
            let enough = match names {
                Names::Numbered => told == (true, true, true, true, true),
                Names::Unnumbered => told == (true, true, true, false, true),
                Names::Request => told == (true, true, true, false, true),
                Names::Join => (told.0, told.1, told.2) == (true, true, true),
                Names::Answer => told.0 && told.4,
                Names::Recovery => told.0 && !told.3,
                Names::Replay => told.0 && told.3,
                Names::Nobody => !told.0,
            };
            if !enough {
                wrong.push(format!("{kind} must be told as {names:?}: {incident:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_unarmed_world_is_honest() {
    let world = busy("drop,group=another");
    assert!(world.core.truth().faults.is_empty());
    assert!(world.core.truth().recoveries_accepted == 1);
}

#[test]
fn a_group_keeps_one_account_through_all_its_lives_and_the_accounts_add_up() {
    let mut world = busy("drop,group=another");
    let row = |world: &World| {
        let rows = world.core.truth().groups.rows().iter();
        rows.filter(|row| row.group == "g")
            .cloned()
            .collect::<Vec<_>>()
    };
    let before = row(&world);
    assert_eq!(before.len(), 1);
    // Everybody goes, and the group with them; what is published then is owed to nobody.
    world.core.restart();
    let alone = world.client();
    world.publish(alone, 1, "to nobody");
    world.send(alone, r#"{"type":"joinGroup","group":"g","ackId":2}"#);
    world.publish(alone, 3, "to itself");
    let after = row(&world);
    assert_eq!(after.len(), 1, "no second account");
    let more = |of: fn(&GroupTruth) -> u64| of(&after[0]) - of(&before[0]);
    assert_eq!(more(|row| row.publishes_executed), 2);
    assert_eq!(more(|row| row.deliveries_owed), 1);
    assert_eq!(more(|row| row.deliveries_made), 1);
    let truth = world.core.truth();
    let sum = |of: fn(&GroupTruth) -> u64| truth.groups.rows().iter().map(of).sum::<u64>();
    assert_eq!(sum(|row| row.publishes_executed), truth.publishes_executed);
    assert_eq!(
        sum(|row| row.deliveries_owed) + truth.answers_owed,
        truth.deliveries_owed
    );
}

/// The service is told 202 whether anybody is there or not.
#[test]
fn what_the_service_sends_to_an_empty_hub_is_in_the_groups_account() {
    let mut world = World::new();
    let send = |world: &mut World, target: Target<'_>| {
        let (all, data) = (Choice::default(), Data::Json("1".into()));
        let now = world.now;
        world.core.service_send("CHAT", target, &all, &data, 0, now);
    };
    send(&mut world, Target::Group("g"));
    send(&mut world, Target::All);
    world.member();
    send(&mut world, Target::Group("g"));
    // Everybody is away.
    world.core.restart();
    send(&mut world, Target::Group("g"));
    let truth = world.core.truth();
    assert_eq!(truth.service_sends, 4);
    let account = GroupTruth {
        hub: "chat".into(),
        group: "g".into(),
        publishes_executed: 0,
        service_sends: 3,
        deliveries_owed: 1,
        deliveries_made: 1,
    };
    assert_eq!(truth.groups.rows(), [account]);
}
