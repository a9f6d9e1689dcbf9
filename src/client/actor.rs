//! The actor: life cycle, mailbox, and the pump that moves bytes between socket and session.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use actix::{
    Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, Message as ActixMessage,
};

use crate::base::{Slot, Time};
use crate::chaos;
use crate::protocol::{Dial, Output, Received, Session};
use crate::transport::{Closed, Incoming, Socket, log_frame};
use crate::wire::Downstream;
use crate::wire::close::Close;
use crate::wire::codec::{self, Payload};

use super::events::{Me, Phase};
use super::faults::{DialFault, Faults};
use super::link::Link;
use super::publish::Message;
use super::shared::Shared;

/// Messages waiting for one client. The pump empties it at each poll; a client that is
/// starved for so long has its further publishes counted as failed.
const MAILBOX: usize = 256;
/// Unsent bytes above which no more requests are written; they wait in the session, which
/// bounds them.
const UNSENT_MAX: usize = 256 * 1024;

/// A publish is due.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Publish {
    /// When the schedule wants it sent.
    pub intended: Time,
}

/// A fault is due.
#[derive(Clone, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Inject(pub Arc<chaos::Injection>);

/// Leave one of the groups for a while.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Churn;

/// A visitor's time is over: leave the groups, say goodbye, end.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Depart;

/// Nothing more is tried: every publish gets the outcome that it has now.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Abandon;

/// Every fault at work ends now: the run is over before its time.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Heal;

/// Close politely and end.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Goodbye;

/// One simulated client.
pub struct Client {
    pub(super) session: Session<Message>,
    pub(super) me: Me,
    pub(super) link: Link,
    pub(super) faults: Faults,
}

impl Client {
    /// A client that connects as soon as it is started.
    pub fn new(shared: Rc<Shared>, slot: Slot) -> Self {
        let me = Me::new(shared.clone(), slot);
        Client {
            session: Session::new(shared.sessions[me.pool].clone(), shared.seed_of(slot)),
            me,
            link: Link::default(),
            faults: Faults::default(),
        }
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.me.first_dial_begins();
        self.session.start();
        ctx.spawn(Pump);
    }
}

impl Drop for Client {
    /// A panic in an actor ends that actor and nobody is told: tell.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let panicked = &self.me.shared.panicked;
            panicked.set(panicked.get() + 1);
        }
    }
}

impl Handler<Publish> for Client {
    type Result = ();

    fn handle(&mut self, Publish { intended }: Publish, _: &mut Self::Context) {
        self.publish(intended);
    }
}

impl Handler<Inject> for Client {
    type Result = ();

    fn handle(&mut self, Inject(injection): Inject, _: &mut Self::Context) {
        let now = self.me.shared.clock.now();
        self.inject(&injection, now);
    }
}

impl Handler<Churn> for Client {
    type Result = ();

    fn handle(&mut self, _: Churn, _: &mut Self::Context) {
        let now = self.me.shared.clock.now();
        self.me.leave_a_group(&mut self.session, now);
    }
}

impl Handler<Depart> for Client {
    type Result = ();

    fn handle(&mut self, _: Depart, _: &mut Self::Context) {
        let now = self.me.shared.clock.now();
        self.me.depart(&mut self.session, now);
    }
}

impl Handler<Abandon> for Client {
    type Result = ();

    fn handle(&mut self, _: Abandon, _: &mut Self::Context) {
        self.session.abandon_requests();
        let now = self.me.shared.clock.now();
        self.drain(now);
    }
}

impl Handler<Heal> for Client {
    type Result = ();

    fn handle(&mut self, _: Heal, _: &mut Self::Context) {
        let now = self.me.shared.clock.now();
        self.heal(now);
    }
}

impl Handler<Goodbye> for Client {
    type Result = ();

    fn handle(&mut self, _: Goodbye, _: &mut Self::Context) {
        // Whatever a client's habits are: the run is over.
        self.session.end();
    }
}

/// Drives a client for as long as it lives.
struct Pump;

impl ActorFuture<Client> for Pump {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        client: &mut Client,
        ctx: &mut Context<Client>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        client.pump(cx);
        if client.session.is_stopped() && client.link.socket.is_none() {
            ctx.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Client {
    /// Moves everything that can be moved now, and arranges to be woken for the rest.
    fn pump(&mut self, cx: &mut TaskContext<'_>) {
        loop {
            let now = self.me.shared.clock.now();
            self.poll_dial(now, cx);
            self.poll_read(cx);
            let now = self.me.shared.clock.now();
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
                .alarm
                .poll(deadline, &self.me.shared.clock, now, cx);
            if due {
                let now = self.me.shared.clock.now();
                self.session.handle_timeout(now);
                self.faults_due(now);
                self.me.return_to_group(&mut self.session, now);
                if let Some(intended) = self.me.next_publish.take_if(|at| *at <= now) {
                    self.publish(intended);
                }
            }
            let dialled = self.drain(now);
            if self.me.presence.is_leaving() && self.session.outstanding() == 0 {
                self.session.stop();
                self.drain(now);
            }
            self.poll_flush(now, cx);
            // A new dial has not been polled yet, and a fired timer leaves a new deadline.
            if !due && !dialled {
                return;
            }
        }
    }

    /// Takes a publish up that is due.
    fn publish(&mut self, intended: Time) {
        let shared = self.me.shared.clone();
        let Some(plan) = &shared.scenario.pools[self.me.pool].publish else {
            return;
        };
        let operation =
            self.me
                .numbering
                .operation(&shared, self.me.slot, &self.me.groups, plan, intended);
        let taken = operation.is_some_and(|operation| {
            self.session
                .request(shared.clock.now(), operation, plan.ack)
                .is_ok()
        });
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
        match self.link.poll_dial(cx) {
            Some(Ok(())) => {
                if self.faults.shapes_anything() {
                    self.reshape();
                }
                self.session.handle_opened(now);
            }
            Some(Err(error)) => self.session.handle_dial_failed(now, &error.to_string()),
            None => {}
        }
    }

    fn poll_read(&mut self, cx: &mut TaskContext<'_>) {
        let Client {
            session, me, link, ..
        } = self;
        let Some(socket) = &mut link.socket else {
            return;
        };
        let shared = me.shared.clone();
        let subprotocol = shared.sessions[me.pool].subprotocol;
        let mut pongs: Vec<Vec<u8>> = Vec::new();
        // Counted apart from what the verifier is given, so that it can tell a lost frame.
        let mut data_frames = 0;
        let mut goodbye = None;
        let ended = {
            let mut read = shared.read.borrow_mut();
            socket.poll_read(cx, &mut read, &mut |incoming| {
                let now = shared.clock.now();
                let payload = match incoming {
                    Incoming::Text(text) => Payload::Text(text),
                    Incoming::Binary(bytes) => Payload::Binary(bytes),
                    Incoming::Ping(bytes) => {
                        session.handle_activity(now);
                        pongs.push(bytes.to_vec());
                        return ControlFlow::Continue(());
                    }
                    Incoming::Pong(_) => {
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
                        if let Received::Data { message, fresh } = received {
                            me.data(&message, fresh, now);
                        }
                    }
                    Err(error) => session.handle_bad_frame(now, &error.to_string()),
                }
                ControlFlow::Continue(())
            })
        };
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
            (None, Poll::Pending) => return,
        };
        link.socket = None;
        self.session
            .handle_closed(self.me.shared.clock.now(), closed);
    }

    fn poll_flush(&mut self, now: Time, cx: &mut TaskContext<'_>) {
        let Some(socket) = &mut self.link.socket else {
            return;
        };
        if let Poll::Ready(Err(error)) = socket.poll_flush(cx) {
            self.link.socket = None;
            self.session
                .handle_closed(now, Close::without_frame(error.to_string()));
            self.drain(now);
            // The drain may have asked for a dial, which wants to be polled.
            cx.waker().wake_by_ref();
        }
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
        let Client {
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
                shared.connect_url(self.me.slot, self.faults.take_bad_token(now))
            }
            Dial::Recover {
                connection_id,
                token,
            } => shared.recovery_url(self.me.slot, connection_id, token),
        };
        self.link.dial(&shared, self.me.slot, url, client);
    }
}

/// Says goodbye, as far as the kernel takes it at once.
fn close_socket(socket: &mut Socket, close: &Close) {
    socket.queue_close(close);
    let _ = socket.poll_flush(&mut TaskContext::from_waker(std::task::Waker::noop()));
}

/// Hands the session's events on; what asks for the link is left for [`Client::drain`].
fn drain_events(session: &mut Session<Message>, me: &mut Me, now: Time) {
    while let Some(event) = session.poll_event() {
        me.event(session, event, now);
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::base::Clock;
    use crate::client::SharedConfig;
    use crate::scenario::{self, Overrides};
    use crate::transport::{Target, TlsOptions};
    use crate::verify::{self, Shard};

    /// A bug of ours, on demand.
    #[derive(ActixMessage)]
    #[rtype(result = "()")]
    struct Stumble;

    impl Handler<Stumble> for Client {
        type Result = ();

        fn handle(&mut self, _: Stumble, _: &mut Self::Context) {
            panic!("a bug on demand");
        }
    }

    fn shared() -> Rc<Shared> {
        let text = "hubstorm: 1\npools:\n  a: {clients: 1, groups: {count: 1}}\n";
        let scenario =
            scenario::parse(text, "t.yaml", &Overrides::default(), &|_| None).expect("a good file");
        let key = Some(SecretString::from("k"));
        // Nobody listens on port 9 of loopback; the client tries again and again.
        let target = Target::from_endpoint("http://127.0.0.1:9", "h", key).expect("a good target");
        let plan = verify::Plan {
            run: 1,
            promise: verify::Promise::Reference,
            mode: verify::Mode::Full,
            memory_budget: 1 << 20,
            drain: scenario.drain,
            late_after: scenario.drain,
            exclusive: true,
            groups: vec!["group-0".into()],
            audiences: Vec::new(),
            slots: vec![verify::SlotPlan::default()],
        };
        let config = SharedConfig {
            clock: Clock::start(),
            scenario: Arc::new(scenario),
            run: 1,
            target: Arc::new(target),
            tls: TlsOptions::default(),
            sources: None,
            directory: Arc::default(),
        };
        Shared::new(config, Shard::new(Arc::new(plan), 0..1)).expect("no TLS files to read")
    }

    /// actix tells nobody of a panic in an actor: without this count a run would pass with
    /// clients missing.
    #[actix_rt::test]
    async fn a_client_that_panics_is_counted() {
        let shared = shared();
        let client = Client::new(shared.clone(), Slot(0)).start();
        assert_eq!(shared.panicked.get(), 0);
        assert!(client.send(Stumble).await.is_err(), "the mailbox is gone");
        assert_eq!(shared.panicked.get(), 1);
    }
}
