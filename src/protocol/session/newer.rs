//! Streams and invocations of a session: what a caller asks for, and when they may go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Session, State};
use crate::base::Time;
use crate::protocol::invoke::Invocations;
use crate::protocol::io::{Event, Output, Received};
use crate::protocol::newer::{
    InvocationId, InvokeRefused, NewerCounts, NewerEvent, NewerFrame, StreamOptions, StreamRefused,
};
use crate::protocol::streams::Streams;
use crate::wire::{InvokeResponse, StreamAnswer, StreamError};

/// Streams and invocations of a session. Most clients never have any: those pay a pointer.
#[derive(Debug)]
pub(super) struct Newer<C>(Option<Box<AtWork<C>>>);

#[derive(Debug)]
struct AtWork<C> {
    streams: Streams<C>,
    invocations: Invocations<C>,
    counts: NewerCounts,
    events: VecDeque<NewerEvent>,
}

impl<C> Default for Newer<C> {
    fn default() -> Self {
        Newer(None)
    }
}

impl<C> Newer<C> {
    /// To add to them.
    fn at_work(&mut self) -> &mut AtWork<C> {
        self.0.get_or_insert_with(|| {
            Box::new(AtWork {
                streams: Streams::default(),
                invocations: Invocations::default(),
                counts: NewerCounts::default(),
                events: VecDeque::new(),
            })
        })
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let newer = self.0.as_ref()?;
        let times = [newer.streams.deadline(), newer.invocations.deadline()];
        times.into_iter().flatten().min()
    }

    pub(super) fn has_frame(&self, now: Time) -> bool {
        self.0
            .as_ref()
            .is_some_and(|newer| newer.streams.has_frame(now) || newer.invocations.has_frame())
    }

    /// The next frame to write; only on a live connection.
    pub(super) fn frame(&mut self, now: Time) -> Option<NewerFrame<'_, C>> {
        let newer = self.0.as_mut()?;
        if newer.invocations.has_frame() {
            return newer.invocations.frame();
        }
        newer.streams.frame(now, &mut newer.counts)
    }
}

impl<C: Clone> Session<C> {
    // ---- commands ---------------------------------------------------------------------

    /// Opens a stream to a group. Parts may be written at once; they leave when the hub has
    /// accepted it ([`NewerEvent::StreamOpened`]). It ends with [`NewerEvent::StreamOver`].
    ///
    /// # Errors
    /// Not connected, too many streams, a bad or taken name, an idle timeout of 0.
    pub fn open_stream(&mut self, options: StreamOptions) -> Result<(), StreamRefused> {
        if self.state != State::Connected {
            return Err(StreamRefused::NotConnected);
        }
        let AtWork {
            streams, counts, ..
        } = self.newer.at_work();
        streams.open(options, counts)
    }

    /// Writes the next part of a stream.
    ///
    /// # Errors
    /// Gives the part back when there is no such stream, when it is being ended, or when
    /// [`super::super::newer::PARTS_MAX`] parts wait to be accepted.
    pub fn write_stream(&mut self, id: &str, content: C) -> Result<(), (C, StreamRefused)> {
        let AtWork {
            streams, counts, ..
        } = self.newer.at_work();
        streams.write(id, content, counts)
    }

    /// Ends a stream once all its parts are accepted, in an error or not. Whether there is
    /// such a stream.
    pub fn end_stream(&mut self, id: &str, error: Option<StreamError<'static>>) -> bool {
        self.newer
            .0
            .as_mut()
            .is_some_and(|newer| newer.streams.end(id, error))
    }

    /// Sends an event and wants its answer: it comes as [`Received::Invoked`], or there is
    /// none and [`NewerEvent::InvocationFailed`] says why. Never tried again.
    ///
    /// # Errors
    /// Not connected, too many invocations, or a protobuf subprotocol.
    pub fn invoke(
        &mut self,
        now: Time,
        event: Arc<str>,
        content: C,
        within: Option<Duration>,
    ) -> Result<InvocationId, InvokeRefused> {
        if self.config.subprotocol.is_binary() {
            return Err(InvokeRefused::NoEncoding);
        }
        if self.state != State::Connected {
            return Err(InvokeRefused::NotConnected);
        }
        let deadline = within.map(|within| now + within);
        let AtWork {
            invocations,
            counts,
            ..
        } = self.newer.at_work();
        invocations.add(event, content, deadline, counts)
    }

    /// Forgets an invocation and tells the hub. Whether it had no answer yet.
    pub fn cancel_invocation(&mut self, id: InvocationId) -> bool {
        self.newer
            .0
            .as_mut()
            .is_some_and(|newer| newer.invocations.cancel(id))
    }

    /// Streams that are not over.
    pub fn open_streams(&self) -> usize {
        self.newer.0.as_ref().map_or(0, |newer| newer.streams.len())
    }

    /// Invocations without an answer.
    pub fn pending_invocations(&self) -> usize {
        self.newer
            .0
            .as_ref()
            .map_or(0, |newer| newer.invocations.len())
    }

    /// What happened at the bounds and edges of streams and invocations.
    pub fn newer_counts(&self) -> NewerCounts {
        self.newer
            .0
            .as_ref()
            .map_or_else(NewerCounts::default, |newer| newer.counts)
    }

    // ---- inputs -----------------------------------------------------------------------

    pub(super) fn stream_answer(&mut self, now: Time, answer: &StreamAnswer<'_>) {
        let AtWork {
            streams,
            counts,
            events,
            ..
        } = self.newer.at_work();
        streams.answer(answer, now, events, counts);
        self.tell_newer();
    }

    pub(super) fn invoke_response<'a>(&mut self, response: InvokeResponse<'a>) -> Received<'a> {
        let AtWork {
            invocations,
            counts,
            ..
        } = self.newer.at_work();
        match invocations.answered(&response.invocation_id, counts) {
            Some(id) => Received::Invoked { id, response },
            None => Received::Handled,
        }
    }

    pub(super) fn newer_timeout(&mut self, now: Time) {
        if let Some(newer) = &mut self.newer.0 {
            newer.streams.timeout(now, &mut newer.events);
            newer.invocations.timeout(now, &mut newer.events);
            self.tell_newer();
        }
    }

    // ---- the connection ---------------------------------------------------------------

    pub(super) fn newer_transport_lost(&mut self) {
        if let Some(newer) = &mut self.newer.0 {
            newer.streams.transport_lost(&mut newer.events);
            newer.invocations.transport_lost(&mut newer.events);
            self.tell_newer();
        }
    }

    pub(super) fn newer_recovered(&mut self, now: Time) {
        if let Some(newer) = &mut self.newer.0 {
            newer.streams.recovered(now);
        }
    }

    pub(super) fn newer_connection_lost(&mut self) {
        if let Some(newer) = &mut self.newer.0 {
            newer.streams.connection_lost(&mut newer.events);
            newer.invocations.transport_lost(&mut newer.events);
            self.tell_newer();
        }
    }

    fn tell_newer(&mut self) {
        let Some(newer) = &mut self.newer.0 else {
            return;
        };
        let events = newer.events.drain(..);
        self.outputs
            .extend(events.map(|event| Output::Event(Event::Newer(event))));
    }
}
