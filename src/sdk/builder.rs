//! The options of a client.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::credential::Credential;
use super::error::ConnectError;
use super::event::Events;
use crate::protocol::{Behaviour, SessionConfig};
use crate::transport::TlsOptions;
use crate::wire::Subprotocol;

/// Everything that a client's task needs to know.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) credential: Credential,
    pub(super) session: Arc<SessionConfig>,
    pub(super) bearer: bool,
    pub(super) user_agent: String,
    pub(super) connect_timeout: Duration,
    pub(super) tls: TlsOptions,
    pub(super) event_queue: usize,
}

/// Makes a [`Client`].
///
/// ```
/// use std::time::Duration;
/// use hubstorm::sdk::{Client, Credential, Subprotocol};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let credential = Credential::endpoint("https://example.com", "chat", Some("the access key"))?
///     .user_id("ada")
///     .roles(["webpubsub.joinLeaveGroup.room"]);
/// let client = Client::builder(credential)
///     .subprotocol(Subprotocol::ProtobufReliable)
///     .connect_timeout(Duration::from_secs(5))
///     .session(|session| session.retry.retries = 5)
///     .build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    options: Options,
}

impl ClientBuilder {
    pub(super) fn new(credential: Credential) -> Self {
        ClientBuilder {
            options: Options {
                credential,
                session: Arc::new(config(Behaviour::Spec, Subprotocol::default())),
                bearer: false,
                user_agent: concat!("hubstorm-sdk/", env!("CARGO_PKG_VERSION")).into(),
                connect_timeout: Duration::from_secs(15),
                tls: TlsOptions::default(),
                event_queue: 1024,
            },
        }
    }

    /// The subprotocol; `json.reliable` by default.
    #[must_use]
    pub fn subprotocol(mut self, subprotocol: Subprotocol) -> Self {
        Arc::make_mut(&mut self.options.session).subprotocol = subprotocol;
        self
    }

    /// The habits of an official client instead of client-spec's. Resets what
    /// [`ClientBuilder::session`] has set; the subprotocol stays.
    #[must_use]
    pub fn behaves_like(mut self, behaviour: Behaviour) -> Self {
        self.options.session = Arc::new(config(behaviour, self.options.session.subprotocol));
        self
    }

    /// Changes any policy: retries, receipts, recovery, reconnect, rejoin, liveness. Unless
    /// `reconnect.retry_start` is set, a failed first connection fails the start.
    #[must_use]
    pub fn session(mut self, change: impl FnOnce(&mut SessionConfig)) -> Self {
        change(Arc::make_mut(&mut self.options.session));
        self
    }

    /// Sends the access token in the `Authorization` header instead of the URL's query.
    #[must_use]
    pub fn bearer(mut self, bearer: bool) -> Self {
        self.options.bearer = bearer;
        self
    }

    /// The `User-Agent` header.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.options.user_agent = user_agent.into();
        self
    }

    /// The longest that opening one connection may take, from name look-up to upgrade; the
    /// URL provider's time counts too. 15 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Whom to trust; the system's authorities by default.
    #[must_use]
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.options.tls = tls;
        self
    }

    /// How many events are kept for a listener that is behind; 1024 by default.
    #[must_use]
    pub fn event_queue(mut self, events: usize) -> Self {
        self.options.event_queue = events.clamp(1, 1 << 20);
        self
    }

    /// A stopped client: listen to its events first, then [`Client::start`] it.
    ///
    /// # Errors
    /// The thread that moves all clients cannot be started, or is overwhelmed.
    pub fn build(self) -> Result<Client, ConnectError> {
        Client::new(self.options)
    }

    /// A connected client, and its events from the first on.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub async fn connect(self) -> Result<(Client, Events), ConnectError> {
        let client = self.build()?;
        let events = client.events();
        client.start().await?;
        Ok((client, events))
    }
}

/// A program wants to hear that it cannot connect.
fn config(behaviour: Behaviour, subprotocol: Subprotocol) -> SessionConfig {
    let mut config = SessionConfig::of(behaviour, subprotocol);
    config.reconnect.retry_start = false;
    config
}
