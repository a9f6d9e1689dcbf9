//! The HTTP server of the metrics endpoint: a thread of its own with a small runtime, so
//! that a scrape never waits behind clients and clients never behind a scrape.
//!
//! Bounds: at most [`CONNECTIONS_MAX`] connections at once; one more is closed at once and
//! counted (`hubstorm_scrapes_refused_total`). A request's head must come within
//! [`HEAD_TIMEOUT`]; bodies are ignored.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use super::page::{SharedState, render};

/// Connections served at once.
pub const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to send the head of a request.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after an accept failed (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running endpoint; dropping it stops it.
#[derive(Debug)]
pub struct MetricsServer {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Where it listens, with the port chosen when port 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The server has ended by itself when nobody receives this.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; the run's result does not depend on it.
            let _ = thread.join();
        }
    }
}

/// Serves `/metrics` and `/health` on `addr` until the returned server is dropped.
///
/// # Errors
/// The address cannot be bound (in use, not local, not permitted), or no thread can be
/// started: nothing runs then.
pub fn serve(addr: SocketAddr, state: SharedState) -> io::Result<MetricsServer> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("metrics".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, state) => {}
                }
            });
        })?;
    Ok(MetricsServer {
        addr,
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn accept(listener: TcpListener, state: SharedState) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the metrics endpoint cannot be served");
            return;
        }
    };
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the metrics endpoint could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .scrapes_refused += 1;
            continue;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &state);
                async { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection to the metrics endpoint ended badly");
            }
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, state: &SharedState) -> Response<Full<Bytes>> {
    let text = |status, body: String| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(
            CONTENT_TYPE,
            http::HeaderValue::from_static(prometheus::TEXT_FORMAT),
        );
        response
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
        response
            .headers_mut()
            .insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match render(state) {
            Ok(page) => text(StatusCode::OK, page),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/health" => text(StatusCode::OK, "ok\n".into()),
        _ => text(
            StatusCode::NOT_FOUND,
            "not found: try /metrics or /health\n".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::exporter::page::tests::state;

    fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_scrape_gets_the_latest_numbers_and_strangers_an_answer() {
        let shared = state().shared();
        let server = serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&shared)).unwrap();
        shared.lock().unwrap().snapshot.pools[0].publish.acked = 41;
        let page = ask(server.addr(), "GET /metrics");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(page.contains("content-type: text/plain; version=0.0.4"));
        assert!(page.contains("hubstorm_publishes_total{pool=\"talkers\",outcome=\"acked\"} 41"));
        assert!(ask(server.addr(), "GET /health").ends_with("ok\n"));
        assert!(ask(server.addr(), "GET /favicon.ico").starts_with("HTTP/1.1 404"));
        assert!(ask(server.addr(), "POST /metrics").starts_with("HTTP/1.1 405"));
        let addr = server.addr();
        drop(server);
        assert!(TcpStream::connect(addr).is_err(), "still listening");
    }

    #[test]
    fn an_address_in_use_is_an_error_at_once() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(serve(taken.local_addr().unwrap(), state().shared()).is_err());
    }

    #[test]
    fn idle_connections_cannot_use_up_the_process() {
        let shared = state().shared();
        let server = serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&shared)).unwrap();
        let idle: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|_| TcpStream::connect(server.addr()).unwrap())
            .collect();
        let mut refused = TcpStream::connect(server.addr()).unwrap();
        // Closed at once: accepts come in the order of connects.
        assert_eq!(refused.read(&mut [0; 1]).unwrap_or(0), 0);
        assert_eq!(shared.lock().unwrap().scrapes_refused, 1);
        drop(idle);
    }
}
