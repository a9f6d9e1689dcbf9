//! The actor: life cycle and mailbox of one client, and the task that moves its bytes.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use actix::dev::SendError;
use actix::{Actor, ActorContext, Addr, Context, Handler, Message as ActixMessage};

use smallvec::SmallVec;

use crate::base::{Slot, Time};
use crate::chaos;

use super::body::Body;
use super::shared::Shared;

/// Messages waiting for one client, and publishes; one that is starved for so long has its
/// further publishes counted as failed.
const MAILBOX: usize = 256;

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

/// The pump has nothing left to do.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
struct Ended;

/// One simulated client.
pub struct Client(Rc<Shell>);

/// A client as its fleet holds it: its mailbox, and the way of publishes, which go past it.
/// They are what comes most often, and the mailbox of one of thousands is cold memory.
pub struct Handle {
    addr: Addr<Client>,
    shell: Rc<Shell>,
}

impl Handle {
    /// For everything but publishes.
    pub fn addr(&self) -> &Addr<Client> {
        &self.addr
    }

    /// A publish is due, which the schedule wants sent at `intended`. The client takes it up
    /// in its next turn, before any message that is sent to it after this: when
    /// [`Turns::take`] is called, or soon. False when it is gone, or when 256 wait already.
    pub fn publish(&self, intended: Time, turns: &mut Turns) -> bool {
        let mut due = self.shell.due.borrow_mut();
        if self.shell.over.get() || due.len() >= MAILBOX {
            return false;
        }
        due.push(intended);
        if due.len() == 1 {
            turns.add(self.shell.clone());
        }
        true
    }
}

/// Turns that clients take in the task of somebody else, who is at it anyway: to wake a task
/// among thousands takes longer than to find nothing to do.
#[derive(Default)]
pub struct Turns(Vec<Rc<Shell>>);

impl Turns {
    /// So many in one go; the rest are woken, and sockets are read in between.
    const MAX: usize = 32;

    /// This client is to have a turn.
    pub(super) fn add(&mut self, shell: Rc<Shell>) {
        if self.0.len() < Self::MAX {
            self.0.push(shell);
        } else {
            shell.wake();
        }
    }

    /// They have their turns.
    pub fn take(&mut self) {
        for shell in self.0.drain(..) {
            shell.turn();
        }
    }
}

/// What the actor and its pump share. What each turn looks at lies together, at the front.
#[repr(C)]
pub(super) struct Shell {
    /// The actor is gone, or in no state to go on: so must be the pump.
    over: Cell<bool>,
    /// The pump's, once it runs.
    pump: RefCell<Option<Waker>>,
    /// Publishes to take up: at most [`MAILBOX`].
    due: RefCell<SmallVec<[Time; 1]>>,
    body: RefCell<Body>,
    shared: Rc<Shared>,
    slot: Slot,
}

impl Shell {
    fn wake(&self) {
        if let Some(pump) = &*self.pump.borrow() {
            pump.wake_by_ref();
        }
    }

    /// One turn, not in the pump's own task. A panic ends this client alone, as it would
    /// there.
    fn turn(self: &Rc<Self>) {
        let turn = || {
            let pump = self.pump.borrow();
            // Without: its first turn is to come.
            let Some(waker) = pump.as_ref().filter(|_| !self.over.get()) else {
                return;
            };
            if self.pump_once(&mut TaskContext::from_waker(waker)) {
                waker.wake_by_ref();
            }
        };
        if catch_unwind(AssertUnwindSafe(turn)).is_err() {
            self.shared.panicked.set(self.shared.panicked.get() + 1);
            self.over.set(true);
            self.wake();
        }
    }

    /// Does what there is to do. True when nothing will ever happen again.
    fn pump_once(self: &Rc<Self>, cx: &mut TaskContext<'_>) -> bool {
        let mut body = self.body.borrow_mut();
        self.publish_due(&mut body);
        body.pump(cx, &|| Rc::downgrade(self));
        body.is_over()
    }

    fn publish_due(&self, body: &mut Body) {
        if self.due.borrow().is_empty() {
            return;
        }
        for intended in self.due.take() {
            body.publish(intended, self.shared.clock.now());
        }
    }
}

impl Client {
    /// A client that is not started.
    fn new(shared: Rc<Shared>, slot: Slot) -> Self {
        Client(Rc::new(Shell {
            body: RefCell::new(Body::new(shared.clone(), slot)),
            pump: RefCell::default(),
            due: RefCell::default(),
            over: Cell::new(false),
            shared,
            slot,
        }))
    }

    /// Starts a client on the current arbiter. What it will keep is made here in one go, its
    /// socket too: it lies together then, and a frame that comes finds less cold memory.
    pub fn launch(shared: Rc<Shared>, slot: Slot) -> Handle {
        shared.ring_alarms();
        let client = Client::new(shared, slot);
        let shell = client.0.clone();
        let addr = client.start();
        actix_rt::spawn(Pump {
            shell: shell.clone(),
            client: addr.clone(),
        });
        shell.body.borrow_mut().start();
        Handle { addr, shell }
    }

    /// Lets `act` change the client; what that caused leaves in the pump's next turn, all
    /// in one write.
    fn with(&self, act: impl FnOnce(&mut Body, Time)) {
        let body = &mut self.0.body.borrow_mut();
        self.0.publish_due(body);
        act(body, self.0.shared.clock.now());
        self.0.wake();
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.over.set(true);
        self.0.wake();
        self.0.shared.gone.borrow_mut().push(self.0.slot);
        count_panic(&self.0.shared);
    }
}

/// A panic in a task ends that task and nobody is told: tell.
fn count_panic(shared: &Shared) {
    if std::thread::panicking() {
        shared.panicked.set(shared.panicked.get() + 1);
    }
}

impl Handler<Inject> for Client {
    type Result = ();

    fn handle(&mut self, Inject(injection): Inject, _: &mut Self::Context) {
        self.with(|body, now| body.inject(&injection, now));
    }
}

impl Handler<Churn> for Client {
    type Result = ();

    fn handle(&mut self, _: Churn, _: &mut Self::Context) {
        self.with(|body, now| body.me.leave_a_group(&mut body.session, now));
    }
}

impl Handler<Depart> for Client {
    type Result = ();

    fn handle(&mut self, _: Depart, _: &mut Self::Context) {
        self.with(|body, now| body.me.depart(&mut body.session, now));
    }
}

impl Handler<Abandon> for Client {
    type Result = ();

    fn handle(&mut self, _: Abandon, _: &mut Self::Context) {
        self.with(|body, now| {
            body.session.abandon_requests();
            body.drain(now);
        });
    }
}

impl Handler<Heal> for Client {
    type Result = ();

    fn handle(&mut self, _: Heal, _: &mut Self::Context) {
        self.with(|body, now| body.heal(now));
    }
}

impl Handler<Goodbye> for Client {
    type Result = ();

    fn handle(&mut self, _: Goodbye, _: &mut Self::Context) {
        self.with(|body, now| {
            // Whatever a client's habits are: the run is over.
            body.session.end();
            // Said at once: the arbiter may end before the pump has its next turn.
            body.drain(now);
        });
    }
}

impl Handler<Ended> for Client {
    type Result = ();

    fn handle(&mut self, _: Ended, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Drives a client for as long as it lives. A task of its own and not the actor's: a frame
/// that comes wakes only what it needs, not the mailbox too, which for thousands of clients
/// is cold memory.
struct Pump {
    shell: Rc<Shell>,
    client: Addr<Client>,
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let shell = &self.shell;
        if shell.over.get() {
            return Poll::Ready(());
        }
        // The waker of a task stays the same.
        if shell.pump.borrow().is_none() {
            shell.pump.replace(Some(cx.waker().clone()));
        }
        if shell.pump_once(cx) {
            if let Err(SendError::Full(_)) = self.client.try_send(Ended) {
                // The actor empties it before it comes to us again.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        count_panic(&self.shell.shared);
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
            ack_within: verify::ACK_WITHIN,
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
            sabotage: None,
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
