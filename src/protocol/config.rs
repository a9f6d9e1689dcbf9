//! Policies of a session: what the protocol leaves to the client, with the official
//! clients' values as defaults.

use std::time::Duration;

use crate::wire::{RECOVERY_WINDOW, Subprotocol, close};

/// How the pause between attempts grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Doubles each time; otherwise stays at `first`.
    pub exponential: bool,
}

impl Backoff {
    /// The pause before attempt `n`, counted from 1.
    pub fn pause(&self, n: u32) -> Duration {
        if !self.exponential {
            return self.first.min(self.max);
        }
        let factor = 1u32.checked_shl(n.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

/// When requests are sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Attempts after the first. All official clients: 3.
    pub retries: u32,
    /// Pauses: 0.8, 1.6, 3.2 s in the Python and .NET clients, fixed 1 s in the JS client.
    pub backoff: Backoff,
    /// How long an answer may take on a live transport before the request is sent again.
    /// Python and Java: 30 s; JS and .NET wait for ever (`None`).
    pub ack_timeout: Option<Duration>,
    /// A retry on the same connection takes a fresh ackId, as the official Python, JS and
    /// .NET clients do, instead of the same one as client-spec 3.1.2 means it.
    pub fresh_ack_id: bool,
    /// From the second try on, sends, events and leaves lose their options: the caller's
    /// ackId, `noEcho`, and being fire and forget. The official Python client does.
    pub forgets_options: bool,
    /// Requests without an outcome that one client may have; more are turned away. At most
    /// 256 keeps a resend inside the hub's memory of 1000 ackIds.
    pub in_flight_max: usize,
}

/// When received data messages are acknowledged. Source: client-spec 3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceAckPolicy {
    /// At the latest so long after the first unacknowledged message. Python, JS and .NET:
    /// 1 s; Java: 5 s.
    pub interval: Duration,
    /// At the latest after so many messages. No official client has this: `u32::MAX`.
    pub every: u32,
    /// At multiples of `interval` since the transport opened, as the official clients'
    /// loops do, instead of `interval` after the first unacknowledged message.
    pub ticks: bool,
}

/// How a lost session is recovered. Source: client-spec 1.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// How long after the drop attempts go on.
    pub window: Duration,
    /// The pause between attempts; the first is made at once. Doubles in the Java client.
    pub backoff: Backoff,
    /// The session counts as recovered, and requests are written, as soon as the socket is
    /// open, as in all official clients. Otherwise a `ping` goes out and the first frame
    /// within this time decides: the hub may refuse after the upgrade.
    pub confirm_within: Option<Duration>,
}

/// How a new connection is made after a session is lost for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reconnect {
    /// Whether at all.
    pub enabled: bool,
    /// The pause before the first attempt; about 1 s in the Java client, else none.
    pub first: Duration,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Failed attempts in a row until the session stops; `None`: no end. Python: 3 retries after the first.
    pub attempts: Option<u32>,
    /// A failed first connection after `start` is tried again, too. No official client
    /// does: their `start` fails.
    pub retry_start: bool,
    /// How groups joined before are joined again; `None`: not at all.
    pub rejoin: Option<Rejoin>,
    /// How long after the socket opened the `connected` frame may take.
    pub connected_within: Duration,
}

/// How groups are joined again on a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rejoin {
    /// Retried like other requests, as in the Java client. Python, JS and .NET make one
    /// attempt and stay out of the group when it fails.
    pub retries: bool,
    /// One after another, as in the .NET client; otherwise all at once.
    pub one_by_one: bool,
    /// How long after the `connected` frame; 100 ms in the Java client.
    pub after: Duration,
    /// After a recovery, too, though membership is kept: the Java client does.
    pub on_recovery: bool,
}

impl Rejoin {
    /// All groups at once, retried.
    pub const AT_ONCE: Rejoin = Rejoin {
        retries: true,
        one_by_one: false,
        after: Duration::ZERO,
        on_recovery: false,
    };
}

/// How a silent transport is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Liveness {
    /// Not at all: TCP, or a failing write, has to tell. Python, .NET and Java.
    Trust,
    /// A `ping` after a silence.
    Probe {
        /// After this long without any frame a `ping` goes out.
        after: Duration,
        /// After this long without any frame since that ping the transport is dropped.
        within: Duration,
    },
    /// A `ping` in a fixed rhythm, the first after one period, as in the JS client.
    Beat {
        /// The rhythm: 20 s.
        every: Duration,
        /// A silence longer than this ends the transport: 120 s.
        silence: Duration,
        /// How often the silence is looked at: 40 s.
        look: Duration,
    },
}

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

/// All policies of one session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionConfig {
    /// The subprotocol offered; whether sessions can be recovered follows from it.
    pub subprotocol: Subprotocol,
    /// Requests.
    pub retry: Retry,
    /// Receipts.
    pub sequence_ack: SequenceAckPolicy,
    /// Recovery.
    pub recovery: Recovery,
    /// Reconnect.
    pub reconnect: Reconnect,
    /// Silence.
    pub liveness: Liveness,
    /// The code of the close frame when the session is stopped: 1000, which ends it at the
    /// hub, too. The JS client sends none, so the hub may keep the session for 30 s.
    pub goodbye: Option<u16>,
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
        }
    }

    /// What all official clients have in common.
    fn official(subprotocol: Subprotocol) -> Self {
        let mut config = Self::spec(subprotocol);
        config.retry.fresh_ack_id = true;
        config.sequence_ack = SequenceAckPolicy {
            interval: Duration::from_secs(1),
            every: u32::MAX,
            ticks: true,
        };
        config.recovery.confirm_within = None;
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
        config
    }

    /// What the official .NET client does.
    pub fn dotnet(subprotocol: Subprotocol) -> Self {
        let mut config = Self::official(subprotocol);
        config.retry.ack_timeout = None;
        if let Some(rejoin) = &mut config.reconnect.rejoin {
            rejoin.one_by_one = true;
        }
        config
    }

    /// What the official Java client does, where it differs in more than jitter: its pauses
    /// have some, these have none.
    pub fn java(subprotocol: Subprotocol) -> Self {
        let mut config = Self::official(subprotocol);
        config.retry.fresh_ack_id = false;
        config.retry.backoff = exponential(Duration::from_millis(800), Duration::from_secs(8));
        config.sequence_ack.interval = Duration::from_secs(5);
        config.recovery.backoff = exponential(Duration::from_secs(1), RECOVERY_WINDOW);
        config.reconnect.first = Duration::from_secs(1);
        config.reconnect.rejoin = Some(Rejoin {
            retries: true,
            one_by_one: false,
            after: Duration::from_millis(100),
            on_recovery: true,
        });
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
    }
}

fn fixed(pause: Duration) -> Backoff {
    Backoff {
        first: pause,
        max: pause,
        exponential: false,
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
