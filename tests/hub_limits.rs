//! What the hub lets in and what it sheds, over real sockets: keys and token claims, the
//! number of connections, and the time and size that a request's head may take.

#[allow(
    dead_code,
    reason = "each of the hub's test programs uses a part of it"
)]
mod hub_support;

use hub_support::{Raw, Reply, hub_with, status_of, token};
use serde_json::json;

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

#[tokio::test]
async fn while_keys_are_changed_both_are_good() {
    let hub = hub_with(|config| {
        config.access_key = Some(NEW.into());
        config.secondary_access_key = Some(OLD.into());
    });
    let claims = json!({"aud": format!("http://{}/client/hubs/chat", hub.addr()), "exp": 4e9});
    for (key, status) in [
        (OLD, 101),
        (NEW, 101),
        ("another key, of 32 or more bytes", 401),
    ] {
        let path = format!("/client/hubs/chat?access_token={}", token(&claims, key));
        assert_eq!(status_of(&hub, &path).await, status, "{key}");
    }
}

#[tokio::test]
async fn the_lifetime_that_an_access_token_wishes_for_is_kept() {
    let hub = hub_with(|config| config.access_key = Some(NEW.into()));
    let aud = format!("http://{}/client/hubs/chat", hub.addr());
    for (wish, seconds) in [
        (json!(90), 90),
        (json!("90"), 90),
        (json!(1e12), 7 * 86_400),
    ] {
        let claims = json!({"aud": aud, "exp": 4e9, "webpubsub.rtoken.ttl": wish});
        let path = format!("/client/hubs/chat?access_token={}", token(&claims, NEW));
        let connected = Raw::connect(&hub, &path).await.json().await;
        // The token begins with the microsecond of its end, counted from the hub's start.
        let text = connected["reconnectionToken"].as_str().unwrap();
        let end = u64::from_str_radix(text.split('.').next().unwrap(), 16).unwrap();
        let wanted = seconds * 1_000_000;
        assert!(
            (wanted..wanted + 60_000_000).contains(&end),
            "{wish}: {end}"
        );
    }
    let claims = json!({"aud": aud, "exp": 4e9, "webpubsub.rtoken.ttl": [1]});
    let path = format!("/client/hubs/chat?access_token={}", token(&claims, NEW));
    assert_eq!(status_of(&hub, &path).await, 401, "no number");
}

#[tokio::test]
async fn beyond_the_limit_connects_are_refused_until_a_place_is_free() {
    let hub = hub_with(|config| config.max_connections = Some(2));
    let path = "/client/hubs/chat";
    let (mut first, recovery) = Raw::recoverable(&hub).await;
    let _second = Raw::connect(&hub, path).await.json().await;
    assert_eq!(status_of(&hub, path).await, 429);
    let head = Raw::upgrade_head(&hub, path).await;
    assert!(head.to_lowercase().contains("retry-after: 1"), "{head}");
    // A recovery needs no place of its own.
    let mut back = Raw::connect(&hub, &recovery).await;
    assert_eq!(back.json().await["event"], "connected");
    assert_eq!(first.until_end().await, Reply::Reset);
    back.close(Some(1000)).await;
    assert_eq!(back.until_end().await, Reply::Close(Some(1000)));
    assert_eq!(status_of(&hub, path).await, 101);
    assert_eq!(hub.stop().connections_refused[&429], 2);
}

#[tokio::test]
async fn anonymous_clients_are_let_in_only_when_allowed_and_without_any_role() {
    let hub = hub_with(|config| config.access_key = Some(NEW.into()));
    assert_eq!(status_of(&hub, "/client/hubs/chat").await, 401);
    let hub = hub_with(|config| {
        config.access_key = Some(NEW.into());
        config.allow_anonymous = true;
    });
    let mut raw = Raw::connect(&hub, "/client/hubs/chat").await;
    assert_eq!(raw.json().await["userId"], "");
    raw.send(r#"{"type":"joinGroup","group":"g","ackId":1}"#)
        .await;
    assert_eq!(raw.json().await["error"]["name"], "Forbidden");
    let bad = status_of(&hub, "/client/hubs/chat?access_token=bad").await;
    assert_eq!(bad, 401, "a bad token is not none");
}
