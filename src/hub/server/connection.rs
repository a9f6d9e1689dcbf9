//! One WebSocket: a small task that moves bytes between its socket and the core.
//!
//! Reads go through the thread's shared buffer and are taken apart in place; writes are
//! made from the core's outbox only when the socket can take them, as many frames as fit
//! in one write. Bytes are kept per connection only when the socket took half of them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::handshake::Admission;
use super::inbound::{Inbound, Message, Stop};
use super::io::Io;
use super::shell::Shell;
use crate::base::Time;
use crate::hub::core::{End, Key, Out};
use crate::hub::frame::{OpCode, write_close, write_header};
use crate::wire::codec::Payload;
use crate::wire::{Data, DecodeError, Subprotocol, close, codec};

/// Reads before the task lets others run.
const READS_PER_POLL: usize = 8;
/// Bytes read before the task lets others run: who sends frames in a loop delays the others
/// by no more than it takes to look at so many.
const READ_BATCH: usize = 64 * 1024;
/// Writes before the task lets others run.
const WRITES_PER_POLL: usize = 8;
/// Bytes gathered for one write; a frame that crosses it is still written whole.
const WRITE_BATCH: usize = 32 * 1024;
/// With so many frames waiting nothing more is read from the client: one that asks and
/// never reads the answers stops itself. Above the 1000 data messages that may wait.
const WAITING_MAX: usize = 4096;
/// How long the closing handshake may take.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Where a transport is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// The last bytes, ending in a close frame, are being written.
    Closing {
        peer_closed: bool,
    },
    /// All is written and shut down; the peer's end is awaited.
    Lingering,
}

/// The task of one WebSocket.
pub(crate) struct Connection {
    shell: Rc<Shell>,
    io: Io,
    link: Key,
    /// What the client speaks; `None`: payloads only.
    subprotocol: Option<Subprotocol>,
    inbound: Inbound,
    /// Bytes that the socket did not take yet, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    phase: Phase,
    /// Runs once the transport is closing.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What reading came to.
enum Reading {
    /// Nothing more for now.
    Idle,
    /// More may be there; others first.
    Yield,
    Stopped(Stop),
    /// The socket ended or failed.
    Gone,
}

/// What writing came to.
enum Writing {
    /// All is written.
    Idle,
    /// The socket takes no more for now.
    Blocked,
    /// There is more; others first.
    Yield,
    /// The socket failed or shall be reset.
    Gone,
}

impl Connection {
    /// Enters the core as `admission` says and starts the task; `already` was read behind
    /// the request's head.
    pub(crate) fn start(shell: Rc<Shell>, io: Io, already: &[u8], admission: Admission) {
        let now = shell.clock().now();
        let result = {
            let mut core = shell.core.borrow_mut();
            match admission {
                Admission::New {
                    id,
                    identity,
                    dialect,
                    place: _place,
                } => Ok(core.open_as(id, *identity, dialect, now)),
                Admission::Recover {
                    connection_id,
                    token,
                } => core.recover(&connection_id, &token, now),
            }
        };
        let Ok(link) = result else {
            shell.after_core(None);
            tokio::task::spawn_local(refuse_recovery(io));
            return;
        };
        shell.add_transport(link);
        let subprotocol = shell.core.borrow().subprotocol_of(link);
        let mut connection = Connection {
            shell,
            io,
            link,
            subprotocol,
            inbound: Inbound::default(),
            unsent: Vec::new(),
            sent: 0,
            phase: Phase::Open,
            deadline: None,
        };
        if !already.is_empty()
            && let Err(stop) = connection.feed(&mut already.to_vec(), now)
        {
            connection.stop(stop, now);
        }
        connection.shell.after_core(Some(link));
        tokio::task::spawn_local(connection);
    }

    fn feed(&mut self, bytes: &mut [u8], now: Time) -> Result<(), Stop> {
        let (shell, link, subprotocol) = (&self.shell, self.link, self.subprotocol);
        self.inbound.feed(bytes, |message| {
            take(shell, link, subprotocol, message, now)
        })
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Time) -> Reading {
        let shell = self.shell.clone();
        let mut buffer = shell.read_buffer.borrow_mut();
        let mut heard = false;
        let mut length = 0;
        let result = 'reads: {
            for _ in 0..READS_PER_POLL {
                if shell.core.borrow().waiting(self.link) >= WAITING_MAX {
                    break 'reads Reading::Idle;
                }
                let mut bytes = ReadBuf::new(&mut buffer);
                match Pin::new(&mut self.io).poll_read(cx, &mut bytes) {
                    Poll::Pending => break 'reads Reading::Idle,
                    Poll::Ready(Err(_)) => break 'reads Reading::Gone,
                    Poll::Ready(Ok(())) if bytes.filled().is_empty() => break 'reads Reading::Gone,
                    Poll::Ready(Ok(())) => {}
                }
                if shell.core.borrow().is_mute(self.link) {
                    continue;
                }
                heard = true;
                length += bytes.filled().len();
                if let Err(stop) = self.feed(bytes.filled_mut(), now) {
                    break 'reads Reading::Stopped(stop);
                }
                if length >= READ_BATCH {
                    break;
                }
            }
            Reading::Yield
        };
        if heard {
            shell.heard(self.link, now);
        }
        result
    }

    /// Ends reading: the core is told, the close frame prepared.
    fn stop(&mut self, stop: Stop, now: Time) {
        match stop {
            Stop::Closed(code) => {
                let mut core = self.shell.core.borrow_mut();
                // Answers to what the client asked before it closed still leave.
                core.drain(self.link, &mut self.unsent, WRITE_BATCH, now);
                core.closed(self.link, code, now);
                match code {
                    Some(code) => write_close(&mut self.unsent, code, ""),
                    None => write_header(&mut self.unsent, OpCode::Close, 0),
                }
                drop(core);
                self.begin_closing(true);
            }
            Stop::Broken(code, reason) => {
                let mut core = self.shell.core.borrow_mut();
                core.violated(self.link, code, reason);
            }
        }
    }

    fn begin_closing(&mut self, peer_closed: bool) {
        self.shell.forget_transport(self.link);
        self.phase = Phase::Closing { peer_closed };
        self.inbound = Inbound::default();
        self.deadline = Some(Box::pin(tokio::time::sleep(CLOSING_MAX)));
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Time) -> Writing {
        for _ in 0..WRITES_PER_POLL {
            while self.sent < self.unsent.len() {
                match Pin::new(&mut self.io).poll_write(cx, &self.unsent[self.sent..]) {
                    Poll::Pending => return Writing::Blocked,
                    Poll::Ready(Ok(written)) if written > 0 => self.sent += written,
                    Poll::Ready(_) => return Writing::Gone,
                }
            }
            if !self.unsent.is_empty() {
                self.unsent = Vec::new();
                self.sent = 0;
            }
            if self.phase != Phase::Open {
                return Writing::Idle;
            }
            let shell = self.shell.clone();
            let mut batch = shell.write_buffer.borrow_mut();
            batch.clear();
            let end = shell
                .core
                .borrow_mut()
                .drain(self.link, &mut batch, WRITE_BATCH, now);
            if batch.is_empty() && end.is_none() {
                return Writing::Idle;
            }
            match end {
                None => {}
                Some(End::Reset) => {
                    // What fails here leaves a FIN in place of the RST.
                    let _ = self.io.set_zero_linger();
                    return Writing::Gone;
                }
                Some(End::Close { code, reason }) => {
                    write_close(&mut batch, code, &reason);
                    shell.core.borrow_mut().closed(self.link, None, now);
                    self.begin_closing(false);
                }
            }
            match Pin::new(&mut self.io).poll_write(cx, &batch) {
                Poll::Ready(Ok(written)) if written == batch.len() => {}
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.unsent.extend_from_slice(&batch[written..]);
                }
                Poll::Pending => self.unsent.extend_from_slice(&batch),
                Poll::Ready(_) => return Writing::Gone,
            }
            // A buffer that one huge message has blown up is given back.
            if batch.capacity() > 8 * WRITE_BATCH {
                *batch = Vec::new();
            }
        }
        Writing::Yield
    }

    /// The open phase: reads, then writes. Ready when the socket is gone.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shell.set_waker(self.link, cx.waker());
        let now = self.shell.clock().now();
        let mut again = false;
        match self.read(cx, now) {
            Reading::Idle => {}
            Reading::Yield => again = true,
            Reading::Stopped(stop) => self.stop(stop, now),
            Reading::Gone => {
                self.gone(now);
                return Poll::Ready(());
            }
        }
        match self.write(cx, now) {
            Writing::Idle | Writing::Blocked => {}
            Writing::Yield => again = true,
            Writing::Gone => {
                self.gone(now);
                return Poll::Ready(());
            }
        }
        self.shell.after_core(Some(self.link));
        if again || self.phase != Phase::Open {
            let_others(cx);
        }
        Poll::Pending
    }

    fn gone(&mut self, now: Time) {
        self.shell.core.borrow_mut().closed(self.link, None, now);
        self.shell.forget_transport(self.link);
        self.shell.after_core(None);
    }

    /// The closing handshake: our last bytes, our FIN, the peer's FIN.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        if let Phase::Closing { peer_closed } = self.phase {
            let now = self.shell.clock().now();
            match self.write(cx, now) {
                Writing::Idle => {}
                Writing::Yield => let_others(cx),
                Writing::Blocked => return Poll::Pending,
                Writing::Gone => return Poll::Ready(()),
            }
            if ready!(Pin::new(&mut self.io).poll_shutdown(cx)).is_err() || peer_closed {
                return Poll::Ready(());
            }
            self.phase = Phase::Lingering;
        }
        // Unread bytes at close would make the kernel send a reset, which can overtake
        // the close frame: so they are read and thrown away.
        let shell = self.shell.clone();
        let mut buffer = shell.read_buffer.borrow_mut();
        for _ in 0..READS_PER_POLL {
            let mut bytes = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut bytes)) {
                Ok(()) if !bytes.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
        let_others(cx);
        Poll::Pending
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match this.phase {
            Phase::Open => this.poll_open(cx),
            Phase::Closing { .. } | Phase::Lingering => this.poll_closing(cx),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shell.transport_done();
    }
}

/// Has the task polled again after all others, and after the sockets were looked at. A
/// plain wake-up comes before that, dozens of times in a row: a client that floods would
/// then keep the hub from hearing of anybody else.
fn let_others(cx: &mut Context<'_>) {
    // It only takes note of the waker.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Hands one message of a client to the core.
fn take(
    shell: &Shell,
    link: Key,
    subprotocol: Option<Subprotocol>,
    message: Message<'_>,
    now: Time,
) -> Result<(), Stop> {
    let mut core = shell.core.borrow_mut();
    let payload = match message {
        Message::Ping(payload) => {
            core.send(link, Out::WebSocketPong(payload.into()));
            return Ok(());
        }
        Message::Binary(bytes) => Payload::Binary(bytes),
        Message::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Payload::Text(text),
            Err(_) => {
                core.truth_mut().requests.malformed += 1;
                return Err(Stop::Broken(close::INVALID, "text message is not UTF-8"));
            }
        },
    };
    let Some(subprotocol) = subprotocol else {
        let data = match payload {
            Payload::Text(text) => Data::Text(text.into()),
            Payload::Binary(bytes) => Data::Binary(bytes.into()),
        };
        core.simple_frame(link, &data, now);
        return Ok(());
    };
    match codec::decode_request(subprotocol, payload) {
        Ok(request) => {
            core.frame(link, request, now);
            Ok(())
        }
        Err(error) => {
            tracing::debug!(%error, "closing a connection for a bad frame");
            core.truth_mut().requests.malformed += 1;
            Err(match error {
                DecodeError::WrongKind(_) => Stop::Broken(
                    close::UNSUPPORTED,
                    "a kind of message that the subprotocol does not use",
                ),
                _ => Stop::Broken(close::INVALID, "frame that the subprotocol does not know"),
            })
        }
    }
}

/// Closes a transport whose recovery is refused: 1008, at once, so that the client does
/// not believe itself recovered. Source: client-spec 1.4.
async fn refuse_recovery(mut io: Io) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut frame = Vec::new();
    write_close(
        &mut frame,
        close::POLICY,
        "the connection cannot be recovered",
    );
    let goodbye = async {
        io.write_all(&frame).await?;
        io.shutdown().await?;
        let mut sink = [0; 512];
        while io.read(&mut sink).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whatever happens here, the client is gone afterwards.
    let _ = tokio::time::timeout(CLOSING_MAX, goodbye).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_a_small_task() {
        // Thousands of them are held by one process: the whole task, without heap, must
        // stay a small part of the 6 KiB that a joined connection may cost.
        assert!(
            size_of::<Connection>() <= 256,
            "{}",
            size_of::<Connection>()
        );
    }
}
