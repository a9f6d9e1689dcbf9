//! The actor that starts, drives and ends the clients of one arbiter.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::{
    Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, ResponseActFuture,
    WrapFuture,
};
use rustc_hash::FxHashMap;

use crate::base::{Slot, Time};
use crate::client::{
    Abandon, Churn, Client, Depart, Goodbye, Handle, Heal, Inject, KILLS_AFTER, Publish, Sabotage,
    Server, Shared, Turns,
};
use crate::scenario::ChaosKind;
use crate::verify::{Progress, Shard};

use super::agenda::{Agenda, Due, connects};
use super::alarm::Alarm;
use super::messages::{
    Begin, Conclude, Concluded, Deliver, FleetConfig, Lost, Report, Settle, StartLoad, StopLoad,
};
use super::telling::{CLOSING_EVERY, Telling};

/// First dials under way in one arbiter; the rest wait their turn.
const CONNECTING_MAX: u32 = 200;
/// How long to wait for a place among them before looking again.
const CONNECTING_WAIT: Duration = Duration::from_millis(2);
/// Pieces of work taken up in one go, so that sockets are read in between: some 5 ms of
/// them. When a thread is full its turns grow until reads bring many frames each; a smaller
/// bound would be one on publishes for each of these turns, and so on the rate.
const BATCH: usize = 16_384;
/// How often publisher facts are exchanged and the coordinator is told where things stand.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// Every how many reports the whole snapshot goes along (once a second).
const SNAPSHOT_EVERY: u32 = 4;
/// How often the event loop's lag is measured.
const LAG_EVERY: Duration = Duration::from_millis(10);

/// The clients of one arbiter.
pub struct Fleet {
    config: FleetConfig,
    shared: Rc<Shared>,
    clients: Vec<Option<Handle>>,
    /// The application servers among the slots.
    servers: FxHashMap<u32, Addr<Server>>,
    begun: Option<Time>,
    /// Due connects, soonest last.
    connects: Vec<(Duration, Slot)>,
    agenda: Agenda,
    /// Clients to which a publish was given just now.
    turns: Turns,
    alarm: Alarm,
    reports: u32,
    /// What the verifier had seen when it was last asked.
    progress: Progress,
    telling: Telling,
}

impl Fleet {
    /// A fleet that waits for [`Begin`]. To be called in its own arbiter.
    ///
    /// # Errors
    /// The TLS options cannot be used.
    pub fn new(config: FleetConfig) -> Result<Self, crate::transport::TlsError> {
        let mut shard = Shard::new(config.verify.clone(), config.slots.clone());
        if config.shared.sabotage == Some(Sabotage::CapHoles) {
            shard.limit_holes(0);
        }
        if config.fleets > 1 {
            shard.tell_members();
        }
        let shared = Shared::new(config.shared.clone(), shard)?;
        let mut connects = connects(&shared.scenario, &config.slots);
        connects.reverse();
        Ok(Fleet {
            clients: config.slots.clone().map(|_| None).collect(),
            servers: FxHashMap::default(),
            begun: None,
            connects,
            agenda: Agenda::default(),
            turns: Turns::default(),
            alarm: Alarm::new(),
            reports: 0,
            progress: Progress::default(),
            telling: Telling::new(config.index, config.fleets, config.shared.sabotage),
            shared,
            config,
        })
    }

    fn now(&self) -> Time {
        self.shared.clock.now()
    }

    fn handle_of(&self, slot: Slot) -> Option<&Handle> {
        self.clients[(slot.0 - self.config.slots.start) as usize].as_ref()
    }

    fn client(&self, slot: Slot) -> Option<&Addr<Client>> {
        self.handle_of(slot).map(Handle::addr)
    }

    /// Lets go of clients that are no more: a day of visitors must not pile up.
    fn forget_gone(&mut self) {
        for slot in self.shared.gone.borrow_mut().drain(..) {
            self.clients[(slot.0 - self.config.slots.start) as usize] = None;
        }
    }

    /// Starts the clients that are due and find a place. Returns when to look again.
    fn connect(&mut self, now: Time) -> Option<Time> {
        let begun = self.begun?;
        while let Some((due, slot)) = self.connects.last().copied() {
            if begun + due > now {
                return Some(begun + due);
            }
            if self.shared.connecting.get() >= CONNECTING_MAX {
                return Some(now + CONNECTING_WAIT);
            }
            self.connects.pop();
            self.start(slot);
        }
        None
    }

    /// Takes up what is due. Returns whether there may be more.
    fn work(&mut self, now: Time) -> bool {
        let more = self.work_batch(now);
        self.turns.take();
        more
    }

    fn work_batch(&mut self, now: Time) -> bool {
        for _ in 0..BATCH {
            let Some((intended, due)) = self.agenda.pop(now) else {
                return false;
            };
            let lag = now.micros_since(intended).max(1);
            self.shared
                .stats
                .borrow_mut()
                .schedule_lag
                .get_or_insert_default()
                .record(lag);
            self.do_due(due, intended);
        }
        true
    }

    fn do_due(&mut self, due: Due, intended: Time) {
        let (slot, what, reached) = match due {
            Due::Publish(slot) => return self.publish(slot, intended),
            Due::Arrive(slot) => return self.start(slot),
            Due::Inject(slot, injection) => {
                let client = self.client(slot);
                let reached = client.map(|client| client.try_send(Inject(injection)).is_ok());
                (slot, "a fault", reached)
            }
            Due::Churn(slot) => {
                let client = self.client(slot);
                let reached = client.map(|client| client.try_send(Churn).is_ok());
                (slot, "a leave", reached)
            }
            Due::Depart(slot) => {
                let client = self.client(slot);
                let reached = client.map(|client| client.try_send(Depart).is_ok());
                (slot, "the end of its visit", reached)
            }
        };
        // Clients that are not there yet, or no more, cannot be hit.
        if reached == Some(false) && self.client(slot).is_some_and(Addr::connected) {
            let note = format!("{what} did not reach slot {slot}: its mailbox is full");
            self.shared.notes.borrow_mut().push(note);
        }
    }

    /// Starts the application servers: they have nothing to connect.
    fn start_servers(&mut self) {
        let scenario = self.shared.scenario.clone();
        let ours = &self.config.slots;
        for pool in scenario.pools.iter().filter(|pool| pool.server) {
            for slot in pool.slots().start.max(ours.start)..pool.slots().end.min(ours.end) {
                let server = Server::new(self.shared.clone(), Slot(slot)).start();
                self.servers.insert(slot, server);
            }
        }
    }

    fn start(&mut self, slot: Slot) {
        let client = Client::launch(self.shared.clone(), slot);
        self.clients[(slot.0 - self.config.slots.start) as usize] = Some(client);
    }

    fn publish(&mut self, slot: Slot, intended: Time) {
        let client = self.clients[(slot.0 - self.config.slots.start) as usize].as_ref();
        let sent = match (client, self.servers.get(&slot.0)) {
            (Some(client), _) => client.publish(intended, &mut self.turns),
            (None, Some(server)) => server.try_send(Publish { intended }).is_ok(),
            (None, None) => false,
        };
        if !sent {
            // Counted where the client would have counted it: never sent, so failed.
            let pool = self.shared.scenario.pool_of(slot);
            let counts = &mut self.shared.stats.borrow_mut().pools[pool].publish;
            counts.attempted += 1;
            counts.failed += 1;
            counts.overflow += 1;
        }
    }

    fn stop_load(&mut self) {
        self.shared.load_over.set(true);
        self.agenda.clear();
        self.connects.clear();
    }

    fn report(&mut self, ctx: &mut Context<Self>) {
        if self.telling.is_closing() {
            // What is left to report is in the letters.
            return;
        }
        let now = self.now();
        {
            let mut shard = self.shared.shard.borrow_mut();
            shard.tick(now);
            self.telling.take_new(&mut shard, now);
        }
        self.forget_gone();
        self.reports += 1;
        let whole = self.reports.is_multiple_of(SNAPSHOT_EVERY);
        // Judging what is owed looks at every pair: once a second, but four times in the
        // drain, which ends when nothing is owed any more.
        let end = (self.shared.load_start.get()).map(|start| start + self.shared.scenario.duration);
        if whole || self.shared.load_over.get() || end.is_some_and(|end| now >= end) {
            self.progress = self.shared.shard.borrow().progress(now);
        }
        let report = Report {
            snapshot: whole.then(|| Box::new(self.shared.snapshot())),
            ..self.standing()
        };
        self.send(report, ctx);
    }

    /// Letters alone, while the last facts are told.
    fn report_letters(&mut self, ctx: &mut Context<Self>) {
        let report = self.standing();
        self.send(report, ctx);
    }

    fn send(&mut self, mut report: Report, ctx: &mut Context<Self>) {
        report.letters = self.telling.round();
        report.told = self.telling.told();
        if !self.telling.send(report, &self.config.reports) {
            // Nobody is left to work for.
            tracing::error!(
                fleet = self.config.index,
                "the coordinator is gone or its mailbox is full"
            );
            if !self.config.reports.connected() {
                ctx.stop();
            }
        }
    }

    fn standing(&self) -> Report {
        let stats = self.shared.stats.borrow();
        Report {
            fleet: self.config.index,
            number: 0,
            ready: self.shared.ready.get(),
            ever_connected: self.shared.ever_connected.get(),
            departed: self.shared.departed.get(),
            connected: stats
                .pools
                .iter()
                .map(|pool| pool.connections.connected)
                .sum(),
            outstanding: stats.pools.iter().map(|pool| pool.outstanding).sum(),
            panicked: self.shared.panicked.get(),
            progress: self.progress.clone(),
            letters: Vec::new(),
            told: self.telling.told(),
            snapshot: None,
            moments: self.shared.moments.take(),
            notes: self.shared.notes.borrow_mut().take(),
        }
    }

    /// Measures how late the event loop wakes a sleeper.
    fn watch_loop(&self, ctx: &mut Context<Self>) {
        let clock = self.shared.clock;
        let due = clock.now() + LAG_EVERY;
        let sleep = async move {
            tokio::time::sleep(LAG_EVERY).await;
            clock.now().micros_since(due)
        };
        ctx.spawn(sleep.into_actor(self).map(|lag, fleet, ctx| {
            let mut stats = fleet.shared.stats.borrow_mut();
            stats.loop_lag.get_or_insert_default().record(lag);
            drop(stats);
            fleet.watch_loop(ctx);
        }));
    }
}

impl Actor for Fleet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Facts of other fleets come four times a second from each.
        ctx.set_mailbox_capacity(1024);
        ctx.run_interval(REPORT_EVERY, Self::report);
        self.watch_loop(ctx);
        ctx.spawn(Driver);
    }
}

impl Handler<Begin> for Fleet {
    type Result = ();

    fn handle(&mut self, _: Begin, _: &mut Self::Context) {
        self.start_servers();
        self.begun = Some(self.now());
    }
}

impl Handler<StartLoad> for Fleet {
    type Result = ();

    fn handle(&mut self, StartLoad(start): StartLoad, ctx: &mut Self::Context) {
        let dies = match self.shared.sabotage {
            Some(Sabotage::KillFirstFleet) => self.config.index == 0,
            Some(Sabotage::KillLastFleet) => self.config.index + 1 == self.config.fleets,
            _ => false,
        };
        if dies {
            ctx.run_later(KILLS_AFTER, |_, ctx| ctx.terminate());
        }
        let restarts = self
            .config
            .plan
            .injections
            .iter()
            .filter(|injection| injection.kind == ChaosKind::HubRestart);
        *self.shared.restarts.borrow_mut() =
            restarts.map(|injection| start + injection.at).collect();
        self.shared.load_start.set(Some(start));
        self.agenda = Agenda::new(
            &self.shared.scenario,
            &self.config.plan,
            self.config.slots.clone(),
            start,
        );
    }
}

impl Handler<StopLoad> for Fleet {
    type Result = ();

    fn handle(&mut self, _: StopLoad, _: &mut Self::Context) {
        self.stop_load();
        let clients = self.clients.iter().flatten().map(Handle::addr);
        let missed = clients.filter(|client| client.try_send(Heal).is_err() && client.connected());
        let missed = missed.count();
        if missed > 0 {
            let note = format!("{missed} clients were too busy to hear that their faults are over");
            self.shared.notes.borrow_mut().push(note);
        }
    }
}

impl Handler<Deliver> for Fleet {
    type Result = ();

    fn handle(&mut self, Deliver(letter): Deliver, _: &mut Self::Context) {
        let mut shard = self.shared.shard.borrow_mut();
        self.telling.hear(letter, &mut shard);
    }
}

impl Handler<Lost> for Fleet {
    type Result = ();

    fn handle(&mut self, Lost { fleet, slots }: Lost, _: &mut Self::Context) {
        self.telling.forget(fleet);
        self.shared.shard.borrow_mut().source_lost(slots);
    }
}

impl Handler<Settle> for Fleet {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Settle, _: &mut Self::Context) -> Self::Result {
        self.stop_load();
        let clients = self.clients.iter().flatten();
        let clients: Vec<_> = clients.map(|client| client.addr().send(Abandon)).collect();
        let servers = self.servers.values();
        let servers: Vec<_> = servers.map(|server| server.send(Abandon)).collect();
        // What is gone has settled everything, or has panicked and is counted.
        let settled = async move {
            for abandoned in clients {
                let _ = abandoned.await;
            }
            for abandoned in servers {
                let _ = abandoned.await;
            }
        };
        Box::pin(settled.into_actor(self).map(|(), fleet, ctx| {
            let now = fleet.now();
            fleet
                .telling
                .take_last(&mut fleet.shared.shard.borrow_mut(), now);
            fleet.report_letters(ctx);
            ctx.run_interval(CLOSING_EVERY, Self::report_letters);
        }))
    }
}

impl Handler<Conclude> for Fleet {
    type Result = ResponseActFuture<Self, Box<Concluded>>;

    fn handle(&mut self, _: Conclude, _: &mut Self::Context) -> Self::Result {
        let now = self.now();
        // Judged before anybody leaves: memberships last to the end of the drain.
        let outcome = self.shared.shard.borrow_mut().finish(now);
        let snapshot = self.shared.snapshot();
        // Servers say no goodbye to anybody.
        self.servers.values().for_each(|server| {
            let _ = server.try_send(Goodbye);
        });
        let goodbyes: Vec<_> = self
            .clients
            .iter()
            .flatten()
            .map(|client| client.addr().send(Goodbye))
            .collect();
        let goodbye = async move {
            for said in goodbyes {
                let _ = said.await;
            }
        };
        let panicked = self.shared.panicked.get();
        let exchange = self.telling.counts();
        Box::pin(
            goodbye
                .into_actor(self)
                .map(move |(), _, ctx: &mut Context<Self>| {
                    ctx.stop();
                    Box::new(Concluded {
                        outcome,
                        snapshot,
                        panicked,
                        exchange,
                    })
                }),
        )
    }
}

/// Wakes the fleet when something is due.
struct Driver;

impl ActorFuture<Fleet> for Driver {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        fleet: &mut Fleet,
        _: &mut Context<Fleet>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        loop {
            let now = fleet.now();
            let connect = fleet.connect(now);
            if fleet.work(now) {
                // More is due: let sockets be read first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(next) = [connect, fleet.agenda.deadline()]
                .into_iter()
                .flatten()
                .min()
            else {
                return Poll::Pending;
            };
            let clock = &fleet.shared.clock;
            if fleet.alarm.poll(next, clock, now, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
