use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use proptest::prelude::*;

use super::*;

const KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";

fn user() -> ClientIdentity {
    ClientIdentity {
        user_id: Some("u1".into()),
        roles: vec!["webpubsub.sendToGroup".into()],
        groups: vec!["g".into()],
        lifetime: Duration::from_secs(60),
    }
}

fn endpoint(url: &str, hub: &str, key: Option<&str>) -> Result<Target, TargetError> {
    Target::from_endpoint(url, hub, key.map(SecretString::from))
}

fn connect(target: &Target) -> String {
    target.connect_url(&user(), 1000).expose_secret().to_owned()
}

/// The audience claim of the token in a URL.
fn audience(url: &str) -> String {
    let token = url.split_once("access_token=").unwrap().1;
    let claims = BASE64_URL.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["aud"].as_str().unwrap().to_owned()
}

#[test]
fn a_wrong_audience_would_make_the_hub_refuse_every_client() {
    for (url, hub, expected_url, expected_audience) in [
        (
            "http://localhost:8080",
            "Chat",
            "ws://localhost:8080/client/hubs/Chat",
            "http://localhost:8080/client/hubs/Chat",
        ),
        (
            "wss://Name.webpubsub.azure.com/",
            "chat",
            "wss://name.webpubsub.azure.com/client/hubs/chat",
            "https://name.webpubsub.azure.com/client/hubs/chat",
        ),
        (
            "https://h:443",
            "a_b",
            "wss://h/client/hubs/a_b",
            "https://h/client/hubs/a_b",
        ),
        (
            "ws://[::1]:9000/",
            "a[1]",
            "ws://[::1]:9000/client/hubs/a%5B1%5D",
            "http://[::1]:9000/client/hubs/a[1]",
        ),
    ] {
        let signed = connect(&endpoint(url, hub, Some(KEY)).unwrap());
        assert!(
            signed.starts_with(&format!("{expected_url}?access_token=ey")),
            "{signed}"
        );
        assert_eq!(audience(&signed), expected_audience);
        let open = endpoint(url, hub, None).unwrap();
        assert_eq!(connect(&open), expected_url);
        assert_eq!(
            connect(&endpoint(url, hub, Some("")).unwrap()),
            expected_url
        );
        assert!(!open.mints_tokens());
    }
}

#[test]
fn a_connection_string_is_read_as_the_sdks_read_it() {
    let read = |text: &str| Target::from_connection_string(&text.into(), "chat");
    for (text, expected) in [
        (
            "Endpoint=https://n.webpubsub.azure.com;AccessKey=k/+==;Version=1.0;",
            "wss://n.webpubsub.azure.com/client/hubs/chat",
        ),
        (
            "accesskey=k; ENDPOINT=http://localhost:8080/ ;version=1.0",
            "ws://localhost:8080/client/hubs/chat",
        ),
        (
            "Endpoint=http://localhost;Port=8081;AccessKey=k",
            "ws://localhost:8081/client/hubs/chat",
        ),
        (
            "Endpoint=n.webpubsub.azure.com;AccessKey=k",
            "wss://n.webpubsub.azure.com/client/hubs/chat",
        ),
    ] {
        let target = read(text).unwrap();
        assert!(target.mints_tokens());
        let url = connect(&target);
        assert_eq!(url.split_once('?').unwrap().0, expected, "{text}");
    }
    let error = |text: &str| read(text).unwrap_err();
    assert_eq!(
        error("Endpoint=https://h"),
        TargetError::MissingPart { name: "AccessKey" }
    );
    assert_eq!(
        error("AccessKey=k"),
        TargetError::MissingPart { name: "Endpoint" }
    );
    assert_eq!(
        error("Endpoint=https://h;kkk"),
        TargetError::Segment { number: 2 }
    );
    assert!(matches!(
        error("Endpoint=https://h;AccessKey=k;Port=99999"),
        TargetError::Port { .. }
    ));
}

#[test]
fn the_whole_key_signs_even_when_it_ends_in_equal_signs() {
    let text = "Endpoint=http://h;AccessKey=k/+==;".into();
    let from_text = Target::from_connection_string(&text, "chat").unwrap();
    let from_parts = endpoint("http://h", "chat", Some("k/+==")).unwrap();
    assert_eq!(connect(&from_text), connect(&from_parts));
}

#[test]
fn a_client_access_url_is_used_as_it_is() {
    for (url, hub, expected) in [
        (
            "wss://h/client/hubs/chat?access_token=a.b.c",
            "chat",
            "wss://h/client/hubs/chat?access_token=a.b.c",
        ),
        (
            "https://h:444/client/?hub=chat&access_token=a.b.c#x",
            "chat",
            "wss://h:444/client/?hub=chat&access_token=a.b.c",
        ),
    ] {
        let target = Target::from_client_access_url(&url.into()).unwrap();
        assert_eq!(target.hub(), hub);
        assert_eq!(connect(&target), expected);
    }
    assert!(matches!(
        Target::from_client_access_url(&"wss://h/chat?access_token=a".into()),
        Err(TargetError::NoHub { .. })
    ));
}

#[test]
fn a_recovery_without_the_other_parameters_would_not_reach_the_hub() {
    for (url, expected) in [
        (
            "ws://h/client/hubs/x",
            "ws://h/client/hubs/x?awps_connection_id=c%2F1&awps_reconnection_token=t%2B%3D",
        ),
        (
            "ws://h/client/?hub=x&access_token=a.b.c",
            "ws://h/client/?hub=x&access_token=a.b.c&awps_connection_id=c%2F1&awps_reconnection_token=t%2B%3D",
        ),
        (
            "ws://h/x?awps_connection_id=old&a=1&awps_reconnection_token=old",
            "ws://h/x?a=1&awps_connection_id=c%2F1&awps_reconnection_token=t%2B%3D",
        ),
    ] {
        let recovery = Target::recovery_url(&url.into(), "c/1", "t+=");
        assert_eq!(recovery.expose_secret(), expected);
    }
}

#[test]
fn mistakes_are_named_with_a_way_to_mend_them_and_without_secrets() {
    for (url, needle) in [
        ("localhost:8080", "no scheme"),
        ("ftp://h", "\"ftp\""),
        ("http://", "empty host"),
        ("http://h:99999", "invalid port"),
        ("http://h/some/path", "path"),
        ("http://h/?access_token=canary", "query"),
        ("http://user:canary@h", "user name"),
        ("http//user:canary@h", "no scheme"),
        ("Endpoint=https://h;AccessKey=canary;", "AccessKey=***"),
    ] {
        let error = endpoint(url, "chat", None).unwrap_err().to_string();
        assert!(error.contains(needle), "{url}: {error}");
        assert!(error.contains("e.g. http"), "{url}: {error}");
        assert!(!error.contains("canary"), "{url}: {error}");
    }
    for hub in ["", "1chat", "a b", "häb", &"x".repeat(129)] {
        assert!(matches!(
            endpoint("http://h", hub, None),
            Err(TargetError::HubName { .. })
        ));
    }
}

#[test]
fn printing_a_target_shows_no_secret() {
    let signed = endpoint("https://h", "chat", Some("canary-key")).unwrap();
    let given =
        Target::from_client_access_url(&"wss://h/client/hubs/chat?access_token=canary".into())
            .unwrap();
    for target in [signed, given] {
        assert_eq!(target.to_string(), "https://h (hub chat)");
        assert!(!format!("{target:?}").contains("canary"), "{target:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_a_target_panic(text in "\\PC*", hub in "\\PC*") {
        let _ = endpoint(&text, &hub, None);
        let _ = Target::from_connection_string(&text.clone().into(), &hub);
        let _ = Target::from_connection_string(&format!("Endpoint=http://{text};AccessKey=a;Port={text}").into(), &hub);
        let _ = Target::from_client_access_url(&format!("ws://h/client/{text}").into());
    }
}
