//! The `client` section: what it sets, and that it survives being written out.

use std::time::Duration;

use hubstorm::protocol::{Behaviour, Liveness, RetriedAnswers, SessionConfig};
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
        "      retry: {attempts: 7, mode: exponential, delay: 100ms, max_delay: 2s, jitter: 20%, ack_timeout: 5s, refusals: none, fresh_ack_id: false}\n",
        "      sequence_ack: {interval: 3s, every: 50}\n",
        "      reconnect: {attempts: 3, mode: exponential, delay: 2s, jitter: 50%}\n",
        "      auto_reconnect: false\n",
        "      auto_rejoin: false\n",
        "      connect_timeout: 4s\n",
        "      idle_timeout: 60s\n",
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
    assert_eq!(
        (retry.backoff.jitter, retry.answers),
        (20, RetriedAnswers::None)
    );
    let reconnect = &client.session.reconnect;
    assert_eq!(
        (reconnect.attempts, reconnect.backoff.jitter),
        (Some(3), 50)
    );
    // The JS client's fixed pause, made to double: up to that client's own longest.
    assert_eq!(reconnect.backoff.pause(9), Duration::from_secs(30));
    let idle = Liveness::Beat {
        every: Duration::from_secs(20),
        silence: Duration::from_secs(60),
        look: Duration::from_secs(20),
    };
    assert_eq!(client.session.liveness, idle);
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
            "    client: {retry: {ack_timeout: never}, sequence_ack: {every: never}, idle_timeout: never}\n",
        )),
        to_yaml(&read(
            "    client: {behaves_like: java, idle_timeout: 7s, reconnect: {attempts: unlimited}}\n",
        )),
    ] {
        let again = parse(&text, "s.yaml", &Overrides::default(), &|_| None).unwrap();
        assert_eq!(to_yaml(&again), text);
    }
}

#[test]
fn an_idle_timeout_is_the_silence_that_ends_a_transport_whoever_the_client_is() {
    for (client, after, within) in [
        ("idle_timeout: 5s", 3, 2),
        // Trusts TCP unless told otherwise.
        ("behaves_like: python, idle_timeout: 10s", 6, 4),
    ] {
        let scenario = read(&format!("    client: {{{client}}}\n"));
        let expected = Liveness::Probe {
            after: Duration::from_secs(after),
            within: Duration::from_secs(within),
        };
        assert_eq!(scenario.pools[0].client.session.liveness, expected);
    }
    let scenario = read("    client: {idle_timeout: never}\n");
    assert_eq!(scenario.pools[0].client.session.liveness, Liveness::Trust);
}
