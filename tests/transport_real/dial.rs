//! Opening a connection, and everything that can go wrong with it.

use std::time::Duration;

use hubstorm::transport::{DialError, DialRequest};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt as _;

use super::server::{Client, Peer, Seen, Server, dial, dialer, encode, request, text};

#[actix_rt::test]
async fn a_hub_sees_the_url_the_token_and_one_subprotocol_as_given() {
    let server = Server::start().await;
    let url: SecretString = format!("{}?access_token=a.b.c&x=%2F", server.url()).into();
    let token: SecretString = "d.e.f".into();
    let dialer = dialer();
    let request = DialRequest {
        bearer: Some(&token),
        ..request(&url)
    };
    let (peer, socket) = tokio::join!(server.accept(), dialer.dial(request));
    assert!(
        peer.request
            .starts_with("GET /client/hubs/chat?access_token=a.b.c&x=%2F HTTP/1.1\r\n"),
        "{}",
        peer.request
    );
    let header = |name| peer.header(name);
    assert_eq!(header("host").unwrap(), server.address().to_string());
    assert_eq!(header("authorization").unwrap(), "Bearer d.e.f");
    assert_eq!(header("user-agent").unwrap(), "hubstorm-test");
    assert_eq!(
        header("sec-websocket-protocol").unwrap(),
        "json.reliable.webpubsub.azure.v1"
    );
    // An extension offered would be one that the codec cannot read.
    assert_eq!(header("sec-websocket-extensions"), None);
    assert!(socket.unwrap().control().bytes_in() > 0);
}

#[actix_rt::test]
async fn frames_that_come_with_the_upgrade_are_not_lost() {
    // A hub may send `connected` in the same segment as its 101.
    let server = Server::start().await;
    let url = server.url();
    let hub = async {
        let mut peer = Peer::new(server.tcp().await);
        peer.read_request().await;
        let protocol = "Sec-WebSocket-Protocol: json.reliable.webpubsub.azure.v1\r\n";
        peer.answer_upgrade(protocol, &encode(text("first"))).await;
        peer
    };
    let (_peer, client) = tokio::join!(hub, dial(&url));
    assert_eq!(client.unwrap().next().await, Seen::Text("first".into()));
}

/// Dials a server that answers the upgrade with `answer`.
async fn answered(answer: &str, timeout: Duration) -> DialError {
    let server = Server::start().await;
    let url = server.url().into();
    let hub = async {
        let mut peer = Peer::new(server.tcp().await);
        peer.read_request().await;
        peer.raw(answer.as_bytes()).await;
        peer
    };
    let dialer = dialer();
    let request = DialRequest {
        timeout,
        ..request(&url)
    };
    let (_peer, outcome) = tokio::join!(hub, dialer.dial(request));
    outcome.unwrap_err()
}

async fn refused(answer: &str) -> (u16, Option<String>) {
    match answered(answer, super::server::LONG).await {
        DialError::Refused { status, body } => (status, body),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[actix_rt::test]
async fn a_refusal_tells_its_status_and_what_the_hub_said() {
    let answer =
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 30\r\n\r\nbad access_token=eyJ.canary.x ";
    let (status, body) = refused(answer).await;
    assert_eq!(status, 401);
    assert_eq!(body.unwrap(), "bad access_token=*** ");

    let chunked = "HTTP/1.1 429 Too Many Requests\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nslow \r\n4\r\ndown\r\n0\r\n\r\n";
    assert_eq!(refused(chunked).await, (429, Some("slow down".into())));

    let none = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(refused(none).await, (403, None));

    let long = format!(
        "HTTP/1.1 500 Oops\r\nContent-Length: 9999\r\n\r\n{}",
        "x".repeat(9999)
    );
    assert_eq!(refused(&long).await, (500, Some("x".repeat(1024))));
}

#[actix_rt::test]
async fn a_refusal_whose_body_never_comes_is_still_a_refusal() {
    let answer = "HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n";
    // Waited out in full: the head must be there by then.
    match answered(answer, Duration::from_secs(1)).await {
        DialError::Refused {
            status: 503,
            body: None,
        } => {}
        other => panic!("expected 503, got {other:?}"),
    }
}

#[actix_rt::test]
async fn an_answer_that_is_no_websocket_is_named_as_such() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
    ] {
        let error = answered(answer, super::server::LONG).await;
        assert!(matches!(error, DialError::Answer(_)), "{answer}: {error:?}");
    }
}

#[actix_rt::test]
async fn a_hub_that_selects_no_or_another_subprotocol_is_found_out() {
    // awc itself would take the connection, and every frame on it would be noise.
    for (headers, expected) in [
        ("", None),
        (
            "Sec-WebSocket-Protocol: json.webpubsub.azure.v1\r\n",
            Some("json.webpubsub.azure.v1"),
        ),
    ] {
        let server = Server::start().await;
        let url = server.url();
        let hub = async {
            let mut peer = Peer::new(server.tcp().await);
            peer.read_request().await;
            peer.answer_upgrade(headers, b"").await;
            peer
        };
        let (_peer, outcome) = tokio::join!(hub, dial(&url));
        match outcome.err().unwrap() {
            DialError::Subprotocol { offered, selected } => {
                assert_eq!(offered, "json.reliable.webpubsub.azure.v1");
                assert_eq!(selected.as_deref(), expected);
            }
            other => panic!("expected a subprotocol error, got {other:?}"),
        }
    }
}

#[actix_rt::test]
async fn a_dead_port_a_silent_server_and_an_early_end_are_told_apart() {
    let server = Server::start().await;
    let url = server.url();
    let secret: SecretString = url.clone().into();
    let dialer = dialer();
    let impatient = DialRequest {
        timeout: Duration::from_millis(100),
        ..request(&secret)
    };
    // The kernel accepts; nobody answers.
    match dialer.dial(impatient).await.unwrap_err() {
        DialError::Timeout(after) => assert_eq!(after, Duration::from_millis(100)),
        other => panic!("expected a timeout, got {other:?}"),
    }
    server.tcp().await;

    let hub = async {
        let mut peer = Peer::new(server.tcp().await);
        peer.read_request().await;
        peer.io.shutdown().await.unwrap();
        peer
    };
    let (_peer, outcome) = tokio::join!(hub, dial(&url));
    match outcome.err().unwrap() {
        DialError::Io(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
        other => panic!("expected an early end, got {other:?}"),
    }

    drop(server);
    match dial(&url).await.err().unwrap() {
        DialError::Io(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            assert!(error.to_string().contains("127.0.0.1:"), "{error}");
        }
        other => panic!("expected a refused connection, got {other:?}"),
    }
}

#[actix_rt::test]
async fn what_cannot_be_asked_for_is_an_error_not_a_panic() {
    for url in [
        "",
        "ws://",
        "nonsense",
        "ftp://127.0.0.1:1/",
        "ws://h/\u{7f}ä b",
    ] {
        let error = dial(url).await.err().unwrap();
        assert!(matches!(error, DialError::BadUrl(_)), "{url}: {error:?}");
    }
    let url: SecretString = "ws://127.0.0.1:1/".into();
    let request = DialRequest {
        user_agent: "two\r\nlines",
        ..request(&url)
    };
    let error = dialer().dial(request).await.unwrap_err();
    assert!(matches!(error, DialError::BadUrl(_)), "{error:?}");
}

#[actix_rt::test]
async fn one_dialer_holds_more_than_a_hundred_connections() {
    // awc's own limit is 100 for the life of a WebSocket; the 101st would time out.
    const MANY: usize = 150;
    let server = Server::start().await;
    let url: SecretString = server.url().into();
    let dialer = dialer();
    let hub = async {
        let mut peers = Vec::new();
        for _ in 0..MANY {
            peers.push(server.accept().await);
        }
        peers
    };
    let dials = futures_util::future::try_join_all((0..MANY).map(|_| dialer.dial(request(&url))));
    let (mut peers, sockets) = tokio::join!(hub, dials);
    let mut clients: Vec<Client> = sockets.unwrap().into_iter().map(Client::new).collect();
    for peer in &mut peers {
        peer.send(text("all there")).await;
    }
    for client in &mut clients {
        assert_eq!(client.next().await, Seen::Text("all there".into()));
    }
}

#[cfg(target_os = "linux")]
#[actix_rt::test]
async fn a_connection_leaves_from_the_source_address_asked_for() {
    let server = Server::start().await;
    let url: SecretString = server.url().into();
    let dialer = dialer();
    for source in ["127.0.0.2", "127.0.0.3"] {
        let request = DialRequest {
            source: Some(source.parse().unwrap()),
            ..request(&url)
        };
        let (peer, socket) = tokio::join!(server.accept(), dialer.dial(request));
        assert_eq!(peer.io.peer_addr().unwrap().ip().to_string(), source);
        drop(socket.unwrap());
    }
    let wrong_family = DialRequest {
        source: Some("::1".parse().unwrap()),
        ..request(&url)
    };
    let error = dialer.dial(wrong_family).await.unwrap_err().to_string();
    assert!(error.contains("no IPv6 address"), "{error}");
}

#[actix_rt::test]
async fn a_dial_that_hangs_is_a_connection_whose_handshake_the_hub_waits_for_in_vain() {
    use hubstorm::transport::Dialer;
    use tokio::io::AsyncReadExt as _;
    let server = Server::start().await;
    let url: SecretString = server.url().into();
    let hung = DialRequest {
        // Waited out in full: the first bytes must be there by then.
        timeout: Duration::from_secs(1),
        ..request(&url)
    };
    let hub = async {
        let mut stream = server.tcp().await;
        let mut heard = Vec::new();
        // Until the client gives up.
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let (heard, ended) = tokio::join!(hub, Dialer::hang(hung));
    assert_eq!(heard, b"GET /client");
    assert!(matches!(ended, Err(DialError::Timeout(_))), "{ended:?}");
    // A hub that has enough of it is not waited for.
    let url: SecretString = server.url().into();
    let long = DialRequest {
        timeout: Duration::from_secs(600),
        ..request(&url)
    };
    let hub = async { drop(server.tcp().await) };
    let ((), ended) = tokio::join!(hub, Dialer::hang(long));
    assert!(matches!(ended, Err(DialError::Io(_))), "{ended:?}");
}
