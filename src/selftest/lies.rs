//! The table of lies: for each kind of fault of the embedded hub, the world in which it is
//! told and what must come of it. Source: verification 11.

use super::rows::Count::{AfterLeave, Any, Deficit, Each, Some, Surplus, UpTo};
use super::rows::{INVERSIONS, World};
use crate::hub::FaultKind as F;
use crate::verify::kinds::{Permitted as P, Unknown as U, Violation as V};

/// The publisher is a member, too.
const MEMBER: &str = "groups: {names: [room], join: all}";
/// One receiver is away for a second, in the middle.
const AWAY: &str = "{kind: blackout, pool: receivers, at: 800ms, count: 1, for: 1s}";
const DISCONNECTS: &str = "/clients/disconnects";
const RECOVERIES: &str = "/clients/recoveries";
const RECONNECTS: &str = "/clients/reconnects";
const CONNECT_FAILURES: &str = "/clients/connect_failures";

/// One world for each kind.
pub(super) fn lies() -> impl Iterator<Item = World> {
    deliveries()
        .into_iter()
        .chain(answers())
        .chain(memberships())
        .chain(recoveries())
        .chain(connections())
}

/// Why a loss may be told of a recovery instead.
const STRADDLES: &str = "what is missing on both sides of a recovery is the recovery's (R1)";
/// Why a loss may be told of a membership's begin.
const BEFORE_FIRST: &str = "before the first delivery of a membership it is lost at the join (D2)";
/// Why a loss may be told of a membership's end.
const BEFORE_LEAVE: &str = "after the last delivery of a membership it is lost at the leave (D3)";
/// Why losses may be told of an ack.
const REACHED_NOBODY: &str = "what nobody got who had to is a lie of its ack (A1)";

/// The tenth delivery and no other: the fourth message, when every window has begun.
pub(super) const TENTH: &str = "every=10,count=1";

fn deliveries() -> Vec<World> {
    let simple = |fault, kind| World::of(fault, TENTH).violates(kind, Each(1));
    let withheld = |fault| {
        simple(fault, V::Lost)
            .turns_into(V::RecoveryBroken, STRADDLES)
            .turns_into(V::LostAtJoin, BEFORE_FIRST)
            .turns_into(V::LostAtLeave, BEFORE_LEAVE)
    };
    vec![
        withheld(F::Drop),
        withheld(F::Omit).turns_into(
            V::SequenceGap,
            "whom the message was not owed misses its id alone (S2)",
        ),
        simple(F::SkipId, V::SequenceGap),
        simple(F::DuplicateNewId, V::Duplicated),
        simple(F::DuplicateSameId, V::SequenceRepeated),
        simple(F::ReuseId, V::SequenceReused).turns_into(
            V::RecoveryBroken,
            "a connection that breaks takes it along, and no replay has it (R1)",
        ),
        simple(F::Swap, V::Reordered),
        World::of(F::SwapPublishers, TENTH)
            .publishers(2)
            .amid_churn("every=7,count=3")
            .because("messages of different publishers have no order (F8)")
            .sees("/hub_truth/faults/swap_publishers", 1)
            .sees(INVERSIONS, 1),
        simple(F::Corrupt, V::Corrupted),
        simple(F::CorruptHead, V::Corrupted),
        simple(F::CorruptTail, V::Corrupted),
        simple(F::Truncate, V::Corrupted),
        simple(F::WrongGroup, V::EnvelopeWrong),
        simple(F::WrongType, V::EnvelopeWrong),
        simple(F::WrongUser, V::EnvelopeWrong),
        simple(F::Misdeliver, V::Misdelivered),
        simple(F::Fabricate, V::Fabricated),
        simple(F::Echo, V::Echo)
            .publisher(MEMBER)
            .publish("no_echo: true"),
        simple(F::SwallowEcho, V::Lost)
            .publisher(MEMBER)
            .turns_into(V::RecoveryBroken, STRADDLES),
        simple(F::DelayDelivery, V::Reordered),
    ]
}

fn answers() -> Vec<World> {
    let worlds = vec![
        World::of(F::LoseAck, TENTH)
            .publisher("client: {retry: {ack_timeout: 700ms}}")
            .answers_within("700ms")
            .violates(V::AckMissing, Each(1)),
        World::of(F::AckLie, TENTH).violates(V::AckLie, Each(1)),
        World::of(F::AckUnsolicited, TENTH).violates(V::AckUnsolicited, Each(1)),
        World::of(F::Refuse, TENTH)
            .sees("/publish/retries", 1)
            .permits(P::ReorderedByRetry, Each(3))
            .because("an error is an answer; the retry was executed"),
        World::of(F::RefuseExecuted, TENTH)
            .permits(P::DuplicatedByRetryAfterError, Each(3))
            .because("errors are not remembered: the retry is executed again (F4)"),
        World::of(F::ForbidExecuted, TENTH).violates(V::AckForbiddenDelivered, Each(3)),
        World::of(F::FalseDuplicate, TENTH)
            .violates(V::AckFalseDuplicate, Each(1))
            .permits(P::PublishUnknown, Each(3)),
        // Answers come late and the publisher loses its connection, so that it sends again.
        World::of(F::IgnoreDedupe, "count=1")
            .with("delay_ack,every=1,for=400ms")
            .chaos("{kind: drop, pool: publisher, at: 1s, count: 1}")
            .violates(V::DedupeBroken, Each(3)),
        World::of(F::DelayAck, "every=5,for=500ms")
            .sees("/hub_truth/faults/delay_ack", 2)
            .because("an answer may take its time"),
    ];
    // One answer for each publish, and five deliveries.
    let amid = |world: World| world.amid_churn("every=10,count=6");
    worlds.into_iter().map(amid).collect()
}

fn memberships() -> Vec<World> {
    let churn = "churn: {every: 1s, away: 700ms}";
    vec![
        World::of(F::IgnoreLeave, "count=1")
            .lasts("4s")
            // Nobody comes back: every delivery to the one that left is too many.
            .receivers("churn: {every: 1s, away: 1m}")
            .violates(V::DeliveredAfterLeave, AfterLeave)
            .permits(P::AtMembershipEdge, Any)
            .permits(P::AfterLeaveRace, Any),
        World::of(F::LeaveCut, "every=15,for=2s,count=8")
            .lasts("6s")
            // What is held back to the end comes after all.
            .drain("5s")
            // It stays, so that every message reaches somebody.
            .publisher(MEMBER)
            .receivers(churn)
            .violates(V::LostAtLeave, UpTo(1))
            .turns_into(V::RecoveryBroken, STRADDLES)
            .permits(P::AtMembershipEdge, Any)
            .permits(P::AfterLeaveRace, Any),
        World::of(F::DoubleJoin, "count=1").violates(V::Duplicated, Surplus),
        World::of(F::JoinLate, "for=1s,count=1")
            // Of the first three joins two may be visitors'.
            .joins_amid_churn("count=1", "count=3")
            .turns_into(
                V::LostAtLeave,
                "a visitor that leaves before its join is in force has missed what came before",
            )
            .turns_into(V::AckLie, REACHED_NOBODY)
            .violates(V::LostAtJoin, Deficit)
            .turns_into(V::RecoveryBroken, STRADDLES)
            .permits(P::AtMembershipEdge, Any),
        World::of(F::DenyJoin, "count=1")
            .sees("/hub_truth/faults/deny_join", 1)
            .sees("/clients/join_failures", 1)
            .because("a refused join makes no member"),
        World::of(F::DenyRejoin, "count=1")
            .with("close,every=10,count=1,code=1008")
            .sees("/clients/rejoin_failures", 1)
            .permits(P::LostInReconnectGap, Any)
            .permits(P::AtMembershipEdge, Any)
            .because("a refused rejoin is told to the client's owner (R3)"),
    ]
}

fn recoveries() -> Vec<World> {
    let broken = |fault| {
        World::of(fault, "count=1")
            .lasts("3s")
            .chaos(AWAY)
            .violates(V::RecoveryBroken, Each(1))
            .permits(P::ReplayOverlap, Any)
    };
    vec![
        broken(F::RecoveryLose),
        // What the first of them broke, the next recoveries of the connection lack too.
        broken(F::RecoveryForgetGroups).spreads(),
        broken(F::RecoveryOtherId),
        broken(F::RecoveryRenumber).spreads(),
        World::of(F::RecoveryDeny, "count=1")
            .lasts("3s")
            .chaos(AWAY)
            .leaves_unknown(U::RecoveryRefusedEarly, Each(1))
            .permits(P::LostInReconnectGap, Some)
            .permits(P::AtMembershipEdge, Any)
            .because("a hub may call an error unrecoverable (F3, R2); what it cost is counted"),
        World::of(F::RecoveryRepeat, "count=1")
            .lasts("4s")
            .chaos("{kind: blackout, pool: receivers, at: 2s, count: 1, for: 1s}")
            .receivers("client: {sequence_ack: {every: 1}}")
            .permits(P::ReplayOverlap, UpTo(3))
            .because("a replay may begin earlier than it must"),
        World::of(F::RecoverySlow, "count=1,for=1s")
            .lasts("3s")
            .chaos(AWAY)
            .sees(RECOVERIES, 1)
            .permits(P::ReplayOverlap, Any)
            .because("slow is not lost"),
    ]
}

fn connections() -> Vec<World> {
    let ends = |fault, spec| {
        World::of(fault, spec)
            .lasts("3s")
            .sees(DISCONNECTS, 1)
            .sees(RECOVERIES, 1)
            .permits(P::ReplayOverlap, Any)
            .because("a dropped connection is recovered, and nothing is missing after it")
    };
    let refused = |fault, spec| {
        World::of(fault, spec)
            .sees(CONNECT_FAILURES, 1)
            .because("the client tries again, before anything is owed")
    };
    vec![
        ends(F::Reset, TENTH),
        ends(F::Close, TENTH),
        // Nobody notices before the client's own watch: 15 s of silence, 10 s for a ping.
        ends(F::HalfOpen, TENTH).drain("60s"),
        ends(F::Garbage, TENTH),
        ends(F::Oversized, TENTH),
        World::of(F::Stall, "every=10,count=1,for=1s")
            .sees("/hub_truth/faults/stall", 1)
            .because("late, and nothing else"),
        // Silent from the fourth message on, with nearly four seconds of them to come.
        World::of(F::Freeze, TENTH)
            .lasts("4s")
            .violates(V::Stalled, Each(1))
            .spreads()
            .turns_into(V::AckLie, REACHED_NOBODY)
            .turns_into(
                V::RecoveryBroken,
                "a recovery does not thaw it, and lacks messages",
            )
            .turns_into(V::Lost, "what was withheld before the first recovery")
            .turns_into(
                V::LostAtLeave,
                "a frozen member that leaves has missed what came before",
            )
            .turns_into(
                V::LostAtJoin,
                "a frozen member that comes back hears nothing",
            ),
        World::of(F::Restart, "every=20,count=1")
            .lasts("3s")
            .sees(RECONNECTS, 3)
            .permits(P::LostInReconnectGap, Any)
            .permits(P::PublishUnknown, Any)
            .permits(P::AtMembershipEdge, Any)
            .permits(P::DuplicatedByRetryOnNewConnection, Any)
            .permits(P::DuplicatedAcrossConnections, Any)
            .permits(P::ReorderedByRetry, Any)
            .leaves_unknown(U::RecoveryRefusedEarly, Any)
            .because("a restart ends every session"),
        refused(F::RefuseConnect, ""),
        refused(F::HangConnect, "for=1s"),
        World::of(F::DelayConnect, "for=1s")
            .sees("/hub_truth/faults/delay_connect", 1)
            .because("the client waits"),
        refused(F::Http401, ""),
        refused(F::Http429, ""),
        refused(F::Http503, ""),
        refused(F::TokenExpired, ""),
    ]
}
