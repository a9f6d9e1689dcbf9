//! What verification ends with: the delivery ledger, the tallies and the evidence.

use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::exchange::ExchangeCounts;
use super::incident::Kept;
use super::kinds::{Permitted, Tally, Unknown, Violation};
use super::ledger::{Exercised, Ledger};
use super::outbox::PublishTotals;
use super::recorder::{PublishRecord, PublisherTrace};
use super::unsure::Unsure;
use crate::base::Time;
use crate::payload::StreamId;

/// The delivery ledger, in (message, receiver) pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivery {
    /// Pairs owed.
    pub expected: u64,
    /// Pairs owed that arrived.
    pub delivered: u64,
    /// Pairs owed with a definite verdict.
    pub verified: u64,
    /// Pairs owed without one.
    pub unverified: u64,
    /// Pairs that arrived though nothing owed them (outcome unknown, membership edge).
    pub not_owed: u64,
    /// Pairs at a membership edge: owed or not cannot be said.
    pub edge: u64,
    /// Pairs owed that did not arrive whole: violations.
    pub lost: u64,
    /// Pairs that did not arrive, permitted for a reason of `permitted`; those at an edge
    /// are among them.
    pub permitted: u64,
    /// Pairs that did not arrive, and cannot be laid to anyone under the promise.
    pub unknown: u64,
    /// Pairs of receivers that were no members then, or asked to be spared, or are not
    /// tracked though nothing surely owed them.
    pub outside: u64,
    /// Every message sent, for each that ever was to be a member of its group, counted
    /// from the publishers' side alone.
    pub addressed: u64,
}

impl Delivery {
    /// Adds the ledger of another shard or worker.
    pub fn merge(&mut self, other: &Delivery) {
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.verified += other.verified;
        self.unverified += other.unverified;
        self.not_owed += other.not_owed;
        self.edge += other.edge;
        self.lost += other.lost;
        self.permitted += other.permitted;
        self.unknown += other.unknown;
        self.outside += other.outside;
        self.addressed += other.addressed;
    }

    /// Whether every pair is under exactly one verdict: `expected = delivered + lost +
    /// unverified`, `addressed = expected + not_owed + permitted + unknown + outside`.
    pub fn balances(&self) -> bool {
        self.expected == self.delivered + self.lost + self.unverified
            && self.verified + self.unverified == self.expected
            && self.addressed
                == self.expected + self.not_owed + self.permitted + self.unknown + self.outside
    }
}

/// Messages written to a socket at least once, by outcome:
/// `attempted = acked + failed + unknown + unacked + outstanding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Messages.
    pub attempted: u64,
    /// Answered with success, or `Duplicate` to a repetition.
    pub acked: u64,
    /// Definitely refused.
    pub failed: u64,
    /// Executed or not, nobody knows.
    pub unknown: u64,
    /// Sent without asking for an answer.
    pub unacked: u64,
    /// Without an outcome.
    pub outstanding: u64,
}

impl Sent {
    /// Adds another part.
    pub fn merge(&mut self, other: &Sent) {
        self.attempted += other.attempted;
        self.acked += other.acked;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.unacked += other.unacked;
        self.outstanding += other.outstanding;
    }
}

/// What is measured and not judged: nobody promises it. Source: verification 5, M1 to M4.
/// Sums only, so that shards add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// Deliveries later after their intended time than the limit (M4).
    pub late: u64,
    /// Pairs of messages of different publishers to one group that two witnesses of one
    /// thread have both received (M1). A sample: see `windows`.
    pub pairs_compared: u64,
    /// Those that the two received in different orders.
    pub inversions: u64,
    /// Pairs of messages of one publisher's transport to different groups that one witness
    /// has received (M2). The same sample.
    pub publisher_pairs_compared: u64,
    /// Those that came against the order in which they were sent.
    pub publisher_inversions: u64,
    /// Seconds in which threads took notes.
    pub windows: u64,
    /// Deliveries noted in them.
    pub noted: u64,
    /// Deliveries to witnesses for which there was no room.
    pub not_noted: u64,
    /// Publishes of unknown outcome that came to all whom a success would have been owed to
    /// (M3). In none of the three when that is nobody.
    pub unknown_to_all: u64,
    /// To some of them only.
    pub unknown_to_some: u64,
    /// To none of them.
    pub unknown_to_none: u64,
    /// The same of publishes for which no answer was asked.
    pub unacked_to_all: u64,
    /// To some.
    pub unacked_to_some: u64,
    /// To none.
    pub unacked_to_none: u64,
    /// Publishes of both kinds beyond what a thread keeps: (message, thread), in none of the
    /// above or in one by what other threads know.
    pub unknown_untold: u64,
}

impl Measured {
    /// Adds another part.
    pub fn merge(&mut self, other: &Measured) {
        self.late += other.late;
        self.pairs_compared += other.pairs_compared;
        self.inversions += other.inversions;
        self.publisher_pairs_compared += other.publisher_pairs_compared;
        self.publisher_inversions += other.publisher_inversions;
        self.windows += other.windows;
        self.noted += other.noted;
        self.not_noted += other.not_noted;
        self.unknown_to_all += other.unknown_to_all;
        self.unknown_to_some += other.unknown_to_some;
        self.unknown_to_none += other.unknown_to_none;
        self.unacked_to_all += other.unacked_to_all;
        self.unacked_to_some += other.unacked_to_some;
        self.unacked_to_none += other.unacked_to_none;
        self.unknown_untold += other.unknown_untold;
    }
}

/// Groups whose books are shown one by one; all others together, and where it is of use.
pub const GROUPS_TOLD: usize = 100;

/// The books of one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupBooks {
    /// What was sent to it.
    pub publish: Sent,
    /// What its members got of it.
    pub delivery: Delivery,
}

/// What the verifier says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct VerifierFacts {
    /// How deep was looked: `full`, `digest` or `counts`.
    pub mode: &'static str,
    /// Kinds of violation that the mode cannot see: a 0 of theirs says nothing.
    pub not_verified: Vec<&'static str>,
    /// Whether only a sample of the pairs was judged. No mode does that.
    pub sampled: bool,
    /// Pairs (receiver, stream) held.
    pub pairs: u64,
    /// Bytes held at the most, by the verifier's own accounting.
    pub bytes: u64,
    /// Properties that had no opportunity to fail.
    pub not_exercised: Vec<&'static str>,
    /// Every property with its opportunities to fail.
    pub exercised: Vec<(&'static str, u64)>,
    /// Threads that drove clients, each with a verifier.
    pub threads: u32,
    /// Those of them that ended before the run did.
    pub threads_lost: u32,
    /// What the exchange of facts between threads had to bear.
    pub exchange: ExchangeCounts,
    /// `ok`, or what did not balance.
    pub self_check: String,
}

/// One violation with the evidence to file a bug: who, what, when, and the frames around.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Incident {
    /// The kind of violation.
    pub kind: &'static str,
    /// Seconds after the clock's origin at which it was found.
    pub t_s: f64,
    /// One line that says it all.
    pub summary: String,
    /// The property broken and its basis, e.g. `D1 (client-spec 3.1, how-to "reliable clients")`.
    pub rule: &'static str,
    /// Receiver slot, where there is one.
    pub receiver: Option<u32>,
    /// Publisher slot, where there is one.
    pub publisher: Option<u32>,
    /// Group name, where there is one.
    pub group: Option<String>,
    /// The message's number in its stream.
    pub seq: Option<u32>,
    /// When the message was first sent, as far as is recorded, in seconds after the clock's
    /// origin like all times here; when its last answer came; and when the frame came that
    /// this is about: the wrong one, or for a loss the first that overtook the message.
    pub sent_s: Option<f64>,
    /// See `sent_s`.
    pub answered_s: Option<f64>,
    /// See `sent_s`.
    pub frame_s: Option<f64>,
    /// The sequence id of that frame.
    pub sequence_id: Option<u64>,
    /// The receiver's connection, then those that the publisher sent the message on.
    pub connections: Vec<String>,
    /// The evidence, line by line: connections, sequence ids, times, frames around it.
    pub evidence: Vec<String>,
}

/// The result of verification over all shards.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The ledger.
    pub delivery: Delivery,
    /// The ledger by the receiver's pool.
    pub pools: Vec<Delivery>,
    /// Of each pool, what its receivers need not have got, by reason: `delivery.permitted`
    /// taken apart.
    pub pool_permitted: Vec<Tally<Permitted>>,
    /// The books by group id.
    pub groups: Vec<GroupBooks>,
    /// Violations by kind.
    pub violations: Tally<Violation>,
    /// Permitted sightings by kind.
    pub permitted: Tally<Permitted>,
    /// Unprovable sightings by kind.
    pub unknown: Tally<Unknown>,
    /// What is measured and not judged.
    pub measured: Measured,
    /// What the verifier says of itself.
    pub verifier: VerifierFacts,
    /// The first violations of each kind, bounded.
    pub incidents: Vec<Incident>,
    /// Why the verdict cannot be trusted, if it cannot (empty otherwise).
    pub inconclusive: Vec<String>,
}

/// Seqs `first ..= last` of a stream that a receiver should have and has not.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) member: u32,
    pub(super) slot: u32,
    pub(super) stream: StreamId,
    pub(super) first: u32,
    pub(super) last: u32,
    /// The violation that it is; `None`: unknown under the promise.
    pub(super) kind: Option<Violation>,
    /// The receiver's connection.
    pub(super) epoch: u16,
    /// The recovery that it is laid to.
    pub(super) recovery: Option<u16>,
    /// When the first later message of the stream came, and its sequence id.
    pub(super) overtaken: Option<(Time, u64)>,
    /// Its connection fell silent with it: told as one stall, not as losses.
    pub(super) stalled: bool,
}

impl Suspect {
    pub(super) fn len(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }
}

/// What one shard knows at the end; [`conclude`](super::conclude()) merges them.
#[derive(Debug)]
pub struct ShardOutcome {
    pub(super) slots: Range<u32>,
    /// By group id.
    pub(super) ledgers: Vec<Ledger>,
    /// By the receiver's pool.
    pub(super) pools: Vec<Ledger>,
    /// By group id.
    pub(super) sent: Vec<Sent>,
    pub(super) suspects: Vec<Suspect>,
    /// By stream of a group with receivers here: what none of them got.
    pub(super) unreached: FxHashMap<StreamId, Vec<(u32, u32)>>,
    /// Groups with receivers here.
    pub(super) groups: FxHashSet<u32>,
    pub(super) violations: Tally<Violation>,
    pub(super) dedupe_broken: u64,
    pub(super) saw_error: bool,
    pub(super) permitted: Tally<Permitted>,
    pub(super) unknown: Tally<Unknown>,
    pub(super) measured: Measured,
    pub(super) unsure: Unsure,
    /// Recoveries found broken at once: (slot, epoch, transport).
    pub(super) broken: FxHashSet<(u32, u16, u16)>,
    /// Recoveries of sessions whose queue must have been over the hub's limit.
    pub(super) overfull: FxHashSet<(u32, u16, u16)>,
    /// Sessions that ended for a full queue while the harness acked late.
    pub(super) slow_overflows: u64,
    pub(super) exercised: Exercised,
    pub(super) incidents: Vec<Kept>,
    pub(super) traces: FxHashMap<u32, PublisherTrace>,
    /// What publishers of this shard had recorded of messages when somebody asked.
    pub(super) pinned: FxHashMap<(StreamId, u32), Vec<PublishRecord>>,
    pub(super) totals: PublishTotals,
    pub(super) pairs: u64,
    pub(super) bytes: u64,
    /// What does not balance.
    pub(super) self_check: Vec<String>,
    /// Why part of the traffic is not judged.
    pub(super) limits: Vec<String>,
    /// The number of the last facts taken here, and of those heard of each source.
    pub(super) serial: u64,
    pub(super) heard: Vec<(Range<u32>, u64)>,
    pub(super) stopped: u64,
    /// Requests of which nobody looked whether they were answered.
    pub(super) unfollowed: u64,
    /// Of a thread that is gone: owed pairs counted, none verified.
    pub(super) lost: bool,
}
