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
    /// What arrives is delayed.
    Latency,
    /// So many bytes a second pass, each way.
    Throttle,
    /// Writes leave in small pieces.
    Slice,
    /// The connection ends inside a frame.
    MidFrame,
    /// Connections die; new ones are opened, and the client never ends its handshake: load
    /// that hubs must shed.
    HandshakeHang,
    /// New connections are refused; those that are up stay.
    Refuse,
    /// So many bytes a second are read.
    SlowConsumer,
    /// The connection is closed for good, and new ones present an expired token.
    ExpireTokens,
    /// Away until just before, or just after, the end of the recovery window.
    RecoverLate,
}

impl ChaosKind {
    /// All kinds, in the order of reports.
    pub const ALL: [ChaosKind; 20] = [
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
        ChaosKind::Latency,
        ChaosKind::Throttle,
        ChaosKind::Slice,
        ChaosKind::MidFrame,
        ChaosKind::HandshakeHang,
        ChaosKind::Refuse,
        ChaosKind::SlowConsumer,
        ChaosKind::ExpireTokens,
        ChaosKind::RecoverLate,
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
            ChaosKind::Latency => "latency",
            ChaosKind::Throttle => "throttle",
            ChaosKind::Slice => "slice",
            ChaosKind::MidFrame => "mid_frame",
            ChaosKind::HandshakeHang => "handshake_hang",
            ChaosKind::Refuse => "refuse",
            ChaosKind::SlowConsumer => "slow_consumer",
            ChaosKind::ExpireTokens => "expire_tokens",
            ChaosKind::RecoverLate => "recover_late",
        }
    }

    /// Whether the fault means something only where sessions can be recovered.
    pub const fn needs_recovery(self) -> bool {
        matches!(self, ChaosKind::NoSequenceAck | ChaosKind::RecoverLate)
    }

    /// Whether the fault has a duration (`for`).
    pub const fn lasts(self) -> bool {
        matches!(
            self,
            ChaosKind::HalfOpen
                | ChaosKind::Stall
                | ChaosKind::Blackout
                | ChaosKind::NoSequenceAck
                | ChaosKind::Latency
                | ChaosKind::Throttle
                | ChaosKind::Slice
                | ChaosKind::HandshakeHang
                | ChaosKind::Refuse
                | ChaosKind::SlowConsumer
                | ChaosKind::ExpireTokens
        )
    }
}

/// One line of the chaos plan.
#[derive(Clone, Debug)]
pub struct ChaosEntry {
    /// What happens.
    pub kind: ChaosKind,
    /// The number of its seed stream: its place in the file, unless it names another.
    pub stream: u32,
    /// Whose clients; `None`: those of every pool.
    pub pool: Option<usize>,
    /// To how many of them, each time.
    pub share: Share,
    /// When.
    pub timing: Timing,
    /// How long it lasts, for kinds that last; `half_open` without it lasts until the
    /// client notices by itself.
    pub lasts: Option<Duration>,
    /// How much, for kinds that have a measure.
    pub effect: Effect,
    /// The clients are hit one after the other in slot order, spread over this time; zero:
    /// all in one instant.
    pub rolling: Duration,
}

/// How much of a fault there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Effect {
    /// The kind says it all.
    #[default]
    Plain,
    /// Added to what arrives, and up to so much more at random.
    Delay {
        /// At least.
        delay: Duration,
        /// At most so much more.
        jitter: Duration,
    },
    /// Bytes a second, above zero.
    BytesPerSecond(u64),
    /// Bytes of a piece, above zero.
    Pieces(u32),
}

/// How many clients a fault hits each time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Share {
    /// A fraction, 0 to 1, rounded up to at least one client.
    Fraction(f64),
    /// A number of clients, at most all.
    Count(u32),
    /// One of so many zones, drawn each time: clients that stand together, in slot order.
    Zones(u32),
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
