//! What the harness does to itself, so that a selftest can see that it notices.
//!
//! Nothing but `selftest` asks for it: no flag and no scenario can. Only what is done and
//! when; where it hooks in is with the clients (frames) and the fleet (facts, holes, life).

use std::time::Duration;

use smallvec::{SmallVec, smallvec};

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
    /// The first thread's fleet is gone two seconds into the load.
    KillFirstFleet,
    /// The last thread's is.
    KillLastFleet,
    /// No open hole is followed.
    CapHoles,
    /// Every third message between threads and coordinator is lost, either way.
    LoseControl,
    /// Each of them arrives twice.
    RepeatControl,
    /// Each two of them arrive in the wrong order.
    SwapControl,
    /// No fact of a publisher reaches another thread, ever.
    LoseFacts,
}

/// When those that happen once happen, from the start of the load.
const STRIKES_AFTER: Duration = Duration::from_millis(500);
/// When a fleet ends, from the start of the load: in the middle of what it publishes.
pub(crate) const KILLS_AFTER: Duration = Duration::from_secs(2);

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

/// The road of control messages in one direction, and what a sabotage makes of it: messages
/// that come once and in order without one.
#[derive(Debug)]
pub(crate) struct Road<T> {
    does: Option<Sabotage>,
    passed: u64,
    held: Option<T>,
}

/// Of so many control messages one is lost.
const LOST_OF: u64 = 3;

impl<T: Clone> Road<T> {
    /// Of letters between fleets.
    pub(crate) fn of_letters(sabotage: Option<Sabotage>) -> Self {
        Road {
            does: sabotage,
            passed: 0,
            held: None,
        }
    }

    /// Of reports to the coordinator: a fleet whose reports never came would be gone, and
    /// that is another sabotage.
    pub(crate) fn of_reports(sabotage: Option<Sabotage>) -> Self {
        Road::of_letters(sabotage.filter(|sabotage| *sabotage != Sabotage::LoseFacts))
    }

    /// What arrives when `message` is sent.
    pub(crate) fn pass(&mut self, message: T) -> SmallVec<[T; 2]> {
        self.passed += 1;
        match self.does {
            Some(Sabotage::LoseFacts) => SmallVec::new(),
            Some(Sabotage::LoseControl) if self.passed.is_multiple_of(LOST_OF) => SmallVec::new(),
            Some(Sabotage::RepeatControl) => smallvec![message.clone(), message],
            Some(Sabotage::SwapControl) => match self.held.take() {
                Some(held) => smallvec![message, held],
                None => {
                    self.held = Some(message);
                    SmallVec::new()
                }
            },
            _ => smallvec![message],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A road that is good after all would make the rows of the selftest prove nothing.
    #[test]
    fn each_road_does_to_messages_what_its_name_says() {
        let arrived = |sabotage| {
            let mut road = Road::of_letters(sabotage);
            (1..=6).flat_map(|n| road.pass(n)).collect::<Vec<u32>>()
        };
        assert_eq!(arrived(None), [1, 2, 3, 4, 5, 6]);
        assert_eq!(arrived(Some(Sabotage::LoseControl)), [1, 2, 4, 5]);
        assert_eq!(arrived(Some(Sabotage::SwapControl)), [2, 1, 4, 3, 6, 5]);
        assert_eq!(arrived(Some(Sabotage::LoseFacts)), [0; 0]);
        let twice = arrived(Some(Sabotage::RepeatControl));
        assert_eq!(twice, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
        let mut reports = Road::of_reports(Some(Sabotage::LoseFacts));
        assert_eq!(reports.pass(1)[..], [1]);
    }
}
