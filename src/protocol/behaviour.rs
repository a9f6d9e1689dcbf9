//! Whose habits a session has: client-spec's or an official client's, as sets of policies.

use std::time::Duration;

use super::config::{
    Backoff, Liveness, Reconnect, Recovery, Rejoin, RetriedAnswers, Retry, SequenceAckPolicy,
    SessionConfig, StopHabit,
};
use crate::wire::{RECOVERY_WINDOW, Subprotocol, close};

/// Which client's habits a session has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Behaviour {
    /// To the letter of client-spec.
    #[default]
    Spec,
    /// azure-messaging-webpubsubclient 1.1.0.
    Python,
    /// @azure/web-pubsub-client 1.1.0.
    Js,
    /// Azure.Messaging.WebPubSub.Client 1.0.0.
    Dotnet,
    /// azure-messaging-webpubsub-client.
    Java,
}

impl Behaviour {
    /// All of them.
    pub const ALL: [Behaviour; 5] = [
        Behaviour::Spec,
        Behaviour::Python,
        Behaviour::Js,
        Behaviour::Dotnet,
        Behaviour::Java,
    ];

    /// The name in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Behaviour::Spec => "spec",
            Behaviour::Python => "python",
            Behaviour::Js => "js",
            Behaviour::Dotnet => "dotnet",
            Behaviour::Java => "java",
        }
    }
}

impl SessionConfig {
    /// A client that keeps to client-spec: the same ackId on retry, receipts at 200 ms or
    /// 250 messages (so that 1000 messages a second can be carried), silence noticed within
    /// 25 s. Pauses and limits are those of the official Python and .NET clients.
    pub fn spec(subprotocol: Subprotocol) -> Self {
        SessionConfig {
            subprotocol,
            retry: Retry {
                retries: 3,
                backoff: exponential(Duration::from_millis(800), Duration::from_secs(60)),
                ack_timeout: Some(Duration::from_secs(30)),
                answers: RetriedAnswers::Errors,
                first_ack_id: 1,
                fresh_ack_id: false,
                forgets_options: false,
                in_flight_max: 256,
            },
            sequence_ack: SequenceAckPolicy {
                interval: Duration::from_millis(200),
                every: 250,
                ticks: false,
            },
            recovery: Recovery {
                window: RECOVERY_WINDOW,
                backoff: fixed(Duration::from_secs(1)),
                confirm_within: Some(Duration::from_secs(10)),
                cuts_attempts: true,
            },
            reconnect: Reconnect {
                enabled: true,
                first: Duration::ZERO,
                backoff: exponential(Duration::from_secs(1), Duration::from_secs(5)),
                attempts: None,
                retry_start: true,
                rejoin: Some(Rejoin::AT_ONCE),
                connected_within: Duration::from_secs(15),
            },
            liveness: Liveness::Probe {
                after: Duration::from_secs(15),
                within: Duration::from_secs(10),
            },
            goodbye: Some(close::NORMAL),
            stop: StopHabit::AtOnce,
            stop_forgets_groups: false,
        }
    }

    /// What all official clients have in common.
    fn official(subprotocol: Subprotocol) -> Self {
        let mut config = Self::spec(subprotocol);
        config.retry.fresh_ack_id = true;
        config.retry.answers = RetriedAnswers::All;
        config.sequence_ack = SequenceAckPolicy {
            interval: Duration::from_secs(1),
            every: u32::MAX,
            ticks: true,
        };
        config.recovery.confirm_within = None;
        config.recovery.cuts_attempts = false;
        config.reconnect.retry_start = false;
        if let Some(rejoin) = &mut config.reconnect.rejoin {
            rejoin.retries = false;
        }
        config.liveness = Liveness::Trust;
        config
    }

    /// What the official Python client does.
    pub fn python(subprotocol: Subprotocol) -> Self {
        let mut config = Self::official(subprotocol);
        config.retry.backoff = exponential(Duration::from_millis(800), Duration::from_secs(120));
        config.retry.forgets_options = true;
        config.reconnect.backoff =
            exponential(Duration::from_millis(800), Duration::from_secs(120));
        config.reconnect.attempts = Some(4);
        config
    }

    /// What the official JS client does.
    pub fn js(subprotocol: Subprotocol) -> Self {
        let mut config = Self::official(subprotocol);
        config.retry.backoff = fixed(Duration::from_secs(1));
        config.retry.ack_timeout = None;
        config.reconnect.backoff = fixed(Duration::from_secs(1));
        config.liveness = Liveness::Beat {
            every: Duration::from_secs(20),
            silence: Duration::from_secs(120),
            look: Duration::from_secs(40),
        };
        config.goodbye = None;
        config.stop = StopHabit::OnlyOpen;
        if let Some(rejoin) = &mut config.reconnect.rejoin {
            rejoin.before_connected = true;
        }
        config
    }

    /// What the official .NET client does.
    pub fn dotnet(subprotocol: Subprotocol) -> Self {
        let mut config = Self::official(subprotocol);
        config.retry.ack_timeout = None;
        if let Some(rejoin) = &mut config.reconnect.rejoin {
            rejoin.one_by_one = true;
            rejoin.before_connected = true;
        }
        config
    }

    /// What the official Java client does. Its pauses between requests come from azure-core,
    /// which doubles once before the first and adds jitter; those between connections from
    /// reactor, with much jitter and no longest pause (an hour here).
    pub fn java(subprotocol: Subprotocol) -> Self {
        let connecting = |max| Backoff {
            jitter: 50,
            ..exponential(Duration::from_secs(1), max)
        };
        let mut config = Self::official(subprotocol);
        config.retry.fresh_ack_id = false;
        config.retry.answers = RetriedAnswers::None;
        config.retry.first_ack_id = 0;
        config.retry.backoff = Backoff {
            jitter: 5,
            ..exponential(Duration::from_millis(1600), Duration::from_secs(8))
        };
        config.sequence_ack.interval = Duration::from_secs(5);
        config.recovery.backoff = connecting(RECOVERY_WINDOW);
        config.recovery.cuts_attempts = true;
        config.reconnect.first = Duration::from_secs(1);
        config.reconnect.backoff = connecting(Duration::from_secs(3600));
        config.reconnect.rejoin = Some(Rejoin {
            retries: true,
            one_by_one: false,
            after: Duration::from_millis(100),
            on_recovery: true,
            before_connected: false,
        });
        config.stop = StopHabit::OnceOpen;
        config.stop_forgets_groups = true;
        config
    }

    /// The policies of a behaviour.
    pub fn of(behaviour: Behaviour, subprotocol: Subprotocol) -> Self {
        match behaviour {
            Behaviour::Spec => Self::spec(subprotocol),
            Behaviour::Python => Self::python(subprotocol),
            Behaviour::Js => Self::js(subprotocol),
            Behaviour::Dotnet => Self::dotnet(subprotocol),
            Behaviour::Java => Self::java(subprotocol),
        }
    }
}

fn exponential(first: Duration, max: Duration) -> Backoff {
    Backoff {
        first,
        max,
        exponential: true,
        jitter: 0,
    }
}

fn fixed(pause: Duration) -> Backoff {
    Backoff {
        first: pause,
        max: pause,
        exponential: false,
        jitter: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_those_of_the_official_clients_and_never_overflow() {
        let retry = SessionConfig::spec(Subprotocol::JsonReliable).retry;
        let pauses: Vec<_> = (1..=3)
            .map(|n| retry.backoff.pause(n).as_millis())
            .collect();
        assert_eq!(pauses, [800, 1600, 3200]);
        assert_eq!(retry.backoff.pause(u32::MAX), Duration::from_secs(60));
    }
}
