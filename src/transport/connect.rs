//! Opens the TCP connections under the WebSocket client.
//!
//! awc polls its connector inside the future that `connect()` returns, so a task-local
//! [`Slot`] carries what is particular to one connection in (its source address) and out
//! (its [`Control`], the refusal), while one client serves the whole arbiter.
//! Read [`super::dial`] next.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use tokio::net::TcpSocket;

use super::refusal::Refusal;
use super::tap::{Control, Tap};

tokio::task_local! {
    /// The connection that the current future opens.
    pub(super) static SLOT: Rc<Slot>;
}

/// What one connection attempt takes in and gives out beside its result.
#[derive(Default)]
pub(super) struct Slot {
    /// The local address to connect from; the kernel's choice when there is none.
    pub(super) source: Option<IpAddr>,
    /// Acts on the connection, from its first byte.
    pub(super) control: Rc<Control>,
    /// What the peer answered instead of upgrading.
    pub(super) refusal: RefCell<Option<Refusal>>,
}

/// The connector service given to awc.
#[derive(Clone)]
pub(super) struct TapConnector;

impl Service<ConnectInfo<Uri>> for TapConnector {
    type Response = Connection<Uri, Tap>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        Box::pin(async move {
            let slot = SLOT
                .try_with(Rc::clone)
                .map_err(|_| ConnectError::Io(io::Error::other("connector used outside a dial")))?;
            let io = open(info.hostname(), info.port(), slot.source)
                .await
                .map_err(ConnectError::Io)?;
            let tap = Tap::new(io, slot.control.clone());
            Ok(Connection::new(info.request().clone(), tap))
        })
    }
}

/// Connects to the first address of `host` that answers, in the resolver's order.
pub(super) async fn open(host: &str, port: u16, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut failure = None;
    for address in resolve(host, port).await? {
        if source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
            continue;
        }
        match connect(address, source).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let text = format!("cannot connect to {address}: {error}");
                failure = Some(io::Error::new(error.kind(), text));
            }
        }
    }
    Err(failure.unwrap_or_else(|| {
        let family = match source {
            Some(IpAddr::V4(_)) => "IPv4 address, as the source address needs",
            Some(IpAddr::V6(_)) => "IPv6 address, as the source address needs",
            None => "address",
        };
        io::Error::new(io::ErrorKind::NotFound, format!("{host} has no {family}"))
    }))
}

/// Addresses in numbers cost no look-up: thousands of clients connect to one of them.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match tokio::net::lookup_host((bare, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("cannot find the address of {bare:?}: {error}"),
        )),
    }
}

/// With a source address the port is still chosen when connecting, so that the kernel may
/// use it again for another target: some 28,000 connections per source address *and target*.
async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = source {
        bind_late(&socket, source)?;
    }
    let stream = socket.connect(address).await?;
    // A sequenceAck followed by a publish would otherwise wait for the peer's delayed ack:
    // 44 ms that would be measured as the hub's.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sets the source address and leaves the port to the connect.
fn bind_late(socket: &TcpSocket, source: IpAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
    // Where the kernel does not know the option, binding takes a port for good.
    let _ = setsockopt(socket, IpBindAddressNoPort, &true);
    socket.bind(SocketAddr::new(source, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Binding early would use one of 28,000 ports up for all targets, and look for a free
    /// one in a crowd: two targets would not get more connections than one.
    #[tokio::test]
    async fn a_port_is_not_taken_before_the_target_is_known() {
        let socket = TcpSocket::new_v4().unwrap();
        let source: IpAddr = "127.0.0.2".parse().unwrap();
        bind_late(&socket, source).unwrap();
        assert_eq!(socket.local_addr().unwrap().port(), 0, "not chosen yet");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(listener.local_addr().unwrap(), Some(source))
            .await
            .unwrap();
        let local = stream.local_addr().unwrap();
        assert!(local.ip() == source && local.port() != 0, "{local}");
    }
}
