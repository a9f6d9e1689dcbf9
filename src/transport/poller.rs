//! Which sockets of an arbiter can be read or written, learnt for many at once.
//!
//! The runtime keeps two or three cache lines for each socket and a waker to go with it, and
//! touches them all whenever a frame comes; of thousands of idle sockets they are cold. Here
//! the kernel's word for a socket is the number of its client, and what is known of it lies
//! in the client. The runtime watches one thing only: whether there is any such word.
//!
//! For plain connections, once they are open. Dials, and TLS, are the runtime's.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Words taken from the kernel in one go.
const EVENTS: usize = 64;

/// Watches the open connections of one arbiter.
pub struct Poller {
    watched: AsyncFd<Watched>,
    registry: mio::Registry,
    events: RefCell<Events>,
}

struct Watched(RefCell<mio::Poll>, RawFd);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.1
    }
}

/// The kernel's word for one socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// The number that it was registered with.
    pub client: u32,
    /// There is something to read, or the end of it.
    pub read: bool,
    /// There is room to write again.
    pub write: bool,
    /// Nothing will come any more: what follows the last bytes is the end.
    pub closed: bool,
}

impl Ready {
    /// Nobody said so, but it is to be tried.
    pub const TO_READ: Ready = Ready {
        client: 0,
        read: true,
        write: false,
        closed: false,
    };
}

impl Poller {
    /// To be made in the arbiter that it is for.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let fd = poll.as_raw_fd();
        Ok(Poller {
            watched: watch(Watched(RefCell::new(poll), fd))?,
            registry,
            events: RefCell::new(Events::with_capacity(EVENTS)),
        })
    }

    /// Watches a connection as that of `client`, until it is closed.
    pub(super) fn watch(&self, stream: &TcpStream, client: u32) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(client as usize);
        let mut fd = SourceFd(&stream.as_raw_fd());
        self.registry.register(&mut fd, token, interest)
    }

    /// What there is to say since the last time, once there is something.
    ///
    /// # Errors
    /// The kernel refuses to say.
    pub fn poll(&self, cx: &mut Context<'_>, into: &mut Vec<Ready>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.watched.poll_read_ready(cx))?;
            let mut events = self.events.borrow_mut();
            let mut poll = guard.get_inner().0.borrow_mut();
            match poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                said => said?,
            }
            drop(poll);
            into.extend(events.iter().map(|event| Ready {
                // Tokens are made of nothing else.
                client: event.token().0 as u32,
                read: event.is_readable() || event.is_read_closed() || event.is_error(),
                write: event.is_writable() || event.is_write_closed() || event.is_error(),
                closed: event.is_read_closed() || event.is_error(),
            }));
            let count = events.iter().count();
            if count < EVENTS {
                guard.clear_ready();
            }
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, and its condition holds: Watched owns its \
              descriptor and always names the same one"
)]
fn watch(watched: Watched) -> io::Result<AsyncFd<Watched>> {
    AsyncFd::with_interest(watched, tokio::io::Interest::READABLE)
}

/// A connection that a [`Poller`] watches. Reads and writes are tried when it said that they
/// may succeed, and until they do not.
pub(super) struct Polled {
    stream: std::net::TcpStream,
    readable: bool,
    writable: bool,
    closed: bool,
}

impl Polled {
    /// Takes a connection from the runtime, once `poller` watches it.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        Ok(Polled {
            stream: stream.into_std()?,
            // Nothing is known, so it is tried.
            readable: true,
            writable: true,
            closed: false,
        })
    }

    pub(super) fn ready(&mut self, ready: Ready) {
        self.readable |= ready.read;
        self.writable |= ready.write;
        self.closed |= ready.closed;
    }

    /// Reads into `room`. Pending when there is nothing; whoever polls the [`Poller`] hears
    /// when there is.
    pub(super) fn poll_read_into(&mut self, room: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if !self.readable {
                return Poll::Pending;
            }
            match self.stream.read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(bytes) => {
                    // Less than there was room for is all there is, and what comes later is
                    // told; but the end may have been told already.
                    if bytes > 0 && bytes < room.len() && !self.closed {
                        self.readable = false;
                    }
                    return Poll::Ready(Ok(bytes));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for Polled {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.get_mut().poll_read_into(buf.initialize_unfilled()))?;
        buf.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Polled {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.get_mut();
        loop {
            if !polled.writable {
                return Poll::Pending;
            }
            match polled.stream.write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => polled.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(std::net::Shutdown::Write))
    }
}

impl AsFd for Polled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::{TcpListener, TcpStream as Peer};

    use super::*;

    /// A connection that `poller` watches as that of `client`, and its peer.
    fn connected(poller: &Poller, client: u32) -> (Polled, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = Peer::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = TcpStream::from_std(ours).unwrap();
        let peer = listener.accept().unwrap().0;
        poller.watch(&ours, client).unwrap();
        (Polled::new(ours).unwrap(), peer)
    }

    /// Hears the poller until `polled` was told something.
    async fn hear(poller: &Poller, polled: &mut Polled) {
        let mut words = Vec::new();
        let hearing = poll_fn(|cx| poller.poll(cx, &mut words));
        // Not waited for when all is well.
        let heard = tokio::time::timeout(Duration::from_secs(10), hearing).await;
        heard.expect("nothing is said").unwrap();
        assert!(words.iter().all(|word| word.client == 7), "{words:?}");
        words.iter().for_each(|word| polled.ready(*word));
    }

    async fn read(poller: &Poller, polled: &mut Polled, room: &mut [u8]) -> usize {
        loop {
            match polled.poll_read_into(room) {
                Poll::Ready(bytes) => return bytes.unwrap(),
                Poll::Pending => hear(poller, polled).await,
            }
        }
    }

    #[actix_rt::test]
    async fn what_comes_is_heard_and_an_empty_connection_is_not_asked_again() {
        let poller = Poller::new().unwrap();
        let (mut polled, mut peer) = connected(&poller, 7);
        let mut room = [0; 8];
        assert!(polled.poll_read_into(&mut room).is_pending());
        for text in ["one", "two"] {
            peer.write_all(text.as_bytes()).unwrap();
            assert_eq!(read(&poller, &mut polled, &mut room).await, 3);
            assert_eq!(&room[..3], text.as_bytes());
            assert!(!polled.readable, "a read that brought less was the last");
        }
        // As much as there is room for: there may be more.
        peer.write_all(b"12345678").unwrap();
        assert_eq!(read(&poller, &mut polled, &mut room).await, 8);
        assert!(polled.readable);
        assert!(polled.poll_read_into(&mut room).is_pending() && !polled.readable);
    }

    /// Both may be told in one word, and then nothing more is said.
    #[actix_rt::test]
    async fn the_end_is_seen_though_it_came_with_the_last_bytes() {
        let poller = Poller::new().unwrap();
        let (mut polled, mut peer) = connected(&poller, 7);
        let mut room = [0; 8];
        assert!(polled.poll_read_into(&mut room).is_pending());
        peer.write_all(b"last").unwrap();
        drop(peer);
        // Loopback: both are there when the drop returns.
        while !polled.closed {
            hear(&poller, &mut polled).await;
        }
        assert_eq!(
            polled.poll_read_into(&mut room).map(Result::ok),
            Poll::Ready(Some(4))
        );
        assert_eq!(
            polled.poll_read_into(&mut room).map(Result::ok),
            Poll::Ready(Some(0))
        );
    }

    #[actix_rt::test]
    async fn who_could_not_write_hears_when_there_is_room() {
        let poller = Poller::new().unwrap();
        let (mut polled, mut peer) = connected(&poller, 7);
        let block = [0; 65_536];
        let mut written = 0;
        poll_fn(|cx| {
            while let Poll::Ready(more) = Pin::new(&mut polled).poll_write(cx, &block) {
                written += more.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        assert!(!polled.writable && written > 0);
        let reading = std::thread::spawn(move || {
            let mut room = vec![0; written];
            peer.read_exact(&mut room).map(|()| peer)
        });
        while !polled.writable {
            hear(&poller, &mut polled).await;
        }
        assert!(reading.join().unwrap().is_ok());
        let more = poll_fn(|cx| Pin::new(&mut polled).poll_write(cx, b"more")).await;
        assert_eq!(more.unwrap(), 4);
    }

    /// More words than are taken in one go: none is lost, and who waits sleeps until one
    /// comes.
    #[actix_rt::test]
    async fn everybody_is_heard_of() {
        let poller = Poller::new().unwrap();
        let count = EVENTS as u32 * 2 + 5;
        let pairs = (0..count).map(|client| connected(&poller, client));
        let pairs: Vec<(Polled, Peer)> = pairs.collect();
        pairs
            .iter()
            .for_each(|(_, peer)| (&*peer).write_all(b"x").unwrap());
        let mut heard = std::collections::BTreeSet::new();
        while heard.len() < count as usize {
            let mut words = Vec::new();
            poll_fn(|cx| poller.poll(cx, &mut words)).await.unwrap();
            assert!(words.len() <= EVENTS);
            let readable = words.iter().filter(|word| word.read);
            heard.extend(readable.map(|word| word.client));
        }
        let mut words = Vec::new();
        let quiet = poll_fn(|cx| Poll::Ready(poller.poll(cx, &mut words).is_pending())).await;
        assert!(quiet, "{words:?}");
    }
}
