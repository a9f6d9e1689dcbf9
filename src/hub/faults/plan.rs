//! When the configured faults fire: counters and seeded dice, one stream per fault.
//!
//! Whoever is about to do something that could go wrong asks [`FaultPlan::fires`]; each
//! question is one *opportunity*. Same seed, same opportunities: same answers.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::spec::Trigger;
use super::{FaultKind, FaultSpec};
use crate::base::{Seed, Time};
use crate::wire::close::GOING_AWAY;

struct Armed {
    spec: FaultSpec,
    dice: ChaCha8Rng,
    opportunities: u64,
    fired: u64,
}

/// The faults of one hub, armed.
pub(crate) struct FaultPlan {
    armed: Vec<Armed>,
    /// Bit N: some fault of `FaultKind::ALL[N]` is armed. The per-message paths ask this first.
    kinds: u64,
    start: Time,
}

/// Which armed fault fired; can be handed back with [`FaultPlan::refund`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fired(usize);

impl FaultPlan {
    /// Arms `specs`; `start` is the origin of their `at=` times.
    pub(crate) fn new(specs: Vec<FaultSpec>, seed: Seed, start: Time) -> Self {
        let kinds = specs.iter().fold(0, |bits, spec| bits | bit(spec.kind));
        let armed = specs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| Armed {
                spec,
                dice: seed.stream("hub-fault", index as u64),
                opportunities: 0,
                fired: 0,
            })
            .collect();
        FaultPlan {
            armed,
            kinds,
            start,
        }
    }

    /// Whether nothing at all is armed.
    pub(crate) fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// Whether a fault of this kind is armed.
    pub(crate) fn has(&self, kind: FaultKind) -> bool {
        self.kinds & bit(kind) != 0
    }

    /// Takes one opportunity for `kind`, in `group` if it belongs to one.
    pub(crate) fn fires(
        &mut self,
        kind: FaultKind,
        group: Option<&str>,
        now: Time,
    ) -> Option<Fired> {
        if !self.has(kind) {
            return None;
        }
        let start = self.start;
        let mut result = None;
        for (index, armed) in self.armed.iter_mut().enumerate() {
            if armed.spec.kind != kind
                || armed.spec.group.is_some() && armed.spec.group.as_deref() != group
            {
                continue;
            }
            armed.opportunities += 1;
            let due = match armed.spec.trigger {
                Trigger::First => true,
                Trigger::Probability(p) => armed.dice.random_bool(p),
                Trigger::Every(n) => armed.opportunities.is_multiple_of(n),
                Trigger::At(at) => now >= start + at,
            };
            if due && armed.fired < armed.spec.limit() && result.is_none() {
                armed.fired += 1;
                result = Some(Fired(index));
            }
        }
        result
    }

    /// Hands back a fault that could not be committed after all.
    pub(crate) fn refund(&mut self, fired: Fired) {
        self.armed[fired.0].fired -= 1;
    }

    /// How long the fault that fired lasts.
    pub(crate) fn lasting(&self, fired: Fired) -> Duration {
        let spec = &self.armed[fired.0].spec;
        spec.lasting
            .or(spec.kind.default_lasting())
            .unwrap_or_default()
    }

    /// The close code of the fault that fired.
    pub(crate) fn code(&self, fired: Fired) -> u16 {
        self.armed[fired.0].spec.code.unwrap_or(GOING_AWAY)
    }

    /// The `at=` times of the armed faults of this kind.
    pub(crate) fn times(&self, kind: FaultKind) -> Vec<Duration> {
        self.armed
            .iter()
            .filter(|armed| armed.spec.kind == kind)
            .filter_map(|armed| match armed.spec.trigger {
                Trigger::At(at) => Some(at),
                _ => None,
            })
            .collect()
    }

    /// A seeded draw below `bound` for how to commit `fired`; 0 when `bound` is 0.
    pub(crate) fn draw(&mut self, fired: Fired, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        self.armed[fired.0].dice.random_range(0..bound)
    }
}

/// `FaultKind::ALL` lists the kinds in the order of their declaration, so the discriminant
/// is the index. A u64 holds them as long as there are at most 64 (checked below).
fn bit(kind: FaultKind) -> u64 {
    1 << (kind as u64)
}

const _: () = assert!(FaultKind::ALL.len() <= 64);

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(spec: &str) -> FaultPlan {
        FaultPlan::new(vec![spec.parse().unwrap()], Seed(7), Time::from_secs(100))
    }

    fn firings(plan: &mut FaultPlan, times: impl Iterator<Item = u64>) -> Vec<u64> {
        times
            .filter(|&s| {
                plan.fires(FaultKind::Drop, Some("g"), Time::from_secs(s))
                    .is_some()
            })
            .collect()
    }

    #[test]
    fn triggers_fire_when_the_user_said() {
        assert_eq!(firings(&mut plan("drop"), 100..110), [100]);
        assert_eq!(firings(&mut plan("drop,count=2"), 100..110), [100, 101]);
        assert_eq!(firings(&mut plan("drop,every=4"), 100..110), [103, 107]);
        assert_eq!(firings(&mut plan("drop,at=5s"), 100..110), [105]);
        assert_eq!(firings(&mut plan("drop,group=h"), 100..110), [0; 0]);
        assert_eq!(
            firings(&mut plan("drop,every=1,group=g,count=3"), 100..110).len(),
            3
        );
        assert!(
            plan("drop")
                .fires(FaultKind::Echo, None, Time::ZERO)
                .is_none()
        );
    }

    #[test]
    fn probabilities_follow_the_seed_and_nothing_else() {
        let one = firings(&mut plan("drop,p=0.2"), 0..1000);
        assert_eq!(one, firings(&mut plan("drop,p=0.2"), 0..1000));
        assert!((150..250).contains(&one.len()), "{}", one.len());
    }

    #[test]
    fn a_refunded_fault_fires_again() {
        let mut plan = plan("drop");
        let fired = plan.fires(FaultKind::Drop, None, Time::ZERO).unwrap();
        plan.refund(fired);
        assert!(plan.fires(FaultKind::Drop, None, Time::ZERO).is_some());
        assert!(plan.fires(FaultKind::Drop, None, Time::ZERO).is_none());
    }
}
