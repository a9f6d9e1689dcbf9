//! What the harness does to itself, so that a selftest can see that it notices.
//!
//! Nothing but `selftest` asks for it: no flag and no scenario can. Only what is done and
//! when; where it hooks in is with the clients (frames) and the fleet (facts, holes, life).

use std::time::Duration;

use crate::base::Time;

/// How far the lying clock is behind.
const BEHIND: Duration = Duration::from_secs(2);

/// One way of being a bad harness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// One data frame of each thread does not reach the verifier.
    LoseFrame,
    /// Data frames are stamped two seconds before they came.
    LieAboutClock,
    /// The last thread's fleet is gone half a second into the load.
    KillFleet,
    /// No open hole is followed.
    CapHoles,
    /// One message of publisher facts does not arrive.
    LoseFacts,
    /// Each message of publisher facts arrives twice.
    RepeatFacts,
    /// Two messages of publisher facts arrive in the wrong order.
    SwapFacts,
}

/// When those that happen once happen, from the start of the load.
pub(crate) const STRIKES_AFTER: Duration = Duration::from_millis(500);

impl Sabotage {
    /// What the verifier is told of the arrival of a frame; `None`: nothing, it is lost.
    pub(super) fn stamp(self, struck: bool, started: Option<Time>, now: Time) -> Option<Time> {
        let due = started.is_some_and(|start| now >= start + STRIKES_AFTER);
        match self {
            Sabotage::LoseFrame if due && !struck => None,
            Sabotage::LieAboutClock if due => Some(now.saturating_sub(BEHIND)),
            _ => Some(now),
        }
    }
}
