//! What is owed to the receivers of every thread, known outside it: when a thread is gone,
//! the number of its unverified pairs is exact, and nothing else of it is believed.
//!
//! A ghost per thread: a shard that hears of the memberships of the thread's receivers and of
//! all publishers' facts, and sees no frame. Every pair that is owed is unverified there, by
//! the same rules as everywhere; time folds it as it folds all others. Source: verification
//! 8, "a worker gone".
//!
//! Exact means: of each (message, receiver) pair of the lost thread's receivers, counted is
//! what was surely owed by what all others know. The message was acked by facts that reached
//! the mirror; the receiver's join was acked before the first facts after it, by an event that
//! reached the mirror. A membership that had not ended by the last word of its thread lasts to
//! the end of the run. Where a connection had ended, what came until the next join counts too:
//! only the receiver's own books could tell it from a permitted loss.

use std::ops::Range;
use std::sync::Arc;

use super::exchange::{Exchange, ExchangeCounts, Letter, Party};
use super::facts::{Facts, MemberChange, MemberEvent};
use super::ledger::Exercised;
use super::outcome::ShardOutcome;
use super::plan::Plan;
use super::shard::Shard;
use crate::base::{Slot, Time};

/// The ghosts of all threads.
#[derive(Debug)]
pub struct Mirror {
    exchange: Exchange<Arc<Facts>>,
    ghosts: Vec<Ghost>,
}

/// One thread's.
#[derive(Debug)]
struct Ghost {
    shard: Shard,
    /// What the thread has told of its receivers reaches so far.
    told_to: Time,
    /// Facts of later: where a stream stood at a leave is kept only if the leave is known when
    /// the next facts come. A thread speaks four times a second or is soon gone, so they are
    /// few.
    pending: Vec<Arc<Facts>>,
}

impl Ghost {
    fn hear(&mut self, facts: Arc<Facts>) {
        if self.shard.slots == facts.source {
            (facts.members.iter()).for_each(|event| self.shard.replay(event));
            self.told_to = self.told_to.max(facts.at);
        }
        self.pending.push(facts);
        self.apply();
    }

    fn apply(&mut self) {
        let ready = |facts: &mut Arc<Facts>| facts.at <= self.told_to;
        for facts in self.pending.extract_if(.., ready) {
            self.shard.apply_facts(&facts);
        }
    }
}

impl Mirror {
    /// The mirror of threads with these slots, whose parties of the exchange are their
    /// indices here; its own comes after theirs.
    pub fn new(plan: &Arc<Plan>, threads: &[Range<u32>]) -> Self {
        let ghost = |slots: &Range<u32>| Ghost {
            shard: Shard::ghost(plan.clone(), slots.clone()),
            told_to: Time::ZERO,
            pending: Vec::new(),
        };
        // Threads of this process: far fewer than 2^16.
        let me = threads.len() as Party;
        Mirror {
            exchange: Exchange::new(me, 0..me),
            ghosts: threads.iter().map(ghost).collect(),
        }
    }

    /// Takes a letter of a thread.
    pub fn hear(&mut self, letter: Letter<Arc<Facts>>) {
        for facts in self.exchange.take(letter) {
            for ghost in &mut self.ghosts {
                ghost.hear(facts.clone());
            }
        }
    }

    /// What the mirror has to tell the threads: that it heard them.
    pub fn round(&mut self) -> Vec<Letter<Arc<Facts>>> {
        self.exchange.round()
    }

    /// Periodic work; once a second is enough.
    pub fn tick(&mut self, now: Time) {
        let ghosts = self.ghosts.iter_mut();
        ghosts.for_each(|ghost| ghost.shard.fold_old(now));
    }

    /// A thread is gone: nothing more is heard of it, and what others are owed by its
    /// publishers ends with its last facts.
    pub fn lost(&mut self, thread: usize) {
        self.exchange.forget(thread as Party);
        if let Some(ghost) = self.ghosts.get_mut(thread) {
            // Nothing more will come of it that these would have to wait for.
            ghost.told_to = Time::MAX;
            ghost.apply();
        }
    }

    /// The books of a thread that is gone. Call it once for each, when everything is over.
    pub fn books(&mut self, thread: usize, now: Time) -> Option<ShardOutcome> {
        let ghost = self.ghosts.get_mut(thread)?;
        ghost.told_to = Time::MAX;
        ghost.apply();
        let slots = ghost.shard.slots.clone();
        let mut outcome = ghost.shard.finish(now);
        outcome.lost = true;
        // Nothing was put to the test here.
        outcome.exercised = Exercised::default();
        outcome.limits.push(format!(
            "the thread of slots {} to {} is gone, and its books with it",
            slots.start,
            slots.end.saturating_sub(1)
        ));
        Some(outcome)
    }

    /// What the mirror's end of the exchange had to bear.
    pub fn counts(&self) -> ExchangeCounts {
        self.exchange.counts()
    }
}

impl Shard {
    /// A shard that sees no frame, and knows that it does not.
    fn ghost(plan: Arc<Plan>, slots: Range<u32>) -> Self {
        let mut ghost = Shard::new(plan, slots);
        ghost.sees_frames = false;
        ghost.recorder.shrink(0);
        for receiver in &mut ghost.receivers {
            receiver.control.shrink(0);
        }
        ghost
    }

    /// Keeps a word about every membership for the next facts.
    pub fn tell_members(&mut self) {
        self.member_events = Some(Vec::new());
    }

    /// A change of membership, to be told with the next facts.
    pub(super) fn note_member(&mut self, slot: Slot, at: Time, what: MemberChange) {
        if let Some(events) = &mut self.member_events {
            events.push(MemberEvent { slot, at, what });
        }
    }

    /// Does again what a shard that told of it did.
    fn replay(&mut self, event: &MemberEvent) {
        let MemberEvent { slot, at, what } = *event;
        match what {
            MemberChange::Connected(epoch) => self.connected(slot, epoch, "", at),
            MemberChange::JoinInvoked(g, id) => self.join_invoked(slot, g, id, at),
            MemberChange::JoinAnswered(g, id, success) => {
                self.join_answered(slot, g, id, success, at)
            }
            MemberChange::LeaveInvoked(g, id) => self.leave_invoked(slot, g, id, at),
            MemberChange::LeaveAnswered(g, id, success) => {
                self.leave_answered(slot, g, id, success, at)
            }
            MemberChange::Ended(end) => self.connection_ended(slot, end, at),
        }
    }

    /// The shard of these slots is gone: what it published beyond its last facts cannot be
    /// told from what nobody published.
    pub fn source_lost(&mut self, slots: Range<u32>) {
        self.lost_sources.push(slots);
    }

    /// Whether `publisher` was of a shard that is gone.
    pub(super) fn is_lost(&self, publisher: Slot) -> bool {
        (self.lost_sources.iter()).any(|slots| slots.contains(&publisher.0))
    }
}
