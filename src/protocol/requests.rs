//! Requests without an outcome: attempts, answers, retries. Source: client-spec 3.1.
//!
//! ```text
//! Ready --written--> InFlight --answer--> outcome
//!   ^                   | drop, error, no answer in time
//!   +---- Backoff <-----+        (attempts left; else: outcome)
//! ```
//! An attempt that comes due while the session is not connected is used up, as in the
//! official clients, whose retry loops do not wait for the connection.

use std::collections::VecDeque;

use crate::base::{AckId, Cause, Seed, Time};

use super::chance::Chance;
use super::config::Retry;
use super::io::{Answer, Operation, Outcome, RequestId, Settled, Transmission};

mod entry;

pub(super) use entry::Ask;
use entry::{Request, Stage};

/// Caller's ackIds remembered, so that a late answer to one is known as such.
const GIVEN_MAX: usize = 256;

/// What an answer means for the table.
pub(super) enum Answered<C> {
    /// For no request here.
    Nobody,
    /// The request goes on, it will be tried again.
    Retrying(Operation<C>),
    /// The request has its outcome.
    Settled(Settled<C>),
}

/// The table. Order is the order of asking; at most `in_flight_max` entries beside rejoins.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Requests<C> {
    entries: Vec<Request<C>>,
    next_request: u64,
    first_ack_id: u64,
    /// Never restarts, not even on a new connection, as in the official clients.
    next_ack_id: u64,
    /// The last ackIds that callers gave.
    given: VecDeque<AckId>,
    ready: usize,
    chance: Chance,
}

impl<C: Clone> Requests<C> {
    pub(super) fn new(first_ack_id: u64, seed: Seed) -> Self {
        Requests {
            entries: Vec::new(),
            next_request: 0,
            first_ack_id,
            next_ack_id: first_ack_id,
            given: VecDeque::new(),
            ready: 0,
            chance: Chance::new(seed, "retry"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether this ackId was ever sent.
    pub(super) fn was_sent(&self, ack_id: AckId) -> bool {
        (self.first_ack_id..self.next_ack_id).contains(&ack_id.0) || self.given.contains(&ack_id)
    }

    /// Adds a request and makes its first try.
    pub(super) fn add(
        &mut self,
        operation: Operation<C>,
        ask: Ask,
        connected: bool,
        now: Time,
        policy: &Retry,
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let stage = match ask.after {
            Some(until) => Stage::Backoff { until },
            None if connected => Stage::Ready,
            None => Stage::Backoff {
                until: now + self.chance.pause(&policy.backoff, 1),
            },
        };
        if let Some(given) = ask.ack_id {
            if self.given.len() >= GIVEN_MAX {
                self.given.pop_front();
            }
            self.given.push_back(given);
        }
        self.ready += usize::from(matches!(stage, Stage::Ready));
        if !connected && ask.acked && ask.ack_id.is_none() {
            self.waste_ack_id(policy);
        }
        if self.entries.capacity() == 0 {
            // Most clients never have a second one under way; a vector begins with four.
            self.entries.reserve_exact(1);
        }
        self.entries.push(Request {
            id,
            operation,
            acked: ask.acked,
            ack_id: ask.ack_id,
            given: ask.ack_id.is_some(),
            attempts: u32::from(ask.after.is_none()),
            transmissions: 0,
            sent_epoch: None,
            cause: Cause::First,
            maybe_executed: false,
            rejoin: ask.rejoin,
            retried: ask.retried,
            stage,
        });
        id
    }

    /// Takes a request out without an outcome. Its answer, if one comes, is late.
    pub(super) fn cancel(&mut self, id: RequestId) -> Option<Operation<C>> {
        let at = self.entries.iter().position(|request| request.id == id)?;
        let request = self.entries.remove(at);
        self.ready -= usize::from(matches!(request.stage, Stage::Ready));
        Some(request.operation)
    }

    /// The next request to write, which then counts as written.
    pub(super) fn transmit(
        &mut self,
        epoch: u16,
        transport: u16,
        now: Time,
        policy: &Retry,
    ) -> Option<(&mut Operation<C>, Transmission)> {
        if self.ready == 0 {
            return None;
        }
        let at = self
            .entries
            .iter()
            .position(|request| matches!(request.stage, Stage::Ready))?;
        self.ready -= 1;
        let ack_id = self.ack_id_for(at, policy);
        let request = &mut self.entries[at];
        let same_connection = request.sent_epoch == Some(epoch);
        if request.transmissions == 0 {
            request.cause = Cause::First;
        } else if !same_connection {
            request.cause = Cause::NewConnection;
        } else if request.ack_id != ack_id {
            request.cause = Cause::FreshAckId;
        }
        request.ack_id = ack_id;
        request.transmissions += 1;
        request.sent_epoch = Some(epoch);
        request.stage = Stage::InFlight {
            deadline: policy.ack_timeout.map(|timeout| now + timeout),
        };
        let transmission = Transmission {
            request: request.id,
            ack_id: request.ack_id,
            attempt: request.transmissions,
            cause: request.cause,
            epoch,
            transport,
        };
        Some((&mut request.operation, transmission))
    }

    /// The ackId of the next transmission of the request at `at`.
    fn ack_id_for(&mut self, at: usize, policy: &Retry) -> Option<AckId> {
        let request = &mut self.entries[at];
        if policy.forgets_options && request.attempts > 1 {
            request.forget_options();
        }
        let kept = request
            .ack_id
            .filter(|_| request.given || !policy.fresh_ack_id);
        if !request.acked || kept.is_some() {
            return kept;
        }
        // One of the caller's may be in flight.
        while self
            .entries
            .iter()
            .any(|request| request.given && request.ack_id == Some(AckId(self.next_ack_id)))
        {
            self.next_ack_id += 1;
        }
        let fresh = AckId(self.next_ack_id);
        self.next_ack_id += 1;
        Some(fresh)
    }

    /// Clients with a fresh ackId for each try take one before they find that there is no
    /// connection.
    fn waste_ack_id(&mut self, policy: &Retry) {
        self.next_ack_id += u64::from(policy.fresh_ack_id);
    }

    /// Settles what was written without an ackId.
    pub(super) fn take_unacked(&mut self) -> Option<Settled<C>> {
        let at = self.entries.iter().position(|request| {
            !request.acked && matches!(request.stage, Stage::InFlight { .. })
        })?;
        Some(
            self.entries
                .remove(at)
                .with_outcome(Outcome::FireAndForget, None),
        )
    }

    /// An answer came.
    pub(super) fn answer(
        &mut self,
        ack_id: AckId,
        answer: Answer,
        now: Time,
        policy: &Retry,
    ) -> Answered<C> {
        let in_flight = |request: &Request<C>| {
            request.ack_id == Some(ack_id) && matches!(request.stage, Stage::InFlight { .. })
        };
        let Some(at) = self.entries.iter().position(in_flight) else {
            return Answered::Nobody;
        };
        if !policy.answers.includes(answer) {
            return Answered::Settled(self.entries.remove(at).settle(Some(answer)));
        }
        self.entries[at].maybe_executed |= answer == Answer::Error;
        self.entries[at].cause = Cause::AfterError;
        let operation = self.entries[at].operation.clone();
        match self.try_again(at, now, policy) {
            Some(request) => Answered::Settled(request.settle(Some(answer))),
            None => Answered::Retrying(operation),
        }
    }

    /// The transport ended: every request in flight fails at once and is tried again by
    /// policy. Source: client-spec 1.3. Returns those that have no tries left.
    pub(super) fn transport_lost(&mut self, now: Time, policy: &Retry) -> Vec<Settled<C>> {
        let mut settled = Vec::new();
        let mut at = 0;
        while at < self.entries.len() {
            let request = &mut self.entries[at];
            match request.stage {
                Stage::InFlight { .. } => {
                    request.maybe_executed = true;
                    request.cause = Cause::AfterRecovery;
                }
                Stage::Ready => self.ready -= 1,
                Stage::Backoff { .. } => {
                    at += 1;
                    continue;
                }
            }
            match self.try_again(at, now, policy) {
                Some(request) => settled.push(request.settle(None)),
                None => at += 1,
            }
        }
        settled
    }

    /// Timers: requests without an answer in time, and pauses that are over. Returns those
    /// that have no tries left.
    pub(super) fn timeout(
        &mut self,
        now: Time,
        connected: bool,
        policy: &Retry,
    ) -> Vec<Settled<C>> {
        let mut settled = Vec::new();
        let mut at = 0;
        while at < self.entries.len() {
            let request = &mut self.entries[at];
            let next = match request.stage {
                Stage::InFlight {
                    deadline: Some(deadline),
                } if deadline <= now => {
                    request.maybe_executed = true;
                    request.cause = Cause::AfterTimeout;
                    self.try_again(at, now, policy)
                }
                Stage::Backoff { until } if until <= now => {
                    request.attempts += 1;
                    if connected {
                        request.stage = Stage::Ready;
                        self.ready += 1;
                        None
                    } else {
                        if request.acked && !request.given {
                            self.waste_ack_id(policy);
                        }
                        self.try_again(at, now, policy)
                    }
                }
                _ => None,
            };
            match next {
                Some(request) => settled.push(request.settle(None)),
                None => at += 1,
            }
        }
        settled
    }

    /// Plans the next try of the request at `at`, or takes it out when none is left.
    fn try_again(&mut self, at: usize, now: Time, policy: &Retry) -> Option<Request<C>> {
        let request = &mut self.entries[at];
        if request.attempts > policy.retries || !request.retried {
            return Some(self.entries.remove(at));
        }
        request.stage = Stage::Backoff {
            until: now + self.chance.pause(&policy.backoff, request.attempts),
        };
        None
    }

    /// Drops the rejoins of a connection that is gone: the next one starts anew.
    pub(super) fn forget_rejoins(&mut self) {
        self.entries.retain(|request| !request.rejoin);
        self.ready = self
            .entries
            .iter()
            .filter(|request| matches!(request.stage, Stage::Ready))
            .count();
    }

    /// Gives every request the outcome that it has when nothing more is tried.
    pub(super) fn settle_all(&mut self) -> Vec<Settled<C>> {
        self.ready = 0;
        let entries = std::mem::take(&mut self.entries);
        entries
            .into_iter()
            .map(|mut request| {
                request.maybe_executed |= matches!(request.stage, Stage::InFlight { .. });
                request.settle(None)
            })
            .collect()
    }

    /// The next time that [`Requests::timeout`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.entries
            .iter()
            .filter_map(|request| match request.stage {
                Stage::Ready => None,
                Stage::InFlight { deadline } => deadline,
                Stage::Backoff { until } => Some(until),
            })
            .min()
    }
}
