//! What the tasks of the hub's thread share, and the thread's main loop.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsAcceptor;

use super::handshake::{Place, Refusal};
use super::upstream::{self, Upstream};
use crate::base::{Clock, Time};
use crate::hub::config::HubConfig;
use crate::hub::core::events::Call;
use crate::hub::core::{Core, Key, Settings};
use crate::hub::truth::Truth;

/// The read buffer of the thread, shared by all connections.
const READ_BUFFER: usize = 64 * 1024;
/// How long a stopping hub waits for its clients to take their close frames.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// Into how many steps a keep-alive period is cut, so that pings do not leave in one burst.
const KEEP_ALIVE_STEPS: usize = 16;

/// Orders from other threads to the hub's thread.
#[derive(Default, Debug)]
pub(crate) struct Control {
    restarts: AtomicU64,
    stop: AtomicBool,
    truth: Mutex<Vec<oneshot::Sender<Truth>>>,
    changed: Notify,
}

impl Control {
    pub(crate) fn restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn ask_truth(&self) -> oneshot::Receiver<Truth> {
        let (answer, receiver) = oneshot::channel();
        self.truth
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push(answer);
        self.changed.notify_one();
        receiver
    }
}

/// The shell's side of one transport.
struct Transport {
    key: Key,
    waker: Option<Waker>,
    last_heard: Time,
}

/// What all tasks of the hub share.
pub(crate) struct Shell {
    pub(crate) core: RefCell<Core>,
    pub(crate) config: HubConfig,
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    pub(crate) write_buffer: RefCell<Vec<u8>>,
    /// Rings when connections that are still in their handshake shall go away.
    pub(crate) restarted: Notify,
    pub(crate) handshakes: Cell<usize>,
    /// Connections that were let in but are not open yet.
    places: Rc<Cell<usize>>,
    transports: RefCell<Vec<Option<Transport>>>,
    live: Cell<usize>,
    dirty: RefCell<Vec<Key>>,
    armed: Cell<Time>,
    rearm: Notify,
    /// The event handlers' client, if events go upstream.
    pub(crate) upstream: Option<Rc<Upstream>>,
    /// Calls upstream under way; a stopping hub waits for them, but not for long.
    calls_made: Cell<usize>,
    /// Itself, for the tasks it starts.
    weak: Weak<Shell>,
}

impl Shell {
    fn new(config: HubConfig, upstream: Option<Upstream>, weak: Weak<Shell>) -> Self {
        let core = Core::new(Settings {
            seed: config.seed,
            id_seed: config.seed.child(&format!(
                "hub started at {:?}, process {}",
                config.clock.wall(config.clock.now()),
                std::process::id()
            )),
            faults: config.faults.clone(),
            recovery_window: config.recovery_window,
            handler: config.event_handler,
            upstream: upstream.is_some().then_some(config.system_events),
            access_key: config.access_key.clone(),
            start: config.clock.now(),
        });
        Shell {
            core: RefCell::new(core),
            config,
            read_buffer: RefCell::new(vec![0; READ_BUFFER].into()),
            write_buffer: RefCell::new(Vec::new()),
            restarted: Notify::new(),
            handshakes: Cell::new(0),
            places: Rc::default(),
            transports: RefCell::new(Vec::new()),
            live: Cell::new(0),
            dirty: RefCell::new(Vec::new()),
            armed: Cell::new(Time::MAX),
            rearm: Notify::new(),
            upstream: upstream.map(Rc::new),
            calls_made: Cell::new(0),
            weak,
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.config.clock
    }

    /// A place for one more connection.
    ///
    /// # Errors
    /// There is none: 429. Assumed: the service's status is not documented, its log says
    /// "Connection count reaches limit".
    pub(super) fn take_place(&self) -> Result<Place, Refusal> {
        let open = self.core.borrow().sessions.len();
        match self.config.max_connections {
            Some(most) if open + self.places.get() >= most => Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("connection count reaches limit: {most}"),
            )),
            _ => Ok(Place::take(&self.places)),
        }
    }

    /// Books a transport whose task is about to start.
    pub(crate) fn add_transport(&self, key: Key) {
        let mut transports = self.transports.borrow_mut();
        if transports.len() <= key.index() {
            transports.resize_with(key.index() + 1, || None);
        }
        transports[key.index()] = Some(Transport {
            key,
            waker: None,
            last_heard: self.clock().now(),
        });
        self.live.set(self.live.get() + 1);
    }

    /// A transport's task has left the open state: it is no longer woken from here.
    pub(crate) fn forget_transport(&self, key: Key) {
        if let Some(place) = self.transports.borrow_mut().get_mut(key.index())
            && place.as_ref().is_some_and(|transport| transport.key == key)
        {
            *place = None;
        }
    }

    /// A transport's task is over.
    pub(crate) fn transport_done(&self) {
        self.live.set(self.live.get() - 1);
    }

    pub(crate) fn set_waker(&self, key: Key, waker: &Waker) {
        if let Some(Some(transport)) = self.transports.borrow_mut().get_mut(key.index())
            && transport.key == key
            && !transport
                .waker
                .as_ref()
                .is_some_and(|old| old.will_wake(waker))
        {
            transport.waker = Some(waker.clone());
        }
    }

    pub(crate) fn heard(&self, key: Key, now: Time) {
        if let Some(Some(transport)) = self.transports.borrow_mut().get_mut(key.index())
            && transport.key == key
        {
            transport.last_heard = now;
        }
    }

    /// To be called after each use of the core that may have queued something: wakes the
    /// transports concerned (but for `except`, which looks by itself) and the timer task.
    pub(crate) fn after_core(&self, except: Option<Key>) {
        let mut dirty = self.dirty.borrow_mut();
        let mut calls = Vec::new();
        let mut except = except;
        let deadline = {
            let mut core = self.core.borrow_mut();
            if core.take_restart() {
                core.restart();
                self.restarted.notify_waiters();
                // The one whose frame brought it about has looked already.
                except = None;
            }
            core.take_calls(&mut calls);
            core.take_dirty(&mut dirty);
            core.next_deadline()
        };
        let transports = self.transports.borrow();
        for key in dirty.drain(..) {
            if Some(key) != except
                && let Some(Some(transport)) = transports.get(key.index())
                && transport.key == key
                && let Some(waker) = &transport.waker
            {
                waker.wake_by_ref();
            }
        }
        if deadline.is_some_and(|deadline| deadline < self.armed.get()) {
            self.rearm.notify_one();
        }
        if let (Some(upstream), Some(shell)) = (&self.upstream, self.weak.upgrade()) {
            for call in calls {
                self.calls_made.set(self.calls_made.get() + 1);
                tokio::task::spawn_local(make_call(shell.clone(), upstream.clone(), call));
            }
        }
    }

    /// `http` or `https`, as this hub is reached.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.config.tls.is_some() {
            "https"
        } else {
            "http"
        }
    }

    /// Calls the core when its deadlines are due.
    async fn run_timers(self: Rc<Self>) {
        loop {
            let deadline = self.core.borrow().next_deadline().unwrap_or(Time::MAX);
            self.armed.set(deadline);
            tokio::select! {
                () = tokio::time::sleep_until(self.clock().instant(deadline)) => {
                    let now = self.clock().now();
                    self.core.borrow_mut().handle_timeout(now);
                    self.after_core(None);
                }
                () = self.rearm.notified() => {}
            }
        }
    }

    /// Pings every transport once per period and cuts off those silent for two of them.
    async fn keep_alive(self: Rc<Self>) {
        let period = self.config.keep_alive;
        let mut ticks = tokio::time::interval(period / KEEP_ALIVE_STEPS as u32);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut step = 0;
        loop {
            ticks.tick().await;
            step = (step + 1) % KEEP_ALIVE_STEPS;
            let now = self.clock().now();
            let transports = self.transports.borrow();
            let mut core = self.core.borrow_mut();
            for transport in transports
                .iter()
                .skip(step)
                .step_by(KEEP_ALIVE_STEPS)
                .flatten()
            {
                if now.since(transport.last_heard) > 2 * period {
                    core.ping_timeout(transport.key, now);
                } else {
                    core.ping(transport.key, now);
                }
            }
            drop((core, transports));
            self.after_core(None);
        }
    }

    /// Obeys orders until one says stop.
    async fn obey(&self, control: &Control) {
        let mut restarts = 0;
        loop {
            control.changed.notified().await;
            let wanted = control.restarts.load(Ordering::Relaxed);
            while restarts < wanted {
                restarts += 1;
                self.core.borrow_mut().restart();
                self.restarted.notify_waiters();
                self.after_core(None);
            }
            let asked = std::mem::take(
                &mut *control
                    .truth
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner()),
            );
            for answer in asked {
                // The asker may have gone away meanwhile.
                let _ = answer.send(self.core.borrow().truth().clone());
            }
            if control.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Says goodbye to everyone and waits a little for the close frames to be taken and the
    /// event handler to be told.
    async fn say_goodbye(&self) {
        self.core.borrow_mut().shut_down();
        self.restarted.notify_waiters();
        self.after_core(None);
        let all_gone = async {
            while self.live.get() > 0 || self.calls_made.get() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE_MAX, all_gone).await;
    }
}

/// Serves until told to stop; runs in a `LocalSet` on the hub's own thread.
pub(crate) async fn serve(
    listener: TcpListener,
    config: HubConfig,
    tls: Option<TlsAcceptor>,
    control: &Control,
) -> Truth {
    let port = listener.local_addr().map_or(0, |addr| addr.port());
    let upstream = Upstream::new(&config, port).unwrap_or_else(|error| {
        tracing::error!(%error, "events are not sent upstream");
        None
    });
    let shell = Rc::new_cyclic(|weak| Shell::new(config, upstream, weak.clone()));
    let background = [
        spawn(super::accept::accept(shell.clone(), listener, tls)),
        spawn(shell.clone().run_timers()),
        spawn(shell.clone().keep_alive()),
    ];
    shell.obey(control).await;
    let [accept, ..] = &background;
    accept.abort();
    shell.say_goodbye().await;
    background.iter().for_each(|task| task.abort());
    shell.core.borrow().truth().clone()
}

/// Makes a call upstream and gives the answer to the core.
async fn make_call(shell: Rc<Shell>, upstream: Rc<Upstream>, mut call: Call) {
    let answer = upstream::call(&upstream, &call).await;
    shell.calls_made.set(shell.calls_made.get() - 1);
    if let Some(ticket) = call.ticket.take() {
        let now = shell.clock().now();
        shell.core.borrow_mut().answered(ticket, answer, now);
        shell.after_core(None);
    }
}

fn spawn(task: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(task)
}
