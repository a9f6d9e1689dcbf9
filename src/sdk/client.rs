//! The handle that a program holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::builder::{ClientBuilder, Options};
use super::credential::Credential;
use super::driver::{Command, Driver, Wires};
use super::error::ConnectError;
use super::event::{Event, Events};
use super::invoke::Invocation;
use super::request::Request;
use super::stream::OpenStream;
use super::worker;
use crate::base::Seed;
use crate::protocol::{Operation, RequestOptions, StreamOptions};
use crate::wire::Data;
use crate::wire::request::STREAM_IDLE_DEFAULT;

/// Commands on their way to one client; whoever asks for more waits.
const COMMANDS_MAX: usize = 256;
/// How long an invocation waits for its answer unless it says otherwise.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a client is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// Nothing, until it is started.
    #[default]
    Stopped,
    /// Making a new connection.
    Connecting,
    /// Connected.
    Connected,
    /// Its transport is lost, its session not yet.
    Recovering,
}

/// A client. Clones are handles on the same one; it stops when the last is dropped.
///
/// It is moved by a thread that all clients of a process share, so it works from any tokio
/// runtime. While it is not connected, requests are tried again by policy, as in the
/// official clients, and fail when the tries are used up; at most 256 may have no outcome.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    events: broadcast::WeakSender<Event>,
    state: watch::Receiver<State>,
    tokens: Arc<AtomicU64>,
}

impl Client {
    /// Starts making a client with other than the default options.
    pub fn builder(credential: Credential) -> ClientBuilder {
        ClientBuilder::new(credential)
    }

    /// A connected client with the default options, and its events from the first on.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub async fn connect(credential: Credential) -> Result<(Client, Events), ConnectError> {
        Client::builder(credential).connect().await
    }

    pub(super) fn new(options: Options) -> Result<Self, ConnectError> {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (events, _) = broadcast::channel(options.event_queue);
        let (state_sender, state) = watch::channel(State::Stopped);
        let client = Client {
            commands,
            events: events.downgrade(),
            state,
            tokens: Arc::new(AtomicU64::new(0)),
        };
        let wires = Wires {
            commands: receiver,
            events,
            state: state_sender,
        };
        worker::spawn(move |worker| Driver::new(worker, options, wires).run())?;
        Ok(client)
    }

    /// Connects a stopped client, also one that was stopped before: groups it had joined are
    /// joined again. Returns when the connection is up, at once if it is up already.
    ///
    /// # Errors
    /// The first attempt failed: the client is stopped. After it, lost connections are made
    /// again by policy.
    pub async fn start(&self) -> Result<(), ConnectError> {
        let (reply, started) = oneshot::channel();
        self.commands
            .send(Command::Start(reply))
            .await
            .map_err(|_| ConnectError::Stopped)?;
        started.await.unwrap_or(Err(ConnectError::Stopped))
    }

    /// Stops at once: says goodbye, and requests without an outcome fail. Returns when it
    /// is stopped; does nothing to a stopped client.
    pub async fn stop(&self) {
        self.stop_within(Duration::ZERO).await;
    }

    /// Stops when every request has its outcome, at the latest after `within`. New requests
    /// are refused from now on.
    pub async fn stop_within(&self, within: Duration) {
        let (reply, stopped) = oneshot::channel();
        if self
            .commands
            .send(Command::Stop(within, reply))
            .await
            .is_ok()
        {
            // An error says that the client's task is gone: it is stopped all the same.
            let _ = stopped.await;
        }
    }

    /// What it is doing now.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Adds a listener. It hears what happens from now on; any number may listen.
    pub fn events(&self) -> Events {
        let receiver = self.events.upgrade().map(|events| events.subscribe());
        // The task is gone only after a panic: nothing will ever come.
        Events(receiver.unwrap_or_else(|| broadcast::channel(1).1))
    }

    /// Joins a group.
    pub fn join(&self, group: impl AsRef<str>) -> Request {
        self.request(Operation::Join(group.as_ref().into()))
    }

    /// Leaves a group.
    pub fn leave(&self, group: impl AsRef<str>) -> Request {
        self.request(Operation::Leave(group.as_ref().into()))
    }

    /// Publishes to a group; the client need not be a member.
    pub fn send_to_group(&self, group: impl AsRef<str>, data: impl Into<Data<'static>>) -> Request {
        self.request(Operation::Send {
            group: group.as_ref().into(),
            no_echo: false,
            content: Arc::new(data.into()),
        })
    }

    /// Sends an event to the hub's event handler. A reply comes as [`Event::ServerMessage`].
    pub fn send_event(&self, event: impl AsRef<str>, data: impl Into<Data<'static>>) -> Request {
        self.request(Operation::Event {
            event: event.as_ref().into(),
            content: Arc::new(data.into()),
        })
    }

    /// Sends an event and wants its handler's answer; on the JSON subprotocols only. Never
    /// tried again: a lost connection fails it.
    pub fn invoke(&self, event: impl AsRef<str>, data: impl Into<Data<'static>>) -> Invocation {
        Invocation {
            commands: self.commands.clone(),
            token: self.tokens.fetch_add(1, Ordering::Relaxed),
            event: event.as_ref().into(),
            content: Arc::new(data.into()),
            timeout: Some(INVOKE_TIMEOUT),
        }
    }

    /// Opens a stream to a group, on a live connection; at most 64 at a time. The client
    /// need not be a member.
    pub fn open_stream(&self, group: impl AsRef<str>) -> OpenStream {
        OpenStream {
            commands: self.commands.clone(),
            token: self.tokens.fetch_add(1, Ordering::Relaxed),
            options: StreamOptions {
                stream_id: stream_name().into(),
                group: group.as_ref().into(),
                idle_timeout: STREAM_IDLE_DEFAULT,
                no_echo: false,
            },
        }
    }

    fn request(&self, operation: Operation<Arc<Data<'static>>>) -> Request {
        Request {
            commands: self.commands.clone(),
            token: self.tokens.fetch_add(1, Ordering::Relaxed),
            operation,
            options: RequestOptions::ACKED,
            timeout: None,
        }
    }
}

/// A name that no other stream has, as client-spec 3.6.1 recommends: 128 random bits.
fn stream_name() -> String {
    format!("{:016x}{:016x}", Seed::draw().0, Seed::draw().0)
}
