//! One stream as its publisher sends it: the messages whose outcome is open.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::events::Outcome;
use super::facts::{Causes, Exception, Fate};
use crate::base::AckId;
use crate::payload::{Cause, Identity, StreamId};

#[derive(Debug)]
pub(super) struct OutStream {
    pub(super) id: StreamId,
    pub(super) invoked: u32,
    pub(super) settled: u32,
    /// Messages settled + 1 ..= invoked.
    pub(super) open: VecDeque<Open>,
    pub(super) exceptions: Vec<Exception>,
    pub(super) epochs: Vec<(u32, u16)>,
    pub(super) epoch: Option<u16>,
    pub(super) told: bool,
}

#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) attempts: u32,
    pub(super) causes: Causes,
    /// (ackId, epoch, transmissions with it on that connection).
    pub(super) ids: SmallVec<[(AckId, u16, u16); 1]>,
    pub(super) success: bool,
    pub(super) repeated: bool,
    pub(super) false_duplicate: bool,
    pub(super) forbidden: u32,
    pub(super) outcome: Option<Outcome>,
}

impl OutStream {
    pub(super) fn open_mut(&mut self, seq: u32) -> Option<&mut Open> {
        let at = seq.checked_sub(self.settled + 1)?;
        self.open.get_mut(at as usize)
    }

    /// Moves `settled` over all messages with an outcome; returns how many, and how many ok.
    pub(super) fn advance(&mut self) -> (u64, u64) {
        let (mut moved, mut ok) = (0, 0);
        while let Some(outcome) = self.open.front().and_then(|open| open.outcome) {
            let Some(open) = self.open.pop_front() else {
                break;
            };
            self.settled += 1;
            moved += 1;
            let fate = open.fate(outcome);
            ok += u64::from(fate == Fate::Ok);
            if fate == Fate::Ok && open.causes.is_empty() {
                continue;
            }
            match self.exceptions.last_mut() {
                Some(last)
                    if last.last + 1 == self.settled
                        && last.fate == fate
                        && last.causes == open.causes =>
                {
                    last.last = self.settled;
                }
                _ => self.exceptions.push(Exception {
                    first: self.settled,
                    last: self.settled,
                    fate,
                    causes: open.causes,
                }),
            }
        }
        (moved, ok)
    }
}

impl Open {
    /// Notes a transmission. Says what is wrong with its cause, if something is: the
    /// judgement of repetitions rests on it.
    pub(super) fn transmitted(
        &mut self,
        identity: &Identity,
        ack_id: Option<AckId>,
    ) -> Option<&'static str> {
        self.attempts += 1;
        self.causes.insert(identity.cause);
        let ack_id = ack_id?;
        let key = (ack_id, identity.epoch);
        let known = self
            .ids
            .iter_mut()
            .find(|(id, epoch, _)| (*id, *epoch) == key);
        let repeats = known.is_some();
        match known {
            Some((_, _, times)) => *times = times.saturating_add(1),
            None => self.ids.push((ack_id, identity.epoch, 1)),
        }
        match identity.cause {
            Cause::First | Cause::NewConnection => None,
            Cause::FreshAckId if repeats => Some("as with a fresh ackId, under one used before"),
            Cause::FreshAckId => None,
            Cause::AfterRecovery | Cause::AfterError | Cause::AfterTimeout if repeats => None,
            Cause::AfterRecovery | Cause::AfterError | Cause::AfterTimeout => {
                Some("as with the same ackId on the same connection, but neither is the same")
            }
        }
    }

    pub(super) fn fate(&self, outcome: Outcome) -> Fate {
        match outcome {
            Outcome::Ok if self.success || self.repeated => Fate::Ok,
            // A false `Duplicate` proves nothing (A2).
            Outcome::Ok | Outcome::Unknown => Fate::Unknown,
            Outcome::FireAndForget => Fate::FireAndForget,
            Outcome::Failed if self.attempts > 0 && self.forbidden >= self.attempts => {
                Fate::Forbidden
            }
            Outcome::Failed => Fate::Failed,
        }
    }
}
