//! Everything of a client but its mailbox: session, socket, faults, and the pump that moves
//! bytes between them. Messages and life cycle are in [`super::actor`].

use std::hint::black_box;
use std::ops::ControlFlow;
use std::rc::{Rc, Weak};
use std::task::{Context as TaskContext, Poll, Waker};

use smallvec::SmallVec;

use crate::base::{Slot, Time};
use crate::protocol::{Dial, Output, Received, Session};
use crate::transport::{Closed, Incoming, Ready, Socket, log_frame};
use crate::wire::Downstream;
use crate::wire::close::Close;
use crate::wire::codec::{self, Payload};

use super::actor::Shell;
use super::events::{Me, Phase};
use super::faults::{DialFault, Faults};
use super::link::Link;
use super::publish::Message;
use super::shared::Shared;

/// Unsent bytes above which no more requests are written; they wait in the session, which
/// bounds them.
const UNSENT_MAX: usize = 256 * 1024;

/// One simulated client. In the order of use, as [`Session`] is and for the same reason.
#[repr(C)]
pub(super) struct Body {
    pub(super) session: Session<Message>,
    pub(super) me: Me,
    pub(super) link: Link,
    pub(super) faults: Faults,
}

impl Body {
    pub(super) fn new(shared: Rc<Shared>, slot: Slot) -> Self {
        let me = Me::new(shared.clone(), slot);
        // Counted here and not when the client first runs: whoever starts thousands in one
        // go must see how many are on their way.
        me.first_dial_begins();
        Body {
            session: Session::new(shared.sessions[me.pool].clone(), shared.seed_of(slot)),
            me,
            link: Link::default(),
            faults: Faults::default(),
        }
    }

    /// Starts connecting. Whatever comes of it is taken up in the first turn.
    pub(super) fn start(&mut self) {
        self.session.start();
        let now = self.me.shared.clock.now();
        self.drain(now);
        self.poll_dial(now, &mut TaskContext::from_waker(Waker::noop()));
    }

    /// Reads a little everywhere, so that it is near.
    pub(super) fn touch(&self) {
        self.session.touch();
        let socket = self.link.socket.as_ref();
        black_box((
            self.me.slot,
            self.me.groups.len(),
            self.link.armed.len(),
            socket.map(Socket::touch),
        ));
    }

    /// The poller's word for its connection.
    pub(super) fn ready(&self, ready: Ready) {
        if let Some(socket) = &self.link.socket {
            socket.ready(ready);
        }
    }

    /// Whether nothing will ever happen again.
    pub(super) fn is_over(&self) -> bool {
        self.session.is_stopped() && self.link.socket.is_none()
    }

    /// Reads and does everything that can be done now, and arranges to be woken for the
    /// rest; what is to be written waits for [`Self::flush`]. An alarm is set for `whom`.
    pub(super) fn pump(&mut self, cx: &mut TaskContext<'_>, whom: &dyn Fn() -> Weak<Shell>) {
        loop {
            if self.link.is_dialling() {
                self.poll_dial(self.me.shared.clock.now(), cx);
            }
            // What was read is stamped after it was read; nothing here takes long enough to
            // ask the clock again.
            let now = match self.poll_read(cx) {
                Some(last) => last,
                None => self.me.shared.clock.now(),
            };
            let deadline = [
                self.session.poll_timeout(),
                self.faults.deadline(),
                self.me.next_publish,
                self.me.presence.deadline(),
            ]
            .into_iter()
            .flatten()
            .min();
            let due = self
                .link
                .armed
                .poll(deadline, &self.me.shared.alarms, now, whom);
            if due {
                self.session.handle_timeout(now);
                self.faults_due(now);
                self.me.return_to_group(&mut self.session, now);
                if let Some(intended) = self.me.next_publish.take_if(|at| *at <= now) {
                    self.publish(intended, now);
                }
            }
            let dialled = self.drain(now);
            if self.me.presence.is_leaving() && self.session.outstanding() == 0 {
                self.session.stop();
                self.drain(now);
            }
            // A new dial has not been polled yet, and a fired timer leaves a new deadline.
            if !due && !dialled {
                return;
            }
        }
    }

    /// Takes a publish up that is due.
    pub(super) fn publish(&mut self, intended: Time, now: Time) {
        let shared = self.me.shared.clone();
        let Some(plan) = &shared.scenario.pools[self.me.pool].publish else {
            return;
        };
        let operation =
            self.me
                .numbering
                .operation(&shared, self.me.slot, &self.me.groups, plan, intended);
        let taken = operation
            .is_some_and(|operation| self.session.request(now, operation, plan.ack).is_ok());
        let mut stats = shared.stats.borrow_mut();
        let pool = &mut stats.pools[self.me.pool];
        pool.publish.attempted += 1;
        if taken {
            pool.outstanding += 1;
        } else {
            pool.publish.failed += 1;
            pool.publish.overflow += 1;
        }
    }

    fn poll_dial(&mut self, now: Time, cx: &mut TaskContext<'_>) {
        let shared = self.me.shared.clone();
        let poller = shared
            .poller()
            .map(|poller| (poller, shared.roster.number(self.me.slot)));
        match self.link.poll_dial(poller, cx) {
            Some(Ok(())) => {
                if self.faults.shapes_anything() {
                    self.reshape();
                }
                self.session.handle_opened(now);
            }
            Some(Err(error)) => self.session.handle_dial_failed(now, &error.with_advice()),
            None => {}
        }
    }

    /// Reads what is there. Returns when the last frame was read, if any was.
    fn poll_read(&mut self, cx: &mut TaskContext<'_>) -> Option<Time> {
        let Body {
            session, me, link, ..
        } = self;
        let socket = link.socket.as_mut()?;
        let shared = me.shared.clone();
        let subprotocol = shared.sessions[me.pool].subprotocol;
        let mut pongs: SmallVec<[SmallVec<[u8; 16]>; 1]> = SmallVec::new();
        // Counted apart from what the verifier is given, so that it can tell a lost frame.
        let mut data_frames = 0;
        let mut goodbye = None;
        let mut last = None;
        // Data tells the verifier by itself that the transport lives. The rest is told after
        // the turn: no answer proves that it came too late itself.
        let mut beside_data = None;
        let ended = {
            let mut read = shared.read.borrow_mut();
            socket.poll_read(cx, &mut read, &mut |incoming| {
                let now = shared.clock.now();
                last = Some(now);
                let payload = match incoming {
                    Incoming::Text(text) => Payload::Text(text),
                    Incoming::Binary(bytes) => Payload::Binary(bytes),
                    Incoming::Ping(bytes) => {
                        beside_data = last;
                        session.handle_activity(now);
                        pongs.push(SmallVec::from_slice(bytes));
                        return ControlFlow::Continue(());
                    }
                    Incoming::Pong(_) => {
                        beside_data = last;
                        session.handle_activity(now);
                        return ControlFlow::Continue(());
                    }
                    Incoming::Close(close) => {
                        goodbye = Some(close);
                        return ControlFlow::Continue(());
                    }
                };
                log_frame(&me.slot, false, payload.as_bytes());
                match codec::decode_downstream(subprotocol, payload) {
                    Ok(frame) => {
                        let listening = session.has_transport();
                        data_frames += u64::from(listening && matches!(frame, Downstream::Data(_)));
                        me.note(&frame);
                        let received = session.handle_frame(now, frame);
                        // The verifier must know of a recovery before its first frame.
                        drain_events(session, me, now);
                        match received {
                            Received::Data { message, fresh } => me.data(&message, fresh, now),
                            _ if listening => beside_data = last,
                            _ => {}
                        }
                    }
                    Err(error) => session.handle_bad_frame(now, &error.to_string()),
                }
                ControlFlow::Continue(())
            })
        };
        if let Some(at) = beside_data {
            shared.shard.borrow_mut().heard(me.slot, at);
        }
        if data_frames > 0 {
            shared.shard.borrow_mut().frames_from_socket(data_frames);
        }
        for bytes in pongs {
            // A socket too full for a pong is dead or stalled; its silence will show.
            let _ = socket.queue_pong(&bytes);
        }
        // A close frame is the end, and its code decides: how TCP ends afterwards does not.
        let closed = match (goodbye, ended) {
            (Some(close), _) => {
                // The reply to a close frame is the same code. Source: RFC 6455 5.5.1.
                close_socket(socket, &close);
                close
            }
            (None, Poll::Ready(Closed::Violation(violation))) => {
                close_socket(socket, &Close::with_code(violation.code, ""));
                Close::without_frame(violation.to_string())
            }
            (None, Poll::Ready(ended)) => ended.to_close(),
            (None, Poll::Pending) => return last,
        };
        link.socket = None;
        let now = shared.clock.now();
        self.session.handle_closed(now, closed);
        Some(now)
    }

    /// Writes what there is to write, as far as the kernel takes it.
    pub(super) fn flush(&mut self, cx: &mut TaskContext<'_>) {
        let Some(socket) = &mut self.link.socket else {
            return;
        };
        let full = socket.queued_bytes() >= UNSENT_MAX;
        match socket.poll_flush(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                if full {
                    // There is room again for what waits in the session.
                    cx.waker().wake_by_ref();
                }
            }
            Poll::Ready(Err(error)) => self.cannot_write(&error, cx),
        }
    }

    /// The connection has failed. What the hub said before can still be read, and why it
    /// closed may be part of it.
    fn cannot_write(&mut self, error: &std::io::Error, cx: &mut TaskContext<'_>) {
        if let Some(socket) = &self.link.socket {
            socket.ready(Ready::TO_READ);
        }
        self.poll_read(cx);
        let now = self.me.shared.clock.now();
        if self.link.socket.take().is_some() {
            self.session
                .handle_closed(now, Close::without_frame(error.to_string()));
        }
        self.drain(now);
        // The drain may have asked for a dial, which wants to be polled.
        cx.waker().wake_by_ref();
    }

    /// Does what the session asks for. Returns whether a dial was started.
    pub(super) fn drain(&mut self, now: Time) -> bool {
        let mut dialled = false;
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Event(event) => self.me.event(&mut self.session, event, now),
                    Output::CloseTransport(close) => self.close_transport(close),
                    Output::Dial(dial) => {
                        self.dial(dial, now);
                        dialled = true;
                    }
                }
            }
            if !self.transmit(now) && !self.session.has_output() {
                return dialled;
            }
        }
    }

    /// Queues the frames that the session wants written. Returns whether there were any.
    fn transmit(&mut self, now: Time) -> bool {
        let Body {
            session, me, link, ..
        } = self;
        let Some(socket) = &mut link.socket else {
            return false;
        };
        let shared = me.shared.clone();
        let plan = shared.scenario.pools[me.pool].publish.as_ref();
        let binary = shared.sessions[me.pool].subprotocol.is_binary();
        let slot = me.slot;
        let mut any = false;
        while socket.queued_bytes() < UNSENT_MAX {
            let Some(transmit) = session.poll_transmit(now) else {
                break;
            };
            any = true;
            if let crate::protocol::Transmit::Request {
                transmission,
                operation,
            } = &transmit
                && transmission.attempt > 1
                && matches!(
                    operation,
                    crate::protocol::Operation::Send { .. }
                        | crate::protocol::Operation::Event { .. }
                )
            {
                shared.stats.borrow_mut().pools[me.pool].publish.retries += 1;
            }
            me.numbering
                .encode(&shared, me.slot, plan, transmit, now, |frame| {
                    log_frame(&slot, true, frame);
                    let queued = if binary {
                        socket.queue_binary(frame)
                    } else {
                        socket.queue_text(frame)
                    };
                    // The bound above is below the socket's own.
                    if let Err(error) = queued {
                        tracing::warn!(%error, "frame not queued");
                    }
                });
        }
        if any {
            let unsent = socket.queued_bytes();
            let mut stats = shared.stats.borrow_mut();
            stats.unsent_peak_bytes = stats.unsent_peak_bytes.max(unsent as u64);
            stats.writes_held += u64::from(unsent >= UNSENT_MAX);
        }
        any
    }

    fn close_transport(&mut self, close: Option<Close>) {
        self.link.give_up_dial();
        match (close, &mut self.link.socket) {
            // Said on the way out: the rest of the goodbye is the kernel's.
            (Some(close), Some(socket)) => {
                close_socket(socket, &close);
                self.link.socket = None;
            }
            (None, Some(_)) if self.faults.take_half_open() => self.link.haunt(),
            (_, _) => self.link.socket = None,
        }
    }

    fn dial(&mut self, dial: Dial, now: Time) {
        let shared = self.me.shared.clone();
        match self.faults.dial_fault(now) {
            Some(DialFault::Fails(why)) => return self.session.handle_dial_failed(now, why),
            Some(DialFault::Hangs(lasts)) => {
                if dial == Dial::New {
                    self.me.dialled_at = now;
                    self.me.set_phase(Phase::Connecting);
                }
                let client = &shared.scenario.pools[self.me.pool].client;
                let url = shared.connect_url(self.me.slot, false);
                return self.link.hang(&shared, self.me.slot, url, lasts, client);
            }
            None => {}
        }
        let client = &shared.scenario.pools[self.me.pool].client;
        let url = match &dial {
            Dial::New => {
                self.me.dialled_at = now;
                self.me.set_phase(Phase::Connecting);
                self.me.clients(|clients| clients.connect_dials += 1);
                shared.connect_url(self.me.slot, self.faults.take_bad_token(now))
            }
            Dial::Recover {
                connection_id,
                token,
            } => {
                self.me.clients(|clients| clients.recovery_dials += 1);
                shared.recovery_url(self.me.slot, connection_id, token)
            }
        };
        self.link.dial(&shared, self.me.slot, url, client);
    }
}

/// Says goodbye, as far as the kernel takes it at once.
fn close_socket(socket: &mut Socket, close: &Close) {
    socket.queue_close(close);
    let _ = socket.poll_flush(&mut TaskContext::from_waker(Waker::noop()));
}

/// Hands the session's events on; what asks for the link is left for [`Body::drain`].
fn drain_events(session: &mut Session<Message>, me: &mut Me, now: Time) {
    while let Some(event) = session.poll_event() {
        me.event(session, event, now);
    }
}
