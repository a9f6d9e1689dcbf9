//! A hub that does not read, and a hub that floods: the real program against a real hub, with
//! a relay between them that mistreats one client. Its bounds hold, and the others are served.

#[allow(
    dead_code,
    reason = "each of the test programs that run it uses a part of it"
)]
mod program;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use hubstorm::base::{Clock, Seed};
use hubstorm::hub::{Hub, HubConfig};
use program::{Bench, count, pool};
use serde_json::Value;

/// The victim speaks the plain subprotocol and nobody else does.
const VICTIM: &[u8] = b"Sec-WebSocket-Protocol: json.webpubsub.azure.v1";
/// The documented bounds: requests of a client without an outcome, its unsent bytes, and
/// what one read brings.
const REQUESTS: u64 = 256;
const UNSENT_BYTES: u64 = 256 << 10;
const READ_BYTES: u64 = 64 << 10;
/// A process with a few clients, and then some.
const PROCESS_BYTES: u64 = 128 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cruelty {
    /// Nothing more is read from the victim after so many bytes.
    Deaf(usize),
    /// The victim is sent messages without end as soon as it has joined.
    Flood,
}

/// Frames that the victim was flooded with, as far as the kernel took them.
type Flooded = Arc<AtomicU64>;

/// Relays connections to `hub`; where to connect instead of there.
fn relay(hub: SocketAddr, cruelty: Cruelty) -> (SocketAddr, Flooded) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let flooded = Flooded::default();
    let count = flooded.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, count) = (client.unwrap(), count.clone());
            thread::spawn(move || relay_one(client, hub, cruelty, &count));
        }
    });
    (address, flooded)
}

fn relay_one(mut client: TcpStream, hub: SocketAddr, cruelty: Cruelty, flooded: &Flooded) {
    let mut hub = TcpStream::connect(hub).unwrap();
    client.set_nodelay(true).unwrap();
    hub.set_nodelay(true).unwrap();
    let mut head = Vec::new();
    let mut bytes = [0; 16 << 10];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut bytes) {
            Ok(n @ 1..) => head.extend_from_slice(&bytes[..n]),
            _ => return,
        }
    }
    hub.write_all(&head).unwrap();
    let is_victim = contains(&head.to_ascii_lowercase(), &VICTIM.to_ascii_lowercase());
    let (from, to) = (hub.try_clone().unwrap(), client.try_clone().unwrap());
    let flood = is_victim && cruelty == Cruelty::Flood;
    let flooded = flooded.clone();
    thread::spawn(move || relay_down(from, to, flood, &flooded));
    let mut taken = 0;
    while let Ok(n @ 1..) = client.read(&mut bytes) {
        if hub.write_all(&bytes[..n]).is_err() {
            break;
        }
        taken += n;
        if is_victim && matches!(cruelty, Cruelty::Deaf(from) if taken >= from) {
            // The other direction keeps both sockets open.
            return;
        }
    }
    let _ = hub.shutdown(Shutdown::Both);
}

fn relay_down(mut hub: TcpStream, mut client: TcpStream, flood: bool, flooded: &Flooded) {
    let mut bytes = [0; 16 << 10];
    while let Ok(n @ 1..) = hub.read(&mut bytes) {
        if client.write_all(&bytes[..n]).is_err() {
            break;
        }
        if flood && contains(&bytes[..n], b"\"ack\"") {
            let frame = foreign_message();
            while client.write_all(&frame).is_ok() {
                flooded.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// A whole frame of 16 KiB that nobody of this run has published.
fn foreign_message() -> Vec<u8> {
    let text = format!(
        r#"{{"type":"message","from":"group","group":"v","dataType":"text","data":"{}"}}"#,
        "x".repeat(16 << 10)
    );
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Twenty clients with a schedule, beside a victim that does `publish`; the report, and how
/// many frames it was flooded with.
fn run(cruelty: Cruelty, publish: &str) -> (Value, u64) {
    let config = HubConfig::new("127.0.0.1:0".parse().unwrap(), Seed(7), Clock::start());
    let hub = Hub::start(config).unwrap();
    let (address, flooded) = relay(hub.addr(), cruelty);
    let bench = Bench::new(&format!(
        "hubstorm: 1\nseed: 3\nduration: 5s\ndrain: 10s\ntarget: {{endpoint: 'http://{address}', hub: chat}}\npools:\n  \
         others: {{clients: 20, groups: {{names: [g, h], join: all}}, publish: {{rate: 10/s}}}}\n  \
         victim: {{clients: 1, protocol: json, groups: {{names: [v], join: all}}, {publish}\
         client: {{idle_timeout: never, retry: {{ack_timeout: never}}}}}}\n"
    ));
    let output = bench.run(&[]);
    let report = bench.report(&output);
    (report, flooded.load(Ordering::Relaxed))
}

/// Every publish of the schedule was made, answered, and nothing of it was lost.
fn the_others_were_served(report: &Value) {
    let others = pool(report, "others");
    // Twenty clients, ten a second, five seconds.
    assert_eq!(count(others, "/publish/attempted"), 1000, "{others}");
    assert_eq!(count(others, "/publish/acked"), 1000, "{others}");
    assert_eq!(count(others, "/publish/overflow"), 0, "{others}");
    assert_eq!(count(others, "/clients/disconnects"), 0, "{others}");
    // Each is heard by all twenty.
    assert_eq!(count(others, "/delivery/delivered"), 20_000, "{others}");
}

#[test]
fn a_hub_that_stops_reading_one_client_costs_bounded_memory_and_no_other_schedule() {
    // 64 KiB, a hundred a second: 32 MB, of which the kernel takes some 4 MB.
    let publish = "publish: {rate: 100/s, payload: {type: text, size: 64KiB}}, ";
    let (report, _) = run(Cruelty::Deaf(256 << 10), publish);
    the_others_were_served(&report);
    let victim = pool(&report, "victim");
    let of = |key: &str| count(victim, &format!("/publish/{key}"));
    assert_eq!(of("attempted"), 500, "{victim}");
    // Some may be answered after the load, on another connection: none of them was turned away.
    let turned_away = 500 - REQUESTS - of("acked")..=500 - REQUESTS;
    assert!(turned_away.contains(&of("overflow")), "{victim}");
    assert!(of("acked") < 10, "{victim}");
    // A frame is begun while less than the bound waits.
    let generator = &report["generator"];
    let unsent = count(generator, "/unsent_peak_bytes");
    let bound = UNSENT_BYTES + (65 << 10);
    assert!((UNSENT_BYTES..=bound).contains(&unsent), "{unsent}");
    assert!(count(generator, "/writes_held") > 0, "{generator}");
    assert!(
        count(generator, "/peak_rss_bytes") < PROCESS_BYTES,
        "{generator}"
    );
}

#[test]
fn a_client_that_is_flooded_costs_bounded_memory_and_the_others_are_served_meanwhile() {
    let (report, flooded) = run(Cruelty::Flood, "");
    the_others_were_served(&report);
    let victim = pool(&report, "victim");
    // Backpressure: what the client did not take, the kernel's buffers (some 10 MB) held.
    let taken = count(victim, "/delivery/received");
    assert!(
        taken <= flooded + 1 && flooded - taken.min(flooded) < 1000,
        "{taken} of {flooded}"
    );
    let generator = &report["generator"];
    assert_eq!(
        count(generator, "/read_peak_bytes"),
        READ_BYTES,
        "{generator}"
    );
    assert!(
        generator["reads_full_share"].as_f64().unwrap() > 0.0,
        "{generator}"
    );
    // More came through than there was memory for: it was not kept.
    let rss = count(generator, "/peak_rss_bytes");
    assert!(rss < PROCESS_BYTES, "{generator}");
    assert!(taken * (16 << 10) > rss, "{taken} messages, {generator}");
}
