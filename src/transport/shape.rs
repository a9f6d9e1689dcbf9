//! A worse network on one connection: delay, a narrow pipe, small pieces.
//!
//! Works on bytes below TLS, keeps their order, and reads no clock: a chunk waits for a
//! sleep of its own. At most [`HELD_MAX`] bytes are held; beyond that nothing is read, so
//! that the kernel's buffers fill and the peer feels it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::base::Draws;

/// Bytes held back on one connection.
const HELD_MAX: usize = 256 * 1024;
/// Bytes of one chunk.
const CHUNK: usize = 4096;
/// Chunks a second of a narrow pipe, so that it flows instead of gushing.
const CHUNKS_PER_SECOND: u64 = 20;

/// What a connection suffers; the default is nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// Added to what arrives.
    pub delay: Duration,
    /// Up to so much more at random.
    pub jitter: Duration,
    /// Bytes a second that are read.
    pub read_rate: Option<u64>,
    /// Bytes a second that are written.
    pub write_rate: Option<u64>,
    /// The most bytes that one write takes.
    pub piece: Option<usize>,
}

impl Shape {
    fn shapes_reads(&self) -> bool {
        !(self.delay + self.jitter).is_zero() || self.read_rate.is_some()
    }
}

/// Bytes on their way in.
struct Held {
    bytes: Vec<u8>,
    /// How many of them have been handed out.
    taken: usize,
    /// `None` once it is over.
    wait: Option<Pin<Box<Sleep>>>,
}

/// Carries a [`Shape`] out.
#[derive(Default)]
pub(super) struct Shaper {
    shape: Shape,
    draws: Option<Draws>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// How reading ended, to be told after what is held.
    ended: Option<Option<io::Error>>,
    read_pause: Option<Pin<Box<Sleep>>>,
    write_pause: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Shaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaper")
            .field("shape", &self.shape)
            .field("held_bytes", &self.held_bytes)
            .finish_non_exhaustive()
    }
}

impl Shaper {
    pub(super) fn set(&mut self, shape: Shape, draws: Option<Draws>) {
        self.shape = shape;
        self.draws = draws.or(self.draws.take());
    }

    /// Whether the connection is as if there were no shaper.
    pub(super) fn is_idle(&self) -> bool {
        self.shape == Shape::default()
            && self.held.is_empty()
            && self.ended.is_none()
            && self.write_pause.is_none()
    }

    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        count: &mut dyn FnMut(usize),
    ) -> Poll<io::Result<()>> {
        if self.shape.shapes_reads() {
            self.fill(io, cx, count);
        }
        if self.hand_out(cx, buf) {
            return Poll::Ready(Ok(()));
        }
        if !self.held.is_empty() {
            return Poll::Pending;
        }
        match self.ended.take() {
            Some(Some(error)) => return Poll::Ready(Err(error)),
            // The end stays the end, however often it is asked for.
            Some(None) => {
                self.ended = Some(None);
                return Poll::Ready(Ok(()));
            }
            None => {}
        }
        if self.shape.shapes_reads() {
            // `fill` has left a waker with the socket or with a pause.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let outcome = Pin::new(io).poll_read(cx, buf);
        count(buf.filled().len() - before);
        outcome
    }

    /// Takes from the socket what may be taken; leaves a waker where it has to stop.
    fn fill<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
        count: &mut dyn FnMut(usize),
    ) {
        let mut chunk = [0; CHUNK];
        let most = match self.shape.read_rate {
            Some(rate) => portion(rate),
            None => CHUNK,
        };
        while self.ended.is_none() && self.held_bytes < HELD_MAX {
            if !over(&mut self.read_pause, cx) {
                return;
            }
            let mut read = ReadBuf::new(&mut chunk[..most]);
            match Pin::new(&mut *io).poll_read(cx, &mut read) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => self.ended = Some(Some(error)),
                Poll::Ready(Ok(())) if read.filled().is_empty() => self.ended = Some(None),
                Poll::Ready(Ok(())) => {
                    let bytes = read.filled();
                    count(bytes.len());
                    if let Some(rate) = self.shape.read_rate {
                        self.read_pause = Some(pause(bytes.len(), rate));
                    }
                    self.hold(bytes.to_vec());
                }
            }
        }
    }

    fn hold(&mut self, bytes: Vec<u8>) {
        let chance = self.draws.as_mut().map_or(0.5, Draws::fraction);
        let delay = self.shape.delay + self.shape.jitter.mul_f64(chance);
        self.held_bytes += bytes.len();
        self.held.push_back(Held {
            bytes,
            taken: 0,
            wait: (!delay.is_zero()).then(|| Box::pin(tokio::time::sleep(delay))),
        });
    }

    /// Hands out what has waited long enough, in order. Returns whether there was anything.
    fn hand_out(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> bool {
        let mut any = false;
        while buf.remaining() > 0
            && let Some(front) = self.held.front_mut()
            && over(&mut front.wait, cx)
        {
            let rest = &front.bytes[front.taken..];
            let part = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..part]);
            front.taken += part;
            self.held_bytes -= part;
            any = true;
            if front.taken == front.bytes.len() {
                self.held.pop_front();
            }
        }
        any
    }

    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !over(&mut self.write_pause, cx) {
            return Poll::Pending;
        }
        let narrow = self.shape.write_rate.map_or(usize::MAX, portion);
        let most = narrow.min(self.shape.piece.unwrap_or(usize::MAX));
        let outcome = Pin::new(io).poll_write(cx, &buf[..buf.len().min(most)]);
        if let (Poll::Ready(Ok(written)), Some(rate)) = (&outcome, self.shape.write_rate) {
            self.write_pause = Some(pause(*written, rate));
        }
        outcome
    }
}

/// Whether a wait is over; if not, it wakes the task.
fn over(wait: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    let waits = |sleep: &mut Pin<Box<Sleep>>| sleep.as_mut().poll(cx).is_pending();
    if wait.as_mut().is_some_and(waits) {
        return false;
    }
    *wait = None;
    true
}

/// Bytes that pass at once at this rate.
fn portion(rate: u64) -> usize {
    usize::try_from(rate / CHUNKS_PER_SECOND)
        .unwrap_or(CHUNK)
        .clamp(1, CHUNK)
}

fn pause(bytes: usize, rate: u64) -> Pin<Box<Sleep>> {
    let seconds = bytes as f64 / rate.max(1) as f64;
    Box::pin(tokio::time::sleep(Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::base::Seed;

    struct Shaped(DuplexStream, Shaper, usize);

    impl AsyncRead for Shaped {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Shaped(io, shaper, counted) = &mut *self;
            shaper.poll_read(io, cx, buf, &mut |n| *counted += n)
        }
    }

    impl AsyncWrite for Shaped {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let Shaped(io, shaper, _) = &mut *self;
            shaper.poll_write(io, cx, buf)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn shaped(shape: Shape) -> (Shaped, DuplexStream) {
        let (near, far) = duplex(1 << 20);
        let mut shaper = Shaper::default();
        shaper.set(shape, Some(Seed(7).draws("jitter", 0)));
        (Shaped(near, shaper, 0), far)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    #[tokio::test(start_paused = true)]
    #[expect(
        clippy::disallowed_methods,
        reason = "tokio's paused clock is what is tested"
    )]
    async fn bytes_come_late_whole_and_in_order() {
        let shape = Shape {
            delay: Duration::from_millis(200),
            jitter: Duration::from_millis(100),
            ..Shape::default()
        };
        let (mut near, mut far) = shaped(shape);
        let start = Instant::now();
        far.write_all(&pattern(50_000)).await.unwrap();
        drop(far);
        let mut read = Vec::new();
        near.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, pattern(50_000));
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(200), "{took:?}");
        assert!(took <= Duration::from_millis(310), "{took:?}");
        assert_eq!(near.2, 50_000);
    }

    #[tokio::test(start_paused = true)]
    #[expect(
        clippy::disallowed_methods,
        reason = "tokio's paused clock is what is tested"
    )]
    async fn a_narrow_pipe_lets_its_rate_through_both_ways() {
        let shape = Shape {
            read_rate: Some(10_000),
            write_rate: Some(20_000),
            ..Shape::default()
        };
        let (mut near, mut far) = shaped(shape);
        far.write_all(&pattern(30_000)).await.unwrap();
        let start = Instant::now();
        let mut read = vec![0; 30_000];
        near.read_exact(&mut read).await.unwrap();
        assert_eq!(read, pattern(30_000));
        let took = start.elapsed().as_secs_f64();
        assert!((2.8..3.2).contains(&took), "{took}");
        let start = Instant::now();
        near.write_all(&pattern(20_000)).await.unwrap();
        let took = start.elapsed().as_secs_f64();
        assert!((0.8..1.2).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_not_lost_when_the_fault_ends() {
        let shape = Shape {
            delay: Duration::from_secs(5),
            ..Shape::default()
        };
        let (mut near, mut far) = shaped(shape);
        far.write_all(b"held").await.unwrap();
        let mut read = [0; 8];
        let early = timeout(Duration::from_secs(1), near.read(&mut read)).await;
        assert!(early.is_err(), "five seconds are not over");
        near.1.set(Shape::default(), None);
        far.write_all(b"free").await.unwrap();
        near.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"heldfree");
        assert!(near.1.is_idle());
    }

    #[tokio::test]
    async fn slices_are_small_and_add_up() {
        let shape = Shape {
            piece: Some(3),
            ..Shape::default()
        };
        let (mut near, mut far) = shaped(shape);
        assert_eq!(near.write(b"0123456789").await.unwrap(), 3);
        near.write_all(b"3456789").await.unwrap();
        let mut read = [0; 10];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"0123456789");
    }
}
