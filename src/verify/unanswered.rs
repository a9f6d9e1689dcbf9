//! Requests under way, and those that the hub owed an answer to (A4).
//!
//! How long a client waits for an answer is its own affair, and so is whether it still waits
//! when one comes. The hub owes an answer within [`Plan::ack_within`] of the last
//! transmission of an ackId, for as long as that transport lives. That it does is proved by
//! what is read from it: an answer is missing when something else was read at the end of
//! that time or later, before it. A silent transport proves nothing, and ends what was asked
//! on it when it ends. Where our own side made what is read late, and where nothing was read
//! at all for longer than between two pings, the time begins anew.
//!
//! [`Plan::ack_within`]: super::plan::Plan::ack_within

use std::time::Duration;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::kinds::Violation;
use super::ledger::Property;
use super::shard::Shard;
use crate::base::{AckId, Slot, Time};

/// Requests of one client that are followed; more are counted, and the verdict says so. A
/// session has at most 256 without an outcome, the rest its policy has given up.
const FOLLOWED_MAX: usize = 1024;
/// Without a tick for so long, four times what they may be apart and more, this process did
/// not run: what lay in its sockets meanwhile is no later than that.
const PAUSE: Duration = Duration::from_secs(5);
/// Room for so many clients is kept, however few have asked for something.
const CLIENTS_KEPT: usize = 64;

/// A transmission without an answer.
#[derive(Clone, Copy, Debug)]
struct Request {
    ack_id: AckId,
    at: Time,
}

/// What is known of the transport that a slot's requests were written to.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// When something was last read from it.
    heard: Time,
    /// What was read until then may be late by our own doing, or the network's.
    disturbed: Time,
    within: Duration,
}

impl Line {
    /// When the answer to something sent at `at` is due.
    fn due(&self, at: Time) -> Time {
        at.max(self.disturbed) + self.within
    }

    fn misses(&self, request: &Request) -> bool {
        self.heard >= self.due(request.at)
    }
}

/// The requests under way of a shard's clients.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// By slot, only where there are any; the oldest transmission first.
    open: FxHashMap<u32, SmallVec<[Request; 2]>>,
    within: Duration,
    /// Nothing is due before.
    next: Time,
    /// Requests beyond [`FOLLOWED_MAX`].
    pub(super) unfollowed: u64,
    ticked: Option<Time>,
    /// When this process last was found to have paused.
    paused: Time,
}

impl Unanswered {
    pub(super) fn new(within: Duration) -> Self {
        Unanswered {
            open: FxHashMap::default(),
            within,
            next: Time::MAX,
            unfollowed: 0,
            ticked: None,
            paused: Time::ZERO,
        }
    }

    fn follow(&mut self, slot: Slot, request: Request) {
        self.next = self.next.min(request.at + self.within);
        let open = self.open.entry(slot.0).or_default();
        match open.len() < FOLLOWED_MAX {
            true => open.push(request),
            false => self.unfollowed += 1,
        }
    }

    /// Takes a request out, if it is there.
    fn take(&mut self, slot: Slot, ack_id: AckId) -> Option<Request> {
        let open = self.open.get_mut(&slot.0)?;
        let at = open.iter().position(|request| request.ack_id == ack_id)?;
        let request = open.remove(at);
        if open.is_empty() {
            self.open.remove(&slot.0);
        }
        Some(request)
    }

    /// Takes those out that are missing: the oldest ones, as all of a slot wait on one line.
    fn take_missing(&mut self, slot: Slot, line: &Line) -> SmallVec<[Request; 2]> {
        let Some(open) = self.open.get_mut(&slot.0) else {
            return SmallVec::new();
        };
        let missing = open.iter().take_while(|request| line.misses(request));
        let missing = open.drain(..missing.count()).collect();
        if open.is_empty() {
            self.open.remove(&slot.0);
        }
        missing
    }

    fn notice_pause(&mut self, now: Time) {
        if self.ticked.is_some_and(|last| now.since(last) > PAUSE) {
            self.paused = now;
        }
    }

    /// The slots that have something to be judged, in order.
    fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<_> = self.open.keys().map(|slot| Slot(*slot)).collect();
        slots.sort_unstable();
        slots
    }

    /// Finds out when something is due next, and gives back what it took to hold more.
    fn settle_down(&mut self) {
        let oldest = self.open.values().filter_map(|open| open.first());
        let next = oldest.map(|request| request.at + self.within).min();
        self.next = next.unwrap_or(Time::MAX);
        let kept = self.open.len().max(CLIENTS_KEPT);
        if self.open.capacity() > 8 * kept {
            self.open.shrink_to(2 * kept);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let each = size_of::<u32>() + size_of::<SmallVec<[Request; 2]>>();
        let spilled = self.open.values().filter(|open| open.spilled());
        let beside: usize = spilled.map(|open| open.capacity()).sum();
        (self.open.capacity() * each + beside * size_of::<Request>()) as u64
    }
}

impl Shard {
    /// A request with an ackId is about to be written, whatever it asks; once per writing,
    /// first or repeated.
    pub fn request_sent(&mut self, slot: Slot, ack_id: AckId, now: Time) {
        self.judge_requests_of(slot, now);
        if self.line(slot).is_some() {
            self.unanswered.take(slot, ack_id);
            self.unanswered.follow(slot, Request { ack_id, at: now });
        }
    }

    /// An answer to a request came, whether its client still waits for it or not.
    pub fn request_answered(&mut self, slot: Slot, ack_id: AckId, now: Time) {
        self.judge_requests_of(slot, now);
        let Some(line) = self.line(slot) else { return };
        if let Some(request) = self.unanswered.take(slot, ack_id)
            && now < line.due(request.at)
        {
            self.exercised.add(Property::A4, 1);
        }
    }

    /// A fault of ours may make late what is read on the slot's transports until `until`.
    pub fn disturbed(&mut self, slot: Slot, until: Time, now: Time) {
        self.judge_requests_of(slot, now);
        if let Some(index) = self.local(slot) {
            let receiver = &mut self.receivers[index];
            receiver.disturbed = receiver.disturbed.max(until);
        }
    }

    /// The slot's transport is over: what was asked on it is answered nowhere.
    pub(super) fn requests_over(&mut self, slot: Slot, now: Time) {
        self.judge_requests_of(slot, now);
        self.unanswered.open.remove(&slot.0);
    }

    /// Periodic: counts what was not answered in time.
    pub(super) fn judge_requests(&mut self, now: Time) {
        self.unanswered.notice_pause(now);
        self.judge_last_requests(now);
    }

    /// The same at the end, before which ticks may have been over for a while.
    pub(super) fn judge_last_requests(&mut self, now: Time) {
        self.unanswered.ticked = Some(now);
        if now < self.unanswered.next {
            return;
        }
        for slot in self.unanswered.slots() {
            self.judge_requests_of(slot, now);
        }
        self.unanswered.settle_down();
    }

    /// Whatever happens to a slot, what was missing before is counted first: when ticks come
    /// makes no difference to the count.
    fn judge_requests_of(&mut self, slot: Slot, now: Time) {
        if now < self.unanswered.next {
            return;
        }
        self.unanswered.notice_pause(now);
        let Some(line) = self.line(slot) else { return };
        for request in self.unanswered.take_missing(slot, &line) {
            self.exercised.add(Property::A4, 1);
            self.violations.add(Violation::AckMissing, 1);
            let text = format!(
                "slot {slot} got no answer to ackId {} within {:?} of {}, and its transport lived: it was read from at {}",
                request.ack_id, line.within, request.at, line.heard
            );
            self.about_slot(Violation::AckMissing, slot, now, text);
        }
    }

    fn line(&self, slot: Slot) -> Option<Line> {
        let receiver = &self.receivers[self.local(slot)?];
        let conn = receiver.conn.as_ref()?;
        let ours = receiver.disturbed.max(self.unanswered.paused);
        Some(Line {
            heard: conn.heard,
            disturbed: ours.max(conn.resumed),
            within: self.unanswered.within,
        })
    }
}
