//! One request to the hub: its options, its future, its receipt.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::driver::Command;
use super::error::RequestError;
use crate::base::AckId;
use crate::protocol::{Operation, RequestOptions};
use crate::wire::Data;

/// The hub's receipt for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The ackId of the answered transmission; `None` for fire and forget.
    pub ack_id: Option<u64>,
    /// The hub had executed the request at an earlier try.
    pub duplicate: bool,
}

/// What is told to whoever waits.
pub(super) type Outcome = Result<Receipt, RequestError>;

/// A request that is made when it is awaited. Dropping its future cancels it: it is not
/// tried again, though what was sent already may be executed.
#[derive(Debug)]
#[must_use = "a request is made when it is awaited"]
pub struct Request {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) token: u64,
    pub(super) operation: Operation<Arc<Data<'static>>>,
    pub(super) options: RequestOptions,
    pub(super) timeout: Option<Duration>,
}

impl Request {
    /// Spares this connection its own message. For sends to groups only.
    pub fn no_echo(mut self) -> Self {
        if let Operation::Send { no_echo, .. } = &mut self.operation {
            *no_echo = true;
        }
        self
    }

    /// Wants no answer: succeeds as soon as the request is handed to the socket.
    pub fn fire_and_forget(mut self) -> Self {
        self.options.acked = false;
        self
    }

    /// Uses this ackId, on every retry too, instead of the client's next one. The hub does
    /// not execute a second request under an ackId it has executed.
    pub fn ack_id(mut self, ack_id: u64) -> Self {
        self.options.ack_id = Some(AckId(ack_id));
        self
    }

    /// Makes one attempt only.
    pub fn no_retry(mut self) -> Self {
        self.options.retried = false;
        self
    }

    /// Gives up after so long, whatever tries are left.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let mut cancel = Cancel {
            commands: self.commands.clone(),
            token: Some(self.token),
        };
        let timeout = self.timeout;
        let commands = self.commands;
        let command = Command::Request {
            token: self.token,
            operation: self.operation,
            options: self.options,
            reply,
        };
        let asked = async {
            commands
                .send(command)
                .await
                .map_err(|_| RequestError::Stopped)?;
            outcome.await.unwrap_or(Err(RequestError::Stopped))
        };
        let result = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, asked)
                .await
                .unwrap_or(Err(RequestError::Timeout)),
            None => asked.await,
        };
        if !matches!(result, Err(RequestError::Timeout)) {
            cancel.token = None;
        }
        result
    }
}

impl IntoFuture for Request {
    type Output = Outcome;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Cancels the request when its future ends without an outcome.
struct Cancel {
    commands: mpsc::Sender<Command>,
    token: Option<u64>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            // With a full queue the request goes on to its own end: its outcome, which
            // nobody waits for, is dropped.
            let _ = self.commands.try_send(Command::Cancel(token));
        }
    }
}
