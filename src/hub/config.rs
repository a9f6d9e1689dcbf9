//! What a hub is started with, and why it may not start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

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

/// The key that the official emulator publishes for development. Who connects with a
/// connection string written for that emulator is let in here too.
pub const DEVELOPMENT_KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";

/// Where events go: a webhook's URL, in which `{hub}` and `{event}` are replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamUrl(String);

impl UpstreamUrl {
    /// The URL with its placeholders.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpstreamUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "the upstream URL {why}; write it like http://localhost:3000/api/webpubsub/hubs/{{hub}}/"
            )
        };
        let filled = text.replace("{hub}", "hub").replace("{event}", "event");
        let url =
            url::Url::parse(&filled).map_err(|error| wrong(&format!("is no URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("must begin with http:// or https://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("names no host"));
        }
        Ok(UpstreamUrl(text.to_owned()))
    }
}

/// Which events of the service itself the webhook is told. Source: docs, hub settings; the
/// names of the group events are those of the official express middleware 1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SystemEvents {
    /// Asked whether a connection may be.
    pub connect: bool,
    /// Told of each new connection.
    pub connected: bool,
    /// Told of each that ended.
    pub disconnected: bool,
    /// Told when a connection becomes a member of a group.
    pub joined: bool,
    /// Told when it is none any more.
    pub left: bool,
}

impl Default for SystemEvents {
    /// What every handler understands: all but those of groups.
    fn default() -> Self {
        SystemEvents {
            connect: true,
            connected: true,
            disconnected: true,
            joined: false,
            left: false,
        }
    }
}

impl FromStr for SystemEvents {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut events = SystemEvents {
            connect: false,
            connected: false,
            disconnected: false,
            joined: false,
            left: false,
        };
        for name in text.split(',').map(str::trim) {
            let event = match name {
                "connect" => &mut events.connect,
                "connected" => &mut events.connected,
                "disconnected" => &mut events.disconnected,
                "joined" => &mut events.joined,
                "left" => &mut events.left,
                "none" | "" => continue,
                _ => {
                    return Err(format!(
                        "no system event is called {name:?}; write some of connect,connected,disconnected,joined,left, or none"
                    ));
                }
            };
            *event = true;
        }
        Ok(events)
    }
}

/// The certificate of a hub that is reached by TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HubTls {
    /// From PEM files.
    Files {
        /// The certificate, and any authorities between it and the root.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Made at the start, for `localhost`, `127.0.0.1`, `::1` and these names.
    SelfMade {
        /// Further names or addresses.
        names: Vec<String>,
        /// Where to write it, so that clients can be told to trust it.
        certificate_out: Option<PathBuf>,
    },
}

/// The settings of one hub.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// With a key, every new connection needs a token signed with it. Without, everyone is
    /// let in with all roles, or with the claims of an unverified token if it has one.
    pub access_key: Option<SecretString>,
    /// Tokens signed with this key are as good: the old key while the other is replaced.
    pub secondary_access_key: Option<SecretString>,
    /// With a key: clients without a token are let in, too, with no role at all; the connect
    /// handler may give them some. Source: docs, hub settings (`anonymousConnectPolicy`).
    pub allow_anonymous: bool,
    /// Sessions at once, those in their recovery window included; connects beyond are
    /// refused with 429. `None`: as many as the machine holds.
    pub max_connections: Option<usize>,
    /// What to do wrong.
    pub faults: Vec<FaultSpec>,
    /// Decides the faults' dice.
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
    /// Events and connection events go to this webhook, in place of `event_handler`.
    pub upstream: Option<UpstreamUrl>,
    /// Which events besides those of clients the webhook is told.
    pub system_events: SystemEvents,
    /// Waits before a call to the webhook is tried again after 408, 5xx or no answer.
    pub handler_retries: Vec<Duration>,
    /// A TLS handshake, and each request's head, must be in within this.
    pub head_timeout: Duration,
    /// Serve by TLS only.
    pub tls: Option<HubTls>,
}

impl HubConfig {
    /// The defaults: no key, no faults, 30 s recovery, 20 s keep-alive, echo for events.
    pub fn new(listen: SocketAddr, seed: Seed, clock: Clock) -> Self {
        HubConfig {
            listen,
            access_key: None,
            secondary_access_key: None,
            allow_anonymous: false,
            max_connections: None,
            faults: Vec::new(),
            seed,
            clock,
            recovery_window: RECOVERY_WINDOW,
            keep_alive: Duration::from_secs(20),
            event_handler: EventHandler::default(),
            upstream: None,
            system_events: SystemEvents::default(),
            handler_retries: [1, 3, 5].map(Duration::from_secs).to_vec(),
            head_timeout: Duration::from_secs(10),
            tls: None,
        }
    }

    /// The keys with which tokens may be signed; none: tokens are not checked.
    pub(crate) fn keys(&self) -> Vec<&[u8]> {
        let keys = [&self.access_key, &self.secondary_access_key];
        match self.access_key {
            Some(_) => keys
                .into_iter()
                .flatten()
                .map(|key| key.expose_secret().as_bytes())
                .collect(),
            None => Vec::new(),
        }
    }

    /// A connection string for this hub at `addr`, to be pasted into a client's settings.
    /// `None` when the user gave a key: that one is never shown.
    pub fn connection_string(&self, addr: SocketAddr) -> Option<String> {
        let is_development = self
            .access_key
            .as_ref()
            .is_none_or(|key| key.expose_secret() == DEVELOPMENT_KEY);
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = if addr.ip().is_loopback() || addr.ip().is_unspecified() {
            format!("localhost:{}", addr.port())
        } else {
            addr.to_string()
        };
        is_development
            .then(|| format!("Endpoint={scheme}://{host};AccessKey={DEVELOPMENT_KEY};Version=1.0;"))
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
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Clock, Seed};

    #[test]
    fn a_users_key_is_never_shown() {
        let addr = "127.0.0.1:8080".parse().unwrap();
        let mut config = HubConfig::new(addr, Seed(1), Clock::start());
        let shown = config.connection_string(addr).unwrap();
        assert_eq!(
            shown,
            "Endpoint=http://localhost:8080;AccessKey=ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH;Version=1.0;"
        );
        config.access_key = Some(DEVELOPMENT_KEY.into());
        assert!(config.connection_string(addr).is_some());
        config.access_key = Some("my own key".into());
        assert_eq!(config.connection_string(addr), None);
    }

    #[test]
    fn system_events_are_named_one_by_one() {
        let all = "connect,connected, disconnected,joined,left".parse();
        let all: SystemEvents = all.unwrap();
        assert!(all.connect && all.connected && all.disconnected && all.joined && all.left);
        let none: SystemEvents = "none".parse().unwrap();
        assert!(!none.connect && !none.disconnected);
        let error = "conect".parse::<SystemEvents>().unwrap_err();
        assert!(error.contains("connected"), "{error}");
    }

    #[test]
    fn an_upstream_url_may_have_placeholders_but_must_be_http() {
        assert!(
            "http://localhost:3000/{hub}/{event}"
                .parse::<UpstreamUrl>()
                .is_ok()
        );
        for bad in ["localhost:3000", "ftp://x/", "", "/path"] {
            let error = bad.parse::<UpstreamUrl>().unwrap_err();
            assert!(error.contains("write it like"), "{bad}: {error}");
        }
    }
}
