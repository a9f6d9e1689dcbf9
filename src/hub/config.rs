//! What a hub is started with, and why it may not start.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::faults::FaultSpec;
use crate::base::{Clock, Seed};
use crate::wire::RECOVERY_WINDOW;

/// Who answers the events that clients send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EventHandler {
    /// Nobody: each event with an ackId is answered with `InternalServerError`.
    None,
    /// The hub itself: the payload comes back as a server message, then the ack.
    #[default]
    Echo,
}

/// The settings of one hub.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// With a key, every new connection needs a token signed with it. Without, everyone is
    /// let in with all roles, or with the claims of an unverified token if it has one.
    pub access_key: Option<SecretString>,
    /// What to do wrong.
    pub faults: Vec<FaultSpec>,
    /// Decides connectionIds and the faults' dice.
    pub seed: Seed,
    /// The process's clock.
    pub clock: Clock,
    /// How long a dropped reliable session can be recovered; 30 s.
    pub recovery_window: Duration,
    /// Time between WebSocket pings, 1 to 120 s, 20 s by default; a peer silent for two of
    /// them is cut off.
    pub keep_alive: Duration,
    /// Who answers events.
    pub event_handler: EventHandler,
}

impl HubConfig {
    /// The defaults: no key, no faults, 30 s recovery, 20 s keep-alive, echo for events.
    pub fn new(listen: SocketAddr, seed: Seed, clock: Clock) -> Self {
        HubConfig {
            listen,
            access_key: None,
            faults: Vec::new(),
            seed,
            clock,
            recovery_window: RECOVERY_WINDOW,
            keep_alive: Duration::from_secs(20),
            event_handler: EventHandler::default(),
        }
    }
}

/// Why a hub could not start or write its truth file.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {addr}: {source}; is another program using it? try --listen 127.0.0.1:0"
    )]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The hub's thread or its runtime could not be made.
    #[error("cannot start the hub's thread: {0}")]
    Thread(std::io::Error),
    /// The signals cannot be watched.
    #[error("cannot watch for signals: {0}")]
    Signals(std::io::Error),
    /// The truth file cannot be written.
    #[error("cannot write the truth file {path}: {source}")]
    Truth {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
