//! The raw connection under everything else, and what can be done to it from outside.
//!
//! [`Control`] owns the socket. `Tap` is what the WebSocket client makes the handshake
//! through, and TLS afterwards, when there is any; without TLS the control is then read and
//! written directly. Nothing here decides when a fault happens. Taps are made in
//! `connect.rs`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::poller::{Polled, Poller, Ready as Word};
use super::shape::{Shape, Shaper};
use crate::base::Draws;

/// One connection's raw socket, below TLS, and the faults on it. Dropping it closes the
/// connection, with a FIN or, after [`Control::reset`], with a reset.
#[derive(Default)]
pub struct Control {
    /// `None` only before the connect and once it was handed on.
    io: RefCell<Option<Raw>>,
    reset: Cell<bool>,
    frozen: Cell<bool>,
    black_hole: Cell<bool>,
    /// Something of the shaper is at work; otherwise it is not looked at.
    shaped: Cell<bool>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    bytes_swallowed: Cell<u64>,
    /// The reader that found the connection frozen or swallowed.
    reader: RefCell<Option<Waker>>,
    shaper: RefCell<Option<Box<Shaper>>>,
}

/// Who watches the connection.
enum Raw {
    /// The runtime.
    Runtime(TcpStream),
    /// The arbiter's [`Poller`].
    Polled(Polled),
}

impl Control {
    /// Makes the end abrupt: when the socket is dropped the peer gets a TCP reset instead
    /// of a FIN, and what was not yet sent is thrown away. Cannot be undone.
    pub fn reset(&self) {
        self.reset.set(true);
    }

    /// Stops reading (a stalled client), or goes on. While frozen nothing is taken from the
    /// socket, so the kernel's buffers fill and the peer's writes block; writing goes on.
    pub fn freeze_reads(&self, frozen: bool) {
        self.frozen.set(frozen);
        self.wake_reader();
    }

    /// Makes the connection half-open, or ends that. While on, nothing is read, and what is
    /// written vanishes though the writer is told that it went out.
    ///
    /// Bytes that vanished leave a hole in the byte stream: whoever ends this after
    /// [`Self::bytes_swallowed`] grew must drop the socket, not go on with it. Dropping the
    /// socket sends a FIN or RST even while on; to keep the peer in the dark, keep the socket.
    pub fn black_hole(&self, on: bool) {
        self.black_hole.set(on);
        self.wake_reader();
    }

    /// Delays, throttles or slices what passes from now on; the default shape ends that.
    /// What is being held is let through in its order. `draws` is the chance in delays.
    pub fn shape(&self, shape: Shape, draws: Option<Draws>) {
        let mut shaper = self.shaper.borrow_mut();
        shaper.get_or_insert_default().set(shape, draws);
        self.shaped.set(true);
    }

    /// Bytes read from the socket so far, HTTP upgrade and TLS included.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    /// Bytes given to the socket so far, HTTP upgrade and TLS included.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.get()
    }

    /// Bytes that vanished in [`Self::black_hole`].
    pub fn bytes_swallowed(&self) -> u64 {
        self.bytes_swallowed.get()
    }

    /// Takes the socket over from the taps of the handshake, which are of no more use.
    pub(super) fn take_over(&self) -> Control {
        let taken = Control::default();
        taken.io.replace(self.io.take());
        taken.bytes_in.set(self.bytes_in.get());
        taken.bytes_out.set(self.bytes_out.get());
        taken
    }

    /// From now on `poller` says when the connection can be read and written, as that of
    /// `client`; nobody is woken for it any more.
    ///
    /// # Errors
    /// The system refuses, and the runtime goes on watching.
    pub(super) fn watch(&self, poller: &Poller, client: u32) -> io::Result<()> {
        let mut slot = self.io.borrow_mut();
        if let Some(Raw::Runtime(stream)) = slot.as_ref() {
            poller.watch(stream, client)?;
        }
        *slot = match slot.take() {
            // The runtime gives it up without fail once it is asked to.
            Some(Raw::Runtime(stream)) => Some(Raw::Polled(Polled::new(stream)?)),
            other => other,
        };
        Ok(())
    }

    /// The poller's word.
    pub(super) fn ready(&self, ready: Word) {
        if let Some(Raw::Polled(polled)) = self.io.borrow_mut().as_mut() {
            polled.ready(ready);
        }
    }

    /// Reads into `room` where a poller watches and nothing shapes what comes; `None`
    /// elsewhere.
    pub(super) fn poll_read_into(
        &self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Option<Poll<io::Result<usize>>> {
        if self.shaped.get() {
            return None;
        }
        let mut io = self.io.borrow_mut();
        let Some(Raw::Polled(polled)) = io.as_mut() else {
            return None;
        };
        if self.is_silent() {
            return Some(self.wait_for_sound(cx));
        }
        let outcome = polled.poll_read_into(room);
        if let Poll::Ready(Ok(bytes)) = outcome {
            add(&self.bytes_in, bytes);
        }
        Some(outcome)
    }

    fn wait_for_sound<T>(&self, cx: &mut Context<'_>) -> Poll<T> {
        self.reader.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn with_io<T>(&self, act: impl FnOnce(&mut Raw) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.io.borrow_mut().as_mut() {
            Some(io) => act(io),
            // Whoever reads or writes has the socket, so there is one.
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn with_runtime<T>(
        &self,
        act: impl FnOnce(&mut TcpStream) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.with_io(|io| match io {
            Raw::Runtime(io) => act(io),
            // What is polled has been handed on by then.
            Raw::Polled(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        })
    }

    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_silent() {
            return self.wait_for_sound(cx);
        }
        if self.shaped.get() {
            let mut slot = self.shaper.borrow_mut();
            if let Some(shaper) = slot.as_mut().filter(|shaper| !shaper.is_idle()) {
                let counted = &self.bytes_in;
                return self
                    .with_io(|io| shaper.poll_read(io, cx, buf, &mut |bytes| add(counted, bytes)));
            }
            *slot = None;
            self.shaped.set(false);
        }
        let before = buf.filled().len();
        let outcome = self.with_io(|io| Pin::new(io).poll_read(cx, buf));
        add(&self.bytes_in, buf.filled().len() - before);
        outcome
    }

    pub(super) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.black_hole.get() {
            add(&self.bytes_swallowed, buf.len());
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = if self.shaped.get() {
            match self.shaper.borrow_mut().as_mut() {
                Some(shaper) => self.with_io(|io| shaper.poll_write(io, cx, buf)),
                None => self.with_io(|io| Pin::new(io).poll_write(cx, buf)),
            }
        } else {
            self.with_io(|io| Pin::new(io).poll_write(cx, buf))
        };
        if let Poll::Ready(Ok(written)) = outcome {
            add(&self.bytes_out, written);
        }
        outcome
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_io(|io| Pin::new(io).poll_flush(cx))
    }

    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.black_hole.get() {
            return Poll::Ready(Ok(()));
        }
        self.with_io(|io| Pin::new(io).poll_shutdown(cx))
    }

    fn is_silent(&self) -> bool {
        self.frozen.get() || self.black_hole.get()
    }

    fn wake_reader(&self) {
        if !self.is_silent()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

impl AsyncRead for Raw {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Raw::Runtime(io) => Pin::new(io).poll_read(cx, buf),
            Raw::Polled(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Raw::Runtime(io) => Pin::new(io).poll_write(cx, buf),
            Raw::Polled(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Raw::Runtime(io) => Pin::new(io).poll_flush(cx),
            Raw::Polled(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Raw::Runtime(io) => Pin::new(io).poll_shutdown(cx),
            Raw::Polled(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Raw::Runtime(io) => io.as_fd(),
            Raw::Polled(io) => io.as_fd(),
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // What the shaper holds goes with the socket, as in a network that is cut.
        let Some(io) = self.io.get_mut() else { return };
        let socket = socket2::SockRef::from(&*io);
        // Neither call can fail in a way that matters: the peer may be gone already.
        if self.reset.get() {
            let _ = socket.set_linger(Some(Duration::ZERO));
        } else {
            // The kernel turns a close with unread bytes into a reset. The FIN goes first,
            // so that the peer sees an end of stream whatever is still on its way to us.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("reset", &self.reset.get())
            .field("frozen", &self.frozen.get())
            .field("black_hole", &self.black_hole.get())
            .field("bytes_in", &self.bytes_in())
            .field("bytes_out", &self.bytes_out())
            .finish_non_exhaustive()
    }
}

/// The connection as the WebSocket client and TLS see it.
#[derive(Debug)]
pub(super) struct Tap(Rc<Control>);

impl Tap {
    pub(super) fn new(io: TcpStream, control: Rc<Control>) -> Self {
        control.io.replace(Some(Raw::Runtime(io)));
        Tap(control)
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buf)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}

impl ActixStream for Tap {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.0
            .with_runtime(|io| ActixStream::poll_read_ready(io, cx))
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.0
            .with_runtime(|io| ActixStream::poll_write_ready(io, cx))
    }
}

fn add(counter: &Cell<u64>, bytes: usize) {
    counter.set(counter.get() + bytes as u64);
}
