//! Every HTTP request to the hub: who answers it.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::accept::Pending;
use super::handshake::{Candidate, Refusal, judge, upgrade_response};
use super::shell::Shell;
use super::{admin, metrics, rest, upstream};
use crate::hub::core::connection_faults::ConnectFault;

/// What is sent back.
pub(super) type Reply = Response<Full<Bytes>>;

/// A request that gets no answer: its connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, by a fault")]
pub(super) struct Unanswered;

pub(super) async fn answer(
    shell: Rc<Shell>,
    request: Request<Incoming>,
    pending: Rc<Pending>,
    is_local: bool,
) -> Result<Reply, Unanswered> {
    let path = request.uri().path();
    if path == "/health" || path == "/api/health" {
        return Ok(json(StatusCode::OK, Bytes::new()));
    }
    if path == "/metrics" {
        return Ok(text(metrics::page(&shell)));
    }
    if path == "/admin" || path.starts_with("/admin/") {
        return Ok(if !is_local {
            error(
                StatusCode::FORBIDDEN,
                "the admin pages are for loopback only",
            )
        } else if request.method() != Method::GET {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "the admin pages are read with GET",
            )
        } else {
            admin::page(&shell, path)
        });
    }
    if path.starts_with("/api/hubs/") {
        return Ok(rest::answer(&shell, request).await);
    }
    connect(&shell, request, &pending).await
}

/// A request that wants to become a WebSocket.
async fn connect(
    shell: &Rc<Shell>,
    mut request: Request<Incoming>,
    pending: &Pending,
) -> Result<Reply, Unanswered> {
    let has_token = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("access_token="));
    let now = shell.clock().now();
    let (wait, fault) = shell.core.borrow_mut().connect_faults(has_token, now);
    shell.after_core(None);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let refusal = match fault {
        None => None,
        Some(ConnectFault::Refuse) => return Err(Unanswered),
        Some(ConnectFault::Hang(wait)) => {
            tokio::time::sleep(wait).await;
            return Err(Unanswered);
        }
        Some(ConnectFault::Status(status)) => Some(Refusal::new(
            StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            "refused by a fault",
        )),
        Some(ConnectFault::TokenExpired) => Some(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "the access token has expired",
        )),
    };
    let judged = match refusal {
        Some(refusal) => Err(refusal),
        None => judge(&request, &shell.config),
    };
    let admitted = match judged {
        Ok(candidate) => admit(shell, candidate).await,
        Err(refusal) => Err(refusal),
    };
    match admitted {
        Ok(candidate) => {
            let response = upgrade_response(&candidate);
            pending.set(Some((
                hyper::upgrade::on(&mut request),
                candidate.into_admission(),
            )));
            Ok(response.map(|()| Full::default()))
        }
        Err(refusal) => {
            let mut core = shell.core.borrow_mut();
            core.truth_mut().refused(refusal.status.as_u16());
            Ok(refusal.into_reply())
        }
    }
}

/// Gives a new connection its id and asks the connect handler, if there is one.
async fn admit(shell: &Rc<Shell>, mut candidate: Candidate) -> Result<Candidate, Refusal> {
    if let Candidate::New(new) = &mut candidate {
        new.place = Some(shell.take_place()?);
        new.id = shell.core.borrow_mut().new_id();
        if let Some(handler) = &shell.upstream
            && shell.config.system_events.connect
        {
            upstream::ask_connect(handler, new).await?;
        }
        new.settle()?;
    }
    Ok(candidate)
}

/// A JSON reply.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    typed(status, "application/json; charset=utf-8", body.into())
}

fn text(body: String) -> Reply {
    typed(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        body.into(),
    )
}

pub(super) fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error as the service words them. Source: data-plane REST description.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    let code = status
        .canonical_reason()
        .unwrap_or("Error")
        .replace(' ', "");
    let body = serde_json::json!({"code": code, "message": message});
    json(status, body.to_string())
}
