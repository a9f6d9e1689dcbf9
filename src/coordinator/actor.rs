//! The actor that carries a run out.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult};
use tokio::sync::oneshot;

use super::messages::{
    CoordinatorConfig, Finished, FleetHandle, Fleets, Interrupt, Observe, Tick, Watcher,
};
use super::phase::{self, Phase, Standing, Timetable};
use crate::base::{Clock, Time};
use crate::chaos::Plan;
use crate::fleet::{Begin, Deliver, Lost, Report, StartLoad, StopLoad};
use crate::hub::Hub;
use crate::metrics::{Moments, Snapshot};
use crate::scenario::{ChaosKind, Scenario};
use crate::verify::{self, Facts, Letter, Mirror, Progress};

/// How often phases are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The same under load: its end is known, what else may end it can wait so long, and each
/// look wakes a thread that has nothing else to do.
const LOOK_UNDER_LOAD: Duration = Duration::from_millis(250);
/// How often watchers get a [`Tick`].
const TICK_EVERY: Duration = Duration::from_secs(1);
/// A fleet that says nothing for so long is gone.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// Notes kept for the report.
const NOTES_MAX: usize = 100;

/// A fleet, as its reports show it.
pub(super) struct Seen {
    /// The newest, without its letters.
    pub(super) report: Option<Report>,
    pub(super) snapshot: Snapshot,
    pub(super) at: Time,
    /// The fleet is gone, and why.
    pub(super) lost: Option<String>,
}

/// The run's one authority.
pub struct Coordinator {
    pub(super) clock: Clock,
    scenario: Arc<Scenario>,
    plan: Arc<Plan>,
    pub(super) verify: Arc<verify::Plan>,
    pub(super) hub: Option<Hub>,
    watcher: Watcher,
    pub(super) finished: Option<oneshot::Sender<Finished>>,
    times: Timetable,
    pub(super) phase: Phase,
    /// Phases that began, until the watcher hears of them.
    entered: Vec<(Time, Phase)>,
    /// What happened to clients, likewise: once a second.
    moments: Moments,
    pub(super) fleets: Vec<FleetHandle>,
    pub(super) seen: Vec<Seen>,
    /// Fleets that have yet to hear that another is lost.
    pub(super) untold: Vec<(usize, Lost)>,
    /// What is owed to each fleet's receivers, should it be lost; where there are several.
    pub(super) mirror: Option<Mirror>,
    /// Since when every publish has its outcome and the last facts go round.
    pub(super) telling: Option<Time>,
    pub(super) connected_peak: u64,
    /// Clients that were away when the waiting ended.
    pub(super) away_at_end: u64,
    pub(super) load_start: Option<Time>,
    pub(super) load_end: Option<Time>,
    /// Injections already told to the watcher.
    told: usize,
    restarts: u64,
    pub(super) interrupts: u32,
    /// Why a watcher ended the load early.
    pub(super) given_up: Option<String>,
    /// Fleets judge and end.
    pub(super) concluding: bool,
    pub(super) failures: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Coordinator {
    /// A run that begins when it gets its [`Fleets`].
    pub fn new(config: CoordinatorConfig) -> Self {
        let scenario = config.scenario;
        let last_connect = scenario
            .pools
            .iter()
            .filter_map(|pool| Some(pool.connect?.period()?.saturating_mul(pool.clients)));
        let times = Timetable {
            last_connect: last_connect.max().unwrap_or_default(),
            load: scenario.duration,
            last_fault: last_fault(&config.plan),
            drain: scenario.drain,
        };
        Coordinator {
            clock: config.clock,
            plan: config.plan,
            verify: config.verify,
            hub: config.hub,
            watcher: config.watcher,
            finished: Some(config.finished),
            times,
            phase: Phase::Connecting {
                since: config.clock.now(),
            },
            entered: Vec::new(),
            moments: Moments::default(),
            fleets: Vec::new(),
            seen: Vec::new(),
            untold: Vec::new(),
            mirror: None,
            telling: None,
            connected_peak: 0,
            away_at_end: 0,
            load_start: None,
            load_end: None,
            told: 0,
            restarts: 0,
            interrupts: 0,
            given_up: None,
            concluding: false,
            failures: Vec::new(),
            notes: Vec::new(),
            scenario,
        }
    }

    /// What the fleets say, without those that say nothing any more.
    fn standing(&self) -> Standing {
        self.sum(self.seen.iter().filter(|seen| seen.lost.is_none()))
    }

    pub(super) fn sum<'s>(&self, seen: impl Iterator<Item = &'s Seen>) -> Standing {
        let mut standing = Standing {
            planned: u64::from(self.scenario.residents()),
            ..Standing::default()
        };
        for report in seen.filter_map(|seen| seen.report.as_ref()) {
            standing.ready += u64::from(report.ready);
            standing.ever_connected += u64::from(report.ever_connected);
            standing.departed += u64::from(report.departed);
            standing.connected += report.connected;
            standing.outstanding += report.outstanding;
            standing.missing += report.progress.missing;
        }
        standing
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new(self.scenario.pools.len());
        self.seen
            .iter()
            .for_each(|seen| snapshot.merge(&seen.snapshot));
        snapshot.chaos[ChaosKind::HubRestart as usize] += self.restarts;
        snapshot
    }

    /// Looks at the phase, and again when it may have changed.
    fn keep_looking(&mut self, ctx: &mut Context<Self>) {
        self.look(ctx);
        let next = match self.phase {
            Phase::Loading { start } => {
                let end = start + self.times.load;
                end.since(self.clock.now()).min(LOOK_UNDER_LOAD)
            }
            _ => LOOK_EVERY,
        };
        ctx.run_later(next, Self::keep_looking);
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        if self.telling.is_some_and(|since| self.all_told(since, now)) {
            self.telling = None;
            return self.conclude(ctx);
        }
        self.tell_of_lost();
        self.watch_fleets(now, ctx);
        if !self.failures.is_empty() && !matches!(self.phase, Phase::Settling | Phase::Unreachable)
        {
            return self.enter(Phase::Settling, ctx);
        }
        if let Some(next) = phase::next(self.phase, &self.standing(), &self.times, now) {
            self.enter(next, ctx);
        }
    }

    /// The fleets that are not lost.
    pub(super) fn alive(&self) -> impl Iterator<Item = (usize, &FleetHandle)> {
        let fleets = self.fleets.iter().zip(&self.seen).enumerate();
        fleets.filter_map(|(index, (fleet, seen))| seen.lost.is_none().then_some((index, fleet)))
    }

    /// Notices fleets that are gone and clients that panicked.
    fn watch_fleets(&mut self, now: Time, ctx: &mut Context<Self>) {
        if self.concluding {
            // They end one after the other now, as they should.
            return;
        }
        let mut lost = Vec::new();
        for (index, fleet) in self.alive() {
            let seen = &self.seen[index];
            if !fleet.addr.connected() {
                lost.push((index, "its arbiter ended".to_owned()));
            } else if now - seen.at > SILENT_AFTER {
                lost.push((index, format!("it said nothing for {SILENT_AFTER:?}")));
            }
        }
        for (index, why) in lost {
            self.lose(index, why, now, ctx);
        }
        if matches!(self.phase, Phase::Settling | Phase::Unreachable) || !self.failures.is_empty() {
            return;
        }
        for (index, seen) in self.seen.iter().enumerate() {
            let panicked = seen.report.as_ref().map_or(0, |report| report.panicked);
            if panicked > 0 {
                self.failures.push(format!(
                    "{panicked} client actors of fleet {index} panicked: a bug of the harness"
                ));
            }
        }
    }

    /// A fleet is gone for good. The load ends, as the run cannot pass any more and its
    /// operator wants to know; but what the others are owed still arrives in the drain, or
    /// the hub would be accused of what is under way.
    pub(super) fn lose(&mut self, index: usize, why: String, now: Time, ctx: &mut Context<Self>) {
        tracing::error!(fleet = index, why, "a fleet is gone");
        self.seen[index].lost = Some(why);
        if let Some(mirror) = &mut self.mirror {
            mirror.lost(index);
        }
        let lost = Lost {
            fleet: index,
            slots: self.fleets[index].slots.clone(),
        };
        let others: Vec<_> = self.alive().map(|(to, _)| (to, lost.clone())).collect();
        self.untold.extend(others);
        self.tell_of_lost();
        match self.phase {
            Phase::Loading { .. } => self.stop_load(now, ctx),
            Phase::Connecting { .. } => self.enter(Phase::Settling, ctx),
            Phase::Draining { .. } | Phase::Settling | Phase::Unreachable => {}
        }
    }

    /// Tells fleets of those that are lost; a mailbox that is full is tried again.
    fn tell_of_lost(&mut self) {
        let fleets = &self.fleets;
        self.untold.retain(|(to, lost)| {
            let addr = &fleets[*to].addr;
            addr.try_send(lost.clone()).is_err() && addr.connected()
        });
    }

    fn enter(&mut self, phase: Phase, ctx: &mut Context<Self>) {
        tracing::debug!(?phase, "phase");
        if phase.name() != self.phase.name() {
            let at = match phase {
                // What the plan counts from.
                Phase::Loading { start } => start,
                _ => self.clock.now(),
            };
            self.entered.push((at, phase));
        }
        self.phase = phase;
        match phase {
            Phase::Loading { start } => self.start_load(start, ctx),
            Phase::Draining { .. } => {
                self.load_end = self.load_end.or_else(|| Some(self.clock.now()))
            }
            Phase::Settling | Phase::Unreachable => {
                self.away_at_end = self.standing().away();
                self.tick(ctx);
                self.close(ctx);
            }
            Phase::Connecting { .. } => {}
        }
    }

    fn start_load(&mut self, start: Time, ctx: &mut Context<Self>) {
        self.load_start = Some(start);
        for fleet in &self.fleets {
            if fleet.addr.try_send(StartLoad(start)).is_err() {
                self.failures
                    .push("a fleet did not take the start of the load".into());
            }
        }
        let restarts = self
            .plan
            .injections
            .iter()
            .filter(|injection| injection.kind == ChaosKind::HubRestart);
        for at in restarts.map(|injection| injection.at).collect::<Vec<_>>() {
            ctx.run_later((start + at) - self.clock.now(), |coordinator, _| {
                if coordinator.load_end.is_none()
                    && let Some(hub) = &coordinator.hub
                {
                    hub.restart();
                    coordinator.restarts += 1;
                }
            });
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let snapshot = self.snapshot();
        let mut progress = Progress::default();
        for report in self.seen.iter().filter_map(|seen| seen.report.as_ref()) {
            progress.merge(&report.progress);
        }
        let due = self.load_start.map_or(0, |start| {
            let stop = self.load_end.unwrap_or(now);
            self.plan
                .injections
                .partition_point(|injection| start + injection.at <= stop)
        });
        let injected: Vec<_> = self.plan.injections[self.told..due.max(self.told)]
            .iter()
            .cloned()
            .map(Arc::new)
            .collect();
        self.told = due.max(self.told);
        let tick = Tick {
            now,
            load_start: self.load_start,
            phase: self.phase,
            standing: self.standing(),
            snapshot: &snapshot,
            progress: &progress,
            entered: &std::mem::take(&mut self.entered),
            moments: &std::mem::take(&mut self.moments),
            injected: &injected,
            interrupted: self.interrupts > 0,
        };
        if let Some(why) = (self.watcher)(&tick)
            && matches!(self.phase, Phase::Loading { .. })
        {
            self.given_up = Some(why);
            self.stop_load(now, ctx);
        }
    }

    /// Ends the load before its time, and every fault at work with it: nobody waits for a
    /// blackout of hours in a run that is given up.
    fn stop_load(&mut self, now: Time, ctx: &mut Context<Self>) {
        self.load_end = Some(now);
        let refused = self
            .alive()
            .filter(|(_, f)| f.addr.try_send(StopLoad).is_err());
        let refused = refused.count();
        if refused > 0 {
            self.failures
                .push(format!("{refused} fleets did not take the end of the load"));
        }
        self.enter(
            Phase::Draining {
                quiet: now,
                healed: None,
                paid: None,
            },
            ctx,
        );
    }

    /// What is lost here is repeated until it is acknowledged.
    fn pass_on(&mut self, letter: Letter<Arc<Facts>>) {
        let to = self.fleets.get(usize::from(letter.to));
        if to.is_none()
            && let Some(mirror) = &mut self.mirror
        {
            return mirror.hear(letter);
        }
        if to.is_some_and(|fleet| fleet.addr.try_send(Deliver(letter)).is_err()) {
            tracing::debug!("a fleet's mailbox is full or gone: its facts come again");
        }
    }
}

/// When the last fault is over, from the start of the load.
fn last_fault(plan: &Plan) -> Duration {
    plan.injections
        .iter()
        .map(|injection| injection.at + injection.lasts.unwrap_or_default())
        .max()
        .unwrap_or_default()
}

impl Actor for Coordinator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
        ctx.run_later(LOOK_EVERY, Self::keep_looking);
        ctx.run_interval(TICK_EVERY, |coordinator, ctx| {
            let now = coordinator.clock.now();
            if let Some(mirror) = &mut coordinator.mirror {
                mirror.tick(now);
            }
            if !matches!(coordinator.phase, Phase::Settling | Phase::Unreachable) {
                coordinator.tick(ctx);
            }
        });
    }
}

impl Handler<Fleets> for Coordinator {
    type Result = ();

    fn handle(&mut self, Fleets { fleets, failures }: Fleets, _: &mut Self::Context) {
        self.failures.extend(failures);
        let now = self.clock.now();
        self.phase = Phase::Connecting { since: now };
        self.entered.push((now, self.phase));
        self.seen = fleets
            .iter()
            .map(|_| Seen {
                report: None,
                snapshot: Snapshot::new(self.scenario.pools.len()),
                at: now,
                lost: None,
            })
            .collect();
        if fleets.len() > 1 {
            let slots: Vec<_> = fleets.iter().map(|fleet| fleet.slots.clone()).collect();
            self.mirror = Some(Mirror::new(&self.verify, &slots));
        }
        self.fleets = fleets;
        for fleet in &self.fleets {
            if fleet.addr.try_send(Begin).is_err() {
                self.failures
                    .push("a fleet did not take the beginning".into());
            }
        }
    }
}

impl Handler<Report> for Coordinator {
    type Result = ();

    fn handle(&mut self, mut report: Report, _: &mut Self::Context) {
        if (self.seen.get(report.fleet)).is_none_or(|seen| seen.lost.is_some()) {
            // Its slots are in no book any more: it must not come back to them.
            return;
        }
        let letters = std::mem::take(&mut report.letters);
        letters.into_iter().for_each(|letter| self.pass_on(letter));
        let answers = self.mirror.as_mut().map_or(Vec::new(), Mirror::round);
        answers.into_iter().for_each(|letter| self.pass_on(letter));
        for note in report.notes.drain(..) {
            if self.notes.len() < NOTES_MAX {
                self.notes.push(note);
            }
        }
        let Some(seen) = self.seen.get_mut(report.fleet) else {
            return;
        };
        if (seen.report.as_ref()).is_some_and(|newest| newest.number >= report.number) {
            // Repeated on its way, or overtaken.
            return;
        }
        if let Some(snapshot) = report.snapshot.take() {
            seen.snapshot = *snapshot;
        }
        self.moments.merge(std::mem::take(&mut report.moments));
        seen.at = self.clock.now();
        seen.report = Some(report);
        self.connected_peak = self.connected_peak.max(self.standing().connected);
    }
}

impl Handler<Interrupt> for Coordinator {
    type Result = ();

    fn handle(&mut self, _: Interrupt, ctx: &mut Self::Context) {
        self.interrupts += 1;
        let now = self.clock.now();
        match (self.phase, self.interrupts) {
            (Phase::Settling | Phase::Unreachable, _) => {}
            (Phase::Loading { .. }, 1) => {
                self.stop_load(now, ctx);
            }
            (Phase::Draining { .. }, 1) => {}
            (Phase::Connecting { .. }, 1) | (_, 2..) => self.enter(Phase::Settling, ctx),
            (_, _) => {}
        }
    }
}

impl Handler<Observe> for Coordinator {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Self::Context) -> Self::Result {
        MessageResult((self.phase, self.standing()))
    }
}
