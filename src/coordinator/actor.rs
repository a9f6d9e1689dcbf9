//! The actor that carries a run out.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture,
};
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::base::{Clock, Time};
use crate::chaos::{Injection, Plan};
use crate::fleet::{Begin, Conclude, Deliver, Fleet, Report, Settle, StartLoad, StopLoad, Told};
use crate::hub::{Hub, Truth};
use crate::metrics::Snapshot;
use crate::scenario::{ChaosKind, Scenario};
use crate::verify::{self, ExchangeCounts, Facts, Letter, Progress, ShardOutcome, Verification};

use super::phase::{self, Phase, Standing, Timetable};

/// How often phases are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often watchers get a [`Tick`].
const TICK_EVERY: Duration = Duration::from_secs(1);
/// A fleet that says nothing for so long is gone.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// How long fleets may take to settle, to tell each other the last facts, and to conclude.
/// (They give the facts up long before, by rounds.)
const CLOSE_WITHIN: Duration = Duration::from_secs(60);
/// Notes kept for the report.
const NOTES_MAX: usize = 100;

/// A fleet, as the coordinator knows it.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    /// Its address.
    pub addr: Addr<Fleet>,
}

/// What watchers are told each second.
#[derive(Debug)]
pub struct Tick<'a> {
    /// Now.
    pub now: Time,
    /// The zero of the plan, once the load has started.
    pub load_start: Option<Time>,
    /// Where the run stands.
    pub phase: Phase,
    /// What the fleets say.
    pub standing: Standing,
    /// Totals over all fleets.
    pub snapshot: &'a Snapshot,
    /// What the verifiers have seen so far.
    pub progress: &'a Progress,
    /// Faults that came due since the last tick, with the time from the start of the load.
    pub injected: &'a [Arc<Injection>],
    /// Somebody interrupted the run.
    pub interrupted: bool,
}

/// Is told each second how things stand; a text ends the load, and says why.
pub type Watcher = Box<dyn FnMut(&Tick<'_>) -> Option<String>>;

/// What a run needs.
pub struct CoordinatorConfig {
    /// The process clock.
    pub clock: Clock,
    /// What to do.
    pub scenario: Arc<Scenario>,
    /// The faults.
    pub plan: Arc<Plan>,
    /// What the verifiers know.
    pub verify: Arc<verify::Plan>,
    /// The embedded hub, when that is the target.
    pub hub: Option<Hub>,
    /// Who watches; a text ends the load early, and says why.
    pub watcher: Watcher,
    /// Who gets the end.
    pub finished: oneshot::Sender<Finished>,
}

/// What a run ends with.
#[derive(Debug)]
pub struct Finished {
    /// Totals.
    pub snapshot: Snapshot,
    /// The verdict on deliveries.
    pub verification: Verification,
    /// The most clients connected at one time, as far as reports tell.
    pub connected_peak: u64,
    /// How long the load lasted.
    pub load: Duration,
    /// The hub's own account, for the embedded hub.
    pub truth: Option<Truth>,
    /// Somebody interrupted the run.
    pub interrupted: bool,
    /// Why a watcher ended the load early: fails the run.
    pub given_up: Option<String>,
    /// No client ever had a connection.
    pub unreachable: bool,
    /// What went wrong in the harness itself: fails the run.
    pub failures: Vec<String>,
    /// Why the verdict is not the whole story.
    pub doubts: Vec<String>,
    /// Things worth telling, bounded.
    pub notes: Vec<String>,
}

impl Finished {
    /// The end of a run whose coordinator is gone: nothing is known, and that is said.
    pub fn broken(plan: &verify::Plan, why: &str) -> Self {
        Finished {
            snapshot: Snapshot::default(),
            verification: verify::conclude(plan, Vec::new()),
            connected_peak: 0,
            load: Duration::ZERO,
            truth: None,
            interrupted: false,
            given_up: None,
            unreachable: false,
            failures: vec![why.to_owned()],
            doubts: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// Ctrl-C: drain and report; the second time: report at once.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Interrupt;

/// Asks where the run stands.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "(Phase, Standing)")]
pub struct Observe;

/// Hands the coordinator its fleets, which need its address first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Fleets {
    /// Those that started.
    pub fleets: Vec<FleetHandle>,
    /// Why others did not.
    pub failures: Vec<String>,
}

struct Seen {
    /// The newest, without its letters.
    report: Option<Report>,
    snapshot: Snapshot,
    at: Time,
}

/// The run's one authority.
pub struct Coordinator {
    clock: Clock,
    scenario: Arc<Scenario>,
    plan: Arc<Plan>,
    verify: Arc<verify::Plan>,
    hub: Option<Hub>,
    watcher: Watcher,
    finished: Option<oneshot::Sender<Finished>>,
    times: Timetable,
    phase: Phase,
    fleets: Vec<FleetHandle>,
    seen: Vec<Seen>,
    /// Since when every publish has its outcome and the last facts go round.
    telling: Option<Time>,
    connected_peak: u64,
    load_start: Option<Time>,
    load_end: Option<Time>,
    /// Injections already told to the watcher.
    told: usize,
    restarts: u64,
    interrupts: u32,
    /// Why a watcher ended the load early.
    given_up: Option<String>,
    failures: Vec<String>,
    notes: Vec<String>,
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
            fleets: Vec::new(),
            seen: Vec::new(),
            telling: None,
            connected_peak: 0,
            load_start: None,
            load_end: None,
            told: 0,
            restarts: 0,
            interrupts: 0,
            given_up: None,
            failures: Vec::new(),
            notes: Vec::new(),
            scenario,
        }
    }

    fn standing(&self) -> Standing {
        let mut standing = Standing {
            planned: u64::from(self.scenario.residents()),
            ..Standing::default()
        };
        for report in self.seen.iter().filter_map(|seen| seen.report.as_ref()) {
            standing.ready += u64::from(report.ready);
            standing.ever_connected += u64::from(report.ever_connected);
            standing.departed += u64::from(report.departed);
            standing.connected += report.connected;
            standing.outstanding += report.outstanding;
            standing.missing += report.progress.missing;
        }
        standing
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new(self.scenario.pools.len());
        self.seen
            .iter()
            .for_each(|seen| snapshot.merge(&seen.snapshot));
        snapshot.chaos[ChaosKind::HubRestart as usize] += self.restarts;
        snapshot
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        if self.telling.is_some_and(|since| self.all_told(since, now)) {
            self.telling = None;
            return self.conclude(ctx);
        }
        self.watch_fleets(now);
        if !self.failures.is_empty() && !matches!(self.phase, Phase::Settling | Phase::Unreachable)
        {
            return self.enter(Phase::Settling, ctx);
        }
        if let Some(next) = phase::next(self.phase, &self.standing(), &self.times, now) {
            self.enter(next, ctx);
        }
    }

    /// Notices fleets that are gone and clients that panicked.
    fn watch_fleets(&mut self, now: Time) {
        if matches!(self.phase, Phase::Settling | Phase::Unreachable) || !self.failures.is_empty() {
            return;
        }
        for (index, (fleet, seen)) in self.fleets.iter().zip(&self.seen).enumerate() {
            if !fleet.addr.connected() {
                self.failures
                    .push(format!("fleet {index} is gone: its arbiter ended"));
            } else if now - seen.at > SILENT_AFTER {
                self.failures
                    .push(format!("fleet {index} said nothing for {SILENT_AFTER:?}"));
            }
            let panicked = seen.report.as_ref().map_or(0, |report| report.panicked);
            if panicked > 0 {
                self.failures.push(format!(
                    "{panicked} client actors of fleet {index} panicked: a bug of the harness"
                ));
            }
        }
    }

    fn enter(&mut self, phase: Phase, ctx: &mut Context<Self>) {
        tracing::debug!(?phase, "phase");
        self.phase = phase;
        match phase {
            Phase::Loading { start } => self.start_load(start, ctx),
            Phase::Draining { .. } => {
                self.load_end = self.load_end.or_else(|| Some(self.clock.now()))
            }
            Phase::Settling | Phase::Unreachable => {
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
        for fleet in &self.fleets {
            if fleet.addr.try_send(StopLoad).is_err() {
                self.failures
                    .push("a fleet did not take the end of the load".into());
            }
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
    fn pass_on(&self, letter: Letter<Arc<Facts>>) {
        let to = self.fleets.get(usize::from(letter.to));
        if to.is_some_and(|fleet| fleet.addr.try_send(Deliver(letter)).is_err()) {
            tracing::debug!("a fleet's mailbox is full or gone: its facts come again");
        }
    }

    // ---- the end ----------------------------------------------------------------------

    /// Has every publish settled; the last facts go round then.
    fn close(&mut self, ctx: &mut Context<Self>) {
        let fleets = self.fleets.clone();
        let settling = async move {
            join_all(
                fleets
                    .iter()
                    .map(|fleet| timeout(CLOSE_WITHIN, fleet.addr.send(Settle))),
            )
            .await
        };
        ctx.spawn(settling.into_actor(self).map(|settled, coordinator, _| {
            for (index, settled) in settled.into_iter().enumerate() {
                if !matches!(settled, Ok(Ok(()))) {
                    let failure = format!("fleet {index} did not settle");
                    coordinator.failures.push(failure);
                }
            }
            coordinator.telling = Some(coordinator.clock.now());
        }));
    }

    /// Whether every fleet has told its last facts to all others, or has given that up: then
    /// the verifiers miss them and say so.
    fn all_told(&self, since: Time, now: Time) -> bool {
        let told = |seen: &Seen| (seen.report.as_ref()).is_some_and(|r| r.told != Told::NotYet);
        let mut fleets = self.fleets.iter().zip(&self.seen);
        now - since > CLOSE_WITHIN
            || fleets.all(|(fleet, seen)| told(seen) || !fleet.addr.connected())
    }

    /// Judges, and hands the result out.
    fn conclude(&mut self, ctx: &mut Context<Self>) {
        let fleets = self.fleets.clone();
        let hub = self.hub.take();
        let closing = async move {
            let mut failures = Vec::new();
            let truth = match &hub {
                Some(hub) => Some(hub.truth().await),
                None => None,
            };
            let concluded = join_all(
                fleets
                    .iter()
                    .map(|fleet| timeout(CLOSE_WITHIN, fleet.addr.send(Conclude))),
            )
            .await;
            let mut outcomes = Vec::new();
            for (index, concluded) in concluded.into_iter().enumerate() {
                match concluded {
                    Ok(Ok(concluded)) => outcomes.push((index, concluded)),
                    Ok(Err(_)) | Err(_) => failures.push(format!("fleet {index} gave no result")),
                }
            }
            if let Some(hub) = hub {
                hub.stop();
            }
            (outcomes, truth, failures)
        };
        let closed = closing.into_actor(self).map(
            |(concluded, truth, failures), coordinator, ctx: &mut Context<Self>| {
                let mut outcomes: Vec<ShardOutcome> = Vec::new();
                let mut exchange = ExchangeCounts::default();
                for (index, concluded) in concluded {
                    let concluded = *concluded;
                    coordinator.seen[index].snapshot = concluded.snapshot;
                    if concluded.panicked > 0 && coordinator.failures.is_empty() {
                        coordinator.failures.push(format!(
                            "{} client actors panicked: a bug of the harness",
                            concluded.panicked
                        ));
                    }
                    exchange.merge(&concluded.exchange);
                    outcomes.push(concluded.outcome);
                }
                coordinator.failures.extend(failures);
                coordinator.finish(outcomes, exchange, truth);
                ctx.stop();
            },
        );
        ctx.spawn(closed);
    }

    fn finish(
        &mut self,
        outcomes: Vec<ShardOutcome>,
        exchange: ExchangeCounts,
        truth: Option<Truth>,
    ) {
        let standing = self.standing();
        let mut doubts = Vec::new();
        if standing.ready < standing.planned && standing.ever_connected > 0 {
            doubts.push(format!(
                "{} of {} clients were never ready",
                standing.planned - standing.ready,
                standing.planned
            ));
        }
        let load = match (self.load_start, self.load_end) {
            (Some(start), Some(end)) => end - start,
            (Some(start), None) => self.clock.now() - start,
            (None, _) => Duration::ZERO,
        };
        let mut verification = verify::conclude(&self.verify, outcomes);
        verification.verifier.exchange = exchange;
        let finished = Finished {
            snapshot: self.snapshot(),
            verification,
            connected_peak: self.connected_peak,
            load,
            truth,
            interrupted: self.interrupts > 0,
            given_up: self.given_up.take(),
            unreachable: self.phase == Phase::Unreachable || standing.ever_connected == 0,
            failures: std::mem::take(&mut self.failures),
            doubts,
            notes: std::mem::take(&mut self.notes),
        };
        if let Some(waiting) = self.finished.take() {
            // Nobody waits any more: the process is on its way out.
            let _ = waiting.send(finished);
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
        ctx.run_interval(LOOK_EVERY, Self::look);
        ctx.run_interval(TICK_EVERY, |coordinator, ctx| {
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
        self.seen = fleets
            .iter()
            .map(|_| Seen {
                report: None,
                snapshot: Snapshot::new(self.scenario.pools.len()),
                at: now,
            })
            .collect();
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
        for letter in std::mem::take(&mut report.letters) {
            self.pass_on(letter);
        }
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
