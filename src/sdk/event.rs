//! What a client tells a program.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use super::stream::StreamMark;
use crate::wire::Data;

/// Something happened. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A new connection is up: once per connection, never after a recovery. Groups joined
    /// before are being joined again.
    Connected {
        /// Its name.
        connection_id: String,
        /// The user, if the hub named one.
        user_id: Option<String>,
    },
    /// The transport is lost; the session may still be recovered. Nothing is lost if it is.
    Recovering {
        /// The session.
        connection_id: String,
    },
    /// The session goes on where it was.
    Recovered {
        /// The session.
        connection_id: String,
    },
    /// The session is lost, and with it what the hub had kept for it.
    Disconnected {
        /// The session.
        connection_id: String,
        /// Why, if the hub said so.
        reason: Option<String>,
    },
    /// The client stopped. Nothing comes after it until it is started again.
    Stopped,
    /// A message of the service: a REST send, or the reply to an event.
    ServerMessage(Message),
    /// A message of a group, or with its `stream` set a part of a stream to it.
    GroupMessage(Message),
    /// A group could not be joined again. It stays on the list for the next reconnect.
    RejoinFailed {
        /// The group.
        group: Arc<str>,
        /// Why.
        error: String,
    },
    /// This listener was too slow: so many events are lost to it (not to others).
    Missed(u64),
}

/// A data message, each one handed out once, replays already dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The group; `None` for a message of the service.
    pub group: Option<String>,
    /// The publisher's user id, where the hub tells it.
    pub from_user_id: Option<String>,
    /// Its number on this connection; on reliable subprotocols only.
    pub sequence_id: Option<u64>,
    /// The payload.
    pub data: Arc<Data<'static>>,
    /// Set when it is a part of a group stream.
    pub stream: Option<Arc<StreamMark>>,
}

impl Message {
    /// The payload, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &*self.data {
            Data::Text(text) => Some(text),
            Data::Json(_) | Data::Binary(_) | Data::Protobuf(_) => None,
        }
    }

    /// The payload, if it is JSON and of the wanted form.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        match &*self.data {
            Data::Json(text) => serde_json::from_str(text).ok(),
            Data::Text(_) | Data::Binary(_) | Data::Protobuf(_) => None,
        }
    }
}

/// A listener. Dropping it removes it.
///
/// It holds the events since it was made, up to the bound set with
/// [`ClientBuilder::event_queue`](super::ClientBuilder::event_queue); a listener that falls
/// behind more than that loses the oldest and is told how many with [`Event::Missed`]. A
/// slow listener holds up neither the client nor other listeners.
#[derive(Debug)]
pub struct Events(pub(super) broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
