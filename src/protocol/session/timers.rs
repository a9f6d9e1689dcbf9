//! Time: when the session next has something to do by itself, and doing it.

use super::{RecoveryStep, Session, State};
use crate::base::Time;
use crate::protocol::io::{Event, Output, RecoveryFailure};
use crate::wire::close::Close;

impl<C: Clone> Session<C> {
    /// When [`Session::handle_timeout`] or [`Session::poll_transmit`] next has something to
    /// do by itself.
    pub fn poll_timeout(&self) -> Option<Time> {
        let silence = self.watch.due(&self.config.liveness);
        let state = match self.state {
            State::Stopped => return None,
            State::Dialing => None,
            State::AwaitConnected { until } | State::Waiting { until } => Some(until),
            State::Connected => earliest([self.sequence.due(), silence]),
            State::Recovering {
                until,
                step: RecoveryStep::Dialing,
            } => self.config.recovery.cuts_attempts.then_some(until),
            State::Recovering {
                until,
                step: RecoveryStep::Pausing { until: next },
            } => Some(until.min(next)),
            State::Recovering {
                until,
                step: RecoveryStep::Opened { until: next },
            } if self.trusts_recovery() => earliest([silence, Some(until.min(next))]),
            State::Recovering {
                until,
                step: RecoveryStep::Opened { until: next },
            } => Some(until.min(next)),
        };
        earliest([state, self.requests.deadline(), self.newer.deadline()])
    }

    /// Lets timers fire.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::AwaitConnected { until } if until <= now => {
                self.outputs.push_back(Output::CloseTransport(None));
                self.connect_failed(now, "no connected frame in time".to_owned());
            }
            State::Waiting { until } if until <= now => self.dial_new(),
            State::Recovering { until, step } if until <= now && self.may_cut(step) => {
                self.outputs.push_back(Output::CloseTransport(None));
                self.recovery_failed(now, RecoveryFailure::WindowPassed);
            }
            State::Recovering {
                until,
                step: RecoveryStep::Pausing { until: next },
            } if next <= now => {
                self.dial_recovery(until);
            }
            State::Recovering {
                until,
                step: RecoveryStep::Opened { until: silent },
            } if silent <= now => {
                self.outputs.push_back(Output::CloseTransport(None));
                self.pause_recovery(now, until);
            }
            State::Connected => self.check_silence(now),
            State::Recovering {
                step: RecoveryStep::Opened { .. },
                ..
            } if self.trusts_recovery() => self.check_silence(now),
            State::Stopped
            | State::Dialing
            | State::AwaitConnected { .. }
            | State::Recovering { .. }
            | State::Waiting { .. } => {}
        }
        let connected = self.is_connected();
        let settled = self.requests.timeout(now, connected, &self.config.retry);
        self.settle(now, settled);
        self.newer_timeout(now);
    }

    /// Whether the end of the window ends this step.
    fn may_cut(&self, step: RecoveryStep) -> bool {
        step != RecoveryStep::Dialing || self.config.recovery.cuts_attempts
    }

    pub(super) fn check_silence(&mut self, now: Time) {
        if self.watch.is_dead(now, &self.config.liveness) {
            self.event(Event::IdleTimeout);
            self.outputs.push_back(Output::CloseTransport(None));
            self.handle_closed(now, Close::without_frame("nothing received in time"));
        }
    }
}

fn earliest<const N: usize>(times: [Option<Time>; N]) -> Option<Time> {
    times.into_iter().flatten().min()
}
