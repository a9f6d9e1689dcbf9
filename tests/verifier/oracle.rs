//! The naive checker: the whole history in memory, every rule of the specification as a
//! scan over sets, no windows trick, no increments, nothing shared with the verifier but
//! the names of the verdicts. Slow, and so simple that one can see that it is right.

mod edges;
mod missing;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use hubstorm::base::{GroupId, Slot};
use hubstorm::payload::{Cause, StreamId};
use hubstorm::verify::{Delivery, Fate, Measured, Permitted, Promise, Tally, Unknown, Violation};

use crate::history::{End, Frame, History, Line, Message, Window};
use crate::sampled;
use missing::{Loss, What};

pub(crate) const GRACE_US: u64 = 10_000_000;

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Tally<Violation>,
    pub(crate) permitted: Tally<Permitted>,
    pub(crate) unknown: Tally<Unknown>,
    pub(crate) delivery: Delivery,
    pub(crate) measured: Measured,
}

/// A frame that reached its pair, with the window it came in.
#[derive(Clone, Copy)]
struct Arrived {
    frame: Frame,
    window: usize,
    must: bool,
}

struct Oracle<'h> {
    history: &'h History,
    promise: Promise,
    verdict: Verdict,
    losses: Vec<Loss>,
    /// Messages that somebody got.
    reached: HashSet<(StreamId, u32)>,
    /// Every delivery that counts, each pair once.
    firsts: Vec<(Slot, Frame)>,
    /// Messages without an outcome: whether somebody who should have it if it was executed
    /// has it, and whether somebody misses it.
    unsure: BTreeMap<(StreamId, u32), (bool, bool)>,
    broken: HashSet<(Slot, u16, u16)>,
    missing_ids: BTreeMap<(Slot, u16), u64>,
    dedupe: u64,
}

/// Judges a whole history.
pub(crate) fn judge(history: &History, promise: Promise) -> Verdict {
    let mut oracle = Oracle {
        history,
        promise,
        verdict: Verdict::default(),
        losses: Vec::new(),
        reached: HashSet::new(),
        firsts: Vec::new(),
        unsure: BTreeMap::new(),
        broken: HashSet::new(),
        missing_ids: BTreeMap::new(),
        dedupe: 0,
    };
    let mut placed: BTreeMap<(Slot, StreamId), Vec<Arrived>> = BTreeMap::new();
    for (slot, frames) in &history.frames {
        oracle.frames_of(*slot, frames, &mut placed);
    }
    for ((slot, group), windows) in &history.windows {
        for (stream, messages) in &history.messages {
            if stream.group != *group {
                continue;
            }
            oracle.verdict.delivery.addressed += messages.len() as u64;
            if stream.publisher == *slot && history.no_echo[slot.0 as usize] {
                oracle.verdict.delivery.outside += messages.len() as u64;
                continue;
            }
            let arrived = placed.remove(&(*slot, *stream)).unwrap_or_default();
            oracle.pair(*slot, *stream, windows, messages, &arrived);
        }
    }
    history.lines.values().for_each(|line| oracle.answers(line));
    oracle.unsure();
    sampled::measure(history, &oracle.firsts, &mut oracle.verdict.measured);
    oracle.conclude()
}

impl Oracle<'_> {
    /// Sequence ids, membership and echo; what passes goes to its pair.
    fn frames_of(
        &mut self,
        slot: Slot,
        frames: &[Frame],
        placed: &mut BTreeMap<(Slot, StreamId), Vec<Arrived>>,
    ) {
        let history = self.history;
        let reliable = history.reliable[slot.0 as usize];
        let mut highest: HashMap<u16, u64> = HashMap::new();
        let mut last: HashMap<(u16, u16), u64> = HashMap::new();
        let mut known: HashSet<(u16, StreamId, u32)> = HashSet::new();
        for frame in frames {
            let identity = &frame.identity;
            let stream = identity.stream();
            if reliable {
                let high = highest.entry(frame.epoch).or_insert(0);
                let low = last.entry((frame.epoch, frame.transport)).or_insert(0);
                if frame.id <= *high {
                    if frame.id > *low {
                        *low = frame.id;
                        assert!(known.contains(&(frame.epoch, stream, identity.seq)));
                        self.verdict.permitted.add(Permitted::ReplayOverlap, 1);
                    } else {
                        self.verdict.violations.add(Violation::SequenceRepeated, 1);
                    }
                    continue;
                }
                *self.missing_ids.entry((slot, frame.epoch)).or_insert(0) += frame.id - *high - 1;
                *high = frame.id;
                *low = frame.id;
                known.insert((frame.epoch, stream, identity.seq));
            }
            let none = Vec::new();
            let windows = history.windows.get(&(slot, stream.group)).unwrap_or(&none);
            let begun = |w: &Window| w.epoch == frame.epoch && w.join_invoked <= frame.at;
            let open = windows
                .iter()
                .rposition(|w| begun(w) && w.ended.is_none_or(|(ended, _)| ended > frame.at));
            let left = windows.iter().rev().find_map(|w| match w.ended {
                Some((at, End::Left)) if begun(w) && at <= frame.at => Some(at),
                _ => None,
            });
            let (window, must) = match (open, left) {
                (Some(at), _) => {
                    let w = &windows[at];
                    let joined = w.joined.is_some_and(|t| t <= frame.at);
                    let leaving = w.leave_invoked.is_some_and(|t| t <= frame.at);
                    (at, joined && !leaving)
                }
                (None, Some(left)) => {
                    let sent = identity.unwrap_intended(frame.at) + identity.lag_us;
                    if sent <= left {
                        self.verdict.permitted.add(Permitted::AfterLeaveRace, 1);
                    } else if self.promise == Promise::Reference {
                        self.verdict
                            .violations
                            .add(Violation::DeliveredAfterLeave, 1);
                    } else {
                        self.verdict.unknown.add(Unknown::DeliveredAfterLeave, 1);
                    }
                    let latest = windows.iter().rposition(|w| w.join_invoked <= frame.at);
                    (latest.unwrap(), false)
                }
                (None, None) => {
                    self.verdict.violations.add(Violation::Misdelivered, 1);
                    continue;
                }
            };
            if identity.no_echo && identity.publisher == slot {
                if identity.epoch == frame.epoch {
                    self.verdict.violations.add(Violation::Echo, 1);
                } else {
                    self.verdict
                        .permitted
                        .add(Permitted::EchoOnNewConnection, 1);
                }
                continue;
            }
            placed.entry((slot, stream)).or_default().push(Arrived {
                frame: *frame,
                window,
                must,
            });
        }
    }

    fn pair(
        &mut self,
        slot: Slot,
        stream: StreamId,
        windows: &[Window],
        messages: &[Message],
        arrived: &[Arrived],
    ) {
        let mut first: BTreeMap<u32, usize> = BTreeMap::new();
        for (at, copy) in arrived.iter().enumerate() {
            let seq = copy.frame.identity.seq;
            if let Entry::Vacant(place) = first.entry(seq) {
                place.insert(at);
                self.order(&arrived[..at], &copy.frame);
                self.reached.insert((stream, seq));
                self.firsts.push((slot, copy.frame));
            } else {
                let copies: Vec<_> = arrived[..at]
                    .iter()
                    .filter(|c| c.frame.identity.seq == seq)
                    .collect();
                self.duplicate(stream, windows, &messages[seq as usize - 1], copy, &copies);
            }
        }
        let firsts: Vec<_> = first.values().map(|at| arrived[*at]).collect();
        for (at, message) in messages.iter().enumerate() {
            let seq = at as u32 + 1;
            if matches!(message.fate, Fate::Unknown | Fate::FireAndForget) {
                if first.contains_key(&seq) {
                    let owed = self.owed(stream, windows, seq);
                    self.unsure.entry((stream, seq)).or_default().0 |= owed;
                } else {
                    let what = self.what(stream, windows, seq, message, slot, &firsts);
                    let known = self.unsure.entry((stream, seq)).or_default();
                    known.1 |= matches!(what, What::Lost(..));
                }
            }
            if first.contains_key(&seq) {
                self.delivered(stream, windows, seq, message);
            } else {
                self.missing(slot, stream, windows, seq, message, &firsts);
            }
        }
    }

    /// A4: each transmission against all that happened until it was answered, written again
    /// or lost with its transport. (That a long silence begins the time anew has a history of
    /// its own: the model's transports are never silent for so long.)
    fn answers(&mut self, line: &[(u64, Line)]) {
        for (nth, (at, what)) in line.iter().enumerate() {
            let Line::Asked(id) = *what else { continue };
            let over = [Line::Over, Line::Asked(id), Line::Answered(id)];
            let rest = line.iter().enumerate().skip(nth + 1);
            let missing = rest
                .take_while(|(_, (_, what))| !over.contains(what))
                .filter(|(_, (_, what))| *what == Line::Heard)
                .any(|(place, (heard, _))| {
                    let before = line[..place].iter();
                    let disturbed = before.filter_map(|(_, what)| match what {
                        Line::Disturbed(until) => Some(*until),
                        _ => None,
                    });
                    let from = disturbed.max().map_or(*at, |until| until.max(*at));
                    *heard >= from + self.history.ack_within
                });
            let violations = &mut self.verdict.violations;
            violations.add(Violation::AckMissing, u64::from(missing));
        }
    }

    /// O1: against everything that came before it on the receiver's connection.
    fn order(&mut self, before: &[Arrived], frame: &Frame) {
        let me = frame.identity;
        let overtaking = || {
            let here = before.iter().map(|x| x.frame);
            here.filter(|x| x.epoch == frame.epoch && x.identity.seq > me.seq)
        };
        let same_lane =
            |x: &Frame| (x.identity.epoch, x.identity.transport) == (me.epoch, me.transport);
        if overtaking().any(|x| same_lane(&x) && x.identity.tx > me.tx) {
            self.verdict.violations.add(Violation::Reordered, 1);
        } else if overtaking().next().is_some() {
            self.verdict.permitted.add(Permitted::ReorderedByRetry, 1);
        }
    }

    fn duplicate(
        &mut self,
        stream: StreamId,
        windows: &[Window],
        message: &Message,
        copy: &Arrived,
        before: &[&Arrived],
    ) {
        let me = copy.frame.identity;
        if let Some(same) = before.iter().rev().find(|c| c.frame.identity.tx == me.tx) {
            let newly = self
                .floor(stream, &windows[copy.window])
                .is_none_or(|f| me.seq < f);
            let any_here = before.iter().any(|c| c.frame.epoch == copy.frame.epoch);
            let _ = same;
            if !any_here && newly {
                self.verdict
                    .permitted
                    .add(Permitted::DuplicatedAcrossConnections, 1);
            } else {
                self.verdict.violations.add(Violation::Duplicated, 1);
            }
            return;
        }
        // Which transmission lies between the nearest earlier one that arrived and this one;
        // or, when this is the earliest, between this one and the next that arrived.
        let attempts: Vec<u8> = before.iter().map(|c| c.frame.identity.attempt).collect();
        let (from, to) = match attempts.iter().filter(|a| **a < me.attempt).max() {
            Some(earlier) => (*earlier, me.attempt),
            None => (me.attempt, *attempts.iter().min().unwrap()),
        };
        let causes: Vec<Cause> = if from + 1 == to {
            vec![message.causes[usize::from(to) - 1]]
        } else {
            message.causes.clone()
        };
        for (cause, label) in [
            (
                Cause::NewConnection,
                Permitted::DuplicatedByRetryOnNewConnection,
            ),
            (Cause::FreshAckId, Permitted::DuplicatedByRetryWithNewAckId),
            (Cause::AfterError, Permitted::DuplicatedByRetryAfterError),
        ] {
            if causes.contains(&cause) {
                return self.verdict.permitted.add(label, 1);
            }
        }
        if causes.contains(&Cause::AfterRecovery) && self.promise == Promise::Published {
            let lost = Unknown::DuplicatedAfterLostAnswer;
            return self.verdict.unknown.add(lost, 1);
        }
        self.dedupe += 1;
    }

    /// How far the messages without an outcome came.
    fn unsure(&mut self) {
        let measured = &mut self.verdict.measured;
        for ((stream, seq), known) in &self.unsure {
            let message = &self.history.messages[stream][*seq as usize - 1];
            let unknown = message.fate == Fate::Unknown;
            *match (known, unknown) {
                ((true, false), true) => &mut measured.unknown_to_all,
                ((true, true), true) => &mut measured.unknown_to_some,
                ((false, true), true) => &mut measured.unknown_to_none,
                ((true, false), false) => &mut measured.unacked_to_all,
                ((true, true), false) => &mut measured.unacked_to_some,
                ((false, true), false) => &mut measured.unacked_to_none,
                ((false, false), _) => continue,
            } += 1;
        }
    }

    fn delivered(&mut self, stream: StreamId, windows: &[Window], seq: u32, message: &Message) {
        if message.fate == Fate::Forbidden {
            self.verdict
                .violations
                .add(Violation::AckForbiddenDelivered, 1);
            self.verdict.delivery.not_owed += 1;
            return;
        }
        let owed = message.fate == Fate::Ok && self.owed(stream, windows, seq);
        let delivery = &mut self.verdict.delivery;
        if owed {
            delivery.expected += 1;
            delivery.delivered += 1;
            delivery.verified += 1;
        } else {
            delivery.not_owed += 1;
        }
    }

    fn permit(&mut self, why: Permitted) {
        self.verdict.delivery.permitted += 1;
        self.verdict.permitted.add(why, 1);
    }

    fn conclude(mut self) -> Verdict {
        let mut owed: HashMap<(StreamId, u32), u64> = HashMap::new();
        for loss in self.losses.iter().filter(|l| l.kind.is_some()) {
            *owed.entry((loss.stream, loss.seq)).or_insert(0) += 1;
        }
        let lies: HashSet<_> = owed
            .iter()
            .filter(|(message, n)| **n >= 2 && !self.reached.contains(message))
            .map(|(message, _)| *message)
            .collect();
        let silent = self.stalled();
        let mut stalled = HashSet::new();
        let mut by_connection: HashMap<(Slot, u16), u64> = HashMap::new();
        for loss in &self.losses {
            *by_connection.entry((loss.slot, loss.epoch)).or_insert(0) += 1;
            let Some(kind) = loss.kind else { continue };
            if lies.contains(&(loss.stream, loss.seq)) {
                continue;
            }
            match loss.recovery {
                Some(transport) => {
                    self.broken.insert((loss.slot, loss.epoch, transport));
                }
                None if loss.may_stall && silent.contains(&(loss.slot, loss.epoch)) => {
                    stalled.insert((loss.slot, loss.epoch));
                }
                None => self.verdict.violations.add(kind, 1),
            }
        }
        let stalled = stalled.len() as u64;
        self.verdict.violations.add(Violation::Stalled, stalled);
        for (connection, missing) in &self.missing_ids {
            let explained = by_connection.get(connection).copied().unwrap_or(0);
            let net = missing.saturating_sub(explained);
            match self.promise {
                Promise::Reference => self.verdict.violations.add(Violation::SequenceGap, net),
                Promise::Published => self.verdict.unknown.add(Unknown::SequenceGap, net),
            }
        }
        self.verdict
            .violations
            .add(Violation::AckLie, lies.len() as u64);
        let broken = self.broken.len() as u64;
        self.verdict
            .violations
            .add(Violation::RecoveryBroken, broken);
        if self.history.saw_error {
            self.verdict
                .unknown
                .add(Unknown::DuplicatedAfterLostAnswer, self.dedupe);
        } else {
            self.verdict
                .violations
                .add(Violation::DedupeBroken, self.dedupe);
        }
        self.verdict
    }
}
