//! The naive checker: the whole history in memory, every rule of the specification as a
//! scan over sets, no windows trick, no increments, nothing shared with the verifier but
//! the names of the verdicts. Slow, and so simple that one can see that it is right.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use hubstorm::base::{GroupId, Slot};
use hubstorm::payload::{Cause, StreamId};
use hubstorm::verify::{Delivery, Fate, Measured, Permitted, Promise, Tally, Unknown, Violation};

use crate::history::{End, Frame, History, Line, Message, Window};
use crate::sampled;

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

/// One missing (message, receiver) pair that is laid to the hub.
struct Loss {
    slot: Slot,
    epoch: u16,
    stream: StreamId,
    seq: u32,
    kind: Option<Violation>,
    recovery: Option<u16>,
    /// A plain loss at the end of its pair, to a connection that is still there.
    may_stall: bool,
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

    /// When the facts told that `seq` was settled, by samples a second apart, of which the
    /// last 66 count; the last facts at the latest.
    fn settled_at(&self, stream: StreamId, seq: u32) -> u64 {
        let source = self.history.source_of[&stream.publisher];
        let mut samples: Vec<(u64, u32)> = Vec::new();
        for (at, streams) in &self.history.checkpoints[source] {
            // The first sample is the first word about the group.
            let begun = streams.keys().any(|other| other.group == stream.group);
            if begun
                && samples
                    .last()
                    .is_none_or(|(last, _)| last + 1_000_000 <= *at)
            {
                samples.push((*at, streams.get(&stream).map_or(0, |state| state.1)));
            }
        }
        let kept = samples.len().saturating_sub(66);
        let found = samples[kept..].iter().find(|(_, settled)| *settled >= seq);
        let last = self.history.checkpoints[source].last();
        found.map_or(last.map_or(0, |(at, _)| *at), |(at, _)| *at)
    }

    /// Connections (slot, epoch) that fell silent with what they are owed.
    fn stalled(&self) -> HashSet<(Slot, u16)> {
        let mut spans: HashMap<(Slot, u16), (u64, u64)> = HashMap::new();
        for loss in self.losses.iter().filter(|l| l.may_stall) {
            let at = self.settled_at(loss.stream, loss.seq);
            let span = spans.entry((loss.slot, loss.epoch)).or_insert((at, at));
            *span = (span.0.min(at), span.1.max(at));
        }
        spans
            .into_iter()
            .filter(|((slot, epoch), (first, last))| {
                let frames = self.history.frames[slot].iter();
                let data = frames.filter(|f| f.epoch == *epoch).map(|f| f.at).max();
                data.unwrap_or(0) <= *first && last - first >= 2_000_000
            })
            .map(|(connection, _)| connection)
            .collect()
    }

    /// The source's state of a stream at its first checkpoint at or after `time`.
    fn after(&self, stream: StreamId, time: u64) -> Option<(u32, u32)> {
        let source = *self.history.source_of.get(&stream.publisher)?;
        self.history.checkpoints[source]
            .iter()
            .find(|(at, _)| *at >= time)
            .map(|(_, streams)| streams.get(&stream).copied().unwrap_or((0, 0)))
    }

    /// The source's state of a stream at its last checkpoint at or before `time`.
    fn before(&self, stream: StreamId, time: u64) -> (u32, u32) {
        let source = self.history.source_of[&stream.publisher];
        self.history.checkpoints[source]
            .iter()
            .rev()
            .find(|(at, _)| *at <= time)
            .and_then(|(_, streams)| streams.get(&stream).copied())
            .unwrap_or((0, 0))
    }

    fn floor(&self, stream: StreamId, window: &Window) -> Option<u32> {
        Some(self.after(stream, window.joined?)?.0 + 1)
    }

    /// The last window whose floor is at or below `seq`.
    fn owner(&self, stream: StreamId, windows: &[Window], seq: u32) -> Option<usize> {
        windows
            .iter()
            .rposition(|w| self.floor(stream, w).is_some_and(|floor| floor <= seq))
    }

    /// A window may receive `seq`: it was not settled before the join was sent, nor first
    /// sent after the window's end.
    fn may(&self, stream: StreamId, window: &Window, seq: u32) -> bool {
        let begun = seq > self.before(stream, window.join_invoked).1;
        let over = window
            .ended
            .and_then(|(at, _)| self.after(stream, at))
            .is_some_and(|(invoked, _)| seq > invoked);
        begun && !over
    }

    fn ceiling(&self, stream: StreamId, window: &Window) -> u32 {
        window
            .leave_invoked
            .map_or(0, |at| self.before(stream, at).1)
    }

    /// Whether an acked message that came was owed.
    fn owed(&self, stream: StreamId, windows: &[Window], seq: u32) -> bool {
        self.owner(stream, windows, seq).is_some_and(|at| {
            let window = &windows[at];
            match window.ended {
                Some((_, End::Gap | End::Unreliable)) => true,
                _ => window.leave_invoked.is_none() || seq <= self.ceiling(stream, window),
            }
        })
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

    fn missing(
        &mut self,
        slot: Slot,
        stream: StreamId,
        windows: &[Window],
        seq: u32,
        message: &Message,
        firsts: &[Arrived],
    ) {
        let what = self.what(stream, windows, seq, message, slot, firsts);
        match (what, message.fate) {
            (What::Outside, _) => self.verdict.delivery.outside += 1,
            (_, Fate::Unknown) => self.permit(Permitted::PublishUnknown),
            (_, Fate::Failed | Fate::Forbidden) => self.permit(Permitted::PublishFailed),
            (_, Fate::FireAndForget) => self.permit(Permitted::FireAndForget),
            (What::Edge, Fate::Ok) => {
                self.verdict.delivery.edge += 1;
                self.permit(Permitted::AtMembershipEdge);
            }
            (What::Permitted(why), Fate::Ok) => self.permit(why),
            (What::Lost(at, lost), Fate::Ok) => {
                let latest = at + 1 == windows.len();
                let overtaken = firsts.iter().any(|a| a.frame.identity.seq > seq);
                self.lost(slot, stream, &windows[at], (latest, overtaken), seq, lost);
            }
        }
    }

    /// What a message that did not come is, if it was acked.
    fn what(
        &self,
        stream: StreamId,
        windows: &[Window],
        seq: u32,
        message: &Message,
        slot: Slot,
        firsts: &[Arrived],
    ) -> What {
        let owner = self.owner(stream, windows, seq);
        let from = owner.map_or(0, |at| at + 1);
        let edge = windows[from..].iter().any(|w| self.may(stream, w, seq));
        let owner = owner.map(|at| (at, &windows[at]));
        let how = owner.map(|(_, w)| match w.ended {
            Some((_, end)) => Some(end),
            None => w.leave_invoked.map(|_| End::Left),
        });
        let outside = match (owner, how) {
            (Some((_, w)), Some(Some(End::Left | End::Refused))) => {
                let ended = w.ended.and_then(|(at, _)| self.after(stream, at));
                seq > self.ceiling(stream, w) && ended.is_some_and(|(invoked, _)| seq > invoked)
            }
            (None, _) => true,
            _ => false,
        };
        if outside && !edge {
            return What::Outside;
        }
        let Some((at, window)) = owner.filter(|_| !outside) else {
            return What::Edge;
        };
        let here = || firsts.iter().filter(|a| a.window == at);
        let later = || here().filter(|a| a.frame.identity.seq > seq);
        let overtaken = later().map(|a| a.frame.at).min();
        let latest = at + 1 == windows.len();
        // A repeated transmission may have been executed long after its successors: it does
        // not show that the membership was visible before them. On several nodes it may be
        // visible to one connection of the publisher only.
        let shown = here()
            .filter(|a| a.frame.identity.attempt == 1)
            .rfind(|a| overtaken.is_none_or(|first| a.frame.at < first))
            .map(|a| a.frame.identity.epoch);
        let head = (overtaken.is_some() || latest)
            && match self.promise {
                Promise::Reference => shown.is_none(),
                Promise::Published => shown != Some(message.epoch),
            };
        // A message overtaken in another window only has no place in this one's order.
        let overtaken_elsewhere =
            overtaken.is_none() && firsts.iter().any(|a| a.frame.identity.seq > seq);
        let head = head && !overtaken_elsewhere;
        let retried = message.causes.len() > 1;
        let proven = !retried && later().any(|a| a.must && a.frame.identity.epoch == message.epoch);
        let grace = window
            .joined
            .and_then(|joined| self.after(stream, joined + GRACE_US))
            .map_or(u32::MAX, |(invoked, _)| invoked + 1);
        let reliable = self.history.reliable[slot.0 as usize];
        let interior = if head && seq < grace {
            Lost::AtJoin
        } else if reliable || self.promise == Promise::Reference {
            Lost::Plain
        } else {
            Lost::Unreliable
        };
        let lost = match how.flatten() {
            None => interior,
            Some(_) if proven => interior,
            Some(End::Left | End::Refused) if seq <= self.ceiling(stream, window) => Lost::AtLeave,
            Some(End::Left | End::Refused) => return What::Edge,
            Some(End::Gap) => return What::Permitted(Permitted::LostInReconnectGap),
            Some(End::Unreliable) => return What::Permitted(Permitted::LostUnreliable),
        };
        What::Lost(at, lost)
    }

    fn permit(&mut self, why: Permitted) {
        self.verdict.delivery.permitted += 1;
        self.verdict.permitted.add(why, 1);
    }

    fn lost(
        &mut self,
        slot: Slot,
        stream: StreamId,
        window: &Window,
        (latest, overtaken): (bool, bool),
        seq: u32,
        lost: Lost,
    ) {
        let reference = self.promise == Promise::Reference;
        let kind = match lost {
            Lost::Plain => Some(Violation::Lost),
            Lost::AtJoin if reference => Some(Violation::LostAtJoin),
            Lost::AtLeave if reference => Some(Violation::LostAtLeave),
            _ => None,
        };
        if kind.is_some() {
            self.verdict.delivery.expected += 1;
            self.verdict.delivery.verified += 1;
            self.verdict.delivery.lost += 1;
        } else {
            self.verdict.delivery.unknown += 1;
            let label = match lost {
                Lost::AtJoin => Unknown::LostAtJoin,
                Lost::AtLeave => Unknown::LostAtLeave,
                _ => Unknown::LostUnreliableConnected,
            };
            self.verdict.unknown.add(label, 1);
        }
        let none = Vec::new();
        let recoveries = self.history.recoveries.get(&slot).unwrap_or(&none);
        let open = latest && window.ended.is_none() && window.leave_invoked.is_none();
        let silent = |since: u64| {
            open && since > window.join_invoked
                && !self.heard(slot, window.epoch, stream.group, since)
        };
        let recovery = (recoveries.iter().rev())
            .filter(|r| r.epoch == window.epoch)
            .find(|r| {
                let from = self.before(stream, r.lost_at).0;
                let to = self.after(stream, r.confirmed_at).map_or(u32::MAX, |c| c.0);
                seq > from && (seq <= to || silent(r.confirmed_at))
            })
            .map(|r| r.transport);
        self.losses.push(Loss {
            slot,
            epoch: window.epoch,
            stream,
            seq,
            kind,
            recovery,
            may_stall: kind == Some(Violation::Lost) && recovery.is_none() && open && !overtaken,
        });
    }

    /// A fresh frame of the group that was sent since came on the connection: replays say
    /// nothing of what happens after them.
    fn heard(&self, slot: Slot, epoch: u16, group: GroupId, since: u64) -> bool {
        let frames = &self.history.frames[&slot];
        let mut high = 0;
        frames.iter().filter(|f| f.epoch == epoch).any(|f| {
            let fresh = f.id == 0 || f.id > high;
            high = high.max(f.id);
            let sent = f.identity.unwrap_intended(f.at) + f.identity.lag_us;
            fresh && sent > since && f.identity.group == group
        })
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

/// What a missing message is, if it was acked.
enum What {
    Outside,
    Edge,
    Permitted(Permitted),
    /// In the window at this place.
    Lost(usize, Lost),
}

#[derive(Clone, Copy)]
enum Lost {
    Plain,
    AtJoin,
    AtLeave,
    Unreliable,
}
