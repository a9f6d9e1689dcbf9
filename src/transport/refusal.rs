//! Keeps what a hub said when it refused the WebSocket upgrade.
//!
//! awc drops everything but the status. This middleware sits below it and sees the answer
//! first; it reads the body too, as far as it is short and comes at once.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_codec::Framed;
use actix_http::h1::{ClientCodec, MessageType};
use actix_service::Service;
use awc::error::SendRequestError;
use awc::http::StatusCode;
use awc::middleware::Transform;
use awc::{BoxedSocket, ConnectRequest, ConnectResponse};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;

use super::connect::SLOT;
use super::mask::mask;

/// The most of a refusal's body that is kept, in bytes; the rest is not read.
const BODY_BYTES_MAX: usize = 1024;

/// How long a refusal's body may take. What came by then is kept.
const BODY_TIME_MAX: Duration = Duration::from_millis(500);

/// An answer to an upgrade request that is no upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The body's beginning, secrets masked; `None` when there was none.
    pub(super) body: Option<String>,
}

/// Puts every refusal into the current [`super::connect::Slot`].
pub(super) struct KeepRefusal;

impl<S> Transform<S, ConnectRequest> for KeepRefusal
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError>,
    S::Future: 'static,
{
    type Transform = RefusalKeeper<S>;

    fn new_transform(self, service: S) -> Self::Transform {
        RefusalKeeper(service)
    }
}

pub(super) struct RefusalKeeper<S>(S);

impl<S> Service<ConnectRequest> for RefusalKeeper<S>
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError>,
    S::Future: 'static,
{
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = LocalBoxFuture<'static, Result<ConnectResponse, SendRequestError>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&self, request: ConnectRequest) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            match answer.await? {
                ConnectResponse::Tunnel(head, framed)
                    if head.status != StatusCode::SWITCHING_PROTOCOLS =>
                {
                    keep(head.status.as_u16(), framed).await;
                    // Only ends the attempt: the dialer looks at the slot first.
                    let why = format!("refused with status {}", head.status.as_u16());
                    Err(SendRequestError::Custom(why.into(), Box::new("upgrade")))
                }
                upgraded => Ok(upgraded),
            }
        })
    }
}

/// Stores the status at once, and the body when it is there: a timeout in between must not
/// hide the refusal.
async fn keep(status: u16, framed: Framed<BoxedSocket, ClientCodec>) {
    let Ok(slot) = SLOT.try_with(Rc::clone) else {
        return;
    };
    slot.refusal.replace(Some(Refusal { status, body: None }));
    let mut body = Vec::new();
    // Elapsed or not, what came is what there is.
    let _ = tokio::time::timeout(BODY_TIME_MAX, read_body(framed, &mut body)).await;
    if !body.is_empty() {
        body.truncate(BODY_BYTES_MAX);
        let body = Some(mask(&String::from_utf8_lossy(&body)));
        slot.refusal.replace(Some(Refusal { status, body }));
    }
}

async fn read_body(framed: Framed<BoxedSocket, ClientCodec>, body: &mut Vec<u8>) {
    if matches!(framed.codec_ref().message_type(), MessageType::None) {
        return;
    }
    let mut chunks = framed.into_map_codec(ClientCodec::into_payload_codec);
    while let Some(Ok(Some(chunk))) = chunks.next().await {
        body.extend_from_slice(&chunk);
        if body.len() >= BODY_BYTES_MAX {
            break;
        }
    }
}
