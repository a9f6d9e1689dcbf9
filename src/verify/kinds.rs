//! The vocabulary of verdicts: every kind of violation, permitted loss or repetition, and
//! unprovable sighting, with the names that reports and metrics use. The one table.

use std::fmt;
use std::marker::PhantomData;

/// A closed set of kinds, each with a stable name.
pub trait Kind: Copy + 'static {
    /// All kinds, in the order of reports.
    const ALL: &'static [Self];
    /// The name in `report.json` and in metric labels.
    fn name(self) -> &'static str;
    /// What it means, in one sentence.
    fn meaning(self) -> &'static str;
    /// Its place in [`Kind::ALL`].
    fn index(self) -> usize;
}

macro_rules! kinds {
    ($(#[$meta:meta])* $set:ident { $($(#[doc = $doc:literal])* $variant:ident => $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $set {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Kind for $set {
            const ALL: &'static [Self] = &[$($set::$variant),*];
            fn name(self) -> &'static str {
                match self { $($set::$variant => $name,)* }
            }
            fn meaning(self) -> &'static str {
                match self { $($set::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
            fn index(self) -> usize {
                self as usize
            }
        }

        impl fmt::Display for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

kinds! {
    /// What a correct hub never does. Any of these fails the run.
    Violation {
        /// An acked publish never reached a receiver that was a member throughout.
        Lost => "lost",
        /// The same, before the receiver's first delivery in that membership.
        LostAtJoin => "lost_at_join",
        /// Acked before the receiver left, and not delivered.
        LostAtLeave => "lost_at_leave",
        /// Lost by a recovery of a session whose queue must have been over its limit: the hub
        /// dropped messages where it had to end the session.
        LostOverflow => "lost_overflow",
        /// One execution, two deliveries to one receiver.
        Duplicated => "duplicated",
        /// The same ackId sent again on one connection was executed twice.
        DedupeBroken => "dedupe_broken",
        /// Two messages of one publisher and group arrived against their sending order.
        Reordered => "reordered",
        /// A sequence id was skipped although nothing was lost.
        SequenceGap => "sequence_gap",
        /// A sequence id came twice on one transport.
        SequenceRepeated => "sequence_repeated",
        /// A new message came under an old sequence id.
        SequenceReused => "sequence_reused",
        /// A message of a group that the connection never joined.
        Misdelivered => "misdelivered",
        /// A message sent after the receiver's leave was acked.
        DeliveredAfterLeave => "delivered_after_leave",
        /// A message came back to the connection that asked not to have it.
        Echo => "echo",
        /// A message that nobody sent.
        Fabricated => "fabricated",
        /// A payload that changed on the way.
        Corrupted => "corrupted",
        /// Group, data type or user of the envelope are not those of the message.
        EnvelopeWrong => "envelope_wrong",
        /// Answered with success and delivered to nobody.
        AckLie => "ack_lie",
        /// Answered `Duplicate` although it was sent for the first time.
        AckFalseDuplicate => "ack_false_duplicate",
        /// Answered `Forbidden` and delivered all the same.
        AckForbiddenDelivered => "ack_forbidden_delivered",
        /// Not answered in time on a live transport.
        AckMissing => "ack_missing",
        /// An answer to a request that was never sent.
        AckUnsolicited => "ack_unsolicited",
        /// A confirmed recovery that lost, repeated, forgot or renumbered something.
        RecoveryBroken => "recovery_broken",
        /// A connection that is up, silent, and still owed messages when the drain ended,
        /// though everything had healed. Counted per connection.
        Stalled => "stalled",
    }
}

kinds! {
    /// What the protocol allows, with its reason.
    Permitted {
        /// The receiver's session ended unrecovered.
        LostInReconnectGap => "lost_in_reconnect_gap",
        /// The session was lost because its queue overflowed for lack of sequence acks.
        LostOverflow => "lost_overflow",
        /// A drop on a subprotocol without recovery.
        LostUnreliable => "lost_unreliable",
        /// Not delivered, and its publish has an unknown outcome.
        PublishUnknown => "publish_unknown",
        /// Not delivered, and its publish failed.
        PublishFailed => "publish_failed",
        /// Not delivered, and nobody asked for an answer.
        FireAndForget => "fire_and_forget",
        /// Resent on a new connection, where ackIds of the old one mean nothing.
        DuplicatedByRetryOnNewConnection => "duplicated_by_retry_on_new_connection",
        /// Resent under a fresh ackId on the same connection.
        DuplicatedByRetryWithNewAckId => "duplicated_by_retry_with_new_ack_id",
        /// Resent after an error answer; errors are not remembered.
        DuplicatedByRetryAfterError => "duplicated_by_retry_after_error",
        /// The same message on a receiver's old and on its new connection.
        DuplicatedAcrossConnections => "duplicated_across_connections",
        /// A resent message arrived after its successors.
        ReorderedByRetry => "reordered_by_retry",
        /// Sent again by the hub on recovery, and dropped by the client as it must.
        ReplayOverlap => "replay_overlap",
        /// Joining or leaving: may be delivered, is not owed.
        AtMembershipEdge => "at_membership_edge",
        /// Sent before the leave was acked, delivered after.
        AfterLeaveRace => "after_leave_race",
        /// A message with noEcho, resent by its publisher's new connection.
        EchoOnNewConnection => "echo_on_new_connection",
        /// A message that its publisher's retry sent without noEcho, as the official Python
        /// client does.
        EchoByLostOption => "echo_by_lost_option",
    }
}

kinds! {
    /// What was seen and can be proved neither way under the run's promise profile.
    Unknown {
        /// As `lost_at_join`; membership may take effect late on a multi-node hub.
        LostAtJoin => "lost_at_join",
        /// As `lost_at_leave`.
        LostAtLeave => "lost_at_leave",
        /// As `delivered_after_leave`.
        DeliveredAfterLeave => "delivered_after_leave",
        /// As `sequence_gap`; steps of exactly 1 are inferred, not documented.
        SequenceGap => "sequence_gap",
        /// Lost without any drop on a subprotocol that promises little.
        LostUnreliableConnected => "lost_unreliable_connected",
        /// Executed twice, but a lost answer may have been an error.
        DuplicatedAfterLostAnswer => "duplicated_after_lost_answer",
        /// A recovery was refused inside the window without a known reason.
        RecoveryRefusedEarly => "recovery_refused_early",
        /// Traffic that is not of this run.
        Foreign => "foreign",
        /// Of a publisher whose thread is gone, beyond its last word of what it sent.
        BeyondLastFacts => "beyond_last_facts",
        /// A delivery for a gap that was already judged and folded away.
        LateOrDuplicate => "late_or_duplicate",
    }
}

/// A count per kind. Counters only rise; tallies of shards and workers add up.
#[derive(Clone, PartialEq, Eq)]
pub struct Tally<K: Kind> {
    counts: Vec<u64>,
    kind: PhantomData<K>,
}

impl<K: Kind> Default for Tally<K> {
    fn default() -> Self {
        Tally {
            counts: vec![0; K::ALL.len()],
            kind: PhantomData,
        }
    }
}

impl<K: Kind> Tally<K> {
    /// Counts `n` more of `kind`.
    pub fn add(&mut self, kind: K, n: u64) {
        self.counts[kind.index()] += n;
    }

    /// How many of `kind`.
    pub fn get(&self, kind: K) -> u64 {
        self.counts[kind.index()]
    }

    /// How many of all kinds.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Every kind with its count, zeros too, in the order of reports.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> + '_ {
        K::ALL.iter().map(|kind| (*kind, self.get(*kind)))
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }
}

impl<K: Kind> fmt::Debug for Tally<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .filter(|(_, n)| *n > 0)
                    .map(|(kind, n)| (kind.name(), n)),
            )
            .finish()
    }
}

impl<K: Kind> serde::Serialize for Tally<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(kind, n)| (kind.name(), n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_reported_even_at_zero_and_merging_adds() {
        let mut tally = Tally::<Violation>::default();
        tally.add(Violation::Lost, 2);
        let mut other = tally.clone();
        other.add(Violation::Stalled, 1);
        tally.merge(&other);
        let json = serde_json::to_value(&tally).unwrap();
        assert_eq!(json["lost"], 4);
        assert_eq!(json["stalled"], 1);
        assert_eq!(json.as_object().unwrap().len(), Violation::ALL.len());
        assert_eq!(tally.total(), 5);
    }
}
