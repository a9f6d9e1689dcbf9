//! From one state to the next: recovery, reconnect, giving up.

use super::rejoin::Rejoining;
use super::{RecoveryStep, Session, State};
use crate::base::Time;
use crate::protocol::io::{Dial, Event, Output, RecoveryFailure};
use crate::wire::close::{self, Close};

impl<C: Clone> Session<C> {
    pub(super) fn dial_new(&mut self) {
        if self.stopping {
            return self.halt();
        }
        self.state = State::Dialing;
        self.outputs.push_back(Output::Dial(Dial::New));
    }

    pub(super) fn dial_recovery(&mut self, until: Time) {
        if self.stopping {
            return self.halt();
        }
        // Both are there, or recovery would not have begun.
        if let (Some(connection_id), Some(token)) = (self.connection_id.clone(), self.token.clone())
        {
            self.state = State::Recovering {
                until,
                step: RecoveryStep::Dialing,
            };
            self.outputs.push_back(Output::Dial(Dial::Recover {
                connection_id,
                token,
            }));
        }
    }

    pub(super) fn transport_lost(&mut self, now: Time, close: Close) {
        self.watch.ping = false;
        self.failed_recoveries = 0;
        let recoverable = close.code != Some(close::POLICY)
            && self.config.subprotocol.is_reliable()
            && self.connection_id.is_some()
            && self.token.is_some()
            && self.transport < u16::MAX;
        self.event(Event::TransportLost(close.clone()));
        self.newer_transport_lost();
        let settled = self.requests.transport_lost(now, &self.config.retry);
        self.settle(now, settled);
        if recoverable {
            self.dial_recovery(now + self.config.recovery.window);
        } else {
            self.event(Event::NotRecoverable(close));
            self.reconnect(now);
        }
    }

    pub(super) fn pause_recovery(&mut self, now: Time, until: Time) {
        self.watch.ping = false;
        self.failed_recoveries += 1;
        let next = now
            + self
                .chance
                .pause(&self.config.recovery.backoff, self.failed_recoveries);
        if next < until {
            self.state = State::Recovering {
                until,
                step: RecoveryStep::Pausing { until: next },
            };
        } else {
            self.recovery_failed(now, RecoveryFailure::WindowPassed);
        }
    }

    pub(super) fn recovery_failed(&mut self, now: Time, failure: RecoveryFailure) {
        self.watch.ping = false;
        self.event(Event::RecoveryFailed(failure));
        self.reconnect(now);
    }

    pub(super) fn reconnect(&mut self, now: Time) {
        self.forget_connection();
        if self.config.reconnect.enabled {
            self.failed_dials = 0;
            if self.config.reconnect.first.is_zero() {
                self.dial_new();
            } else {
                self.state = State::Waiting {
                    until: now + self.config.reconnect.first,
                };
            }
        } else {
            self.halt();
        }
    }

    pub(super) fn connect_failed(&mut self, now: Time, error: String) {
        self.forget_connection();
        self.failed_dials += 1;
        self.event(Event::ConnectFailed(error));
        let policy = &self.config.reconnect;
        let goes_on = if self.starting {
            policy.retry_start
        } else {
            policy.enabled && policy.attempts.is_none_or(|most| self.failed_dials < most)
        };
        if goes_on {
            self.state = State::Waiting {
                until: now + self.chance.pause(&policy.backoff, self.failed_dials),
            };
        } else {
            self.halt();
        }
    }

    pub(super) fn forget_connection(&mut self) {
        self.connection_id = None;
        self.token = None;
        self.watch.ping = false;
        self.requests.forget_rejoins();
        self.rejoining = Rejoining::default();
        self.newer_connection_lost();
    }
}
