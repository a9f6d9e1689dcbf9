//! Accepting sockets, and HTTP up to the upgrade.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::connection::Connection;
use super::handshake::{Admission, Refusal, admit};
use super::shell::Shell;

/// A request's head must be in within this; then the connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may be busy with HTTP at once; more are closed as they come.
const HANDSHAKES_MAX: usize = 16_384;
/// Pause after a failed accept (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts for ever.
pub(crate) async fn accept(shell: Rc<Shell>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if shell.handshakes.get() >= HANDSHAKES_MAX {
                    tracing::warn!(
                        limit = HANDSHAKES_MAX,
                        "too many handshakes at once, closing a new connection"
                    );
                    continue;
                }
                tokio::task::spawn_local(serve_http(shell.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// An upgrade that was answered with 101 and now waits for its socket.
type Pending = Cell<Option<(OnUpgrade, Admission)>>;

async fn serve_http(shell: Rc<Shell>, stream: TcpStream) {
    // Without it acks wait for the peer's delayed TCP ack: 40 ms in place of 0.1.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    shell.handshakes.set(shell.handshakes.get() + 1);
    let pending = Rc::new(Pending::default());
    let service = service_fn(|request| {
        let response = answer(&shell, request, &pending);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        result = http => {
            if let Err(error) = result {
                tracing::debug!(%error, "HTTP connection failed");
            }
        }
        () = shell.restarted.notified() => pending.set(None),
    }
    shell.handshakes.set(shell.handshakes.get() - 1);
    if let Some((upgrade, admission)) = pending.take() {
        start_websocket(shell.clone(), upgrade, admission).await;
    }
}

/// Takes the socket back from hyper and gives it a task of its own, so that hyper's
/// buffers are freed.
async fn start_websocket(shell: Rc<Shell>, upgrade: OnUpgrade, admission: Admission) {
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            Connection::start(shell, stream, &parts.read_buf, admission);
        }
        Err(_) => tracing::error!("an upgraded connection is not the socket it was"),
    }
}

fn answer(
    shell: &Shell,
    mut request: Request<Incoming>,
    pending: &Pending,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if matches!(path, "/health" | "/api/health") {
        return plain(StatusCode::OK, Bytes::new());
    }
    match admit(&request, &shell.config) {
        Ok((admission, response)) => {
            pending.set(Some((hyper::upgrade::on(&mut request), admission)));
            response.map(|()| Full::default())
        }
        Err(Refusal { status, message }) => {
            shell.core.borrow_mut().truth_mut().refused(status.as_u16());
            let body = serde_json::json!({"code": status.as_str(), "message": message});
            plain(status, body.to_string().into())
        }
    }
}

fn plain(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}
