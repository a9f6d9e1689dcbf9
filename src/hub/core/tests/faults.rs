//! Each fault does exactly what it says, once, and is counted.

use super::*;
use crate::hub::FaultKind;

/// A publisher, three members and an outsider; five messages m1 ... m5 published with
/// ackIds 1 ... 5; the fault armed from the start.
struct Scene {
    world: World,
    publisher: Key,
    members: [Key; 3],
    outsider: Key,
}

impl Scene {
    fn new(fault: &str) -> Self {
        let mut world = World::faulty(fault);
        let publisher = world.client();
        let members = [world.member(), world.member(), world.member()];
        let outsider = world.client();
        Scene {
            world,
            publisher,
            members,
            outsider,
        }
    }

    fn published(fault: &str) -> Self {
        let mut scene = Scene::new(fault);
        for n in 1..=5 {
            scene.world.publish(scene.publisher, n, &format!("m{n}"));
        }
        scene
    }

    /// What the first member saw; the other two saw everything.
    fn first(&mut self) -> Vec<String> {
        let honest = honest();
        let [first, second, third] = self.members;
        assert_eq!(self.world.data(second), honest);
        assert_eq!(self.world.data(third), honest);
        self.world.data(first)
    }

    /// Asserts that `kind` was committed once and is told with the right details.
    fn booked(&self, kind: FaultKind, sequence_id: Option<u64>, ack_id: Option<u64>) {
        let truth = self.world.core.truth();
        assert_eq!(truth.faults.len(), 1, "{:?}", truth.faults);
        assert_eq!(truth.fault_count(kind), 1);
        let incident = &truth.incidents[0];
        assert_eq!(
            (incident.kind, incident.sequence_id, incident.ack_id),
            (kind.name(), sequence_id, ack_id)
        );
        assert!(
            incident
                .connection
                .as_deref()
                .is_some_and(|id| id.len() == 32)
        );
    }
}

fn honest() -> Vec<String> {
    (1..=5).map(|n| format!("{n}:m{n}")).collect()
}

#[test]
fn withheld_before_numbering_leaves_no_gap_and_after_it_does() {
    let mut scene = Scene::published("drop");
    assert_eq!(scene.first(), ["1:m2", "2:m3", "3:m4", "4:m5"]);
    scene.booked(FaultKind::Drop, None, Some(1));
    let truth = scene.world.core.truth();
    assert_eq!((truth.deliveries_owed, truth.deliveries_numbered), (15, 14));
    let mut scene = Scene::published("omit,every=4,count=1");
    assert_eq!(scene.first(), ["1:m1", "3:m3", "4:m4", "5:m5"]);
    scene.booked(FaultKind::Omit, Some(2), Some(2));
}

#[test]
fn a_skipped_id_loses_nothing() {
    let mut scene = Scene::published("skip_id");
    assert_eq!(scene.first(), ["2:m1", "3:m2", "4:m3", "5:m4", "6:m5"]);
    scene.booked(FaultKind::SkipId, Some(1), Some(1));
}

#[test]
fn twice_under_two_ids_or_under_one() {
    let mut scene = Scene::published("duplicate_new_id");
    assert_eq!(
        scene.first(),
        ["1:m1", "2:m1", "3:m2", "4:m3", "5:m4", "6:m5"]
    );
    scene.booked(FaultKind::DuplicateNewId, Some(1), Some(1));
    let mut scene = Scene::published("duplicate_same_id");
    assert_eq!(
        scene.first(),
        ["1:m1", "1:m1", "2:m2", "3:m3", "4:m4", "5:m5"]
    );
    scene.booked(FaultKind::DuplicateSameId, Some(1), Some(1));
}

#[test]
fn a_new_message_under_an_old_id() {
    let mut scene = Scene::published("reuse_id");
    assert_eq!(scene.first(), ["1:m1", "1:m2", "2:m3", "3:m4", "4:m5"]);
    scene.booked(FaultKind::ReuseId, Some(1), Some(2));
}

#[test]
fn a_swap_changes_two_places_and_only_with_a_partner() {
    let mut scene = Scene::published("swap");
    assert_eq!(scene.first(), ["1:m2", "2:m1", "3:m3", "4:m4", "5:m5"]);
    scene.booked(FaultKind::Swap, Some(2), Some(1));
    // Without a partner nothing is lost, nothing is counted, and it tries again.
    let mut scene = Scene::new("swap");
    scene.world.publish(scene.publisher, 1, "a");
    scene.world.wait(2);
    assert_eq!(scene.world.data(scene.members[0]), ["1:a"]);
    assert!(scene.world.core.truth().faults.is_empty());
    scene.world.publish(scene.publisher, 2, "b");
    scene.world.publish(scene.publisher, 3, "c");
    assert_eq!(scene.world.data(scene.members[0]), ["2:c", "3:b"]);
}

#[test]
fn a_swap_of_publishers_keeps_each_publishers_order() {
    let mut scene = Scene::new("swap_publishers");
    let other = scene.members[1];
    scene.world.publish(scene.publisher, 1, "a");
    scene.world.publish(other, 1, "b");
    scene.world.publish(scene.publisher, 2, "c");
    assert_eq!(scene.world.data(scene.members[0]), ["1:b", "2:a", "3:c"]);
    scene.booked(FaultKind::SwapPublishers, Some(2), Some(1));
    // With no message of another between its own it gives up, and tries again.
    let mut scene = Scene::new("swap_publishers");
    let other = scene.members[1];
    scene.world.publish(scene.publisher, 1, "a");
    scene.world.publish(scene.publisher, 2, "b");
    scene.world.publish(other, 1, "c");
    assert_eq!(scene.world.data(scene.members[0]), ["1:a", "2:c", "3:b"]);
    scene.booked(FaultKind::SwapPublishers, Some(3), Some(2));
}

#[test]
fn a_damaged_payload_stays_a_frame() {
    for (fault, kind, wrong) in [
        ("corrupt_tail", FaultKind::CorruptTail, "1:m2"),
        ("corrupt_head", FaultKind::CorruptHead, ""),
        ("corrupt", FaultKind::Corrupt, ""),
        ("truncate", FaultKind::Truncate, "1:m"),
    ] {
        let mut scene = Scene::published(fault);
        let seen = scene.first();
        assert_eq!(seen[1..], honest()[1..]);
        assert!(
            seen[0] != "1:m1" && (wrong.is_empty() || seen[0] == wrong),
            "{seen:?}"
        );
        scene.booked(kind, Some(1), Some(1));
    }
}

#[test]
fn a_wrong_envelope_carries_the_right_payload() {
    for (fault, kind, field, wrong) in [
        ("wrong_group", FaultKind::WrongGroup, "group", "g-wrong"),
        ("wrong_type", FaultKind::WrongType, "dataType", "binary"),
        ("wrong_user", FaultKind::WrongUser, "fromUserId", "u1-wrong"),
    ] {
        let mut scene = Scene::published(fault);
        let frames = scene.world.read(scene.members[0]);
        assert_eq!((&frames[0][field], frames.len()), (&wrong.into(), 5));
        scene.booked(kind, Some(1), Some(1));
    }
}

#[test]
fn outsiders_and_senders_get_what_is_not_theirs() {
    let mut scene = Scene::published("misdeliver");
    assert_eq!(scene.first(), honest());
    let strays = scene.world.data(scene.outsider).len() + scene.world.data(scene.publisher).len();
    assert_eq!(strays, 1);
    scene.booked(FaultKind::Misdeliver, Some(1), Some(1));
    // Who has left is no outsider: what comes to it still is another lie.
    let mut scene = Scene::new("misdeliver,every=1,count=20");
    let left = scene.members[0];
    scene
        .world
        .send(left, r#"{"type":"leaveGroup","group":"g","ackId":9}"#);
    for ack in 1..=20 {
        scene.world.publish(scene.publisher, ack, "x");
    }
    assert!(scene.world.data(left).is_empty());
    let mut scene = Scene::new("echo");
    let sender = scene.members[0];
    scene.world.send(
        sender,
        r#"{"type":"sendToGroup","group":"g","noEcho":true,"data":1}"#,
    );
    assert_eq!(scene.world.data(sender), ["1:1"]);
    scene.booked(FaultKind::Echo, Some(1), None);
    let mut scene = Scene::new("swallow_echo");
    scene.world.publish(scene.members[0], 1, "x");
    assert!(scene.world.data(scene.members[0]).is_empty());
    assert_eq!(scene.world.data(scene.members[1]), ["1:x"]);
    scene.booked(FaultKind::SwallowEcho, None, Some(1));
}

#[test]
fn a_message_that_nobody_published() {
    let mut scene = Scene::published("fabricate");
    let seen: Vec<_> = scene
        .members
        .map(|member| scene.world.data(member))
        .concat();
    assert_eq!(seen.len(), 16);
    assert_eq!(seen.iter().filter(|m| m.len() > 40).count(), 1);
}

#[test]
fn answers_that_lie() {
    // fault, acks of m1 ... m5, messages that a member sees
    for (fault, kind, acks, delivered) in [
        ("lose_ack", FaultKind::LoseAck, "2,3,4,5", 5),
        ("ack_lie", FaultKind::AckLie, "1,2,3,4,5", 4),
        (
            "refuse",
            FaultKind::Refuse,
            "1:InternalServerError,2,3,4,5",
            4,
        ),
        (
            "refuse_executed",
            FaultKind::RefuseExecuted,
            "1:InternalServerError,2,3,4,5",
            5,
        ),
        (
            "forbid_executed",
            FaultKind::ForbidExecuted,
            "1:Forbidden,2,3,4,5",
            5,
        ),
        (
            "false_duplicate",
            FaultKind::FalseDuplicate,
            "1:Duplicate,2,3,4,5",
            4,
        ),
    ] {
        let mut scene = Scene::published(fault);
        assert_eq!(scene.world.acks(scene.publisher).join(","), acks, "{fault}");
        assert_eq!(scene.first_len(), delivered, "{fault}");
        scene.booked(kind, None, Some(1));
    }
    let mut scene = Scene::published("ack_unsolicited");
    assert_eq!(
        scene.world.acks(scene.publisher),
        ["1", "4611686018427387905", "2", "3", "4", "5"]
    );
}

impl Scene {
    fn first_len(&mut self) -> usize {
        self.members.map(|member| self.world.data(member).len())[0]
    }
}

#[test]
fn a_lost_ack_is_remembered_and_a_refusal_is_not() {
    let mut scene = Scene::published("lose_ack");
    scene.world.publish(scene.publisher, 1, "m1");
    assert_eq!(
        scene.world.acks(scene.publisher).last().unwrap(),
        "1:Duplicate"
    );
    let mut scene = Scene::published("refuse_executed");
    scene.world.publish(scene.publisher, 1, "m1");
    assert_eq!(scene.world.acks(scene.publisher).last().unwrap(), "1");
}

#[test]
fn dedupe_and_membership_are_ignored_when_told_so() {
    let mut scene = Scene::published("ignore_dedupe");
    scene.world.publish(scene.publisher, 5, "m5");
    assert_eq!(scene.world.data(scene.members[2]).len(), 6);
    scene.booked(FaultKind::IgnoreDedupe, None, Some(5));
    let mut scene = Scene::new("ignore_leave");
    let member = scene.members[0];
    scene
        .world
        .send(member, r#"{"type":"leaveGroup","group":"g","ackId":1}"#);
    assert_eq!(scene.world.acks(member), ["1"]);
    scene.world.publish(scene.publisher, 1, "x");
    assert_eq!(scene.world.data(member), ["1:x"]);
    scene.booked(FaultKind::IgnoreLeave, None, Some(1));
    let mut scene = Scene::new("deny_join,every=4,count=1");
    scene.world.send(
        scene.outsider,
        r#"{"type":"joinGroup","group":"g","ackId":1}"#,
    );
    assert_eq!(scene.world.acks(scene.outsider), ["1:Forbidden"]);
    scene.booked(FaultKind::DenyJoin, None, Some(1));
}

/// A member that saw m1 and m2, acknowledged m1, was away for m3 and m4, and came back.
fn away(fault: &str) -> (World, Result<Key, RecoveryRefused>, Key, String) {
    let mut world = World::faulty(fault);
    let publisher = world.client();
    let (link, id, token) = world.recoverable();
    world.publish(publisher, 1, "m1");
    world.publish(publisher, 2, "m2");
    world.send(link, r#"{"type":"sequenceAck","sequenceId":1}"#);
    world.read(link);
    world.drop_link(link);
    world.publish(publisher, 3, "m3");
    world.publish(publisher, 4, "m4");
    let result = world.recover(&id, &token);
    (world, result, publisher, id)
}

#[test]
fn recoveries_that_lose_repeat_or_renumber() {
    for (fault, seen) in [
        ("recovery_lose", "2:m2,4:m4"),
        ("recovery_repeat", "1:m1,2:m2,3:m3,4:m4"),
        ("recovery_renumber", "1:m2,2:m3,3:m4"),
    ] {
        let (mut world, link, ..) = away(fault);
        assert_eq!(world.data(link.unwrap()).join(","), seen, "{fault}");
        assert_eq!(world.core.truth().faults[fault], 1);
        assert_eq!(world.core.truth().incidents.len(), 1);
    }
}

#[test]
fn recoveries_that_forget_groups_lie_about_the_id_or_are_denied() {
    let (mut world, link, publisher, _) = away("recovery_forget_groups");
    let link = link.unwrap();
    world.publish(publisher, 5, "m5");
    assert_eq!(world.data(link), ["2:m2", "3:m3", "4:m4"]);
    let (mut world, link, _, id) = away("recovery_other_id");
    assert_ne!(world.read(link.unwrap())[0]["connectionId"], id.as_str());
    let (world, link, ..) = away("recovery_deny");
    assert_eq!(link, Err(RecoveryRefused::Fault));
    assert_eq!(world.core.truth().recoveries_refused["fault"], 1);
    assert_eq!(world.core.truth().fault_count(FaultKind::RecoveryDeny), 1);
}

#[test]
fn every_fault_is_exercised_above() {
    let text = concat!(
        include_str!("faults.rs"),
        include_str!("connection_faults.rs")
    );
    for kind in FaultKind::ALL {
        assert!(
            text.contains(&format!("\"{}", kind.name())),
            "{kind} has no test"
        );
    }
}

#[test]
fn faults_follow_the_seed_and_their_group() {
    let run = |fault: &str| {
        let mut scene = Scene::new(fault);
        for n in 0..200 {
            scene.world.publish(scene.publisher, n, "x");
        }
        let truth = scene.world.core.truth();
        let told: Vec<_> = truth
            .incidents
            .iter()
            .map(|i| (i.connection.clone(), i.ack_id))
            .collect();
        assert_eq!(told.len() as u64, truth.fault_count(FaultKind::Drop));
        told
    };
    assert_eq!(run("drop,p=0.1"), run("drop,p=0.1"));
    assert!((30..90).contains(&run("drop,p=0.1").len()));
    assert!(run("drop,p=1,group=other").is_empty());
    assert_eq!(run("drop,p=1,group=g").len(), 600);
}
