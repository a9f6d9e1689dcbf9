//! Streams and invocations as a program uses them.

use std::time::Duration;

use hubstorm::hub::EventHandler;
use hubstorm::sdk::{
    Client, Data, Event, Events, InvokeError, InvokeRefused, PartOrder, StreamEnd, StreamError,
    StreamMark, StreamRefused, Subprotocol,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::rig::{Line, connect, hub, hub_with, open, wait_for};

/// The next stream part: its mark and text.
async fn part(events: &mut Events) -> (StreamMark, String) {
    wait_for(events, |event| match event {
        Event::GroupMessage(message) => {
            let mark = message.stream.as_deref()?.clone();
            Some((mark, message.text().unwrap_or_default().to_owned()))
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_long_stream_survives_cuts_of_both_lines_whole_and_in_order() {
    const PARTS: u64 = 1000;
    let hub = hub();
    let (near, far) = (Line::to(hub.addr()).await, Line::to(hub.addr()).await);
    let (publisher, mut heard) = connect(near.addr).await;
    let (member, mut events) = connect(far.addr).await;
    member.join("g").await.unwrap();
    let mut stream = publisher.open_stream("g").await.unwrap();
    let writing = tokio::spawn(async move {
        for n in 1..=PARTS {
            stream.write(n.to_string()).await?;
        }
        stream.end().await
    });
    let mut recovered = false;
    for n in 1..=PARTS {
        let (mark, text) = part(&mut events).await;
        assert_eq!((mark.number, text), (n, n.to_string()));
        assert_eq!(
            mark.order,
            if n == 1 {
                PartOrder::First
            } else {
                PartOrder::Next
            }
        );
        if n == 50 || n == 400 {
            near.cut();
            far.cut();
        }
        recovered |= n == 400;
    }
    assert!(recovered);
    let (mark, _) = part(&mut events).await;
    assert_eq!((mark.number, mark.end), (PARTS + 1, Some(StreamEnd::Whole)));
    writing.await.unwrap().unwrap();
    wait_for(&mut heard, |event| {
        matches!(event, Event::Recovered { .. }).then_some(())
    })
    .await;
    let truth = hub.stop();
    assert_eq!((truth.streams.parts, truth.streams.ended), (PARTS, 1));
}

#[tokio::test]
async fn a_stream_that_fails_or_is_dropped_says_so_to_its_members() {
    let hub = hub();
    for subprotocol in [Subprotocol::JsonReliable, Subprotocol::ProtobufReliable] {
        let (client, mut events) = Client::builder(open(hub.addr()))
            .subprotocol(subprotocol)
            .connect()
            .await
            .unwrap();
        client.join("g").await.unwrap();
        let mut stream = client.open_stream("g").id("mine").await.unwrap();
        stream.write("half").await.unwrap();
        assert_eq!(part(&mut events).await.1, "half");
        let taken = client.open_stream("g").id("mine").await.unwrap_err();
        assert_eq!(taken, StreamError::NotOpened(StreamRefused::BadName));
        stream.write("more").await.unwrap();
        stream.fail("out of ink", "ink").await.unwrap();
        assert_eq!(part(&mut events).await.1, "more");
        let wanted = StreamEnd::Failed {
            name: "UserError".into(),
            message: Some("out of ink".into()),
            code: Some("ink".into()),
        };
        let (mark, text) = part(&mut events).await;
        assert_eq!(
            (mark.id.as_str(), mark.end, text.as_str()),
            ("mine", Some(wanted), "")
        );

        drop(client.open_stream("g").await.unwrap());
        let Some(StreamEnd::Failed { code, .. }) = part(&mut events).await.0.end else {
            panic!("an abandoned stream was ended well")
        };
        assert_eq!(code.as_deref(), Some("Dropped"));
    }
}

#[tokio::test]
async fn a_stream_is_refused_or_lost_with_a_reason() {
    let hub = hub_with(|config| config.access_key = Some("k".repeat(32).into()));
    let addr = format!("http://{}", hub.addr());
    let credential = hubstorm::sdk::Credential::endpoint(&addr, "chat", Some(&"k".repeat(32)))
        .unwrap()
        .roles(["webpubsub.sendToGroup.mine"]);
    let (client, _events) = Client::connect(credential).await.unwrap();
    let refused = client.open_stream("others").await.unwrap_err();
    assert!(
        matches!(&refused, StreamError::Closed { name, accepted: 0, .. } if name == "Forbidden"),
        "{refused:?}"
    );
    let mut stream = client.open_stream("mine").await.unwrap();
    stream.write("x").await.unwrap();
    client.stop().await;
    let lost = stream.write("y").await.unwrap_err();
    assert!(matches!(lost, StreamError::Lost { .. }), "{lost:?}");
    assert!(matches!(stream.end().await, Err(StreamError::Lost { .. })));
    assert_eq!(
        client.open_stream("mine").await.unwrap_err(),
        StreamError::Stopped
    );
    assert_eq!(client.invoke("e", "x").await, Err(InvokeError::Stopped));
}

#[tokio::test]
async fn an_invocation_is_answered_refused_or_not_even_made() {
    let hub = hub();
    let (client, _events) = connect(hub.addr()).await;
    let answer = client
        .invoke("e", serde_json::json!({"a": 1}))
        .await
        .unwrap();
    assert_eq!(answer, Some(Data::Json(r#"{"a":1}"#.into())));
    let refused = client.invoke("no event's name", "x").await.unwrap_err();
    assert!(matches!(&refused, InvokeError::Refused { name, .. } if name == "BadRequest"));
    let (binary, _events) = Client::builder(open(hub.addr()))
        .subprotocol(Subprotocol::Protobuf)
        .connect()
        .await
        .unwrap();
    assert_eq!(
        binary.invoke("e", "x").await,
        Err(InvokeError::NotMade(InvokeRefused::NoEncoding))
    );
    let unhandled = hub_with(|config| config.event_handler = EventHandler::None);
    let (client, _events) = connect(unhandled.addr()).await;
    let refused = client.invoke("e", "x").await.unwrap_err();
    assert!(matches!(&refused, InvokeError::Refused { name, .. } if name == "InternalServerError"));
}

/// An upstream that lets clients connect, takes their events and never answers them. Its
/// URL, and a message for each event.
async fn mute_upstream() -> (String, mpsc::UnboundedReceiver<()>) {
    const WELCOME: &[u8] =
        b"HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: *\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (told, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            if String::from_utf8_lossy(&head).contains("azure.webpubsub.user.") {
                held.push(socket);
                let _ = told.send(());
            } else {
                let _ = socket.write_all(WELCOME).await;
            }
        }
    });
    (url, events)
}

#[tokio::test]
async fn an_invocation_without_an_answer_ends_by_its_timeout_a_cut_or_its_caller() {
    let (upstream, mut called) = mute_upstream().await;
    let hub = hub_with(|config| config.upstream = Some(upstream.parse().unwrap()));
    let line = Line::to(hub.addr()).await;
    let (client, mut events) = connect(line.addr).await;
    let lost = tokio::spawn(client.invoke("e", "x").no_timeout().into_future());
    called.recv().await.unwrap();
    line.cut();
    assert_eq!(lost.await.unwrap(), Err(InvokeError::Lost));
    wait_for(&mut events, |event| {
        matches!(event, Event::Recovered { .. }).then_some(())
    })
    .await;
    // These wait at the hub, behind the one that is never answered; long enough to get there,
    // since one that was never sent has nothing to cancel.
    let patience = Duration::from_millis(500);
    let late = client.invoke("e", "x").timeout(patience);
    assert_eq!(late.await, Err(InvokeError::Timeout));
    let off = client.invoke("e", "x").into_future();
    let off = tokio::time::timeout(patience, off).await;
    assert!(off.is_err());
    // The session is none the worse for it, and the hub was told.
    client.join("g").await.unwrap();
    assert_eq!(hub.stop().invocations_cancelled, 2);
}
