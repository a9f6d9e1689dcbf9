//! What a program sees of lost transports and lost sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hubstorm::sdk::{Client, Credential, Event, State, Subprotocol};

use super::rig::{Line, connect, hub, open, text, wait_for};

#[tokio::test]
async fn a_cut_line_is_recovered_without_loss_and_without_a_second_connected() {
    let hub = hub();
    let line = Line::to(hub.addr()).await;
    let (listener, mut events) = connect(line.addr).await;
    listener.join("g").await.unwrap();
    let (talker, _) = connect(hub.addr()).await;
    talker.send_to_group("g", "before").await.unwrap();
    assert_eq!(text(&mut events).await, "before");

    line.cut();
    let lost = wait_for(&mut events, |event| match event {
        Event::Recovering { connection_id } => Some(connection_id.clone()),
        _ => None,
    })
    .await;
    talker.send_to_group("g", "meanwhile").await.unwrap();
    let mut seen = Vec::new();
    loop {
        match events.next().await.unwrap() {
            Event::GroupMessage(message) => {
                seen.push(message.text().unwrap().to_owned());
                break;
            }
            Event::Recovered { connection_id } => {
                assert_eq!(connection_id, lost);
                seen.push("recovered".into());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["recovered", "meanwhile"]);
    assert_eq!(listener.state(), State::Connected);
}

#[tokio::test]
async fn a_request_in_flight_at_the_cut_succeeds_after_the_recovery() {
    let hub = hub();
    let line = Line::to(hub.addr()).await;
    let (client, mut events) = connect(line.addr).await;
    client.join("g").await.unwrap();
    line.cut();
    let receipt = client.send_to_group("g", "x").await.unwrap();
    assert!(receipt.ack_id.is_some());
    assert_eq!(text(&mut events).await, "x");
}

#[tokio::test]
async fn a_lost_session_is_told_replaced_and_its_groups_joined_again() {
    let hub = hub();
    let (client, mut events) = connect(hub.addr()).await;
    client.join("g").await.unwrap();
    hub.restart();
    wait_for(&mut events, |event| {
        matches!(event, Event::Disconnected { .. }).then_some(())
    })
    .await;
    wait_for(&mut events, |event| {
        matches!(event, Event::Connected { .. }).then_some(())
    })
    .await;
    // Frames of one client are executed in order: the rejoin is before this.
    client.send_to_group("g", "again").await.unwrap();
    assert_eq!(text(&mut events).await, "again");
}

#[tokio::test]
async fn without_a_reliable_subprotocol_a_cut_means_a_new_connection() {
    let hub = hub();
    let line = Line::to(hub.addr()).await;
    let (client, mut events) = Client::builder(open(line.addr))
        .subprotocol(Subprotocol::Json)
        .connect()
        .await
        .unwrap();
    client.join("g").await.unwrap();
    line.cut();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match events.next().await.unwrap() {
            Event::Connected { .. } if seen.is_empty() => {}
            Event::Disconnected { .. } => seen.push("disconnected"),
            Event::Connected { .. } => seen.push("connected"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["disconnected", "connected"]);
    client.send_to_group("g", "again").await.unwrap();
    assert_eq!(text(&mut events).await, "again");
}

#[tokio::test]
async fn the_url_provider_is_asked_anew_for_every_connection() {
    let hub = hub();
    let addr = hub.addr();
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let credential = Credential::provider(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, String>(format!("ws://{addr}/client/hubs/chat")) }
    });
    let (_client, mut events) = Client::connect(credential).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    hub.restart();
    wait_for(&mut events, |event| {
        matches!(event, Event::Disconnected { .. }).then_some(())
    })
    .await;
    wait_for(&mut events, |event| {
        matches!(event, Event::Connected { .. }).then_some(())
    })
    .await;
    // The refused recovery asked, too.
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}
