//! The raw connection under everything else, and the handle that acts on it from outside.
//!
//! `Tap` is what the WebSocket client (and TLS, when there is any) reads and writes
//! through; [`Control`] is kept by whoever plans faults. Nothing here decides when a fault
//! happens. Taps are made in `connect.rs`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shape::{Shape, Shaper};
use crate::base::Draws;

/// Acts on one connection's raw socket, below TLS. Clones act on the same connection, and
/// may outlive it; then they only count.
#[derive(Clone, Default)]
pub struct Control(Rc<State>);

#[derive(Default)]
struct State {
    /// The socket, while a [`Tap`] holds it.
    io: RefCell<Option<TcpStream>>,
    /// How many taps there are; the last one closes the socket.
    taps: Cell<u32>,
    reset: Cell<bool>,
    frozen: Cell<bool>,
    black_hole: Cell<bool>,
    /// The reader that found the connection frozen or swallowed.
    reader: RefCell<Option<Waker>>,
    /// Something of the shaper is at work; otherwise it is not looked at.
    shaped: Cell<bool>,
    shaper: RefCell<Option<Box<Shaper>>>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    bytes_swallowed: Cell<u64>,
}

impl Control {
    /// Makes the end abrupt: when the socket is dropped the peer gets a TCP reset instead
    /// of a FIN, and what was not yet sent is thrown away. Cannot be undone.
    pub fn reset(&self) {
        self.0.reset.set(true);
    }

    /// Stops reading (a stalled client), or goes on. While frozen nothing is taken from the
    /// socket, so the kernel's buffers fill and the peer's writes block; writing goes on.
    pub fn freeze_reads(&self, frozen: bool) {
        self.0.frozen.set(frozen);
        self.wake_reader();
    }

    /// Makes the connection half-open, or ends that. While on, nothing is read, and what is
    /// written vanishes though the writer is told that it went out.
    ///
    /// Bytes that vanished leave a hole in the byte stream: whoever ends this after
    /// [`Self::bytes_swallowed`] grew must drop the socket, not go on with it. Dropping the
    /// socket sends a FIN or RST even while on; to keep the peer in the dark, keep the socket.
    pub fn black_hole(&self, on: bool) {
        self.0.black_hole.set(on);
        self.wake_reader();
    }

    /// Delays, throttles or slices what passes from now on; the default shape ends that.
    /// What is being held is let through in its order. `draws` is the chance in delays.
    pub fn shape(&self, shape: Shape, draws: Option<Draws>) {
        let mut shaper = self.0.shaper.borrow_mut();
        shaper.get_or_insert_default().set(shape, draws);
        self.0.shaped.set(true);
    }

    /// Bytes read from the socket so far, HTTP upgrade and TLS included.
    pub fn bytes_in(&self) -> u64 {
        self.0.bytes_in.get()
    }

    /// Bytes given to the socket so far, HTTP upgrade and TLS included.
    pub fn bytes_out(&self) -> u64 {
        self.0.bytes_out.get()
    }

    /// Bytes that vanished in [`Self::black_hole`].
    pub fn bytes_swallowed(&self) -> u64 {
        self.0.bytes_swallowed.get()
    }

    /// Another tap on the same connection, so that what the first was wrapped in can go.
    pub(super) fn tap(&self) -> Tap {
        self.0.taps.set(self.0.taps.get() + 1);
        Tap {
            control: self.clone(),
        }
    }

    fn is_silent(&self) -> bool {
        self.0.frozen.get() || self.0.black_hole.get()
    }

    fn wake_reader(&self) {
        if !self.is_silent()
            && let Some(reader) = self.0.reader.take()
        {
            reader.wake();
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("reset", &self.0.reset.get())
            .field("frozen", &self.0.frozen.get())
            .field("black_hole", &self.0.black_hole.get())
            .field("bytes_in", &self.bytes_in())
            .field("bytes_out", &self.bytes_out())
            .finish_non_exhaustive()
    }
}

/// A TCP connection under a [`Control`]. It is closed when the last tap on it is dropped.
#[derive(Debug)]
pub(super) struct Tap {
    control: Control,
}

impl Tap {
    pub(super) fn new(io: TcpStream, control: Control) -> Self {
        control.0.io.replace(Some(io));
        control.tap()
    }

    fn with_io<T>(
        &self,
        act: impl FnOnce(&mut TcpStream) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.control.0.io.borrow_mut().as_mut() {
            Some(io) => act(io),
            // A tap keeps the socket, so there is one.
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let state = &*self.control.0;
        if self.control.is_silent() {
            state.reader.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        if state.shaped.get() {
            let mut slot = state.shaper.borrow_mut();
            if let Some(shaper) = slot.as_mut().filter(|shaper| !shaper.is_idle()) {
                let counted = &state.bytes_in;
                return self
                    .with_io(|io| shaper.poll_read(io, cx, buf, &mut |bytes| add(counted, bytes)));
            }
            *slot = None;
            state.shaped.set(false);
        }
        let before = buf.filled().len();
        let outcome = self.with_io(|io| Pin::new(io).poll_read(cx, buf));
        add(&state.bytes_in, buf.filled().len() - before);
        outcome
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let state = &*self.control.0;
        if state.black_hole.get() {
            add(&state.bytes_swallowed, buf.len());
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = match state.shaper.borrow_mut().as_mut() {
            Some(shaper) => self.with_io(|io| shaper.poll_write(io, cx, buf)),
            None => self.with_io(|io| Pin::new(io).poll_write(cx, buf)),
        };
        if let Poll::Ready(Ok(written)) = outcome {
            add(&state.bytes_out, written);
        }
        outcome
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_io(|io| Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.control.0.black_hole.get() {
            return Poll::Ready(Ok(()));
        }
        self.with_io(|io| Pin::new(io).poll_shutdown(cx))
    }
}

fn add(counter: &Cell<u64>, bytes: usize) {
    counter.set(counter.get() + bytes as u64);
}

impl ActixStream for Tap {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.with_io(|io| ActixStream::poll_read_ready(io, cx))
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.with_io(|io| ActixStream::poll_write_ready(io, cx))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let state = &*self.control.0;
        state.taps.set(state.taps.get() - 1);
        if state.taps.get() > 0 {
            return;
        }
        // What the shaper holds goes with the socket, as in a network that is cut.
        let _ = state.shaper.take();
        let Some(io) = state.io.take() else { return };
        let socket = socket2::SockRef::from(&io);
        // Neither call can fail in a way that matters: the peer may be gone already.
        if state.reset.get() {
            let _ = socket.set_linger(Some(Duration::ZERO));
        } else {
            // The kernel turns a close with unread bytes into a reset. The FIN goes first,
            // so that the peer sees an end of stream whatever is still on its way to us.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }
}
