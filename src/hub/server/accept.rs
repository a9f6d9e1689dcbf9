//! Accepting sockets, TLS, and HTTP up to the upgrade.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::answer::answer;
use super::connection::Connection;
use super::handshake::Admission;
use super::io::Io;
use super::shell::Shell;

/// Connections that may be busy with HTTP at once; more are closed as they come.
const HANDSHAKES_MAX: usize = 16_384;
/// Pause after a failed accept (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// A request's head may be so long, in bytes; longer ones are answered with 431.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Accepts for ever.
pub(crate) async fn accept(shell: Rc<Shell>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if shell.handshakes.get() >= HANDSHAKES_MAX {
                    shell.core.borrow_mut().truth_mut().handshakes_shed += 1;
                    tracing::warn!(
                        limit = HANDSHAKES_MAX,
                        "too many handshakes at once, closing a new connection"
                    );
                    continue;
                }
                let is_local = peer.ip().is_loopback();
                tokio::task::spawn_local(welcome(shell.clone(), stream, tls.clone(), is_local));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn welcome(shell: Rc<Shell>, stream: TcpStream, tls: Option<TlsAcceptor>, is_local: bool) {
    // Without it acks wait for the peer's delayed TCP ack: 40 ms in place of 0.1.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    shell.handshakes.set(shell.handshakes.get() + 1);
    let io = match tls {
        None => Some(Io::Plain(stream)),
        Some(tls) => {
            match tokio::time::timeout(shell.config.head_timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => Some(Io::Tls(Box::new(stream))),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "TLS handshake failed");
                    None
                }
                Err(_) => None,
            }
        }
    };
    if let Some(io) = io {
        serve_http(shell, io, is_local).await;
    } else {
        shell.handshakes.set(shell.handshakes.get() - 1);
    }
}

/// An upgrade that was answered with 101 and now waits for its socket.
pub(super) type Pending = Cell<Option<(OnUpgrade, Admission)>>;

async fn serve_http(shell: Rc<Shell>, io: Io, is_local: bool) {
    let pending = Rc::new(Pending::default());
    let service = service_fn(|request| answer(shell.clone(), request, pending.clone(), is_local));
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shell.config.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service)
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
    match upgraded.downcast::<TokioIo<Io>>() {
        Ok(parts) => {
            let io = parts.io.into_inner();
            Connection::start(shell, io, &parts.read_buf, admission);
        }
        Err(_) => tracing::error!("an upgraded connection is not the socket it was"),
    }
}
