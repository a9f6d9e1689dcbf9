//! Calls to event handlers: webhooks in CloudEvents form. Source: docs, cloud events; where
//! they are silent, the official emulator. The connect handler is in `connect`.

mod connect;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use awc::http::{Method, StatusCode as AwcStatus};
use awc::{Client, ClientRequest};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

pub(super) use connect::ask_connect;

use crate::base::{Clock, Time};
use crate::hub::config::{DEVELOPMENT_KEY, HubConfig, HubError};
use crate::hub::core::Said;
use crate::hub::core::events::{Answer, Call, CallKind, Caller};
use crate::wire::{Data, MESSAGE_BYTES_MAX, Metadata};

/// A handler must answer within this.
const ANSWER_MAX: Duration = Duration::from_secs(100);
/// The same for the validation of its address.
const VALIDATION_MAX: Duration = Duration::from_secs(10);
/// How long a validation holds.
const VALID_FOR: Duration = Duration::from_secs(60);
/// Calls on their way at once; more wait in a queue of the sessions' own bounds.
const CALLS_MAX: usize = 256;

/// The client side of the event handlers.
pub(crate) struct Upstream {
    client: Client,
    template: String,
    /// The access keys; with the development key when there is none.
    keys: Vec<SecretString>,
    clock: Clock,
    /// What the handler sees as this service's host.
    origin: String,
    /// When each address was validated; as many as there are hub names in the template.
    validated: RefCell<HashMap<String, Time>>,
    calls: tokio::sync::Semaphore,
    retries: Vec<Duration>,
    failures: Cell<u64>,
}

impl Upstream {
    /// The client for the configured handler, if there is one; `port` is the hub's own.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(config: &HubConfig, port: u16) -> Result<Option<Self>, HubError> {
        let Some(upstream) = &config.upstream else {
            return Ok(None);
        };
        let keys = match &config.access_key {
            Some(key) => [Some(key), config.secondary_access_key.as_ref()]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            None => vec![DEVELOPMENT_KEY.into()],
        };
        let connector = awc::Connector::new();
        let connector = if upstream.as_str().starts_with("https:") {
            connector.rustls_0_23(client_tls()?)
        } else {
            connector
        };
        Ok(Some(Upstream {
            client: Client::builder()
                .connector(connector)
                .disable_timeout()
                .disable_redirects()
                .finish(),
            template: upstream.as_str().to_owned(),
            keys,
            clock: config.clock,
            origin: format!("localhost:{port}"),
            validated: RefCell::new(HashMap::new()),
            calls: tokio::sync::Semaphore::new(CALLS_MAX),
            retries: config.handler_retries.clone(),
            failures: Cell::new(0),
        }))
    }

    /// Attempts that failed, retried ones included.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.get()
    }

    fn url(&self, hub: &str, event: &str) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        self.template
            .replace("{hub}", &encoded(hub))
            .replace("{event}", &encoded(event))
    }

    /// Asks the handler's address whether it wants to hear from here.
    async fn validate(&self, hub: &str) -> Result<(), String> {
        let url = self.url(hub, "validate");
        let now = self.clock.now();
        if let Some(&at) = self.validated.borrow().get(&url)
            && now.since(at) < VALID_FOR
        {
            return Ok(());
        }
        let mut why = String::new();
        for method in [Method::OPTIONS, Method::GET] {
            let response = self
                .client
                .request(method, &url)
                .timeout(VALIDATION_MAX)
                .insert_header(("WebHook-Request-Origin", self.origin.as_str()))
                .insert_header(("ce-awpsversion", "1.0"))
                .send()
                .await
                .map_err(|error| format!("validating the event handler failed: {error}"))?;
            let allowed = response
                .headers()
                .get_all("WebHook-Allowed-Origin")
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .map(str::trim)
                .any(|origin| origin == "*" || origin.eq_ignore_ascii_case(&self.origin));
            if response.status().is_success() && allowed {
                self.validated.borrow_mut().insert(url, now);
                return Ok(());
            }
            why = format!(
                "the event handler answered the validation with {} and {} WebHook-Allowed-Origin for {}",
                response.status(),
                if allowed { "a" } else { "no" },
                self.origin
            );
            if response.status() != AwcStatus::NOT_FOUND {
                break;
            }
        }
        Err(why)
    }

    fn request(&self, caller: &Caller, kind: &str, event: &str) -> ClientRequest {
        let connection = caller.connection();
        let wall = self.clock.wall(self.clock.now());
        let mut request = self
            .client
            .post(self.url(&caller.hub, event))
            .timeout(ANSWER_MAX)
            .insert_header(("WebHook-Request-Origin", self.origin.as_str()))
            .insert_header(("ce-specversion", "1.0"))
            .insert_header(("ce-awpsversion", "1.0"))
            .insert_header(("ce-type", format!("azure.webpubsub.{kind}.{event}")))
            .insert_header((
                "ce-source",
                format!("/hubs/{}/client/{connection}", caller.hub),
            ))
            .insert_header(("ce-id", caller.number.to_string()))
            .insert_header((
                "ce-time",
                humantime::format_rfc3339_millis(wall).to_string(),
            ))
            .insert_header(("ce-signature", signature(&self.keys, &connection)))
            .insert_header(("ce-connectionId", connection))
            .insert_header(("ce-hub", &*caller.hub))
            .insert_header(("ce-eventName", event));
        if let Some(user) = &caller.user {
            request = request.insert_header(("ce-userId", header_text(user)));
        }
        if let Some(subprotocol) = caller.subprotocol {
            request = request.insert_header(("ce-subprotocol", subprotocol.name()));
        }
        if let Some(state) = &caller.remembered.state {
            request = request.insert_header(("ce-connectionState", &**state));
        }
        if let Some(cookies) = caller.remembered.cookies.header() {
            request = request.insert_header(("cookie", cookies));
        }
        request
    }

    /// Makes a call, again after a while when the handler is in trouble.
    async fn send(
        &self,
        make: impl Fn() -> ClientRequest,
        body: Bytes,
    ) -> Result<HandlerReply, String> {
        // The semaphore is never closed.
        let _place = self.calls.acquire().await.map_err(|e| e.to_string())?;
        let mut waits = self.retries.iter();
        loop {
            let failed = match make().send_body(body.clone()).await {
                Err(error) => error.to_string(),
                Ok(mut response) => {
                    let status = response.status();
                    let is_trouble =
                        status.is_server_error() || status == AwcStatus::REQUEST_TIMEOUT;
                    let text = |name: &str| {
                        let value = response.headers().get(name)?.to_str().ok()?;
                        Some(value.to_owned())
                    };
                    let content_type = text("content-type").unwrap_or_default();
                    let cookies = response.headers().get_all("set-cookie");
                    let said = Said {
                        state: text("ce-connectionState").map(Into::into),
                        cookies: cookies
                            .filter_map(|value| value.to_str().ok())
                            .map(Into::into)
                            .collect(),
                    };
                    if !is_trouble {
                        let body = response
                            .body()
                            .limit(MESSAGE_BYTES_MAX)
                            .await
                            .map_err(|error| format!("reading the answer failed: {error}"))?;
                        return Ok(HandlerReply {
                            status: status.as_u16(),
                            content_type,
                            said,
                            body,
                        });
                    }
                    format!("it answered {status}")
                }
            };
            self.failures.set(self.failures.get() + 1);
            match waits.next() {
                Some(&wait) => tokio::time::sleep(wait).await,
                None => return Err(failed),
            }
        }
    }
}

/// What a handler sent back.
struct HandlerReply {
    status: u16,
    content_type: String,
    said: Said,
    body: Bytes,
}

/// Makes a call for the core and gives its answer.
pub(super) async fn call(upstream: &Upstream, call: &Call) -> Result<Answer, ()> {
    let failed = |why: String| {
        tracing::warn!(%why, event = ?call.kind, "an event handler failed");
    };
    let (kind, event) = match &call.kind {
        CallKind::Connected => ("sys", "connected"),
        CallKind::Disconnected { .. } => ("sys", "disconnected"),
        CallKind::Joined => ("gp", "joined"),
        CallKind::Left => ("gp", "left"),
        CallKind::User { name } => ("user", &**name),
    };
    upstream.validate(&call.caller.hub).await.map_err(failed)?;
    let make = || {
        let request = upstream
            .request(&call.caller, kind, event)
            .insert_header(("content-type", content_type(&call.data)));
        with_metadata(request, &call.metadata)
    };
    let body = Bytes::copy_from_slice(call.data.as_bytes());
    let reply = upstream.send(make, body).await.map_err(failed)?;
    if !(200..300).contains(&reply.status) {
        failed(format!("it answered {}", reply.status));
        return Err(());
    }
    let data = match call.kind {
        CallKind::User { .. } => payload(&reply).map_err(failed)?,
        _ => None,
    };
    Ok(Answer {
        data,
        said: reply.said,
    })
}

fn with_metadata(mut request: ClientRequest, metadata: &Metadata) -> ClientRequest {
    for (key, value) in metadata.iter() {
        let name = format!("X-WebPubSub-Metadata-{key}");
        request = request.insert_header((name.as_str(), value));
    }
    request
}

fn content_type(data: &Data<'_>) -> &'static str {
    match data {
        Data::Json(_) => "application/json",
        Data::Text(_) => "text/plain",
        Data::Binary(_) => "application/octet-stream",
        Data::Protobuf(_) => "application/x-protobuf",
    }
}

/// The payload of an answer, typed by its content type; none when it is empty.
fn payload(reply: &HandlerReply) -> Result<Option<Data<'static>>, String> {
    if reply.body.is_empty() {
        return Ok(None);
    }
    let mime = reply.content_type.split(';').next().unwrap_or_default();
    super::rest::body::data(mime.trim(), &reply.body).map(Some)
}

/// `sha256=` and the MAC of the connectionId in hex, for each access key.
fn signature(keys: &[SecretString], connection: &str) -> String {
    let each: Vec<String> = keys.iter().map(|key| signed(key, connection)).collect();
    each.join(",")
}

fn signed(key: &SecretString, connection: &str) -> String {
    // HMAC takes keys of every length.
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(key.expose_secret().as_bytes())
        .expect("HMAC takes keys of every length");
    mac.update(connection.as_bytes());
    let hex: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256={hex}")
}

/// A user id in a header: percent-encoded where a header cannot hold it.
fn header_text(text: &str) -> String {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        text.to_owned()
    } else {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }
}

fn client_tls() -> Result<std::sync::Arc<rustls::ClientConfig>, HubError> {
    let mut roots = rustls::RootCertStore::empty();
    // Certificates that the system holds but rustls cannot read are passed over.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HubError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(std::sync::Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_the_official_sdk_computes() {
        // Python: hmac.new(b"key", b"0123", hashlib.sha256).hexdigest()
        assert_eq!(signature(&["key".into()], "0123"), SIGNED);
        let both = signature(&["key".into(), "other".into()], "0123");
        assert!(both.starts_with(&format!("{SIGNED},sha256=")), "{both}");
        assert_eq!(header_text("Ann B"), "Ann B");
        assert_eq!(header_text("é"), "%C3%A9");
    }

    const SIGNED: &str = "sha256=381b7480fd7df630a27523c6cef0f2ca994c586de411d6c10629e6a2747d5d81";
}
