//! The cheapest thing that moves the same bytes: one tokio task per client, one shared read
//! buffer, no JSON, no verification. Frames are told apart by their first bytes alone, for
//! the sequence id of the receipts, and pings are answered. What the load generator costs is
//! held against this.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io::ErrorKind::WouldBlock;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{MARGIN, Measured, Size, usage};
use crate::base::{Clock, Time};
use procfs::Current as _;

/// The load generator's default: a receipt so long after the first message without one.
const RECEIPT_AFTER: Duration = Duration::from_millis(200);
/// Joined one after the other: the hub's answer to the handshake is waited for.
const HANDSHAKE_BYTES: usize = 1024;
/// A masked pong without content, as the hub's pings have none.
const EMPTY_PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
/// What one read may bring, with room for an unfinished frame before it.
const BUFFER_BYTES: usize = 128 * 1024;

/// A sender that is late gives way after so many.
const PUBLISHES_IN_ONE_GO: u64 = 16;

struct Client {
    write: OwnedWriteHalf,
    messages: Cell<u64>,
    receipt_due: Cell<Option<Time>>,
    group: u64,
    ack_id: Cell<u64>,
}

struct Ground {
    clock: Clock,
    buffer: RefCell<Vec<u8>>,
    delivered: Cell<u64>,
}

/// A masked text frame; the mask is zero, which leaves the text as it is.
fn frame(text: &str, out: &mut Vec<u8>) {
    out.push(0x81);
    match text.len() {
        short @ ..=125 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text.as_bytes());
}

/// What stood at the front of some bytes.
#[derive(Default)]
pub(super) struct Counted {
    /// Bytes of whole frames.
    pub(super) whole: usize,
    pub(super) messages: u64,
    pings: u64,
}

/// Counts the frames at the front of `bytes` by their headers.
pub(super) fn count(bytes: &[u8]) -> Counted {
    const PING: u8 = 0x89;
    let mut counted = Counted::default();
    while let [kind, short, rest @ ..] = &bytes[counted.whole..] {
        let (length, head) = match (short, rest) {
            (126, [high, low, ..]) => (usize::from(*high) << 8 | usize::from(*low), 4),
            (126 | 127, _) => break,
            (short, _) => (usize::from(*short), 2),
        };
        let start = counted.whole + head;
        let Some(payload) = bytes.get(start..start + length) else {
            break;
        };
        counted.messages += u64::from(payload.starts_with(br#"{"type":"message""#));
        counted.pings += u64::from(*kind == PING);
        counted.whole = start + length;
    }
    counted
}

async fn connect(addr: &str, group: u64) -> Result<(Rc<Client>, OwnedReadHalf)> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /client/hubs/bench HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: json.reliable.webpubsub.azure.v1\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut join = Vec::new();
    frame(
        &format!(r#"{{"type":"joinGroup","group":"group-{group}","ackId":1}}"#),
        &mut join,
    );
    stream.write_all(&join).await?;
    let mut read = Vec::with_capacity(HANDSHAKE_BYTES);
    while !read.windows(12).any(|bytes| bytes == br#""type":"ack""#) {
        if stream.read_buf(&mut read).await? == 0 {
            bail!("the hub closed during the handshake");
        }
    }
    let (half, write) = stream.into_split();
    let raw = Client {
        write,
        messages: Cell::new(0),
        receipt_due: Cell::new(None),
        group,
        ack_id: Cell::new(1),
    };
    Ok((Rc::new(raw), half))
}

/// Reads through the shared buffer and sends receipts, for ever.
async fn listen(raw: Rc<Client>, mut half: OwnedReadHalf, ground: Rc<Ground>) {
    let mut rest: Vec<u8> = Vec::new();
    let mut sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
    let mut out = Vec::new();
    std::future::poll_fn(|cx| {
        loop {
            let mut shared = ground.buffer.borrow_mut();
            let from = rest.len();
            shared[..from].copy_from_slice(&rest);
            let mut buffer = ReadBuf::new(&mut shared[from..]);
            match Pin::new(&mut half).poll_read(cx, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
            let end = from + buffer.filled().len();
            let counted = count(&shared[..end]);
            rest.clear();
            rest.extend_from_slice(&shared[counted.whole..end]);
            if counted.messages > 0 {
                raw.messages.set(raw.messages.get() + counted.messages);
                ground
                    .delivered
                    .set(ground.delivered.get() + counted.messages);
                if raw.receipt_due.get().is_none() {
                    let due = ground.clock.now() + RECEIPT_AFTER;
                    raw.receipt_due.set(Some(due));
                    sleep.as_mut().reset(ground.clock.instant(due));
                }
            }
            if counted.pings > 0 && !sent(&raw.write, &EMPTY_PONG) {
                return Poll::Ready(());
            }
        }
        if raw.receipt_due.get().is_some() && sleep.as_mut().poll(cx).is_ready() {
            raw.receipt_due.set(None);
            let id = raw.messages.get();
            out.clear();
            frame(
                &format!(r#"{{"type":"sequenceAck","sequenceId":{id}}}"#),
                &mut out,
            );
            if !sent(&raw.write, &out) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

/// Writes a whole frame. False when the connection is of no more use.
fn sent(write: &OwnedWriteHalf, frame: &[u8]) -> bool {
    match write.try_write(frame) {
        Ok(written) => written == frame.len(),
        // The hub does not read for the moment: the next message, or ping, asks again.
        Err(error) => error.kind() == WouldBlock,
    }
}

pub(super) async fn raw(addr: &str, size: Size) -> Result<Measured> {
    let (_, empty_bytes) = usage()?;
    let clock = Clock::start();
    let ground = Rc::new(Ground {
        clock,
        buffer: RefCell::new(vec![0; BUFFER_BYTES]),
        delivered: Cell::new(0),
    });
    let kernel_before = kernel_bytes()?;
    let mut clients = Vec::new();
    for n in 0..size.clients {
        let (raw, half) = connect(addr, n % size.groups()).await?;
        tokio::task::spawn_local(listen(raw.clone(), half, ground.clone()));
        clients.push(raw);
    }
    let connect_s = clock.now().as_secs_f64();
    let joined_bytes = usage()?.1.saturating_sub(empty_bytes);
    tokio::time::sleep(Duration::from_secs(size.calm)).await;
    let kernel_bytes = kernel_bytes()?.saturating_sub(kernel_before);
    let start = clock.now();
    let (from, until) = (
        start + MARGIN,
        start + MARGIN + Duration::from_secs(size.seconds),
    );
    let publishing = publish(&clients, size, clock, start, until);
    let measuring = async {
        tokio::time::sleep_until(clock.instant(from)).await;
        let begun = (usage()?.0, ground.delivered.get(), clock.now());
        tokio::time::sleep_until(clock.instant(until)).await;
        anyhow::Ok((begun, (usage()?.0, ground.delivered.get(), clock.now())))
    };
    // By the clock and not by what was sent: a sender that falls behind must not be given
    // the time that it takes.
    let ((), (begun, ended)) = tokio::try_join!(publishing, measuring)?;
    let (deliveries, window_s) = (ended.1 - begun.1, ended.2.since(begun.2).as_secs_f64());
    let owed = ended.2.since(start).as_secs_f64() * size.rate as f64;
    Ok(Measured {
        cpu_s: ended.0 - begun.0,
        deliveries,
        window_s,
        empty_bytes,
        joined_bytes,
        connect_s,
        kernel_bytes,
        arrived: deliveries as f64 / (size.rate as f64 * window_s),
        behind_s: (owed - ended.1 as f64).max(0.0) / size.rate as f64,
        ..Measured::default()
    })
}

/// The kernel's memory for small objects (sockets, files, epoll's entries are among them),
/// and the pages in socket buffers, of the whole machine.
fn kernel_bytes() -> Result<u64> {
    let slab = procfs::Meminfo::current()?.slab;
    let sockets = std::fs::read_to_string("/proc/net/sockstat")?;
    let mut words = sockets
        .lines()
        .filter(|line| line.starts_with("TCP:"))
        .flat_map(str::split_whitespace)
        .skip_while(|word| *word != "mem");
    let pages: u64 = words.nth(1).map_or(Ok(0), str::parse)?;
    Ok(slab + pages * procfs::page_size())
}

/// Publishes from each client in turn, on time as far as that goes, until `until`.
async fn publish(
    clients: &[Rc<Client>],
    size: Size,
    clock: Clock,
    start: Time,
    until: Time,
) -> Result<()> {
    let payload = "x".repeat(128);
    let mut out = Vec::new();
    for n in 0u64.. {
        let due = start + Duration::from_micros((n as f64 * size.pause_us()) as u64);
        let now = clock.now();
        if due >= until || now >= until {
            break;
        }
        if due > now {
            tokio::time::sleep_until(clock.instant(due)).await;
        } else if n % PUBLISHES_IN_ONE_GO == 0 {
            // Late already: the sockets have their turn all the same.
            tokio::task::yield_now().await;
        }
        let raw = &clients[(n % size.clients) as usize];
        raw.ack_id.set(raw.ack_id.get() + 1);
        out.clear();
        frame(
            &format!(
                r#"{{"type":"sendToGroup","group":"group-{}","ackId":{},"dataType":"text","data":"{payload}"}}"#,
                raw.group,
                raw.ack_id.get()
            ),
            &mut out,
        );
        loop {
            match raw.write.try_write(&out) {
                Ok(written) if written == out.len() => break,
                Ok(_) => bail!("the hub does not take a whole frame"),
                Err(error) if error.kind() == WouldBlock => raw.write.writable().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
