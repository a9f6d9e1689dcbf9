//! Policies of a session: what the protocol leaves to the client, with the official
//! clients' values as defaults.

use std::time::Duration;

use crate::wire::{RECOVERY_WINDOW, Subprotocol};

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
    /// Rejoins are retried like other requests, as in the Java client. Python, JS and .NET
    /// make one attempt and stay out of the group when it fails.
    pub rejoin: bool,
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
    /// At the latest after so many messages. No official client has this.
    pub every: u32,
}

/// How a lost session is recovered. Source: client-spec 1.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// How long after the drop attempts go on.
    pub window: Duration,
    /// The pause between attempts; the first is made at once.
    pub pause: Duration,
}

/// How a new connection is made after a session is lost for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reconnect {
    /// Whether at all.
    pub enabled: bool,
    /// Pauses between attempts; the first attempt after a lost session is made at once.
    pub backoff: Backoff,
    /// Groups joined before are joined again.
    pub rejoin: bool,
    /// How long after the socket opened the `connected` frame may take.
    pub connected_within: Duration,
}

/// How a silent transport is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Liveness {
    /// After this long without any frame a `ping` goes out.
    pub ping_after: Duration,
    /// After this long without any frame since that ping the transport is dropped.
    pub pong_within: Duration,
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
                backoff: Backoff {
                    first: Duration::from_millis(800),
                    max: Duration::from_secs(60),
                    exponential: true,
                },
                ack_timeout: Some(Duration::from_secs(30)),
                fresh_ack_id: false,
                rejoin: true,
                in_flight_max: 256,
            },
            sequence_ack: SequenceAckPolicy {
                interval: Duration::from_millis(200),
                every: 250,
            },
            recovery: Recovery {
                window: RECOVERY_WINDOW,
                pause: Duration::from_secs(1),
            },
            reconnect: Reconnect {
                enabled: true,
                backoff: Backoff {
                    first: Duration::from_secs(1),
                    max: Duration::from_secs(5),
                    exponential: true,
                },
                rejoin: true,
                connected_within: Duration::from_secs(15),
            },
            liveness: Liveness {
                ping_after: Duration::from_secs(15),
                pong_within: Duration::from_secs(10),
            },
        }
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
