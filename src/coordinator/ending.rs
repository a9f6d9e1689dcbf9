//! The end of a run: every publish settled, the last facts told, everything judged; and what
//! is owed to the receivers of threads that did not live to see it.

use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::{ActorContext, AsyncContext, Context, WrapFuture};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::actor::{Coordinator, Seen};
use super::messages::Finished;
use super::phase::Phase;
use crate::base::Time;
use crate::fleet::{Conclude, Settle, Told};
use crate::hub::Truth;
use crate::verify::{self, ExchangeCounts, ShardOutcome};

/// How long fleets may take to settle, to tell each other the last facts, and to conclude.
/// (They give the facts up long before, by rounds.)
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

impl Coordinator {
    /// Has every publish settled; the last facts go round then.
    pub(super) fn close(&mut self, ctx: &mut Context<Self>) {
        let settling: Vec<_> = (self.alive())
            .map(|(index, fleet)| {
                let settled = timeout(CLOSE_WITHIN, fleet.addr.send(Settle));
                async move { (index, settled.await) }
            })
            .collect();
        let settling = join_all(settling).into_actor(self);
        ctx.spawn(settling.map(|settled, coordinator, ctx| {
            let now = coordinator.clock.now();
            for (index, settled) in settled {
                let known = coordinator.seen[index].lost.is_some();
                if !known && !matches!(settled, Ok(Ok(()))) {
                    coordinator.lose(index, "it did not settle".into(), now, ctx);
                }
            }
            coordinator.telling = Some(now);
        }));
    }

    /// Whether every fleet has told its last facts to all others, or has given that up: then
    /// the verifiers miss them and say so.
    pub(super) fn all_told(&self, since: Time, now: Time) -> bool {
        let told = |seen: &Seen| (seen.report.as_ref()).is_some_and(|r| r.told != Told::NotYet);
        let all = self.untold.is_empty() && self.alive().all(|(index, _)| told(&self.seen[index]));
        all || now - since > CLOSE_WITHIN
    }

    /// Judges, and hands the result out.
    pub(super) fn conclude(&mut self, ctx: &mut Context<Self>) {
        self.concluding = true;
        let alive: Vec<_> = (self.alive())
            .map(|(index, fleet)| (index, fleet.addr.clone()))
            .collect();
        let hub = self.hub.take();
        let closing = async move {
            let truth = match &hub {
                Some(hub) => Some(hub.truth().await),
                None => None,
            };
            let concluding = alive.into_iter().map(|(index, addr)| async move {
                (index, timeout(CLOSE_WITHIN, addr.send(Conclude)).await)
            });
            let concluded = join_all(concluding).await;
            if let Some(hub) = hub {
                hub.stop();
            }
            (concluded, truth)
        };
        let closed = closing.into_actor(self).map(
            |(concluded, truth), coordinator, ctx: &mut Context<Self>| {
                let mut outcomes: Vec<ShardOutcome> = Vec::new();
                let mut exchange = ExchangeCounts::default();
                for (index, concluded) in concluded {
                    let Ok(Ok(concluded)) = concluded else {
                        coordinator.seen[index].lost = Some("it gave no result".into());
                        continue;
                    };
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
                outcomes.extend(coordinator.books_of_lost());
                coordinator.finish(outcomes, exchange, truth);
                ctx.stop();
            },
        );
        ctx.spawn(closed);
    }

    /// What the receivers of lost fleets were owed.
    fn books_of_lost(&mut self) -> Vec<ShardOutcome> {
        let now = self.clock.now();
        let lost = |(_, seen): &(usize, &Seen)| seen.lost.is_some();
        let lost = self.seen.iter().enumerate().filter(lost);
        let mirror = &mut self.mirror;
        lost.filter_map(|(index, _)| mirror.as_mut()?.books(index, now))
            .collect()
    }

    /// Which fleets are lost and why, in one sentence for all; `None`: none is.
    fn coverage(&self) -> Option<String> {
        let of = self.fleets.len();
        let lost: Vec<String> = (self.seen.iter().enumerate())
            .filter_map(|(index, seen)| Some((index, seen.lost.as_ref()?)))
            .map(|(index, why)| {
                let slots = &self.fleets[index].slots;
                let (first, last) = (slots.start, slots.end.saturating_sub(1));
                format!("thread {index} (slots {first} to {last}) is gone: {why}")
            })
            .collect();
        (!lost.is_empty()).then(|| {
            format!(
                "{} of {of} threads covered: {}; a fault of the harness, not of the hub",
                of - lost.len(),
                lost.join(", ")
            )
        })
    }

    fn finish(
        &mut self,
        outcomes: Vec<ShardOutcome>,
        exchange: ExchangeCounts,
        truth: Option<Truth>,
    ) {
        // What fleets that are lost said last still tells whether anybody connected.
        let standing = self.sum(self.seen.iter());
        let mut doubts: Vec<String> = self.coverage().into_iter().collect();
        let lost = |(_, seen): &(usize, &Seen)| seen.lost.is_some();
        let lost = self.seen.iter().enumerate().filter(lost);
        let lost: Vec<usize> = lost.map(|(index, _)| index).collect();
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
        // A few: one per core.
        verification.verifier.threads = self.fleets.len() as u32;
        verification.verifier.threads_lost = lost.len() as u32;
        let finished = Finished {
            snapshot: self.snapshot(),
            verification,
            connected_peak: self.connected_peak,
            away_at_end: self.away_at_end,
            load,
            truth,
            interrupted: self.interrupts > 0,
            given_up: self.given_up.take(),
            unreachable: self.phase == Phase::Unreachable || standing.ever_connected == 0,
            failures: std::mem::take(&mut self.failures),
            lost,
            doubts,
            notes: std::mem::take(&mut self.notes),
        };
        if let Some(waiting) = self.finished.take() {
            // Nobody waits any more: the process is on its way out.
            let _ = waiting.send(finished);
        }
    }
}
