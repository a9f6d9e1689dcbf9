//! The load: thousands of raw clients on one thread, as cheap as they can be made.
//!
//! One `epoll`, one read buffer, frames told apart by three bytes. A client answers from
//! where it reads: what it owes (the next publishes, a `sequenceAck`) leaves in one write.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use hubstorm::base::{Clock, Time};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Failed;
use crate::bare::read_until;
use crate::frames::{self, FIRST_ACK, Kind, Template};

/// A client acknowledges after so many messages; it may have 1000 unacknowledged.
const SEQUENCE_ACK_EVERY: u64 = 300;
/// How long what was published last may take to arrive.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// The longest wait for events, so that the clock is looked at.
const TURN: Duration = Duration::from_millis(20);

/// Who publishes when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The first so many connections each send `in_flight` publishes in one write and wait
    /// for all their acks before the next.
    Closed { publishers: usize, in_flight: u32 },
    /// So many publishes per second of all connections in turn, without waiting.
    Open { per_second: u64 },
}

/// Who is there and what they do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// Members of a group.
    pub(crate) group: usize,
    pub(crate) no_echo: bool,
    pub(crate) pace: Pace,
}

impl Shape {
    /// Deliveries of one publish.
    fn fan_out(&self) -> u64 {
        self.group as u64 - u64::from(self.no_echo)
    }
}

/// What has come in.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) deliveries: u64,
    /// Reads that brought at least one delivery.
    pub(crate) reads: u64,
}

struct Client {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come yet.
    rest: Vec<u8>,
    /// What the socket did not take.
    unsent: Vec<u8>,
    messages: u64,
    receipt: u64,
    ack_id: u64,
    awaited: u32,
}

/// All clients.
pub(crate) struct Load {
    shape: Shape,
    clock: Clock,
    poll: Poll,
    clients: Vec<Client>,
    /// Publishes sent, by client.
    published: Vec<u64>,
    counts: Counts,
    publish: Template,
    buffer: Box<[u8]>,
    out: Vec<u8>,
    /// When the open loop began, and how many it has sent.
    open: (Time, u64),
    stopping: bool,
}

impl Load {
    /// Connects and joins everybody, one after another.
    pub(crate) fn connect(addr: SocketAddr, shape: Shape, clock: Clock) -> Result<Load, Failed> {
        let poll = Poll::new()?;
        let mut clients = Vec::with_capacity(shape.connections);
        for n in 0..shape.connections {
            clients.push(connect(addr, &poll, n, shape.group)?);
        }
        Ok(Load {
            shape,
            clock,
            poll,
            published: vec![0; clients.len()],
            clients,
            counts: Counts::default(),
            publish: Template::publish(shape.no_echo),
            buffer: vec![0; 256 * 1024].into(),
            out: Vec::new(),
            open: (clock.now(), 0),
            stopping: false,
        })
    }

    /// Sends the first publishes of a closed loop, or starts the clock of an open one.
    pub(crate) fn begin(&mut self) -> Result<(), Failed> {
        self.open = (self.clock.now(), 0);
        if let Pace::Closed { publishers, .. } = self.shape.pace {
            let step = self.clients.len() / publishers;
            for n in (0..publishers).map(|n| n * step) {
                self.react(n, true)?;
            }
        }
        Ok(())
    }

    /// Lets everybody do what they do for so long.
    pub(crate) fn run(&mut self, lasting: Duration) -> Result<Counts, Failed> {
        let end = self.clock.now() + lasting;
        let mut events = Events::with_capacity(1024);
        loop {
            let now = self.clock.now();
            if now >= end {
                return Ok(self.counts);
            }
            let wait = self.publish_due(now)?;
            self.turn(&mut events, wait)?;
        }
    }

    /// Ends publishing and waits for what is under way.
    ///
    /// # Errors
    /// A client did not get exactly what was published to its group.
    pub(crate) fn settle(&mut self) -> Result<(), Failed> {
        self.stopping = true;
        let end = self.clock.now() + SETTLE_MAX;
        let mut events = Events::with_capacity(1024);
        let owed = self.published.iter().sum::<u64>() * self.shape.fan_out();
        while self.counts.deliveries < owed && self.clock.now() < end {
            self.turn(&mut events, TURN)?;
        }
        let groups = self.clients.chunks(self.shape.group);
        for (group, (members, published)) in groups
            .zip(self.published.chunks(self.shape.group))
            .enumerate()
        {
            let all: u64 = published.iter().sum();
            for (member, own) in members.iter().zip(published) {
                let owed = all - if self.shape.no_echo { *own } else { 0 };
                if member.messages != owed {
                    let got = member.messages;
                    return Err(format!(
                        "a member of group {group} got {got} messages, {owed} were published"
                    )
                    .into());
                }
            }
        }
        Ok(())
    }

    /// Sends what an open loop owes by `now`; returns how long nothing more is due.
    fn publish_due(&mut self, now: Time) -> Result<Duration, Failed> {
        let Pace::Open { per_second } = self.shape.pace else {
            return Ok(TURN);
        };
        let (start, mut sent) = self.open;
        let due = |sent: u64| start + Duration::from_micros(sent * 1_000_000 / per_second);
        while due(sent) <= now {
            // Neighbours are of one group: the next publisher is of another.
            let n = (sent as usize * (self.shape.group + 1)) % self.clients.len();
            self.react(n, true)?;
            sent += 1;
        }
        self.open.1 = sent;
        Ok(due(sent).since(now).min(TURN))
    }

    fn turn(&mut self, events: &mut Events, wait: Duration) -> Result<(), Failed> {
        self.poll.poll(events, Some(wait))?;
        for event in events.iter() {
            let n = event.token().0;
            if event.is_writable() && !self.clients[n].unsent.is_empty() {
                flush(&mut self.clients[n], &[])?;
            }
            if event.is_readable() {
                self.read(n)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, n: usize) -> Result<(), Failed> {
        let client = &mut self.clients[n];
        let (mut messages, mut acks) = (0, 0);
        loop {
            let kept = client.rest.len();
            self.buffer[..kept].copy_from_slice(&client.rest);
            let read = match client.stream.read(&mut self.buffer[kept..]) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            let whole = kept + read;
            let used = frames::walk(&self.buffer[..whole], |kind| match kind {
                Kind::Message => messages += 1,
                Kind::Ack => acks += 1,
                _ => {}
            });
            client.rest.clear();
            client.rest.extend_from_slice(&self.buffer[used..whole]);
            // A read that did not fill the buffer has emptied the socket.
            if whole < self.buffer.len() {
                break;
            }
        }
        client.messages += messages;
        let acked = client.awaited > 0 && {
            client.awaited = client.awaited.saturating_sub(acks);
            client.awaited == 0
        };
        self.counts.deliveries += messages;
        self.counts.reads += u64::from(messages > 0);
        self.react(n, acked)
    }

    /// Publishes if it is the client's turn, acknowledges if it is time.
    fn react(&mut self, n: usize, publish: bool) -> Result<(), Failed> {
        let client = &mut self.clients[n];
        self.out.clear();
        if publish && !self.stopping {
            // An open loop awaits nothing.
            let (count, awaited) = match self.shape.pace {
                Pace::Closed { in_flight, .. } => (in_flight, in_flight),
                Pace::Open { .. } => (1, 0),
            };
            let group = (n / self.shape.group) as u64;
            for _ in 0..count {
                client.ack_id += 1;
                self.publish.append(&mut self.out, group, client.ack_id);
            }
            client.awaited += awaited;
            self.published[n] += u64::from(count);
        }
        if client.messages - client.receipt >= SEQUENCE_ACK_EVERY {
            client.receipt = client.messages;
            frames::sequence_ack(&mut self.out, client.messages);
        }
        if self.out.is_empty() {
            return Ok(());
        }
        flush(client, &self.out)
    }
}

/// Writes what waits and `more`; keeps what the socket does not take.
fn flush(client: &mut Client, more: &[u8]) -> Result<(), Failed> {
    if client.unsent.is_empty() {
        let written = write(&mut client.stream, more)?;
        client.unsent.extend_from_slice(&more[written..]);
    } else {
        client.unsent.extend_from_slice(more);
        let written = write(&mut client.stream, &client.unsent)?;
        client.unsent.drain(..written);
    }
    Ok(())
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Failed> {
    match stream.write(bytes) {
        Ok(written) => Ok(written),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn connect(addr: SocketAddr, poll: &Poll, n: usize, group: usize) -> Result<Client, Failed> {
    let mut stream = std::net::TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /client/hubs/bench HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: json.reliable.webpubsub.azure.v1\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let ends = |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n");
    read_until(&mut stream, &mut head, |head| ends(head).is_some())?;
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err("the server refused a connection".into());
    }
    let mut join = Vec::new();
    Template::join().append(&mut join, (n / group) as u64, FIRST_ACK);
    stream.write_all(&join)?;
    let mut frames = head.split_off(ends(&head).map_or(0, |at| at + 4));
    read_until(&mut stream, &mut frames, |bytes| {
        let mut acked = false;
        frames::walk(bytes, |kind| acked |= kind == Kind::Ack);
        acked
    })?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(n), interest)?;
    Ok(Client {
        stream,
        rest: Vec::new(),
        unsent: Vec::new(),
        messages: 0,
        receipt: 0,
        ack_id: FIRST_ACK,
        awaited: 0,
    })
}
