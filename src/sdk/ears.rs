//! Whoever waits for something of one client: listeners, requests, starts. Told what the
//! session says happened; decides nothing.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::{broadcast, oneshot, watch};

use super::client::State;
use super::driver::Content;
use super::error::{ConnectError, RequestError};
use super::event::{Event, Message};
use super::newer::Waiters;
use super::request::{Outcome as Answered, Receipt};
use super::stream::StreamMark;
use crate::base::{AckId, Time};
use crate::protocol::{self, Answer, Received, RequestId, Session, Settled, StreamOrder};
use crate::transport::log_frame;
use crate::wire::codec::{self, Payload};
use crate::wire::{DataMessage, Downstream, MessageFrom, Subprotocol};

/// Whoever waits for something of this client.
pub(super) struct Ears {
    pub(super) events: broadcast::Sender<Event>,
    pub(super) state: watch::Sender<State>,
    pub(super) waiting: FxHashMap<RequestId, (u64, oneshot::Sender<Answered>)>,
    pub(super) starters: Vec<oneshot::Sender<Result<(), ConnectError>>>,
    pub(super) connection_id: Option<String>,
    /// Why the hub says it will close.
    pub(super) notice: Option<String>,
    /// The last error answer: the session keeps its kind, not its words.
    pub(super) refusal: Option<(AckId, String, String)>,
    pub(super) connect_error: Option<ConnectError>,
    /// Whoever waits for streams and invocations.
    pub(super) newer: Waiters,
    pub(super) order: StreamOrder,
    /// Listeners hear of a connection when its rejoins have ended, as with some official
    /// clients.
    pub(super) announces_late: bool,
    /// The connection not announced yet.
    pub(super) unannounced: Option<Event>,
}

impl Ears {
    /// A message came: the session first, then whoever listens.
    pub(super) fn hear(
        &mut self,
        session: &mut Session<Content>,
        subprotocol: Subprotocol,
        payload: Payload<'_>,
        now: Time,
    ) {
        log_frame(&self.name(), false, payload.as_bytes());
        let frame = match codec::decode_downstream(subprotocol, payload) {
            Ok(frame) => frame,
            Err(error) => return session.handle_bad_frame(now, &error.to_string()),
        };
        if let Downstream::Ack(ack) = &frame
            && let Some(error) = &ack.error
        {
            let (name, message) = (error.name.to_string(), error.message.to_string());
            self.refusal = Some((ack.ack_id, name, message));
        }
        let received = session.handle_frame(now, frame);
        // A listener hears of a recovery before the first message after it.
        while let Some(event) = session.poll_event() {
            self.event(session, event);
        }
        match received {
            Received::Data {
                message,
                fresh: true,
            } => self.message(message),
            Received::Invoked { id, response } => self.newer.invoked(id, response),
            Received::Data { .. } | Received::Handled => {}
        }
    }

    /// Tells clients apart in the log.
    pub(super) fn name(&self) -> &str {
        self.connection_id.as_deref().unwrap_or("new connection")
    }

    fn message(&mut self, message: DataMessage<'_>) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let (group, from_user_id) = match message.from {
            MessageFrom::Group {
                group,
                from_user_id,
            } => (
                Some(group.into_owned()),
                from_user_id.map(|user| user.into_owned()),
            ),
            MessageFrom::Server => (None, None),
        };
        let of_group = group.is_some();
        let stream = message.stream.map(|part| {
            let order = self.order.part(group.as_deref().unwrap_or_default(), &part);
            Arc::new(StreamMark::new(*part, order))
        });
        let message = Message {
            group,
            from_user_id,
            sequence_id: message.sequence_id.map(|id| id.0),
            data: Arc::new(message.data.into_owned()),
            stream,
        };
        self.tell(if of_group {
            Event::GroupMessage(message)
        } else {
            Event::ServerMessage(message)
        });
    }

    fn tell(&self, event: Event) {
        // An error says that nobody listens.
        let _ = self.events.send(event);
    }

    pub(super) fn event(&mut self, session: &Session<Content>, event: protocol::Event<Content>) {
        use protocol::Event as Happened;
        // Whoever hears of it and then asks must not get the state before it.
        self.show_state(session);
        tracing::debug!(client = self.name(), state = ?*self.state.borrow(), "session");
        match event {
            Happened::Connected {
                connection_id,
                user_id,
                epoch,
            } => {
                self.connection_id = Some(connection_id.clone());
                self.notice = None;
                self.connect_error = None;
                let connected = Event::Connected {
                    connection_id,
                    user_id,
                };
                // Nothing is joined again on the first one.
                if self.announces_late && epoch > 0 {
                    self.unannounced = Some(connected);
                } else {
                    self.tell(connected);
                }
                for reply in self.starters.drain(..) {
                    let _ = reply.send(Ok(()));
                }
            }
            Happened::RejoinDone { .. } => self.announce(),
            Happened::TransportLost(_) => {
                // A drop ends the rejoins, too.
                self.announce();
                if let (true, Some(connection_id)) =
                    (session.is_recovering(), self.connection_id.clone())
                {
                    self.tell(Event::Recovering { connection_id });
                }
            }
            Happened::RecoveryConfirmed => {
                if let Some(connection_id) = self.connection_id.clone() {
                    self.tell(Event::Recovered { connection_id });
                }
                for reply in self.starters.drain(..) {
                    let _ = reply.send(Ok(()));
                }
            }
            Happened::RecoveryFailed(_) | Happened::NotRecoverable(_) => self.disconnected(),
            Happened::ConnectFailed(error) => {
                self.connect_error
                    .get_or_insert(ConnectError::Session(error));
            }
            Happened::RejoinFailed { group, error } => {
                self.tell(Event::RejoinFailed { group, error });
            }
            Happened::DisconnectNotice(reason) => self.notice = reason,
            Happened::Settled(settled) => self.settled(settled),
            Happened::Newer(event) => self.newer.event(event),
            Happened::Stopped => {
                self.announce();
                self.disconnected();
                self.tell(Event::Stopped);
                let error = self.connect_error.take().unwrap_or(ConnectError::Stopped);
                for reply in self.starters.drain(..) {
                    let _ = reply.send(Err(error.clone()));
                }
            }
            Happened::RecoveryOpened { .. }
            | Happened::RecoveryNamed { .. }
            | Happened::Answered { .. }
            | Happened::LateAck(_)
            | Happened::UnsolicitedAck(_)
            | Happened::BadFrame(_)
            | Happened::IdleTimeout => {}
        }
    }

    pub(super) fn show_state(&self, session: &Session<Content>) {
        let state = if session.is_stopped() {
            State::Stopped
        } else if session.is_recovering() {
            State::Recovering
        } else if session.is_connected() {
            State::Connected
        } else {
            State::Connecting
        };
        self.state
            .send_if_modified(|shown| std::mem::replace(shown, state) != state);
    }

    /// Tells of a connection that was not announced yet.
    fn announce(&mut self) {
        if let Some(connected) = self.unannounced.take() {
            self.tell(connected);
        }
    }

    /// Tells of the end of a connection, once.
    fn disconnected(&mut self) {
        if let Some(connection_id) = self.connection_id.take() {
            let reason = self.notice.take();
            self.tell(Event::Disconnected {
                connection_id,
                reason,
            });
        }
    }

    fn settled(&mut self, settled: Settled<Content>) {
        let Some((_, reply)) = self.waiting.remove(&settled.request) else {
            return;
        };
        let duplicate = settled.answer == Some(Answer::Duplicate);
        let receipt = Receipt {
            ack_id: settled.ack_id.map(|id| id.0),
            duplicate,
        };
        let refusal = self
            .refusal
            .take_if(|(ack_id, ..)| Some(*ack_id) == settled.ack_id)
            .filter(|_| settled.answer.is_some());
        let outcome = match (settled.outcome, refusal) {
            (protocol::Outcome::Ok | protocol::Outcome::FireAndForget, _) => Ok(receipt),
            // Success in all official clients; the caller may have sent it before.
            _ if duplicate => Ok(receipt),
            (_, Some((ack_id, name, message))) => Err(RequestError::Refused {
                name,
                message,
                ack_id: ack_id.0,
            }),
            (protocol::Outcome::Unknown, None) => Err(RequestError::Unknown),
            (protocol::Outcome::Failed, None) => Err(RequestError::NotSent),
        };
        let _ = reply.send(outcome);
    }
}
