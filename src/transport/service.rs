//! Requests to the service API: what an application server sends to a hub. awc keeps the
//! connections alive and reuses them. What a request means is `client::server`'s business.
//! Source: protocol 7.2 and 7.3.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use awc::http::header;
use awc::{Client, ClientBuilder, Connector};
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};

use super::connect::{SLOT, Slot, TapConnector};
use super::mask::mask;
use super::tls::{self, TlsError, TlsOptions};

/// What the service may say in a refusal, bytes; the rest is not read.
const BODY_MAX: usize = 1 << 10;
/// How long a connection without a request is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The longest life of a connection, in which some middleboxes would end it anyway.
const LIFETIME: Duration = Duration::from_secs(600);

/// Sends requests to the service API. Belongs to one arbiter.
pub struct ServiceClient {
    client: Client,
}

impl fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceClient").finish_non_exhaustive()
    }
}

/// One POST.
#[derive(Debug)]
pub struct ServiceRequest {
    /// The whole URL.
    pub url: String,
    /// The token, where the hub asks for one.
    pub bearer: Option<SecretString>,
    /// The content type of `body`.
    pub content_type: &'static str,
    /// The data.
    pub body: Bytes,
    /// The local address to connect from, for a new connection.
    pub source: Option<IpAddr>,
    /// The longest that everything together may take.
    pub timeout: Duration,
}

/// What became of a request that was not accepted. Shows no secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServiceError {
    /// The service refused it: it was not carried out.
    #[error("the service API refused with status {status}: {body}")]
    Refused {
        /// 4xx.
        status: u16,
        /// The beginning of what it said, secrets masked.
        body: String,
    },
    /// Nobody knows whether it was carried out.
    #[error("no word from the service API: {0}")]
    Unknown(String),
}

impl ServiceClient {
    /// A client for the current arbiter.
    ///
    /// # Errors
    /// The CA file cannot be read.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let connector = Connector::new()
            .connector(TapConnector)
            .rustls_0_23(tls::client_config(options)?)
            // The callers bound what is under way.
            .limit(0)
            .conn_keep_alive(KEEP_ALIVE)
            .conn_lifetime(LIFETIME);
        let client = ClientBuilder::new()
            .connector(connector)
            .disable_timeout()
            .disable_redirects()
            .finish();
        Ok(ServiceClient { client })
    }

    /// Sends a request and waits until it is accepted. The future borrows nothing.
    ///
    /// # Errors
    /// It was refused, or nobody knows.
    pub fn post(
        &self,
        request: ServiceRequest,
    ) -> impl Future<Output = Result<(), ServiceError>> + 'static {
        let client = self.client.clone();
        let slot = Rc::new(Slot {
            source: request.source,
            ..Slot::default()
        });
        SLOT.scope(slot, post(client, request))
    }
}

async fn post(client: Client, request: ServiceRequest) -> Result<(), ServiceError> {
    let unknown = |error: String| ServiceError::Unknown(mask(&error));
    let timeout = request.timeout;
    let exchange = async move {
        let mut post = client
            .post(request.url)
            .insert_header((header::CONTENT_TYPE, request.content_type));
        if let Some(token) = &request.bearer {
            post = post.bearer_auth(token.expose_secret());
        }
        let mut response = post
            .send_body(request.body)
            .await
            .map_err(|error| unknown(error.to_string()))?;
        let status = response.status();
        // Read to its end, so that the connection can be used again.
        let body = response.body().limit(BODY_MAX).await.unwrap_or_default();
        if status.is_success() {
            return Ok(());
        }
        let body = mask(&String::from_utf8_lossy(&body));
        match status.is_client_error() {
            true => Err(ServiceError::Refused {
                status: status.as_u16(),
                body,
            }),
            false => Err(unknown(format!("status {}: {body}", status.as_u16()))),
        }
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(done) => done,
        Err(_) => Err(unknown(format!("no answer within {timeout:?}"))),
    }
}
