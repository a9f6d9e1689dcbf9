//! One group stream that a session publishes. Source: client-spec 3.6.
//!
//! ```text
//! Opening --ack 1--> Open --end asked, all parts accepted--> Ending --streamClosed--> over
//!    |                 | drop: paused; after the recovery the unaccepted parts again, in order
//!    |                 | nack: from the part that the hub expects, the second time after a pause
//!    +-- drop: lost    +-- streamClosed, no receipt for 30 s, a receipt that cannot be: over
//! ```
//! The end is written when every part is accepted, so that no nack can come too late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::newer::{
    NewerCounts, NewerEvent, NewerFrame, PARTS_MAX, STREAM_PROGRESS, StreamOptions, StreamOutcome,
    StreamRefused,
};
use crate::base::Time;
use crate::wire::{AckError, StreamError};

/// The pause after the second nack in a row; doubles up to [`HOLD_MAX`], as the official JS
/// client waits between its attempts.
const HOLD_FIRST: Duration = Duration::from_millis(10);
const HOLD_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening { written: bool },
    Open,
    Ending { written: bool },
}

/// A receipt that cannot be: the stream's state is no longer common ground.
#[derive(Debug)]
pub(super) struct Violation;

#[derive(Debug)]
pub(super) struct Outbound<C> {
    options: StreamOptions,
    phase: Phase,
    /// Written or not, not accepted; at most [`PARTS_MAX`].
    parts: VecDeque<C>,
    /// The number of the first of them, which the hub expects next as far as is known.
    first: u64,
    /// The number to write next.
    next: u64,
    /// One above the highest number ever written.
    high: u64,
    /// The end was asked for, in an error or not.
    end: Option<Option<StreamError<'static>>>,
    /// The end was written on an earlier transport.
    end_repeated: bool,
    /// The transport is gone.
    paused: bool,
    /// Nothing is written before.
    hold_until: Option<Time>,
    /// Nacks since the last part was accepted.
    nacks: u32,
    /// When the stream is given up; set while a receipt is due.
    give_up: Option<Time>,
    keep_alive: Time,
}

impl<C> Outbound<C> {
    pub(super) fn new(options: StreamOptions) -> Self {
        Outbound {
            options,
            phase: Phase::Opening { written: false },
            parts: VecDeque::new(),
            first: 1,
            next: 1,
            high: 1,
            end: None,
            end_repeated: false,
            paused: false,
            hold_until: None,
            nacks: 0,
            give_up: None,
            keep_alive: Time::MAX,
        }
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.options.stream_id
    }

    /// Takes a part, to be written as soon as may be; gives it back when it cannot.
    pub(super) fn write(&mut self, content: C) -> Result<(), (C, StreamRefused)> {
        if self.end.is_some() {
            return Err((content, StreamRefused::NotOpen));
        }
        if self.parts.len() >= PARTS_MAX {
            return Err((content, StreamRefused::Full));
        }
        self.parts.push_back(content);
        Ok(())
    }

    /// Asks for the end, after all parts; the first wish counts.
    pub(super) fn end(&mut self, error: Option<StreamError<'static>>) {
        self.end.get_or_insert(error);
    }

    // ---- receipts -----------------------------------------------------------------------

    /// Everything below `expected` is accepted. What there is to tell of it.
    pub(super) fn ack(
        &mut self,
        expected: u64,
        now: Time,
    ) -> Result<Option<NewerEvent>, Violation> {
        if let Phase::Opening { written } = self.phase {
            if !written || expected != 1 {
                return Err(Violation);
            }
            self.phase = Phase::Open;
            self.progress(now);
            let stream_id = self.id().clone();
            return Ok(Some(NewerEvent::StreamOpened { stream_id }));
        }
        let advanced = self.accept(expected)?;
        if !advanced {
            return Ok(None);
        }
        self.progress(now);
        Ok(Some(NewerEvent::StreamAdvanced {
            stream_id: self.id().clone(),
            accepted: self.first - 1,
        }))
    }

    /// A part was not accepted: from `expected` on they are written again.
    pub(super) fn nack(
        &mut self,
        expected: u64,
        now: Time,
    ) -> Result<Option<NewerEvent>, Violation> {
        let mut told = None;
        match &mut self.phase {
            Phase::Opening { written } | Phase::Ending { written } => *written = false,
            Phase::Open => {
                if self.accept(expected)? {
                    self.progress(now);
                    told = Some(NewerEvent::StreamAdvanced {
                        stream_id: self.id().clone(),
                        accepted: self.first - 1,
                    });
                }
                self.next = self.first;
            }
        }
        if self.nacks > 0 && self.hold_until.is_none() {
            let factor = 1_u32.checked_shl(self.nacks - 1).unwrap_or(u32::MAX);
            let pause = HOLD_FIRST.saturating_mul(factor).min(HOLD_MAX);
            self.hold_until = Some(now + pause);
        }
        self.nacks = self.nacks.saturating_add(1).min(32);
        Ok(told)
    }

    fn accept(&mut self, expected: u64) -> Result<bool, Violation> {
        if expected < self.first || expected > self.high {
            return Err(Violation);
        }
        let advanced = expected > self.first;
        // At most as many as there are: `high` is one above the last part.
        for _ in self.first..expected {
            self.parts.pop_front();
        }
        self.first = expected;
        self.next = self.next.max(expected);
        Ok(advanced)
    }

    fn progress(&mut self, now: Time) {
        self.nacks = 0;
        self.hold_until = None;
        let waits = self.high > self.first;
        self.give_up = waits.then(|| now + STREAM_PROGRESS);
    }

    /// How the stream ended, given the hub's word for it.
    pub(super) fn outcome(&self, error: Option<&AckError<'_>>) -> StreamOutcome {
        let ending = matches!(self.phase, Phase::Ending { .. });
        match error {
            None if ending => StreamOutcome::Ended,
            // The answer to the first `streamEnd` was lost with its transport.
            Some(error) if ending && self.end_repeated && error.name == "StreamNotFound" => {
                StreamOutcome::Ended
            }
            error => StreamOutcome::Closed {
                name: error.map(|e| e.name.to_string()).unwrap_or_default(),
                message: error.map(|e| e.message.to_string()).unwrap_or_default(),
            },
        }
    }

    /// The last word on the stream.
    pub(super) fn over(&self, outcome: StreamOutcome) -> NewerEvent {
        NewerEvent::StreamOver {
            stream_id: self.id().clone(),
            outcome,
            accepted: self.first - 1,
            unknown: self.parts.len() as u64,
        }
    }

    // ---- the transport ------------------------------------------------------------------

    /// The transport is gone. Whether the stream may go on after a recovery: not if the hub
    /// has not accepted it, as in the official JS client.
    pub(super) fn pause(&mut self) -> bool {
        self.paused = true;
        self.give_up = None;
        self.hold_until = None;
        self.nacks = 0;
        !matches!(self.phase, Phase::Opening { .. })
    }

    /// The session is recovered: what is not accepted is written again, in order.
    pub(super) fn resume(&mut self, now: Time) {
        if !self.paused {
            return;
        }
        self.paused = false;
        self.next = self.first;
        if let Phase::Ending { written } = &mut self.phase {
            self.end_repeated |= *written;
            *written = false;
        }
        // Without a part to repeat, ask whether the stream is still there.
        self.keep_alive = now;
    }

    // ---- writing ------------------------------------------------------------------------

    /// Whether [`Outbound::frame`] has one now.
    pub(super) fn has_frame(&self, now: Time) -> bool {
        if self.paused || self.hold_until.is_some_and(|until| until > now) {
            return false;
        }
        match self.phase {
            Phase::Opening { written } | Phase::Ending { written } => !written,
            Phase::Open => {
                self.next < self.first + self.parts.len() as u64
                    || (self.end.is_some() && self.parts.is_empty())
                    || self.keep_alive <= now
            }
        }
    }

    /// The next frame; call it after [`Outbound::has_frame`].
    pub(super) fn frame(&mut self, now: Time, counts: &mut NewerCounts) -> NewerFrame<'_, C> {
        self.hold_until = None;
        self.keep_alive = now + self.options.idle_timeout / 3;
        if self.phase == Phase::Open && self.end.is_some() && self.parts.is_empty() {
            self.phase = Phase::Ending { written: false };
        }
        match &mut self.phase {
            Phase::Opening { written } => {
                *written = true;
                self.give_up.get_or_insert(now + STREAM_PROGRESS);
                NewerFrame::StartStream(&self.options)
            }
            Phase::Ending { written } => {
                *written = true;
                self.give_up.get_or_insert(now + STREAM_PROGRESS);
                NewerFrame::EndStream {
                    stream_id: self.options.stream_id.clone(),
                    error: self.end.clone().flatten(),
                }
            }
            Phase::Open => {
                // `next` is never below `first`, and 128 parts fit any usize.
                let at = usize::try_from(self.next - self.first).unwrap_or(usize::MAX);
                let Some(content) = self.parts.get(at) else {
                    return NewerFrame::KeepAlive {
                        stream_id: &self.options.stream_id,
                    };
                };
                let number = self.next;
                self.give_up.get_or_insert(now + STREAM_PROGRESS);
                counts.parts_resent += u64::from(number < self.high);
                self.next += 1;
                self.high = self.high.max(self.next);
                NewerFrame::StreamData {
                    stream_id: &self.options.stream_id,
                    number,
                    content,
                }
            }
        }
    }

    /// When there is something to do by itself.
    pub(super) fn deadline(&self) -> Option<Time> {
        if self.paused {
            return None;
        }
        let keep_alive = (self.phase == Phase::Open).then_some(self.keep_alive);
        let times = [self.hold_until, self.give_up, keep_alive];
        times.into_iter().flatten().min()
    }

    /// Whether no receipt came for too long.
    pub(super) fn is_stuck(&self, now: Time) -> bool {
        self.give_up.is_some_and(|at| at <= now)
    }
}
