//! What comes from the transport: dials that ended, closes, frames.

use super::{RecoveryStep, Session, State};
use crate::base::Time;
use crate::protocol::io::{Answer, Event, Output, Received, RecoveryFailure};
use crate::protocol::requests::Answered;
use crate::wire::close::{self, Close};
use crate::wire::{Ack, Connected, Downstream};

impl<C: Clone> Session<C> {
    /// The dialled transport is open and its subprotocol agreed.
    pub fn handle_opened(&mut self, now: Time) {
        if self.stopping {
            self.outputs
                .push_back(Output::CloseTransport(Some(self.goodbye())));
            return self.halt();
        }
        self.watch.opened(now, &self.config.liveness);
        self.sequence.opened(now);
        match self.state {
            State::Dialing => {
                self.state = State::AwaitConnected {
                    until: now + self.config.reconnect.connected_within,
                };
            }
            State::Recovering {
                until,
                step: RecoveryStep::Dialing,
            } => {
                // Checked when the transport was lost: there is room for one more.
                self.transport = self.transport.saturating_add(1);
                self.state = match self.config.recovery.confirm_within {
                    Some(within) => {
                        // The hub need not say anything; a pong proves that it took us back.
                        self.watch.ping = true;
                        State::Recovering {
                            until,
                            step: RecoveryStep::Opened {
                                until: now + within,
                            },
                        }
                    }
                    None => State::Recovering {
                        until: Time::MAX,
                        step: RecoveryStep::Opened { until: Time::MAX },
                    },
                };
                self.event(Event::RecoveryOpened {
                    transport: self.transport,
                });
            }
            // Given up meanwhile; the shell was told.
            State::Stopped
            | State::AwaitConnected { .. }
            | State::Connected
            | State::Recovering { .. }
            | State::Waiting { .. } => {}
        }
    }

    /// The dial failed.
    pub fn handle_dial_failed(&mut self, now: Time, error: &str) {
        match self.state {
            State::Dialing => self.connect_failed(now, error.to_owned()),
            State::Recovering {
                until,
                step: RecoveryStep::Dialing,
            } => self.pause_recovery(now, until),
            State::Stopped
            | State::AwaitConnected { .. }
            | State::Connected
            | State::Recovering { .. }
            | State::Waiting { .. } => {}
        }
    }

    /// The transport ended by itself.
    pub fn handle_closed(&mut self, now: Time, close: Close) {
        match self.state {
            State::AwaitConnected { .. } => {
                self.connect_failed(now, format!("closed before the connected frame: {close:?}"));
            }
            State::Connected => self.transport_lost(now, close),
            State::Recovering {
                until,
                step: RecoveryStep::Opened { .. },
            } => {
                // Without effect unless requests were written on trust.
                let settled = self.requests.transport_lost(now, &self.config.retry);
                self.settle(now, settled);
                if close.code == Some(close::POLICY) {
                    self.recovery_failed(now, RecoveryFailure::Refused);
                } else if self.trusts_recovery() {
                    // To this client a new loss, with a window of its own.
                    self.dial_recovery(now + self.config.recovery.window);
                } else {
                    self.pause_recovery(now, until);
                }
            }
            State::Stopped | State::Dialing | State::Recovering { .. } | State::Waiting { .. } => {}
        }
    }

    /// Something came that is no frame of the protocol: a WebSocket ping or pong.
    pub fn handle_activity(&mut self, now: Time) {
        self.watch.heard(now);
    }

    /// A message came that cannot be read: the transport is dropped, as after any drop.
    pub fn handle_bad_frame(&mut self, now: Time, error: &str) {
        if self.has_transport() {
            self.event(Event::BadFrame(error.to_owned()));
            self.outputs
                .push_back(Output::CloseTransport(Some(Close::with_code(
                    close::INVALID,
                    "unreadable frame",
                ))));
            self.handle_closed(now, Close::without_frame("unreadable frame"));
        }
    }

    /// A frame came.
    pub fn handle_frame<'a>(&mut self, now: Time, frame: Downstream<'a>) -> Received<'a> {
        if !self.has_transport() {
            // A rest of a transport that is dead to us.
            return Received::Handled;
        }
        self.handle_activity(now);
        if let Downstream::Connected(connected) = frame {
            self.connected_frame(now, connected);
            return Received::Handled;
        }
        if matches!(self.state, State::Recovering { .. }) {
            self.recovered(now);
        }
        match frame {
            Downstream::Data(message) => {
                let policy = &self.config.sequence_ack;
                let fresh = message
                    .sequence_id
                    .is_none_or(|id| self.sequence.receive(id, now, policy));
                Received::Data { message, fresh }
            }
            Downstream::Ack(ack) => {
                self.ack(now, &ack);
                Received::Handled
            }
            Downstream::Disconnected { message } => {
                self.event(Event::DisconnectNotice(
                    message.map(|text| text.into_owned()),
                ));
                Received::Handled
            }
            Downstream::Stream(answer) => {
                self.stream_answer(now, &answer);
                Received::Handled
            }
            Downstream::InvokeResponse(response) => self.invoke_response(response),
            Downstream::Connected(_) | Downstream::Pong | Downstream::Unknown { .. } => {
                Received::Handled
            }
        }
    }

    pub(super) fn connected_frame(&mut self, now: Time, connected: Connected<'_>) {
        // Both are taken from every connected frame. Source: client-spec 1.2.4.
        let connection_id = connected.connection_id.into_owned();
        self.connection_id = Some(connection_id.clone());
        self.token = connected.reconnection_token.map(|token| token.into_owned());
        match self.state {
            State::AwaitConnected { .. } => {
                let Some(epoch) = self.epoch.map_or(Some(0), |epoch| epoch.checked_add(1)) else {
                    // 65,535 connections: the numbers that messages carry would wrap.
                    return self.end();
                };
                self.epoch = Some(epoch);
                self.transport = 0;
                self.failed_dials = 0;
                self.starting = false;
                self.sequence.restart();
                self.state = State::Connected;
                let user_id = connected.user_id.map(|user| user.into_owned());
                self.event(Event::Connected {
                    connection_id,
                    user_id,
                    epoch,
                });
                if epoch > 0 {
                    self.rejoin(now);
                }
            }
            State::Recovering { .. } => {
                self.event(Event::RecoveryNamed { connection_id });
                self.recovered(now);
            }
            // A refreshed token on the live connection: no event for it.
            State::Connected => {}
            State::Stopped | State::Dialing | State::Waiting { .. } => {}
        }
    }

    pub(super) fn recovered(&mut self, now: Time) {
        self.state = State::Connected;
        self.failed_recoveries = 0;
        self.event(Event::RecoveryConfirmed);
        self.newer_recovered(now);
        let rejoin = self.config.reconnect.rejoin;
        if rejoin.is_some_and(|rejoin| rejoin.on_recovery) {
            self.rejoin(now);
        }
    }

    pub(super) fn ack(&mut self, now: Time, ack: &Ack<'_>) {
        let answer = Answer::of(ack.success, ack.error.as_ref());
        let (operation, settled) =
            match self
                .requests
                .answer(ack.ack_id, answer, now, &self.config.retry)
            {
                Answered::Nobody if self.requests.was_sent(ack.ack_id) => {
                    return self.event(Event::LateAck(ack.ack_id));
                }
                Answered::Nobody => return self.event(Event::UnsolicitedAck(ack.ack_id)),
                Answered::Retrying(operation) => (operation, None),
                Answered::Settled(settled) => (settled.operation.clone(), Some(settled)),
            };
        self.event(Event::Answered {
            operation,
            ack_id: ack.ack_id,
            answer,
        });
        self.settle(now, settled);
    }
}
