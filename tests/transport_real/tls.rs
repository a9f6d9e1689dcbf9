//! TLS: whom the client trusts, and that faults act below it.

use std::io::ErrorKind;
use std::sync::Arc;

use hubstorm::transport::{DialError, Dialer, Socket, TlsError, TlsOptions};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use secrecy::SecretString;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::server::{Client, Peer, Seen, Server, request, text};

/// A server with a certificate for 127.0.0.1 that it made itself.
struct TlsServer {
    server: Server,
    acceptor: TlsAcceptor,
    certificate_pem: String,
}

impl TlsServer {
    async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        // A server that prefers h2, as Azure's front ends may.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsServer {
            server: Server::start().await,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate_pem: made.cert.pem(),
        }
    }

    fn url(&self) -> SecretString {
        self.server.url().replace("ws://", "wss://").into()
    }

    async fn accept(&self) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
        let tcp = self.server.tcp().await;
        let mut peer = Peer::new(self.acceptor.accept(tcp).await?);
        peer.upgrade().await;
        Ok(peer)
    }

    async fn dial(
        &self,
        options: &TlsOptions,
    ) -> (
        std::io::Result<Peer<TlsStream<TcpStream>>>,
        Result<Socket, DialError>,
    ) {
        let dialer = Dialer::new(options).unwrap();
        let url = self.url();
        tokio::join!(self.accept(), dialer.dial(request(&url)))
    }
}

fn trusting(file: &std::path::Path) -> TlsOptions {
    TlsOptions {
        ca_file: Some(file.into()),
        insecure: false,
    }
}

#[actix_rt::test]
async fn a_private_authority_is_trusted_only_when_its_file_is_given() {
    let server = TlsServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &server.certificate_pem).unwrap();

    let (_, stranger) = server.dial(&TlsOptions::default()).await;
    let stranger = stranger.unwrap_err();
    assert!(matches!(stranger, DialError::Tls(_)), "{stranger:?}");
    assert!(stranger.to_string().contains("CA file"), "{stranger}");

    let (peer, socket) = server.dial(&trusting(&file)).await;
    round_trip(peer.unwrap(), socket.unwrap()).await;

    // Another authority's file does not help.
    let other = TlsServer::start().await;
    std::fs::write(&file, &other.certificate_pem).unwrap();
    let (_, stranger) = server.dial(&trusting(&file)).await;
    assert!(matches!(stranger.unwrap_err(), DialError::Tls(_)));
}

#[actix_rt::test]
async fn insecure_takes_any_certificate() {
    let server = TlsServer::start().await;
    let options = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let (peer, socket) = server.dial(&options).await;
    round_trip(peer.unwrap(), socket.unwrap()).await;
}

async fn round_trip(mut peer: Peer<TlsStream<TcpStream>>, socket: Socket) {
    let mut client = Client::new(socket);
    let large = "x".repeat(300_000);
    client.say(&large);
    tokio::join!(client.flush(), peer.expect_text(&large));
    let (seen, ()) = tokio::join!(client.next(), peer.send(text(large.clone())));
    assert_eq!(seen, Seen::Text(large));
}

#[actix_rt::test]
async fn drops_and_resets_act_below_tls() {
    let server = TlsServer::start().await;
    let options = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let (peer, socket) = server.dial(&options).await;
    drop(socket.unwrap());
    // No TLS goodbye: the client died.
    let error = peer.unwrap().next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);

    let (peer, socket) = server.dial(&options).await;
    let socket = socket.unwrap();
    socket.control().reset();
    drop(socket);
    let error = peer.unwrap().next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let (peer, socket) = server.dial(&options).await;
    drop(peer.unwrap());
    assert_eq!(Client::new(socket.unwrap()).next().await, Seen::End);
}

#[actix_rt::test]
async fn a_plain_server_behind_wss_is_a_tls_error() {
    let server = Server::start().await;
    let url: SecretString = server.url().replace("ws://", "wss://").into();
    let dialer = Dialer::new(&TlsOptions::default()).unwrap();
    let hub = async {
        let mut peer = Peer::new(server.tcp().await);
        peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer
    };
    let (_peer, outcome) = tokio::join!(hub, dialer.dial(request(&url)));
    let error = outcome.unwrap_err();
    assert!(matches!(error, DialError::Tls(_)), "{error:?}");
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for file in [empty, dir.path().join("missing.pem")] {
        let error = Dialer::new(&trusting(&file)).unwrap_err();
        assert!(matches!(error, TlsError::CaFile { .. }));
        let text = error.to_string();
        assert!(text.contains(file.to_str().unwrap()), "{text}");
        assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
    }
}
