//! Frames both ways over an open connection.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::Poll;

use actix_http::ws::{CloseReason, Frame, Message};
use futures_util::FutureExt as _;
use hubstorm::base::Clock;
use hubstorm::transport::{Incoming, QueueError, ReadBuffer};
use hubstorm::wire::close::Close;
use tokio::io::AsyncWriteExt as _;

use super::server::{LONG, Seen, Server, encode, text};

#[actix_rt::test]
async fn every_kind_of_message_goes_both_ways_unchanged() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    client.say("häßlich");
    client.socket.queue_binary(&[0, 255, 7]).unwrap();
    client.socket.queue_ping(b"are you there").unwrap();
    client.socket.queue_pong(b"yes").unwrap();
    client.flush().await;
    assert_eq!(client.socket.queued_bytes(), 0);
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(peer.next().await.unwrap().unwrap());
    }
    assert_eq!(
        got,
        [
            Frame::Text("häßlich".into()),
            Frame::Binary(vec![0, 255, 7].into()),
            Frame::Ping("are you there".into()),
            Frame::Pong("yes".into()),
        ]
    );
    peer.send(text("zurück")).await;
    peer.send(Message::Binary(vec![1, 0].into())).await;
    peer.send(Message::Ping("p".into())).await;
    peer.send(Message::Pong("q".into())).await;
    assert_eq!(client.next().await, Seen::Text("zurück".into()));
    assert_eq!(client.next().await, Seen::Binary(vec![1, 0]));
    assert_eq!(client.next().await, Seen::Ping(b"p".to_vec()));
    assert_eq!(client.next().await, Seen::Pong(b"q".to_vec()));
}

#[actix_rt::test]
async fn messages_larger_than_every_buffer_arrive_whole_and_in_order() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    let sizes = [1 << 20, 100, 70_000, 33_000, 65_536, 2 << 20, 3];
    let body = |index: usize, size: usize| char::from(b'a' + index as u8).to_string().repeat(size);
    let hub = async {
        for (index, size) in sizes.into_iter().enumerate() {
            peer.send(text(body(index, size))).await;
        }
        peer
    };
    let reader = async {
        for (index, size) in sizes.into_iter().enumerate() {
            match client.next().await {
                Seen::Text(got) => assert!(got == body(index, size), "message {index}"),
                other => panic!("message {index}: {other:?}"),
            }
        }
        client
    };
    let (mut peer, mut client) = tokio::join!(hub, reader);
    let large = body(0, 1 << 20);
    client.say(&large);
    tokio::join!(client.flush(), peer.expect_text(&large));
}

#[actix_rt::test]
async fn a_close_code_goes_both_ways() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    let reason = |code: u16, text: &str| CloseReason {
        code: code.into(),
        description: Some(text.to_owned()),
    };
    peer.send(Message::Close(Some(reason(1008, "gone for good"))))
        .await;
    assert_eq!(
        client.next().await,
        Seen::Close(Close::with_code(1008, "gone for good"))
    );
    // Longer than a close frame can hold, and cut inside a character if done carelessly.
    client
        .socket
        .queue_close(&Close::with_code(1000, "ä".repeat(100)));
    client.socket.queue_close(&Close::with_code(1001, "second"));
    assert_eq!(client.socket.queue_text(b"late"), Err(QueueError::Closing));
    assert_eq!(client.socket.frames_refused(), 1);
    client.flush().await;
    assert_eq!(
        peer.next().await.unwrap(),
        Some(Frame::Close(Some(reason(1000, &"ä".repeat(61)))))
    );
    drop(client);
    assert_eq!(peer.next().await.unwrap(), None);

    let (mut peer, mut client) = server.pair().await;
    client.socket.queue_close(&Close::default());
    client.flush().await;
    assert_eq!(peer.next().await.unwrap(), Some(Frame::Close(None)));
    drop(peer);
    assert_eq!(client.next().await, Seen::End);
}

#[actix_rt::test]
async fn broken_frames_end_the_connection_with_the_right_code() {
    let server = Server::start().await;
    for (bytes, code) in [
        (vec![0x81, 1, 0xff], 1007),
        (vec![0xc1, 0], 1002),
        (
            [&[0x82, 127][..], &(u64::MAX >> 1).to_be_bytes()[..]].concat(),
            1009,
        ),
    ] {
        let (mut peer, mut client) = server.pair().await;
        peer.raw(&bytes).await;
        let flood = async {
            // Goes on until the client has had enough.
            let filler = vec![0; 1 << 20];
            while peer.io.write_all(&filler).await.is_ok() {}
        };
        let reader = async {
            let seen = client.next().await;
            drop(client);
            seen
        };
        let (seen, ()) = tokio::join!(reader, flood);
        assert_eq!(seen, Seen::Violation(code), "{bytes:?}");
    }
}

#[actix_rt::test]
async fn the_outgoing_queue_is_bounded_when_the_hub_does_not_read() {
    let server = Server::start().await;
    let (_peer, mut client) = server.pair().await;
    let frame = vec![b'x'; 100_000];
    let mut refused = 0;
    for _ in 0..1000 {
        // What the kernel takes leaves the queue; then nothing does any more.
        assert!(!matches!(client.try_flush().now_or_never(), Some(Err(_))));
        if client.socket.queue_text(&frame) == Err(QueueError::Full) {
            refused += 1;
        }
    }
    assert!(client.socket.queued_bytes() < (4 << 20) + frame.len() + 20);
    assert!(refused > 800, "{refused}");
    assert_eq!(client.socket.frames_refused(), refused);
}

#[actix_rt::test]
async fn one_busy_connection_does_not_keep_its_arbiter_for_itself() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    // The hub writes whenever it is let; were reading never to yield, the two would only
    // stop when the hub's task gets no turn. One poll reads at most 8 times 64 KiB.
    let mut burst = Vec::new();
    for _ in 0..1000 {
        burst.extend_from_slice(&encode(text("x".repeat(1000))));
    }
    let hub = actix_rt::spawn(async move {
        for _ in 0..4 {
            peer.raw(&burst).await;
        }
        peer
    });
    let mut shared = ReadBuffer::new();
    let (mut total, mut most) = (0, 0);
    let turns = poll_fn(|cx| {
        let mut messages = 0;
        client.hear(cx);
        let ended = client.socket.poll_read(cx, &mut shared, &mut |_| {
            messages += 1;
            ControlFlow::Continue(())
        });
        assert!(ended.is_pending(), "{ended:?}");
        total += messages;
        most = most.max(messages);
        if total == 4000 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let turns = tokio::time::timeout(LONG, turns).await;
    turns.expect("the reader was never woken again");
    assert!(most <= 8 * 65_536 / 1000 + 8, "{most} messages in one poll");
    drop(hub.await.unwrap());
}

#[actix_rt::test]
async fn a_reader_that_breaks_off_gets_the_rest_at_its_next_poll() {
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    let bytes: Vec<u8> = (0..10).flat_map(|n| encode(text(n.to_string()))).collect();
    peer.raw(&bytes).await;
    let mut shared = ReadBuffer::new();
    let mut seen = Vec::new();
    let turns = poll_fn(|cx| {
        client.hear(cx);
        let ended = client.socket.poll_read(cx, &mut shared, &mut |message| {
            if let Incoming::Text(text) = message {
                seen.push(text.to_owned());
            }
            ControlFlow::Break(())
        });
        assert!(ended.is_pending());
        // Woken again by the break itself: the hub sends nothing more.
        if seen.len() == 10 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let turns = tokio::time::timeout(LONG, turns).await;
    turns.expect("the reader was never woken again");
    assert_eq!(seen.concat(), "0123456789");
}

#[actix_rt::test]
async fn two_writes_in_a_row_do_not_wait_for_each_other() {
    // With Nagle's algorithm on, a publish right after a sequenceAck waits some 40 ms for
    // the hub's delayed TCP ack, which would be reported as the hub's latency.
    let server = Server::start().await;
    let (mut peer, mut client) = server.pair().await;
    peer.io.set_nodelay(true).unwrap();
    actix_rt::spawn(async move {
        loop {
            peer.expect_text("sequenceAck").await;
            peer.expect_text("sendToGroup").await;
            peer.send(text("delivery")).await;
        }
    });
    let clock = Clock::start();
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = clock.now();
        client.say("sequenceAck");
        client.flush().await;
        client.say("sendToGroup");
        client.flush().await;
        assert_eq!(client.next().await, Seen::Text("delivery".into()));
        times.push(clock.now().micros_since(begun));
    }
    times.sort_unstable();
    assert!(times[10] < 20_000, "median echo after {} us", times[10]);
}
