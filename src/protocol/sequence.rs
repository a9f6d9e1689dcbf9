//! Sequence ids: what is fresh, and when to send the receipt. Source: client-spec 3.2.

use std::time::Duration;

use crate::base::{SequenceId, Time};

use super::config::SequenceAckPolicy;

/// The largest sequence id of one connection and what of it is not acknowledged yet.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    max: u64,
    /// Messages received since the last receipt, replays too.
    pending: u32,
    /// When the receipt is due at the latest.
    due: Option<Time>,
    /// Receipts are withheld on purpose (a fault).
    withheld: bool,
    /// When the transport opened: the origin of the ticks.
    opened: Time,
}

impl Sequence {
    /// Takes a data message's id. Returns whether it is fresh.
    pub(super) fn receive(
        &mut self,
        id: SequenceId,
        now: Time,
        policy: &SequenceAckPolicy,
    ) -> bool {
        let fresh = id.0 > self.max;
        self.max = self.max.max(id.0);
        self.pending = self.pending.saturating_add(1);
        // A replay asks for a receipt too: the hub may have lost ours.
        if self.due.is_none() {
            self.due = Some(self.interval_end(now, policy));
        }
        if self.pending >= policy.every {
            self.due = Some(now);
        }
        fresh
    }

    fn interval_end(&self, now: Time, policy: &SequenceAckPolicy) -> Time {
        let interval = u64::try_from(policy.interval.as_micros()).unwrap_or(u64::MAX);
        if !policy.ticks || interval == 0 {
            return now + policy.interval;
        }
        let since = now.micros_since(self.opened) % interval;
        now + Duration::from_micros(interval - since)
    }

    /// A transport opened; ticks count from here.
    pub(super) fn opened(&mut self, now: Time) {
        self.opened = now;
    }

    /// The receipt to send now, if one is due.
    pub(super) fn take_due(&mut self, now: Time) -> Option<SequenceId> {
        if self.withheld || self.due? > now {
            return None;
        }
        self.due = None;
        self.pending = 0;
        Some(SequenceId(self.max))
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.due.filter(|_| !self.withheld)
    }

    pub(super) fn withhold(&mut self, withheld: bool) {
        self.withheld = withheld;
    }

    /// A new connection numbers anew; a recovery does not come here.
    pub(super) fn restart(&mut self) {
        *self = Sequence {
            withheld: self.withheld,
            opened: self.opened,
            ..Sequence::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: SequenceAckPolicy = SequenceAckPolicy {
        interval: Duration::from_millis(200),
        every: 3,
        ticks: false,
    };

    #[test]
    fn a_client_that_acknowledges_in_a_rhythm_keeps_it_whenever_messages_come() {
        let policy = SequenceAckPolicy {
            interval: Duration::from_secs(1),
            every: u32::MAX,
            ticks: true,
        };
        let mut sequence = Sequence::default();
        sequence.opened(Time::from_millis(300));
        sequence.receive(SequenceId(1), Time::from_millis(1200), &policy);
        assert_eq!(sequence.due(), Some(Time::from_millis(1300)));
        sequence.take_due(Time::from_millis(1300));
        sequence.receive(SequenceId(2), Time::from_millis(1300), &policy);
        assert_eq!(sequence.due(), Some(Time::from_millis(2300)));
    }

    #[test]
    fn replays_are_not_fresh_but_are_acknowledged_again() {
        let mut sequence = Sequence::default();
        assert!(sequence.receive(SequenceId(1), Time::ZERO, &POLICY));
        assert!(sequence.receive(SequenceId(2), Time::ZERO, &POLICY));
        assert_eq!(sequence.take_due(Time::from_millis(199)), None);
        assert_eq!(
            sequence.take_due(Time::from_millis(200)),
            Some(SequenceId(2))
        );
        assert_eq!(sequence.due(), None);
        assert!(!sequence.receive(SequenceId(1), Time::from_millis(300), &POLICY));
        assert_eq!(
            sequence.take_due(Time::from_millis(500)),
            Some(SequenceId(2)),
            "the largest, never less"
        );
    }

    #[test]
    fn a_flood_is_acknowledged_without_waiting_for_the_timer() {
        let mut sequence = Sequence::default();
        for id in 1..=3 {
            sequence.receive(SequenceId(id), Time::ZERO, &POLICY);
        }
        assert_eq!(sequence.take_due(Time::ZERO), Some(SequenceId(3)));
    }

    #[test]
    fn withheld_receipts_come_when_the_fault_ends() {
        let mut sequence = Sequence::default();
        sequence.withhold(true);
        sequence.receive(SequenceId(1), Time::ZERO, &POLICY);
        assert_eq!(
            (sequence.due(), sequence.take_due(Time::from_secs(9))),
            (None, None)
        );
        sequence.withhold(false);
        assert_eq!(sequence.take_due(Time::from_secs(9)), Some(SequenceId(1)));
    }
}
