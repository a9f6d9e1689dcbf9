//! One client's session: connect, recover, reconnect, rejoin, retry.
//!
//! ```text
//! Stopped --start--> Dialing --open--> AwaitConnected --connected frame--> Connected
//!    Connected --transport ends, recoverable--> Recovering(Dialing | Pausing | Opened)
//!    Recovering(Opened) --first frame--> Connected           (same connectionId)
//!    Recovering --1008, or window over--> Dialing            (a new connection)
//!    Connected --1008, not reliable, no token--> Dialing
//!    Dialing | AwaitConnected --failed--> Waiting --> Dialing
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

use super::config::SessionConfig;
use super::io::{
    Answer, Control, Dial, Event, Operation, Outcome, Output, Received, RecoveryFailure, RequestId,
    Settled, Transmit,
};
use super::requests::{Answered, Requests};
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
    requests: Requests<C>,
    sequence: Sequence,
    /// Groups joined and not left, to be joined again on a new connection.
    groups: Vec<Arc<str>>,
    rejoining: Rejoining,
    ping: bool,
    last_received: Time,
    pinged_at: Option<Time>,
    outputs: VecDeque<Output<C>>,
}

#[derive(Debug, Default)]
struct Rejoining {
    pending: u32,
    joined: u32,
    failed: u32,
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
            requests: Requests::new(),
            sequence: Sequence::default(),
            groups: Vec::new(),
            rejoining: Rejoining::default(),
            ping: false,
            last_received: Time::ZERO,
            pinged_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// Whether requests are written now.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
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
        if self.requests.len() >= self.config.retry.in_flight_max || self.state == State::Stopped {
            return Err(operation);
        }
        let connected = self.is_connected();
        Ok(self
            .requests
            .add(operation, acked, false, connected, now, &self.config.retry))
    }

    /// Withholds sequence acks, or lets them go again (a fault).
    pub fn withhold_sequence_acks(&mut self, withheld: bool) {
        self.sequence.withhold(withheld);
    }

    /// Stops for good: says goodbye with 1000, recovers nothing, gives every request its
    /// outcome.
    pub fn stop(&mut self) {
        if self.state == State::Stopped {
            return;
        }
        let goodbye = self
            .has_transport()
            .then(|| Close::with_code(close::NORMAL, ""));
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
        let settled = self.requests.settle_all();
        self.settle(settled);
    }

    // ---- inputs from the transport ----------------------------------------------------

    /// The dialled transport is open and its subprotocol agreed.
    pub fn handle_opened(&mut self, now: Time) {
        self.last_received = now;
        self.pinged_at = None;
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
                let step = RecoveryStep::Opened {
                    until: now + self.config.liveness.pong_within,
                };
                self.state = State::Recovering { until, step };
                // The hub need not say anything; a pong proves that it took us back.
                self.ping = true;
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
                if close.code == Some(close::POLICY) {
                    self.recovery_failed(RecoveryFailure::Refused);
                } else {
                    self.pause_recovery(now, until);
                }
            }
            State::Stopped | State::Dialing | State::Recovering { .. } | State::Waiting { .. } => {}
        }
    }

    /// Something came that is no frame of the protocol: a WebSocket ping or pong.
    pub fn handle_activity(&mut self, now: Time) {
        self.last_received = now;
        self.pinged_at = None;
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
            self.recovered();
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
            Downstream::Connected(_) | Downstream::Pong | Downstream::Unknown { .. } => {
                Received::Handled
            }
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
                self.sequence.restart();
                self.state = State::Connected;
                let user_id = connected.user_id.map(|user| user.into_owned());
                self.event(Event::Connected {
                    connection_id,
                    user_id,
                    epoch,
                });
                self.rejoin(now);
            }
            State::Recovering { .. } => {
                self.event(Event::RecoveryNamed { connection_id });
                self.recovered();
            }
            // A refreshed token on the live connection: no event for it.
            State::Connected => {}
            State::Stopped | State::Dialing | State::Waiting { .. } => {}
        }
    }

    fn recovered(&mut self) {
        self.state = State::Connected;
        self.event(Event::RecoveryConfirmed);
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
        self.settle(settled);
    }

    // ---- timers -----------------------------------------------------------------------

    /// When [`Session::handle_timeout`] or [`Session::poll_transmit`] next has something to
    /// do by itself.
    pub fn poll_timeout(&self) -> Option<Time> {
        let liveness = &self.config.liveness;
        let silence = match self.pinged_at {
            Some(pinged) => pinged + liveness.pong_within,
            None => self.last_received + liveness.ping_after,
        };
        let state = match self.state {
            State::Stopped => return None,
            State::Dialing => None,
            State::AwaitConnected { until } | State::Waiting { until } => Some(until),
            State::Connected => Some(self.sequence.due().map_or(silence, |due| due.min(silence))),
            State::Recovering {
                until,
                step: RecoveryStep::Dialing,
            } => Some(until),
            State::Recovering {
                until,
                step: RecoveryStep::Pausing { until: next } | RecoveryStep::Opened { until: next },
            } => Some(until.min(next)),
        };
        [state, self.requests.deadline()]
            .into_iter()
            .flatten()
            .min()
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
                self.recovery_failed(RecoveryFailure::WindowPassed);
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
            State::Stopped
            | State::Dialing
            | State::AwaitConnected { .. }
            | State::Recovering { .. }
            | State::Waiting { .. } => {}
        }
        let outputs = &mut self.outputs;
        let connected = self.state == State::Connected;
        let settled =
            self.requests
                .timeout(now, connected, &self.config.retry, |operation, ack_id| {
                    outputs.push_back(Output::Event(Event::AckMissing {
                        operation: operation.clone(),
                        ack_id,
                    }));
                });
        self.settle(settled);
    }

    fn check_silence(&mut self, now: Time) {
        let liveness = &self.config.liveness;
        match self.pinged_at {
            Some(pinged) if pinged + liveness.pong_within <= now => {
                self.event(Event::IdleTimeout);
                self.outputs.push_back(Output::CloseTransport(None));
                self.transport_lost(now, Close::without_frame("nothing received in time"));
            }
            None if self.last_received + liveness.ping_after <= now => {
                self.pinged_at = Some(now);
                self.ping = true;
            }
            Some(_) | None => {}
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
        if self.ping && self.has_transport() {
            self.ping = false;
            return Some(Transmit::Control(Control::Ping));
        }
        if self.state != State::Connected {
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
        self.ping = false;
        self.pinged_at = None;
        let recoverable = close.code != Some(close::POLICY)
            && self.config.subprotocol.is_reliable()
            && self.connection_id.is_some()
            && self.token.is_some()
            && self.transport < u16::MAX;
        self.event(Event::TransportLost(close.clone()));
        let settled = self.requests.transport_lost(now, &self.config.retry);
        self.settle(settled);
        if recoverable {
            self.dial_recovery(now + self.config.recovery.window);
        } else {
            self.event(Event::NotRecoverable(close));
            self.reconnect();
        }
    }

    fn pause_recovery(&mut self, now: Time, until: Time) {
        self.ping = false;
        let next = now + self.config.recovery.pause;
        if next < until {
            self.state = State::Recovering {
                until,
                step: RecoveryStep::Pausing { until: next },
            };
        } else {
            self.recovery_failed(RecoveryFailure::WindowPassed);
        }
    }

    fn recovery_failed(&mut self, failure: RecoveryFailure) {
        self.ping = false;
        self.event(Event::RecoveryFailed(failure));
        self.reconnect();
    }

    fn reconnect(&mut self) {
        self.forget_connection();
        if self.config.reconnect.enabled {
            self.failed_dials = 0;
            self.dial_new();
        } else {
            self.halt();
        }
    }

    fn connect_failed(&mut self, now: Time, error: String) {
        self.forget_connection();
        self.failed_dials += 1;
        self.event(Event::ConnectFailed(error));
        self.state = State::Waiting {
            until: now + self.config.reconnect.backoff.pause(self.failed_dials),
        };
    }

    fn forget_connection(&mut self) {
        self.connection_id = None;
        self.token = None;
        self.ping = false;
        self.requests.forget_rejoins();
        self.rejoining = Rejoining::default();
    }

    fn rejoin(&mut self, now: Time) {
        self.rejoining = Rejoining::default();
        if self.epoch == Some(0) || !self.config.reconnect.rejoin {
            return;
        }
        for group in self.groups.clone() {
            self.rejoining.pending += 1;
            self.requests.add(
                Operation::Join(group),
                true,
                true,
                true,
                now,
                &self.config.retry,
            );
        }
        if self.rejoining.pending == 0 {
            self.event(Event::RejoinDone {
                joined: 0,
                failed: 0,
            });
        }
    }

    fn settle(&mut self, settled: impl IntoIterator<Item = Settled<C>>) {
        for settled in settled {
            // For membership `Duplicate` is as good as success, as in all official clients.
            let done = settled.outcome == Outcome::Ok || settled.answer == Some(Answer::Duplicate);
            match &settled.operation {
                Operation::Join(group) if done && !self.groups.contains(group) => {
                    self.groups.push(group.clone())
                }
                Operation::Leave(group) if done => self.groups.retain(|joined| joined != group),
                _ => {}
            }
            let rejoin = settled
                .rejoin
                .then(|| (settled.operation.clone(), settled.answer));
            self.event(Event::Settled(settled));
            if let Some((Operation::Join(group), answer)) = rejoin {
                self.rejoin_settled(group, done, answer);
            }
        }
    }

    fn rejoin_settled(&mut self, group: Arc<str>, done: bool, answer: Option<Answer>) {
        if done {
            self.rejoining.joined += 1;
        } else {
            self.rejoining.failed += 1;
            let error = answer.map_or("the transport ended first".to_owned(), |answer| {
                format!("{answer:?}")
            });
            self.event(Event::RejoinFailed { group, error });
        }
        self.rejoining.pending = self.rejoining.pending.saturating_sub(1);
        if self.rejoining.pending == 0 {
            self.event(Event::RejoinDone {
                joined: self.rejoining.joined,
                failed: self.rejoining.failed,
            });
        }
    }

    fn event(&mut self, event: Event<C>) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests;
