//! Requests: options, receipts, errors.

use std::future::IntoFuture as _;
use std::time::Duration;

use hubstorm::sdk::{Client, Data, Event, RequestError, Subprotocol};
use serde_json::json;

use super::rig::{connect, hub, hub_with, open, text, wait_for};

#[tokio::test]
async fn every_type_of_payload_arrives_as_it_was_sent_over_every_subprotocol() {
    let hub = hub();
    for subprotocol in Subprotocol::ALL {
        let (client, mut events) = Client::builder(open(hub.addr()))
            .subprotocol(subprotocol)
            .connect()
            .await
            .unwrap();
        client.join("g").await.unwrap();
        let mut payloads = vec![
            Data::from("text"),
            Data::from(json!({"a": [1, 2]})),
            Data::from(vec![0u8, 255]),
        ];
        if subprotocol.is_binary() {
            // A google.protobuf.Any; JSON clients may receive one, not send it.
            payloads.push(Data::Protobuf(
                b"\x0a\x04type\x12\x02\x08\x01".to_vec().into(),
            ));
        }
        for data in payloads {
            client.send_to_group("g", data.clone()).await.unwrap();
            let (got, sequence) = wait_for(&mut events, |event| match event {
                Event::GroupMessage(message) => Some((message.data.clone(), message.sequence_id)),
                _ => None,
            })
            .await;
            assert_eq!(*got, data, "{subprotocol}");
            assert_eq!(sequence.is_some(), subprotocol.is_reliable());
        }
        client.stop().await;
    }
}

#[tokio::test]
async fn no_echo_spares_the_sender_and_fire_and_forget_has_no_ack_id() {
    let hub = hub();
    let (client, mut events) = connect(hub.addr()).await;
    client.join("g").await.unwrap();
    client.send_to_group("g", "silent").no_echo().await.unwrap();
    let receipt = client
        .send_to_group("g", "loud")
        .fire_and_forget()
        .await
        .unwrap();
    assert_eq!(receipt.ack_id, None);
    assert_eq!(text(&mut events).await, "loud");
}

#[tokio::test]
async fn a_callers_ack_id_is_executed_once() {
    let hub = hub();
    let (client, mut events) = connect(hub.addr()).await;
    client.join("g").await.unwrap();
    let first = client.send_to_group("g", "once").ack_id(777).await.unwrap();
    assert_eq!((first.ack_id, first.duplicate), (Some(777), false));
    let again = client.send_to_group("g", "once").ack_id(777).await.unwrap();
    assert_eq!((again.ack_id, again.duplicate), (Some(777), true));
    client.send_to_group("g", "end").await.unwrap();
    assert_eq!(text(&mut events).await, "once");
    assert_eq!(text(&mut events).await, "end");
}

#[tokio::test]
async fn an_event_is_answered_by_the_handler_or_refused_without_one() {
    let hub = hub();
    let (client, mut events) = connect(hub.addr()).await;
    client.send_event("greet", "hello").await.unwrap();
    let reply = wait_for(&mut events, |event| match event {
        Event::ServerMessage(message) => message.text().map(str::to_owned),
        _ => None,
    })
    .await;
    assert_eq!(reply, "hello");

    let deaf = hub_with(|config| config.event_handler = hubstorm::hub::EventHandler::None);
    let (client, _events) = connect(deaf.addr()).await;
    match client.send_event("greet", "hello").no_retry().await {
        Err(RequestError::Refused { name, .. }) => assert_eq!(name, "InternalServerError"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_left_is_not_heard_any_more() {
    let hub = hub();
    let (client, mut events) = connect(hub.addr()).await;
    client.join("g").await.unwrap();
    client.join("h").await.unwrap();
    client.leave("g").await.unwrap();
    client.send_to_group("g", "gone").await.unwrap();
    client.send_to_group("h", "here").await.unwrap();
    assert_eq!(text(&mut events).await, "here");
}

#[tokio::test]
async fn a_request_without_an_answer_times_out_and_the_client_goes_on() {
    let hub = hub_with(|config| config.faults = vec!["lose_ack".parse().unwrap()]);
    let (client, mut events) = connect(hub.addr()).await;
    let patience = Duration::from_millis(200);
    client.join("g").await.unwrap();
    let unanswered = client.send_to_group("h", "y").timeout(patience).await;
    assert_eq!(unanswered, Err(RequestError::Timeout));
    client.send_to_group("g", "x").await.unwrap();
    assert_eq!(text(&mut events).await, "x");
}

#[tokio::test]
async fn a_dropped_request_frees_its_place() {
    let hub = hub_with(|config| config.faults = vec!["lose_ack,p=1".parse().unwrap()]);
    let (client, _events) = connect(hub.addr()).await;
    for _ in 0..3 {
        // More than the 256 that may be without an outcome.
        for _ in 0..200 {
            let request = client.send_to_group("g", "x").into_future();
            let patience = Duration::from_millis(1);
            assert!(tokio::time::timeout(patience, request).await.is_err());
        }
    }
}
