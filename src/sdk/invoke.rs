//! Invocations: an event whose handler's answer is wanted.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::driver::{Command, Content};
use super::newer::NewerCommand;
use crate::protocol::InvokeRefused;
use crate::wire::Data;

/// What is told to whoever waits: the handler's answer, if it gave one.
pub(super) type Answer = Result<Option<Data<'static>>, InvokeError>;

/// Why an invocation has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvokeError {
    /// The hub, or the event's handler, answered with an error.
    #[error("the invocation failed: {name}: {message}")]
    Refused {
        /// The error's name: an open list.
        name: String,
        /// For people.
        message: String,
    },
    /// It was never sent.
    #[error("the invocation was not made: {0}")]
    NotMade(InvokeRefused),
    /// The connection was lost before the answer: handled or not, nobody knows. Invocations
    /// are never tried again.
    #[error("the connection was lost before the answer came")]
    Lost,
    /// No answer in time; the hub was told that none is wanted any more.
    #[error("no answer within the invocation's timeout")]
    Timeout,
    /// The client is stopped.
    #[error("the client is stopped")]
    Stopped,
}

/// An invocation that is made when it is awaited. Dropping its future calls it off.
///
/// ```
/// # use hubstorm::{base::{Clock, Seed}, hub::{Hub, HubConfig}};
/// use hubstorm::sdk::{Client, Credential, Data};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let hub = Hub::start(HubConfig::new("127.0.0.1:0".parse()?, Seed(1), Clock::start()))?;
/// # let endpoint = format!("http://{}", hub.addr());
/// let (client, _) = Client::connect(Credential::endpoint(&endpoint, "chat", None)?).await?;
/// // The embedded hub's own handler answers with what it is sent.
/// let answer = client.invoke("capital", "France").await?;
/// assert_eq!(answer, Some(Data::Text("France".into())));
/// # client.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "an invocation is made when it is awaited"]
pub struct Invocation {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) token: u64,
    pub(super) event: Arc<str>,
    pub(super) content: Content,
    pub(super) timeout: Option<Duration>,
}

impl Invocation {
    /// Gives up after so long; 30 s by default, while the official JS client waits for ever.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits for as long as the connection lasts.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    async fn run(self) -> Answer {
        let (reply, answer) = oneshot::channel();
        let mut cancel = Cancel {
            commands: self.commands.clone(),
            token: Some(self.token),
        };
        let command = Command::Newer(NewerCommand::Invoke {
            token: self.token,
            event: self.event,
            content: self.content,
            within: self.timeout,
            reply,
        });
        if self.commands.send(command).await.is_err() {
            return Err(InvokeError::Stopped);
        }
        let answer = answer.await.unwrap_or(Err(InvokeError::Stopped));
        cancel.token = None;
        answer
    }
}

impl IntoFuture for Invocation {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Calls the invocation off when its future ends without an answer.
struct Cancel {
    commands: mpsc::Sender<Command>,
    token: Option<u64>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            // With a full queue the answer comes, and nobody hears it.
            let cancel = NewerCommand::CancelInvocation(token);
            let _ = self.commands.try_send(Command::Newer(cancel));
        }
    }
}
