//! `hubstorm hub` as a program: what it prints, how it is refused, how it ends, and TLS with
//! a certificate that was given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;

const SUBPROTOCOL: &str = "json.reliable.webpubsub.azure.v1";

/// A hub that ends with the test.
struct Program {
    child: Child,
    /// What it printed when it was ready.
    lines: Vec<String>,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubstorm"));
    command
        .arg("hub")
        .args(args)
        .env_remove("HUBSTORM_ACCESS_KEY")
        .env_remove("HUBSTORM_SECONDARY_ACCESS_KEY");
    command
}

impl Program {
    /// Starts a hub and reads `lines` lines of what it prints.
    fn start(args: &[&str], lines: usize) -> Self {
        let mut child = command(args)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = stdout.lines().take(lines).map(Result::unwrap).collect();
        Program { child, lines }
    }

    fn addr(&self) -> SocketAddr {
        let (_, addr) = self.lines[0].split_once("://").unwrap();
        addr.parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; exit code and stderr.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code and stderr of a hub that does not start.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let child = command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let (done, waits) = std::sync::mpsc::channel();
    // A hub that starts after all must not be waited for.
    std::thread::spawn(move || {
        if waits.recv_timeout(Duration::from_secs(20)).is_err() {
            let _ = Command::new("kill").arg(pid).status();
        }
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_ready_output_shows_how_to_connect_and_never_a_key_of_ones_own() {
    let hub = Program::start(&[], 2);
    let port = hub.addr().port();
    assert_eq!(
        hub.lines[1],
        format!(
            "connection string Endpoint=http://localhost:{port};AccessKey={};Version=1.0;",
            hubstorm::hub::DEVELOPMENT_KEY
        )
    );
    assert!(get(hub.addr(), "/health").starts_with("HTTP/1.1 200 "));
    hub.signal("TERM");
    assert_eq!(hub.ended(), (Some(0), String::new()));
    let key = "a-canary-key-of-32-bytes-or-more";
    let mut hub = Program::start(
        &[
            "--access-key",
            key,
            "--secondary-access-key",
            key,
            "--log",
            "debug",
        ],
        1,
    );
    let mut stdout = hub.child.stdout.take();
    get(hub.addr(), "/client/hubs/chat?access_token=x");
    get(hub.addr(), "/metrics");
    hub.signal("INT");
    let (code, log) = hub.ended();
    assert_eq!(code, Some(0));
    assert!(!log.contains(key), "{log}");
    if let Some(stdout) = &mut stdout {
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains(key), "{rest}");
    }
}

#[test]
fn what_is_wrong_with_the_flags_is_said_with_what_would_be_right() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no.pem").display().to_string();
    let wrong = dir.path().join("wrong.pem");
    std::fs::write(&wrong, "not a certificate").unwrap();
    let wrong = wrong.display().to_string();
    for (args, says) in [
        (&["--listen", "0.0.0.0:0"][..], "--expose"),
        (&["--listen", "8080"], "127.0.0.1:8080"),
        (&["--truth", "/no/such/dir/t.json"], "/no/such/dir"),
        (&["--keep-alive", "5m"], "120s"),
        (&["--allow-anonymous"], "--access-key"),
        (&["--listen", &taken], "--listen 127.0.0.1:0"),
        (&["--fault", "dorp"], "`drop`"),
        (&["--fault", "drop,p=2"], "p=0.01"),
        (&["--tls-cert", "x"], "--tls-key"),
        (&["--tls-cert", &missing, "--tls-key", &missing], "no.pem"),
        (
            &["--tls-cert", &wrong, "--tls-key", &wrong],
            "BEGIN CERTIFICATE",
        ),
        (&["--tls-self-signed", "/no/such/dir/x.pem"], "/no/such/dir"),
        (&["--upstream", "localhost"], "http://"),
        (&["--system-events", "joined"], "--upstream"),
        (
            &["--upstream", "http://h", "--system-events", "join"],
            "joined",
        ),
        (&["--secondary-access-key", "k"], "--access-key"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--access-key", ""], "--access-key"),
        (&["--recovery-window", "30"], "30s"),
    ] {
        let (code, text) = refused(args);
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
        assert!(!text.contains("panicked"), "{args:?}: {text}");
    }
    drop(holder);
}

#[test]
fn a_killed_hub_leaves_its_port_free_and_a_truth_file_is_written_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("truth.json");
    let hub = Program::start(&["--truth", path.to_str().unwrap()], 2);
    let addr = hub.addr();
    // Still connected when it is killed.
    let mut open = TcpStream::connect(addr).unwrap();
    write!(open, "GET /client/hubs/chat HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").unwrap();
    let mut head = [0; 12];
    open.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    hub.signal("USR1");
    await_truth(&path, |truth| truth["connections_accepted"] == 1);
    hub.signal("KILL");
    assert_eq!(hub.ended().0, None);
    let again = command(&["--listen", &addr.to_string()])
        .stdout(Stdio::piped())
        .spawn();
    let mut again = again.unwrap();
    let mut line = String::new();
    BufReader::new(again.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line.trim(), format!("listening on http://{addr}"));
    again.kill().unwrap();
    again.wait().unwrap();
}

/// The truth file, once it is as it must be.
fn await_truth(path: &Path, is_right: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..4000 {
        let text = std::fs::read_to_string(path).unwrap_or_else(|_| "null".into());
        let truth: Value = serde_json::from_str(&text).unwrap();
        if is_right(&truth) {
            return truth;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the truth file never was right");
}

/// Interrupted with connections open and messages on their way: the clients are told and
/// closed with 1001, and the account is whole.
#[actix_rt::test]
async fn an_interrupted_hub_says_goodbye_and_gives_account() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("truth.json");
    let hub = Program::start(&["--truth", path.to_str().unwrap()], 2);
    let url = format!("http://{}/client/hubs/chat", hub.addr());
    let (_, mut socket) = awc::Client::new()
        .ws(url)
        .protocols([SUBPROTOCOL])
        .connect()
        .await
        .unwrap();
    assert_eq!(frame(&mut socket).await["event"], "connected");
    for frame in [
        r#"{"type":"joinGroup","group":"g"}"#,
        r#"{"type":"sendToGroup","group":"g","ackId":1,"data":1}"#,
    ] {
        socket
            .send(awc::ws::Message::Text(frame.into()))
            .await
            .unwrap();
    }
    assert_eq!(frame(&mut socket).await["sequenceId"], 1);
    hub.signal("INT");
    assert_eq!(frame(&mut socket).await["ackId"], 1);
    assert_eq!(frame(&mut socket).await["event"], "disconnected");
    match socket.next().await.unwrap().unwrap() {
        awc::ws::Frame::Close(Some(reason)) => assert_eq!(u16::from(reason.code), 1001),
        other => panic!("{other:?}"),
    }
    drop(socket);
    let ended = tokio::task::spawn_blocking(|| hub.ended()).await.unwrap();
    assert_eq!(ended, (Some(0), String::new()));
    let truth = await_truth(&path, |truth| truth["sessions_killed"] == 1);
    assert_eq!(truth["publishes_executed"], 1);
}

/// The next text frame of a WebSocket.
async fn frame<T>(socket: &mut Framed<T, awc::ws::Codec>) -> Value
where
    T: actix_codec::AsyncRead + actix_codec::AsyncWrite + Unpin,
{
    match socket.next().await.unwrap().unwrap() {
        awc::ws::Frame::Text(text) => serde_json::from_slice(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[actix_rt::test]
async fn a_client_that_trusts_the_authority_is_served_with_a_given_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(at("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(at("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let hub = Program::start(
        &["--tls-cert", &at("cert.pem"), "--tls-key", &at("key.pem")],
        2,
    );
    assert!(
        hub.lines[0].starts_with("listening on https://"),
        "{:?}",
        hub.lines
    );
    assert!(
        hub.lines[1].contains("Endpoint=https://localhost:"),
        "{:?}",
        hub.lines
    );
    let client = |roots: rustls::RootCertStore| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        awc::Client::builder()
            .connector(awc::Connector::new().rustls_0_23(Arc::new(config)))
            .finish()
    };
    let url = format!("https://localhost:{}/client/hubs/chat", hub.addr().port());
    let mut trusting = rustls::RootCertStore::empty();
    trusting.add(made.cert.der().clone()).unwrap();
    let connected = client(trusting).ws(&url).protocols([SUBPROTOCOL]).connect();
    let (_, mut socket) = connected.await.unwrap();
    assert_eq!(frame(&mut socket).await["event"], "connected");
    // Who does not know the authority does not connect.
    let mut other = rustls::RootCertStore::empty();
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    other.add(stranger.cert.der().clone()).unwrap();
    assert!(client(other).ws(&url).connect().await.is_err());
}
