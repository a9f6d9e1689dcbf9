//! One client's session: connect, recover, reconnect, rejoin, retry.
//!
//! ```text
//! Stopped --start--> Dialing --open--> AwaitConnected --connected frame--> Connected
//!    Connected --transport ends, recoverable--> Recovering(Dialing | Pausing | Opened)
//!    Recovering(Opened) --first frame--> Connected           (same connectionId)
//!    Recovering --1008, or window over--> Dialing            (a new connection)
//!    Connected --1008, not reliable, no token--> Dialing
//!    Dialing | AwaitConnected --failed--> Waiting --> Dialing   (attempts left; else Stopped)
//!    any --stop--> Stopped
//! ```
//! Contract for the shell: hand in one input (`start`, `request`, `handle_*`, `stop`), then
//! drain [`Session::poll_output`] and [`Session::poll_transmit`] to the end, then wait for
//! the next input or for [`Session::poll_timeout`]. Spurious timeouts do no harm.
//! Time never goes back. Sources: client-spec 1.2 to 1.4, 3; behaviour of the official
//! clients where the text leaves it open.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::Time;
use crate::wire::close::{self, Close};
use crate::wire::{Ack, Connected, Downstream};

use self::liveness::Watch;
use self::rejoin::Rejoining;
use super::config::SessionConfig;
use super::io::{
    Answer, Control, Dial, Event, Operation, Output, Received, RecoveryFailure, RequestId,
    RequestOptions, Transmit,
};
use super::requests::{Answered, Ask, Requests};
use super::sequence::Sequence;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Stopped,
    /// A new connection is being dialled.
    Dialing,
    /// Its socket is open, the `connected` frame has not come.
    AwaitConnected {
        until: Time,
    },
    Connected,
    /// Attempts at recovery go on until the window is over.
    Recovering {
        until: Time,
        step: RecoveryStep,
    },
    /// Between attempts at a new connection.
    Waiting {
        until: Time,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RecoveryStep {
    Dialing,
    Pausing {
        until: Time,
    },
    /// The socket is open; the first frame decides.
    Opened {
        until: Time,
    },
}

/// The state machine. `C` is the caller's handle on payloads.
#[derive(Debug)]
pub struct Session<C> {
    config: Arc<SessionConfig>,
    state: State,
    /// From the last `connected` frame.
    connection_id: Option<String>,
    token: Option<String>,
    /// Connections that came up before this one; `None` before the first.
    epoch: Option<u16>,
    transport: u16,
    /// Failed attempts at a new connection in a row.
    failed_dials: u32,
    /// Failed attempts at the present recovery.
    failed_recoveries: u32,
    requests: Requests<C>,
    sequence: Sequence,
    /// Groups joined and not left, to be joined again on a new connection.
    groups: Vec<Arc<str>>,
    /// No connection came up since the start.
    starting: bool,
    rejoining: Rejoining,
    watch: Watch,
    outputs: VecDeque<Output<C>>,
}

impl<C: Clone> Session<C> {
    /// A stopped session.
    pub fn new(config: Arc<SessionConfig>) -> Self {
        Session {
            config,
            state: State::Stopped,
            connection_id: None,
            token: None,
            epoch: None,
            transport: 0,
            failed_dials: 0,
            failed_recoveries: 0,
            requests: Requests::new(),
            sequence: Sequence::default(),
            groups: Vec::new(),
            starting: true,
            rejoining: Rejoining::default(),
            watch: Watch::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Whether requests are written now.
    pub fn is_connected(&self) -> bool {
        match self.state {
            State::Connected => true,
            State::Recovering {
                step: RecoveryStep::Opened { .. },
                ..
            } => self.trusts_recovery(),
            _ => false,
        }
    }

    /// Whether an open socket is as good as a recovered session.
    fn trusts_recovery(&self) -> bool {
        self.config.recovery.confirm_within.is_none()
    }

    /// Whether the transport is lost and the session may still be recovered.
    pub fn is_recovering(&self) -> bool {
        matches!(self.state, State::Recovering { .. })
    }

    /// Whether nothing will happen until the next `start`.
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// Whether a transport is open, so that frames from it are listened to.
    pub fn has_transport(&self) -> bool {
        matches!(
            self.state,
            State::AwaitConnected { .. }
                | State::Connected
                | State::Recovering {
                    step: RecoveryStep::Opened { .. },
                    ..
                }
        )
    }

    /// The connection's name, while there is one.
    pub fn connection_id(&self) -> Option<&str> {
        self.connection_id.as_deref()
    }

    /// Which connection, from 0; `None` before the first came up.
    pub fn epoch(&self) -> Option<u16> {
        self.epoch
    }

    /// Requests without an outcome.
    pub fn outstanding(&self) -> usize {
        self.requests.len()
    }

    // ---- commands ---------------------------------------------------------------------

    /// Starts connecting. Does nothing unless stopped.
    pub fn start(&mut self) {
        if self.state == State::Stopped {
            self.failed_dials = 0;
            self.starting = true;
            self.dial_new();
        }
    }

    /// Asks for an operation; without `acked` it is fire and forget.
    ///
    /// # Errors
    /// Gives the operation back when `in_flight_max` requests have no outcome yet, or when
    /// the session is stopped.
    pub fn request(
        &mut self,
        now: Time,
        operation: Operation<C>,
        acked: bool,
    ) -> Result<RequestId, Operation<C>> {
        let options = RequestOptions {
            acked,
            ..RequestOptions::ACKED
        };
        self.request_with(now, operation, options)
    }

    /// Asks for an operation.
    ///
    /// # Errors
    /// As [`Session::request`].
    pub fn request_with(
        &mut self,
        now: Time,
        operation: Operation<C>,
        options: RequestOptions,
    ) -> Result<RequestId, Operation<C>> {
        if self.requests.len() >= self.config.retry.in_flight_max || self.state == State::Stopped {
            return Err(operation);
        }
        let ask = Ask {
            acked: options.acked,
            ack_id: options.ack_id,
            rejoin: false,
            retried: options.retried,
            after: None,
        };
        let connected = self.is_connected();
        Ok(self
            .requests
            .add(operation, ask, connected, now, &self.config.retry))
    }

    /// Forgets a request that has no outcome yet: it is not tried again and gets none. Gives
    /// its operation back; what was written already may be executed.
    pub fn cancel(&mut self, request: RequestId) -> Option<Operation<C>> {
        self.requests.cancel(request)
    }

    /// Withholds sequence acks, or lets them go again (a fault).
    pub fn withhold_sequence_acks(&mut self, withheld: bool) {
        self.sequence.withhold(withheld);
    }

    /// Stops: says goodbye, recovers nothing, gives every request its outcome. Groups are
    /// remembered: a session that is started again joins them.
    pub fn stop(&mut self) {
        if self.state == State::Stopped {
            return;
        }
        let goodbye = self.has_transport().then(|| Close {
            code: self.config.goodbye,
            reason: String::new(),
        });
        self.outputs.push_back(Output::CloseTransport(goodbye));
        self.halt();
    }

    fn halt(&mut self) {
        self.state = State::Stopped;
        self.abandon_requests();
        self.forget_connection();
        self.event(Event::Stopped);
    }

    /// Tries nothing more: gives every request the outcome that it has now. The connection
    /// stays.
    pub fn abandon_requests(&mut self) {
        self.rejoining.forget_waiting();
        let settled = self.requests.settle_all();
        // The time is for rejoins that go on, and none does.
        self.settle(Time::ZERO, settled);
    }

    // ---- inputs from the transport ----------------------------------------------------

    /// The dialled transport is open and its subprotocol agreed.
    pub fn handle_opened(&mut self, now: Time) {
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
            Downstream::Connected(_)
            | Downstream::Pong
            | Downstream::Stream(_)
            | Downstream::InvokeResponse(_)
            | Downstream::Unknown { .. } => Received::Handled,
        }
    }

    fn connected_frame(&mut self, now: Time, connected: Connected<'_>) {
        // Both are taken from every connected frame. Source: client-spec 1.2.4.
        let connection_id = connected.connection_id.into_owned();
        self.connection_id = Some(connection_id.clone());
        self.token = connected.reconnection_token.map(|token| token.into_owned());
        match self.state {
            State::AwaitConnected { .. } => {
                let Some(epoch) = self.epoch.map_or(Some(0), |epoch| epoch.checked_add(1)) else {
                    // 65,535 connections: the numbers that messages carry would wrap.
                    return self.stop();
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

    fn recovered(&mut self, now: Time) {
        self.state = State::Connected;
        self.failed_recoveries = 0;
        self.event(Event::RecoveryConfirmed);
        let rejoin = self.config.reconnect.rejoin;
        if rejoin.is_some_and(|rejoin| rejoin.on_recovery) {
            self.rejoin(now);
        }
    }

    fn ack(&mut self, now: Time, ack: &Ack<'_>) {
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

    // ---- timers -----------------------------------------------------------------------

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
            } => Some(until),
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
        earliest([state, self.requests.deadline()])
    }

    /// Lets timers fire.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::AwaitConnected { until } if until <= now => {
                self.outputs.push_back(Output::CloseTransport(None));
                self.connect_failed(now, "no connected frame in time".to_owned());
            }
            State::Waiting { until } if until <= now => self.dial_new(),
            State::Recovering { until, .. } if until <= now => {
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
        let outputs = &mut self.outputs;
        let settled =
            self.requests
                .timeout(now, connected, &self.config.retry, |operation, ack_id| {
                    outputs.push_back(Output::Event(Event::AckMissing {
                        operation: operation.clone(),
                        ack_id,
                    }));
                });
        self.settle(now, settled);
    }

    fn check_silence(&mut self, now: Time) {
        if self.watch.is_dead(now, &self.config.liveness) {
            self.event(Event::IdleTimeout);
            self.outputs.push_back(Output::CloseTransport(None));
            self.handle_closed(now, Close::without_frame("nothing received in time"));
        }
    }

    // ---- outputs ----------------------------------------------------------------------

    /// The next thing for the shell to do or to know.
    pub fn poll_output(&mut self) -> Option<Output<C>> {
        self.outputs.pop_front()
    }

    /// The next thing to know, if it comes before anything to do: for a shell that must not
    /// fall behind while it still holds a frame.
    pub fn poll_event(&mut self) -> Option<Event<C>> {
        match self
            .outputs
            .pop_front_if(|output| matches!(output, Output::Event(_)))?
        {
            Output::Event(event) => Some(event),
            Output::Dial(_) | Output::CloseTransport(_) => None,
        }
    }

    /// Whether [`Session::poll_output`] has something.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// The next frame to write, if any may be written now.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit<'_, C>> {
        if self.has_transport() && self.watch.take_ping() {
            return Some(Transmit::Control(Control::Ping));
        }
        if !self.is_connected() {
            return None;
        }
        if let Some(settled) = self.requests.take_unacked() {
            self.outputs
                .push_back(Output::Event(Event::Settled(settled)));
        }
        if self.config.subprotocol.is_reliable()
            && let Some(id) = self.sequence.take_due(now)
        {
            return Some(Transmit::Control(Control::SequenceAck(id)));
        }
        // Connected implies an epoch.
        let epoch = self.epoch?;
        self.requests
            .transmit(epoch, self.transport, now, &self.config.retry)
            .map(|(operation, transmission)| Transmit::Request {
                operation,
                transmission,
            })
    }

    // ---- transitions ------------------------------------------------------------------

    fn dial_new(&mut self) {
        self.state = State::Dialing;
        self.outputs.push_back(Output::Dial(Dial::New));
    }

    fn dial_recovery(&mut self, until: Time) {
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

    fn transport_lost(&mut self, now: Time, close: Close) {
        self.watch.ping = false;
        self.failed_recoveries = 0;
        let recoverable = close.code != Some(close::POLICY)
            && self.config.subprotocol.is_reliable()
            && self.connection_id.is_some()
            && self.token.is_some()
            && self.transport < u16::MAX;
        self.event(Event::TransportLost(close.clone()));
        let settled = self.requests.transport_lost(now, &self.config.retry);
        self.settle(now, settled);
        if recoverable {
            self.dial_recovery(now + self.config.recovery.window);
        } else {
            self.event(Event::NotRecoverable(close));
            self.reconnect(now);
        }
    }

    fn pause_recovery(&mut self, now: Time, until: Time) {
        self.watch.ping = false;
        self.failed_recoveries += 1;
        let next = now + self.config.recovery.backoff.pause(self.failed_recoveries);
        if next < until {
            self.state = State::Recovering {
                until,
                step: RecoveryStep::Pausing { until: next },
            };
        } else {
            self.recovery_failed(now, RecoveryFailure::WindowPassed);
        }
    }

    fn recovery_failed(&mut self, now: Time, failure: RecoveryFailure) {
        self.watch.ping = false;
        self.event(Event::RecoveryFailed(failure));
        self.reconnect(now);
    }

    fn reconnect(&mut self, now: Time) {
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

    fn connect_failed(&mut self, now: Time, error: String) {
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
                until: now + policy.backoff.pause(self.failed_dials),
            };
        } else {
            self.halt();
        }
    }

    fn forget_connection(&mut self) {
        self.connection_id = None;
        self.token = None;
        self.watch.ping = false;
        self.requests.forget_rejoins();
        self.rejoining = Rejoining::default();
    }

    fn event(&mut self, event: Event<C>) {
        self.outputs.push_back(Output::Event(event));
    }
}

fn earliest<const N: usize>(times: [Option<Time>; N]) -> Option<Time> {
    times.into_iter().flatten().min()
}

mod liveness;
mod rejoin;
#[cfg(test)]
mod tests;
