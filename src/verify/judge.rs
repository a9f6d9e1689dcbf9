//! What every (message, receiver) pair comes to: the one place of judgement on losses.
//!
//! Pure: a pair's frontier, holes and windows and its stream's facts go in, contiguous
//! pieces with one verdict each come out, covering the asked range exactly once.

use super::facts::Fate;
use super::group::Stream;
use super::marks::Mark;
use super::membership::{Shown, WindowEnd};
use super::pairs::{Hole, Kept};
use super::plan::Promise;
use super::unsure::{GOT, MISSED};

/// The verdict on a piece of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bucket {
    /// Delivered, and owed.
    Delivered,
    /// Delivered, though nothing surely owed it.
    NotOwed,
    /// Delivered, though every attempt was refused with `Forbidden` (A3).
    Forbidden,
    /// D1.
    Lost,
    /// D2.
    LostAtJoin,
    /// D3.
    LostAtLeave,
    /// D1 on a subprotocol that promises little, under `published`.
    LostUnreliableConnected,
    /// Permitted: the receiver's session ended.
    Gap,
    /// Permitted: the session ended for its queue.
    Overflow,
    /// Permitted: a drop without recovery.
    Unreliable,
    /// Permitted by the publish's outcome.
    PublishUnknown,
    /// Permitted by the publish's outcome.
    PublishFailed,
    /// Permitted by the publish's outcome.
    FireAndForget,
    /// Not delivered, and owed or not cannot be said.
    Edge,
    /// Not delivered, and the receiver was no member.
    NotMember,
    /// Owed, and not tracked.
    Unverified,
    /// Not tracked, nor surely owed.
    Untracked,
}

/// Seqs `first ..= last` of a pair with one verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) bucket: Bucket,
    /// The window that decided, by its place in the marks.
    pub(super) window: Option<usize>,
    /// The hole that it is of, by its place in the pair's holes.
    pub(super) hole: Option<usize>,
    /// (publisher epoch, sent again) where the verdict needed it.
    pub(super) sent: Option<(u16, bool)>,
    /// Missing before anything showed that the membership was visible (D2).
    pub(super) at_join: bool,
    /// Messages of unknown outcome: whether a receiver whom a success would have been owed to
    /// got or missed them (bits of `unsure`).
    pub(super) unsure: u8,
}

impl Piece {
    /// How many messages.
    pub(super) fn len(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }
}

impl Bucket {
    /// Not delivered and laid to the hub, or waiting to be: may still come.
    pub(super) fn is_open(self) -> bool {
        matches!(
            self,
            Bucket::Lost
                | Bucket::LostAtJoin
                | Bucket::LostAtLeave
                | Bucket::LostUnreliableConnected
        )
    }

    /// The receiver does not have it.
    pub(super) fn is_undelivered(self) -> bool {
        !matches!(
            self,
            Bucket::Delivered
                | Bucket::NotOwed
                | Bucket::Forbidden
                | Bucket::Unverified
                | Bucket::Untracked
        )
    }
}

/// All that the judgement of one pair needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairView<'a> {
    pub(super) marks: &'a [Mark],
    pub(super) stream: &'a Stream,
    /// Highest seq seen + 1.
    pub(super) next: u32,
    pub(super) holes: &'a [Hole],
    /// What of the stream came in the latest window.
    pub(super) shown: Shown,
    /// From here on the pair is not tracked.
    pub(super) blind_from: u32,
    pub(super) reliable: bool,
    pub(super) promise: Promise,
    /// The receiver can receive now: connected, not waiting for a recovery.
    pub(super) attached: bool,
}

/// What a seq's place among the windows says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Zone {
    NotMember,
    Edge,
    /// In the window, still open.
    Open(usize),
    /// Surely acked before the leave.
    BeforeLeave(usize),
    /// Sent before the leave was acked, not surely acked before it was sent.
    Leaving(usize),
    /// In the window of a connection that ended, or after it.
    Ended(usize, WindowEnd),
}

/// How a run of seqs was received.
#[derive(Clone, Copy, Debug)]
enum Run {
    Delivered,
    Hole(usize),
    Tail,
    Blind,
}

impl PairView<'_> {
    /// Judges `from ..= to`.
    pub(super) fn judge(&self, from: u32, to: u32, sink: &mut impl FnMut(Piece)) {
        let mut at = from;
        let mut hole = self.holes.partition_point(|hole| hole.last < from);
        while at <= to {
            let (run, last) = if at >= self.blind_from {
                (Run::Blind, to)
            } else if at >= self.next {
                (Run::Tail, self.blind_from - 1)
            } else {
                match self.holes.get(hole) {
                    Some(open) if open.first <= at => {
                        hole += 1;
                        (Run::Hole(hole - 1), open.last)
                    }
                    Some(open) => (Run::Delivered, open.first - 1),
                    None => (Run::Delivered, self.next - 1),
                }
            };
            let last = last.min(to);
            self.judge_run(run, at, last, sink);
            at = last + 1;
        }
    }

    fn judge_run(&self, run: Run, from: u32, to: u32, sink: &mut impl FnMut(Piece)) {
        if let Run::Hole(at) = run
            && let Some(kept) = &self.holes[at].kept
        {
            return sink(Piece {
                first: from,
                last: to,
                bucket: self.kept(&self.holes[at], kept),
                window: self.marks.iter().position(|m| m.ordinal == kept.window),
                hole: Some(at),
                sent: Some((kept.epoch, kept.retried)),
                at_join: kept.at_join,
                unsure: 0,
            });
        }
        let mut at = from;
        while at <= to {
            let (zone, last) = self.zone(at);
            let last = last.min(to);
            self.judge_zone(run, zone, at, last, sink);
            at = last + 1;
        }
    }

    /// The zone of `seq`, and the last seq that surely has the same.
    fn zone(&self, seq: u32) -> (Zone, u32) {
        // The windows' floors rise with their ordinals, so the last with floor <= seq rules
        // until the next floor.
        let must = self.marks.iter().rposition(|mark| mark.floor <= seq);
        let next_floor = |from: usize| {
            self.marks[from..]
                .iter()
                .map(|mark| mark.floor)
                .filter(|floor| *floor > seq)
                .min()
                .map_or(u32::MAX, |floor| floor - 1)
        };
        let Some(index) = must else {
            return self.outside(0, seq, next_floor(0));
        };
        let mark = &self.marks[index];
        let until = next_floor(index + 1);
        match mark.end {
            None => (Zone::Open(index), until),
            Some(WindowEnd::Left) if seq <= mark.ceiling => {
                (Zone::BeforeLeave(index), until.min(mark.ceiling))
            }
            Some(WindowEnd::Left) if seq <= mark.may_to => {
                (Zone::Leaving(index), until.min(mark.may_to))
            }
            Some(WindowEnd::Left | WindowEnd::Refused) => self.outside(index + 1, seq, until),
            Some(end) => (Zone::Ended(index, end), until),
        }
    }

    /// Outside every must window: an edge where some window from `from` on may receive it.
    fn outside(&self, from: usize, seq: u32, until: u32) -> (Zone, u32) {
        let mut last = until;
        for mark in &self.marks[from..] {
            if seq < mark.may_from {
                last = last.min(mark.may_from - 1);
            } else if seq <= mark.may_to {
                return (Zone::Edge, until.min(mark.may_to));
            }
        }
        (Zone::NotMember, last)
    }

    fn judge_zone(&self, run: Run, zone: Zone, from: u32, to: u32, sink: &mut impl FnMut(Piece)) {
        let piece = |first, last, bucket| Piece {
            first,
            last,
            bucket,
            window: zone.window(),
            hole: run.hole(),
            sent: None,
            at_join: false,
            unsure: 0,
        };
        if zone == Zone::NotMember && matches!(run, Run::Hole(_) | Run::Tail) {
            return sink(piece(from, to, Bucket::NotMember));
        }
        let mut at = from;
        for exception in self.stream.exceptions_in(from, to) {
            if exception.first > at {
                self.judge_ok(run, zone, at, exception.first - 1, None, sink);
                at = exception.first;
            }
            let last = exception.last.min(to);
            if exception.fate == Fate::Ok {
                let epoch = self.stream.epoch_of(at).0;
                self.judge_ok(run, zone, at, last, Some((epoch, true)), sink);
            } else {
                let retried = !exception.causes.is_empty();
                self.judge_not_ok(run, zone, (at, last), exception.fate, retried, sink);
            }
            at = last + 1;
        }
        // What is not settled at the end has an unknown outcome.
        let settled = self.stream.settled.min(to);
        if at <= settled {
            self.judge_ok(run, zone, at, settled, None, sink);
            at = settled + 1;
        }
        if at <= to {
            self.judge_not_ok(run, zone, (at, to), Fate::Unknown, false, sink);
        }
    }

    /// Judges messages that are owed to nobody, and measures how far those came of which
    /// nobody knows whether they were executed (M3).
    fn judge_not_ok(
        &self,
        run: Run,
        zone: Zone,
        (from, to): (u32, u32),
        fate: Fate,
        retried: bool,
        sink: &mut impl FnMut(Piece),
    ) {
        let measured = matches!(fate, Fate::Unknown | Fate::FireAndForget);
        let mut at = from;
        while at <= to {
            // The same verdict as if it had been acked may hang on the publisher's connection.
            let (epoch, last) = match measured {
                true => self.stream.epoch_of(at),
                false => (0, to),
            };
            let last = last.min(to);
            let unsure = match run {
                _ if !measured => 0,
                Run::Delivered if zone.owes() => GOT,
                Run::Hole(_) | Run::Tail
                    if self.missing(run, zone, at, epoch, retried).0.is_open() =>
                {
                    MISSED
                }
                _ => 0,
            };
            sink(Piece {
                first: at,
                last,
                bucket: not_ok(run, fate),
                window: zone.window(),
                hole: run.hole(),
                sent: None,
                at_join: false,
                unsure,
            });
            at = last + 1;
        }
    }

    /// Judges acked messages. `sent`: their (publisher epoch, sent again), where known.
    fn judge_ok(
        &self,
        run: Run,
        zone: Zone,
        from: u32,
        to: u32,
        sent: Option<(u16, bool)>,
        sink: &mut impl FnMut(Piece),
    ) {
        let owed = zone.owes();
        let mut at = from;
        while at <= to {
            let (epoch, last) = match sent {
                Some((epoch, _)) => (epoch, to),
                None => self.stream.epoch_of(at),
            };
            let retried = sent.is_some_and(|(_, retried)| retried);
            let mut last = last.min(to);
            let (bucket, at_join) = match run {
                Run::Delivered if owed => (Bucket::Delivered, false),
                Run::Delivered => (Bucket::NotOwed, false),
                Run::Blind if owed => (Bucket::Unverified, false),
                Run::Blind => (Bucket::Untracked, false),
                Run::Hole(_) | Run::Tail => {
                    // Before and after the grace of a window the verdict may differ.
                    if let Some(window) = zone.window() {
                        let grace = self.marks[window].grace;
                        if at < grace && grace <= last {
                            last = grace - 1;
                        }
                    }
                    self.missing(run, zone, at, epoch, retried)
                }
            };
            sink(Piece {
                first: at,
                last,
                bucket,
                window: zone.window(),
                hole: run.hole(),
                sent: Some((epoch, retried)),
                at_join,
                unsure: 0,
            });
            at = last + 1;
        }
    }

    /// The verdict on an acked message that has not come, and whether it was missed before
    /// anything showed that the membership was visible.
    fn missing(&self, run: Run, zone: Zone, seq: u32, epoch: u16, retried: bool) -> (Bucket, bool) {
        let Some(index) = zone.window() else {
            return (Bucket::Edge, false);
        };
        let mark = &self.marks[index];
        let (head, proven) = match run {
            Run::Hole(at) => {
                let hole = &self.holes[at];
                let here = hole.window == mark.ordinal;
                let proven = here && !retried && hole.proofs.contains(epoch);
                (here && self.is_head(hole.shown, epoch), proven)
            }
            _ => {
                let latest = index + 1 == self.marks.len();
                (latest && self.is_head(self.shown, epoch), false)
            }
        };
        let at_join = head && seq < mark.grace;
        let end = match zone {
            Zone::NotMember | Zone::Edge => return (Bucket::Edge, at_join),
            Zone::Leaving(_) if !proven => return (Bucket::Edge, at_join),
            Zone::Open(_) => None,
            Zone::BeforeLeave(_) | Zone::Leaving(_) => Some(WindowEnd::Left),
            Zone::Ended(_, end) => Some(end),
        };
        (self.lost(end, proven, at_join), at_join)
    }

    /// The verdict on a hole below the horizon, whose window may be forgotten.
    fn kept(&self, hole: &Hole, kept: &Kept) -> Bucket {
        let window = self.marks.iter().find(|mark| mark.ordinal == kept.window);
        let end = window.map_or(kept.end, |mark| mark.end);
        let proven =
            hole.window == kept.window && !kept.retried && hole.proofs.contains(kept.epoch);
        self.lost(end, proven, kept.at_join)
    }

    /// The verdict on an acked message that was owed and has not come, by how its window
    /// ended, if it did. `proven`: what was sent after it on the same connection came.
    fn lost(&self, end: Option<WindowEnd>, proven: bool, at_join: bool) -> Bucket {
        // Interior loss: D1, or D2 before the window's first delivery of the stream.
        let interior = if at_join {
            Bucket::LostAtJoin
        } else if self.reliable || self.promise == Promise::Reference {
            Bucket::Lost
        } else {
            Bucket::LostUnreliableConnected
        };
        match end {
            // A receiver that waits for its recovery at the end may have got it after.
            None if !self.attached && !proven => Bucket::Unverified,
            None => interior,
            Some(_) if proven => interior,
            Some(WindowEnd::Left) => Bucket::LostAtLeave,
            Some(WindowEnd::Overflow) => Bucket::Overflow,
            Some(WindowEnd::Unreliable) => Bucket::Unreliable,
            Some(WindowEnd::Gap | WindowEnd::Refused) => Bucket::Gap,
        }
    }

    /// Nothing shows that the membership was visible when the message was executed. On
    /// several nodes it may be visible to one connection of the publisher and not to the
    /// next.
    fn is_head(&self, shown: Shown, epoch: u16) -> bool {
        match (shown, self.promise) {
            (Shown::Nothing, _) => true,
            (Shown::By(by), Promise::Published) => by != epoch,
            (Shown::By(_) | Shown::LongAgo, _) => false,
        }
    }
}

impl Run {
    fn hole(self) -> Option<usize> {
        match self {
            Run::Hole(hole) => Some(hole),
            Run::Delivered | Run::Tail | Run::Blind => None,
        }
    }
}

impl Zone {
    /// An acked message that came was owed.
    fn owes(self) -> bool {
        matches!(self, Zone::Open(_) | Zone::BeforeLeave(_) | Zone::Ended(..))
    }

    fn window(self) -> Option<usize> {
        match self {
            Zone::NotMember | Zone::Edge => None,
            Zone::Open(at) | Zone::BeforeLeave(at) | Zone::Leaving(at) | Zone::Ended(at, _) => {
                Some(at)
            }
        }
    }
}

fn not_ok(run: Run, fate: Fate) -> Bucket {
    match (run, fate) {
        (Run::Delivered, Fate::Forbidden) => Bucket::Forbidden,
        (Run::Delivered, _) => Bucket::NotOwed,
        (Run::Blind, _) => Bucket::Untracked,
        (_, Fate::Failed | Fate::Forbidden) => Bucket::PublishFailed,
        (_, Fate::FireAndForget) => Bucket::FireAndForget,
        (_, Fate::Unknown | Fate::Ok) => Bucket::PublishUnknown,
    }
}
