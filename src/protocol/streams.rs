//! The streams that a session publishes, together; one by itself is in [`super::stream`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::newer::{
    NewerCounts, NewerEvent, NewerFrame, STREAMS_MAX, StreamOptions, StreamOutcome, StreamRefused,
};
use super::stream::{Outbound, Violation};
use crate::base::Time;
use crate::wire::{StreamAnswer, StreamError};

/// The table: at most [`STREAMS_MAX`] streams, served in turn.
#[derive(Debug)]
pub(super) struct Streams<C> {
    open: Vec<Outbound<C>>,
    /// Whose turn it is to write.
    turn: usize,
    /// Streams given up here that the hub does not know to be over; at most [`STREAMS_MAX`].
    farewells: VecDeque<(Arc<str>, StreamError<'static>)>,
}

impl<C> Default for Streams<C> {
    fn default() -> Self {
        Streams {
            open: Vec::new(),
            turn: 0,
            farewells: VecDeque::new(),
        }
    }
}

impl<C> Streams<C> {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.open.iter().position(|stream| **stream.id() == *id)
    }

    pub(super) fn open(
        &mut self,
        options: StreamOptions,
        counts: &mut NewerCounts,
    ) -> Result<(), StreamRefused> {
        if options.stream_id.is_empty() || self.position(&options.stream_id).is_some() {
            return Err(StreamRefused::BadName);
        }
        if options.idle_timeout.is_zero() {
            return Err(StreamRefused::BadIdleTimeout);
        }
        if self.open.len() >= STREAMS_MAX {
            counts.streams_refused += 1;
            return Err(StreamRefused::TooMany);
        }
        self.open.push(Outbound::new(options));
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        id: &str,
        content: C,
        counts: &mut NewerCounts,
    ) -> Result<(), (C, StreamRefused)> {
        let Some(at) = self.position(id) else {
            return Err((content, StreamRefused::NotOpen));
        };
        let written = self.open[at].write(content);
        counts.parts_refused += u64::from(matches!(written, Err((_, StreamRefused::Full))));
        written
    }

    /// Asks for a stream's end; whether there is such a stream.
    pub(super) fn end(&mut self, id: &str, error: Option<StreamError<'static>>) -> bool {
        let Some(at) = self.position(id) else {
            return false;
        };
        self.open[at].end(error);
        true
    }

    /// A receipt came.
    pub(super) fn answer(
        &mut self,
        answer: &StreamAnswer<'_>,
        now: Time,
        events: &mut VecDeque<NewerEvent>,
        counts: &mut NewerCounts,
    ) {
        let (StreamAnswer::Ack { stream_id, .. }
        | StreamAnswer::Nack { stream_id, .. }
        | StreamAnswer::Closed { stream_id, .. }) = answer;
        let Some(at) = self.position(stream_id) else {
            counts.stray_receipts += 1;
            return;
        };
        let stream = &mut self.open[at];
        let told = match answer {
            StreamAnswer::Ack { expected, .. } => stream.ack(*expected, now),
            StreamAnswer::Nack { expected, .. } => {
                counts.nacks += 1;
                stream.nack(*expected, now)
            }
            StreamAnswer::Closed { error, .. } => {
                let outcome = stream.outcome(error.as_ref());
                events.push_back(stream.over(outcome));
                self.open.remove(at);
                return;
            }
        };
        match told {
            Ok(told) => events.extend(told),
            Err(Violation) => self.give_up(at, StreamOutcome::ProtocolViolation, events),
        }
    }

    /// Gives a stream up, and the hub to know it. Source: the official JS client.
    fn give_up(&mut self, at: usize, outcome: StreamOutcome, events: &mut VecDeque<NewerEvent>) {
        let stream = self.open.remove(at);
        let (message, code) = match outcome {
            StreamOutcome::ProtocolViolation => ("a receipt that cannot be", "ProtocolViolation"),
            _ => ("no receipt in time", "NoProgress"),
        };
        if self.farewells.len() >= STREAMS_MAX {
            // The hub will find that stream idle.
            self.farewells.pop_front();
        }
        let error = StreamError {
            message: Some(message.into()),
            code: Some(code.into()),
        };
        self.farewells.push_back((stream.id().clone(), error));
        events.push_back(stream.over(outcome));
    }

    /// The transport is gone, the session perhaps not.
    pub(super) fn transport_lost(&mut self, events: &mut VecDeque<NewerEvent>) {
        self.farewells.clear();
        self.open.retain_mut(|stream| {
            let goes_on = stream.pause();
            if !goes_on {
                events.push_back(stream.over(StreamOutcome::Lost));
            }
            goes_on
        });
    }

    pub(super) fn recovered(&mut self, now: Time) {
        self.open.iter_mut().for_each(|stream| stream.resume(now));
    }

    /// The session is gone, and its streams with it.
    pub(super) fn connection_lost(&mut self, events: &mut VecDeque<NewerEvent>) {
        self.farewells.clear();
        let lost = self.open.drain(..);
        events.extend(lost.map(|stream| stream.over(StreamOutcome::Lost)));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.open.iter().filter_map(Outbound::deadline).min()
    }

    pub(super) fn timeout(&mut self, now: Time, events: &mut VecDeque<NewerEvent>) {
        while let Some(at) = self.open.iter().position(|stream| stream.is_stuck(now)) {
            self.give_up(at, StreamOutcome::NoProgress, events);
        }
    }

    pub(super) fn has_frame(&self, now: Time) -> bool {
        !self.farewells.is_empty() || self.open.iter().any(|stream| stream.has_frame(now))
    }

    pub(super) fn frame(
        &mut self,
        now: Time,
        counts: &mut NewerCounts,
    ) -> Option<NewerFrame<'_, C>> {
        if let Some((stream_id, error)) = self.farewells.pop_front() {
            let error = Some(error);
            return Some(NewerFrame::EndStream { stream_id, error });
        }
        // In turn, so that one busy stream does not keep the others from writing.
        let count = self.open.len();
        let at = (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|&at| self.open[at].has_frame(now))?;
        self.turn = at + 1;
        Some(self.open[at].frame(now, counts))
    }
}
