//! What is due when, for the slots of one arbiter. Pure: time in, due work out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Slot, Time};
use crate::chaos::{Injection, Plan};
use crate::load::{Leaves, Schedule, Visit, visit};
use crate::scenario::{Pool, Scenario};

/// The connects of these slots, but for visitors', in the order in which they are due, from the start.
pub(super) fn connects(scenario: &Scenario, slots: &Range<u32>) -> Vec<(Duration, Slot)> {
    let mut connects = Vec::new();
    for pool in scenario
        .pools
        .iter()
        .filter(|pool| pool.sessions.is_none() && !pool.server)
    {
        let period = pool
            .connect
            .and_then(|rate| rate.period())
            .unwrap_or_default();
        for slot in pool.slots().start.max(slots.start)..pool.slots().end.min(slots.end) {
            connects.push((period.saturating_mul(slot - pool.first_slot), Slot(slot)));
        }
    }
    connects.sort_by_key(|(due, slot)| (*due, *slot));
    connects
}

/// A piece of work that has come due.
#[derive(Debug)]
pub(super) enum Due {
    /// The client's next publish.
    Publish(Slot),
    /// The client leaves one of its groups for a while.
    Churn(Slot),
    /// A visitor comes.
    Arrive(Slot),
    /// A visitor goes.
    Depart(Slot),
    /// A fault on one client.
    Inject(Slot, Arc<Injection>),
}

/// Publishes and faults from the start of the load on.
///
/// Publishers stand in a heap by their next intended time, so that work is by what is due
/// and not by the number of clients.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    start: Time,
    publishers: Vec<(Slot, Schedule)>,
    /// Numbered on from the publishers.
    churners: Vec<(Slot, Leaves)>,
    /// Soonest last: when, who, whether it comes.
    visits: Vec<(Time, Slot, bool)>,
    next: BinaryHeap<Reverse<(Time, u32)>>,
    /// In order of time, soonest last; with the place of the next slot hit.
    injections: Vec<(Time, Arc<Injection>)>,
    hitting: Option<(Time, Arc<Injection>, usize)>,
    slots: Range<u32>,
}

impl Agenda {
    pub(super) fn new(scenario: &Scenario, plan: &Plan, slots: Range<u32>, start: Time) -> Self {
        let mut agenda = Agenda {
            start,
            slots: slots.clone(),
            ..Agenda::default()
        };
        for pool in &scenario.pools {
            for slot in pool.slots().start.max(slots.start)..pool.slots().end.min(slots.end) {
                agenda.add(scenario, pool, Slot(slot));
            }
        }
        // Nobody goes before it has come: a visit takes time.
        agenda.visits.sort_by(|a, b| b.cmp(a));
        for index in 0..agenda.publishers.len() + agenda.churners.len() {
            agenda.advance(index);
        }
        let hits_us =
            |injection: &&Injection| injection.slots.iter().any(|slot| slots.contains(&slot.0));
        agenda.injections = plan
            .injections
            .iter()
            .filter(hits_us)
            .rev()
            .map(|injection| (start + injection.at, Arc::new(injection.clone())))
            .collect();
        agenda
    }

    fn add(&mut self, scenario: &Scenario, pool: &Pool, slot: Slot) {
        let visit = visit(scenario.seed, slot, pool);
        let there = visit.unwrap_or(Visit {
            comes: Duration::ZERO,
            goes: Duration::MAX,
        });
        if let Some(Visit { comes, goes }) = visit.filter(|v| v.comes < scenario.duration) {
            self.visits.push((self.start + comes, slot, true));
            if goes < scenario.duration {
                self.visits.push((self.start + goes, slot, false));
            }
        }
        if let Some(publish) = &pool.publish {
            let schedule = Schedule::new(scenario.seed, slot, publish, scenario.duration);
            self.publishers.push((slot, schedule.during(there)));
        }
        if let Some(churn) = pool.churn {
            let end = scenario.duration.min(there.goes);
            let leaves = Leaves::new(scenario.seed, slot, churn, there.comes, end);
            self.churners.push((slot, leaves));
        }
    }

    fn advance(&mut self, index: usize) {
        let next = match index.checked_sub(self.publishers.len()) {
            None => self.publishers[index].1.next(),
            Some(churner) => self.churners[churner].1.next(),
        };
        if let Some(intended) = next {
            // Slots are at most 2^24, publishers and churners twice that.
            self.next
                .push(Reverse((self.start + intended, index as u32)));
        }
    }

    /// When the next piece of work is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let publish = self.next.peek().map(|Reverse((time, _))| *time);
        let inject = self
            .hitting
            .as_ref()
            .map(|(time, ..)| *time)
            .or(self.injections.last().map(|(time, _)| *time));
        let visit = self.visits.last().map(|(time, ..)| *time);
        [publish, inject, visit].into_iter().flatten().min()
    }

    /// The next piece of work due by `now`, with its intended time.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Due)> {
        if let Some(due) = self.pop_injection(now) {
            return Some(due);
        }
        if let Some((time, slot, comes)) = self.visits.pop_if(|(time, ..)| *time <= now) {
            let due = if comes {
                Due::Arrive(slot)
            } else {
                Due::Depart(slot)
            };
            return Some((time, due));
        }
        let Reverse((time, _)) = self.next.peek()?;
        if *time > now {
            return None;
        }
        let Reverse((time, index)) = self.next.pop()?;
        let index = index as usize;
        self.advance(index);
        let due = match index.checked_sub(self.publishers.len()) {
            None => Due::Publish(self.publishers[index].0),
            Some(churner) => Due::Churn(self.churners[churner].0),
        };
        Some((time, due))
    }

    fn pop_injection(&mut self, now: Time) -> Option<(Time, Due)> {
        loop {
            if self.hitting.is_none() {
                let (time, injection) = self.injections.pop_if(|(time, _)| *time <= now)?;
                self.hitting = Some((time, injection, 0));
            }
            let (time, injection, place) = self.hitting.as_mut()?;
            match injection.slots.get(*place) {
                Some(slot) => {
                    *place += 1;
                    if self.slots.contains(&slot.0) {
                        return Some((*time, Due::Inject(*slot, injection.clone())));
                    }
                }
                None => self.hitting = None,
            }
        }
    }

    /// Nothing more is due.
    pub(super) fn clear(&mut self) {
        *self = Agenda::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos;
    use crate::scenario::{self, Overrides};

    fn all(text: &str, slots: Range<u32>) -> Vec<(Duration, String)> {
        let scenario = scenario::parse(text, "t.yaml", &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        let start = Time::from_secs(100);
        let mut agenda = Agenda::new(&scenario, &chaos::plan(&scenario), slots, start);
        let mut done = Vec::new();
        while let Some(deadline) = agenda.deadline() {
            // A fault under way goes on without a look at the time.
            if agenda.hitting.is_none() {
                let early = deadline.saturating_sub(Duration::from_micros(1));
                assert!(agenda.pop(early).is_none());
            }
            // What is left of a fault may be other fleets' alone.
            let Some((intended, due)) = agenda.pop(deadline) else {
                continue;
            };
            assert_eq!(intended, deadline);
            let what = match due {
                Due::Publish(slot) => format!("publish {slot}"),
                Due::Churn(slot) => format!("churn {slot}"),
                Due::Arrive(slot) => format!("arrive {slot}"),
                Due::Depart(slot) => format!("depart {slot}"),
                Due::Inject(slot, injection) => format!("{} {slot}", injection.kind.name()),
            };
            done.push((intended - start, what));
        }
        done
    }

    const VISITORS: &str = "seed: 1\nduration: 10s\npools:\n  host: {clients: 1, groups: {count: 1}}\n  guests: {sessions: {arrive: 1/s, stay: 3s}, groups: {count: 1}, publish: {rate: 2/s}}\n";

    #[test]
    fn a_visitor_comes_publishes_while_it_is_there_and_goes() {
        let done = all(VISITORS, 0..100);
        let of = |what: &str| -> Vec<u64> {
            let seconds = done.iter().filter(|(_, done)| done == what);
            seconds.map(|(at, _)| at.as_secs()).collect()
        };
        assert_eq!((of("arrive 3"), of("depart 3")), (vec![2], vec![5]));
        let published = of("publish 3");
        assert!((5..=7).contains(&published.len()), "{published:?}");
        assert!(
            published.iter().all(|at| (2..5).contains(at)),
            "{published:?}"
        );
        // Who would go after the load sees its end.
        assert_eq!((of("arrive 10"), of("depart 10")), (vec![9], vec![]));
        // One a second, and nobody but visitors comes during the load.
        let arrivals = done.iter().filter(|(_, what)| what.starts_with("arrive"));
        assert_eq!(arrivals.count(), 10);
        assert!(of("arrive 0").is_empty());
        assert!(done.is_sorted_by_key(|(at, _)| *at));
    }

    #[test]
    fn fleets_share_the_work_out_without_doing_any_of_it_twice() {
        let text =
            format!("{VISITORS}chaos:\n  - {{kind: reset, start: 1s, every: 2s, share: 50%}}\n");
        let whole = all(&text, 0..100);
        let mut parts = all(&text, 0..4);
        parts.extend(all(&text, 4..100));
        let sorted = |mut done: Vec<(Duration, String)>| {
            done.sort();
            done
        };
        assert!(whole.iter().any(|(_, what)| what.starts_with("reset")));
        assert_eq!(sorted(whole), sorted(parts));
    }

    #[test]
    fn a_cleared_agenda_has_nothing_more_to_do() {
        let text = "seed: 1\npools: {a: {clients: 1, groups: {count: 1}, publish: {rate: 9/s}}}\n";
        let scenario = scenario::parse(text, "t.yaml", &Overrides::default(), &|_| None).unwrap();
        let mut agenda = Agenda::new(&scenario, &chaos::plan(&scenario), 0..1, Time::ZERO);
        assert!(agenda.deadline().is_some());
        agenda.clear();
        assert!(agenda.deadline().is_none() && agenda.pop(Time::from_secs(9999)).is_none());
    }
}
