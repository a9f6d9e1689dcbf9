//! What the coordinator is given, what it tells its watcher, and what it ends with.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Message};
use tokio::sync::oneshot;

use super::phase::{Phase, Standing};
use crate::base::{Clock, Time};
use crate::chaos::{Injection, Plan};
use crate::fleet::Fleet;
use crate::hub::{Hub, Truth};
use crate::metrics::{Moments, Snapshot};
use crate::scenario::Scenario;
use crate::verify::{self, Progress, Verification};

/// A fleet, as the coordinator knows it.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    /// Its address.
    pub addr: Addr<Fleet>,
    /// Its clients.
    pub slots: Range<u32>,
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
    /// Phases that began since the last tick, each with its time.
    pub entered: &'a [(Time, Phase)],
    /// What happened to clients since the last tick, as far as it is heard of.
    pub moments: &'a Moments,
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
    /// Clients that had been connected, had not stopped, and were away when the waiting ended.
    pub away_at_end: u64,
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
    /// Fleets that ended, or fell silent, before the run was over.
    pub lost: Vec<usize>,
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
            away_at_end: 0,
            load: Duration::ZERO,
            truth: None,
            interrupted: false,
            given_up: None,
            unreachable: false,
            failures: vec![why.to_owned()],
            lost: Vec::new(),
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
