//! One request: its stage, its tries, its outcome.

use crate::base::{AckId, Cause, Time};
use crate::protocol::io::{Answer, Operation, Outcome, RequestId, Settled};

/// How a request is made.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct Ask {
    /// An answer is wanted.
    pub(in crate::protocol) acked: bool,
    /// The caller's own ackId, kept on every retry.
    pub(in crate::protocol) ack_id: Option<AckId>,
    /// The session's own, after a reconnect.
    pub(in crate::protocol) rejoin: bool,
    /// Tried again by policy.
    pub(in crate::protocol) retried: bool,
    /// Not before then.
    pub(in crate::protocol) after: Option<Time>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// To be written as soon as the transport takes frames.
    Ready,
    /// Written, not answered.
    InFlight { deadline: Option<Time> },
    /// To be tried again.
    Backoff { until: Time },
}

#[derive(Debug)]
pub(super) struct Request<C> {
    pub(super) id: RequestId,
    pub(super) operation: Operation<C>,
    pub(super) acked: bool,
    pub(super) ack_id: Option<AckId>,
    /// The caller gave `ack_id`.
    pub(super) given: bool,
    /// Tries made, those without a connection too.
    pub(super) attempts: u32,
    pub(super) transmissions: u32,
    /// The connection of the last transmission.
    pub(super) sent_epoch: Option<u16>,
    /// Why it will be written the next time.
    pub(super) cause: Cause,
    /// A transmission ended without a definite answer.
    pub(super) maybe_executed: bool,
    pub(super) rejoin: bool,
    pub(super) retried: bool,
    pub(super) stage: Stage,
}

impl<C> Request<C> {
    /// The official Python client takes the options out of its arguments at the first try.
    /// Joins keep theirs.
    pub(super) fn forget_options(&mut self) {
        match &mut self.operation {
            Operation::Join(_) => return,
            Operation::Send { no_echo, .. } => *no_echo = false,
            Operation::Leave(_) | Operation::Event { .. } => {}
        }
        self.acked = true;
        self.given = false;
    }

    pub(super) fn settle(self, answer: Option<Answer>) -> Settled<C> {
        let retransmitted_here = self.transmissions > 1 && self.cause != Cause::NewConnection;
        let outcome = match answer {
            Some(Answer::Success) => Outcome::Ok,
            // Executed before, so it says; a first transmission cannot have been.
            Some(Answer::Duplicate) if retransmitted_here => Outcome::Ok,
            Some(Answer::Duplicate | Answer::Error) => Outcome::Unknown,
            _ if self.maybe_executed => Outcome::Unknown,
            _ => Outcome::Failed,
        };
        self.with_outcome(outcome, answer)
    }

    pub(super) fn with_outcome(self, outcome: Outcome, answer: Option<Answer>) -> Settled<C> {
        Settled {
            request: self.id,
            ack_id: self.ack_id,
            operation: self.operation,
            outcome,
            answer,
            transmissions: self.transmissions,
            rejoin: self.rejoin,
        }
    }
}
