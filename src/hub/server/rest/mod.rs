//! The service API (data plane) over HTTP, as the official service SDKs call it.
//!
//! `route` reads the path, `auth` the token, `body` the payload, `execute` does it.
//! Source: data-plane REST description, api-version 2024-12-01.

mod auth;
pub(super) mod body;
mod execute;
mod route;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::answer::{Reply, error};
use super::shell::Shell;
use crate::wire::MESSAGE_BYTES_MAX;
use route::Call;

/// A request's body must be in within this.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request is not executed.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refused {
            status,
            message: message.into(),
        }
    }

    fn bad(message: impl Into<String>) -> Self {
        Refused::new(StatusCode::BAD_REQUEST, message)
    }
}

/// Answers one request to `/api/hubs/...`.
pub(super) async fn answer(shell: &Shell, request: Request<Incoming>) -> Reply {
    match handle(shell, request).await {
        Ok(reply) => reply,
        Err(refused) => {
            let mut core = shell.core.borrow_mut();
            core.truth_mut().service_refused += 1;
            error(refused.status, &refused.message)
        }
    }
}

async fn handle(shell: &Shell, request: Request<Incoming>) -> Result<Reply, Refused> {
    let (head, body) = request.into_parts();
    auth::check(&head, &shell.config)?;
    let call = Call::read(&head.method, head.uri.path(), head.uri.query())?;
    let body = if call.operation.has_body() {
        collect(body).await?
    } else {
        Bytes::new()
    };
    let content_type = head
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let host = super::handshake::host(&head.headers);
    let now = shell.clock().now();
    let reply = execute::execute(shell, &call, content_type, &body, host, now);
    shell.after_core(None);
    reply
}

async fn collect(body: Incoming) -> Result<Bytes, Refused> {
    let whole = Limited::new(body, MESSAGE_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 1 MiB",
        )),
        Ok(Err(error)) => Err(Refused::bad(format!("the body could not be read: {error}"))),
        Err(_) => Err(Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body took more than 30 s",
        )),
    }
}
