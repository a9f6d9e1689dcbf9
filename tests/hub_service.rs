//! The hub's HTTP side over real sockets: the service API and its tokens, webhooks, TLS,
//! pages, simple clients, faults of connects, and clients that mean harm.

#[allow(
    dead_code,
    reason = "each of the hub's test programs uses a part of it"
)]
mod hub_support;

use std::sync::Arc;
use std::time::Duration;

use hub_support::{Raw, Reply, hub, hub_with, status_of};
use hubstorm::hub::{DEVELOPMENT_KEY, Hub, HubTls};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Sends one request and gives status and body.
async fn http(hub: &Hub, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}",
        hub.addr()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut reply))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn a_send_of_the_service_reaches_clients_in_order() {
    let hub = hub();
    let mut a = Raw::joined(&hub, "g").await;
    let text = "text/plain";
    for (path, body) in [
        ("/api/hubs/chat/:send?api-version=2024-12-01", "all"),
        ("/api/hubs/chat/groups/g/%3Asend", "group"),
    ] {
        assert_eq!(http(&hub, "POST", path, text, body).await.0, 202);
    }
    let first = a.json().await;
    assert_eq!(
        (&first["from"], &first["data"], &first["sequenceId"]),
        (&"server".into(), &"all".into(), &1.into())
    );
    let second = a.json().await;
    assert_eq!(
        (&second["from"], &second["group"]),
        (&"group".into(), &"g".into())
    );
    assert!(second["fromUserId"].is_null());
    for (path, kind, body, status) in [
        ("/api/hubs/chat/:send", "image/png", "x", 415),
        ("/api/hubs/chat/:send", "application/json", "{", 400),
        ("/api/hubs/chat/:send", "application/json", "null", 400),
        ("/api/hubs/chat/:send?filter=x", text, "x", 400),
        ("/api/hubs/9/:send", text, "x", 400),
        ("/api/hubs/chat/groups/g/connections/nobody", text, "", 404),
    ] {
        let method = if status == 404 { "PUT" } else { "POST" };
        let (got, error) = http(&hub, method, path, kind, body).await;
        assert_eq!(got, status, "{path} {kind}: {error}");
        let error: Value = serde_json::from_str(&error).unwrap();
        assert!(error["code"].is_string() && error["message"].is_string());
    }
    assert_eq!(hub.stop().service_refused, 6);
}

#[tokio::test]
async fn with_a_key_the_service_api_wants_a_token() {
    let hub =
        hub_with(|config| config.access_key = Some("0123456789abcdef0123456789abcdef".into()));
    let (status, error) = http(&hub, "HEAD", "/api/hubs/chat/users/u", "", "").await;
    assert_eq!((status, error.as_str()), (401, ""));
    let (status, token) = http(&hub, "POST", "/api/hubs/chat/:generateToken", "", "").await;
    assert_eq!(status, 401, "{token}");
}

#[tokio::test]
async fn a_generated_token_opens_a_connection_with_what_was_asked_for() {
    let hub = hub_with(|config| config.access_key = None);
    let path = "/api/hubs/chat/:generateToken?userId=ann&role=webpubsub.sendToGroup&group=g&minutesToExpire=1";
    let (status, body) = http(&hub, "POST", path, "", "").await;
    assert_eq!(status, 200);
    let token: Value = serde_json::from_str(&body).unwrap();
    let keyed = hub_with(|config| config.access_key = Some(DEVELOPMENT_KEY.into()));
    let query = format!("?access_token={}", token["token"].as_str().unwrap());
    let wrong_host = format!("/client/hubs/chat{query}");
    assert_eq!(
        status_of(&keyed, &wrong_host).await,
        401,
        "aud names the other hub"
    );
    let mut raw = Raw::connect(&hub, &wrong_host).await;
    assert_eq!(raw.json().await["userId"], "ann");
}

#[tokio::test]
async fn pages_tell_what_is_connected_and_never_a_token() {
    let hub = hub();
    let (_a, path) = Raw::recoverable(&hub).await;
    let (status, page) = http(&hub, "GET", "/metrics", "", "").await;
    assert_eq!(status, 200);
    for line in [
        "hubstorm_hub_connections 1",
        "hubstorm_hub_groups 1",
        "hubstorm_hub_connects_total 1",
        "hubstorm_hub_requests_total{type=\"joinGroup\"} 1",
    ] {
        assert!(
            page.lines().any(|it| it == line),
            "{line} is not in\n{page}"
        );
    }
    let (_, page) = http(&hub, "GET", "/admin/connections", "", "").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["connections"][0]["groups"][0], "g");
    let token = path.rsplit('=').next().unwrap();
    assert!(!page.to_string().contains(token));
    let (_, page) = http(&hub, "GET", "/admin/groups", "", "").await;
    assert_eq!(
        serde_json::from_str::<Value>(&page).unwrap()["groups"][0]["members"],
        1
    );
    assert_eq!(http(&hub, "GET", "/admin/nothing", "", "").await.0, 404);
    assert_eq!(http(&hub, "POST", "/admin", "", "").await.0, 405);
    assert_eq!(http(&hub, "HEAD", "/api/health", "", "").await.0, 200);
}

#[tokio::test]
async fn a_simple_client_publishes_bare_payloads() {
    let hub = hub();
    let mut member = Raw::joined(&hub, "g").await;
    let path = "/client/hubs/chat?webpubsub_mode=sendToGroup&group=g";
    let (mut simple, head) = Raw::offer(&hub, path, "mine").await.unwrap();
    assert!(
        !head.to_lowercase().contains("sec-websocket-protocol"),
        "{head}"
    );
    simple.send("bare").await;
    assert_eq!(member.json().await["data"], "bare");
    let mut echo = Raw::offer(&hub, "/client/hubs/chat", "mine")
        .await
        .unwrap()
        .0;
    echo.send("hello").await;
    assert_eq!(echo.next().await, Reply::Text("hello".into()));
}

#[tokio::test]
async fn connects_meet_the_faults_that_were_ordered() {
    for (fault, status) in [("http_401", 401), ("http_429", 429), ("http_503", 503)] {
        let hub = hub_with(|config| config.faults = vec![fault.parse().unwrap()]);
        assert_eq!(status_of(&hub, "/client/hubs/chat").await, status);
        assert_eq!(status_of(&hub, "/client/hubs/chat").await, 101, "once only");
        assert_eq!(hub.stop().connections_refused[&status], 1);
    }
    for fault in ["refuse_connect", "hang_connect,for=50ms"] {
        let hub = hub_with(|config| config.faults = vec![fault.parse().unwrap()]);
        let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
        stream
            .write_all(b"GET /client/hubs/chat HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .unwrap();
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all));
        // A reset is an end as well.
        let _ = read.await.unwrap();
        assert!(all.is_empty(), "{fault}: {}", String::from_utf8_lossy(&all));
        assert_eq!(hub.stop().faults.values().sum::<u64>(), 1);
    }
    let hub = hub_with(|config| config.faults = vec!["restart,every=2".parse().unwrap()]);
    let mut a = Raw::joined(&hub, "g").await;
    for ack in 1..=2 {
        a.send(&format!(
            r#"{{"type":"sendToGroup","group":"g","ackId":{ack},"data":1}}"#
        ))
        .await;
    }
    assert!(matches!(a.until_end().await, Reply::Reset | Reply::Eof));
    assert_eq!(hub.stop().restarts, 1);
}

/// Answers every request with `reply`, as an event handler that allows all origins.
async fn handler(reply: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/{{hub}}/{{event}}",
        listener.local_addr().unwrap()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 16 * 1024];
            let mut length = 0;
            while !head[..length].windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut head[length..]).await {
                    Ok(n) if n > 0 => length += n,
                    _ => break,
                }
            }
            let answer = if head.starts_with(b"OPTIONS /chat/validate ") {
                "HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: *\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            } else {
                reply
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn a_handlers_refusal_is_the_clients_answer() {
    let url =
        handler("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
    let hub = hub_with(|config| config.upstream = Some(url.parse().unwrap()));
    assert_eq!(status_of(&hub, "/client/hubs/chat").await, 403);
    let url = handler("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{").await;
    let hub = hub_with(|config| config.upstream = Some(url.parse().unwrap()));
    assert_eq!(status_of(&hub, "/client/hubs/chat").await, 500, "not JSON");
}

#[tokio::test]
async fn a_client_is_served_by_tls_with_a_self_made_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("hub.pem");
    let hub = hub_with(|config| {
        config.tls = Some(HubTls::SelfMade {
            names: Vec::new(),
            certificate_out: Some(pem.clone()),
        });
    });
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls_pki_types::CertificateDer::from_pem_file(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(hub.addr()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    tls.write_all(b"GET /client/hubs/chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: json.webpubsub.azure.v1\r\n\r\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"connected\"") {
        let read = tokio::time::timeout(Duration::from_secs(20), tls.read_buf(&mut seen));
        assert!(read.await.unwrap().unwrap() > 0);
    }
    // A client that does not speak TLS is turned away and disturbs nobody.
    let mut plain = TcpStream::connect(hub.addr()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"));
    assert_eq!(hub.stop().connections_accepted, 1);
}

#[tokio::test]
async fn harm_to_one_connection_leaves_the_others_alone() {
    let hub = hub();
    let mut good = Raw::joined(&hub, "g").await;
    // A request's head without end, a head too long, and 10,000 groups.
    let mut endless = TcpStream::connect(hub.addr()).await.unwrap();
    endless
        .write_all(b"GET /client/hubs/chat HTTP/1.1\r\nX: ")
        .await
        .unwrap();
    let mut long = TcpStream::connect(hub.addr()).await.unwrap();
    let junk = vec![b'x'; 200 * 1024];
    // The hub may close before it has read everything.
    let _ = long.write_all(b"GET / HTTP/1.1\r\nX: ").await;
    let _ = long.write_all(&junk).await;
    let mut answer = Vec::new();
    let _ = long.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    let (status, _) = http(
        &hub,
        "POST",
        "/api/hubs/chat/:send",
        "text/plain",
        &"x".repeat((1 << 20) + 1),
    )
    .await;
    assert_eq!(status, 413);
    let mut many = Raw::connect(&hub, "/client/hubs/chat").await;
    many.json().await;
    for n in 0..10_000 {
        many.send(&format!(r#"{{"type":"joinGroup","group":"g{n}"}}"#))
            .await;
    }
    many.send(r#"{"type":"joinGroup","group":"last","ackId":1}"#)
        .await;
    assert_eq!(many.json().await["success"], true);
    good.send(r#"{"type":"sendToGroup","group":"g","ackId":1,"data":1}"#)
        .await;
    assert_eq!(good.json().await["data"], 1);
    let (_, page) = http(&hub, "GET", "/metrics", "", "").await;
    assert!(page.contains("hubstorm_hub_groups 10002"));
    drop(many);
}

#[tokio::test]
async fn a_listing_in_pages_names_each_connection_once() {
    let hub = hub();
    let mut members = Vec::new();
    for _ in 0..7 {
        members.push(Raw::joined(&hub, "g").await);
    }
    // How many on each page, with these parameters.
    for (query, pages) in [
        ("", vec![7]),
        ("&maxpagesize=3", vec![3, 3, 1]),
        ("&maxpagesize=7", vec![7]),
        ("&maxpagesize=3&top=5", vec![3, 2]),
        ("&maxpagesize=3&top=6", vec![3, 3]),
        ("&top=2", vec![2]),
    ] {
        let (mut seen, mut sizes) = (std::collections::BTreeSet::new(), Vec::new());
        let mut next = Some(format!(
            "/api/hubs/chat/groups/g/connections?api-version=2024-12-01{query}"
        ));
        while let Some(path) = next {
            let (status, body) = http(&hub, "GET", &path, "", "").await;
            assert_eq!(status, 200, "{path}: {body}");
            let page: Value = serde_json::from_str(&body).unwrap();
            let listed = page["value"].as_array().unwrap();
            sizes.push(listed.len());
            for connection in listed {
                let id = connection["connectionId"].as_str().unwrap().to_owned();
                assert!(seen.insert(id), "twice, with {query}");
            }
            let base = format!("http://{}", hub.addr());
            next = page["nextLink"]
                .as_str()
                .map(|link| link.strip_prefix(&base).unwrap().to_owned());
            assert!(sizes.len() < 9, "pages without end");
        }
        assert_eq!(sizes, pages, "{query}");
    }
    let path = "/api/hubs/chat/groups/nobody/connections";
    assert_eq!(http(&hub, "GET", path, "", "").await.1, r#"{"value":[]}"#);
}
