//! Group streams: a publisher's numbered parts, and the mark that they carry to members.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::driver::Command;
use super::newer::NewerCommand;
use crate::protocol::{PartOrder, StreamOptions, StreamRefused};
use crate::wire::{self, Data};

/// How a stream ended, or why there is none. `accepted` parts have reached the group for
/// certain; what was written beyond them may or may not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    /// It was not opened, or takes no part now.
    #[error("the stream takes nothing: {0}")]
    NotOpened(StreamRefused),
    /// It has been ended.
    #[error("the stream is ended")]
    Ended,
    /// The hub closed it.
    #[error("the hub closed the stream: {name}: {message}")]
    Closed {
        /// `StreamNotFound`, `Forbidden`, `BadRequest`, `InternalServerError`,
        /// `IdleTimeout`: an open list.
        name: String,
        /// For people.
        message: String,
        /// Parts accepted.
        accepted: u64,
    },
    /// The hub gave no receipt for 30 s.
    #[error("no receipt for the stream within 30 s")]
    NoProgress {
        /// Parts accepted.
        accepted: u64,
    },
    /// The hub gave a receipt that cannot be.
    #[error("the hub gave a receipt for the stream that cannot be")]
    ProtocolViolation {
        /// Parts accepted.
        accepted: u64,
    },
    /// The connection is lost, and a stream belongs to one connection. One that is
    /// recovered goes on with its streams.
    #[error("the stream's connection is lost")]
    Lost {
        /// Parts accepted.
        accepted: u64,
    },
    /// The client is stopped.
    #[error("the client is stopped")]
    Stopped,
}

/// A stream that is opened when this is awaited; see [`StreamWriter`].
#[derive(Debug)]
#[must_use = "a stream is opened when this is awaited"]
pub struct OpenStream {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) token: u64,
    pub(super) options: StreamOptions,
}

impl OpenStream {
    /// Names the stream; a random name by default. Unique among the client's open streams.
    pub fn id(mut self, id: impl AsRef<str>) -> Self {
        self.options.stream_id = id.as_ref().into();
        self
    }

    /// How long the stream may be silent before the hub closes it; 300 s by default. The
    /// client keeps it alive, so this is about a client that is gone.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.idle_timeout = timeout;
        self
    }

    /// Spares this connection its own stream.
    pub fn no_echo(mut self) -> Self {
        self.options.no_echo = true;
        self
    }

    async fn run(self) -> Result<StreamWriter, StreamError> {
        let (reply, opened) = oneshot::channel();
        let (over_sender, over) = watch::channel(None);
        let stream_id = self.options.stream_id.clone();
        let command = NewerCommand::OpenStream {
            token: self.token,
            options: self.options,
            over: over_sender,
            reply,
        };
        // Made first: a future that is dropped half-way ends the stream.
        let writer = StreamWriter {
            commands: self.commands,
            token: self.token,
            stream_id,
            over,
            ended: false,
        };
        if writer.commands.send(Command::Newer(command)).await.is_err() {
            return Err(StreamError::Stopped);
        }
        opened.await.unwrap_or(Err(StreamError::Stopped))?;
        Ok(writer)
    }
}

impl IntoFuture for OpenStream {
    type Output = Result<StreamWriter, StreamError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// The publisher's end of a stream. Dropped without [`StreamWriter::end`], it ends the
/// stream in an error, so that members do not take what came for the whole.
///
/// ```
/// # use hubstorm::{base::{Clock, Seed}, hub::{Hub, HubConfig}};
/// use hubstorm::sdk::{Client, Credential, Event};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let hub = Hub::start(HubConfig::new("127.0.0.1:0".parse()?, Seed(1), Clock::start()))?;
/// # let endpoint = format!("http://{}", hub.addr());
/// let (client, mut events) =
///     Client::connect(Credential::endpoint(&endpoint, "chat", None)?).await?;
/// client.join("room").await?;
/// let mut stream = client.open_stream("room").await?;
/// stream.write("Once upon a time").await?;
/// stream.write("there was a hub.").await?;
/// stream.end().await?;
/// let mut story = Vec::new();
/// while let Some(event) = events.next().await {
///     let Event::GroupMessage(message) = event else { continue };
///     let Some(mark) = &message.stream else { continue };
///     if mark.end.is_some() {
///         break;
///     }
///     story.push((mark.number, message.text().unwrap_or_default().to_owned()));
/// }
/// assert_eq!(story, [(1, "Once upon a time".into()), (2, "there was a hub.".into())]);
/// # client.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct StreamWriter {
    commands: mpsc::Sender<Command>,
    /// Tells it from a stream that has the name already.
    token: u64,
    stream_id: Arc<str>,
    over: watch::Receiver<Option<StreamError>>,
    ended: bool,
}

impl StreamWriter {
    /// The stream's name.
    pub fn id(&self) -> &str {
        &self.stream_id
    }

    /// Writes the next part. Returns when the client has taken it: at once, unless 128
    /// parts wait to be accepted by the hub. Parts that wait survive a recovery. That they
    /// were accepted is known when [`StreamWriter::end`] returns.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn write(&mut self, data: impl Into<Data<'static>>) -> Result<(), StreamError> {
        let (reply, written) = oneshot::channel();
        let command = NewerCommand::WriteStream {
            token: self.token,
            stream_id: self.stream_id.clone(),
            content: Arc::new(data.into()),
            reply,
        };
        if self.commands.send(Command::Newer(command)).await.is_err() {
            return Err(StreamError::Stopped);
        }
        match written.await {
            Ok(result) => result,
            // The stream was over before it was this part's turn.
            Err(_) => Err(self.outcome()),
        }
    }

    /// Ends the stream. Returns when the hub has accepted every part and the end.
    ///
    /// # Errors
    /// The stream ended otherwise; the error says how many parts were accepted.
    pub async fn end(self) -> Result<(), StreamError> {
        self.finish(None).await
    }

    /// Ends the stream in an error that members are told: a message for people and a code
    /// for programs. What was written before still reaches them.
    ///
    /// # Errors
    /// As [`StreamWriter::end`].
    pub async fn fail(self, message: &str, code: &str) -> Result<(), StreamError> {
        let error = wire::StreamError {
            message: Some(message.to_owned().into()),
            code: Some(code.to_owned().into()),
        };
        self.finish(Some(error)).await
    }

    async fn finish(
        mut self,
        error: Option<wire::StreamError<'static>>,
    ) -> Result<(), StreamError> {
        let command = NewerCommand::EndStream {
            token: self.token,
            stream_id: self.stream_id.clone(),
            error,
        };
        if self.commands.send(Command::Newer(command)).await.is_err() {
            return Err(StreamError::Stopped);
        }
        self.ended = true;
        // An error says that the client's task is gone; the last word is kept either way.
        let _ = self.over.wait_for(Option::is_some).await;
        match self.outcome() {
            StreamError::Ended => Ok(()),
            other => Err(other),
        }
    }

    fn outcome(&self) -> StreamError {
        self.over.borrow().clone().unwrap_or(StreamError::Stopped)
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.ended && self.over.borrow().is_none() {
            let error = wire::StreamError {
                message: Some("the publisher gave the stream up".into()),
                code: Some("Dropped".into()),
            };
            let command = NewerCommand::EndStream {
                token: self.token,
                stream_id: self.stream_id.clone(),
                error: Some(error),
            };
            // With a full queue the stream stays open until the connection ends.
            let _ = self.commands.try_send(Command::Newer(command));
        }
    }
}

/// The mark of a message that is a part of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamMark {
    /// The stream; unique within its group while it lives.
    pub id: String,
    /// The part's number, from 1; the end takes the next one.
    pub number: u64,
    /// Set on the last: how the stream ended. Its payload is empty.
    pub end: Option<StreamEnd>,
    /// How this part follows what this client has heard of the stream before. A part is
    /// missing after a reconnect, or when the group was joined midway.
    pub order: PartOrder,
}

/// How a stream ended, as a member is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamEnd {
    /// By its publisher, whole.
    Whole,
    /// In an error: it may not be whole.
    Failed {
        /// `UserError`, `IdleTimeout`, `InternalServerError`, `Forbidden`, `Cancelled`: an
        /// open list.
        name: String,
        /// For people.
        message: Option<String>,
        /// The publisher's own code, with `UserError`.
        code: Option<String>,
    },
}

impl StreamMark {
    pub(super) fn new(part: wire::StreamPart<'_>, order: PartOrder) -> Self {
        let end = part.end_of_stream.then(|| match part.error {
            None => StreamEnd::Whole,
            Some(error) => StreamEnd::Failed {
                name: error.name.into_owned(),
                message: error.message.map(|text| text.into_owned()),
                code: error.code.map(|text| text.into_owned()),
            },
        });
        StreamMark {
            id: part.stream_id.into_owned(),
            number: part.number,
            end,
            order,
        }
    }
}
