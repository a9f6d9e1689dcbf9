//! Counts: pairs by verdict, frames by fate, and how often each property was put to the
//! test. Sums only, so shards add up.

use super::judge::Bucket;
use super::kinds::{Permitted, Tally, Unknown};
use super::outcome::Delivery;
use super::plan::Promise;

/// Buckets of judgement, as an array index.
const BUCKETS: usize = 18;

/// Pairs by verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    counts: [u64; BUCKETS],
    /// Owed pairs that arrived spoilt, counted as another violation.
    pub(super) faulted: u64,
    /// The same of pairs not owed.
    pub(super) faulted_not_owed: u64,
    /// Of `faulted`, those whose frame could not be put into the pair.
    excused: u64,
    /// A publisher's own messages that it asked to be spared.
    pub(super) no_echo: u64,
}

impl Ledger {
    pub(super) fn add(&mut self, bucket: Bucket, n: u64) {
        self.counts[bucket as usize] += n;
    }

    /// Moves `n` out of `bucket`; they come under another.
    pub(super) fn take(&mut self, bucket: Bucket, n: u64) {
        self.counts[bucket as usize] -= n;
    }

    /// Takes the pairs of a part out again.
    pub(super) fn subtract(&mut self, part: &Ledger) {
        for (mine, theirs) in self.counts.iter_mut().zip(part.counts) {
            *mine -= theirs;
        }
    }

    /// Pairs that may still come, and those of receivers that are away.
    pub(super) fn open(&self) -> u64 {
        [
            Bucket::Lost,
            Bucket::LostAtJoin,
            Bucket::LostAtLeave,
            Bucket::LostUnreliableConnected,
            Bucket::Unverified,
        ]
        .map(|bucket| self.get(bucket))
        .iter()
        .sum()
    }

    pub(super) fn get(&self, bucket: Bucket) -> u64 {
        self.counts[bucket as usize]
    }

    /// Moves `n` deliveries that were spoilt out of `bucket`.
    pub(super) fn spoil(&mut self, bucket: Bucket, n: u64) {
        let n = n.min(self.counts[bucket as usize]);
        self.counts[bucket as usize] -= n;
        match bucket {
            Bucket::Delivered => self.faulted += n,
            _ => self.faulted_not_owed += n,
        }
    }

    /// Moves `n` losses out of `bucket` that are counted as spoilt frames already.
    pub(super) fn excuse(&mut self, bucket: Bucket, n: u64) {
        self.counts[bucket as usize] -= n;
        self.faulted += n;
        self.excused += n;
    }

    pub(super) fn merge(&mut self, other: &Ledger) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.faulted += other.faulted;
        self.faulted_not_owed += other.faulted_not_owed;
        self.excused += other.excused;
        self.no_echo += other.no_echo;
    }

    /// Every pair, whatever its verdict.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.faulted + self.faulted_not_owed + self.no_echo
    }

    /// Pairs that count as delivered, spoilt ones too.
    pub(super) fn arrived(&self) -> u64 {
        self.get(Bucket::Delivered)
            + self.get(Bucket::NotOwed)
            + self.get(Bucket::Forbidden)
            + self.faulted
            + self.faulted_not_owed
            - self.excused
    }

    /// The report's delivery ledger.
    pub(super) fn delivery(&self, promise: Promise) -> Delivery {
        let delivered = self.get(Bucket::Delivered);
        let mut violated = self.get(Bucket::Lost) + self.faulted;
        if promise == Promise::Reference {
            violated += self.get(Bucket::LostAtJoin) + self.get(Bucket::LostAtLeave);
        }
        let unverified = self.get(Bucket::Unverified);
        let mut unknown = self.get(Bucket::LostUnreliableConnected);
        if promise == Promise::Published {
            unknown += self.get(Bucket::LostAtJoin) + self.get(Bucket::LostAtLeave);
        }
        let mut permitted = Tally::default();
        self.permitted(&mut permitted);
        Delivery {
            lost: violated,
            permitted: permitted.total(),
            unknown,
            outside: self.get(Bucket::NotMember)
                + self.get(Bucket::Untracked)
                + self.faulted_not_owed
                + self.no_echo,
            addressed: self.total(),
            expected: delivered + violated + unverified,
            delivered,
            verified: delivered + violated,
            unverified,
            not_owed: self.get(Bucket::NotOwed) + self.get(Bucket::Forbidden),
            edge: self.get(Bucket::Edge),
        }
    }

    /// Adds the permitted losses to a tally.
    pub(super) fn permitted(&self, tally: &mut Tally<Permitted>) {
        for (bucket, kind) in [
            (Bucket::Gap, Permitted::LostInReconnectGap),
            (Bucket::Overflow, Permitted::LostOverflow),
            (Bucket::Unreliable, Permitted::LostUnreliable),
            (Bucket::PublishUnknown, Permitted::PublishUnknown),
            (Bucket::PublishFailed, Permitted::PublishFailed),
            (Bucket::FireAndForget, Permitted::FireAndForget),
            (Bucket::Edge, Permitted::AtMembershipEdge),
        ] {
            tally.add(kind, self.get(bucket));
        }
    }

    /// Adds what the promise makes unknown to a tally.
    pub(super) fn unknown(&self, promise: Promise, tally: &mut Tally<Unknown>) {
        tally.add(
            Unknown::LostUnreliableConnected,
            self.get(Bucket::LostUnreliableConnected),
        );
        if promise == Promise::Published {
            tally.add(Unknown::LostAtJoin, self.get(Bucket::LostAtJoin));
            tally.add(Unknown::LostAtLeave, self.get(Bucket::LostAtLeave));
        }
    }
}

/// Data frames by what they turned out to be: each frame is counted in exactly one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameCounts {
    /// All data frames handed to the verifier.
    pub(super) taken: u64,
    pub(super) first: u64,
    pub(super) fill: u64,
    pub(super) again: u64,
    pub(super) replay: u64,
    pub(super) foreign: u64,
    pub(super) fabricated: u64,
    pub(super) misdelivered: u64,
    pub(super) echo: u64,
    /// Corrupted, or a reused sequence id, and put into no pair.
    pub(super) unplaced: u64,
    /// Corrupted, or a reused sequence id, and put into its pair as spoilt.
    pub(super) spoilt: u64,
    pub(super) server: u64,
    /// Of a pair that is not tracked.
    pub(super) blind: u64,
    /// Beyond what is known to be sent: waits for facts.
    pub(super) set_aside: u64,
    /// For a slot that has no connection, or none of this shard.
    pub(super) stray: u64,
}

impl FrameCounts {
    /// The sum over all fates; equals `taken`.
    pub(super) fn accounted(&self) -> u64 {
        self.first
            + self.fill
            + self.again
            + self.replay
            + self.foreign
            + self.fabricated
            + self.misdelivered
            + self.echo
            + self.unplaced
            + self.spoilt
            + self.server
            + self.blind
            + self.set_aside
            + self.stray
    }

    /// Pairs put into the table one by one.
    pub(super) fn placed(&self) -> u64 {
        self.first + self.fill + self.spoilt
    }
}

/// A property of the specification, for counting how often it could have failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Property {
    S1,
    S2,
    S3,
    D1,
    D2,
    D3,
    D4,
    D5,
    D5b,
    D6,
    D7,
    O1,
    I1,
    I2,
    A1,
    A2,
    A3,
    A4,
    R1,
    R2,
    Channel,
}

impl Property {
    pub(super) const ALL: [(Property, &'static str); 21] = [
        (Property::S1, "S1 sequence ids rise"),
        (Property::S2, "S2 sequence ids have no gap"),
        (Property::S3, "S3 replays repeat known messages"),
        (Property::D1, "D1 nothing is lost"),
        (Property::D2, "D2 nothing is lost at a join"),
        (Property::D3, "D3 nothing is lost at a leave"),
        (Property::D4, "D4 nothing comes twice"),
        (Property::D5, "D5 members only"),
        (Property::D5b, "D5b nothing sent after a leave"),
        (Property::D6, "D6 noEcho"),
        (Property::D7, "D7 nothing is invented"),
        (Property::O1, "O1 order of a publisher"),
        (Property::I1, "I1 payloads unchanged"),
        (Property::I2, "I2 envelopes true"),
        (Property::A1, "A1 success means executed"),
        (Property::A2, "A2 Duplicate means repeated"),
        (Property::A3, "A3 Forbidden means not executed"),
        (Property::A4, "A4 every request is answered"),
        (Property::R1, "R1 recoveries keep everything"),
        (Property::R2, "R2 recoveries are granted in time"),
        (
            Property::Channel,
            "channel: frames of the sockets = frames verified",
        ),
    ];
}

/// Opportunities per property.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exercised([u64; Property::ALL.len()]);

impl Exercised {
    pub(super) fn add(&mut self, property: Property, n: u64) {
        self.0[property as usize] += n;
    }

    pub(super) fn get(&self, property: Property) -> u64 {
        self.0[property as usize]
    }

    pub(super) fn merge(&mut self, other: &Exercised) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}
