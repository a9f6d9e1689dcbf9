//! The task's half of streams and invocations: whoever waits for them, told what the session
//! says. The handles are in [`super::stream`] and [`super::invoke`].

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{oneshot, watch};

use super::driver::Content;
use super::invoke::{Answer, InvokeError};
use super::stream::StreamError;
use crate::base::Time;
use crate::protocol::{
    InvocationFailure, InvocationId, NewerEvent, Session, StreamOptions, StreamOutcome,
    StreamRefused,
};
use crate::wire::{self, InvokeResponse};

/// What a handle asks of the task.
pub(super) enum NewerCommand {
    Invoke {
        token: u64,
        event: Arc<str>,
        content: Content,
        within: Option<Duration>,
        reply: oneshot::Sender<Answer>,
    },
    CancelInvocation(u64),
    OpenStream {
        token: u64,
        options: StreamOptions,
        over: watch::Sender<Option<StreamError>>,
        reply: oneshot::Sender<Result<(), StreamError>>,
    },
    WriteStream {
        token: u64,
        stream_id: Arc<str>,
        content: Content,
        reply: oneshot::Sender<Result<(), StreamError>>,
    },
    /// The end is told through the stream's `over`.
    EndStream {
        token: u64,
        stream_id: Arc<str>,
        error: Option<wire::StreamError<'static>>,
    },
}

/// The owner of a stream.
struct Publisher {
    token: u64,
    opening: Option<oneshot::Sender<Result<(), StreamError>>>,
    /// A part that waits for room; a writer writes one at a time.
    writing: Option<(Content, oneshot::Sender<Result<(), StreamError>>)>,
    over: watch::Sender<Option<StreamError>>,
}

/// Everyone who waits.
#[derive(Default)]
pub(super) struct Waiters {
    invoking: FxHashMap<InvocationId, (u64, oneshot::Sender<Answer>)>,
    publishers: FxHashMap<Arc<str>, Publisher>,
}

impl Waiters {
    /// Does what a handle asks for; `stopping`: the client takes nothing new.
    pub(super) fn command(
        &mut self,
        session: &mut Session<Content>,
        command: NewerCommand,
        stopping: bool,
        now: Time,
    ) {
        // Whoever asked may be gone, whenever an answer is sent.
        match command {
            NewerCommand::Invoke { reply, .. } if stopping => {
                let _ = reply.send(Err(InvokeError::Stopped));
            }
            NewerCommand::OpenStream { reply, .. } if stopping => {
                let _ = reply.send(Err(StreamError::Stopped));
            }
            NewerCommand::Invoke {
                token,
                event,
                content,
                within,
                reply,
            } => match session.invoke(now, event, content, within) {
                Ok(id) => {
                    self.invoking.insert(id, (token, reply));
                }
                Err(refused) => {
                    let _ = reply.send(Err(InvokeError::NotMade(refused)));
                }
            },
            NewerCommand::CancelInvocation(token) => {
                let mut invoking = self.invoking.iter();
                let found = invoking.find(|(_, (known, _))| *known == token);
                if let Some(id) = found.map(|(id, _)| *id) {
                    self.invoking.remove(&id);
                    session.cancel_invocation(id);
                }
            }
            NewerCommand::OpenStream {
                token,
                options,
                over,
                reply,
            } => {
                let stream_id = options.stream_id.clone();
                match session.open_stream(options) {
                    Ok(()) => {
                        let publisher = Publisher {
                            token,
                            opening: Some(reply),
                            writing: None,
                            over,
                        };
                        self.publishers.insert(stream_id, publisher);
                    }
                    Err(refused) => {
                        let _ = reply.send(Err(StreamError::NotOpened(refused)));
                    }
                }
            }
            NewerCommand::WriteStream {
                token,
                stream_id,
                content,
                reply,
            } => self.write(session, (token, &stream_id), content, reply),
            NewerCommand::EndStream {
                token,
                stream_id,
                error,
            } => {
                if self.publisher((token, &stream_id)).is_some() {
                    session.end_stream(&stream_id, error);
                }
            }
        }
    }

    fn publisher(&mut self, (token, stream_id): (u64, &Arc<str>)) -> Option<&mut Publisher> {
        let publisher = self.publishers.get_mut(stream_id)?;
        (publisher.token == token).then_some(publisher)
    }

    fn write(
        &mut self,
        session: &mut Session<Content>,
        stream: (u64, &Arc<str>),
        content: Content,
        reply: oneshot::Sender<Result<(), StreamError>>,
    ) {
        let Some(publisher) = self.publisher(stream) else {
            // The writer knows how the stream ended.
            return;
        };
        match session.write_stream(stream.1, content) {
            Ok(()) => {
                let _ = reply.send(Ok(()));
            }
            Err((content, StreamRefused::Full)) => publisher.writing = Some((content, reply)),
            Err((_, refused)) => {
                let _ = reply.send(Err(StreamError::NotOpened(refused)));
            }
        }
    }

    /// Writes what waited for room.
    pub(super) fn write_waiting(&mut self, session: &mut Session<Content>) {
        for (stream_id, publisher) in &mut self.publishers {
            let Some((content, reply)) = publisher.writing.take() else {
                continue;
            };
            // A writer whose future is gone does not want it written any more.
            if reply.is_closed() {
                continue;
            }
            match session.write_stream(stream_id, content) {
                Ok(()) => {
                    let _ = reply.send(Ok(()));
                }
                Err((content, _)) => publisher.writing = Some((content, reply)),
            }
        }
    }

    /// An invocation is answered.
    pub(super) fn invoked(&mut self, id: InvocationId, response: InvokeResponse<'_>) {
        let Some((_, reply)) = self.invoking.remove(&id) else {
            return;
        };
        let answer = if response.success {
            Ok(response.data.map(|data| data.into_owned()))
        } else {
            let error = response.error;
            Err(InvokeError::Refused {
                name: error
                    .as_ref()
                    .map(|e| e.name.to_string())
                    .unwrap_or_default(),
                message: error.map(|e| e.message.into_owned()).unwrap_or_default(),
            })
        };
        let _ = reply.send(answer);
    }

    /// Something happened to a stream or an invocation.
    pub(super) fn event(&mut self, event: NewerEvent) {
        match event {
            NewerEvent::StreamOpened { stream_id } => {
                let publisher = self.publishers.get_mut(&stream_id);
                if let Some(reply) = publisher.and_then(|publisher| publisher.opening.take()) {
                    let _ = reply.send(Ok(()));
                }
            }
            // Written on when the session has been looked after.
            NewerEvent::StreamAdvanced { .. } => {}
            NewerEvent::StreamOver {
                stream_id,
                outcome,
                accepted,
                ..
            } => {
                let Some(publisher) = self.publishers.remove(&stream_id) else {
                    return;
                };
                let error = failure(outcome, accepted);
                if let Some(reply) = publisher.opening {
                    let _ = reply.send(Err(error.clone()));
                }
                publisher.over.send_replace(Some(error));
            }
            NewerEvent::InvocationFailed { id, failure } => {
                if let Some((_, reply)) = self.invoking.remove(&id) {
                    let _ = reply.send(Err(match failure {
                        InvocationFailure::Lost => InvokeError::Lost,
                        InvocationFailure::TimedOut => InvokeError::Timeout,
                    }));
                }
            }
        }
    }
}

fn failure(outcome: StreamOutcome, accepted: u64) -> StreamError {
    match outcome {
        StreamOutcome::Ended => StreamError::Ended,
        StreamOutcome::Closed { name, message } => StreamError::Closed {
            name,
            message,
            accepted,
        },
        StreamOutcome::NoProgress => StreamError::NoProgress { accepted },
        StreamOutcome::ProtocolViolation => StreamError::ProtocolViolation { accepted },
        StreamOutcome::Lost => StreamError::Lost { accepted },
    }
}
