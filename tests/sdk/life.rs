//! Starting, refusals, stopping, starting again, listeners.

use std::future::IntoFuture as _;
use std::time::Duration;

use hubstorm::sdk::{Client, ConnectError, Credential, Event, RequestError, State};

use super::rig::{connect, hub, hub_with, open, text, wait_for};

const KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";

#[tokio::test]
async fn a_key_signs_tokens_and_a_wrong_one_is_a_401() {
    let hub = hub_with(|config| config.access_key = Some(KEY.to_owned().into()));
    let endpoint = format!("http://{}", hub.addr());
    let right = Credential::endpoint(&endpoint, "chat", Some(KEY)).unwrap();
    let (_client, mut events) = Client::builder(right.user_id("ada"))
        .connect()
        .await
        .unwrap();
    let user = wait_for(&mut events, |event| match event {
        Event::Connected { user_id, .. } => Some(user_id.clone()),
        _ => None,
    })
    .await;
    assert_eq!(user.as_deref(), Some("ada"));

    let wrong = Credential::endpoint(&endpoint, "chat", Some(&KEY.to_lowercase())).unwrap();
    let error = Client::connect(wrong).await.map(|_| ()).unwrap_err();
    assert_eq!(error.status(), Some(401), "{error}");
}

#[tokio::test]
async fn the_token_may_stand_in_the_header() {
    let hub = hub_with(|config| config.access_key = Some(KEY.to_owned().into()));
    let text = format!(
        "Endpoint=http://{};AccessKey={KEY};Version=1.0;",
        hub.addr()
    );
    let credential = Credential::connection_string(&text, "chat").unwrap();
    let client = Client::builder(credential).bearer(true).build().unwrap();
    client.start().await.unwrap();
    assert_eq!(client.state(), State::Connected);
}

#[tokio::test]
async fn the_roles_of_the_token_bind_the_client() {
    let hub = hub_with(|config| config.access_key = Some(KEY.to_owned().into()));
    let endpoint = format!("http://{}", hub.addr());
    let credential = Credential::endpoint(&endpoint, "chat", Some(KEY))
        .unwrap()
        .roles(["webpubsub.joinLeaveGroup.g"])
        .user_id("ada");
    let (client, _events) = Client::connect(credential).await.unwrap();
    client.join("g").await.unwrap();
    match client.send_to_group("g", "x").await {
        Err(RequestError::Refused { name, .. }) => assert_eq!(name, "Forbidden"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_first_connection_that_fails_fails_the_start_and_can_be_tried_again() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = nobody.local_addr().unwrap();
    drop(nobody);
    let client = Client::builder(open(addr)).build().unwrap();
    let mut events = client.events();
    assert!(matches!(client.start().await, Err(ConnectError::Dial(_))));
    assert_eq!(events.next().await, Some(Event::Stopped));
    assert_eq!(client.join("g").await, Err(RequestError::Stopped));
    assert!(client.start().await.is_err());
}

#[tokio::test]
async fn a_stopped_client_starts_again_and_joins_its_groups() {
    let hub = hub();
    let (client, mut events) = connect(hub.addr()).await;
    client.join("g").await.unwrap();
    client.stop().await;
    assert_eq!(client.state(), State::Stopped);
    wait_for(&mut events, |event| {
        (*event == Event::Stopped).then_some(())
    })
    .await;
    assert_eq!(
        client.send_to_group("g", "x").await,
        Err(RequestError::Stopped)
    );
    client.start().await.unwrap();
    client.send_to_group("g", "back").await.unwrap();
    assert_eq!(text(&mut events).await, "back");
}

#[tokio::test]
async fn a_graceful_stop_lets_requests_end() {
    let hub = hub();
    let (listener, mut heard) = connect(hub.addr()).await;
    listener.join("g").await.unwrap();
    let (client, _events) = connect(hub.addr()).await;
    let sends: Vec<_> = (0..50)
        .map(|n| tokio::spawn(client.send_to_group("g", format!("{n}")).into_future()))
        .collect();
    // The last send is on its way before the stop is asked for.
    assert_eq!(text(&mut heard).await, "0");
    client.stop_within(Duration::from_secs(10)).await;
    for send in sends {
        // Refused or done, but not lost half-way.
        match send.await.unwrap() {
            Ok(_) | Err(RequestError::Stopped) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_stops_when_its_last_handle_is_dropped() {
    let hub = hub();
    let (client, mut events) = connect(hub.addr()).await;
    drop(client);
    wait_for(&mut events, |event| {
        (*event == Event::Stopped).then_some(())
    })
    .await;
    assert_eq!(events.next().await, None);
    assert_eq!(hub.stop().sessions_ended_by_client, 1);
}

#[tokio::test]
async fn a_slow_listener_is_told_what_it_missed_and_holds_up_nobody() {
    let hub = hub();
    let (client, mut slow) = Client::builder(open(hub.addr()))
        .event_queue(4)
        .connect()
        .await
        .unwrap();
    client.join("g").await.unwrap();
    let mut quick = client.events();
    for n in 0..20 {
        client.send_to_group("g", format!("{n}")).await.unwrap();
        assert_eq!(text(&mut quick).await, format!("{n}"));
    }
    // Connected and twenty messages, of which four are kept.
    assert_eq!(slow.next().await, Some(Event::Missed(17)));
    assert_eq!(text(&mut slow).await, "16");
}
