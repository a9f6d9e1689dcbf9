//! An open WebSocket: a queue of frames out, whole messages in.
//!
//! Never answers by itself (no pong, no close reply) and never waits: whoever owns it polls
//! it from one task. Between polls it holds nothing but what is unfinished, so that an idle
//! connection costs about a kilobyte. Read [`super::assemble`] for the reading rules.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::ws::{CloseReason, OpCode, Parser};
use awc::BoxedSocket;
use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::assemble::{Assembler, Incoming, Violation};
use super::poller::{Poller, Ready};
use super::tap::Control;
use crate::base::ReadCounts;
use crate::wire::MESSAGE_BYTES_MAX;
use crate::wire::close::Close;

/// The largest message that is taken in, in bytes. Twice what a publisher may send: the
/// envelope and base64 make a delivery larger than its publish.
const INCOMING_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// A frame is queued while fewer than this many bytes wait; see [`Socket::queued_bytes`].
const QUEUE_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// How much one read may bring, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Reads in one poll before other connections get their turn.
const READS_PER_POLL: usize = 8;

/// An unfinished frame of at least this many bytes is read on in a buffer of its own
/// instead of being copied to the shared buffer and back at every read.
const OWN_BUFFER_FROM: usize = READ_BYTES / 2;

/// A read buffer kept beyond one poll has at most this capacity.
const READ_BUFFER_MAX: usize = INCOMING_BYTES_MAX + 2 * READ_BYTES;

/// The longest reason in a close frame, and the longest ping or pong, in bytes (RFC 6455
/// 5.5: 125, of which a close frame gives 2 to the code).
const CONTROL_BYTES_MAX: usize = 125;

/// The buffer that all sockets of one arbiter read through. Empty between polls.
pub struct ReadBuffer {
    bytes: BytesMut,
    /// What reads bring that are made here and not by the runtime, which alone can read into
    /// memory that holds nothing yet.
    landing: Box<[u8]>,
    counts: ReadCounts,
}

impl ReadBuffer {
    /// A buffer of 64 KiB. It grows up to the largest message and stays that large.
    pub fn new() -> Self {
        ReadBuffer {
            bytes: BytesMut::with_capacity(READ_BYTES),
            landing: vec![0; READ_BYTES].into_boxed_slice(),
            counts: ReadCounts::default(),
        }
    }

    /// What was read so far.
    pub fn counts(&self) -> ReadCounts {
        self.counts
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ReadBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuffer")
            .field("capacity", &self.bytes.capacity())
            .finish()
    }
}

/// How reading ended; nothing comes after it.
#[derive(Debug)]
pub enum Closed {
    /// The peer ended the stream (FIN). In order after a close frame, a loss without one.
    End,
    /// The peer reset the connection (RST).
    Reset,
    /// The connection failed in another way.
    Failed(io::Error),
    /// The peer broke the WebSocket protocol. Answer with its code, then drop the socket.
    Violation(Violation),
}

impl Closed {
    /// The end as the protocol layer sees it, for connections that got no close frame.
    pub fn to_close(&self) -> Close {
        Close::without_frame(self.to_string())
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::End => f.write_str("the hub ended the connection"),
            Closed::Reset => f.write_str("the hub reset the connection"),
            Closed::Failed(error) => write!(f, "the connection failed: {error}"),
            Closed::Violation(violation) => violation.fmt(f),
        }
    }
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset => Closed::Reset,
            // TLS without a goodbye: the stream ended all the same.
            io::ErrorKind::UnexpectedEof => Closed::End,
            _ => Closed::Failed(error),
        }
    }
}

/// Why a frame was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueueError {
    /// The hub does not take what is sent; 4 MiB wait already.
    #[error("4 MiB wait to be sent: the hub reads too slowly")]
    Full,
    /// A close frame is queued, and nothing may follow it.
    #[error("the connection is being closed")]
    Closing,
}

/// What lies between the frames and the network.
enum Layers {
    Plain(Control),
    Tls(BoxedSocket, Rc<Control>),
}

impl AsyncRead for Layers {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Layers::Plain(control) => control.poll_read(cx, buf),
            Layers::Tls(io, _) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Layers {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Layers::Plain(control) => control.poll_write(cx, buf),
            Layers::Tls(io, _) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Layers::Plain(control) => control.poll_flush(cx),
            Layers::Tls(io, _) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Layers::Plain(control) => control.poll_shutdown(cx),
            Layers::Tls(io, _) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// An open WebSocket connection.
///
/// Dropping it ends the connection with a FIN and no close frame, or with a reset after
/// [`Control::reset`]; frames not yet flushed are lost.
#[repr(C)]
pub struct Socket {
    /// The bytes of a frame that has not come whole; also whole frames after a break.
    rest: BytesMut,
    /// Frames, masked, that wait to be written.
    queue: BytesMut,
    /// Something was written that TLS may still hold.
    unflushed: bool,
    closing: bool,
    io: Layers,
    assembler: Assembler,
    frames_refused: u64,
}

impl Socket {
    /// A socket over an upgraded connection. `read` was read beyond the upgrade already.
    /// Without TLS nothing is kept of what made the handshake: the connection is read
    /// directly, and what is known of it lies beside the rest of the socket.
    pub(super) fn new(io: BoxedSocket, is_tls: bool, read: &[u8], control: Rc<Control>) -> Self {
        let io = if is_tls {
            Layers::Tls(io, control)
        } else {
            Layers::Plain(control.take_over())
        };
        Socket {
            io,
            assembler: Assembler::new(INCOMING_BYTES_MAX),
            rest: BytesMut::from(read),
            queue: BytesMut::new(),
            unflushed: false,
            closing: false,
            frames_refused: 0,
        }
    }

    /// Queues a text message. It goes out with the next [`Self::poll_flush`].
    ///
    /// # Errors
    /// The queue is at its bound, or a close frame is queued: the frame is not sent, and
    /// [`Self::frames_refused`] counts it.
    pub fn queue_text(&mut self, frame: &[u8]) -> Result<(), QueueError> {
        self.queue(OpCode::Text, frame)
    }

    /// Queues a binary message.
    ///
    /// # Errors
    /// As [`Self::queue_text`].
    pub fn queue_binary(&mut self, frame: &[u8]) -> Result<(), QueueError> {
        self.queue(OpCode::Binary, frame)
    }

    /// Queues a WebSocket ping of at most 125 bytes; what is longer is cut off.
    ///
    /// # Errors
    /// As [`Self::queue_text`].
    pub fn queue_ping(&mut self, bytes: &[u8]) -> Result<(), QueueError> {
        self.queue(OpCode::Ping, &bytes[..bytes.len().min(CONTROL_BYTES_MAX)])
    }

    /// Queues the answer to a ping: the same bytes.
    ///
    /// # Errors
    /// As [`Self::queue_text`].
    pub fn queue_pong(&mut self, bytes: &[u8]) -> Result<(), QueueError> {
        self.queue(OpCode::Pong, &bytes[..bytes.len().min(CONTROL_BYTES_MAX)])
    }

    /// Queues the close frame, whatever waits before it. A second one is not sent. A code
    /// that may not be sent (1005, 1006, 1015) gives a close frame without code; a reason
    /// of more than 123 bytes is cut.
    pub fn queue_close(&mut self, close: &Close) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        let reason = close
            .code
            .filter(|code| !matches!(code, 1005 | 1006 | 1015))
            .map(|code| {
                let mut end = close.reason.len().min(CONTROL_BYTES_MAX - 2);
                while !close.reason.is_char_boundary(end) {
                    end -= 1;
                }
                let text = &close.reason[..end];
                CloseReason {
                    code: code.into(),
                    description: (!text.is_empty()).then(|| text.to_owned()),
                }
            });
        Parser::write_close(&mut self.queue, reason, true);
    }

    fn queue(&mut self, kind: OpCode, payload: &[u8]) -> Result<(), QueueError> {
        let refusal = if self.closing {
            QueueError::Closing
        } else if self.queue.len() >= QUEUE_BYTES_MAX {
            QueueError::Full
        } else {
            if self.queue.capacity() == 0 {
                self.queue = spare::take();
            }
            Parser::write_message(&mut self.queue, payload, kind, true, true);
            return Ok(());
        };
        self.frames_refused += 1;
        Err(refusal)
    }

    /// Reads a little everywhere, so that it is near when it is needed.
    pub fn touch(&self) {
        black_box((self.rest.len(), self.closing, self.frames_refused));
    }

    /// Bytes that wait to be written, frame headers included. Frames are accepted while
    /// fewer than 4 MiB wait, so it is never more than that and one frame (and a close frame).
    pub fn queued_bytes(&self) -> usize {
        self.queue.len()
    }

    /// Frames that were not queued, because of the bound or after the close frame.
    pub fn frames_refused(&self) -> u64 {
        self.frames_refused
    }

    /// Writes what is queued, all of it in one write where the kernel takes it.
    ///
    /// # Errors
    /// The connection failed; the socket is of no more use.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.queue))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.queue.advance(written);
            self.unflushed = true;
            if self.queue.is_empty() {
                // Idle connections keep no buffer: most of ten thousand are idle.
                spare::give_back(std::mem::take(&mut self.queue));
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is queued and the beginning of one more frame, which never ends: a ping,
    /// so that no message is half sent. What the kernel does not take at once is lost. The
    /// socket is of no more use.
    pub fn cut_inside_frame(&mut self, cx: &mut Context<'_>) {
        const PING: usize = 64;
        if self.queue_ping(&[0; PING]).is_err() {
            return;
        }
        // Inside the ping's payload, whatever came before it.
        let end = self.queue.len() - PING / 2;
        self.queue.truncate(end);
        // A failure is what is wanted anyway.
        let _ = self.poll_flush(cx);
    }

    /// Reads what is there through the arbiter's `shared` buffer and hands each whole
    /// message to `on`. Pending, with the task to be woken, when there is nothing more,
    /// after 8 reads, or when `on` breaks (the rest is kept for the next poll).
    ///
    /// Ready when the connection has ended for reading. After a close frame that is the end
    /// of the stream; what came between is discarded.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut ReadBuffer,
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Poll<Closed> {
        let ReadBuffer {
            bytes,
            landing,
            counts,
        } = shared;
        if self.rest.len() >= OWN_BUFFER_FROM {
            let mut own = std::mem::take(&mut self.rest);
            let outcome = self.read_through(&mut own, landing, counts, cx, on);
            self.rest = if own.len() >= OWN_BUFFER_FROM {
                own
            } else {
                BytesMut::from(&own[..])
            };
            outcome
        } else {
            bytes.clear();
            if !self.rest.is_empty() {
                bytes.extend_from_slice(&self.rest);
                self.rest = BytesMut::new();
            }
            let outcome = self.read_through(bytes, landing, counts, cx, on);
            if !bytes.is_empty() {
                self.rest = BytesMut::from(&bytes[..]);
                bytes.clear();
            }
            if bytes.capacity() > READ_BUFFER_MAX {
                *bytes = BytesMut::with_capacity(READ_BYTES);
            }
            outcome
        }
    }

    fn read_through(
        &mut self,
        buffer: &mut BytesMut,
        landing: &mut [u8],
        counts: &mut ReadCounts,
        cx: &mut Context<'_>,
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Poll<Closed> {
        for reads in 0..=READS_PER_POLL {
            // First what an earlier poll left, so that a break loses nothing.
            match self.assembler.feed(buffer, on) {
                Ok(ControlFlow::Continue(())) if reads < READS_PER_POLL => {}
                Ok(_) => break,
                Err(violation) => return Poll::Ready(Closed::Violation(violation)),
            }
            match ready!(self.read_once(buffer, landing, cx)) {
                Ok(0) => return Poll::Ready(Closed::End),
                Ok(bytes) => counts.count(bytes, READ_BYTES),
                Err(error) => return Poll::Ready(error.into()),
            }
        }
        // Stopped by a break or by the turn's end, with more to come perhaps.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn read_once(
        &mut self,
        buffer: &mut BytesMut,
        landing: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Layers::Plain(control) = &self.io
            && let Some(outcome) = control.poll_read_into(cx, landing)
        {
            if let Poll::Ready(Ok(bytes)) = outcome {
                buffer.extend_from_slice(&landing[..bytes]);
            }
            return outcome;
        }
        buffer.reserve(READ_BYTES);
        // Limited, because the buffer may have more room after a large message.
        let mut room = (&mut *buffer).limit(READ_BYTES);
        pin!(self.io.read_buf(&mut room)).poll(cx)
    }

    /// From now on `poller` says when there is something to read, or room to write, where it
    /// can: not under TLS. Nobody is woken for that any more; [`Self::ready`] and a poll are
    /// then up to who polls the poller.
    ///
    /// # Errors
    /// The system refuses, and the runtime goes on watching.
    pub fn watch(&mut self, poller: &Poller, client: u32) -> io::Result<()> {
        match &self.io {
            Layers::Plain(control) => control.watch(poller, client),
            Layers::Tls(..) => Ok(()),
        }
    }

    /// The poller's word.
    pub fn ready(&self, ready: Ready) {
        self.control().ready(ready);
    }

    /// The raw connection.
    pub fn control(&self) -> &Control {
        match &self.io {
            Layers::Plain(control) => control,
            Layers::Tls(_, control) => control,
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("control", self.control())
            .field("queued_bytes", &self.queued_bytes())
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

/// Buffers for writing, handed round among the sockets of one arbiter, so that a small frame
/// on an idle connection does not wake the allocator.
mod spare {
    use std::cell::RefCell;

    use bytes::BytesMut;

    /// Buffers kept by a thread, as many as have something to write at the end of a round;
    /// sockets beyond that allocate their own.
    const KEPT_MAX: usize = 64;
    /// Larger ones are not kept, bytes.
    const KEPT_BYTES_MAX: usize = 16 * 1024;

    thread_local! {
        static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take() -> BytesMut {
        KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    pub(super) fn give_back(mut buffer: BytesMut) {
        buffer.clear();
        // What was written was cut off the front: get it back.
        if buffer.try_reclaim(KEPT_BYTES_MAX / 4) && buffer.capacity() <= KEPT_BYTES_MAX {
            KEPT.with_borrow_mut(|kept| {
                if kept.len() < KEPT_MAX {
                    kept.push(buffer);
                }
            });
        }
    }
}
