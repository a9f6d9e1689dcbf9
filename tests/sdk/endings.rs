//! Stopping from every state, listeners that come and go, what the hub says before it closes,
//! and the habits of official clients that a program sees.

use std::time::Duration;

use hubstorm::hub::HubConfig;
use hubstorm::hub::faults::FaultKind;
use hubstorm::sdk::{Behaviour, Client, Credential, Event, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::rig::{Line, connect, hub, hub_with, open, text, wait_for};

async fn until(events: &mut hubstorm::sdk::Events, wanted: Event) {
    wait_for(events, |event| (*event == wanted).then_some(())).await;
}

#[tokio::test]
async fn a_client_stops_from_every_state_and_starts_again() {
    // Connecting: the server never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::builder(open(silent.local_addr().unwrap()))
        .build()
        .unwrap();
    client.stop().await;
    assert_eq!(client.state(), State::Stopped, "stopped already");
    let starting = tokio::spawn({
        let client = client.clone();
        async move { client.start().await }
    });
    let _held = silent.accept().await.unwrap();
    assert_eq!(client.state(), State::Connecting);
    client.stop().await;
    assert!(starting.await.unwrap().is_err(), "the start is told");

    // Recovering, and waiting between attempts: the hub is gone for a while.
    let hub = hub();
    let line = Line::to(hub.addr()).await;
    let (client, mut events) = connect(line.addr).await;
    client.join("g").await.unwrap();
    line.close();
    wait_for(&mut events, |event| {
        matches!(event, Event::Recovering { .. }).then_some(())
    })
    .await;
    client.stop().await;
    assert_eq!(client.state(), State::Stopped);
    until(&mut events, Event::Stopped).await;
    line.open();
    client.start().await.unwrap();
    assert_eq!(client.state(), State::Connected);
    // Connected, twice.
    let (one, two) = tokio::join!(client.stop(), client.stop());
    assert_eq!((one, two), ((), ()));
    client.start().await.unwrap();
    client.send_to_group("g", "back").await.unwrap();
    assert_eq!(text(&mut events).await, "back");
}

#[tokio::test]
async fn listeners_come_and_go_at_any_time() {
    let hub = hub();
    let (client, first) = connect(hub.addr()).await;
    client.join("g").await.unwrap();
    drop(first);
    // Nobody listens: nothing is kept, nothing is held up.
    client.send_to_group("g", "unheard").await.unwrap();
    let mut second = client.events();
    client.send_to_group("g", "one").await.unwrap();
    assert_eq!(text(&mut second).await, "one", "from now on");
    let mut third = client.events();
    client.send_to_group("g", "two").await.unwrap();
    assert_eq!(text(&mut second).await, "two");
    assert_eq!(text(&mut third).await, "two");
    client.stop().await;
    let mut fourth = client.events();
    client.start().await.unwrap();
    wait_for(&mut fourth, |event| {
        matches!(event, Event::Connected { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_hub_says_before_it_closes_rides_in_the_event() {
    let hub = hub();
    let (_client, mut events) = connect(hub.addr()).await;
    let id = wait_for(&mut events, |event| match event {
        Event::Connected { connection_id, .. } => Some(connection_id.clone()),
        _ => None,
    })
    .await;
    let mut rest = TcpStream::connect(hub.addr()).await.unwrap();
    let request = format!(
        "DELETE /api/hubs/chat/connections/{id}?reason=closing%20time&api-version=2024-12-01 HTTP/1.1\r\n\
         Host: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        hub.addr()
    );
    rest.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    rest.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let (lost, reason) = wait_for(&mut events, |event| match event {
        Event::Disconnected {
            connection_id,
            reason,
        } => Some((connection_id.clone(), reason.clone())),
        _ => None,
    })
    .await;
    assert_eq!((lost, reason.as_deref()), (id, Some("closing time")));
}

const KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";

/// A hub that recovers nobody, and takes no user into a group a second time.
fn stubborn(config: &mut HubConfig) {
    config.access_key = Some(KEY.to_owned().into());
    config.faults = ["recovery_deny,p=1", "deny_rejoin,p=1"]
        .map(|fault| fault.parse().unwrap())
        .into();
}

#[tokio::test]
async fn js_and_dotnet_announce_a_connection_after_its_rejoins_and_the_others_before() {
    for behaviour in Behaviour::ALL {
        let hub = hub_with(stubborn);
        let line = Line::to(hub.addr()).await;
        let endpoint = format!("http://{}", line.addr);
        let credential = Credential::endpoint(&endpoint, "chat", Some(KEY))
            .unwrap()
            .user_id("ada")
            .roles(["webpubsub.joinLeaveGroup"]);
        let (client, mut events) = Client::builder(credential)
            .behaves_like(behaviour)
            .connect()
            .await
            .unwrap();
        client.join("g").await.unwrap();
        line.cut();
        wait_for(&mut events, |event| {
            matches!(event, Event::Disconnected { .. }).then_some(())
        })
        .await;
        let connected_first = wait_for(&mut events, |event| match event {
            Event::Connected { .. } => Some(true),
            Event::RejoinFailed { group, .. } => {
                assert_eq!(&**group, "g");
                Some(false)
            }
            _ => None,
        })
        .await;
        let late = matches!(behaviour, Behaviour::Js | Behaviour::Dotnet);
        assert_eq!(connected_first, !late, "{behaviour:?}");
        // The other one comes, too.
        wait_for(&mut events, |event| match event {
            Event::Connected { .. } => late.then_some(()),
            Event::RejoinFailed { .. } => (!late).then_some(()),
            _ => None,
        })
        .await;
    }
}

#[tokio::test]
async fn a_js_client_told_to_stop_while_it_recovers_comes_back() {
    let hub = hub();
    let line = Line::to(hub.addr()).await;
    let (client, mut events) = Client::builder(open(line.addr))
        .behaves_like(Behaviour::Js)
        .connect()
        .await
        .unwrap();
    client.join("g").await.unwrap();
    line.close();
    wait_for(&mut events, |event| {
        matches!(event, Event::Recovering { .. }).then_some(())
    })
    .await;
    // It says that it has stopped.
    client.stop().await;
    line.open();
    let (talker, _) = connect(hub.addr()).await;
    talker.send_to_group("g", "still there?").await.unwrap();
    assert_eq!(text(&mut events).await, "still there?");
    client.stop().await;
    until(&mut events, Event::Stopped).await;
}

#[tokio::test]
async fn a_clients_own_policies_rule_its_retries() {
    let hub = hub_with(|config| config.faults = vec!["refuse,p=1".parse().unwrap()]);
    let (client, _events) = Client::builder(open(hub.addr()))
        .session(|session| {
            session.retry.retries = 5;
            session.retry.backoff.first = Duration::from_millis(1);
            session.retry.backoff.exponential = false;
        })
        .connect()
        .await
        .unwrap();
    assert!(client.send_to_group("g", "x").await.is_err());
    let truth = hub.stop();
    let refused = truth.fault_count(FaultKind::Refuse);
    assert_eq!(refused, 6, "the first try and five more");
}
