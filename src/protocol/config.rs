//! Policies of a session: what the protocol leaves to the client. Whose values they have
//! stands in `behaviour`.

use std::time::Duration;

use super::io::Answer;
use crate::wire::Subprotocol;

/// How the pause between attempts grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Doubles each time; otherwise stays at `first`.
    pub exponential: bool,
    /// Up to so many percent, at most 100, are added to a pause or taken from it at random,
    /// so that a fleet does not come back at one instant; never beyond `max`.
    pub jitter: u8,
}

impl Backoff {
    /// The pause before attempt `n`, counted from 1, with jitter drawn from 0 (the shortest)
    /// to 1 (the longest).
    pub fn pause_with(&self, n: u32, draw: f64) -> Duration {
        let jitter = f64::from(self.jitter.min(100)) / 100.0;
        let factor = 1.0 + jitter * (2.0 * draw.clamp(0.0, 1.0) - 1.0);
        // At most twice the longest pause, which is some hours.
        self.pause(n).mul_f64(factor).min(self.max)
    }

    /// The pause before attempt `n`, counted from 1, without jitter.
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
    /// Which refusals are answered with another try.
    pub answers: RetriedAnswers,
    /// The ackId of the first request: 1, or 0 in the Java client.
    pub first_ack_id: u64,
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

/// Refusals after which a request is tried again. `Duplicate` is success for everyone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetriedAnswers {
    /// None: the Java client takes the first one as the last word.
    None,
    /// Those that may end well: not `Forbidden`, not `BadRequest`.
    Errors,
    /// All, `Forbidden` too, though useless: the Python, JS and .NET clients.
    All,
}

impl RetriedAnswers {
    pub(super) fn includes(self, answer: Answer) -> bool {
        match answer {
            Answer::Success | Answer::Duplicate => false,
            Answer::Error => self != RetriedAnswers::None,
            Answer::Forbidden | Answer::BadRequest => self == RetriedAnswers::All,
        }
    }
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
    /// An attempt under way is given up when the window is over. The Python, JS and .NET
    /// clients look at the time between attempts only: a hung one lasts as long as it does.
    pub cuts_attempts: bool,
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
    /// The program hears of the connection when all of them have ended, as with the JS and
    /// .NET clients; otherwise at once. For shells: the session tells it at once.
    pub before_connected: bool,
}

impl Rejoin {
    /// All groups at once, retried.
    pub const AT_ONCE: Rejoin = Rejoin {
        retries: true,
        one_by_one: false,
        after: Duration::ZERO,
        on_recovery: false,
        before_connected: false,
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

/// What stopping does while no transport is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopHabit {
    /// Ends every attempt: Python and .NET.
    AtOnce,
    /// An attempt under way goes on; a transport that opens is closed again: Java.
    OnceOpen,
    /// Nothing: the JS client comes back as if it had never been stopped.
    OnlyOpen,
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
    /// Stopping without an open transport.
    pub stop: StopHabit,
    /// Stopping forgets which groups were joined; only the Java client does.
    pub stop_forgets_groups: bool,
}
