//! A tiny raw WebSocket client on actix-http's frame parser: it sees every frame, close
//! code and reset as they are, and can send what no proper client would.

use std::time::Duration;

use actix_http::ws::{OpCode, Parser};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use hmac::{Hmac, KeyInit, Mac};
use hubstorm::base::{Clock, Seed};
use hubstorm::hub::{Hub, HubConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const RELIABLE: &str = "json.reliable.webpubsub.azure.v1";
/// A test that waits longer than this for a frame has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn config() -> HubConfig {
    HubConfig::new("127.0.0.1:0".parse().unwrap(), Seed(7), Clock::start())
}

pub(crate) fn hub() -> Hub {
    hub_with(|_| {})
}

pub(crate) fn hub_with(change: impl FnOnce(&mut HubConfig)) -> Hub {
    let mut config = config();
    change(&mut config);
    Hub::start(config).unwrap()
}

/// An access token with these claims.
pub(crate) fn token(claims: &Value, key: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        encode(&json!({"alg": "HS256", "typ": "JWT"})),
        encode(claims)
    );
    let mut mac: Hmac<sha2::Sha256> = Hmac::new_from_slice(key.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

/// The HTTP status of a reliable client's attempt to connect.
pub(crate) async fn status_of(hub: &Hub, path: &str) -> u16 {
    match Raw::offer(hub, path, RELIABLE).await {
        Ok(_) => 101,
        Err(status) => status,
    }
}

/// What the hub sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>),
    Eof,
    Reset,
}

/// The headers that ask for a WebSocket.
fn upgrade(subprotocols: &str) -> String {
    format!(
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {subprotocols}\r\n"
    )
}

/// A WebSocket without manners.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    /// Offers subprotocols; the response's head on success, else the status.
    pub(crate) async fn offer(
        hub: &Hub,
        path: &str,
        subprotocols: &str,
    ) -> Result<(Raw, String), u16> {
        let (raw, head) = Self::request(hub, path, &upgrade(subprotocols)).await;
        match head.split(' ').nth(1).unwrap() {
            "101" => {
                // The accept value of RFC 6455's own example.
                assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
                Ok((raw, head))
            }
            status => Err(status.parse().unwrap()),
        }
    }

    /// The head of the response to an attempt to connect.
    pub(crate) async fn upgrade_head(hub: &Hub, path: &str) -> String {
        Self::request(hub, path, &upgrade(RELIABLE)).await.1
    }

    async fn request(hub: &Hub, path: &str, headers: &str) -> (Raw, String) {
        let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            hub.addr()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut buffer = BytesMut::new();
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut buffer)).await;
            assert!(read.unwrap().unwrap() > 0, "no response to {path}");
        };
        let head = String::from_utf8(buffer.split_to(end).to_vec()).unwrap();
        (Raw { stream, buffer }, head)
    }

    /// The head of the response to a plain GET.
    pub(crate) async fn plain_get(hub: &Hub, path: &str) -> String {
        Self::request(hub, path, "").await.1
    }

    /// A reliable WebSocket; its `connected` frame is still to be read.
    pub(crate) async fn connect(hub: &Hub, path: &str) -> Raw {
        Self::offer(hub, path, RELIABLE)
            .await
            .map_err(|s| format!("{path}: {s}"))
            .unwrap()
            .0
    }

    /// A reliable member of a group.
    pub(crate) async fn joined(hub: &Hub, group: &str) -> Raw {
        let mut raw = Self::connect(hub, "/client/hubs/chat").await;
        raw.json().await;
        raw.join(group).await;
        raw
    }

    /// A reliable member of `g` and the path by which it can recover.
    pub(crate) async fn recoverable(hub: &Hub) -> (Raw, String) {
        let mut raw = Self::connect(hub, "/client/hubs/chat").await;
        let connected = raw.json().await;
        raw.join("g").await;
        let text = |name: &str| connected[name].as_str().unwrap().to_owned();
        let path = format!(
            "/client/hubs/chat?awps_connection_id={}&awps_reconnection_token={}",
            text("connectionId"),
            text("reconnectionToken")
        );
        (raw, path)
    }

    async fn join(&mut self, group: &str) {
        self.send(&format!(
            r#"{{"type":"joinGroup","group":"{group}","ackId":999999}}"#
        ))
        .await;
        assert_eq!(self.json().await["success"], true);
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.bytes(&Self::frame(text)).await;
    }

    /// A whole masked text frame.
    pub(crate) fn frame(text: &str) -> BytesMut {
        let mut out = BytesMut::new();
        Parser::write_message(&mut out, text.as_bytes(), OpCode::Text, true, true);
        out
    }

    /// A frame with this first byte, masked.
    pub(crate) async fn fragment(&mut self, first: u8, payload: &[u8]) {
        let masked: Vec<u8> = payload.iter().map(|byte| byte ^ 0x55).collect();
        let head = [first, 0x80 | payload.len() as u8, 0x55, 0x55, 0x55, 0x55];
        self.bytes(&[&head[..], &masked].concat()).await;
    }

    /// The same with a payload of any length.
    pub(crate) async fn large_fragment(&mut self, first: u8, payload: &[u8]) {
        let length = (payload.len() as u64).to_be_bytes();
        let mask = [0x55; 4];
        let masked: Vec<u8> = payload.iter().map(|byte| byte ^ 0x55).collect();
        self.bytes(&[&[first, 0xff][..], &length, &mask, &masked].concat())
            .await;
    }

    /// The socket under it.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn close(&mut self, code: Option<u16>) {
        let payload = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        self.fragment(0x88, &payload).await;
    }

    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    pub(crate) async fn next(&mut self) -> Reply {
        tokio::time::timeout(PATIENCE, self.read_frame())
            .await
            .expect("the hub stays silent")
    }

    async fn read_frame(&mut self) -> Reply {
        loop {
            let parsed = Parser::parse(&mut self.buffer, false, 2 << 20).unwrap();
            if let Some((fin, opcode, payload)) = parsed {
                assert!(fin, "the hub never fragments");
                let payload = payload.unwrap_or_default();
                return match opcode {
                    OpCode::Text => Reply::Text(String::from_utf8(payload.to_vec()).unwrap()),
                    OpCode::Ping => Reply::Ping,
                    OpCode::Pong => Reply::Pong(payload.to_vec()),
                    OpCode::Close => {
                        Reply::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))
                    }
                    other => panic!("the hub sent {other:?}"),
                };
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Reply::Eof,
                Ok(_) => {}
                Err(_) => return Reply::Reset,
            }
        }
    }

    /// The next text frame.
    pub(crate) async fn json(&mut self) -> Value {
        loop {
            match self.next().await {
                Reply::Text(text) => return serde_json::from_str(&text).unwrap(),
                Reply::Ping => {}
                other => panic!("{other:?} in place of a frame"),
            }
        }
    }

    /// How the connection ended, skipping data.
    pub(crate) async fn until_end(&mut self) -> Reply {
        loop {
            match self.next().await {
                Reply::Text(_) | Reply::Ping | Reply::Pong(_) => {}
                end => return end,
            }
        }
    }
}

/// The body of the response to a GET.
pub(crate) async fn get(hub: &Hub, path: &str) -> String {
    let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
    let addr = hub.addr();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut reply))
        .await
        .unwrap()
        .unwrap();
    reply.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A text frame as a client sends it.
pub(crate) fn masked(text: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Parser::write_message(&mut out, text, OpCode::Text, true, true);
    out.to_vec()
}
