//! The bare loop: moves the same bytes over the same sockets as the hub, and knows nothing.
//! No JSON, no sessions, no sequence ids, no acknowledgements kept: one thread, one
//! `epoll`, one write per dirty connection and turn. What it reaches is what this machine's
//! kernel allows; the hub is held against it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Failed;
use crate::frames::{self, Kind};

struct Peer {
    stream: TcpStream,
    rest: Vec<u8>,
    out: Vec<u8>,
    dirty: bool,
}

/// Serves so many connections; the first `group` of them are one group, and so on. Ends
/// when one of them does.
pub(crate) fn serve(connections: usize, group: usize, no_echo: bool) -> Result<(), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    let mut peers = Vec::new();
    for n in 0..connections {
        peers.push(welcome(&listener, &poll, Token(n))?);
    }
    let mut events = Events::with_capacity(1024);
    let mut bare = Bare {
        peers,
        group,
        no_echo,
        dirty: Vec::new(),
        buffer: vec![0; 256 * 1024].into(),
        message: frames::delivered(),
        ack: frames::ack(),
    };
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.is_readable() && !bare.read(event.token().0)? {
                return Ok(());
            }
            if event.is_writable() {
                bare.mark(event.token().0);
            }
        }
        bare.write_dirty()?;
    }
}

/// Takes one connection through its handshake and its join.
fn welcome(listener: &TcpListener, poll: &Poll, token: Token) -> Result<Peer, Failed> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let (mut head, mut join) = (Vec::new(), Vec::new());
    read_until(&mut stream, &mut head, |head| head.ends_with(b"\r\n\r\n"))?;
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
    read_until(&mut stream, &mut join, |join| {
        frames::walk(join, |_| {}) > 0
    })?;
    stream.write_all(&frames::ack())?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, token, interest)?;
    Ok(Peer {
        stream,
        rest: Vec::new(),
        out: Vec::new(),
        dirty: false,
    })
}

/// Reads from a blocking socket until it is enough.
pub(crate) fn read_until(
    stream: &mut std::net::TcpStream,
    bytes: &mut Vec<u8>,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<(), Failed> {
    let mut buffer = [0; 1024];
    while !enough(bytes) {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err("the other side closed during the handshake".into());
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
    Ok(())
}

struct Bare {
    peers: Vec<Peer>,
    group: usize,
    no_echo: bool,
    dirty: Vec<usize>,
    buffer: Box<[u8]>,
    message: Vec<u8>,
    ack: Vec<u8>,
}

impl Bare {
    /// Reads what is there; false at the end of the stream.
    fn read(&mut self, n: usize) -> Result<bool, Failed> {
        loop {
            let peer = &mut self.peers[n];
            let kept = peer.rest.len();
            self.buffer[..kept].copy_from_slice(&peer.rest);
            let read = match peer.stream.read(&mut self.buffer[kept..]) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
                Err(_) => return Ok(false),
            };
            let whole = kept + read;
            let mut publishes = 0;
            let used = frames::walk(&self.buffer[..whole], |kind| {
                publishes += u64::from(kind == Kind::Publish);
            });
            peer.rest.clear();
            peer.rest.extend_from_slice(&self.buffer[used..whole]);
            for _ in 0..publishes {
                self.publish(n);
            }
            if whole < self.buffer.len() {
                return Ok(true);
            }
        }
    }

    fn publish(&mut self, from: usize) {
        let first = from - from % self.group;
        for member in first..(first + self.group).min(self.peers.len()) {
            if member != from || !self.no_echo {
                self.peers[member].out.extend_from_slice(&self.message);
                self.mark(member);
            }
        }
        self.peers[from].out.extend_from_slice(&self.ack);
        self.mark(from);
    }

    fn mark(&mut self, n: usize) {
        let peer = &mut self.peers[n];
        if !peer.dirty && !peer.out.is_empty() {
            peer.dirty = true;
            self.dirty.push(n);
        }
    }

    fn write_dirty(&mut self) -> Result<(), Failed> {
        for n in self.dirty.drain(..) {
            let peer = &mut self.peers[n];
            peer.dirty = false;
            match peer.stream.write(&peer.out) {
                Ok(written) if written == peer.out.len() => peer.out.clear(),
                Ok(written) => drop(peer.out.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
