//! A WebSocket server that does just what the test says, and the client's side of a test.
//!
//! The server shares no code with the transport: own upgrade (httparse), actix's codec in
//! server mode.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::ws::{Codec, Frame, Message, hash_key};
use bytes::BytesMut;
use hubstorm::transport::{Closed, DialError, DialRequest, Dialer, Incoming, ReadBuffer, Socket};
use hubstorm::transport::{Poller, QueueError, TlsOptions};
use hubstorm::wire::Subprotocol;
use hubstorm::wire::close::Close;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything here takes; only a broken test waits for it.
pub(crate) const LONG: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/client/hubs/chat", self.address())
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        let accepted = tokio::time::timeout(LONG, self.listener.accept()).await;
        accepted.expect("nobody connected").unwrap().0
    }

    /// Accepts a connection and upgrades it to what it asks for.
    pub(crate) async fn accept(&self) -> Peer<TcpStream> {
        let mut peer = Peer::new(self.tcp().await);
        peer.upgrade().await;
        peer
    }

    /// A connection, seen from both sides.
    pub(crate) async fn pair(&self) -> (Peer<TcpStream>, Client) {
        let url = self.url();
        let (peer, client) = tokio::join!(self.accept(), dial(&url));
        (peer, client.unwrap())
    }
}

/// The server's side of one connection.
pub(crate) struct Peer<S> {
    pub(crate) io: S,
    codec: Codec,
    bytes: BytesMut,
    /// The request's head, as it came.
    pub(crate) request: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(io: S) -> Self {
        Peer {
            io,
            codec: Codec::new().max_size(8 << 20),
            bytes: BytesMut::new(),
            request: String::new(),
        }
    }

    /// Reads the request, without an answer.
    pub(crate) async fn read_request(&mut self) {
        while !self.request.ends_with("\r\n\r\n") {
            self.request.push(self.io.read_u8().await.unwrap().into());
        }
    }

    /// The value of a request header, if there.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(self.request.as_bytes()).unwrap();
        let header = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8(header.value.to_vec()).unwrap())
    }

    pub(crate) async fn upgrade(&mut self) {
        self.read_request().await;
        let protocol = self.header("sec-websocket-protocol").unwrap();
        let line = format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        self.answer_upgrade(&line, b"").await;
    }

    /// Answers 101 with `headers`, and `more` in the same write.
    pub(crate) async fn answer_upgrade(&mut self, headers: &str, more: &[u8]) {
        let key = self.header("sec-websocket-key").unwrap();
        let accept = String::from_utf8(hash_key(key.as_bytes()).to_vec()).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n{headers}\r\n"
        );
        self.raw(&[answer.as_bytes(), more].concat()).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: Message) {
        let bytes = encode(message);
        self.raw(&bytes).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.bytes).unwrap() {
                return Ok(Some(frame));
            }
            if self.io.read_buf(&mut self.bytes).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn expect_text(&mut self, text: &str) {
        match self.next().await.unwrap() {
            Some(Frame::Text(bytes)) => assert_eq!(bytes, text.as_bytes()),
            other => panic!("expected text {text:?}, got {other:?}"),
        }
    }
}

/// A message as a server writes it.
pub(crate) fn encode(message: Message) -> BytesMut {
    let mut bytes = BytesMut::new();
    Codec::new().encode(message, &mut bytes).unwrap();
    bytes
}

pub(crate) fn text(text: impl Into<String>) -> Message {
    Message::Text(text.into().into())
}

/// What a client saw, owned.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Close),
    End,
    Reset,
    Failed(String),
    Violation(u16),
}

/// The client's side of one connection.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    /// Watches it where it is plain, as an arbiter does.
    poller: Poller,
    shared: ReadBuffer,
    seen: VecDeque<Seen>,
}

impl Client {
    pub(crate) fn new(mut socket: Socket) -> Self {
        let poller = Poller::new().unwrap();
        socket.watch(&poller, 0).unwrap();
        Client {
            socket,
            poller,
            shared: ReadBuffer::new(),
            seen: VecDeque::new(),
        }
    }

    pub(crate) fn say(&mut self, text: &str) {
        assert_eq!(
            self.socket.queue_text(text.as_bytes()),
            Ok::<(), QueueError>(())
        );
    }

    pub(crate) async fn flush(&mut self) {
        self.try_flush().await.unwrap();
    }

    pub(crate) async fn try_flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            self.hear(cx);
            self.socket.poll_flush(cx)
        })
        .await
    }

    /// Tells the socket what its poller says.
    pub(crate) fn hear(&self, cx: &mut std::task::Context<'_>) {
        let mut words = Vec::new();
        while let Poll::Ready(heard) = self.poller.poll(cx, &mut words) {
            heard.unwrap();
        }
        words.into_iter().for_each(|word| self.socket.ready(word));
    }

    /// The next thing that happens.
    pub(crate) async fn next(&mut self) -> Seen {
        let seen = tokio::time::timeout(LONG, poll_fn(|cx| self.poll(cx))).await;
        seen.expect("nothing happened on the connection")
    }

    /// What has happened by now, without waiting.
    pub(crate) async fn now(&mut self) -> Option<Seen> {
        poll_fn(|cx| {
            Poll::Ready(match self.poll(cx) {
                Poll::Ready(seen) => Some(seen),
                Poll::Pending => None,
            })
        })
        .await
    }

    pub(crate) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Seen> {
        self.hear(cx);
        let Client {
            socket,
            shared,
            seen,
            ..
        } = self;
        if seen.is_empty() {
            let ended = socket.poll_read(cx, shared, &mut |message| {
                seen.push_back(match message {
                    Incoming::Text(text) => Seen::Text(text.into()),
                    Incoming::Binary(bytes) => Seen::Binary(bytes.into()),
                    Incoming::Ping(bytes) => Seen::Ping(bytes.into()),
                    Incoming::Pong(bytes) => Seen::Pong(bytes.into()),
                    Incoming::Close(close) => Seen::Close(close),
                });
                ControlFlow::Continue(())
            });
            if let Poll::Ready(closed) = ended {
                seen.push_back(match closed {
                    Closed::End => Seen::End,
                    Closed::Reset => Seen::Reset,
                    Closed::Failed(error) => Seen::Failed(error.to_string()),
                    Closed::Violation(violation) => Seen::Violation(violation.code),
                });
            }
        }
        match seen.pop_front() {
            Some(next) => Poll::Ready(next),
            None => Poll::Pending,
        }
    }
}

pub(crate) fn dialer() -> Dialer {
    Dialer::new(&TlsOptions::default()).unwrap()
}

pub(crate) fn request(url: &SecretString) -> DialRequest<'_> {
    DialRequest {
        url,
        subprotocol: Subprotocol::JsonReliable,
        bearer: None,
        user_agent: "hubstorm-test",
        source: None,
        timeout: LONG,
    }
}

pub(crate) async fn dial(url: &str) -> Result<Client, DialError> {
    dialer().dial(request(&url.into())).await.map(Client::new)
}
