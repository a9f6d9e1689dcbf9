//! Clients that mean harm: each gets the right answer or the right close, a bystander is
//! served meanwhile, and what the hub holds for them stays within its bounds.

#[allow(
    dead_code,
    reason = "each of the hub's test programs uses a part of it"
)]
mod hub_support;

use std::time::Duration;

use hub_support::{Raw, Reply, get, hub, hub_with};
use hubstorm::hub::{Hub, HubTls};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A member of `g` that is served whatever others do.
struct Bystander(Raw, u64);

impl Bystander {
    async fn new(hub: &Hub) -> Self {
        Bystander(Raw::joined(hub, "g").await, 0)
    }

    /// Publishes and is served: its echo with the next number, and the ack.
    async fn is_served(&mut self) {
        self.1 += 1;
        let n = self.1;
        let frame = json!({"type": "sendToGroup", "group": "g", "ackId": n, "data": n});
        self.0.send(&frame.to_string()).await;
        assert_eq!(self.0.json().await["sequenceId"], n);
        assert_eq!(self.0.json().await["success"], true);
        let ack = json!({"type": "sequenceAck", "sequenceId": n});
        self.0.send(&ack.to_string()).await;
    }
}

/// One number of the hub's metrics page.
async fn metric(hub: &Hub, name: &str) -> u64 {
    let page = get(hub, "/metrics").await;
    page.lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")))
        .unwrap_or_else(|| panic!("{name} is not in\n{page}"))
        .parse()
        .unwrap()
}

/// Waits until a number of the metrics page is `wanted`.
async fn until_metric(hub: &Hub, name: &str, wanted: u64) {
    let wait = async {
        while metric(hub, name).await != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "{name} never was {wanted}");
}

/// Reads to the end of a connection.
async fn end_of(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    // A reset is an end as well.
    let _ = read.expect("the hub never ends this connection");
    all
}

#[tokio::test]
async fn slow_handshakes_are_held_to_their_limit() {
    let dir = tempfile::tempdir().unwrap();
    for tls in [false, true] {
        let hub = hub_with(|config| {
            // The bystander's own handshake must be through by then.
            config.head_timeout = Duration::from_secs(1);
            config.tls = tls.then(|| HubTls::SelfMade {
                names: Vec::new(),
                certificate_out: Some(dir.path().join("hub.pem")),
            });
        });
        let mut slow = Vec::new();
        for n in 0..50 {
            let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
            // Nothing at all, a piece of a head, or a head that never ends.
            let piece: &[u8] = match n % 3 {
                0 => b"",
                1 => b"GET /client/hubs/chat HTTP/1.1\r\nHo",
                _ => b"GET /client/hubs/chat HTTP/1.1\r\nHost: h\r\nX: ",
            };
            stream.write_all(piece).await.unwrap();
            slow.push(stream);
        }
        let dribble = async {
            let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
            // One byte at a time does not win more time.
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, dribble).await;
        assert!(ended.is_ok(), "a dribbling client is held for ever");
        for stream in slow {
            let answer = end_of(stream).await;
            assert!(!answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
        }
        if !tls {
            let mut bystander = Bystander::new(&hub).await;
            bystander.is_served().await;
            // The one that asks.
            until_metric(&hub, "hubstorm_hub_http_connections", 1).await;
        }
    }
}

#[tokio::test]
async fn the_largest_message_is_taken_and_one_byte_more_is_not() {
    let hub = hub();
    let mut bystander = Bystander::new(&hub).await;
    let mut frame =
        br#"{"type":"sendToGroup","group":"big","ackId":1,"dataType":"text","data":""#.to_vec();
    frame.resize((1 << 20) - 2, b'x');
    frame.extend_from_slice(b"\"}");
    let text = String::from_utf8(frame).unwrap();
    let mut big = Raw::connect(&hub, "/client/hubs/chat").await;
    big.json().await;
    big.send(&text).await;
    assert_eq!(big.json().await["success"], true);
    // In two fragments, the second too long by one byte.
    let (first, second) = text.as_bytes().split_at(1 << 19);
    big.large_fragment(0x01, first).await;
    big.large_fragment(0x80, &[second, b"x"].concat()).await;
    assert_eq!(big.until_end().await, Reply::Close(Some(1009)));
    bystander.is_served().await;
}

#[tokio::test]
async fn frames_out_of_order_close_and_split_characters_do_not() {
    let hub = hub();
    let mut bystander = Bystander::new(&hub).await;
    let text = r#"{"type":"sendToGroup","group":"g","data":"é"}"#.as_bytes();
    let inside = text.iter().position(|&byte| byte == 0xc3).unwrap() + 1;
    let mut raw = Raw::joined(&hub, "g").await;
    raw.fragment(0x01, &text[..inside]).await;
    raw.fragment(0x80, &text[inside..]).await;
    assert_eq!(raw.json().await["data"], "é");
    assert_eq!(bystander.0.json().await["data"], "é");
    bystander.1 += 1;
    for (frames, code) in [
        // A message within a message; a continuation of nothing; a long ping; half a
        // character at the end of a fragmented message.
        (vec![(0x01, &b"{"[..]), (0x81, b"{}")], 1002),
        (vec![(0x80, b"{}")], 1002),
        (vec![(0x01, b"{\"a\":\""), (0x80, b"\xc3")], 1007),
    ] {
        let mut raw = Raw::connect(&hub, "/client/hubs/chat").await;
        for (first, payload) in frames {
            raw.fragment(first, payload).await;
        }
        assert_eq!(raw.until_end().await, Reply::Close(Some(code)));
    }
    let mut raw = Raw::connect(&hub, "/client/hubs/chat").await;
    raw.large_fragment(0x89, &[b'x'; 126]).await;
    assert_eq!(raw.until_end().await, Reply::Close(Some(1002)));
    bystander.is_served().await;
    assert_eq!(hub.stop().sessions_violated, 4);
}

#[tokio::test]
async fn unknown_keys_are_ignored_and_wrong_types_close() {
    let hub = hub();
    let mut bystander = Bystander::new(&hub).await;
    let mut raw = Raw::connect(&hub, "/client/hubs/chat").await;
    raw.json().await;
    raw.send(r#"{"type":"joinGroup","group":"h","ackId":1,"new":{"a":[1,null]},"":0}"#)
        .await;
    assert_eq!(raw.json().await["success"], true);
    let deep = format!(
        r#"{{"type":"ping","x":{}{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    raw.send(&deep).await;
    assert_eq!(raw.json().await["type"], "pong", "unknown, however deep");
    for frame in [
        r#"{"type":"joinGroup","group":7}"#,
        r#"{"type":"joinGroup","group":"h","ackId":"1"}"#,
        r#"{"type":"joinGroup","group":"h","ackId":-1}"#,
        r#"{"type":"joinGroup","group":"h","ackId":18446744073709551616}"#,
        r#"{"type":"sendToGroup","group":"h","data":1,"noEcho":"yes"}"#,
        r#"{"type":"sendToGroup","group":"h","dataType":"binary","data":"no base64!"}"#,
        r#"{"type":"sendToGroup","group":"h","dataType":"text","data":1}"#,
        r#"{"type":"sequenceAck"}"#,
        r#"{"type":1}"#,
        r#"{"type":null}"#,
        "[]",
        "null",
        "",
    ] {
        let mut raw = Raw::connect(&hub, "/client/hubs/chat").await;
        raw.json().await;
        raw.send(frame).await;
        let shown: String = frame.chars().take(60).collect();
        assert_eq!(raw.until_end().await, Reply::Close(Some(1007)), "{shown}");
    }
    bystander.is_served().await;
}

#[tokio::test]
async fn who_asks_and_never_reads_stops_itself() {
    let hub = hub();
    let mut bystander = Bystander::new(&hub).await;
    let mut rude = Raw::connect(&hub, "/client/hubs/chat").await;
    // Pongs and acks for ever, until the hub takes no more of it: TCP holds the client back.
    let request = br#"{"type":"joinGroup","group":"h","ackId":1}"#;
    let many = hub_support::masked(request).repeat(500);
    let mut stuck = false;
    for _ in 0..2_000 {
        let sent = tokio::time::timeout(Duration::from_secs(3), rude.bytes(&many)).await;
        if sent.is_err() {
            stuck = true;
            break;
        }
    }
    assert!(stuck, "the hub goes on reading from one that never reads");
    // 4096 frames may wait before nothing more is read; what one read had in it comes on top.
    let waiting = metric(&hub, "hubstorm_hub_frames_waiting").await;
    assert!((4096..10_000).contains(&waiting), "{waiting}");
    bystander.is_served().await;
}

#[tokio::test]
async fn frames_in_a_loop_do_not_keep_others_waiting() {
    let hub = hub();
    let mut bystander = Bystander::new(&hub).await;
    let mut loops = Vec::new();
    for _ in 0..3 {
        let mut stream = Raw::connect(&hub, "/client/hubs/chat").await.into_stream();
        loops.push(tokio::spawn(async move {
            let ack = hub_support::masked(br#"{"type":"sequenceAck","sequenceId":1}"#);
            let many = ack.repeat(2000);
            while stream.write_all(&many).await.is_ok() {}
        }));
    }
    for _ in 0..20 {
        bystander.is_served().await;
    }
    loops.iter().for_each(|task| task.abort());
    assert!(hub.truth().await.requests.sequence_ack > 10_000);
}

#[tokio::test]
async fn idle_connections_cost_no_one_else_and_are_told_apart_from_silent_ones() {
    let hub = hub();
    let mut bystander = Bystander::new(&hub).await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(Raw::connect(&hub, "/client/hubs/chat").await);
    }
    bystander.is_served().await;
    assert_eq!(metric(&hub, "hubstorm_hub_connections").await, 501);
    assert_eq!(metric(&hub, "hubstorm_hub_frames_waiting").await, 0);
    // Idle is not dead: each still gets what is sent to it.
    for raw in &mut idle {
        assert_eq!(raw.json().await["event"], "connected");
    }
    drop(idle);
    until_metric(&hub, "hubstorm_hub_sessions_recoverable", 500).await;
    bystander.is_served().await;
}

#[tokio::test]
async fn garbage_on_the_port_is_turned_away() {
    let hub = hub();
    let mut bystander = Bystander::new(&hub).await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /client/hubs/chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = end_of(stream).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{:?}: {:?}",
            String::from_utf8_lossy(garbage),
            String::from_utf8_lossy(&answer)
        );
    }
    bystander.is_served().await;
    assert_eq!(get(&hub, "/health").await, "");
}
