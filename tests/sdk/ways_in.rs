//! Ways in: every form of credential, what the server sees of it, and what a refusal tells.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hubstorm::hub::HubTls;
use hubstorm::sdk::{Client, ConnectError, Credential, Event, RequestError, State, TlsOptions};
use hubstorm::transport::{ClientIdentity, DialError, Target};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::rig::{hub_with, open, text, wait_for};

const KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";

/// What a portal shows: a URL with a signed token, valid from `unix_now` for an hour.
fn pasted(addr: SocketAddr, unix_now: u64) -> String {
    let key = Some(KEY.to_owned().into());
    let target = Target::from_endpoint(&format!("http://{addr}"), "chat", key).unwrap();
    let identity = ClientIdentity {
        user_id: Some("ada".into()),
        roles: vec!["webpubsub.sendToGroup".into()],
        groups: vec!["lobby".into()],
        lifetime: Duration::from_secs(3600),
    };
    let url = target.connect_url(&identity, unix_now);
    url.expose_secret().to_owned()
}

fn unix_now() -> u64 {
    hubstorm::base::Clock::start().unix_now()
}

#[tokio::test]
async fn a_url_pasted_from_a_portal_connects_with_its_user_groups_and_roles() {
    let hub = hub_with(|config| config.access_key = Some(KEY.to_owned().into()));
    let credential = Credential::url(&pasted(hub.addr(), unix_now())).unwrap();
    let (client, mut events) = Client::connect(credential).await.unwrap();
    let user = wait_for(&mut events, |event| match event {
        Event::Connected { user_id, .. } => Some(user_id.clone()),
        _ => None,
    })
    .await;
    assert_eq!(user.as_deref(), Some("ada"));
    // Joined by the token, not by a request.
    client.send_to_group("lobby", "hello").await.unwrap();
    assert_eq!(text(&mut events).await, "hello");
    match client.join("other").await {
        Err(RequestError::Refused { name, .. }) => assert_eq!(name, "Forbidden"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_url_whose_token_has_expired_is_a_401() {
    let hub = hub_with(|config| config.access_key = Some(KEY.to_owned().into()));
    let old = Credential::url(&pasted(hub.addr(), unix_now() - 7200)).unwrap();
    let error = Client::connect(old).await.map(|_| ()).unwrap_err();
    assert_eq!(error.status(), Some(401), "{error}");
}

/// Has a client dial a server that only listens; what it asks for.
async fn head_of(make: impl FnOnce(String) -> Credential) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::builder(make(endpoint))
        .user_agent("my-program/7")
        .build()
        .unwrap();
    let dial = tokio::spawn(async move { client.start().await });
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    dial.abort();
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn the_server_sees_the_user_agent_and_a_token_of_the_lifetime_asked_for() {
    let head = head_of(|endpoint| {
        Credential::endpoint(&endpoint, "chat", Some(KEY))
            .unwrap()
            .lifetime(Duration::from_secs(90))
    })
    .await;
    assert!(
        head.to_lowercase().contains("user-agent: my-program/7\r\n"),
        "{head}"
    );
    let token = head.split("access_token=").nth(1).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap());
    let claims: serde_json::Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    let seconds = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(seconds, 90);
}

#[tokio::test]
async fn a_refusal_tells_its_status_and_the_reason_in_its_body() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = socket.read(&mut head).await.unwrap();
        let body = r#"{"code":"Full","message":"no place left"}"#;
        let length = body.len();
        let answer =
            format!("HTTP/1.1 429 Too Many Requests\r\nContent-Length: {length}\r\n\r\n{body}");
        socket.write_all(answer.as_bytes()).await.unwrap();
        // Held until the client has read it.
        let _ = socket.read(&mut head).await;
    });
    let error = Client::connect(open(addr)).await.map(|_| ()).unwrap_err();
    assert_eq!(error.status(), Some(429));
    assert!(error.to_string().contains("no place left"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_so_is_a_provider() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    let slow = Credential::provider(std::future::pending::<Result<String, String>>);
    for credential in [open(addr), slow] {
        let client = Client::builder(credential)
            .connect_timeout(Duration::from_millis(50))
            .build()
            .unwrap();
        match client.start().await {
            Err(ConnectError::Dial(error)) => {
                assert!(matches!(*error, DialError::Timeout(_)), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(client.state(), State::Stopped);
    }
}

#[tokio::test]
async fn a_providers_own_error_is_told() {
    let credential = Credential::provider(|| async { Err::<String, _>("the door is locked") });
    let error = Client::connect(credential).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("the door is locked"), "{error}");
}

#[tokio::test]
async fn tls_is_trusted_by_its_authority_or_by_nobody_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("hub.pem");
    let hub = hub_with(|config| {
        config.tls = Some(HubTls::SelfMade {
            names: Vec::new(),
            certificate_out: Some(certificate.clone()),
        });
    });
    let own = TlsOptions {
        ca_file: Some(certificate),
        insecure: false,
    };
    let insecure = TlsOptions {
        ca_file: None,
        insecure: true,
    };
    for (tls, trusted) in [
        (own, true),
        (insecure, true),
        (TlsOptions::default(), false),
    ] {
        let endpoint = format!("https://localhost:{}", hub.addr().port());
        let credential = Credential::endpoint(&endpoint, "chat", None).unwrap();
        let connected = Client::builder(credential).tls(tls.clone()).connect().await;
        assert_eq!(connected.is_ok(), trusted, "{tls:?}");
    }
}
