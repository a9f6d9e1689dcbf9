//! The timer of all clients of one arbiter: who is to be woken when.
//!
//! A timer of the runtime's own for each client would cost each of them memory, and cold
//! memory at each of its turns. Here a deadline is an entry in a list that many share, and an
//! alarm that is no longer wanted is not taken out: it rings once in vain.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Sleep;

use super::shared::Shared;
use crate::base::Time;

/// Alarms of the same tick ring together, µs. No alarm rings early.
const TICK_US: u64 = 1_000;
/// For alarms further away than [`FAR`].
const FAR_TICK_US: u64 = 16_000;
/// Deadlines of seconds need no millisecond.
const FAR: Duration = Duration::from_secs(2);
/// Empty lists kept for use again.
const SPARE_MAX: usize = 64;

/// The alarms of an arbiter, by time in µs. At most a few per client: see [`Armed`].
#[derive(Debug, Default)]
pub(super) struct Alarms {
    by_time: BTreeMap<u64, Vec<Waker>>,
    spare: Vec<Vec<Waker>>,
    ringer: Option<Waker>,
    /// Until when the ringer sleeps; 0 while it is awake.
    asleep_until: u64,
}

impl Alarms {
    fn set(&mut self, at: Time, now: Time, waker: &Waker) {
        let tick = if at.since(now) < FAR {
            TICK_US
        } else {
            FAR_TICK_US
        };
        let at = at.as_micros().div_ceil(tick).saturating_mul(tick);
        let spare = &mut self.spare;
        self.by_time
            .entry(at)
            .or_insert_with(|| spare.pop().unwrap_or_default())
            .push(waker.clone());
        if at < self.asleep_until
            && let Some(ringer) = &self.ringer
        {
            self.asleep_until = 0;
            ringer.wake_by_ref();
        }
    }

    /// Wakes whoever is due. Returns when the next one is.
    fn ring(&mut self, now: Time) -> Option<Time> {
        while let Some(first) = self.by_time.first_entry() {
            if *first.key() > now.as_micros() {
                return Some(Time::from_micros(*first.key()));
            }
            let mut due = first.remove();
            due.drain(..).for_each(Waker::wake);
            if self.spare.len() < SPARE_MAX {
                self.spare.push(due);
            }
        }
        None
    }
}

/// The alarms that one client has set and that have not rung: two, rarely more. One that is
/// forgotten because there are more rings in vain.
#[derive(Debug, Default)]
pub(super) struct Armed(SmallVec<[Time; 2]>);

impl Armed {
    /// Whether `time` has come; otherwise the task is woken then, or before.
    pub(super) fn poll(
        &mut self,
        time: Option<Time>,
        alarms: &RefCell<Alarms>,
        now: Time,
        cx: &Context<'_>,
    ) -> bool {
        let Some(time) = time else { return false };
        if time <= now {
            return true;
        }
        self.0.retain(|at| *at > now);
        // An earlier alarm stays: it wakes us, and the later one is set then. Most deadlines
        // move away with every frame.
        if !self.0.iter().any(|at| *at <= time) {
            alarms.borrow_mut().set(time, now, cx.waker());
            if self.0.len() == self.0.inline_size() {
                self.0.pop();
            }
            // Soonest first, so that the furthest is the one forgotten.
            self.0.insert(0, time);
        }
        false
    }
}

/// Rings the alarms of an arbiter for as long as there are clients.
pub(super) struct Ringer {
    shared: Weak<Shared>,
    sleep: Pin<Box<Sleep>>,
}

impl Ringer {
    pub(super) fn new(shared: &Rc<Shared>) -> Self {
        Ringer {
            shared: Rc::downgrade(shared),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }
}

impl Future for Ringer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = self.shared.upgrade() else {
            return Poll::Ready(());
        };
        let mut alarms = shared.alarms.borrow_mut();
        if alarms.ringer.is_none() {
            alarms.ringer = Some(cx.waker().clone());
        }
        loop {
            let next = alarms.ring(shared.clock.now());
            alarms.asleep_until = next.map_or(u64::MAX, Time::as_micros);
            let Some(next) = next else {
                return Poll::Pending;
            };
            let instant = shared.clock.instant(next);
            self.sleep.as_mut().reset(instant);
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// A client whose deadline moves away with every frame must not be woken for each.
    #[test]
    fn a_deadline_that_moves_away_costs_one_alarm() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let (alarms, mut armed) = (RefCell::new(Alarms::default()), Armed::default());
        for now in 0..100 {
            assert!(!armed.poll(Some(at(now + 200)), &alarms, at(now), &cx));
        }
        assert_eq!(alarms.borrow_mut().ring(at(199)), Some(at(200)));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert_eq!(alarms.borrow_mut().ring(at(200)), None);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(!armed.poll(Some(at(299)), &alarms, at(200), &cx));
        assert!(armed.poll(Some(at(299)), &alarms, at(299), &cx));
        alarms.borrow_mut().ring(at(299));
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    /// A near deadline again and again beside a far one must not pile up far alarms.
    #[test]
    fn alarms_do_not_pile_up() {
        let waker = Waker::noop();
        let cx = Context::from_waker(waker);
        let (alarms, mut armed) = (RefCell::new(Alarms::default()), Armed::default());
        for now in (0..10_000).step_by(10) {
            armed.poll(Some(at(now + 20_000)), &alarms, at(now), &cx);
            armed.poll(Some(at(now + 5)), &alarms, at(now), &cx);
            alarms.borrow_mut().ring(at(now + 6));
        }
        let waiting: usize = alarms.borrow().by_time.values().map(Vec::len).sum();
        assert_eq!(waiting, 1, "the far one");
    }

    /// A sooner alarm must reach a ringer that sleeps for a later one.
    #[test]
    fn the_ringer_is_woken_for_a_sooner_alarm() {
        let ringer = Arc::new(Count::default());
        let mut alarms = Alarms {
            ringer: Some(Waker::from(ringer.clone())),
            asleep_until: at(50).as_micros(),
            ..Alarms::default()
        };
        alarms.set(at(60), at(0), Waker::noop());
        assert_eq!(ringer.0.load(Ordering::Relaxed), 0);
        alarms.set(at(40), at(0), Waker::noop());
        assert_eq!(ringer.0.load(Ordering::Relaxed), 1);
    }
}
