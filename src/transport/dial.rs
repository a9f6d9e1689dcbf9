//! Opening a connection: awc makes the handshake, over our own connector, and is then done.
//!
//! What awc keeps for a connection (two 8 KiB buffers, a size limit, no way to the socket)
//! is taken apart right after the handshake. One [`Dialer`] per arbiter.
//! Read [`super::socket`] for what comes out.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_codec::Framed;
use awc::error::{ConnectError, SendRequestError, WsClientError};
use awc::http::{Uri, header};
use awc::ws::Codec;
use awc::{BoxedSocket, Client, ClientBuilder, ClientResponse, Connector};
use secrecy::{ExposeSecret as _, SecretString};

use super::connect::{SLOT, Slot, TapConnector, open};
use super::refusal::{KeepRefusal, Refusal};
use super::socket::Socket;
use super::tls::{self, TlsError, TlsOptions};
use crate::wire::Subprotocol;

/// awc's own time limits are set out of the way: each request brings its own.
const NO_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Opens connections. Belongs to one arbiter; building one costs microseconds without TLS
/// roots to load, about 10 ms with them.
pub struct Dialer {
    client: Client,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

/// One connection to open.
#[derive(Clone, Debug)]
pub struct DialRequest<'a> {
    /// `ws://` or `wss://`, tokens and recovery parameters in the query.
    pub url: &'a SecretString,
    /// The one subprotocol offered; the hub must select it.
    pub subprotocol: Subprotocol,
    /// A token for the `Authorization` header, for hubs that want it there.
    pub bearer: Option<&'a SecretString>,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
    /// The local address to connect from.
    pub source: Option<IpAddr>,
    /// The longest that everything together may take: name look-up, TCP, TLS, upgrade.
    pub timeout: Duration,
}

/// Why a connection was not opened. Shows no secret.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The hub answered with an HTTP status instead of upgrading.
    #[error("the hub refused the connection with status {status}{}", shown(.body))]
    Refused {
        /// The HTTP status, e.g. 401 for a bad token, 429 for too many connections.
        status: u16,
        /// The first KiB of what the hub said, secrets masked.
        body: Option<String>,
    },
    /// Not open after the request's timeout.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// The network failed: no such host, connection refused, reset, ended early.
    #[error("{0}")]
    Io(io::Error),
    /// TLS failed, e.g. the hub's certificate is not trusted.
    #[error("TLS failed: {0}; a private authority is trusted through its CA file")]
    Tls(String),
    /// The hub upgraded, but not to the subprotocol offered.
    #[error("the hub selected {} instead of subprotocol {offered}", selected.as_deref().unwrap_or("none"))]
    Subprotocol {
        /// What was offered.
        offered: &'static str,
        /// What the hub selected.
        selected: Option<String>,
    },
    /// The hub's answer was not a proper HTTP or WebSocket upgrade answer.
    #[error("the hub's answer to the upgrade was not understood: {0}")]
    Answer(String),
    /// The URL or the user agent cannot be put into a request.
    #[error("the request cannot be made: {0}")]
    BadUrl(String),
}

impl DialError {
    /// The error with what to do about it, where that can be told.
    pub fn with_advice(&self) -> String {
        use io::ErrorKind::{
            ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, TimedOut,
        };
        let advice = match self {
            DialError::Refused { status, .. } => match status {
                401 | 403 => {
                    "give a key of this hub with --connection-string or target.access_key, or a \
                     client access URL with a token that is still valid as --target"
                }
                404 => "is the name of the hub right? --hub gives another",
                429 | 503 => {
                    "the hub takes no more connections now: let fewer clients come, or more \
                     slowly (connect: of a pool), or raise its limit"
                }
                _ => return self.to_string(),
            },
            DialError::Timeout(_) => RUNNING_THERE,
            DialError::Io(error) => match error.kind() {
                ConnectionRefused | HostUnreachable | NetworkUnreachable | NotFound | TimedOut => {
                    RUNNING_THERE
                }
                _ => return self.to_string(),
            },
            _ => return self.to_string(),
        };
        format!("{self}; {advice}")
    }
}

/// What to ask when nobody answers.
const RUNNING_THERE: &str = "is the hub running there? --target names another, and without a \
                             target the embedded hub is used";

fn shown(body: &Option<String>) -> String {
    body.as_ref()
        .map_or_else(String::new, |body| format!(": {}", body.trim()))
}

impl Dialer {
    /// A dialer for the current arbiter.
    ///
    /// # Errors
    /// The CA file cannot be read.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let connector = Connector::new()
            .connector(TapConnector)
            .rustls_0_23(tls::client_config(options)?)
            // awc counts a WebSocket for as long as it lives, and stops at 100.
            .limit(0)
            .timeout(NO_LIMIT)
            .handshake_timeout(NO_LIMIT);
        let client = ClientBuilder::new()
            .connector(connector)
            .disable_timeout()
            .disable_redirects()
            .wrap(KeepRefusal)
            .finish();
        Ok(Dialer { client })
    }

    /// Opens a connection. Must run inside an actix arbiter (or a tokio `LocalSet`).
    ///
    /// # Errors
    /// See [`DialError`]. Whether to try again is the caller's business.
    pub async fn dial(&self, request: DialRequest<'_>) -> Result<Socket, DialError> {
        let slot = Rc::new(Slot {
            source: request.source,
            ..Slot::default()
        });
        // Boxed: the handshake's future is large, and callers keep theirs for ever.
        let upgrade = Box::pin(SLOT.scope(Rc::clone(&slot), self.upgrade(&request)));
        let outcome = tokio::time::timeout(request.timeout, upgrade).await;
        if let Some(Refusal { status, body }) = slot.refusal.take() {
            return Err(DialError::Refused { status, body });
        }
        let (response, framed) = outcome.map_err(|_| DialError::Timeout(request.timeout))??;
        check_subprotocol(&response, request.subprotocol)?;
        let parts = framed.into_parts();
        let scheme = request.url.expose_secret().split_once("://");
        let is_tls = !matches!(scheme, Some(("ws" | "http", _)));
        Ok(Socket::new(
            parts.io,
            is_tls,
            &parts.read_buf,
            slot.control.clone(),
        ))
    }

    /// Opens the TCP connection to the hub, begins the request for the handshake, and never
    /// ends it: the hub has a connection that says no more. Lasts for the request's timeout.
    ///
    /// # Errors
    /// Always: how the connection ended.
    pub async fn hang(request: DialRequest<'_>) -> Result<Socket, DialError> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let timeout = request.timeout;
        let silence = async {
            let uri = Uri::try_from(request.url.expose_secret())
                .map_err(|error| DialError::BadUrl(error.to_string()))?;
            let bad = || DialError::BadUrl("no host".into());
            let host = uri.host().ok_or_else(bad)?;
            let tls = uri.scheme_str() == Some("wss");
            let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let mut stream = open(host, port, request.source).await.map_err(from_io)?;
            // Behind TLS the hello itself is left unfinished: the head of a record.
            let beginning: &[u8] = if tls {
                &[0x16, 0x03, 0x01]
            } else {
                b"GET /client"
            };
            stream.write_all(beginning).await.map_err(from_io)?;
            // Until the hub has enough of it.
            while stream.read(&mut [0; 256]).await.map_err(from_io)? > 0 {}
            Err(DialError::Io(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the hub ended a connection whose handshake did not go on",
            )))
        };
        match tokio::time::timeout(timeout, silence).await {
            Ok(ended) => ended,
            Err(_) => Err(DialError::Timeout(timeout)),
        }
    }

    async fn upgrade(
        &self,
        request: &DialRequest<'_>,
    ) -> Result<(ClientResponse, Framed<BoxedSocket, Codec>), DialError> {
        let uri = Uri::try_from(request.url.expose_secret())
            .map_err(|error| DialError::BadUrl(error.to_string()))?;
        let mut upgrade = self
            .client
            .ws(uri)
            .protocols([request.subprotocol.name()])
            .set_header(header::USER_AGENT, request.user_agent);
        if let Some(token) = request.bearer {
            upgrade = upgrade.bearer_auth(token.expose_secret());
        }
        upgrade.connect().await.map_err(DialError::from)
    }
}

/// A hub that selects nothing, or something else, speaks another protocol: what follows
/// would be noise. awc does not check this.
fn check_subprotocol(response: &ClientResponse, offered: Subprotocol) -> Result<(), DialError> {
    let selected = response
        .headers()
        .get(header::SEC_WEBSOCKET_PROTOCOL)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if selected.as_deref().and_then(Subprotocol::from_name) == Some(offered) {
        return Ok(());
    }
    Err(DialError::Subprotocol {
        offered: offered.name(),
        selected,
    })
}

impl From<WsClientError> for DialError {
    fn from(error: WsClientError) -> Self {
        use actix_http::error::ParseError;
        match error {
            WsClientError::SendRequest(error) => match error {
                SendRequestError::Connect(ConnectError::Io(error))
                | SendRequestError::Send(error)
                | SendRequestError::Response(ParseError::Io(error)) => from_io(error),
                SendRequestError::Connect(ConnectError::Disconnected) => {
                    DialError::Io(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the hub ended the connection before it answered",
                    ))
                }
                SendRequestError::Connect(error) => {
                    DialError::Io(io::Error::other(error.to_string()))
                }
                SendRequestError::Response(error) => DialError::Answer(error.to_string()),
                SendRequestError::Url(error) => DialError::BadUrl(error.to_string()),
                SendRequestError::Http(error) => DialError::BadUrl(error.to_string()),
                other => DialError::Answer(other.to_string()),
            },
            other => DialError::Answer(other.to_string()),
        }
    }
}

/// TLS errors come as I/O errors that hold one of rustls.
fn from_io(error: io::Error) -> DialError {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .map(ToString::to_string);
    match tls {
        Some(text) => DialError::Tls(text),
        None => DialError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_about_what_happened() {
        let refused = |status| {
            let body = Some("no".to_owned());
            DialError::Refused { status, body }.with_advice()
        };
        let io = |kind: io::ErrorKind| DialError::Io(kind.into()).with_advice();
        let running = "is the hub running there?";
        for (said, advice) in [
            (io(io::ErrorKind::ConnectionRefused), running),
            (
                DialError::Timeout(Duration::from_secs(5)).with_advice(),
                running,
            ),
            (refused(401), "--connection-string"),
            (refused(403), "--connection-string"),
            (refused(404), "--hub"),
            (refused(429), "no more connections"),
            (refused(503), "no more connections"),
        ] {
            assert!(said.contains(advice), "{said}");
            assert!(advice == running || !said.contains(running), "{said}");
        }
        // Nothing is known of these, so nothing is added.
        for said in [refused(500), io(io::ErrorKind::ConnectionReset)] {
            assert!(!said.contains(';'), "{said}");
        }
    }
}
