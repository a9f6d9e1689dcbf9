//! How much the hub by itself can do: deliveries per second, CPU per delivery and memory
//! per connection. `cargo run --release --example hub_bench -- [CONNECTIONS] [GROUP SIZE]
//! [PUBLISHES IN FLIGHT] [SECONDS]`, by default 1000, 10, 1 and 5.
//!
//! The hub runs as a process of its own (this program again), so that its memory and CPU
//! can be told from the load's. Each connection publishes 128 bytes to its group and waits
//! for its acks before it goes on.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hubstorm::base::{Clock, Seed};
use hubstorm::hub::{HubConfig, run_foreground};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

type Failed = Box<dyn std::error::Error>;

/// A client acknowledges after so many messages.
const SEQUENCE_ACK_EVERY: u64 = 300;

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    group: usize,
    acks: u64,
    messages: u64,
    acknowledged: u64,
}

impl Client {
    async fn connect(addr: &str, group: usize) -> Result<Client, Failed> {
        let mut stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /client/hubs/bench HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: json.reliable.webpubsub.azure.v1\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::new();
        while !buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err("the hub closed during the handshake".into());
            }
        }
        let head = buffer.windows(4).position(|four| four == b"\r\n\r\n");
        buffer.drain(..head.map_or(0, |at| at + 4));
        let mut client = Client {
            stream,
            buffer,
            group,
            acks: 0,
            messages: 0,
            acknowledged: 0,
        };
        let join = format!(r#"{{"type":"joinGroup","group":"g{group}","ackId":1}}"#);
        client.stream.write_all(&frame(&join)).await?;
        client.acks_reach(1).await?;
        Ok(client)
    }

    /// Reads until so many acks have come.
    async fn acks_reach(&mut self, acks: u64) -> Result<(), Failed> {
        loop {
            self.take_frames();
            if self.acks >= acks {
                return Ok(());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the hub closed".into());
            }
        }
    }

    fn take_frames(&mut self) {
        let mut at = 0;
        while let [_, short, rest @ ..] = &self.buffer[at..] {
            let (length, head) = match (short, rest) {
                (126, [high, low, ..]) => (usize::from(*high) << 8 | usize::from(*low), 4),
                (126 | 127, _) => break,
                (short, _) => (usize::from(*short), 2),
            };
            let Some(payload) = self.buffer.get(at + head..at + head + length) else {
                break;
            };
            if payload.starts_with(br#"{"type":"message""#) {
                self.messages += 1;
            } else if payload.starts_with(br#"{"type":"ack""#) {
                self.acks += 1;
            }
            at += head + length;
        }
        self.buffer.drain(..at);
    }

    /// Publishes `in_flight` at a time until `end`.
    async fn run(mut self, in_flight: u64, end: tokio::time::Instant) -> Result<u64, Failed> {
        let payload = "x".repeat(128);
        let group = self.group;
        let mut ack_id = self.acks;
        let clock = Clock::start();
        while clock.instant(clock.now()) < end {
            let mut batch = Vec::new();
            for _ in 0..in_flight {
                ack_id += 1;
                batch.extend(frame(&format!(
                    r#"{{"type":"sendToGroup","group":"g{group}","ackId":{ack_id},"dataType":"text","data":"{payload}"}}"#
                )));
            }
            if self.messages - self.acknowledged >= SEQUENCE_ACK_EVERY {
                self.acknowledged = self.messages;
                let id = self.messages;
                batch.extend(frame(&format!(
                    r#"{{"type":"sequenceAck","sequenceId":{id}}}"#
                )));
            }
            self.stream.write_all(&batch).await?;
            self.acks_reach(ack_id).await?;
        }
        Ok(self.messages)
    }
}

/// A masked text frame; the mask is zero, which leaves the text as it is.
fn frame(text: &str) -> Vec<u8> {
    let mut out = vec![0x81];
    match text.len() {
        short @ ..=125 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text.as_bytes());
    out
}

fn start_hub() -> Result<(Child, String), Failed> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("the hub has no stdout")?;
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    let addr = line
        .trim()
        .strip_prefix("listening on http://")
        .ok_or("the hub is not ready")?;
    Ok((child, addr.to_owned()))
}

/// Resident bytes and CPU seconds of a process.
fn usage(pid: u32) -> Result<(u64, f64), Failed> {
    let stat = procfs::process::Process::new(pid.try_into()?)?.stat()?;
    let cpu = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
    Ok((stat.rss * procfs::page_size(), cpu))
}

async fn bench(numbers: [u64; 4]) -> Result<(), Failed> {
    let [connections, group_size, in_flight, seconds] = numbers;
    let (mut hub, addr) = start_hub()?;
    let (rss_before, _) = usage(hub.id())?;
    let mut clients = Vec::new();
    for n in 0..connections {
        clients.push(Client::connect(&addr, (n / group_size.max(1)) as usize).await?);
    }
    let (rss_idle, cpu_before) = usage(hub.id())?;
    let clock = Clock::start();
    let end = clock.instant(clock.now()) + Duration::from_secs(seconds);
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::task::spawn_local(client.run(in_flight, end)))
        .collect();
    let mut delivered = 0;
    for task in tasks {
        // A client that the hub had to cut off makes the figures worthless.
        delivered += task.await??;
    }
    let took = clock.now().as_secs_f64();
    let (rss_loaded, cpu_after) = usage(hub.id())?;
    hub.kill()?;
    hub.wait()?;
    println!("connections                {connections}");
    println!("group size                 {group_size}");
    println!("publishes in flight        {in_flight}");
    println!("deliveries/s               {:.0}", delivered as f64 / took);
    println!(
        "hub CPU per delivery       {:.2} us",
        (cpu_after - cpu_before) * 1e6 / delivered.max(1) as f64
    );
    println!(
        "hub memory per connection  {:.1} KiB idle, {:.1} KiB after the load",
        rss_idle.saturating_sub(rss_before) as f64 / 1024.0 / connections as f64,
        rss_loaded.saturating_sub(rss_before) as f64 / 1024.0 / connections as f64
    );
    Ok(())
}

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        let listen = "127.0.0.1:0".parse()?;
        return Ok(run_foreground(
            HubConfig::new(listen, Seed(1), Clock::start()),
            None,
        )?);
    }
    let mut numbers = [1000, 10, 1, 5];
    for (number, argument) in numbers.iter_mut().zip(&arguments) {
        *number = argument.parse()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(LocalSet::new().run_until(bench(numbers)))
}
