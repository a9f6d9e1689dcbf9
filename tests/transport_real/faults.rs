//! What can be done to a connection from outside, as the hub sees it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use actix_http::ws::{CloseCode, CloseReason, Message};
use hubstorm::transport::Ready;
use hubstorm::wire::close::Close;
use tokio::io::AsyncWriteExt as _;

use super::server::{Client, LONG, Seen, Server, encode, text};

#[actix_rt::test]
async fn a_drop_is_a_fin_even_with_unread_bytes() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    client.say("bye");
    client.flush().await;
    // Left unread: a plain close() would turn into a reset and could eat the last frame.
    peer.send(text("unread")).await;
    drop(client);
    peer.expect_text("bye").await;
    assert_eq!(peer.next().await.unwrap(), None);
}

#[actix_rt::test]
async fn a_reset_reaches_the_hub_as_one() {
    let server = Server::start().await;
    let (mut peer, client) = server.pair().await;
    client.socket.control().reset();
    drop(client);
    let error = peer.next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[actix_rt::test]
async fn an_end_and_a_reset_by_the_hub_are_told_apart() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    peer.send(text("last")).await;
    peer.io.shutdown().await.unwrap();
    assert_eq!(client.next().await, Seen::Text("last".into()));
    assert_eq!(client.next().await, Seen::End);

    let (peer, mut client) = server.pair().await;
    socket2::SockRef::from(&peer.io)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    assert_eq!(client.next().await, Seen::Reset);
}

/// Why a hub closed is not forgotten because a write failed first.
#[actix_rt::test]
async fn what_came_before_a_write_that_fails_can_still_be_read() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    assert_eq!(client.now().await, None);
    let refused = Close::with_code(1008, "go away");
    let reason = CloseReason {
        code: CloseCode::Policy,
        description: Some("go away".into()),
    };
    peer.send(Message::Close(Some(reason))).await;
    let socket = socket2::SockRef::from(&peer.io);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    // Loopback: the reset is here when the drop returns.
    client.say("too late");
    assert!(client.try_flush().await.is_err());
    client.socket.ready(Ready::TO_READ);
    assert_eq!(client.next().await, Seen::Close(refused));
}

/// Polls the client until nothing is to be read.
async fn drain(client: &mut Client) {
    while client.now().await.is_some() {}
}

#[actix_rt::test]
async fn a_stalled_client_blocks_the_hub_and_goes_on_without_a_loss() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    client.socket.control().freeze_reads(true);
    let before = client.socket.control().bytes_in();
    // Fill the kernel's buffers until the hub's write does not return.
    let frame = encode(text("x".repeat(1000)));
    let mut sent = 0usize;
    loop {
        let write = peer.io.write_all(&frame);
        match tokio::time::timeout(Duration::from_millis(300), write).await {
            Ok(written) => written.unwrap(),
            Err(_) => break,
        }
        sent += 1;
        assert!(sent < 100_000, "the hub was never blocked");
        assert_eq!(client.now().await, None);
    }
    let after = client.socket.control().bytes_in();
    assert_eq!(after, before, "nothing is read while stalled");
    // Writing still works.
    client.say("still here");
    client.flush().await;
    peer.expect_text("still here").await;

    let client = Rc::new(RefCell::new(client));
    let reader = client.clone();
    let read = actix_rt::spawn(async move {
        let mut read = 0;
        while read < sent {
            let seen = poll_fn(|cx| reader.borrow_mut().poll(cx)).await;
            assert_eq!(seen, Seen::Text("x".repeat(1000)));
            read += 1;
        }
        read
    });
    // The reader waits by now; lifting the stall must wake it.
    tokio::task::yield_now().await;
    client.borrow().socket.control().freeze_reads(false);
    let read = tokio::time::timeout(LONG / 4, read).await;
    assert_eq!(read.expect("the reader was not woken").unwrap(), sent);
}

#[actix_rt::test]
async fn a_black_hole_takes_what_is_written_and_gives_nothing() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    drain(&mut client).await;
    let out = client.socket.control().bytes_out();
    client.socket.control().black_hole(true);
    peer.send(text("into the dark")).await;
    client.say("vanishes");
    client.flush().await;
    assert_eq!(
        client.socket.queued_bytes(),
        0,
        "the writer believes it went out"
    );
    assert_eq!(client.socket.control().bytes_out(), out);
    assert!(client.socket.control().bytes_swallowed() > 8);
    assert_eq!(client.now().await, None);

    // Whole frames vanished, so the stream is still in step and shows what was lost.
    client.socket.control().black_hole(false);
    client.say("seen");
    client.flush().await;
    peer.expect_text("seen").await;
    assert_eq!(client.next().await, Seen::Text("into the dark".into()));
}

#[actix_rt::test]
async fn lifting_one_silence_leaves_the_other() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    client.socket.control().freeze_reads(true);
    client.socket.control().black_hole(true);
    peer.send(text("x")).await;
    client.socket.control().black_hole(false);
    assert_eq!(client.now().await, None);
    client.socket.control().freeze_reads(false);
    assert_eq!(client.next().await, Seen::Text("x".into()));
}
