//! The actor: life cycle and mailbox of one client, and its turns, in which bytes move.

use std::cell::{Cell, OnceCell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};

use actix::dev::SendError;
use actix::{Actor, ActorContext, Addr, Context, Handler, Message as ActixMessage, WeakAddr};

use smallvec::SmallVec;

use crate::base::{Slot, Time};
use crate::chaos;

use super::body::Body;
use super::shared::Shared;
use super::turns::{Bell, Turns};
use crate::transport::Ready;

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

/// The client has nothing left to do.
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

/// What the actor and those share who give it its turns. What each turn looks at lies
/// together, at the front.
#[repr(C)]
pub(super) struct Shell {
    /// The actor is gone, or in no state to go on.
    over: Cell<bool>,
    /// Publishes to take up: at most [`MAILBOX`].
    due: RefCell<SmallVec<[Time; 1]>>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    body: RefCell<Body>,
    shared: Rc<Shared>,
    slot: Slot,
    /// The actor's, once it is started.
    addr: OnceCell<WeakAddr<Client>>,
}

impl Shell {
    pub(super) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Reads what each turn looks at, for nothing else than to have it near.
    pub(super) fn touch_body(&self) {
        if let Ok(body) = self.body.try_borrow() {
            body.touch();
        }
    }

    /// The same of what the verifier has of this client.
    pub(super) fn touch_verifier(&self) {
        if let Ok(shard) = self.shared.shard.try_borrow() {
            shard.touch(self.slot);
        }
    }

    /// The turn of one whose connection is ready.
    pub(super) fn ready(self: &Rc<Self>, ready: Ready) {
        if let Ok(body) = self.body.try_borrow() {
            body.ready(ready);
        }
        self.turn();
    }

    /// The turn of one that was woken.
    pub(super) fn hear(self: &Rc<Self>) {
        self.bell.heard();
        self.turn();
    }

    /// Does what there is to do; what is to be written waits for [`Self::flush`]. A panic
    /// ends this client alone, and not whoever gives turns to all.
    pub(super) fn turn(self: &Rc<Self>) {
        if !self.over.get() {
            self.alone(|| self.pump());
        }
    }

    /// The end of a turn: writes what it brought. Whoever gives turns to several has them
    /// all write at the end, one after the other: a hub that slept is woken once then, and
    /// does not fall asleep again between two of them.
    pub(super) fn flush(&self) {
        if !self.over.get() {
            self.alone(|| {
                let cx = &mut TaskContext::from_waker(&self.waker);
                self.body.borrow_mut().flush(cx);
            });
        }
    }

    fn alone(&self, act: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(act)).is_err() {
            self.shared.panicked.set(self.shared.panicked.get() + 1);
            self.over.set(true);
        }
    }

    fn pump(self: &Rc<Self>) {
        let mut body = self.body.borrow_mut();
        self.publish_due(&mut body);
        body.pump(&mut TaskContext::from_waker(&self.waker), &|| {
            Rc::downgrade(self)
        });
        if body.is_over()
            && let Some(addr) = self.addr.get().and_then(WeakAddr::upgrade)
            && let Err(SendError::Full(_)) = addr.try_send(Ended)
        {
            // The actor empties it before there is another turn.
            self.wake();
        }
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
        let bell = shared.roster.bell(slot);
        let shell = Rc::new(Shell {
            body: RefCell::new(Body::new(shared.clone(), slot)),
            due: RefCell::default(),
            over: Cell::new(false),
            waker: bell.clone().into(),
            bell,
            addr: OnceCell::new(),
            shared,
            slot,
        });
        shell.shared.roster.enter(slot, &shell);
        Client(shell)
    }

    /// Starts a client on the current arbiter. What it will keep is made here in one go, its
    /// socket too: it lies closer together then, and a frame that comes finds less cold
    /// memory.
    pub fn launch(shared: Rc<Shared>, slot: Slot) -> Handle {
        shared.give_turns();
        let client = Client::new(shared, slot);
        let shell = client.0.clone();
        let addr = client.start();
        // It was empty.
        let _ = shell.addr.set(addr.downgrade());
        shell.alone(|| shell.body.borrow_mut().start());
        shell.wake();
        Handle { addr, shell }
    }

    /// Lets `act` change the client; what that caused leaves in its next turn, all in one
    /// write.
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
        self.0.shared.roster.leave(self.0.slot, &self.0);
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

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::base::Clock;
    use crate::client::SharedConfig;
    use crate::client::turns::PUMPED_MAX;
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

    fn shared(clients: u32) -> Rc<Shared> {
        let text =
            format!("hubstorm: 1\npools:\n  a: {{clients: {clients}, groups: {{count: 1}}}}\n");
        let scenario = scenario::parse(&text, "t.yaml", &Overrides::default(), &|_| None)
            .expect("a good file");
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
            slots: (0..clients).map(|_| verify::SlotPlan::default()).collect(),
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
        Shared::new(config, Shard::new(Arc::new(plan), 0..clients)).expect("no TLS files to read")
    }

    /// actix tells nobody of a panic in an actor: without this count a run would pass with
    /// clients missing.
    #[actix_rt::test]
    async fn a_client_that_panics_is_counted() {
        let shared = shared(1);
        let client = Client::new(shared.clone(), Slot(0)).start();
        assert_eq!(shared.panicked.get(), 0);
        assert!(client.send(Stumble).await.is_err(), "the mailbox is gone");
        assert_eq!(shared.panicked.get(), 1);
    }

    /// What its connections bring is never seen again, and that is no fault of the hub.
    #[actix_rt::test]
    async fn a_thread_that_cannot_watch_its_connections_fails_the_run() {
        let shared = shared(1);
        shared.give_turns();
        assert!(shared.poller().is_some());
        shared.is_deaf(&std::io::Error::other("no more"));
        assert!(
            shared.poller().is_none(),
            "new ones are left to the runtime"
        );
        assert_eq!(shared.panicked.get(), 1);
    }

    /// More than have their turns in one go, woken from another thread.
    #[actix_rt::test]
    async fn everybody_who_is_woken_has_a_turn_and_a_panic_takes_it_from_one_alone() {
        let count = PUMPED_MAX as u32 + 9;
        let shared = shared(count);
        let clients = (0..count).map(|slot| Client::new(shared.clone(), Slot(slot)));
        let clients: Vec<Client> = clients.collect();
        shared.give_turns();
        // A turn takes up what is due.
        for client in &clients {
            client.0.due.borrow_mut().push(Time::ZERO);
        }
        // This one is in use for ever: whoever moves it panics.
        std::mem::forget(clients[1].0.body.borrow_mut());
        let wakers: Vec<Waker> = clients.iter().map(|c| c.0.waker.clone()).collect();
        let ringing = std::thread::spawn(move || wakers.iter().for_each(Waker::wake_by_ref));
        assert!(ringing.join().is_ok());
        until(|| shared.roster.is_quiet()).await;
        let waiting: Vec<Slot> = clients
            .iter()
            .filter(|client| !client.0.due.borrow().is_empty())
            .map(|client| client.0.slot)
            .collect();
        assert_eq!(waiting, [Slot(1)]);
        assert_eq!(shared.panicked.get(), 1);
        assert!(clients[1].0.over.get() && !clients[0].0.over.get());
    }

    /// The same without the pump: as many as have their turns directly, and the rest after.
    #[actix_rt::test]
    async fn publishes_are_taken_up_in_the_turns_that_they_bring() {
        const MORE: usize = 8;
        let count = (Turns::MAX + MORE) as u32;
        let shared = shared(count);
        let handles: Vec<Handle> = (0..count)
            .map(|slot| Client::launch(shared.clone(), Slot(slot)))
            .collect();
        // Their first turns, which their launch brought.
        until(|| shared.roster.is_quiet()).await;
        let mut turns = Turns::default();
        for handle in &handles {
            assert!(handle.publish(Time::ZERO, &mut turns));
            assert!(handle.publish(Time::ZERO, &mut turns));
        }
        turns.take();
        let due = |handle: &&Handle| !handle.shell.due.borrow().is_empty();
        assert_eq!(handles.iter().filter(due).count(), MORE);
        until(|| !handles.iter().any(|handle| due(&handle))).await;
    }

    /// A day of visitors must not pile up.
    #[actix_rt::test]
    async fn nothing_is_kept_of_a_client_that_is_gone() {
        let shared = shared(1);
        let client = Client::new(shared.clone(), Slot(0));
        let shell = client.0.clone();
        assert_eq!(Rc::weak_count(&shell), 1);
        drop(client);
        assert_eq!((Rc::weak_count(&shell), Rc::strong_count(&shell)), (0, 1));
    }

    /// Lets others run until it is so.
    async fn until(so: impl Fn() -> bool) {
        for _ in 0..100_000 {
            if so() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it never came to that");
    }
}
