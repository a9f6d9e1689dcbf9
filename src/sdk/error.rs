//! What can go wrong, as a program sees it. No error shows a secret.

use std::sync::Arc;

use crate::transport::{DialError, TlsError};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection was not opened; with the hub's HTTP status when it refused.
    #[error(transparent)]
    Dial(Arc<DialError>),
    /// The TLS options cannot be used.
    #[error(transparent)]
    Tls(Arc<TlsError>),
    /// The URL provider failed.
    #[error("no client access URL: {0}")]
    Provider(String),
    /// The socket was open, but the session did not come up.
    #[error("the connection did not come up: {0}")]
    Session(String),
    /// The client was stopped before it was connected.
    #[error("the client was stopped before it was connected")]
    Stopped,
    /// The thread that moves all clients cannot be started, or takes no more clients now.
    #[error("no thread for the client: {0}")]
    NoWorker(String),
}

impl ConnectError {
    /// The HTTP status of a refusal, e.g. 401 for a bad token.
    pub fn status(&self) -> Option<u16> {
        match self {
            ConnectError::Dial(error) => match **error {
                DialError::Refused { status, .. } => Some(status),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Why a request did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// The hub answered with an error. `Forbidden` and `BadRequest` mean not executed.
    #[error("the hub refused the request: {name}: {message}")]
    Refused {
        /// The error's name: an open list.
        name: String,
        /// For people.
        message: String,
        /// The ackId of the refused transmission.
        ack_id: u64,
    },
    /// No answer, and no tries left: executed or not, nobody knows.
    #[error("no answer to the request: whether it was executed is unknown")]
    Unknown,
    /// Never written: there was no connection through all tries.
    #[error("the request was never sent: there was no connection")]
    NotSent,
    /// The request's own timeout passed; it is cancelled, but may have been executed.
    #[error("no outcome within the request's timeout")]
    Timeout,
    /// Too many requests without an outcome (256).
    #[error("256 requests have no outcome yet; wait for some of them")]
    TooMany,
    /// The client is stopped.
    #[error("the client is stopped")]
    Stopped,
}
