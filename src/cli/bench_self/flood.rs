//! What one arbiter takes in when a hub sends as fast as it can: frames through socket,
//! codec, session, verifier and histogram. A thread of its own writes them; they are made
//! beforehand, so that the other core has nothing to do but to write.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use secrecy::SecretString;

use super::{Measured, raw};
use crate::base::{AckId, Cause, Clock, GroupId, Seed, SequenceId, Slot, Time};
use crate::metrics::{Latencies, LatencyKind};
use crate::payload::{Identity, Padding, StreamId, Template};
use crate::protocol::{Control, Received, Session, SessionConfig, Transmit};
use crate::transport::{DialRequest, Dialer, Incoming, ReadBuffer, Socket, TlsOptions};
use crate::verify::{ACK_WITHIN, Answer, Mode, Outcome, Plan, Promise, Shard, SlotPlan};
use crate::wire::codec::{self, Payload};
use crate::wire::{
    Connected, DataMessage, DataType, Downstream, MessageFrom, Subprotocol, Upstream,
};

/// Messages of one round.
const MESSAGES: u32 = 200_000;
const RUN: u32 = 7;
const RECEIVER: Slot = Slot(0);
const PUBLISHER: Slot = Slot(1);
const GROUP: GroupId = GroupId(0);
const SUBPROTOCOL: Subprotocol = Subprotocol::JsonReliable;
/// What a sink writes at once, bytes.
const WRITE_BYTES: usize = 64 * 1024;
/// Longer than a round may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One round: `deliveries` messages in `cpu_s` of the reading thread and `connect_s` of
/// wall-clock time.
pub(super) async fn flood() -> Result<Measured> {
    let clock = Clock::start();
    let mut shard = Shard::new(Arc::new(plan()), 0..2);
    join(&mut shard);
    let stream = frames(&mut shard);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("ws://{}/client/hubs/bench", listener.local_addr()?);
    let sink = std::thread::spawn(move || sink(&listener, &stream));
    let dialer = Dialer::new(&TlsOptions::default())?;
    let request = DialRequest {
        url: &SecretString::from(url),
        subprotocol: SUBPROTOCOL,
        bearer: None,
        user_agent: "hubstorm-bench",
        source: None,
        timeout: PATIENCE,
    };
    let mut client = Client {
        clock,
        socket: dialer.dial(request).await?,
        read: ReadBuffer::new(),
        session: Session::new(Arc::new(SessionConfig::spec(SUBPROTOCOL)), Seed(1)),
        shard,
        latencies: Latencies::default(),
        fresh: 0,
        scratch: Vec::new(),
    };
    client.session.start();
    client.session.handle_opened(clock.now());
    let (cpu, start) = (thread_cpu_s()?, clock.now());
    tokio::time::timeout(PATIENCE, poll_fn(|cx| client.poll(cx)))
        .await
        .context("the flood did not come through")??;
    let (cpu_s, took) = (thread_cpu_s()? - cpu, clock.now().since(start));
    drop(client);
    // The sink ends when its peer is gone; what it could not write then is no mistake.
    let _ = sink.join();
    Ok(Measured {
        cpu_s,
        deliveries: MESSAGES.into(),
        connect_s: took.as_secs_f64(),
        arrived: 1.0,
        ..Measured::default()
    })
}

/// The same bytes through a loop that only tells frames apart, for comparison.
pub(super) async fn raw_flood() -> Result<Measured> {
    let mut shard = Shard::new(Arc::new(plan()), 0..2);
    let stream = frames(&mut shard);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut socket = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
    let sink = std::thread::spawn(move || -> Result<()> {
        let (mut peer, _) = listener.accept()?;
        for part in stream.chunks(WRITE_BYTES) {
            peer.write_all(part)?;
        }
        Ok(())
    });
    let (cpu, clock) = (thread_cpu_s()?, Clock::start());
    let (mut buffer, mut from, mut messages) = (vec![0; 2 * WRITE_BYTES], 0, 0);
    while messages < u64::from(MESSAGES) {
        let room = &mut buffer[from..];
        let bytes = tokio::io::AsyncReadExt::read(&mut socket, room).await?;
        if bytes == 0 {
            bail!("the sink ended early");
        }
        let end = from + bytes;
        let counted = raw::count(&buffer[..end]);
        messages += counted.messages;
        buffer.copy_within(counted.whole..end, 0);
        from = end - counted.whole;
    }
    let (cpu_s, took) = (thread_cpu_s()? - cpu, clock.now());
    drop(socket);
    let _ = sink.join();
    Ok(Measured {
        cpu_s,
        deliveries: messages,
        connect_s: took.as_secs_f64(),
        arrived: 1.0,
        ..Measured::default()
    })
}

fn thread_cpu_s() -> Result<f64> {
    let task = procfs::process::Process::myself()?.task_main_thread()?;
    Ok(task.schedstat()?.sum_exec_runtime as f64 / 1e9)
}

struct Client {
    clock: Clock,
    socket: Socket,
    read: ReadBuffer,
    session: Session<()>,
    shard: Shard,
    latencies: Latencies,
    fresh: u32,
    scratch: Vec<u8>,
}

impl Client {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Client {
            clock,
            session,
            shard,
            latencies,
            fresh,
            ..
        } = self;
        let mut failure = None;
        let ended = self.socket.poll_read(cx, &mut self.read, &mut |incoming| {
            let now = clock.now();
            let Incoming::Text(text) = incoming else {
                return ControlFlow::Continue(());
            };
            match codec::decode_downstream(SUBPROTOCOL, Payload::Text(text)) {
                Ok(frame) => {
                    let received = session.handle_frame(now, frame);
                    while session.poll_output().is_some() {}
                    if let Received::Data {
                        message,
                        fresh: true,
                    } = received
                    {
                        let verdict = shard.frame(RECEIVER, &message, now);
                        *fresh += u32::from(verdict.fresh);
                        if let Some(identity) = verdict.identity {
                            let near = now.as_micros();
                            let late = near.saturating_sub(identity.unwrap_intended(near));
                            latencies.record(LatencyKind::Delivery, late);
                        }
                    }
                }
                Err(error) => failure = Some(error),
            }
            ControlFlow::Continue(())
        });
        if let Some(error) = failure {
            return Poll::Ready(Err(error.into()));
        }
        let now = self.clock.now();
        while let Some(Transmit::Control(Control::SequenceAck(sequence_id))) =
            self.session.poll_transmit(now)
        {
            self.shard.sequence_acked(RECEIVER, sequence_id, now);
            self.scratch.clear();
            let receipt = Upstream::SequenceAck { sequence_id };
            codec::encode_upstream(SUBPROTOCOL, &receipt, &mut self.scratch);
            if let Err(error) = self.socket.queue_text(&self.scratch) {
                return Poll::Ready(Err(error.into()));
            }
        }
        if let Poll::Ready(Err(error)) = self.socket.poll_flush(cx) {
            return Poll::Ready(Err(error.into()));
        }
        if self.fresh == MESSAGES {
            return Poll::Ready(Ok(()));
        }
        match ended {
            Poll::Ready(closed) => Poll::Ready(Err(anyhow::anyhow!(
                "{closed} after {} of {MESSAGES} messages that were right",
                self.fresh
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn plan() -> Plan {
    let slot = |publishes: bool| SlotPlan {
        reliable: true,
        data_type: publishes.then_some(DataType::Text),
        ..SlotPlan::default()
    };
    Plan {
        run: RUN,
        promise: Promise::Reference,
        mode: Mode::Full,
        memory_budget: 1 << 30,
        drain: Duration::from_secs(10),
        late_after: Duration::from_secs(1),
        ack_within: ACK_WITHIN,
        exclusive: true,
        groups: vec!["group-0".into()],
        audiences: Vec::new(),
        slots: vec![slot(false), slot(true)],
    }
}

fn join(shard: &mut Shard) {
    let now = Time::from_micros(1);
    shard.connected(RECEIVER, 0, "c", now);
    shard.join_invoked(RECEIVER, GROUP, AckId(0), now);
    shard.join_answered(RECEIVER, GROUP, AckId(0), true, now);
}

/// Tells the verifier of every publish, and writes the frames in which a hub delivers them.
fn frames(shard: &mut Shard) -> Vec<u8> {
    let stream = StreamId {
        publisher: PUBLISHER,
        group: GROUP,
    };
    let template = Template {
        data_type: DataType::Text,
        size: 128,
        padding: Padding::Random,
    };
    let (mut out, mut scratch, mut frame) = (Vec::new(), Vec::new(), Vec::new());
    let connected = Downstream::Connected(Connected {
        connection_id: "c".into(),
        user_id: None,
        reconnection_token: Some("t".into()),
    });
    codec::encode_downstream(SUBPROTOCOL, &connected, &mut frame);
    append(&frame, &mut out);
    for seq in 1..=MESSAGES {
        let now = Time::from_micros(2);
        let identity = Identity {
            run: RUN,
            publisher: PUBLISHER,
            group: GROUP,
            seq,
            tx: seq,
            epoch: 0,
            transport: 0,
            no_echo: false,
            cause: Cause::First,
            attempt: 1,
            intended: now.as_micros(),
            lag_us: 0,
        };
        let ack_id = AckId(seq.into());
        shard.transmitted(&identity, Some(ack_id), now);
        shard.answered(stream, seq, ack_id, Answer::Success, now);
        shard.settled(stream, seq, Outcome::Ok, now);
        let message = DataMessage {
            sequence_id: Some(SequenceId(seq.into())),
            from: MessageFrom::Group {
                group: "group-0".into(),
                from_user_id: None,
            },
            data: template.write(&identity, &mut scratch),
            stream: None,
        };
        frame.clear();
        codec::encode_downstream(SUBPROTOCOL, &Downstream::Data(message), &mut frame);
        append(&frame, &mut out);
    }
    shard.take_facts(Time::from_micros(3));
    out
}

/// One text frame from a server: not masked. Frames here are shorter than 64 KiB.
fn append(text: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match text.len() {
        short @ ..=125 => out.push(short as u8),
        long => {
            out.push(126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Upgrades one client and writes everything to it.
fn sink(listener: &TcpListener, frames: &[u8]) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    upgrade(&mut stream)?;
    for part in frames.chunks(WRITE_BYTES) {
        stream.write_all(part)?;
    }
    // Receipts are taken in until the client is gone: unread, they would reset the rest.
    std::io::copy(&mut stream, &mut std::io::sink())?;
    Ok(())
}

fn upgrade(stream: &mut TcpStream) -> Result<()> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 || request.len() > 4096 {
            bail!("no upgrade request");
        }
        request.push(byte[0]);
    }
    let text = String::from_utf8(request)?;
    let key = text
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key")
                .then(|| value.trim())
        })
        .context("no key in the upgrade request")?;
    let accept = actix_http::ws::hash_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
        std::str::from_utf8(&accept)?,
        SUBPROTOCOL.name()
    );
    stream.write_all(answer.as_bytes())?;
    Ok(())
}
