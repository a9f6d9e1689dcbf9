//! Faults as a scenario asks for them; who is hit when is `chaos::plan`'s business.

use std::time::Duration;

/// A kind of injected fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChaosKind {
    /// A proper close frame from the client, with a code that keeps the session (1001).
    Close,
    /// FIN without a close frame.
    Drop,
    /// RST.
    Reset,
    /// The socket stays, nothing moves.
    HalfOpen,
    /// Reads stop for a while, then go on.
    Stall,
    /// Connections die and every new one fails until it ends.
    Blackout,
    /// Sequence acks are withheld.
    NoSequenceAck,
    /// A share of all clients at one instant, by RST.
    Storm,
    /// Several drops in a row, some inside the recovery.
    Flap,
    /// The next new connection presents an expired token.
    BadToken,
    /// The embedded hub loses every connection and all state.
    HubRestart,
}

impl ChaosKind {
    /// All kinds, in the order of reports.
    pub const ALL: [ChaosKind; 11] = [
        ChaosKind::Close,
        ChaosKind::Drop,
        ChaosKind::Reset,
        ChaosKind::HalfOpen,
        ChaosKind::Stall,
        ChaosKind::Blackout,
        ChaosKind::NoSequenceAck,
        ChaosKind::Storm,
        ChaosKind::Flap,
        ChaosKind::BadToken,
        ChaosKind::HubRestart,
    ];

    /// The name in scenario files, reports and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            ChaosKind::Close => "close",
            ChaosKind::Drop => "drop",
            ChaosKind::Reset => "reset",
            ChaosKind::HalfOpen => "half_open",
            ChaosKind::Stall => "stall",
            ChaosKind::Blackout => "blackout",
            ChaosKind::NoSequenceAck => "no_sequence_ack",
            ChaosKind::Storm => "storm",
            ChaosKind::Flap => "flap",
            ChaosKind::BadToken => "bad_token",
            ChaosKind::HubRestart => "hub_restart",
        }
    }

    /// Whether the fault has a duration (`for`).
    pub const fn lasts(self) -> bool {
        matches!(
            self,
            ChaosKind::HalfOpen | ChaosKind::Stall | ChaosKind::Blackout | ChaosKind::NoSequenceAck
        )
    }
}

/// One line of the chaos plan.
#[derive(Clone, Debug)]
pub struct ChaosEntry {
    /// What happens.
    pub kind: ChaosKind,
    /// Whose clients; `None`: those of every pool.
    pub pool: Option<usize>,
    /// To how many of them, each time.
    pub share: Share,
    /// When.
    pub timing: Timing,
    /// How long it lasts, for kinds that last; `half_open` without it lasts until the
    /// client notices by itself.
    pub lasts: Option<Duration>,
}

/// How many clients a fault hits each time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Share {
    /// A fraction, 0 to 1, rounded up to at least one client.
    Fraction(f64),
    /// A number of clients, at most all.
    Count(u32),
}

/// When a fault happens, from the start of the load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timing {
    /// Once.
    At(Duration),
    /// At `start`, then every `every`, before `until`.
    Every {
        /// First time.
        start: Duration,
        /// Period, above zero.
        every: Duration,
        /// No more from here on; at most the scenario's duration.
        until: Duration,
    },
}
