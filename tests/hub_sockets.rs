//! The hub over real sockets, seen by a raw WebSocket client that shares no code with it:
//! handshakes, closes, recovery, limits, and that one client never disturbs another.

#[allow(
    dead_code,
    reason = "each of the hub's test programs uses a part of it"
)]
mod hub_support;

use std::time::Duration;

use hub_support::{Raw, Reply, hub, hub_with, status_of};
use hubstorm::hub::{EventHandler, HubConfig};
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn token(claims: Value) -> String {
    hub_support::token(&claims, KEY)
}

#[tokio::test]
async fn a_client_joins_publishes_and_gets_its_own_echo() {
    let hub = hub();
    let mut a = Raw::connect(&hub, "/client/hubs/chat").await;
    let connected = a.json().await;
    assert_eq!(
        (
            &connected["event"],
            connected["connectionId"].as_str().unwrap().len()
        ),
        (&"connected".into(), 32)
    );
    let mut b = Raw::joined(&hub, "g").await;
    a.send(r#"{"type":"joinGroup","group":"g","ackId":1}"#)
        .await;
    assert_eq!(a.json().await["success"], true);
    a.send(r#"{"type":"sendToGroup","group":"g","ackId":2,"dataType":"text","data":"hi"}"#)
        .await;
    let message = a.json().await;
    assert_eq!(
        (&message["data"], &message["sequenceId"]),
        (&"hi".into(), &1.into())
    );
    assert_eq!(a.json().await["ackId"], 2);
    assert_eq!(b.json().await["data"], "hi");
    a.send(r#"{"type":"event","event":"e","ackId":3,"dataType":"binary","data":"AAE="}"#)
        .await;
    let message = a.json().await;
    assert_eq!(
        (&message["from"], &message["data"], &message["dataType"]),
        (&"server".into(), &"AAE=".into(), &"binary".into())
    );
    assert_eq!(a.json().await["ackId"], 3);
    let truth = hub.truth().await;
    assert_eq!(
        (
            truth.connections_accepted,
            truth.deliveries_numbered,
            truth.acks_sent
        ),
        (2, 3, 4)
    );
    let truth = hub.stop();
    // Connected, acks, data, goodbyes.
    assert_eq!(truth.frames_sent, 2 + 4 + 3 + 2);
}

#[tokio::test]
async fn both_url_forms_and_the_clients_spelling_of_the_subprotocol() {
    let hub = hub();
    let offers = "unknown, JSON.webpubsub.azure.v1, json.reliable.webpubsub.azure.v1";
    let (mut raw, head) = Raw::offer(&hub, "/client/?hub=chat", offers).await.unwrap();
    assert!(head.contains("JSON.webpubsub.azure.v1"), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    let connected = raw.json().await;
    assert!(connected["reconnectionToken"].is_null());
}

#[tokio::test]
async fn requests_that_cannot_become_a_websocket_are_refused() {
    let hub = hub();
    for (path, status) in [
        ("/nothing", 404),
        ("/client/", 404),
        ("/client/hubs/9x", 404),
        ("/client/hubs/chat/more", 404),
    ] {
        assert_eq!(status_of(&hub, path).await, status, "{path}");
    }
    for bad in [
        "webpubsub_mode=all",
        "webpubsub_mode=sendToGroup",
        "noEcho=1",
    ] {
        let path = format!("/client/hubs/chat?{bad}");
        let status = Raw::offer(&hub, &path, "mqtt").await.unwrap_err();
        assert_eq!(status, 400, "{bad}");
    }
    let plain = Raw::plain_get(&hub, "/client/hubs/chat").await;
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");
    assert!(
        Raw::plain_get(&hub, "/health")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    let truth = hub.stop();
    assert_eq!(
        (
            truth.connections_refused[&404],
            truth.connections_refused[&400]
        ),
        (4, 4)
    );
    assert_eq!(truth.connections_accepted, 0);
}

#[tokio::test]
async fn with_a_key_only_a_good_token_opens_and_its_claims_count() {
    let hub = hub_with(|config| config.access_key = Some(KEY.into()));
    let aud = format!("http://{}/client/hubs/chat", hub.addr());
    let good = json!({"aud": aud, "exp": 4e9, "sub": "u1", "role": "webpubsub.sendToGroup.g", "webpubsub.group": ["g"]});
    let url = format!("/client/hubs/chat?access_token={}", token(good));
    let mut raw = Raw::connect(&hub, &url).await;
    assert_eq!(raw.json().await["userId"], "u1");
    raw.send(r#"{"type":"sendToGroup","group":"g","ackId":1,"data":1}"#)
        .await;
    assert_eq!(raw.json().await["fromUserId"], "u1");
    assert_eq!(raw.json().await["success"], true);
    raw.send(r#"{"type":"joinGroup","group":"h","ackId":2}"#)
        .await;
    assert_eq!(raw.json().await["error"]["name"], "Forbidden");
    for (claims, status) in [
        (json!({"aud": aud, "exp": 1}), 401),
        (
            json!({"aud": "http://elsewhere/client/hubs/chat", "exp": 4e9}),
            401,
        ),
        (json!({"aud": aud, "exp": 4e9, "webpubsub.group": " "}), 400),
    ] {
        let url = format!("/client/hubs/chat?access_token={}", token(claims.clone()));
        assert_eq!(status_of(&hub, &url).await, status, "{claims}");
    }
    assert_eq!(status_of(&hub, "/client/hubs/chat").await, 401);
    assert_eq!(hub.stop().connections_refused[&401], 3);
}

#[tokio::test]
async fn without_a_key_a_token_is_believed() {
    let hub = hub();
    let url = format!(
        "/client/hubs/chat?access_token={}",
        token(json!({"sub": "u2"}))
    );
    let mut raw = Raw::connect(&hub, &url).await;
    assert_eq!(raw.json().await["userId"], "u2");
    raw.send(r#"{"type":"joinGroup","group":"h","ackId":2}"#)
        .await;
    assert_eq!(raw.json().await["error"]["name"], "Forbidden");
}

#[tokio::test]
async fn a_killed_client_recovers_and_gets_what_it_missed() {
    let hub = hub();
    let mut publisher = Raw::joined(&hub, "other").await;
    let (raw, url) = Raw::recoverable(&hub).await;
    raw.reset();
    publisher
        .send(r#"{"type":"sendToGroup","group":"g","ackId":9,"data":1}"#)
        .await;
    publisher.json().await;
    // An odd access token beside the recovery parameters does not matter.
    let mut back = Raw::connect(&hub, &format!("{url}&access_token=expired")).await;
    assert_eq!(back.json().await["event"], "connected");
    assert_eq!(back.json().await["sequenceId"], 1);
    publisher
        .send(r#"{"type":"sendToGroup","group":"g","ackId":10,"data":2}"#)
        .await;
    assert_eq!(back.json().await["sequenceId"], 2);
    // A second recovery while the first transport lives: the newcomer wins.
    let mut newest = Raw::connect(&hub, &url).await;
    assert_eq!(newest.json().await["event"], "connected");
    assert_eq!(newest.json().await["sequenceId"], 1);
    assert!(
        matches!(back.until_end().await, Reply::Reset),
        "the old transport"
    );
}

#[tokio::test]
async fn a_recovery_that_cannot_be_is_accepted_and_then_closed_with_1008() {
    let hub = hub_with(|config| config.recovery_window = Duration::from_millis(50));
    let (mut raw, url) = Raw::recoverable(&hub).await;
    raw.close(Some(1000)).await;
    assert_eq!(raw.until_end().await, Reply::Close(Some(1000)));
    let mut back = Raw::connect(&hub, &url).await;
    assert_eq!(back.until_end().await, Reply::Close(Some(1008)));
    let (raw, url) = Raw::recoverable(&hub).await;
    raw.reset();
    while hub.truth().await.sessions_expired == 0 {
        tokio::task::yield_now().await;
    }
    let mut back = Raw::connect(&hub, &url).await;
    assert_eq!(back.until_end().await, Reply::Close(Some(1008)));
    let bad = "/client/hubs/chat?awps_connection_id=x&awps_reconnection_token=y";
    let mut back = Raw::connect(&hub, bad).await;
    assert_eq!(back.until_end().await, Reply::Close(Some(1008)));
    assert_eq!(hub.stop().recoveries_refused["unknown_session"], 3);
}

#[tokio::test]
async fn only_a_close_with_1000_ends_a_reliable_session() {
    let hub = hub();
    for code in [None, Some(1001), Some(3000)] {
        let (mut raw, url) = Raw::recoverable(&hub).await;
        raw.close(code).await;
        assert_eq!(raw.until_end().await, Reply::Close(code));
        let mut back = Raw::connect(&hub, &url).await;
        assert_eq!(back.json().await["event"], "connected", "{code:?}");
    }
}

#[tokio::test]
async fn each_offence_has_its_close_code_and_harms_nobody_else() {
    let hub = hub();
    let mut bystander = Raw::joined(&hub, "g").await;
    let mask = [0u8; 4];
    let framed = |first: u8, payload: &[u8]| {
        [&[first, 0x80 | payload.len() as u8][..], &mask, payload].concat()
    };
    let oversized = [&[0x81, 0xff][..], &(1_048_577u64).to_be_bytes(), &mask].concat();
    for (bytes, code) in [
        (framed(0x81, b"{"), 1007),
        (framed(0x81, br#"{"type":"nonsense"}"#), 1007),
        (framed(0x81, br#"{"type":"joinGroup"}"#), 1007),
        (framed(0x81, &[0xff, 0xfe]), 1007),
        (framed(0x82, b"{}"), 1003),
        (oversized, 1009),
        (vec![0x81, 0x02, b'{', b'}'], 1002),
        (framed(0xc1, b"{}"), 1002),
        (framed(0x80, b"{}"), 1002),
        (framed(0x83, b"{}"), 1002),
        (framed(0x09, b""), 1002),
        (framed(0x88, &[3]), 1002),
    ] {
        let (mut raw, url) = Raw::recoverable(&hub).await;
        raw.bytes(&bytes).await;
        assert_eq!(
            raw.until_end().await,
            Reply::Close(Some(code)),
            "{bytes:02x?}"
        );
        let mut back = Raw::connect(&hub, &url).await;
        assert_eq!(
            back.until_end().await,
            Reply::Close(Some(1008)),
            "{bytes:02x?}"
        );
    }
    bystander
        .send(r#"{"type":"sendToGroup","group":"g","data":1}"#)
        .await;
    assert_eq!(bystander.json().await["sequenceId"], 1);
    assert_eq!(hub.stop().sessions_violated, 12);
}

#[tokio::test]
async fn fragments_and_pings_between_them_make_one_message() {
    let hub = hub();
    let mut raw = Raw::joined(&hub, "g").await;
    let text = br#"{"type":"sendToGroup","group":"g","data":"whole"}"#;
    raw.fragment(0x01, &text[..10]).await;
    raw.fragment(0x89, b"are you there").await;
    assert_eq!(raw.next().await, Reply::Pong(b"are you there".to_vec()));
    raw.fragment(0x00, &text[10..20]).await;
    raw.fragment(0x80, &text[20..]).await;
    assert_eq!(raw.json().await["data"], "whole");
}

#[tokio::test]
async fn a_client_that_never_reads_delays_nobody() {
    let hub = hub();
    let (mut frozen, url) = Raw::recoverable(&hub).await;
    let mut lively = Raw::joined(&hub, "g").await;
    let payload = "x".repeat(20_000);
    let frame = json!({"type": "sendToGroup", "group": "g", "data": payload}).to_string();
    // 1,100 x 20 kB: far beyond what sockets buffer, and more than may wait unacknowledged.
    for n in 1..=1100_u64 {
        lively.send(&frame).await;
        assert_eq!(lively.json().await["sequenceId"], n);
        if n % 100 == 0 {
            lively
                .send(&json!({"type": "sequenceAck", "sequenceId": n}).to_string())
                .await;
        }
    }
    assert_eq!(hub.truth().await.sessions_overflowed, 1);
    // What was on its way arrives in order, then the close that says: not recoverable.
    let mut expected = 1;
    let end = loop {
        match frozen.next().await {
            Reply::Text(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(frame["sequenceId"], expected);
                expected += 1;
            }
            Reply::Ping => {}
            end => break end,
        }
    };
    assert_eq!(end, Reply::Close(Some(1008)));
    // 16 MiB of 20 kB messages, and all that were numbered for it arrived.
    assert_eq!(expected - 1, hub.truth().await.deliveries_numbered - 1100);
    assert!((800..839).contains(&expected), "{expected}");
    let mut back = Raw::connect(&hub, &url).await;
    assert_eq!(back.until_end().await, Reply::Close(Some(1008)));
}

#[tokio::test]
async fn a_client_that_floods_without_pause_starves_nobody() {
    // Were one connection read until its socket is empty, this one's never would be, and
    // nobody else would be served again.
    let hub = hub();
    let mut lively = Raw::joined(&hub, "g").await;
    let mut flooding = Raw::joined(&hub, "nobody-listens").await;
    let frame = r#"{"type":"sendToGroup","group":"empty","data":"x"}"#;
    let chunk = Raw::frame(frame).repeat(5_000);
    let flood = tokio::spawn(async move {
        loop {
            flooding.bytes(&chunk).await;
        }
    });
    for n in 1..=20_u64 {
        let frame = json!({"type": "sendToGroup", "group": "g", "data": n, "ackId": n});
        lively.send(&frame.to_string()).await;
        assert_eq!(lively.json().await["sequenceId"], n);
        assert_eq!(lively.json().await["ackId"], n);
    }
    let executed = hub.truth().await.publishes_executed;
    assert!(executed > 20, "nothing came of the flood");
    assert!(!flood.is_finished(), "the flood was cut off");
    flood.abort();
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_then_cut_off() {
    // Connecting and joining must not take two of these.
    let hub = hub_with(|config| config.keep_alive = Duration::from_secs(1));
    let (mut silent, url) = Raw::recoverable(&hub).await;
    assert_eq!(silent.next().await, Reply::Ping);
    assert!(matches!(
        silent.until_end().await,
        Reply::Reset | Reply::Eof
    ));
    assert!(hub.truth().await.ping_timeouts >= 1);
    let mut back = Raw::connect(&hub, &url).await;
    assert_eq!(back.json().await["event"], "connected");
}

#[tokio::test]
async fn a_restart_resets_everyone_and_goes_on_listening() {
    let hub = hub();
    let (mut raw, url) = Raw::recoverable(&hub).await;
    hub.restart();
    assert_eq!(raw.until_end().await, Reply::Reset);
    let mut back = Raw::connect(&hub, &url).await;
    assert_eq!(back.until_end().await, Reply::Close(Some(1008)));
    let _new = Raw::joined(&hub, "g").await;
    assert_eq!(hub.stop().restarts, 1);
}

#[tokio::test]
async fn a_stopping_hub_closes_with_1001_and_frees_its_port() {
    let hub = hub();
    let addr = hub.addr();
    let mut raw = Raw::joined(&hub, "g").await;
    let stopped = tokio::task::spawn_blocking(move || hub.stop());
    assert_eq!(raw.json().await["event"], "disconnected");
    assert_eq!(raw.until_end().await, Reply::Close(Some(1001)));
    drop(raw);
    assert_eq!(stopped.await.unwrap().sessions_killed, 1);
    let hub = hub_with(|config| config.listen = addr);
    assert_eq!(hub.addr(), addr);
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_says_so() {
    let hub = hub();
    let config = HubConfig {
        listen: hub.addr(),
        ..hub_support::config()
    };
    let error = hubstorm::hub::Hub::start(config).unwrap_err().to_string();
    assert!(
        error.contains(&hub.addr().to_string()) && error.contains("--listen"),
        "{error}"
    );
}

#[tokio::test]
async fn faults_and_handlers_are_configurable() {
    let hub = hub_with(|config| {
        config.faults = vec!["lose_ack".parse().unwrap()];
        config.event_handler = EventHandler::None;
    });
    let mut raw = Raw::joined(&hub, "g").await;
    raw.send(r#"{"type":"sendToGroup","group":"g","ackId":5,"data":1}"#)
        .await;
    raw.send(r#"{"type":"event","event":"e","ackId":6,"data":1}"#)
        .await;
    assert_eq!(raw.json().await["data"], 1);
    assert_eq!(raw.json().await["error"]["name"], "InternalServerError");
    let truth = hub.stop();
    assert_eq!(truth.faults["lose_ack"], 1);
    assert_eq!(truth.incidents[0].ack_id, Some(5));
}
