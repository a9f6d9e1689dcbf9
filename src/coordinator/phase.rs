//! When one phase of a run gives way to the next. Pure: standing and time in, phase out.
//!
//! ```text
//! Connecting --all ready, or time is up--> Loading --duration over, or interrupt--> Draining
//!     |                                                                                |
//!     +--nobody connected--> Unreachable          healed, and nothing owed or drain over
//!                                                                                      v
//!                                                                                  Settling
//! ```

use std::time::Duration;

use crate::base::Time;

/// How long after the first connect was due nobody may be connected before the target
/// counts as unreachable.
pub const UNREACHABLE_AFTER: Duration = Duration::from_secs(8);
/// How long after the last connect was due clients may still get ready.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long after load and last fault clients may take to come back, beside the drain:
/// a recovery window and the longest pauses of a reconnect.
pub const RETURN_WITHIN: Duration = Duration::from_secs(60);
/// Once everything has come, how long to wait for what should not come.
pub const LINGER: Duration = Duration::from_millis(600);

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Clients connect and join.
    Connecting {
        /// Since when.
        since: Time,
    },
    /// The load runs, faults are injected.
    Loading {
        /// Since when: the zero of the plan.
        start: Time,
    },
    /// No more publishes; faults end, clients return, deliveries arrive.
    Draining {
        /// When load and last fault are over.
        quiet: Time,
        /// Since when everybody is back and every publish has its outcome.
        healed: Option<Time>,
        /// Since when nothing is owed.
        paid: Option<Time>,
    },
    /// The books are closed.
    Settling,
    /// No client ever had a connection.
    Unreachable,
}

impl Phase {
    /// The name in progress lines.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Connecting { .. } => "connect",
            Phase::Loading { .. } => "load",
            Phase::Draining { .. } => "drain",
            Phase::Settling => "settle",
            Phase::Unreachable => "unreachable",
        }
    }
}

/// What the fleets say, added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Clients that connect before the load.
    pub planned: u64,
    /// Clients that were connected and members of all their groups.
    pub ready: u64,
    /// Clients that ever had a connection.
    pub ever_connected: u64,
    /// Those among them that will not come back: visitors that have gone, clients that gave
    /// up by their policy.
    pub departed: u64,
    /// Clients connected now.
    pub connected: u64,
    /// Publishes without an outcome.
    pub outstanding: u64,
    /// Deliveries owed and not seen.
    pub missing: u64,
}

impl Standing {
    /// Clients that had a connection, have none, and are expected back.
    pub fn away(&self) -> u64 {
        let there = self.connected + self.departed;
        self.ever_connected.saturating_sub(there)
    }
}

/// What of the plan decides about phases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timetable {
    /// When the last connect is due, from the beginning.
    pub last_connect: Duration,
    /// How long the load lasts.
    pub load: Duration,
    /// When the last fault is over, from the start of the load.
    pub last_fault: Duration,
    /// How long after the last return deliveries may still arrive.
    pub drain: Duration,
}

/// The phase that follows now, if one does.
pub fn next(phase: Phase, standing: &Standing, times: &Timetable, now: Time) -> Option<Phase> {
    match phase {
        Phase::Connecting { since } => {
            if standing.ready == standing.planned {
                Some(Phase::Loading { start: now })
            } else if standing.ever_connected == 0 && now >= since + UNREACHABLE_AFTER {
                Some(Phase::Unreachable)
            } else if now >= since + times.last_connect + READY_WITHIN {
                Some(Phase::Loading { start: now })
            } else {
                None
            }
        }
        Phase::Loading { start } if now >= start + times.load => Some(Phase::Draining {
            quiet: start + times.load.max(times.last_fault),
            healed: None,
            paid: None,
        }),
        Phase::Loading { .. } => None,
        Phase::Draining {
            quiet,
            healed,
            paid,
        } => drain(quiet, healed, paid, standing, times, now),
        Phase::Settling | Phase::Unreachable => None,
    }
}

fn drain(
    quiet: Time,
    healed: Option<Time>,
    paid: Option<Time>,
    standing: &Standing,
    times: &Timetable,
    now: Time,
) -> Option<Phase> {
    let back = standing.away() == 0 && standing.outstanding == 0;
    let healed_now = (back && now >= quiet).then(|| healed.unwrap_or(now));
    let paid_now = (healed_now.is_some() && standing.missing == 0).then(|| paid.unwrap_or(now));
    let over = paid_now.is_some_and(|paid| now >= paid + LINGER)
        || healed_now.is_some_and(|healed| now >= healed + times.drain)
        || now >= quiet + RETURN_WITHIN + times.drain;
    if over {
        return Some(Phase::Settling);
    }
    let next = Phase::Draining {
        quiet,
        healed: healed_now,
        paid: paid_now,
    };
    (next
        != Phase::Draining {
            quiet,
            healed,
            paid,
        })
    .then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Timetable = Timetable {
        last_connect: Duration::from_secs(2),
        load: Duration::from_secs(20),
        last_fault: Duration::from_secs(47),
        drain: Duration::from_secs(10),
    };

    fn standing(connected: u64, outstanding: u64, missing: u64) -> Standing {
        Standing {
            planned: 10,
            ready: 10,
            ever_connected: 10,
            departed: 0,
            connected,
            outstanding,
            missing,
        }
    }

    #[test]
    fn a_dead_target_is_given_up_and_a_slow_one_is_not() {
        let phase = Phase::Connecting { since: Time::ZERO };
        let nobody = Standing {
            planned: 10,
            ..Standing::default()
        };
        assert_eq!(next(phase, &nobody, &TIMES, Time::from_secs(7)), None);
        assert_eq!(
            next(phase, &nobody, &TIMES, Time::from_secs(8)),
            Some(Phase::Unreachable)
        );
        let some = Standing {
            ever_connected: 1,
            ready: 1,
            ..nobody
        };
        assert_eq!(next(phase, &some, &TIMES, Time::from_secs(61)), None);
        let late = Time::from_secs(62);
        assert_eq!(
            next(phase, &some, &TIMES, late),
            Some(Phase::Loading { start: late })
        );
    }

    #[test]
    fn the_drain_waits_for_the_last_fault_and_the_last_return() {
        let phase = next(
            Phase::Loading { start: Time::ZERO },
            &standing(10, 0, 0),
            &TIMES,
            Time::from_secs(20),
        );
        let phase = phase.unwrap();
        assert_eq!(
            phase,
            Phase::Draining {
                quiet: Time::from_secs(47),
                healed: None,
                paid: None
            }
        );
        // Nothing owed, everybody there: but a fault is still at work.
        assert_eq!(
            next(phase, &standing(10, 0, 0), &TIMES, Time::from_secs(46)),
            None
        );
        assert_eq!(
            next(phase, &standing(9, 0, 0), &TIMES, Time::from_secs(60)),
            None
        );
        let healed = next(phase, &standing(10, 0, 3), &TIMES, Time::from_secs(60)).unwrap();
        assert_eq!(
            next(healed, &standing(10, 0, 3), &TIMES, Time::from_secs(69)),
            None
        );
        assert_eq!(
            next(healed, &standing(10, 0, 3), &TIMES, Time::from_secs(70)),
            Some(Phase::Settling)
        );
    }

    #[test]
    fn paid_books_are_closed_early_and_a_missing_client_does_not_hold_them_open_for_ever() {
        let phase = Phase::Draining {
            quiet: Time::ZERO,
            healed: None,
            paid: None,
        };
        let paid = next(phase, &standing(10, 0, 0), &TIMES, Time::from_secs(1)).unwrap();
        assert_eq!(
            next(paid, &standing(10, 0, 0), &TIMES, Time::from_millis(1600)),
            Some(Phase::Settling)
        );
        assert_eq!(
            next(phase, &standing(9, 0, 0), &TIMES, Time::from_secs(70)),
            Some(Phase::Settling)
        );
    }
}
