//! What is due when, for the slots of one arbiter. Pure: time in, due work out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Slot, Time};
use crate::chaos::{Injection, Plan};
use crate::load::Schedule;
use crate::scenario::Scenario;

/// The connects of these slots in the order in which they are due, from the start.
pub(super) fn connects(scenario: &Scenario, slots: &Range<u32>) -> Vec<(Duration, Slot)> {
    let mut connects = Vec::new();
    for pool in &scenario.pools {
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
            let Some(publish) = &pool.publish else {
                continue;
            };
            for slot in pool.slots().start.max(slots.start)..pool.slots().end.min(slots.end) {
                let schedule = Schedule::new(scenario.seed, Slot(slot), publish, scenario.duration);
                agenda.publishers.push((Slot(slot), schedule));
            }
        }
        for index in 0..agenda.publishers.len() {
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

    fn advance(&mut self, index: usize) {
        if let Some(intended) = self.publishers[index].1.next() {
            // Slots are at most 2^24, so are publishers.
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
        [publish, inject].into_iter().flatten().min()
    }

    /// The next piece of work due by `now`, with its intended time.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Due)> {
        if let Some(due) = self.pop_injection(now) {
            return Some(due);
        }
        let Reverse((time, _)) = self.next.peek()?;
        if *time > now {
            return None;
        }
        let Reverse((time, index)) = self.next.pop()?;
        self.advance(index as usize);
        Some((time, Due::Publish(self.publishers[index as usize].0)))
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
