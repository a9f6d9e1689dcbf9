//! The socket of one client, the dial that makes it, the goodbye that ends it, and the timer.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::error::ConnectError;
use super::worker::Worker;
use crate::base::Time;
use crate::transport::{Alarm, Socket};
use crate::wire::close::Close;

/// How long a goodbye may take to leave and be answered.
const GOODBYE: Duration = Duration::from_secs(2);

pub(super) type Dialling = Pin<Box<dyn Future<Output = Result<Socket, ConnectError>>>>;

/// At most one socket, one dial and one goodbye at a time.
#[derive(Default)]
pub(super) struct Link {
    pub(super) socket: Option<Socket>,
    dial: Option<Dialling>,
    /// Says goodbye until the time is up; a newer one cuts it short.
    leaving: Option<(Socket, Time)>,
    pub(super) alarm: Alarm,
}

impl Link {
    /// Starts a dial; one under way is given up.
    pub(super) fn dial(&mut self, dial: Dialling) {
        self.dial = Some(dial);
    }

    /// The dial's result, once. A good one becomes the socket.
    pub(super) fn poll_dial(&mut self, cx: &mut Context<'_>) -> Option<Result<(), ConnectError>> {
        let Poll::Ready(result) = self.dial.as_mut()?.as_mut().poll(cx) else {
            return None;
        };
        self.dial = None;
        Some(result.map(|socket| self.socket = Some(socket)))
    }

    /// Gives up the dial and the socket; with a close, says it first.
    pub(super) fn close(&mut self, close: Option<Close>, now: Time) {
        self.dial = None;
        if let (Some(mut socket), Some(close)) = (self.socket.take(), close) {
            socket.queue_close(&close);
            self.leaving = Some((socket, now + GOODBYE));
        }
    }

    /// Whether a goodbye is still being said.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// When the goodbye is cut short.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.leaving.as_ref().map(|(_, until)| *until)
    }

    /// Goes on saying goodbye: what waits is written, what comes is thrown away. Dropping a
    /// socket with unread bytes would reset it, and the goodbye could be lost.
    pub(super) fn poll_leaving(&mut self, now: Time, worker: &Worker, cx: &mut Context<'_>) {
        let Some((socket, until)) = &mut self.leaving else {
            return;
        };
        let failed = matches!(socket.poll_flush(cx), Poll::Ready(Err(_)));
        let ended = socket
            .poll_read(cx, &mut worker.read.borrow_mut(), &mut |_| {
                ControlFlow::Continue(())
            })
            .is_ready();
        if failed || ended || *until <= now {
            self.leaving = None;
        }
    }
}
