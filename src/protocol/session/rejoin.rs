//! Group membership: what was joined, and joining it again on a new connection.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Session;
use crate::base::Time;
use crate::protocol::io::{Answer, Event, Operation, Outcome, Settled};
use crate::protocol::requests::Ask;

/// The rejoins of one connection.
#[derive(Debug, Default)]
pub(super) struct Rejoining {
    /// Not asked for yet.
    waiting: VecDeque<Arc<str>>,
    pending: u32,
    joined: u32,
    failed: u32,
}

impl Rejoining {
    /// Starts no more of them.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }
}

impl<C: Clone> Session<C> {
    /// Joins every group again that was joined and not left.
    pub(super) fn rejoin(&mut self, now: Time) {
        self.rejoining = Rejoining::default();
        let Some(policy) = self.config.reconnect.rejoin else {
            return;
        };
        self.rejoining.waiting = self.groups.iter().cloned().collect();
        if self.rejoining.waiting.is_empty() {
            return self.rejoin_done();
        }
        let at_once = if policy.one_by_one {
            1
        } else {
            self.groups.len()
        };
        for _ in 0..at_once {
            self.rejoin_next(now, (!policy.after.is_zero()).then(|| now + policy.after));
        }
    }

    fn rejoin_next(&mut self, now: Time, after: Option<Time>) {
        let (Some(policy), Some(group)) = (
            self.config.reconnect.rejoin,
            self.rejoining.waiting.pop_front(),
        ) else {
            return;
        };
        self.rejoining.pending += 1;
        let ask = Ask {
            acked: true,
            ack_id: None,
            rejoin: true,
            retried: policy.retries,
            after,
        };
        let operation = Operation::Join(group);
        self.requests
            .add(operation, ask, true, now, &self.config.retry);
    }

    /// Hands outcomes on, and keeps the list of groups.
    pub(super) fn settle(&mut self, now: Time, settled: impl IntoIterator<Item = Settled<C>>) {
        for settled in settled {
            // For membership `Duplicate` is as good as success, as in all official clients.
            let done = settled.outcome == Outcome::Ok || settled.answer == Some(Answer::Duplicate);
            match &settled.operation {
                Operation::Join(group) if done && !self.groups.contains(group) => {
                    self.groups.push(group.clone())
                }
                Operation::Leave(group) if done => self.groups.retain(|joined| joined != group),
                _ => {}
            }
            let rejoin = settled
                .rejoin
                .then(|| (settled.operation.clone(), settled.answer));
            self.event(Event::Settled(settled));
            if let Some((Operation::Join(group), answer)) = rejoin {
                self.rejoin_settled(now, group, done, answer);
            }
        }
    }

    fn rejoin_settled(&mut self, now: Time, group: Arc<str>, done: bool, answer: Option<Answer>) {
        if done {
            self.rejoining.joined += 1;
        } else {
            self.rejoining.failed += 1;
            let error = answer.map_or("the transport ended first".to_owned(), |answer| {
                format!("{answer:?}")
            });
            self.event(Event::RejoinFailed { group, error });
        }
        self.rejoining.pending = self.rejoining.pending.saturating_sub(1);
        if self.is_connected() {
            self.rejoin_next(now, None);
        }
        if self.rejoining.pending == 0 {
            self.rejoin_done();
        }
    }

    fn rejoin_done(&mut self) {
        self.event(Event::RejoinDone {
            joined: self.rejoining.joined,
            failed: self.rejoining.failed,
        });
    }
}
