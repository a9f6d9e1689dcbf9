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
use std::hint::black_box;
use std::sync::Arc;

use crate::base::{Seed, Time};
use crate::wire::close::Close;

use self::liveness::Watch;
use self::newer::Newer;
use self::rejoin::Rejoining;
use super::chance::Chance;
use super::config::{SessionConfig, StopHabit};
use super::io::{Control, Event, Operation, Output, RequestId, RequestOptions, Transmit};
use super::requests::{Ask, Requests};
use super::sequence::Sequence;

/// Outputs that an idle session keeps room for.
const OUTPUTS_KEPT: usize = 2;

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
///
/// In the order of use: with thousands of sessions each is cold memory when its turn comes,
/// and what every frame and every receipt touches is in as few cache lines as can be.
#[derive(Debug)]
#[repr(C)]
pub struct Session<C> {
    state: State,
    config: Arc<SessionConfig>,
    newer: Newer<C>,
    sequence: Sequence,
    watch: Watch,
    outputs: VecDeque<Output<C>>,
    requests: Requests<C>,
    rejoining: Rejoining,
    // From here on: connections that come and go.
    /// Groups joined and not left, to be joined again on a new connection.
    groups: Vec<Arc<str>>,
    /// From the last `connected` frame.
    connection_id: Option<String>,
    token: Option<String>,
    chance: Chance,
    /// Failed attempts at a new connection in a row.
    failed_dials: u32,
    /// Failed attempts at the present recovery.
    failed_recoveries: u32,
    /// Connections that came up before this one; `None` before the first.
    epoch: Option<u16>,
    transport: u16,
    /// No connection came up since the start.
    starting: bool,
    /// Stopped while a dial was under way, by a client that waits for it.
    stopping: bool,
}

impl<C: Clone> Session<C> {
    /// A stopped session. The seed is for the jitter of its pauses.
    pub fn new(config: Arc<SessionConfig>, seed: Seed) -> Self {
        Session {
            state: State::Stopped,
            connection_id: None,
            token: None,
            epoch: None,
            transport: 0,
            failed_dials: 0,
            failed_recoveries: 0,
            requests: Requests::new(config.retry.first_ack_id, seed),
            sequence: Sequence::default(),
            groups: Vec::new(),
            starting: true,
            rejoining: Rejoining::default(),
            newer: Newer::default(),
            watch: Watch::default(),
            stopping: false,
            chance: Chance::new(seed, "connect"),
            outputs: VecDeque::new(),
            config,
        }
    }

    /// Reads a little everywhere, so that it is near when it is needed.
    pub fn touch(&self) {
        black_box((
            self.state,
            self.sequence.due(),
            self.outputs.len(),
            self.requests.len(),
            self.groups.len(),
        ));
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
    ///
    /// Without an open transport this may take effect later or not at all: see
    /// [`StopHabit`]. [`Session::end`] always stops.
    pub fn stop(&mut self) {
        if self.config.stop_forgets_groups {
            self.groups.clear();
        }
        let dialling = matches!(
            self.state,
            State::Dialing
                | State::Recovering {
                    step: RecoveryStep::Dialing,
                    ..
                }
        );
        match self.config.stop {
            StopHabit::OnlyOpen if !self.has_transport() => {}
            StopHabit::OnceOpen if dialling => self.stopping = true,
            StopHabit::AtOnce | StopHabit::OnceOpen | StopHabit::OnlyOpen => self.end(),
        }
    }

    /// Stops whatever the client's habits are: its program ends.
    pub fn end(&mut self) {
        if self.state == State::Stopped {
            return;
        }
        let goodbye = self.has_transport().then(|| self.goodbye());
        self.outputs.push_back(Output::CloseTransport(goodbye));
        self.halt();
    }

    fn goodbye(&self) -> Close {
        Close {
            code: self.config.goodbye,
            reason: String::new(),
        }
    }

    fn halt(&mut self) {
        self.state = State::Stopped;
        self.stopping = false;
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

    // ---- outputs ----------------------------------------------------------------------

    /// The next thing for the shell to do or to know.
    pub fn poll_output(&mut self) -> Option<Output<C>> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // A connect leaves room behind that is not needed again for long.
            self.outputs.shrink_to(OUTPUTS_KEPT);
        }
        output
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
        if self.state == State::Connected && self.newer.has_frame(now) {
            return self.newer.frame(now).map(Transmit::Newer);
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

    fn event(&mut self, event: Event<C>) {
        self.outputs.push_back(Output::Event(event));
    }
}

mod inputs;
mod liveness;
mod newer;
mod rejoin;
#[cfg(test)]
mod tests;
mod timers;
mod transitions;
