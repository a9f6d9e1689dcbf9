//! The task of one client: moves bytes between socket and session, commands in, events out.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::builder::Options;
use super::client::State;
use super::dial::open;
use super::ears::Ears;
use super::encode::encode;
use super::error::{ConnectError, RequestError};
use super::event::Event;
use super::link::Link;
use super::newer::{NewerCommand, Waiters};
use super::request::Outcome as Answered;
use super::worker::Worker;
use crate::base::{Seed, Time};
use crate::protocol::{Operation, Output, RequestOptions, Session, StopHabit, StreamOrder};
use crate::transport::{Closed, Incoming, log_frame};
use crate::wire::Data;
use crate::wire::close::Close;
use crate::wire::codec::Payload;

/// Commands taken in one turn, so that other clients get theirs.
const COMMANDS_PER_TURN: usize = 64;
/// Unsent bytes above which no more frames are written; requests wait in the session.
const UNSENT_MAX: usize = 256 * 1024;

pub(super) type Content = Arc<Data<'static>>;

/// What a handle asks of the task.
pub(super) enum Command {
    Start(oneshot::Sender<Result<(), ConnectError>>),
    /// Stop when every request has its outcome, at the latest after so long.
    Stop(Duration, oneshot::Sender<()>),
    Request {
        token: u64,
        operation: Operation<Content>,
        options: RequestOptions,
        reply: oneshot::Sender<Answered>,
    },
    Cancel(u64),
    /// About streams and invocations.
    Newer(NewerCommand),
}

/// The task's ends of the channels to the handles.
pub(super) struct Wires {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) state: watch::Sender<State>,
}

/// One client.
pub(super) struct Driver {
    worker: Rc<Worker>,
    options: Options,
    commands: mpsc::Receiver<Command>,
    session: Session<Content>,
    link: Link,
    ears: Ears,
    /// A graceful stop is under way, until then at the latest.
    stop_at: Option<Time>,
    stoppers: Vec<oneshot::Sender<()>>,
    frame: Vec<u8>,
    /// No handle is left.
    orphaned: bool,
}

impl Driver {
    pub(super) fn new(worker: Rc<Worker>, options: Options, wires: Wires) -> Self {
        Driver {
            worker,
            session: Session::new(options.session.clone(), Seed::draw()),
            commands: wires.commands,
            link: Link::default(),
            ears: Ears {
                events: wires.events,
                state: wires.state,
                waiting: FxHashMap::default(),
                starters: Vec::new(),
                connection_id: None,
                notice: None,
                refusal: None,
                connect_error: None,
                newer: Waiters::default(),
                order: StreamOrder::default(),
                announces_late: options
                    .session
                    .reconnect
                    .rejoin
                    .is_some_and(|rejoin| rejoin.before_connected),
                unannounced: None,
            },
            stop_at: None,
            stoppers: Vec::new(),
            frame: Vec::new(),
            orphaned: false,
            options,
        }
    }

    /// Runs until no handle is left and the goodbye is said.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.take_commands(cx);
        loop {
            let now = self.worker.clock.now();
            match self.link.poll_dial(cx) {
                Some(Ok(())) => self.session.handle_opened(now),
                Some(Err(error)) => {
                    let text = error.to_string();
                    self.ears.connect_error = Some(error);
                    self.session.handle_dial_failed(now, &text);
                }
                None => {}
            }
            self.poll_read(cx);
            let now = self.worker.clock.now();
            self.stop_if_due(now);
            let deadlines = [
                self.session.poll_timeout(),
                self.stop_at,
                self.link.deadline(),
            ];
            let deadline = deadlines.into_iter().flatten().min();
            let due = self.link.alarm.poll(deadline, &self.worker.clock, now, cx);
            if due {
                let now = self.worker.clock.now();
                self.session.handle_timeout(now);
                self.stop_if_due(now);
            }
            let dialled = self.drain(now);
            let lost = self.poll_flush(now, cx);
            self.link.poll_leaving(now, &self.worker, cx);
            if !due && !dialled && !lost {
                break;
            }
        }
        self.ears.show_state(&self.session);
        let stopped = self.session.is_stopped() && !self.link.is_leaving();
        if stopped {
            self.stopped();
        }
        if stopped && self.orphaned {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    // ---- commands ---------------------------------------------------------------------

    fn take_commands(&mut self, cx: &mut Context<'_>) {
        for _ in 0..COMMANDS_PER_TURN {
            if self.orphaned {
                return;
            }
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(command)) => {
                    let now = self.worker.clock.now();
                    self.command(command, now);
                }
                Poll::Ready(None) => {
                    self.orphaned = true;
                    self.session.end();
                }
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    fn command(&mut self, command: Command, now: Time) {
        match command {
            Command::Start(reply) if self.session.is_connected() => {
                let _ = reply.send(Ok(()));
            }
            Command::Start(reply) => {
                self.ears.starters.push(reply);
                self.session.start();
                // Before the dial: whoever sees it may ask.
                self.ears.show_state(&self.session);
            }
            Command::Stop(within, reply) => {
                self.stoppers.push(reply);
                let at = now + within;
                self.stop_at = Some(self.stop_at.map_or(at, |earlier| earlier.min(at)));
            }
            Command::Request {
                token,
                operation,
                options,
                reply,
            } => {
                let refusal = if self.stop_at.is_some() || self.session.is_stopped() {
                    RequestError::Stopped
                } else {
                    match self.session.request_with(now, operation, options) {
                        Ok(id) => {
                            self.ears.waiting.insert(id, (token, reply));
                            return;
                        }
                        Err(_) => RequestError::TooMany,
                    }
                };
                let _ = reply.send(Err(refusal));
            }
            Command::Newer(command) => {
                let stopping = self.stop_at.is_some() || self.session.is_stopped();
                let waiters = &mut self.ears.newer;
                waiters.command(&mut self.session, command, stopping, now);
            }
            Command::Cancel(token) => {
                let mut waiting = self.ears.waiting.iter();
                let found = waiting.find(|(_, (known, _))| *known == token);
                if let Some(id) = found.map(|(id, _)| *id) {
                    self.ears.waiting.remove(&id);
                    self.session.cancel(id);
                }
            }
        }
    }

    fn stopped(&mut self) {
        for reply in self.stoppers.drain(..) {
            // Whoever asked may be gone.
            let _ = reply.send(());
        }
    }

    fn stop_if_due(&mut self, now: Time) {
        if let Some(at) = self.stop_at
            && (at <= now || self.session.outstanding() == 0 || self.session.is_stopped())
        {
            self.stop_at = None;
            self.session.stop();
            if self.options.session.stop == StopHabit::OnlyOpen && !self.session.is_stopped() {
                // The JS client says that it has stopped, and comes back.
                self.stopped();
            }
        }
    }

    // ---- the socket -------------------------------------------------------------------

    fn poll_read(&mut self, cx: &mut Context<'_>) {
        let Driver {
            session,
            link,
            ears,
            worker,
            options,
            ..
        } = self;
        let Some(socket) = &mut link.socket else {
            return;
        };
        let subprotocol = options.session.subprotocol;
        let mut pongs: Vec<Vec<u8>> = Vec::new();
        let mut goodbye = None;
        let ended = socket.poll_read(cx, &mut worker.read.borrow_mut(), &mut |incoming| {
            let now = worker.clock.now();
            match incoming {
                Incoming::Text(text) => {
                    ears.hear(session, subprotocol, Payload::Text(text), now);
                }
                Incoming::Binary(bytes) => {
                    ears.hear(session, subprotocol, Payload::Binary(bytes), now);
                }
                Incoming::Ping(bytes) => {
                    session.handle_activity(now);
                    pongs.push(bytes.to_vec());
                }
                Incoming::Pong(_) => session.handle_activity(now),
                Incoming::Close(close) => goodbye = Some(close),
            }
            ControlFlow::Continue(())
        });
        for bytes in pongs {
            // A socket too full for a pong is dead; its silence will show.
            let _ = socket.queue_pong(&bytes);
        }
        let now = worker.clock.now();
        let (reply, closed) = match (goodbye, ended) {
            (Some(close), _) => (Some(close.clone()), close),
            (None, Poll::Ready(Closed::Violation(violation))) => (
                Some(Close::with_code(violation.code, "")),
                Close::without_frame(violation.to_string()),
            ),
            (None, Poll::Ready(ended)) => (None, ended.to_close()),
            (None, Poll::Pending) => return,
        };
        link.close(reply, now);
        session.handle_closed(now, closed);
    }

    /// Writes what is queued. Returns whether the transport was lost over it.
    fn poll_flush(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let Some(socket) = &mut self.link.socket else {
            return false;
        };
        let Poll::Ready(Err(error)) = socket.poll_flush(cx) else {
            return false;
        };
        self.link.close(None, now);
        self.session
            .handle_closed(now, Close::without_frame(error.to_string()));
        self.drain(now);
        true
    }

    /// Does what the session asks for. Returns whether a dial was started.
    fn drain(&mut self, now: Time) -> bool {
        let mut dialled = false;
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Event(event) => self.ears.event(&self.session, event),
                    Output::CloseTransport(close) => self.link.close(close, now),
                    Output::Dial(dial) => {
                        let dial = open(self.worker.clone(), self.options.clone(), dial);
                        self.link.dial(dial);
                        dialled = true;
                    }
                }
            }
            self.ears.newer.write_waiting(&mut self.session);
            if !self.transmit(now) && !self.session.has_output() {
                return dialled;
            }
        }
    }

    /// Queues the frames that the session wants written. Returns whether there were any.
    fn transmit(&mut self, now: Time) -> bool {
        let Driver {
            session,
            link,
            ears,
            options,
            frame,
            ..
        } = self;
        let Some(socket) = &mut link.socket else {
            return false;
        };
        let subprotocol = options.session.subprotocol;
        let mut any = false;
        while socket.queued_bytes() < UNSENT_MAX {
            let Some(transmit) = session.poll_transmit(now) else {
                break;
            };
            any = true;
            frame.clear();
            encode(subprotocol, transmit, frame);
            log_frame(&ears.name(), true, frame);
            let queued = if subprotocol.is_binary() {
                socket.queue_binary(frame)
            } else {
                socket.queue_text(frame)
            };
            // The bound above is below the socket's own.
            if let Err(error) = queued {
                tracing::warn!(%error, "frame not queued");
            }
        }
        any
    }
}
