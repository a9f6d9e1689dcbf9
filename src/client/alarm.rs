//! The timer of all clients of one arbiter: who is to be woken when.
//!
//! A timer of the runtime's own for each client would cost each of them memory, and cold
//! memory at each of its turns. Here a deadline is an entry in a list that many share, and an
//! alarm that is no longer wanted is not taken out: it rings once in vain.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Sleep;

use super::shared::Shared;
use super::turns::Turns;
use crate::base::Time;

/// Alarms of the same tick ring together, µs. No alarm rings early.
const TICK_US: u64 = 1_000;
/// For alarms further away than [`FAR`].
const FAR_TICK_US: u64 = 16_000;
/// Deadlines of seconds need no millisecond.
const FAR: Duration = Duration::from_secs(2);
/// Empty lists kept for use again.
const SPARE_MAX: usize = 64;

/// The alarms of an arbiter, by time in µs. At most a few per client: see [`Armed`]. `W` is
/// who is to hear one.
#[derive(Debug)]
pub(super) struct Alarms<W> {
    by_time: BTreeMap<u64, Vec<W>>,
    spare: Vec<Vec<W>>,
    ringer: Option<Waker>,
    /// Until when the ringer sleeps; 0 while it is awake.
    asleep_until: u64,
}

impl<W> Default for Alarms<W> {
    fn default() -> Self {
        Alarms {
            by_time: BTreeMap::new(),
            spare: Vec::new(),
            ringer: None,
            asleep_until: 0,
        }
    }
}

impl<W> Alarms<W> {
    fn set(&mut self, at: Time, now: Time, whom: W) {
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
            .push(whom);
        if at < self.asleep_until
            && let Some(ringer) = &self.ringer
        {
            self.asleep_until = 0;
            ringer.wake_by_ref();
        }
    }

    /// When the next one is.
    fn next(&self) -> Option<Time> {
        let first = self.by_time.first_key_value();
        first.map(|(at, _)| Time::from_micros(*at))
    }

    /// Hands over whoever is due.
    fn ring(&mut self, now: Time, mut hears: impl FnMut(W)) {
        while let Some(first) = self.by_time.first_entry() {
            if *first.key() > now.as_micros() {
                return;
            }
            let mut due = first.remove();
            due.drain(..).for_each(&mut hears);
            if self.spare.len() < SPARE_MAX {
                self.spare.push(due);
            }
        }
    }
}

/// The alarms that one client has set and that have not rung: two, rarely more. One that is
/// forgotten because there are more rings in vain.
#[derive(Debug, Default)]
pub(super) struct Armed(SmallVec<[Time; 2]>);

impl Armed {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `time` has come; otherwise `whom` hears an alarm then, or before.
    pub(super) fn poll<W>(
        &mut self,
        time: Option<Time>,
        alarms: &RefCell<Alarms<W>>,
        now: Time,
        whom: impl FnOnce() -> W,
    ) -> bool {
        let Some(time) = time else { return false };
        if time <= now {
            return true;
        }
        self.0.retain(|at| *at > now);
        // An earlier alarm stays: it is heard, and the later one is set then. Most deadlines
        // move away with every frame.
        if !self.0.iter().any(|at| *at <= time) {
            alarms.borrow_mut().set(time, now, whom());
            if self.0.len() == self.0.inline_size() {
                self.0.pop();
            }
            // Soonest first, so that the furthest is the one forgotten.
            self.0.insert(0, time);
        }
        false
    }
}

/// Rings the alarms of an arbiter for as long as there are clients: they have their turns in
/// this task.
pub(super) struct Ringer {
    shared: Weak<Shared>,
    sleep: Pin<Box<Sleep>>,
    turns: Turns,
}

impl Ringer {
    pub(super) fn new(shared: &Rc<Shared>) -> Self {
        Ringer {
            shared: Rc::downgrade(shared),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            turns: Turns::default(),
        }
    }
}

impl Future for Ringer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = self.shared.upgrade() else {
            return Poll::Ready(());
        };
        let alarms = &shared.alarms;
        if alarms.borrow().ringer.is_none() {
            alarms.borrow_mut().ringer = Some(cx.waker().clone());
        }
        let turns = &mut self.turns;
        alarms.borrow_mut().asleep_until = 0;
        alarms.borrow_mut().ring(shared.clock.now(), |client| {
            // One that is gone hears nothing.
            if let Some(client) = client.upgrade() {
                turns.add(client);
            }
        });
        turns.take();
        // They have set alarms, perhaps before the next one.
        let mut alarms = alarms.borrow_mut();
        let next = alarms.next();
        let Some(next) = next else {
            alarms.asleep_until = u64::MAX;
            return Poll::Pending;
        };
        self.sleep.as_mut().reset(shared.clock.instant(next));
        if self.sleep.as_mut().poll(cx).is_pending() {
            alarms.asleep_until = next.as_micros();
        } else {
            // Due already. Sockets are read first: what yields so is woken after that.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        Poll::Pending
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

    /// How many hear an alarm at `now`.
    fn heard<W>(alarms: &RefCell<Alarms<W>>, now: Time) -> usize {
        let mut heard = 0;
        alarms.borrow_mut().ring(now, |_| heard += 1);
        heard
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// A client whose deadline moves away with every frame must not be woken for each.
    #[test]
    fn a_deadline_that_moves_away_costs_one_alarm() {
        let (alarms, mut armed) = (RefCell::new(Alarms::default()), Armed::default());
        for now in 0..100 {
            assert!(!armed.poll(Some(at(now + 200)), &alarms, at(now), || ()));
        }
        assert_eq!(heard(&alarms, at(199)), 0);
        assert_eq!(alarms.borrow().next(), Some(at(200)));
        assert_eq!(heard(&alarms, at(200)), 1);
        assert_eq!(alarms.borrow().next(), None);
        assert!(!armed.poll(Some(at(299)), &alarms, at(200), || ()));
        assert!(armed.poll(Some(at(299)), &alarms, at(299), || ()));
        assert_eq!(heard(&alarms, at(299)), 1);
    }

    /// A near deadline again and again beside a far one must not pile up far alarms.
    #[test]
    fn alarms_do_not_pile_up() {
        let (alarms, mut armed) = (RefCell::new(Alarms::default()), Armed::default());
        for now in (0..10_000).step_by(10) {
            armed.poll(Some(at(now + 20_000)), &alarms, at(now), || ());
            armed.poll(Some(at(now + 5)), &alarms, at(now), || ());
            heard(&alarms, at(now + 6));
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
        alarms.set(at(60), at(0), ());
        assert_eq!(ringer.0.load(Ordering::Relaxed), 0);
        alarms.set(at(40), at(0), ());
        assert_eq!(ringer.0.load(Ordering::Relaxed), 1);
    }
}
