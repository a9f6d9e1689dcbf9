//! What happened to single clients: their stories, for `events.jsonl`. Bounded; nothing here
//! is written for a delivery.

use crate::base::{Slot, Time};

/// The most that one arbiter keeps between two reports, four a second.
const KEPT_MAX: usize = 16_384;

/// A turn in the life of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Its transport ended: torn by a fault of ours.
    LostInjected,
    /// Its transport ended: by the hub or the network.
    LostHub,
    /// Its transport ended: given up by this harness.
    LostHarness,
    /// The session goes on over a new transport.
    Recovered,
    /// The hub refused to recover the session.
    RecoveryRefused,
    /// The session was not recovered within its window.
    RecoveryGivenUp,
    /// The session ended for good with its transport.
    SessionOver,
    /// A new connection after a lost one.
    Reconnected,
    /// Member of its groups again, as far as the hub let it.
    Rejoined,
    /// A group may not be joined, or not again.
    JoinRefused,
    /// It stopped by its policy, and does not come back.
    Stopped,
    /// Its visit is over.
    Left,
}

impl Turn {
    /// As it is written into `events.jsonl`.
    pub const fn name(self) -> &'static str {
        match self {
            Turn::LostInjected => "transport lost (injected)",
            Turn::LostHub => "transport lost (by hub or network)",
            Turn::LostHarness => "transport lost (by the harness)",
            Turn::Recovered => "recovered",
            Turn::RecoveryRefused => "recovery refused",
            Turn::RecoveryGivenUp => "recovery given up",
            Turn::SessionOver => "session over",
            Turn::Reconnected => "reconnected",
            Turn::Rejoined => "rejoined",
            Turn::JoinRefused => "join refused",
            Turn::Stopped => "stopped by its policy",
            Turn::Left => "left",
        }
    }
}

/// Turns of clients since they were last taken.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// When, who, what.
    pub kept: Vec<(Time, Slot, Turn)>,
    /// How many more there were.
    pub dropped: u64,
}

impl Moments {
    /// Notes one.
    pub fn push(&mut self, at: Time, slot: Slot, turn: Turn) {
        if self.kept.len() >= KEPT_MAX {
            self.dropped += 1;
        } else {
            self.kept.push((at, slot, turn));
        }
    }

    /// Adds those of another arbiter; each has kept to the bound.
    pub fn merge(&mut self, mut other: Moments) {
        self.kept.append(&mut other.kept);
        self.dropped += other.dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_counted_beyond_what_is_kept() {
        let mut moments = Moments::default();
        for slot in 0..KEPT_MAX as u32 + 7 {
            moments.push(Time::ZERO, Slot(slot), Turn::LostHub);
        }
        assert_eq!((moments.kept.len(), moments.dropped), (KEPT_MAX, 7));
        let mut sum = Moments::default();
        sum.merge(moments);
        assert_eq!((sum.kept.len(), sum.dropped), (KEPT_MAX, 7));
    }
}
