//! The `client` section: what it sets, and that it survives being written out.

use std::time::Duration;

use hubstorm::protocol::{Behaviour, SessionConfig};
use hubstorm::scenario::{Overrides, Scenario, parse, to_yaml};
use hubstorm::wire::Subprotocol;

fn read(client: &str) -> Scenario {
    let text = format!("hubstorm: 1\nseed: 1\npools:\n  p:\n    clients: 1\n{client}");
    parse(&text, "s.yaml", &Overrides::default(), &|_| None).unwrap()
}

#[test]
fn a_pool_behaves_to_the_letter_unless_told_otherwise_and_always_connects_in_the_end() {
    let client = &read("").pools[0].client;
    assert_eq!(
        client.session,
        SessionConfig::spec(Subprotocol::JsonReliable)
    );
    for behaviour in Behaviour::ALL {
        let scenario = read(&format!(
            "    client: {{behaves_like: {}}}\n",
            behaviour.name()
        ));
        let mut expected = SessionConfig::of(behaviour, Subprotocol::JsonReliable);
        expected.reconnect.retry_start = true;
        assert_eq!(scenario.pools[0].client.session, expected);
    }
}

#[test]
fn everything_set_is_set_and_written_out_to_be_read_back() {
    let scenario = read(concat!(
        "    client:\n",
        "      behaves_like: js\n",
        "      retry: {attempts: 7, mode: exponential, delay: 100ms, max_delay: 2s, ack_timeout: 5s, fresh_ack_id: false}\n",
        "      sequence_ack: {interval: 3s, every: 50}\n",
        "      auto_reconnect: false\n",
        "      auto_rejoin: false\n",
        "      connect_timeout: 4s\n",
        "      user_ids: none\n",
        "      roles: [webpubsub.joinLeaveGroup.a]\n",
        "      token_lifetime: 90s\n",
    ));
    let client = &scenario.pools[0].client;
    let (retry, ack) = (&client.session.retry, &client.session.sequence_ack);
    assert_eq!((retry.retries, retry.fresh_ack_id), (7, false));
    assert_eq!(retry.backoff.pause(3), Duration::from_millis(400));
    assert_eq!(retry.backoff.pause(9), Duration::from_secs(2));
    assert_eq!(retry.ack_timeout, Some(Duration::from_secs(5)));
    assert_eq!((ack.interval, ack.every), (Duration::from_secs(3), 50));
    assert!(!client.session.reconnect.enabled);
    assert_eq!(client.session.reconnect.rejoin, None);
    assert_eq!(client.connect_timeout, Duration::from_secs(4));
    assert!(!client.user_ids);
    assert_eq!(client.roles, ["webpubsub.joinLeaveGroup.a"]);
    assert_eq!(client.token_lifetime, Duration::from_secs(90));

    for text in [
        to_yaml(&scenario),
        to_yaml(&read("    client: {behaves_like: python}\n")),
        to_yaml(&read(
            "    client: {retry: {ack_timeout: never}, sequence_ack: {every: never}}\n",
        )),
    ] {
        let again = parse(&text, "s.yaml", &Overrides::default(), &|_| None).unwrap();
        assert_eq!(to_yaml(&again), text);
    }
}
