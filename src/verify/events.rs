//! The words in which clients tell the verifier what happened, and what it answers.
//!
//! Stamps are one-sided: taken *before* the bytes go to the socket for what the client
//! does, *after* the whole frame was read for what the hub does.

use super::kinds::{Permitted, Tally, Unknown, Violation};
use super::outcome::Measured;
use crate::payload::Identity;

/// Who ended a transport.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LossCause {
    /// Chaos of ours.
    Injected,
    /// The hub, or the network between.
    Hub,
    /// The harness itself.
    Harness,
}

/// How a connection (the session, not one transport) ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ConnectionEnd {
    /// The hub refused its recovery with 1008.
    Refused,
    /// It was not recovered within the window.
    WindowPassed,
    /// The hub closed it for good.
    CleanClose,
    /// The harness stopped the client. Finish the verification first: a receiver stopped
    /// before that makes the verdict inconclusive.
    Stopped,
    /// Its subprotocol has no recovery.
    NotRecoverable,
    /// The hub was restarted by chaos and forgot it.
    HubRestart,
}

/// The hub's answer to one transmission of a publish.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// Executed now.
    Success,
    /// Executed before.
    Duplicate,
    /// Not executed: no right to.
    Forbidden,
    /// Not executed, for another definite reason (a bad request).
    Refused,
    /// An error that may be retried, or one of a name unknown here.
    Error,
}

/// What became of a publish, after all its attempts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// Some attempt was answered with success, or a repetition with `Duplicate`.
    Ok,
    /// Every attempt was refused definitely, or never handed to a socket.
    Failed,
    /// Anything else.
    Unknown,
    /// Nobody asked for an answer.
    FireAndForget,
}

/// What a data frame turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameVerdict {
    /// The sound identity in it, if there is one.
    pub identity: Option<Identity>,
    /// This receiver sees the message for the first time, under a fresh sequence id, where
    /// it may: what an application would count as a delivery.
    pub fresh: bool,
}

/// How verification stands, for progress lines, metrics and the end of the drain.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Messages delivered to receivers, each pair once.
    pub deliveries: u64,
    /// Pairs whose publish is settled, that would count as lost if the run ended now.
    pub missing: u64,
    /// Those of them settled longer than `late_after` (at least 1 s) ago.
    pub overdue: u64,
    /// What is measured and not judged, so far.
    pub measured: Measured,
    /// Violations so far; losses only as they become certain.
    pub violations: Tally<Violation>,
    /// Permitted sightings so far.
    pub permitted: Tally<Permitted>,
    /// Unprovable sightings so far.
    pub unknown: Tally<Unknown>,
    /// Pairs held.
    pub pairs: u64,
    /// Bytes held, by own accounting.
    pub bytes: u64,
}

impl Progress {
    /// Adds the progress of another shard.
    pub fn merge(&mut self, other: &Progress) {
        self.deliveries += other.deliveries;
        self.missing += other.missing;
        self.overdue += other.overdue;
        self.measured.merge(&other.measured);
        self.violations.merge(&other.violations);
        self.permitted.merge(&other.permitted);
        self.unknown.merge(&other.unknown);
        self.pairs += other.pairs;
        self.bytes += other.bytes;
    }
}
