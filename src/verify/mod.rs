//! The verdict: which deliveries were owed, which came, and whose fault the difference is.
//!
//! Pure: events and stamps in, counters and evidence out. No I/O, no clock, no chance.
//! Nothing here is known to the hub, and nothing of the hub is known here.
//!
//! A [`Shard`] per thread takes the events of its slots; shards exchange [`Facts`];
//! [`conclude()`] merges what they end with. Read [`kinds`] for the vocabulary of verdicts,
//! `shard` for the events, `frame` for the hot path, `judge` for the rules on losses,
//! `duplicate` for those on repetitions, `conclude` for the self-checks. In mode `digest`
//! `digest`, `tallied` and `short` take the place of the pairs.

mod conclude;
mod connection;
mod digest;
mod duplicate;
mod events;
mod evidence;
mod exchange;
mod facts;
mod finish;
mod fold;
mod frame;
mod group;
mod incident;
mod judge;
mod judged;
pub mod kinds;
mod ledger;
mod marks;
mod membership;
mod mirror;
mod observer;
mod order;
mod outbox;
pub mod outcome;
mod pairs;
mod parting;
mod pins;
mod placing;
mod plan;
mod receiving;
mod recorder;
mod sending;
mod settle;
mod shard;
mod short;
mod spoilt;
mod stall;
mod tallied;
mod told;
mod unanswered;
mod unsure;

pub use conclude::conclude;
pub use events::{Answer, ConnectionEnd, FrameVerdict, LossCause, Outcome, Progress};
pub use exchange::{Exchange, ExchangeCounts, Letter, Party};
pub use facts::{Causes, Exception, Facts, Fate, MemberChange, MemberEvent, StreamFacts};
pub use kinds::{Permitted, Tally, Unknown, Violation};
pub use mirror::Mirror;
pub use outcome::{
    Delivery, GROUPS_TOLD, GroupBooks, Incident, Measured, Sent, ShardOutcome, Verification,
    VerifierFacts,
};
pub use plan::{ACK_WITHIN, LATE_AFTER, Mode, Plan, Promise, SlotPlan};
pub use shard::{HOLES_MAX, Shard};
