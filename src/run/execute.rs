//! Arbiters, fleets, coordinator, signals.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use actix::{Actor, Addr};
use actix_rt::Arbiter;
use tokio::sync::oneshot;

use crate::chaos::Plan;
use crate::client::SharedConfig;
use crate::coordinator::{
    Coordinator, CoordinatorConfig, Finished, FleetHandle, Fleets, Interrupt, Observe, Phase, Tick,
};
use crate::fleet::{Fleet, FleetConfig};
use crate::hub::Hub;
use crate::transport::TlsError;
use crate::verify;

use super::watch::Watch;

/// A run, ready to start.
pub(super) struct Job {
    pub(super) shared: SharedConfig,
    pub(super) plan: Arc<Plan>,
    pub(super) verify: Arc<verify::Plan>,
    pub(super) hub: Option<Hub>,
    pub(super) arbiters: u32,
}

/// Runs it to the end. The watch comes back with what it has seen.
pub(super) fn execute(job: Job, watch: Watch) -> (Finished, Watch) {
    actix_rt::System::new().block_on(conduct(job, watch))
}

async fn conduct(job: Job, watch: Watch) -> (Finished, Watch) {
    let watch = Rc::new(RefCell::new(watch));
    let (finished, end) = oneshot::channel();
    let watcher = watch.clone();
    let coordinator = Coordinator::new(CoordinatorConfig {
        clock: job.shared.clock,
        scenario: job.shared.scenario.clone(),
        plan: job.plan.clone(),
        verify: job.verify.clone(),
        hub: job.hub,
        watcher: Box::new(move |tick: &Tick<'_>| watcher.borrow_mut().tick(tick)),
        finished,
    })
    .start();
    listen_for_signals(coordinator.clone(), Rc::downgrade(&watch));
    let (fleets, arbiters, mut failures) = start_fleets(
        &job.shared,
        &job.plan,
        &job.verify,
        job.arbiters,
        &coordinator,
    )
    .await;
    let started = coordinator
        .send(Fleets {
            fleets,
            failures: std::mem::take(&mut failures),
        })
        .await;
    let finished = match (started, end.await) {
        (Ok(()), Ok(finished)) => finished,
        // The coordinator is gone without a word: it panicked.
        (_, _) => Finished::broken(
            &job.verify,
            "the coordinator panicked: a bug of the harness",
        ),
    };
    for (index, arbiter) in arbiters.into_iter().enumerate() {
        arbiter.stop();
        // One that is lost may hang; the others are done. A panic was counted.
        if !finished.lost.contains(&index) {
            let _ = arbiter.join();
        }
    }
    drop(coordinator);
    // The coordinator has stopped and dropped its end; until its task is gone, wait.
    let watch = loop_until_alone(watch).await;
    (finished, watch)
}

/// Waits until the coordinator's task has let go of the watch.
async fn loop_until_alone(mut watch: Rc<RefCell<Watch>>) -> Watch {
    loop {
        match Rc::try_unwrap(watch) {
            Ok(watch) => return watch.into_inner(),
            Err(shared) => watch = shared,
        }
        tokio::task::yield_now().await;
    }
}

/// Starts the fleets, each in an arbiter of its own, with the slots dealt out evenly.
async fn start_fleets(
    shared: &SharedConfig,
    plan: &Arc<Plan>,
    verify: &Arc<verify::Plan>,
    arbiters: u32,
    coordinator: &Addr<Coordinator>,
) -> (Vec<FleetHandle>, Vec<Arbiter>, Vec<String>) {
    let (mut fleets, mut running, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (index, slots) in deal(shared.scenario.clients(), arbiters).enumerate() {
        let config = FleetConfig {
            shared: shared.clone(),
            index,
            fleets: arbiters as usize,
            slots: slots.clone(),
            plan: plan.clone(),
            verify: verify.clone(),
            reports: coordinator.clone().recipient(),
        };
        let arbiter = Arbiter::new();
        let (tell, told) = oneshot::channel::<Result<Addr<Fleet>, TlsError>>();
        arbiter.spawn_fn(move || {
            // Nobody listens only when the run is already over.
            let _ = tell.send(Fleet::new(config).map(Actor::start));
        });
        match told.await {
            Ok(Ok(addr)) => fleets.push(FleetHandle { addr, slots }),
            Ok(Err(error)) => failures.push(format!("fleet {index}: {error}")),
            Err(_) => failures.push(format!(
                "fleet {index} panicked at its start: a bug of the harness"
            )),
        }
        running.push(arbiter);
    }
    (fleets, running, failures)
}

/// Even, contiguous shares of the slots.
fn deal(clients: u32, arbiters: u32) -> impl Iterator<Item = Range<u32>> {
    let cut = move |n: u32| (u64::from(clients) * u64::from(n) / u64::from(arbiters)) as u32;
    (0..arbiters).map(move |n| cut(n)..cut(n + 1))
}

/// Ctrl-C and SIGTERM interrupt the run; a second one ends it at once.
fn listen_for_signals(coordinator: Addr<Coordinator>, watch: Weak<RefCell<Watch>>) {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let (coordinator, watch) = (coordinator.clone(), watch.clone());
        match signal(kind) {
            Ok(mut signals) => {
                actix_rt::spawn(async move {
                    while signals.recv().await.is_some() {
                        let before = coordinator.send(Observe).await;
                        if coordinator.send(Interrupt).await.is_err() {
                            return;
                        }
                        if let Ok((Phase::Loading { .. } | Phase::Draining { .. }, _)) = before
                            && let Some(watch) = watch.upgrade()
                        {
                            watch.borrow_mut().interrupted();
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "signals are not handled: ctrl-C ends the run without a report")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_dealt_once() {
        for (clients, arbiters) in [(10, 3), (1, 1), (5000, 7), (3, 3)] {
            let dealt: Vec<u32> = deal(clients, arbiters).flatten().collect();
            assert_eq!(dealt, (0..clients).collect::<Vec<_>>());
        }
    }
}
